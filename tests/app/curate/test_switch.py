"""What Curate does when the data set changes, or when a link names what is gone: the page stays usable and says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from sqlmodel import select

from app.curate.actions import CurateQuery, filter_choices
from app.services import Services
from db.engine import reading, transaction
from db.models import RegionRow
from db.queries.curate_filter import CurateFilter
from db.queries.data_set_queries import existing_dataset
from db.queries.run_queries import start_run
from tests.support.browser_fixtures import opened, settled
from tests.support.fake_app import environment_in, running
from tests.support.two_data_sets import ALPHA_SOURCE, BETA_SOURCE, two_data_sets
from tests.support.waiting import until

NEWER_RUNS = 51  # than the first one: more than are offered
RECIPES = {"describe": "a" * 64}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("switching")
    with environment_in(folder):
        yield two_data_sets(folder)


@pytest.fixture(scope="module")
def address(services: Services) -> Iterator[str]:
    with running(services) as address:
        yield address


def choose(page: Page, field: str, name: str) -> None:
    page.locator(f"#{field} input").first.click()
    page.get_by_role("option", name=name, exact=True).first.click()


def rejected(services: Services, dataset: str) -> set[int]:
    with reading(services.engine) as session:
        number = existing_dataset(session, name=dataset).id
        asked = select(RegionRow.id).where(RegionRow.dataset_id == number, RegionRow.status == "rejected")
        return set(session.exec(asked))


def test_what_a_filter_names_and_the_data_set_lacks_is_a_choice_all_the_same(services: Services) -> None:
    with transaction(services.engine) as session:
        number = existing_dataset(session, name="alpha").id
        first, *_ = [start_run(session, dataset_id=number, config={}, recipes=RECIPES).id for _ in range(NEWER_RUNS)]
    found = filter_choices(services, CurateQuery(dataset="alpha", filters=CurateFilter(run_id=first)))
    assert first in found.runs and not found.gone, "an old run is one, too"
    filters = CurateFilter(source=ALPHA_SOURCE, tag="dull", run_id=first)
    found = filter_choices(services, CurateQuery(dataset="beta", filters=filters))
    assert (list(found.sources), list(found.runs)) == ([BETA_SOURCE, ALPHA_SOURCE], [first])
    assert list(found.gone) == [f"source “{ALPHA_SOURCE}”", "tag “dull”", f"run {first}"]


@pytest.mark.slow
def test_another_data_set_drops_the_source_of_the_one_before_and_keys_judge_its_own_regions(
    address: str, visitor: BrowserContext, services: Services
) -> None:
    of_alpha, link = rejected(services, "alpha"), f"{address}curate?dataset=alpha&source={ALPHA_SOURCE}"
    with opened(visitor, link, "#regions .tile") as page:
        settled(page)
        choose(page, "dataset", "beta")
        expect(page.locator("#regions .tile")).to_have_count(8)
        settled(page)
        assert "dataset=beta" in page.url and "source" not in page.url
        page.locator("#review").click()
        expect(page.locator("#editor .text.chosen input")).to_have_value("thing 16")
        page.keyboard.press("r")
        until(lambda: len(rejected(services, "beta")) == 1, "the verdict to be saved")
        expect(page.locator(".toast-body")).to_have_count(0)
    assert rejected(services, "alpha") == of_alpha


@pytest.mark.slow
def test_a_link_to_a_source_that_is_gone_says_so_and_leaves_a_page_to_work_on(
    address: str, visitor: BrowserContext
) -> None:
    with opened(visitor, f"{address}curate?dataset=alpha&source=gone@1&run_id=999", "#note-gallery .notice") as page:
        note = page.locator("#note-gallery")
        expect(note).to_have_text(
            "“alpha” has no source “gone@1” and no run 999: choose another, or “any”, under More filters."
        )
        expect(page.locator("#source input")).to_have_value("gone@1")
        expect(page.locator("#regions .tile")).to_have_count(0)
        choose(page, "source", "any")
        expect(note).to_have_text("“alpha” has no run 999: choose another, or “any”, under More filters.")
        choose(page, "run", "any")
        expect(page.locator("#regions .tile").first).to_be_visible()
        expect(note).to_be_empty()
        page.locator("#review").click()
        expect(page.locator("#editor .text.chosen")).to_be_visible()
