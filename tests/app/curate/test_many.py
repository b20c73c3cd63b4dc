"""Acts on many regions of the gallery: what is selected, the question with its count, one undo, the trash, filters."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from db.engine import Engine, reading, transaction
from db.models import Status
from db.queries.curate_filter import CurateFilter
from db.queries.curate_queries import delete_region
from db.queries.gallery_queries import curate_page
from db.queries.history_queries import history_page
from tests.support.browser_fixtures import opened, settled
from tests.support.paths import ROOT
from tests.support.waiting import until


@pytest.fixture
def page(address: str, visitor: BrowserContext) -> Iterator[Page]:
    with opened(visitor, f"{address}curate", "#regions .tile", height=1500) as page:
        settled(page)
        yield page


@pytest.fixture(scope="module")
def scripts(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.add_script_tag(content=(ROOT / "app/curate/picked.js").read_text())
    yield page
    page.close()


def test_a_click_a_range_and_all_of_the_filter_are_selected(scripts: Page) -> None:
    found = scripts.evaluate("""() => {
      const shown = [[9, 1], [8, 1], [7, 2], [6, 2], [5, 3]], picks = pickedRegions(), seen = [];
      const see = () => seen.push([picks.ids(), picks.words()]);
      picks.pick(8, shown), see();
      picks.pick(5, shown, { range: true }), see();
      picks.pick(7, shown), see();
      picks.pickFilter(), see();
      picks.pick(9, shown), see(); // all but this one of the page
      picks.clear(), see();
      picks.pick(6, shown, { range: true }), see(); // a range from nowhere
      picks.pick(99, shown), see();
      return seen;
    }""")
    assert found == [
        [[8], "1 region on 1 picture selected"],
        [[8, 7, 6, 5], "4 regions on 3 pictures selected"],
        [[8, 6, 5], "3 regions on 3 pictures selected"],
        [None, "All of the filter"],
        [[8, 7, 6, 5], "4 regions on 3 pictures selected"],
        [[], ""],
        [[6], "1 region on 1 picture selected"],
        [[6], "1 region on 1 picture selected"],
    ]


def counted(engine: Engine, *statuses: Status) -> int:
    with reading(engine) as session:
        return len(curate_page(session, dataset_id=1, filters=CurateFilter(statuses=statuses), limit=1_000).regions)


def press(page: Page, kind: str) -> None:
    """Press an act, and see its question."""
    page.locator(f'.bulk [data-kind="{kind}"]').click()


@pytest.mark.slow
def test_many_are_rejected_and_undone_by_one_key_in_the_order_in_which_things_were_done(
    page: Page, engine: Engine
) -> None:
    tiles = page.locator("#regions .tile")
    ids = [int(tile.get_attribute("data-id") or 0) for tile in tiles.all()[:6]]
    tiles.nth(0).locator(".pick").click()
    tiles.nth(5).click(modifiers=["Shift"])
    expect(page.locator(".bulk-count")).to_have_text(re.compile(r"6 regions on \d pictures? selected"))
    expect(page.locator("#editor .editor")).to_have_count(0)
    press(page, "reject")
    question = page.locator(".bulk-answer")
    expect(question).to_have_text(re.compile(r"Reject 6 regions on \d pictures?\?"))
    assert counted(engine, "rejected") == 0
    page.keyboard.press("Enter")  # the button has the focus
    expect(question).to_contain_text("rejected.")
    assert counted(engine, "rejected") == 6
    for number in ids:
        expect(page.locator(f'#regions .tile[data-id="{number}"] .sign')).to_contain_text("rejected")
    expect(page.locator(".bulk-count")).to_have_text("")
    page.locator("#review").click()
    expect(page.locator("#editor .text.chosen")).to_be_visible()
    page.locator("#editor .text.chosen .quiet").click()
    page.keyboard.press("a")
    until(lambda: counted(engine, "accepted") == 1, "the verdict to be saved")
    page.keyboard.press("z")
    until(lambda: counted(engine, "accepted") == 0, "the last one to be undone first")
    assert counted(engine, "rejected") == 6
    page.keyboard.press("z")
    until(lambda: counted(engine, "rejected") == 0, "then all of the many")
    expect(question).to_have_text("6 regions: undone.")
    page.keyboard.press("Shift+Z")
    until(lambda: counted(engine, "rejected") == 6, "all to be done again")
    expect(question).to_have_text("6 regions: done again.")
    page.keyboard.press("Shift+Z")
    until(lambda: counted(engine, "accepted") == 1, "and the one after it")
    page.keyboard.press("z")
    until(lambda: counted(engine, "accepted") == 0, "undone again")
    page.keyboard.press("z")
    until(lambda: counted(engine, "rejected") == 0, "undone again")
    expect(page.locator("#editor .conflict")).to_have_count(0)


@pytest.mark.slow
def test_what_is_open_is_seen_anew_and_its_next_verdict_does_not_conflict(page: Page, engine: Engine) -> None:
    page.locator("#advance input").uncheck()
    page.locator("#regions .tile").nth(3).click()
    expect(page.locator("#editor .text.chosen")).to_be_visible()
    chosen = int(page.locator("#editor .text.chosen").get_attribute("data-id") or 0)
    page.locator('[data-pick="all"]').click()
    expect(page.locator(".bulk-count")).to_have_text("All of the filter")
    press(page, "accept")
    everything = counted(engine, "pending", "accepted", "rejected")
    expect(page.locator(".bulk-answer")).to_contain_text(f"Accept {everything} regions on 12 pictures?")
    page.locator(".bulk [data-do]").click()
    expect(page.locator(f'#editor .text[data-id="{chosen}"] button.accepted')).to_have_attribute("aria-pressed", "true")
    page.locator("#editor .text.chosen .quiet").click()
    page.keyboard.press("r")
    until(lambda: counted(engine, "rejected") == 1, "the verdict to be saved")
    expect(page.locator("#editor .conflict")).to_have_count(0)
    page.keyboard.press("z")
    until(lambda: counted(engine, "accepted") == everything, "undone")
    page.keyboard.press("r")
    until(lambda: counted(engine, "rejected") == 1, "the verdict to be saved")
    page.locator(".bulk [data-undo]").click()
    until(lambda: counted(engine, "pending") == everything - 1, "all but what was judged since to be undone")
    expect(page.locator(".bulk-answer")).to_contain_text("undone")
    page.keyboard.press("z")
    until(lambda: counted(engine, "rejected") == 0, "the verdict to be undone")


@pytest.mark.slow
def test_a_tag_is_given_filtered_by_and_kept_as_a_filter(page: Page, engine: Engine) -> None:
    page.locator("#regions .tile").nth(1).click(modifiers=["Control"])
    page.locator("#regions .tile").nth(2).click(modifiers=["Control"])
    press(page, "tag")
    page.keyboard.type("look again: & more")
    page.keyboard.press("Enter")
    expect(page.locator(".bulk-answer")).to_contain_text("Tag 2 regions")
    page.locator(".bulk [data-do]").click()
    expect(page.locator("#regions .tile .tags")).to_have_count(2)
    page.locator("#library-fold > button").click()
    page.locator("#library a", has_text="look again: & more").click()
    expect(page.locator("#regions .tile")).to_have_count(2)
    expect(page).to_have_url(re.compile("tag=look"))
    expect(page.locator("#tag input")).to_have_value("look again: & more")
    settled(page)
    page.locator("#library-fold > button").click()
    page.locator(".keep-filter input").fill("two of them")
    page.keyboard.press("Enter")
    kept = page.locator("#library .kept-filter", has_text="two of them")
    expect(kept.locator("a")).to_have_attribute("href", re.compile(r"dataset=drawn&tag=look"))
    page.locator(".keep-filter input").fill("two of then")
    page.keyboard.press("Enter")
    expect(page.locator("#library [data-drop]")).to_have_count(2)
    place = page.locator("#library [data-drop]").first.bounding_box()
    assert place
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    page.mouse.click(x, y)
    expect(page.locator("#library [data-drop]")).to_have_count(1)
    settled(page)
    page.mouse.down(button="left", click_count=2)  # the second press of a double click, where the other one is by now
    page.mouse.up(button="left", click_count=2)
    settled(page)
    page.locator("#library [data-drop]").click()
    expect(page.locator("#library [data-drop]")).to_have_count(0)


@pytest.mark.slow
def test_a_tag_that_is_refused_stays_in_its_field_to_be_corrected(page: Page) -> None:
    page.locator("#regions .tile").nth(1).click(modifiers=["Control"])
    press(page, "tag")
    page.keyboard.type("again! ")
    page.keyboard.press("Enter")
    expect(page.locator(".bulk-answer")).to_contain_text("a name of letters")
    field = page.locator(".bulk-text input")
    expect(field).to_have_value("again! ")
    expect(field).to_be_focused()
    field.fill("blurred")
    page.keyboard.press("Enter")
    expect(page.locator(".bulk-answer")).to_contain_text("Tag 1 region on 1 picture: blurred?")
    expect(field).to_be_hidden()


@pytest.mark.slow
def test_what_is_deleted_is_in_the_trash_and_comes_back(page: Page, engine: Engine) -> None:
    everything = counted(engine, "pending")
    for place in (4, 7):
        page.locator("#regions .tile").nth(place).click(modifiers=["Control"])
    press(page, "delete")
    page.locator(".bulk [data-do]").click()
    expect(page.locator(".bulk-answer")).to_contain_text(re.compile(r"2 regions on \d pictures? deleted"))
    assert counted(engine, "deleted") == 2
    page.locator("#library-fold > button").click()
    page.locator("#library a", has_text="2 regions on").click()
    expect(page.locator("#regions .tile")).to_have_count(2)
    settled(page)
    page.locator('[data-pick="all"]').click()
    press(page, "accept")
    expect(page.locator(".bulk-answer")).to_contain_text("It would change none of the 2 selected")
    press(page, "restore")
    page.locator(".bulk [data-do]").click()
    until(lambda: counted(engine, "pending") == everything, "both to be restored")


@pytest.mark.slow
def test_the_trash_is_emptied_only_as_it_was_seen(page: Page, engine: Engine) -> None:
    number = int(page.locator("#regions .tile").nth(9).get_attribute("data-id") or 0)
    page.locator("#regions .tile").nth(9).click(modifiers=["Control"])
    press(page, "delete")
    page.locator(".bulk [data-do]").click()
    expect(page.locator(".bulk-answer")).to_contain_text("1 region on 1 picture deleted")
    page.locator("#library-fold > button").click()
    expect(page.locator("#library [data-empty]")).to_have_attribute("data-empty", "1")
    page.locator(".empty-trash summary").click()
    with transaction(engine) as session:  # somebody else deletes one more meanwhile
        other = curate_page(session, dataset_id=1, filters=CurateFilter(statuses=("pending",)), limit=1).regions[0]
        delete_region(session, region_id=other.id, expected_version=other.version, who="Ada")
    page.locator("#library [data-empty]").click()
    expect(page.locator(".toast-body")).to_contain_text("The trash has 2 regions by now")
    expect(page.locator("#library [data-empty]")).to_have_attribute("data-empty", "2")
    assert counted(engine, "deleted") == 2
    page.locator(".empty-trash summary").click()
    page.locator("#library [data-empty]").click()
    until(lambda: counted(engine, "deleted") == 0, "it to be emptied")
    expect(page.locator("#library")).to_contain_text(re.compile(r"2 regions on \d pictures? removed for good"))
    with reading(engine) as session:
        for image in range(1, 13):
            assert history_page(session, image_id=image, region_id=number) == []
