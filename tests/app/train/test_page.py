"""The Train page in a real Chromium: a tiny run from the form to Ground, with the app killed under it."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.grain.train.test_train import save_start
from tests.support.browser_fixtures import fits, opened
from tests.support.fake_app import app_at
from tests.support.tiny import tiny_config

SLOW = 400_000  # milliseconds that a job may take on a busy machine
TINY = {"images": "48", "batch_size": "4", "warmup_images": "4", "checkpoint_images": "8", "evaluate_images": "16"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> Path:
    """A home with a small world and a model small enough to be trained in seconds."""
    home = tmp_path_factory.mktemp("home")
    (home / "worlds").mkdir()
    (home / "worlds" / "12").symlink_to(data_folder)
    save_start(home / "checkpoints" / "tiny", tiny_config())
    return home


def train_page(visitor: BrowserContext, address: str, query: str = "") -> AbstractContextManager[Page]:
    return opened(visitor, f"{address}train{query}", "#form form", patience=SLOW)


def own(page: Page, name: str) -> Locator:
    return page.locator(f'[data-own="{name}"]').locator("input, select")


def fill_in(page: Page, name: str, fields: dict[str, str]) -> None:
    own(page, "data").select_option("world:12")
    own(page, "start").select_option("checkpoint:tiny")
    page.locator("summary", has_text="advanced").click()
    page.locator('[data-field="precision"] select').select_option("no")
    for field, value in fields.items():
        page.locator(f'[data-field="{field}"] input').fill(value)
    own(page, "name").fill(name)
    expect(page.locator("#plan .command pre")).to_contain_text(f"--name={name}", timeout=SLOW)


def row(page: Page, name: str) -> Locator:
    return page.locator("#runs .run", has=page.get_by_role("button", name=name, exact=True))


def test_a_run_from_the_form_to_ground_and_the_app_killed_under_it(home: Path, visitor: BrowserContext) -> None:
    with app_at(home) as (address, app), train_page(visitor, address) as page:
        expect(page.locator("#plan .command pre")).to_contain_text("--name=run-1", timeout=SLOW)
        expect(page.locator(".curve").first).to_be_hidden()  # nothing is watched yet
        own(page, "name").fill("")
        expect(page.locator("#note-plan .notice")).to_contain_text("needs a name")
        fill_in(page, "first", TINY | {"images": "6000", "evaluate_images": "600"})
        expect(page.locator("#plan li", has_text="pictures to train on")).to_contain_text("12 pictures")
        shown = page.locator("#plan .command pre").text_content() or ""
        page.locator("#queue").click()
        expect(row(page, "first")).to_have_class(re.compile("running"), timeout=SLOW)
        expect(page.locator("#plan .command pre")).to_contain_text("--name=first-2", timeout=SLOW)  # for another one
        expect(page.locator('[data-own="open_clip"]')).to_be_hidden()
        expect(page.locator("#watched")).to_contain_text(re.compile(r"step [1-9][\d,]* of 1,500"), timeout=SLOW)
        expect(page).to_have_url(re.compile(r"train/?\?run=\d+"))
        page.reload()
        expect(page.locator("#watched")).to_contain_text(re.compile(r"step [1-9][\d,]* of 1,500"), timeout=SLOW)
        app.kill()
        app.wait()
    with app_at(home) as (address, _), train_page(visitor, address, "?run=1,77") as page:
        expect(page.locator(".toast-body")).to_contain_text("There is no run “77” here", timeout=SLOW)
        expect(page).to_have_url(re.compile(r"run=1$"))
        expect(page.locator("#watched")).to_contain_text(re.compile(r"step [1-9][\d,]* of 1,500"), timeout=SLOW)
        row(page, "first").get_by_role("button", name="cancel").click()
        expect(row(page, "first")).to_have_class(re.compile("cancelled"), timeout=SLOW)
        expect(page.locator("#watched")).to_contain_text("Saved states: step-")
        ran = json.loads((home / "runs" / "first" / "config.json").read_text())
        assert f"--images={ran['images']} --batch-size={ran['batch_size']}" in shown
        row(page, "first").get_by_role("button", name="resume").click()
        expect(row(page, "first")).to_have_class(re.compile("running|done"), timeout=SLOW)
        expect(row(page, "first")).to_have_class(re.compile("done"), timeout=SLOW)
        expect(page.locator("#pictures .frame").first).to_be_visible()
        expect(page.locator(".curve .js-plotly-plot .scatterlayer .trace").first).to_be_attached()
        page.locator('#watched [data-which="best"][data-keep="promote"]').click()
        expect(page.locator("#kept")).to_contain_text("first is promoted", timeout=SLOW)
        page.locator("#kept a").first.click()
        expect(page.locator("#stage .frame img")).to_be_visible(timeout=SLOW)
        expect(page.locator("body")).to_contain_text("first was trained on tiny pictures")


@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_is_cut_off_and_a_switch_that_is_on_looks_so(home: Path, visitor: BrowserContext, width: int) -> None:
    with app_at(home) as (address, _), train_page(visitor, address) as page:
        fits(page, width)
        switches = page.locator(".field.switch input")
        looks = switches.evaluate_all("all => all.map(each => [each.checked, getComputedStyle(each).appearance])")
        assert {on for on, _ in looks} == {True, False}
        assert {look for _, look in looks} == {"auto"}, "without it Gradio's own style draws a white tick on white"
