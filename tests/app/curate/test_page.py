"""The Curate page in a real Chromium, with the real app in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, FloatRect, Page, Route, expect

from curation.explore.atlas import Atlas, atlas_path, save
from db.engine import Engine, reading, transaction
from db.queries.curate_queries import edit_region, set_status
from db.queries.data_set_queries import image_page
from db.queries.edit_values import RegionChange
from db.queries.gallery_queries import curate_page
from db.queries.history_queries import history_page
from db.queries.region_queries import get_region, regions_of
from tests.support.browser_fixtures import ACTS, EDITOR_ASKS, draw_box, fits, held_events, intercept, opened, settled
from tests.support.waiting import until


@pytest.fixture
def page(address: str, visitor: BrowserContext) -> Iterator[Page]:
    with opened(visitor, f"{address}curate", "#regions .tile", height=1500) as page:
        yield page


def chosen(page: Page) -> int:
    return int(page.locator("#editor .text.chosen").get_attribute("data-id") or 0)


def saved(page: Page) -> None:
    """Wait until the editor has nothing left to save."""
    expect(page.locator("#editor .stage")).to_have_attribute("data-unsaved", "0")


def status(engine: Engine, region: int) -> str:
    with reading(engine) as session:
        row = get_region(session, region_id=region)
    assert row is not None
    return row.status


def open_first(page: Page) -> int:
    """Press the first region without a verdict."""
    page.locator("#review").click()
    expect(page.locator("#editor .text.chosen")).to_be_visible()
    page.locator("#editor .text.chosen .quiet").click()
    return chosen(page)


def draw_a_corner(page: Page) -> FloatRect:
    """Draw a box at the upper left of the picture; return where the picture is."""
    frame = page.locator("#editor .frame svg").bounding_box()
    assert frame
    draw_box(page, (frame["x"] + 8, frame["y"] + 8), (frame["x"] + 98, frame["y"] + 88))
    return frame


def test_verdicts_by_key_lead_to_the_next_region_and_are_undone(page: Page, engine: Engine) -> None:
    first = open_first(page)
    page.keyboard.press("a")
    expect(page.locator(f'#editor .text[data-id="{first}"]')).not_to_have_class(re.compile("chosen"))
    expect(page.locator(f'#regions .tile[data-id="{first}"] .sign')).to_contain_text("accepted")
    until(lambda: status(engine, first) == "accepted", "the verdict to be saved")
    second = chosen(page)
    page.keyboard.press("r")
    expect(page.locator(f'#editor .text.chosen[data-id="{second}"]')).to_have_count(0)
    until(lambda: status(engine, second) == "rejected", "the verdict to be saved")
    page.keyboard.press("z")
    expect(page.locator("#editor .feedback")).to_have_text("Undone.")
    assert status(engine, second) == "pending"
    assert chosen(page) == second, "the undo leads back"


@pytest.mark.slow
def test_a_box_is_drawn_moved_and_undone_with_its_text_and_its_score(page: Page, engine: Engine) -> None:
    open_first(page)
    frame = draw_a_corner(page)
    page.locator(".prompt input").fill("a <b>corner</b>")
    page.keyboard.press("Enter")
    expect(page.locator("#editor .text.chosen input")).to_have_value("a <b>corner</b>")
    expect(page.locator("#editor .feedback")).to_have_text(re.compile(r"GRAIN -?\d\.\d\d"))
    drawn = chosen(page)
    page.mouse.move(frame["x"] + 50, frame["y"] + 50)
    page.mouse.down()
    page.mouse.move(frame["x"] + 90, frame["y"] + 70, steps=4)
    page.mouse.up()
    expect(page.locator("#editor .feedback")).to_have_text(re.compile(r"GRAIN -?\d\.\d\d → -?\d\.\d\d"))
    with reading(engine) as session:
        row = get_region(session, region_id=drawn)
        assert row is not None
        moved = [edit.what for edit in history_page(session, image_id=row.image_id, region_id=drawn)]
    assert row.x1 == pytest.approx(48 / frame["width"], abs=0.01) and row.text == "a <b>corner</b>"
    assert (row.source, row.status, moved) == ("human:local", "accepted", ["edited", "created"])
    page.locator("#editor .text.chosen .quiet").click()
    page.keyboard.press("z")
    expect(page.locator("#editor .feedback")).to_have_text("Undone.")
    with reading(engine) as session:
        row = get_region(session, region_id=drawn)
    assert row is not None and row.x1 == pytest.approx(8 / frame["width"], abs=0.01)
    page.mouse.move(frame["x"] + 8, frame["y"] + 8)
    assert (
        page.evaluate("([x, y]) => document.elementFromPoint(x, y).className", [frame["x"] + 8, frame["y"] + 8])
        == "handle nw"
    )
    draw_a_corner(page)  # from its handle: Shift draws there too, and leaves the box below as it is
    expect(page.locator(".prompt input")).to_be_focused()
    page.keyboard.press("Escape")
    with reading(engine) as session:
        assert get_region(session, region_id=drawn) == row


def test_of_two_who_change_the_same_the_second_sees_both_versions(page: Page, engine: Engine) -> None:
    region = open_first(page)
    change = RegionChange(text="what Ada wrote")
    with transaction(engine) as session:
        row = get_region(session, region_id=region)
        assert row is not None
        edit_region(session, region_id=region, expected_version=row.version, who="Ada", change=change)
    field = page.locator(f'#editor .text[data-id="{region}"] input')
    field.fill("what I wrote")
    field.press("Enter")
    conflict = page.locator("#editor .conflict")
    expect(conflict).to_contain_text("Ada changed this meanwhile")
    expect(conflict).to_contain_text("what Ada wrote")
    expect(conflict).to_contain_text("what I wrote")
    conflict.get_by_text("use mine").click()
    expect(field).to_have_value("what I wrote")
    expect(conflict).to_have_count(0)
    saved(page)
    with reading(engine) as session:
        row = get_region(session, region_id=region)
        assert row is not None and row.text == "what I wrote"
        texts = [edit.after["text"] for edit in history_page(session, image_id=row.image_id, region_id=region)]
    assert texts[:2] == ["what I wrote", "what Ada wrote"], "nothing acknowledged is lost"


def test_several_conflicts_are_shown_one_after_the_other_and_decided_at_once(
    page: Page, address: str, engine: Engine
) -> None:
    with reading(engine) as session:
        images = [image.id for image in image_page(session, dataset_id=1, limit=100)]
        pending = {
            image: [row for row in rows if row.status == "pending"]
            for image, rows in regions_of(session, image_ids=images).items()
        }
    image, rows = next(each for each in pending.items() if len(each[1]) > 2)  # not among the newest, which others use
    page.goto(f"{address}curate?image={image}")
    page.locator("#advance input").uncheck()
    expect(page.locator(f'#editor .text[data-id="{rows[0].id}"]')).to_be_visible()
    with transaction(engine) as session:
        for row in rows:
            set_status(session, region_id=row.id, expected_version=row.version, who="Ada", status="rejected")
    regions, first = [row.id for row in rows], rows[0].text
    held = hold_answers(page)
    for each in regions:
        page.locator(f'#editor .text[data-id="{each}"] button.accepted').click()
    sent(page, held)
    let_come(page, held)
    conflict = page.locator("#editor .conflict")
    expect(conflict).to_contain_text(f"{len(regions)} of your changes wait like this one")
    expect(conflict).to_have_count(1)
    expect(conflict).to_contain_text(f"“{first}”")
    expect(page.locator("#editor .unsaved")).to_have_text("")  # nothing is on its way: all of them wait
    conflict.get_by_role("button", name="keep theirs", exact=True).click()
    expect(conflict).to_contain_text(f"{len(regions) - 1} of your changes")
    conflict.get_by_role("button", name="use mine in all").click()
    expect(conflict).to_have_count(0)
    saved(page)
    assert [status(engine, each) for each in regions] == ["rejected", *["accepted"] * (len(regions) - 1)]


@pytest.mark.slow
def test_what_is_done_before_the_answer_comes_is_done_in_its_turn(page: Page, engine: Engine) -> None:
    """Words and a verdict in one movement, then two verdicts at once: none is lost, none done twice, none conflicts."""
    page.locator("#advance input").uncheck()
    first = open_first(page)
    row = page.locator(f'#editor .text[data-id="{first}"]')
    row.locator("input").fill("written in a hurry")
    row.locator("button.accepted").click()  # leaving the field asks for the words, the button for the verdict
    expect(row.locator("button.accepted")).to_have_attribute("aria-pressed", "true")
    expect(row.locator("input")).to_have_value("written in a hurry")
    others = [int(each.get_attribute("data-id") or 0) for each in page.locator("#editor .text").all()]
    page.evaluate(
        """(rows) => rows.forEach((id) =>
      document.querySelector(`#editor .text[data-id="${id}"] button.rejected`).click())""",
        others,
    )
    for each in others:
        rejected = page.locator(f'#editor .text[data-id="{each}"] button.rejected')
        expect(rejected).to_have_attribute("aria-pressed", "true")
    saved(page)
    expect(page.locator("#editor .conflict")).to_have_count(0)
    with reading(engine) as session:
        row_now = get_region(session, region_id=first)
        assert row_now is not None and (row_now.text, row_now.status) == ("written in a hurry", "rejected")
        done = history_page(session, image_id=row_now.image_id, region_id=first, limit=3)
    assert [edit.what for edit in done] == ["rejected", "accepted", "edited"]
    page.evaluate(
        """() => { for (const times of [1, 2]) document.dispatchEvent(new KeyboardEvent("keydown", {key: "z"})) }"""
    )
    expect(page.locator("#editor .feedback")).to_have_text("Undone.")


def test_a_conflict_stays_until_a_person_chooses_whatever_was_done_meanwhile(page: Page, engine: Engine) -> None:
    page.locator("#advance input").uncheck()
    first = open_first(page)
    other = next(
        id for each in page.locator("#editor .text").all() if (id := int(each.get_attribute("data-id") or 0)) != first
    )
    with transaction(engine) as session:
        row = get_region(session, region_id=first)
        assert row is not None
        change = RegionChange(text="what Ada wrote in the meantime")
        edit_region(session, region_id=first, expected_version=row.version, who="Ada", change=change)
    verdict = page.locator(f'#editor .text[data-id="{other}"] button.rejected')
    page.locator(f'#editor .text[data-id="{first}"] input').fill("what I wrote meanwhile")
    verdict.click()  # leaving the field asks for the words, which conflict; the verdict is about something else
    conflict = page.locator("#editor .conflict")
    expect(conflict).to_contain_text("what Ada wrote in the meantime")
    expect(verdict).to_have_attribute("aria-pressed", "true")
    until(lambda: status(engine, other) == "rejected", "what is about something else to be saved")
    expect(conflict).to_be_visible()
    expect(page.locator(f'#editor .text[data-id="{first}"] input')).to_have_value("what Ada wrote in the meantime")
    page.locator("#regions .tile .pick").first.click()
    page.locator('.bulk [data-kind="accept"]').click()
    expect(page.locator(".bulk-answer")).to_contain_text("choose a version in the editor first")
    conflict.get_by_text("use mine").click()
    expect(page.locator(f'#editor .text[data-id="{first}"] input')).to_have_value("what I wrote meanwhile")
    expect(conflict).to_have_count(0)
    saved(page)
    with reading(engine) as session:
        row = get_region(session, region_id=first)
    assert row is not None and row.text == "what I wrote meanwhile"


@pytest.mark.slow
def test_what_cannot_be_sent_is_kept_and_sent_again_by_itself(page: Page, engine: Engine) -> None:
    first = open_first(page)
    settled(page)
    assert status(engine, first) == "pending"
    intercept(page, ACTS, lambda route: route.fulfill(status=503, body="Not now.", content_type="text/plain"))
    with page.expect_request(ACTS) as sent:
        page.keyboard.press("a")
    assert '"person":"local"' in (sent.value.post_data or ""), "so that it is never saved as somebody else's"
    expect(page.locator("#editor .unsaved")).to_contain_text("1 not saved yet: Not now. It is kept in this browser")
    second = chosen(page)
    assert second != first and status(engine, first) == "pending"
    page.keyboard.press("r")
    page.unroute(ACTS)
    saved(page)
    assert (status(engine, first), status(engine, second)) == ("accepted", "rejected")


def test_where_only_looking_fails_nothing_is_called_not_saved(page: Page) -> None:
    settled(page)
    intercept(page, EDITOR_ASKS, lambda route: route.fulfill(status=503, body="Not now.", content_type="text/plain"))
    page.locator("#review").click()
    expect(page.locator("#editor .unsaved")).to_have_text("Nothing new comes: Not now.")
    page.unroute(EDITOR_ASKS)
    expect(page.locator("#editor .text.chosen")).to_be_visible()
    expect(page.locator("#editor .unsaved")).to_have_text("")


def hold_answers(page: Page) -> list[Route]:
    """Hold back all that the page asks from now on; continue what is returned to let it come."""
    held: list[Route] = []
    intercept(page, EDITOR_ASKS, lambda route: held.append(route))
    return held


def sent(page: Page, held: list[Route]) -> None:
    """Wait until something is held back; a look at the page lets Playwright hear of it."""
    until(lambda: page.evaluate("true") and held, "something to be sent")


def let_come(page: Page, held: list[Route]) -> None:
    for route in held:
        route.continue_()
    page.unroute(EDITOR_ASKS)


def test_words_typed_while_an_answer_is_on_its_way_stay_words_of_their_own_region(page: Page, engine: Engine) -> None:
    first = open_first(page)
    held = hold_answers(page)
    page.keyboard.press("a")
    second = chosen(page)
    assert second != first, "the next one is on the screen before any answer"
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type("an ard")
    sent(page, held)
    let_come(page, held)
    expect(page.locator("#editor .stage")).to_have_attribute("data-unsaved", "0")
    page.keyboard.type(" ran by a door")
    field = page.locator(f'#editor .text[data-id="{second}"] input')
    expect(field).to_be_focused()
    expect(field).to_have_value("an ard ran by a door")
    others = [int(each.get_attribute("data-id") or 0) for each in page.locator("#editor .text").all()]
    verdicts = {other: status(engine, other) for other in others}
    page.keyboard.press("Enter")
    expect(page.locator(f'#regions .tile[data-id="{second}"] .says')).to_have_text("an ard ran by a door")
    saved(page)
    expect(page.locator("#editor .conflict")).to_have_count(0)
    with reading(engine) as session:
        row = get_region(session, region_id=second)
    assert row is not None and row.text == "an ard ran by a door"
    assert {other: status(engine, other) for other in others} == verdicts and status(engine, first) == "accepted"


@pytest.mark.slow
def test_a_box_drawn_while_an_answer_is_on_its_way_keeps_its_words_and_its_picture(page: Page, engine: Engine) -> None:
    first = open_first(page)
    with reading(engine) as session:
        row = get_region(session, region_id=first)
        found = curate_page(session, dataset_id=1, limit=1000).regions
    assert row is not None
    elsewhere = [each for each in found if each.image_id != row.image_id]
    tiles = page.locator(", ".join(f'#regions .tile[data-id="{each.id}"]' for each in elsewhere))
    held = hold_answers(page)
    tiles.first.click()  # leads to another picture
    draw_a_corner(page)
    page.keyboard.type("a r")
    sent(page, held)
    let_come(page, held)
    settled(page)
    page.keyboard.type("ed corner")
    expect(page.locator(".prompt input")).to_have_value("a red corner")
    expect(page.locator("#editor .editor")).to_have_attribute("data-image", str(row.image_id))
    page.keyboard.press("Enter")
    expect(page.locator("#editor .editor")).not_to_have_attribute("data-image", str(row.image_id))
    saved(page)
    with reading(engine) as session:
        rows = regions_of(session, image_ids=[row.image_id])[row.image_id]
    assert [each.status for each in rows if each.text == "a red corner"] == ["accepted"]
    page.locator("#editor .text.chosen .quiet").click()
    page.keyboard.press("z")
    expect(page.locator("#editor .feedback")).to_have_text("Undone.")
    expect(page.locator("#editor .editor")).to_have_attribute("data-image", str(row.image_id))


@pytest.mark.slow
def test_a_link_brings_filters_and_picture_back(page: Page, address: str, visitor: BrowserContext) -> None:
    first = open_first(page)
    expect(page).to_have_url(re.compile(rf"\?dataset=drawn&region={first}$"))
    words = page.locator("#words textarea, #words input")
    words.fill("re* l*")
    words.press("Enter")
    page.locator("#more-filters > button").click()
    page.locator("#run input").click()
    page.get_by_role("option", name=re.compile(r"^1: .*, sample \+ sample$")).click()
    expect(page).to_have_url(re.compile(rf"dataset=drawn&run_id=1&words=re\*\+l\*&region={first}$"))
    expect(page.locator("#regions .tile").first).to_contain_text("red l")
    found, link = page.locator("#regions .tile").all_inner_texts(), page.url
    with opened(visitor, link, "#editor .text.chosen") as other:
        assert chosen(other) == first
        expect(other.locator("#regions .tile")).to_have_count(len(found))
        assert other.locator("#regions .tile").all_inner_texts() == found
        assert other.locator("#words textarea, #words input").input_value() == "re* l*"
        expect(other.locator("#run input")).to_have_value(re.compile("^1: "))
    with opened(
        visitor, f"{address}curate?region=99999&run_id=x&min_score=7&sort=up&statuses=a,b", "#regions .tile"
    ) as other:
        expect(other.locator("#editor .problem")).to_have_text("There is no region 99999: it was removed meanwhile.")


def test_back_closes_the_editor_and_forward_opens_it_again(page: Page, address: str) -> None:
    expect(page).to_have_url(f"{address}curate?dataset=drawn")
    editor = page.locator("#editor .stage")
    for tile in range(2):  # closed by hand in between: the second is no further step of the way back
        page.locator("#regions .tile").nth(tile).click()
        expect(editor).to_have_attribute("data-open", "1")
        expect(page).to_have_url(re.compile(r"region=\d+$"))
        if tile == 0:
            page.keyboard.press("Escape")
            expect(editor).to_have_attribute("data-open", "")
    opened_region = chosen(page)
    page.go_back()
    expect(editor).to_have_attribute("data-open", "")
    expect(page).to_have_url(f"{address}curate?dataset=drawn")
    page.go_forward()
    expect(editor).to_have_attribute("data-open", "1")
    assert chosen(page) == opened_region
    page.reload()
    expect(page.locator("#editor .text.chosen")).to_have_attribute("data-id", str(opened_region))
    page.go_back()
    expect(editor).to_have_attribute("data-open", "")
    expect(page.locator("#regions .tile").first).to_be_visible()


def test_a_thumb_reaches_the_verdicts_of_what_is_on_the_picture(
    address: str, visitor: BrowserContext, engine: Engine
) -> None:
    with opened(visitor, f"{address}curate", "#regions .tile", width=400, height=800) as phone:
        phone.locator("#regions .tile").first.click()
        bar = phone.locator("#editor .by-thumb")
        expect(bar).to_be_in_viewport(ratio=1)
        expect(phone.locator("#editor .frame img")).to_be_in_viewport()
        region = chosen(phone)
        bar.get_by_role("button", name="reject").click()
        until(lambda: status(engine, region) == "rejected", "the verdict to be saved")
        bar.get_by_role("button", name="undo").click()
        saved(phone)
        until(lambda: status(engine, region) != "rejected", "the undo to be saved")
        bar.get_by_role("button", name="next").click()
        expect(bar).to_be_in_viewport(ratio=1)
    with opened(visitor, f"{address}curate?region={region}", "#editor .text.chosen") as desk:
        expect(desk.locator("#editor .by-thumb")).to_be_hidden()


def test_counts_and_address_follow_once_the_hand_rests(page: Page) -> None:
    page.get_by_role("button", name="Counts and decisions by person").click()
    meter = page.locator("#counts .meter").filter(has_text="accepted").locator(".number")
    before = int(meter.inner_text())
    first = open_first(page)
    page.keyboard.press("a")
    expect(meter).to_have_text(str(before + 1))
    expect(page).to_have_url(re.compile(rf"region={chosen(page)}$"))
    page.keyboard.press("z")
    expect(meter).to_have_text(str(before))
    expect(page).to_have_url(re.compile(rf"region={first}$"))


def test_filters_find_words_and_verdicts(page: Page) -> None:
    everything = page.locator("#regions .tile").count()
    page.locator("#words textarea, #words input").fill("nowordlikethis")
    page.locator("#words textarea, #words input").press("Enter")
    expect(page.locator("#regions .empty")).to_contain_text("No regions here")
    page.locator("#review").click()  # before the editor, which learns of other filters after the gallery, knows of them
    expect(page.locator("#editor")).to_contain_text("No further region with these filters waits for a verdict.")
    page.locator("#words textarea, #words input").fill("")
    page.locator("#words textarea, #words input").press("Enter")
    expect(page.locator("#regions .tile")).to_have_count(everything)
    words = page.locator("#regions .tile:has(.sign.pending) .says").last.inner_text()
    settled(page)
    with held_events(page):
        page.locator("#words textarea, #words input").fill(words)
        page.locator("#words textarea, #words input").press("Enter")
        page.locator("#review").click()
        expect(page.locator("#editor .text.chosen")).to_be_visible()
    expect(page.locator("#editor .text.chosen input")).to_have_value(words)


@pytest.mark.slow
def test_what_is_drawn_around_on_the_map_is_the_gallery_and_a_click_opens_a_point(
    page: Page, engine: Engine, home: Path
) -> None:
    with reading(engine) as session:
        found = curate_page(session, dataset_id=1, limit=1000).regions
    ids = np.array([row.id for row in found])
    left = np.arange(len(ids)) < 7
    xy = np.where(left[:, None], [[0.0, 0.0]], [[4.0, 3.0]]) + np.random.default_rng(0).random((len(ids), 2))
    alone = np.full(len(ids), -1)
    atlas = Atlas("regions", "sample@1", ids, xy.astype(np.float32), np.ones(len(ids), np.float32), alone, exact=True)
    save(atlas, atlas_path(home, 1, "regions"))
    page.locator("#map-section > button").first.click()
    expect(page.locator("#map .js-plotly-plot .scatterlayer .point").first).to_be_visible()
    page.locator("#map").scroll_into_view_if_needed()
    page.mouse.move(*on_map(page, *xy[-1]))
    expect(page.locator("#map-peek figcaption")).to_have_text(next(row.text for row in found if row.id == ids[-1]))
    expect(page.locator("#map-peek img")).to_be_visible()
    width = """() => {
      const { range } = document.querySelector("#map .js-plotly-plot")._fullLayout.xaxis;
      return range[1] - range[0];
    }"""
    whole = page.evaluate(width)

    def wheeled(step: int) -> float:
        page.mouse.wheel(0, step)
        share: float = page.evaluate(width) / whole
        return share

    # As Gradio may draw it once more:
    page.locator("#map .js-plotly-plot").evaluate("(graph) => Plotly.react(graph, graph.data, graph.layout)")
    until(lambda: wheeled(-100) < 0.95, "the map is zoomed")  # each turn is a tenth
    until(lambda: wheeled(100) > 0.99, "the map is whole again")
    corners = [on_map(page, x, y) for x, y in ((-0.2, -0.2), (-0.2, 1.2), (1.2, 1.2), (1.2, -0.2), (-0.2, -0.2))]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=5)
    page.mouse.up()
    expect(page.locator("#map-bridge .picked")).to_contain_text("7 regions")
    expect(page.locator("#regions .tile")).to_have_count(7)
    assert {int(tile.get_attribute("data-id") or 0) for tile in page.locator("#regions .tile").all()} == {*ids[left]}
    page.locator("#map-bridge [data-clear]").click()
    expect(page.locator("#regions .tile")).to_have_count(min(50, len(ids)))
    settled(page)  # the larger gallery has moved the map: look for it as a person does
    page.locator("#map").scroll_into_view_if_needed()
    last = int(ids[-1])
    page.mouse.click(*on_map(page, *xy[-1]))
    expect(page.locator(f'#editor .text.chosen[data-id="{last}"]')).to_be_visible()
    page.locator("#map-bridge [data-like]").click()
    expect(page.locator(".toast-body")).to_be_visible()  # this map was drawn by a test, without any vectors
    page.get_by_label("Find what is most like these words").fill("a red lid")
    page.keyboard.press("Enter")
    expect(page.locator(".toast-body").filter(has_text="has changed since this map was drawn")).to_be_visible()


def on_map(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a point of the map lies in the window."""
    place = """([x, y]) => {
      const graph = document.querySelector("#map .js-plotly-plot"), frame = graph.getBoundingClientRect();
      const { xaxis, yaxis } = graph._fullLayout;
      return [frame.x + xaxis._offset + xaxis.l2p(x), frame.y + yaxis._offset + yaxis.l2p(y)];
    }"""
    left, top = page.evaluate(place, [float(x), float(y)])
    return left, top


@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_is_cut_off(page: Page, width: int) -> None:
    open_first(page)
    fits(page, width)
    button = page.locator("#review").bounding_box()
    assert button and button["x"] >= 0 and button["x"] + button["width"] <= width
