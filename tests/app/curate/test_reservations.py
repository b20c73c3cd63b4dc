"""Several people who review one data set at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlmodel import select

from app.core.settings import Settings
from app.curate.actions import CurateQuery
from app.curate.reservations import HELD_S, Reservations
from app.services import Services
from db.engine import reading, transaction
from db.models import RegionEdit, RegionRow
from db.queries.region_queries import NewRegion, add_regions
from tests.support.browser_fixtures import new_visitor
from tests.support.databases import filled
from tests.support.house import House, open_house, password
from tests.support.review_home import review_home
from tests.support.waiting import until

PICTURES = 9
SHARED = 30  # pictures of two people in browsers: more than a page has before their turn
VERDICTS = 8  # of each of them


class Review:
    """A data set of PICTURES pictures, and people who ask for the next ones."""

    def __init__(self, home: Path) -> None:
        self.services = Services(Settings(home=home))
        dataset_id = filled(self.services.engine, PICTURES)
        rows = [NewRegion(1 + number, (0, 0, 0.5, 0.5), "a lid", "owlv2@1", 0.5) for number in range(PICTURES)]
        with transaction(self.services.engine) as session:
            add_regions(session, dataset_id=dataset_id, rows=rows)
        self.seconds = 0.0
        self.reservations = Reservations(lambda: self.seconds)
        self.after: dict[str, str] = {}

    def next(self, who: str, *, skip: Sequence[int] = (), count: int = 4) -> tuple[list[int], bool]:
        """Return pictures, and whether nothing follows."""
        query, after = CurateQuery(dataset="lids"), self.after.get(who, "")
        ahead = self.reservations.next_pictures(self.services, query, after, who=who, skip=skip, count=count)
        self.after[who] = ahead.after
        return list(ahead.pictures), ahead.end


@pytest.fixture
def review(tmp_path: Path) -> Review:
    return Review(tmp_path)


def test_two_people_get_different_pictures_and_in_the_end_any(review: Review) -> None:
    ada, _ = review.next("ada")
    bo, _ = review.next("bo")
    assert len(ada) == len(bo) == 4 and not {*ada} & {*bo}
    last, end = review.next("bo", skip=bo)
    assert (len(last), end) == (1, False) and not {*last} & {*ada, *bo}
    rest, end = review.next("bo", skip=[*bo, *last])
    assert ({*rest}, end) == ({*ada}, True), "ada may have gone home"


def test_what_somebody_has_is_free_again_after_a_while_unless_they_go_on(review: Review) -> None:
    ada, _ = review.next("ada")
    review.seconds += HELD_S - 1
    review.reservations.renew("ada")
    review.seconds += HELD_S - 1
    assert not {*review.next("bo")[0]} & {*ada}
    review.after.clear()
    review.seconds += 1
    assert review.next("cy")[0] == ada


def test_one_person_alone_gets_everything_again(review: Review) -> None:
    ada, _ = review.next("ada", count=PICTURES)
    review.after.clear()  # the page was loaded again, or is open twice
    assert review.next("ada", count=PICTURES)[0] == ada and len(ada) == PICTURES


def test_what_two_ask_for_in_the_same_moment_is_given_to_one(review: Review) -> None:
    assert review.reservations.hold([1, 2], who="ada")
    assert not review.reservations.hold([2, 3], who="bo")
    assert review.reservations.hold([3], who="bo") and not review.reservations.hold([3], who="ada")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The app where people sign in, with a data set that they share."""
    folder = tmp_path_factory.mktemp("shared")
    review_home(folder / "home", pictures=SHARED)
    with open_house(folder) as house:
        yield house


def signed_in_page(browser: Browser, house: House, name: str) -> Page:
    visitor = new_visitor(browser, viewport={"width": 1400, "height": 1300})
    visitor.request.post(f"{house.url}login", form={"username": name, "password": password(name)})
    page = visitor.new_page()
    page.goto(f"{house.url}curate?dataset=drawn")
    expect(page.locator("#regions .tile").first).to_be_visible()
    return page


def edits_by(house: House, name: str) -> list[int]:
    """The picture of each edit of that person."""
    edited = select(RegionRow.image_id).where(RegionRow.id == RegionEdit.region_id, RegionEdit.who == name)
    with reading(house.services.engine) as session:
        return list(session.exec(edited))


def test_two_people_in_two_browsers_decide_different_pictures_and_meet_no_conflict(
    browser: Browser, shared: House
) -> None:
    pages = [signed_in_page(browser, shared, name) for name in ("ada", "carl")]
    for page in pages:
        page.locator("#review").click()
    for _ in range(VERDICTS):
        for page in pages:
            expect(page.locator("#editor .text.chosen")).to_be_visible()
            page.keyboard.press("a")
    until(lambda: all(len(edits_by(shared, name)) == VERDICTS for name in ("ada", "carl")))
    assert not {*edits_by(shared, "ada")} & {*edits_by(shared, "carl")}
    for page in pages:
        expect(page.locator("#editor .stage")).to_have_attribute("data-conflicts", "0")
        page.context.close()
