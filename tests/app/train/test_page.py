"""The Train page in a real Chromium: a tiny run from the form to Ground, with the app killed under it."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from curation.files.home import database_url
from db.engine import open_engine, transaction
from db.queries.data_set_queries import create_dataset
from db.queries.job_queries import enqueue_job
from grain.train_config import TrainConfig
from tests.grain.train.test_train import save_start
from tests.support.browser_fixtures import fits, opened
from tests.support.fake_app import app_at
from tests.support.tiny import tiny_config
from tests.support.waiting import JOB_MS

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
    return opened(visitor, f"{address}train{query}", "#form form", patience=JOB_MS)


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
    expect(page.locator("#plan .command pre")).to_contain_text(f"--name={name}", timeout=JOB_MS)


def row(page: Page, name: str) -> Locator:
    return page.locator("#runs .run", has=page.get_by_role("button", name=name, exact=True))


@pytest.mark.slow
def test_a_run_from_the_form_to_ground_and_the_app_killed_under_it(home: Path, visitor: BrowserContext) -> None:
    with app_at(home) as (address, app), train_page(visitor, address) as page:
        expect(page.locator("#plan .command pre")).to_contain_text("--name=run-1", timeout=JOB_MS)
        expect(page.locator(".curve").first).to_be_hidden()  # nothing is watched yet
        own(page, "name").fill("")
        expect(page.locator("#note-plan .notice")).to_contain_text("needs a name")
        fill_in(page, "first", TINY | {"images": "6000", "evaluate_images": "600"})
        expect(page.locator("#plan li", has_text="pictures to train on")).to_contain_text("12 pictures")
        shown = page.locator("#plan .command pre").text_content() or ""
        page.locator("#queue").click()
        expect(row(page, "first")).to_have_class(re.compile("running"), timeout=JOB_MS)
        expect(page.locator("#plan .command pre")).to_contain_text("--name=first-2", timeout=JOB_MS)  # for another one
        expect(page.locator('[data-own="open_clip"]')).to_be_hidden()
        expect(page.locator("#watched")).to_contain_text(re.compile(r"step [1-9][\d,]* of 1,500"), timeout=JOB_MS)
        expect(page).to_have_url(re.compile(r"train/?\?run=\d+"))
        page.reload()
        expect(page.locator("#watched")).to_contain_text(re.compile(r"step [1-9][\d,]* of 1,500"), timeout=JOB_MS)
        expect(page.locator(".curve .js-plotly-plot").first).to_be_attached()  # its script is here, whoever goes away
        app.kill()
        app.wait()
    with app_at(home) as (address, _), train_page(visitor, address, "?run=1,77") as page:
        expect(page.locator(".toast-body")).to_contain_text("There is no run “77” here", timeout=JOB_MS)
        expect(page).to_have_url(re.compile(r"run=1$"))
        expect(page.locator("#watched")).to_contain_text(re.compile(r"step [1-9][\d,]* of 1,500"), timeout=JOB_MS)
        row(page, "first").get_by_role("button", name="cancel").click()
        expect(row(page, "first")).to_have_class(re.compile("cancelled"), timeout=JOB_MS)
        expect(page.locator("#watched")).to_contain_text("Saved states: step-")
        ran = json.loads((home / "runs" / "first" / "config.json").read_text())
        assert f"--images={ran['images']} --batch-size={ran['batch_size']}" in shown
        row(page, "first").get_by_role("button", name="resume").click()
        expect(row(page, "first")).to_have_class(re.compile("running|done"), timeout=JOB_MS)
        expect(row(page, "first")).to_have_class(re.compile("done"), timeout=JOB_MS)
        expect(page.locator("#pictures .frame").first).to_be_visible()
        expect(page.locator(".curve .js-plotly-plot .scatterlayer .trace").first).to_be_attached()
        page.locator('#watched [data-which="best"][data-keep="promote"]').click()
        expect(page.locator("#kept")).to_contain_text("first is promoted", timeout=JOB_MS)
        page.locator("#kept a").first.click()
        expect(page.locator("#stage .frame img")).to_be_visible(timeout=JOB_MS)
        expect(page.locator("body")).to_contain_text("first was trained on tiny pictures")


@pytest.mark.slow
def test_the_regions_of_photo_are_trained_with_few_settings_and_promoted(home: Path, visitor: BrowserContext) -> None:
    settings = {"images": "8", "batch_size": "4", "held_out_images": "2", "weight_decay": "0.05"}
    with app_at(home) as (address, _), train_page(visitor, address) as page:
        expect(page.locator("#plan .command pre")).to_contain_text("--name=run-1", timeout=JOB_MS)
        fill_in(page, "regions", {"max_regions": "3"} | settings)
        own(page, "start").select_option("checkpoint:photo")
        expect(page.locator('[data-field="images"]')).to_be_visible()
        for hidden in (
            '[data-field="clip"]',
            '[data-field="losses.box"]',
            '[data-field="max_regions"]',
            '[data-own="mix"]',
            '[data-group="Losses"]',
            '[data-to="Losses"]',
        ):
            expect(page.locator(hidden)).to_be_hidden()
        command = page.locator("#plan .command pre")
        expect(command).to_contain_text("--init=photo --images=8", timeout=JOB_MS)
        expect(command).not_to_contain_text("max-regions")  # it is hidden, and nothing of it runs
        expect(page.locator("#plan li", has_text="pictures, until it ends")).to_be_visible()
        page.locator("#queue").click()
        expect(row(page, "regions")).to_have_class(re.compile("done"), timeout=JOB_MS)
        expect(page.locator("#watched table.kept")).to_contain_text("final")
        expect(page.locator("#watched [data-keep]")).to_have_count(2)  # only promoted
        page.locator('#watched [data-which="final"][data-keep="promote"]').click()
        expect(page.locator("#kept")).to_contain_text("regions-final is promoted", timeout=JOB_MS)
        page.locator("#kept a").first.click()
        expect(page.locator("#stage .frame img")).to_be_visible(timeout=JOB_MS)
        expect(page.locator("body")).to_contain_text("regions-final is photo, its regions tuned on tiny pictures")


@pytest.mark.slow
def test_what_is_queued_is_what_the_form_holds_however_quick_the_press(home: Path, visitor: BrowserContext) -> None:
    with app_at(home) as (address, _), train_page(visitor, address) as page:
        fill_in(page, "before", TINY)
        own(page, "name").fill("typed-last")
        page.locator("#queue").click()  # the form is being checked, which takes longer
        expect(page.locator("#runs .run").first).to_contain_text("typed-last", timeout=JOB_MS)
        expect(row(page, "before")).to_have_count(0)


@pytest.mark.slow
def test_a_form_that_is_drawn_again_holds_what_it_was_drawn_with_and_what_was_typed_since(
    tmp_path: Path, data_folder: Path, visitor: BrowserContext
) -> None:
    (tmp_path / "worlds").mkdir()
    (tmp_path / "worlds" / "12").symlink_to(data_folder)
    engine = open_engine(database_url(tmp_path))
    config = TrainConfig(tmp_path, tmp_path / "runs" / "cups", name="cups", learning_rate=0.01)
    train = json.loads(json.dumps(asdict(config), default=str))
    asked = {"name": "cups", "data": "world:12", "start": "scratch", "where": "cpu"}
    with transaction(engine) as session:
        create_dataset(session, name="no-version-yet")
        job = enqueue_job(session, kind="train", owner="ada", config={"train": train, "asked": asked}, argv=["true"])
        job.sqlmodel_update({"state": "done"})
    engine.dispose()
    fields = {name: f'[data-field="{name}"]' for name in ("images", "learning_rate", "flip", "precision")}
    with app_at(tmp_path) as (address, _), train_page(visitor, address) as page:
        expect(own(page, "data")).to_have_value("", timeout=JOB_MS)
        page.locator("summary", has_text="advanced").click()
        page.locator(fields["images"]).locator("input").fill("640")
        page.get_by_role("button", name="all defaults").click()
        expect(page.locator(fields["images"]).locator("input")).to_have_value(str(config.images), timeout=JOB_MS)
        expect(own(page, "data")).to_have_value("")  # nothing is trained on that nobody chose
        own(page, "data").select_option("world:2000")
        page.locator(fields["images"]).locator("input").fill("640")
        page.locator(fields["flip"]).locator("input").check()
        page.locator(fields["precision"]).locator("select").select_option("no")
        row(page, "cups").get_by_role("button", name="duplicate").click()
        own(page, "name").fill("typed-since")
        expect(page.locator(fields["learning_rate"]).locator("input")).to_have_value("0.01", timeout=JOB_MS)
        expect(own(page, "data")).to_have_value("world:12")
        expect(page.locator(fields["images"]).locator("input")).to_have_value(str(config.images))
        expect(page.locator(fields["flip"]).locator("input")).not_to_be_checked()
        expect(page.locator(fields["precision"]).locator("select")).to_have_value("auto")
        expect(own(page, "name")).to_have_value("typed-since")
        expect(page.locator("#plan .command pre")).to_contain_text("--name=typed-since", timeout=JOB_MS)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_is_cut_off_and_a_switch_that_is_on_looks_so(home: Path, visitor: BrowserContext, width: int) -> None:
    with app_at(home) as (address, _), train_page(visitor, address) as page:
        fits(page, width)
        switches = page.locator(".field.switch input")
        looks = switches.evaluate_all("all => all.map(each => [each.checked, getComputedStyle(each).appearance])")
        assert {on for on, _ in looks} == {True, False}
        assert {look for _, look in looks} == {"auto"}, "without it Gradio's own style draws a white tick on white"
        page.locator("summary", has_text="advanced").click()
        to_hardware, to_data = (page.locator(f'[data-to="{title}"]') for title in ("Hardware", "Data"))
        expect(page.locator('[data-field="precision"]')).not_to_be_in_viewport()
        to_hardware.click()
        expect(page.locator('[data-field="precision"] select')).to_be_in_viewport(ratio=1)
        expect(to_data).to_be_in_viewport(ratio=1)  # it stays above the groups
        fits(page, width)


@pytest.fixture(scope="module")
def noted_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two runs that are done; of one more number is known than of the other."""
    home = tmp_path_factory.mktemp("noted")
    engine = open_engine(database_url(home))
    for name, rate, extra in (("cups", 0.001, {}), ("bowls", 0.01, {"zero_shot_acc1": 0.5})):
        out = home / "runs" / name
        out.mkdir(parents=True)
        steps = [{"step": step, "images": 4 * step, "loss": 3.0 - step / 10, "box": 1.0 / step} for step in (1, 2, 3)]
        evaluated = {"step": 3, "images": 12, "held_out_grounding_acc50": 0.5} | extra
        (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (*steps, evaluated)))
        train = json.loads(json.dumps(asdict(TrainConfig(home, out, name=name, learning_rate=rate)), default=str))
        with transaction(engine) as session:
            job = enqueue_job(session, kind="train", owner="ada", config={"train": train, "asked": {}}, argv=["true"])
            job.sqlmodel_update({"state": "done"})
    engine.dispose()
    return home


@pytest.mark.slow
def test_runs_are_noted_found_sorted_compared_and_downloaded(noted_home: Path, visitor: BrowserContext) -> None:
    answers = {"Note": "with red lids", "Tags, separated by commas": "baseline, old"}
    with app_at(noted_home) as (address, _), train_page(visitor, address, "?run=1,2") as page:
        page.on("dialog", lambda dialog: dialog.accept(answers[dialog.message]))
        watched, found = page.locator("#watched"), page.locator("#runs .run")
        expect(watched.locator(".differences")).to_contain_text("learning_rate", timeout=JOB_MS)
        lefts = (
            "table => [...table.querySelectorAll('th[scope=col], td + td')].map(e => e.getBoundingClientRect().left)"
        )
        head, below = np.split(np.array(watched.locator(".differences").evaluate(lefts)), [2])
        assert below.size and (below == head[1]).all(), "a run's values stand below its name"
        expect(page.locator(".curve:visible", has_text="L_box 0.333 (cups · 1), ")).to_have_count(1, timeout=JOB_MS)
        expect(page.locator(".curve:visible", has_text="Zero-shot 0.5 (bowls · 2)")).to_have_count(1)
        expect(watched).not_to_contain_text("nan")
        expect(page.locator(".curve:visible")).to_have_count(3)  # none of numbers that no run has
        watched.get_by_role("button", name="note of cups · 1").click()
        expect(watched).to_contain_text("with red lids", timeout=JOB_MS)
        watched.get_by_role("button", name="tags of cups · 1").click()
        expect(row(page, "cups")).to_contain_text("baseline", timeout=JOB_MS)
        expect(found).to_have_count(2)
        words = page.locator("#run-words").locator("input, textarea")
        words.fill("red OLD")
        expect(found).to_have_count(1, timeout=JOB_MS)
        words.fill("nothing like it")
        expect(page.locator("#runs")).to_contain_text("No such run", timeout=JOB_MS)
        words.fill("")
        expect(found.first).to_contain_text("bowls", timeout=JOB_MS)
        page.locator("#run-order input").click()
        page.get_by_role("option", name="name", exact=True).click()
        expect(found.last).to_contain_text("cups", timeout=JOB_MS)
        with page.expect_download() as download:
            watched.get_by_role("button", name="download the metrics of cups · 1").click()
        assert download.value.suggested_filename == "cups.metrics.jsonl"
        assert Path(download.value.path()).read_bytes() == (noted_home / "runs" / "cups" / "metrics.jsonl").read_bytes()
        fits(page, 400)
        button = found.last.get_by_role("button", name="duplicate")
        button.scroll_into_view_if_needed()
        box = button.bounding_box()
        assert box and box["x"] + box["width"] <= 400, "what does not fit is scrolled to"
