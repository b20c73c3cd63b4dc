"""Faster labelling: words that the data set has, the last words again, copied boxes, boxes moved by keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from db.engine import Engine, reading, transaction
from db.models import RegionRow
from db.queries.curate_queries import add_region_by_hand, edit_image, set_status
from db.queries.data_set_queries import get_image
from db.queries.edit_values import ImageChange
from db.queries.region_queries import get_region, regions_of
from db.queries.review_queries import texts_to_offer
from tests.support.browser_fixtures import draw_box, opened, settled
from tests.support.paths import ROOT
from tests.support.review_home import review_home
from tests.support.waiting import until

PLACE = (0.4, 0.4, 0.6, 0.7)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return review_home(tmp_path_factory.mktemp("home"), pictures=3)


@pytest.fixture
def region(engine: Engine) -> int:
    with transaction(engine) as session:
        made = add_region_by_hand(session, image_id=1, who="ada", xyxy=PLACE, text="turquoise teapot", status="pending")
        return made.id


@pytest.fixture
def page(address: str, visitor: BrowserContext, region: int) -> Iterator[Page]:
    with opened(visitor, f"{address}curate?region={region}", "#editor .text.chosen", height=1200) as page:
        settled(page)
        yield page


def row_of(engine: Engine, region: int) -> RegionRow:
    with reading(engine) as session:
        row = get_region(session, region_id=region)
    assert row is not None
    return row


def rows_of(engine: Engine, image: int) -> list[RegionRow]:
    with reading(engine) as session:
        return regions_of(session, image_ids=[image])[image]


def saved(page: Page) -> None:
    expect(page.locator("#editor .stage")).to_have_attribute("data-unsaved", "0")


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("re", ["red lid", "Red handle", "a red lid"]),
        ("RED L", ["red lid", "a red lid"]),
        ("lid re", ["a red lid", "red lid"]),
        ("red lid", ["a red lid"]),
        ("ed", []),
        (" ", []),
        ("кры", ["синяя крышка"]),
    ],
)
def test_texts_that_go_on_what_is_typed_come_first(browser: Browser, typed: str, found: list[str]) -> None:
    page = browser.new_page()
    page.evaluate("window.element = document.body")
    page.add_script_tag(content=(ROOT / "app/curate/editor_words.js").read_text())
    texts = ["a red lid", "red lid", "Red handle", "blue lid", "синяя крышка"]
    assert page.evaluate("([texts, typed]) => matchingTexts(texts, typed)", [texts, typed]) == found
    page.close()


def test_what_is_offered_is_common_and_not_rejected_and_has_the_classes(engine: Engine) -> None:
    with transaction(engine) as session:
        for number, text in enumerate(("oft", "oft", "once", "wrong", "x" * 300)):
            box = (0, 0, 0.1 + 0.1 * number, 0.1)
            made = add_region_by_hand(session, image_id=3, who="bo", xyxy=box, text=text, status="pending")
            if text == "wrong":
                set_status(session, region_id=made.id, expected_version=1, who="bo", status="rejected")
        image = get_image(session, image_id=3)
        assert image is not None
        facts = ImageChange(facts={"class": "zorbex"})
        edit_image(session, image_id=3, expected_version=image.version, who="bo", change=facts)
        texts = texts_to_offer(session, dataset_id=1)
        assert texts.index("oft") < texts.index("once") and texts[-1] == "zorbex"
        assert "wrong" not in texts and max(map(len, texts)) < 200
        assert texts_to_offer(session, dataset_id=99) == []


@pytest.mark.slow
def test_words_are_completed_by_keys_and_by_a_press_and_saved_as_ever(page: Page, engine: Engine, region: int) -> None:
    field = page.locator(f'#editor .text[data-id="{region}"] input')
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type("turq")
    expect(page.locator(".offered li").first).to_have_text("turquoise teapot")
    page.keyboard.press("Escape")
    expect(page.locator(".offered")).to_have_count(0)
    page.keyboard.type("u")
    page.keyboard.press("Backspace")
    page.keyboard.press("Tab")
    expect(field).to_have_value("turquoise teapot")
    expect(field).to_be_focused()
    page.keyboard.type(" lid")
    page.keyboard.press("Enter")
    saved(page)
    assert row_of(engine, region).text == "turquoise teapot lid"
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type("teap")
    page.locator(".offered li", has_text="turquoise teapot lid").click()
    expect(field).to_have_value("turquoise teapot lid")
    page.keyboard.press("Control+a")
    page.keyboard.type("turq")
    page.keyboard.press("ArrowDown")
    chosen = page.locator('.offered li[aria-selected="true"]').inner_text()
    page.keyboard.press("Enter")
    saved(page)
    assert row_of(engine, region).text == chosen, "one key takes what is chosen and saves it"


@pytest.mark.slow
def test_the_last_words_are_given_again_by_a_key_and_to_a_new_box(page: Page, engine: Engine, region: int) -> None:
    page.keyboard.press("w")
    expect(page.locator("#editor .feedback")).to_have_text("Nothing is open yet: that did nothing.")
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type("said once")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    other = int(page.locator("#editor .text.chosen").get_attribute("data-id") or 0)
    assert other != region
    page.keyboard.press("w")
    saved(page)
    assert row_of(engine, other).text == "said once"
    frame = page.locator("#editor .frame svg").bounding_box()
    assert frame
    draw_box(page, (frame["x"] + 8, frame["y"] + 8), (frame["x"] + 60, frame["y"] + 60))
    expect(page.locator(".prompt input")).to_have_attribute(
        "placeholder", "What is in the box? Enter: “said once” again"
    )
    page.keyboard.press("Enter")
    until(lambda: [row.text for row in rows_of(engine, 1)].count("said once") == 3, "the new box to be saved")
    page.locator("#editor .text.chosen .quiet").click()
    page.keyboard.press("z")
    until(lambda: [row.text for row in rows_of(engine, 1)].count("said once") == 2, "it to be undone")


@pytest.mark.slow
def test_a_box_is_copied_to_another_picture_and_beside_itself(page: Page, engine: Engine, region: int) -> None:
    before = {image: len(rows_of(engine, image)) for image in (1, 2)}
    page.locator("#editor .text.chosen .quiet").click()
    page.keyboard.press("Control+c")
    expect(page.locator("#editor .feedback")).to_have_text("Copied: turquoise teapot")
    page.keyboard.press("Control+v")
    until(lambda: len(rows_of(engine, 1)) == before[1] + 1, "the copy to be saved")
    copy = rows_of(engine, 1)[-1]
    assert (copy.text, copy.source, copy.status) == ("turquoise teapot", "human:local", "accepted")
    assert (copy.x1, copy.y2) == pytest.approx((PLACE[0] + 0.02, PLACE[3] + 0.02))
    elsewhere = rows_of(engine, 2)[0].id
    page.locator(f'#regions .tile[data-id="{elsewhere}"]').click()
    expect(page.locator("#editor .editor")).to_have_attribute("data-image", "2")
    page.keyboard.press("Control+v")
    until(lambda: len(rows_of(engine, 2)) == before[2] + 1, "the copy to be saved")
    assert rows_of(engine, 2)[-1].x1 == pytest.approx(PLACE[0] + 0.02)


@pytest.mark.slow
def test_a_box_is_moved_by_keys_in_one_act(page: Page, engine: Engine, region: int) -> None:
    size = "(image) => [image.naturalWidth, image.naturalHeight]"
    width, height = page.locator("#editor .frame img").evaluate(size)
    page.locator("#editor .text.chosen .quiet").click()
    page.keyboard.down("Shift")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    page.keyboard.down("Control")
    page.keyboard.press("ArrowRight")
    page.keyboard.up("Control")
    assert row_of(engine, region).version == 1, "nothing is sent before the keys are let go"
    page.keyboard.up("Shift")
    until(lambda: row_of(engine, region).version == 2, "the box to be saved")
    row, (x0, y0, x1, y1) = row_of(engine, region), PLACE
    wanted = (x0 + 3 / width, y0 + 1 / height, x1 + 4 / width, y1 + 1 / height)
    assert (row.x1, row.y1, row.x2, row.y2) == pytest.approx(wanted)
    page.keyboard.press("z")
    until(lambda: row_of(engine, region).x1 == pytest.approx(x0), "the whole move to be undone")
