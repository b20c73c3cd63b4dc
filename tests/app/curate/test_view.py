"""Seeing what one judges: zoom and pan, the chosen description on the picture, handles, loupe, other boxes, colours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from db.engine import Engine, reading, transaction
from db.queries.curate_queries import add_region_by_hand
from db.queries.region_queries import get_region
from tests.support.browser_fixtures import draw_box, fits, opened
from tests.support.paths import ROOT
from tests.support.review_home import review_home
from tests.support.waiting import until

LONG = "a very long description of a small thing far away in the corner of the picture " * 2
TINY = 0.006


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return review_home(tmp_path_factory.mktemp("home"), pictures=4)


@pytest.fixture(scope="module")
def tiny(engine: Engine) -> int:
    """A region of a few pixels at the right edge of a picture, with many words."""
    with transaction(engine) as session:
        box = (1 - TINY, 0.5, 1.0, 0.5 + TINY)
        return add_region_by_hand(session, image_id=1, who="ada", xyxy=box, text=LONG, status="pending").id


@pytest.fixture
def page(address: str, visitor: BrowserContext, tiny: int) -> Iterator[Page]:
    with opened(visitor, f"{address}curate?region={tiny}", "#editor .text.chosen", height=900) as page:
        expect(page.locator("#editor .stage")).to_have_attribute("data-unsaved", "0")  # its script is there
        yield page


@pytest.fixture(scope="module")
def scripts(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.add_script_tag(content=(ROOT / "app/curate/picture_view.js").read_text())
    yield page
    page.close()


def test_what_is_under_the_pointer_stays_there_and_no_edge_comes_into_the_window(scripts: Page) -> None:
    places = scripts.evaluate("""() => {
      const view = pictureView(), seen = [];
      const under = ([u, v]) => { const { zoom, x, y } = view.place(); return [(u - x) / zoom, (v - y) / zoom]; };
      for (let turn = 0; turn < 300; turn++) {
        const at = [(turn * 37 % 100) / 100, (turn * 61 % 100) / 100], before = under(at);
        view.zoomAt(at, turn % 3 ? 1.3 : 0.6);
        seen.push({ ...view.place(), moved: Math.hypot(before[0] - under(at)[0], before[1] - under(at)[1]) });
        view.pan((turn % 7 - 3) / 5, (turn % 5 - 2) / 3);
        seen.push({ ...view.place(), moved: 0 });
      }
      return seen;
    }""")
    for place in places:
        assert 1 <= place["zoom"] <= 40
        assert all(1 - place["zoom"] - 1e-9 <= place[side] <= 0 for side in "xy")
    assert sum(place["moved"] < 1e-9 for place in places) > 500, "but where an edge would have come in"


@pytest.mark.parametrize("box", [[0.2, 0.3, 0.4, 0.35], [0, 0, 0.001, 0.001], [0, 0, 1, 1], [0.9, 0.9, 1, 1]])
def test_a_box_that_is_fitted_is_in_the_window_whole_and_large(scripts: Page, box: list[float]) -> None:
    [whole, fitted, other] = scripts.evaluate(
        """(box) => {
      const view = pictureView();
      view.open(3);
      const whole = view.place();
      view.fit(box);
      view.open(3);
      const fitted = view.place();
      view.open(4);
      return [whole, fitted, view.place()];
    }""",
        box,
    )
    assert whole == other == {"zoom": 1, "x": 0, "y": 0}, "another picture is seen whole"
    for low, high, side in ((box[0], box[2], "x"), (box[1], box[3], "y")):
        assert fitted[side] + fitted["zoom"] * low >= -1e-9 and fitted[side] + fitted["zoom"] * high <= 1 + 1e-9
    assert fitted["zoom"] == pytest.approx(min(40, max(1, 0.6 / max(box[2] - box[0], box[3] - box[1]))))


def test_a_label_is_above_its_box_else_below_else_inside_and_never_cut_off(scripts: Page) -> None:
    place = "([box, label]) => labelPlace(box, label, { width: 300, height: 200 })"

    def at(left: int, top: int, right: int, bottom: int, label: tuple[int, int] = (100, 30)) -> list[float]:
        box = {"left": left, "top": top, "right": right, "bottom": bottom}
        found: list[float] = scripts.evaluate(place, [box, {"width": label[0], "height": label[1]}])
        return found

    assert at(50, 80, 120, 120) == [50, 44]
    assert at(50, 10, 120, 120) == [50, 126]
    assert at(50, 10, 120, 190) == [50, 0]
    assert at(280, 80, 299, 120) == [200, 44], "moved in from the right edge"
    assert at(-900, -900, -800, -800) == [0, 0] and at(900, 900, 950, 950) == [200, 170], "out of the window"
    assert at(50, 80, 120, 120, (400, 300)) == [0, 0], "larger than the window"


def test_handles_shrink_with_their_box_and_leave_a_small_one_free(scripts: Page) -> None:
    shapes = [scripts.evaluate("(side) => handleShape(side, 80)", side) for side in (80, 30, 18, 5)]
    assert [shape["size"] for shape in shapes] == [12, 10, 6, 6]
    assert [shape["corners"] for shape in shapes] == [False, True, True, True]
    assert [shape["out"] for shape in shapes] == [0, 0, 5, 5]


def placed(page: Page, selector: str) -> dict[str, float]:
    """Where something is in the picture's window, in its pixels."""
    found: dict[str, float] = page.evaluate(
        """(selector) => {
      const frame = document.querySelector("#editor .viewport").getBoundingClientRect();
      const { left, top, right, bottom } = document.querySelector(selector).getBoundingClientRect();
      return { left: left - frame.left, top: top - frame.top, right: right - frame.left, bottom: bottom - frame.top,
        width: frame.width, height: frame.height };
    }""",
        selector,
    )
    return found


def press(page: Page, key: str) -> None:
    """Press a key and wait for what the page places with the next frame."""
    page.keyboard.press(key)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def is_inside(place: dict[str, float]) -> bool:
    across = place["left"] >= -0.5 and place["right"] <= place["width"] + 0.5
    return across and place["top"] >= -0.5 and place["bottom"] <= place["height"] + 0.5


def test_very_long_words_fill_neither_the_picture_nor_the_gallery(scripts: Page) -> None:
    words, style = "x" * 600, (ROOT / "app/ui/style.css").read_text()
    tile = f'<div class="tile" style="width: 150px"><span class="says">{words}</span></div>'
    label = f'<div style="width: 400px"><div class="on-picture"><span class="words">{words}</span></div></div>'
    scripts.evaluate("html => { document.body.innerHTML = html; }", f"<style>{style}</style>{tile}{label}")
    lines = "each => each.offsetHeight / parseFloat(getComputedStyle(each).fontSize)"
    assert all(scripts.locator(place).evaluate(lines) < 9 for place in (".says", ".words"))


@pytest.mark.slow
def test_words_source_and_verdict_of_the_chosen_one_are_on_the_picture_whatever_is_in_the_window(page: Page) -> None:
    label = page.locator("#editor .on-picture")
    expect(label).to_contain_text(LONG.strip())
    expect(label).to_contain_text("human:ada")
    expect(label.locator(".sign")).to_have_text("○ pending")
    for width in (1400, 400):
        fits(page, width)
        for key in ("0", "f", "+", "+"):
            press(page, key)
            assert is_inside(placed(page, "#editor .on-picture")), (width, key)
    page.locator("#advance input").uncheck()
    page.locator("#editor .text.chosen .quiet").click()
    page.keyboard.press("a")
    expect(label.locator(".sign")).to_have_text("✓ accepted")
    page.keyboard.press("z")
    expect(label.locator(".sign")).to_have_text("○ pending")
    expect(page.locator("#editor .stage")).to_have_attribute("data-unsaved", "0")  # else the next test is offered it


@pytest.mark.slow
def test_a_box_of_a_few_pixels_has_a_loupe_and_can_be_seen_between_its_handles(page: Page) -> None:
    expect(page.locator("#editor .loupe")).to_be_visible()
    box, handles = placed(page, "#editor .region.chosen rect.line"), page.locator("#editor .handle")
    expect(handles).to_have_count(4)
    middle = ((box["left"] + box["right"]) / 2, (box["top"] + box["bottom"]) / 2)
    for corner in ("nw", "se"):
        handle = placed(page, f"#editor .handle.{corner}")
        covers = handle["left"] <= middle[0] <= handle["right"] and handle["top"] <= middle[1] <= handle["bottom"]
        assert not covers, corner
    page.keyboard.press("f")
    expect(page.locator("#editor .loupe")).to_be_hidden()
    expect(page.locator("#editor .zoom-level")).to_have_text("4000 %")
    page.keyboard.press("0")
    expect(page.locator("#editor .zoom-level")).to_have_text("100 %")


@pytest.mark.slow
def test_the_wheel_zooms_at_the_pointer_and_the_page_scrolls_only_when_the_picture_is_whole(page: Page) -> None:
    frame = page.locator("#editor .viewport").bounding_box()
    assert frame
    page.mouse.move(frame["x"] + 0.25 * frame["width"], frame["y"] + 0.25 * frame["height"])
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, -500)
    expect(page.locator("#editor .zoom-level")).to_have_text("272 %")
    picture = placed(page, "#editor .frame")
    assert picture["left"] == pytest.approx(0.25 * (1 - 2.718) * frame["width"], abs=3)
    page.mouse.down(button="middle")
    page.mouse.move(frame["x"] + 0.35 * frame["width"], frame["y"] + 0.25 * frame["height"], steps=3)
    page.mouse.up(button="middle")
    assert placed(page, "#editor .frame")["left"] == pytest.approx(picture["left"] + 0.1 * frame["width"], abs=3)
    assert page.evaluate("scrollY") == before
    page.mouse.wheel(0, 2_000)
    expect(page.locator("#editor .zoom-level")).to_have_text("100 %")


@pytest.mark.slow
def test_a_box_that_is_drawn_in_a_zoomed_picture_is_where_it_was_drawn(page: Page, engine: Engine) -> None:
    page.keyboard.press("+")
    page.keyboard.press("+")
    frame, svg = (page.locator(f"#editor {name}").bounding_box() for name in (".viewport", ".frame svg"))
    assert frame and svg and svg["width"] == pytest.approx(2.25 * frame["width"], rel=0.01)
    draw_box(page, (frame["x"] + 40, frame["y"] + 50), (frame["x"] + 100, frame["y"] + 90))
    page.locator(".prompt input").fill("drawn while zoomed")
    page.keyboard.press("Enter")
    expect(page.locator("#editor .text.chosen input")).to_have_value("drawn while zoomed")
    expect(page.locator("#editor .stage")).to_have_attribute("data-unsaved", "0")
    expect(page.locator("#editor .zoom-level")).to_have_text("225 %")
    drawn = int(page.locator("#editor .text.chosen").get_attribute("data-id") or 0)
    with reading(engine) as session:
        row = get_region(session, region_id=drawn)
    assert row is not None
    assert row.x1 == pytest.approx((frame["x"] + 40 - svg["x"]) / svg["width"], abs=0.003)
    assert row.y2 == pytest.approx((frame["y"] + 90 - svg["y"]) / svg["height"], abs=0.003)


@pytest.mark.slow
def test_a_box_of_a_few_pixels_can_be_drawn_and_moved_where_it_is_large_on_the_screen(page: Page) -> None:
    for _ in range(8):
        page.keyboard.press("+")
    expect(page.locator("#editor .zoom-level")).to_have_text("2563 %")
    frame = page.locator("#editor .viewport").bounding_box()
    assert frame
    draw_box(page, (frame["x"] + 40, frame["y"] + 50), (frame["x"] + 60, frame["y"] + 65))
    page.locator(".prompt input").fill("a speck")
    page.keyboard.press("Enter")
    expect(page.locator("#editor .text.chosen input")).to_have_value("a speck")
    shown = placed(page, "#editor .region.chosen rect.line")
    assert [shown["right"] - shown["left"], shown["bottom"] - shown["top"]] == pytest.approx([20, 15], abs=1.5)


@pytest.mark.slow
def test_other_boxes_are_dimmed_and_hidden_and_colours_mean_the_verdict(page: Page) -> None:
    other = page.locator("#editor .region:not(.chosen)").first
    for look, opacity, display in (("dimmed", "0.25", "inline"), ("hidden", None, "none"), ("shown", "1", "inline")):
        page.keyboard.press("h")
        expect(page.locator("#editor .viewport")).to_have_attribute("data-others", look)
        expect(other).to_have_css("display", display)
        if opacity:
            expect(other).to_have_css("opacity", opacity)
    page.keyboard.press("c")
    line = page.locator("#editor .region.chosen rect.line")
    expect(line).to_have_css("stroke", "rgb(0, 114, 178)")
    page.locator("#advance input").uncheck()
    page.locator("#editor .text.chosen .quiet").click()
    for key, colour in (("a", "rgb(0, 158, 115)"), ("r", "rgb(213, 94, 0)"), ("z", "rgb(0, 158, 115)")):
        page.keyboard.press(key)
        expect(line).to_have_css("stroke", colour)
    page.keyboard.press("z")
    page.keyboard.press("c")
    expect(page.locator("#editor .stage")).to_have_attribute("data-unsaved", "0")


@pytest.mark.slow
def test_two_fingers_zoom_and_draw_nothing(page: Page) -> None:
    frame = page.locator("#editor .viewport").bounding_box()
    assert frame
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    boxes, hand = page.locator("#editor .region").count(), page.context.new_cdp_session(page)

    def touch(kind: str, *apart: float) -> None:
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x + dx, "y": y} for dx in apart]})

    touch("touchStart", -20)
    touch("touchStart", -20, 20)
    touch("touchMove", -60, 60)
    touch("touchEnd")
    expect(page.locator("#editor .zoom-level")).to_have_text("300 %")
    assert page.locator(".prompt").count() == 0 and page.locator("#editor .region").count() == boxes


@pytest.mark.slow
def test_the_list_shows_the_chosen_one_and_the_gallery_is_wide_again_afterwards(page: Page) -> None:
    rows = page.locator("#editor .text")
    seen = """() => {
      const list = document.querySelector("#editor .marks").getBoundingClientRect();
      const row = document.querySelector("#editor .text.chosen").getBoundingClientRect();
      return row.top >= list.top - 1 && row.bottom <= list.bottom + 1;
    }"""
    page.set_viewport_size({"width": 1400, "height": 400})
    for _ in range(rows.count()):
        press(page, "Tab")
        assert page.evaluate(seen)
    page.set_viewport_size({"width": 1400, "height": 900})
    narrow = page.locator("#regions").bounding_box()
    page.keyboard.press("Escape")
    expect(page.locator("#editor .editor")).to_be_hidden()
    expect(page).not_to_have_url(re.compile("region="))
    wide = page.locator("#regions").bounding_box()
    assert narrow and wide and wide["width"] > 2.5 * narrow["width"]
    tile = page.locator("#regions .tile").first
    page.keyboard.press("a")
    expect(page.locator("#editor .feedback")).to_have_text("Nothing is open yet: that did nothing.")
    tile.click()
    expect(page.locator("#editor .text.chosen")).to_be_visible()


@pytest.mark.slow
def test_on_a_phone_a_tap_leads_to_the_editor_and_buttons_are_large(page: Page) -> None:
    fits(page, 400)
    page.keyboard.press("Escape")
    expect(page.locator("#statuses")).to_be_hidden()
    expect(page.locator("#regions .tile").first).to_be_in_viewport()  # nothing has been scrolled
    page.get_by_label("show the filters").check()
    expect(page.locator("#statuses")).to_be_visible()
    page.get_by_label("show the filters").uncheck()
    tile = page.locator("#regions .tile").nth(5)
    tile.scroll_into_view_if_needed()
    tile.click()
    expect(page.locator("#editor .viewport")).to_be_in_viewport(ratio=0.9)
    expect(page.locator("#editor .text.chosen")).to_be_visible()
    page.wait_for_function("""() => [...document.querySelectorAll(".columns.curate button:not(.tile, .show-keys)")]
      .filter((each) => each.offsetParent).length > 12""")
    heights = page.evaluate("""() => [...document.querySelectorAll(".columns.curate button:not(.tile, .show-keys)")]
      .filter((each) => each.offsetParent).map((each) => [each.textContent.trim(), each.offsetHeight])""")
    assert [each for each in heights if each[1] < 40] == []
    boxes = page.locator("#editor .frame .region")
    before = boxes.count()
    page.locator("#editor .frame").scroll_into_view_if_needed()
    frame = page.locator("#editor .frame").bounding_box()
    assert frame
    draw_box(page, (frame["x"] + 40, frame["y"] + 50), (frame["x"] + 100, frame["y"] + 90))  # as a swipe does
    ways = page.locator("#editor .prompt button")
    expect(ways).to_have_text(["Save", "Cancel"])
    assert ways.evaluate_all("(buttons) => Math.min(...buttons.map((each) => each.offsetHeight))") >= 40
    ways.last.click()
    expect(page.locator("#editor .prompt")).to_have_count(0)
    expect(boxes).to_have_count(before)


Touch = Callable[..., None]


@pytest.fixture
def finger(page: Page) -> Touch:
    """What one finger does on the picture of a phone, in shares of its window: `finger((0.1, 0.1), (0.4, 0.5))`."""
    fits(page, 400)
    hand = page.context.new_cdp_session(page)
    hand.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    page.keyboard.press("0")

    def touch(*places: tuple[float, float]) -> None:
        page.locator("#editor .viewport").scroll_into_view_if_needed()
        frame = page.locator("#editor .viewport").bounding_box()
        assert frame
        corner, sides = (frame["x"], frame["y"]), (frame["width"], frame["height"])
        points = [tuple(a + b * c for a, b, c in zip(corner, at, sides, strict=True)) for at in places]
        for turn, (x, y) in enumerate(points):
            kind = "touchMove" if turn else "touchStart"
            hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    return touch


SWIPES = [((0.2, 0.8), (0.2, 0.5), (0.2, 0.2)), ((0.1, 0.9), (0.6, 0.9), (0.9, 0.9)), ((0.5, 0.5), (0.8, 0.1))]
SPOT = """(other) => {
  const { left, top, width, height } = document.querySelector("#editor .viewport").getBoundingClientRect();
  for (let x = 0.05; x < 0.6; x += 0.03) for (let y = 0.05; y < 0.6; y += 0.03) {
    const under = document.elementFromPoint(left + x * width, top + y * height), group = under.closest(".region");
    const fits = other ? group && !group.matches(".chosen") : under.matches("svg");
    if (fits) return [x, y, group?.dataset.id];
  }
}"""


@pytest.mark.slow
def test_a_finger_that_swipes_over_the_picture_changes_nothing_until_it_shall_draw(page: Page, finger: Touch) -> None:
    regions, chosen = page.locator("#editor .region"), page.locator("#editor .text.chosen")
    many, before = regions.count(), chosen.get_attribute("data-id")

    def drawn() -> list[str]:
        found: list[str] = regions.evaluate_all("all => all.map(each => each.innerHTML)")
        return found

    boxes = drawn()
    expect(page.locator("#editor .viewport")).to_have_css("touch-action", "pan-y")
    for swipe in SWIPES:
        finger(*swipe)
        expect(page.locator(".prompt")).to_have_count(0)
        until(lambda: drawn() == boxes, "none drawn, none moved, though the list may be drawn anew just then")
        assert chosen.get_attribute("data-id") == before
    page.get_by_role("button", name=re.compile("finger: scrolls")).click()
    page.locator("#editor .viewport").scroll_into_view_if_needed()
    x, y, _ = page.evaluate(SPOT, False)
    finger((x, y), (x + 0.2, y + 0.2), (x + 0.3, y + 0.3))
    expect(page.locator(".prompt")).to_have_count(1)
    page.locator(".prompt").get_by_role("button", name="Cancel").click()
    expect(regions).to_have_count(many)
    page.get_by_role("button", name=re.compile("finger: draws")).click()
    expect(page.locator("#editor .stage")).to_have_attribute("data-unsaved", "0")


@pytest.mark.slow
def test_a_tap_chooses_a_region_and_a_finger_moves_what_is_enlarged(page: Page, finger: Touch) -> None:
    page.locator("#editor .viewport").scroll_into_view_if_needed()
    x, y, other = page.evaluate(SPOT, True)
    finger((x, y))
    expect(page.locator("#editor .text.chosen")).to_have_attribute("data-id", other)
    page.get_by_role("button", name="larger").click()
    frame = page.locator("#editor .frame")
    before = frame.evaluate("each => [each.style.left, each.style.top]")
    finger((0.5, 0.5), (0.55, 0.55), (0.6, 0.6))
    expect(page.locator("#editor .zoom-level")).to_have_text("150 %")
    page.wait_for_function(
        "before => { const { left, top } = document.querySelector('#editor .frame').style;"
        " return left !== before[0] && top !== before[1]; }",
        arg=before,
    )
    expect(page.locator(".prompt")).to_have_count(0)
