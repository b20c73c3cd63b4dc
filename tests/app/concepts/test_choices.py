"""What was chosen on Novel concepts stays chosen from step to step, and a finger finds what it presses on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from app.services import Services
from tests.support.browser_fixtures import opened, settled
from tests.support.fake_app import environment_in, running
from tests.support.two_data_sets import two_data_sets

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("choices")
    with environment_in(folder):
        yield two_data_sets(folder)


def choose(page: Page, field: str, name: str) -> None:
    page.locator(f"#{field} input").first.click()
    page.get_by_role("option", name=name, exact=True).first.click()


def chosen(page: Page, *fields: str) -> list[str]:
    return [page.locator(f"#{field} input").first.input_value() for field in fields]


def go(page: Page, step: str) -> None:
    page.locator(f'#steps [data-ask*="{step}"]').click()
    expect(page).to_have_url(re.compile(f"step={step}"))
    settled(page)


def test_a_choice_stays_from_step_to_step_and_a_version_only_within_its_set(
    services: Services, visitor: BrowserContext
) -> None:
    with running(services) as address, opened(visitor, f"{address}concepts?set=alpha&step=leaks", "#work") as page:
        settled(page)
        assert chosen(page, "training", "embeddings") == ["beta", "contents and looks only"]
        choose(page, "training", "beta, version v1")
        choose(page, "embeddings", "sample")
        go(page, "evaluate")
        assert chosen(page, "version", "evaluated") == ["only-alpha", "photo"]
        choose(page, "version", "v1")
        choose(page, "evaluated", "sample")
        go(page, "leaks")
        assert chosen(page, "training", "embeddings") == ["beta, version v1", "sample"]
        go(page, "evaluate")
        assert chosen(page, "version", "evaluated") == ["v1", "sample"]
        choose(page, "dataset", "beta")
        expect(page).to_have_url(re.compile("set=beta"))
        go(page, "leaks")
        assert chosen(page, "training", "embeddings") == ["alpha", "sample"], "nothing is compared with itself"
        choose(page, "dataset", "alpha")
        expect(page).to_have_url(re.compile("set=alpha"))
        go(page, "evaluate")
        assert chosen(page, "version", "evaluated") == ["only-alpha", "sample"], "v1 was that of another set"


PRESSED = {
    "concepts?set=alpha&step=classes": "#navigation a, #steps button, .step-form button",
    "train": ".train-form :is(.recipes button, select)",
    "data": ".columns.data button:not(.icon)",
}
"""Address -> what is pressed there."""
HEIGHTS = "all => all.map(each => each.getBoundingClientRect().height).filter(height => height)"


def test_on_a_phone_what_is_pressed_is_as_high_as_a_finger(services: Services, visitor: BrowserContext) -> None:
    with running(services) as address:
        for place, pressed in PRESSED.items():
            with opened(visitor, f"{address}{place}", pressed) as page:
                page.set_viewport_size({"width": 400, "height": 900})
                settled(page)
                heights = page.locator(pressed).evaluate_all(HEIGHTS)
                assert heights and min(heights) >= 40, place
        with opened(visitor, f"{address}home", "#own-accept") as page:
            page.set_viewport_size({"width": 400, "height": 900})
            settled(page)
            box = page.locator("#own-accept").bounding_box()
            field = page.locator("#own-name").locator("input, textarea").bounding_box()
            assert box and box["width"] > 200, "its label has a line, not a column of words"
            assert field and field["y"] + field["height"] <= box["y"], "and lies below the field beside it"
