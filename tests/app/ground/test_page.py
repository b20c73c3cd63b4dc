"""The Ground page in a real Chromium."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

import gradio as gr
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Locator, Page, expect

from app.ground.examples import load_examples
from app.ground.page import build
from app.services import Services
from app.ui.marks import PALETTE
from tests.support.browser_fixtures import fits
from tests.support.fake_app import fake_services, running
from tests.support.fake_predictor import BOXES_XYXY
from tests.support.paths import ROOT

EVIL = "<img src=x onerror=window.hacked=1>${window.hacked=1}{{hacked}}"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    return fake_services(tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="module")
def address(services: Services) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADIO_TEMP_DIR", str(services.settings.home / "cache"))
        with running(services) as url:
            yield url


@contextmanager
def opened(visitor: BrowserContext, address: str) -> Iterator[Page]:
    """The page as it opens: the first example, looked at. Afterwards: no script failed, nothing left the machine."""
    page = visitor.new_page()
    errors: list[str] = []
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    looked_at(page)
    yield page
    page.evaluate("() => [localStorage, sessionStorage].forEach((store) => store.clear())")
    page.close()
    assert errors == []
    assert [url for url in requests if urlparse(url).hostname not in ("127.0.0.1", None)] == []
    assert len(requests) > 20, "a guard that saw too little"


@pytest.fixture
def page(address: str, visitor: BrowserContext) -> Iterator[Page]:
    """A fresh page, in a browser that has kept nothing: a new tab begins with what was last worked on."""
    with visitor.new_page() as empty:
        empty.goto(f"{address}health")
        empty.evaluate("localStorage.clear()")
    with opened(visitor, address) as page:
        yield page


@pytest.fixture(scope="module")
def shared_page(address: str, visitor: BrowserContext) -> Iterator[Page]:
    with opened(visitor, address) as page:
        yield page


@pytest.fixture
def still(shared_page: Page) -> Page:
    """A page for tests that only look at it, or leave it as they found it."""
    shared_page.mouse.move(0, 0)
    shared_page.locator("h1").click()
    shared_page.keyboard.press("Escape")
    return shared_page


def looked_at(page: Page, regions: int | None = None) -> Locator:
    """The regions on the picture, once they and the matrix are drawn."""
    expect(page.locator("#matrix .heatmaplayer image")).to_be_attached()
    found = page.locator("#stage .region")
    expect(found.first if regions is None else found).to_have_count(1 if regions is None else regions)
    return found


def choose(page: Page, path: Path) -> None:
    """Put a file into the picture field, as a person does."""
    page.get_by_role("button", name="Remove Image").click()
    page.locator("#picture input[type=file]").set_input_files(path)


def typed(page: Page, name: str) -> Locator:
    return page.locator(f"#{name} textarea")


def boxes(page: Page) -> dict[str, list[float]]:
    """Description -> x, y, width, height of its box, in the SVG's units."""
    return {
        str(group.get_attribute("data-text")): [
            float(group.locator("rect.line").get_attribute(name) or "nan") for name in ("x", "y", "width", "height")
        ]
        for group in page.locator("#stage .region").all()
    }


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """300 × 180 as stored; EXIF says turn: a person sees 180 × 300, red above, blue below."""
    image = Image.new("RGB", (300, 180), "red")
    image.paste("blue", (150, 0, 300, 180))
    exif = Image.Exif()
    exif[274] = 6
    image.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    return tmp_path / "photo.jpg"


def test_the_page_opens_with_something_to_see(still: Page) -> None:
    example = load_examples()[0]
    assert typed(still, "descriptions").input_value() == example.descriptions
    assert typed(still, "classes").input_value() == example.classes
    expect(still.locator("#about")).to_have_text("photo is made-up words")
    expect(still.locator("#scores .verdict")).to_have_count(1)
    expect(still.locator("#scores")).to_contain_text("PHOTO · photo")
    expect(still.locator("#timing")).to_contain_text("ms")
    titles = ["Home", "Ground", "Annotate", "Curate", "Audit", "Evaluate", "Train", "Data"]
    expect(still.locator("#navigation nav a")).to_have_text(titles)
    expect(still.locator("footer")).to_be_hidden()


def test_boxes_of_a_turned_photo_lie_in_the_frame_that_a_person_sees(page: Page, photo: Path) -> None:
    choose(page, photo)
    expect(page.locator("#picture img")).to_be_visible()
    typed(page, "descriptions").fill("a red half\na blue half\na green dot")
    page.locator("#threshold input[type=number]").fill("-1")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#stage svg[viewBox]").first).to_have_attribute("viewBox", "0 0 180 300")
    looked_at(page, regions=3)
    shown = page.locator("#stage .frame img")
    assert shown.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [180, 300]
    pixel = "image => { const c = document.createElement('canvas'); c.width = 180; c.height = 300; const g = c.getContext('2d'); g.drawImage(image, 0, 0); return [...g.getImageData(90, 20, 1, 1).data] }"  # noqa: E501
    red, _, blue, _ = shown.evaluate(pixel)
    assert red > 200 > 60 > blue, "red is above, as the person sees it"
    for text, (x, y, width, height) in boxes(page).items():
        row = int(page.locator(f'#stage .region[data-text="{text}"]').get_attribute("data-region") or "-1")
        x0, y0, x1, y1 = BOXES_XYXY[row]
        inset = 0 if width == pytest.approx(180 * (x1 - x0), abs=0.05) else (180 * (x1 - x0) - width) / 2
        assert [x - inset, y - inset] == pytest.approx([180 * x0, 300 * y0], abs=0.05)
        assert height + 2 * inset == pytest.approx(300 * (y1 - y0), abs=0.05)
    frame, picture = page.locator("#stage .frame svg").first.bounding_box(), shown.bounding_box()
    assert frame and picture and frame == pytest.approx(picture, abs=1), "the overlay lies on the picture"


def test_button_and_result_are_above_the_fold(still: Page) -> None:
    still.set_viewport_size({"width": 1400, "height": 900})
    for selector in ("#run-button", "#stage .frame"):
        box = still.locator(selector).bounding_box()
        assert box and box["y"] + box["height"] <= 900, selector
    still.set_viewport_size({"width": 1400, "height": 1300})


def test_an_upload_clears_the_examples_texts_and_offers_what_is_seen(page: Page) -> None:
    choose(page, next(each.path for each in load_examples() if each.path.name == "chelsea.jpg"))
    expect(typed(page, "descriptions")).to_have_value("")
    expect(typed(page, "classes")).to_have_value("")
    expect(page.locator("h2", has_text="Detections")).to_be_visible()
    assert "stale-result" in str(page.locator("body").get_attribute("class")), "the result shown is of another picture"
    offered = page.locator("#seen button")
    expect(offered.first).to_contain_text("+ a")
    words = str(offered.first.text_content())[2:]
    offered.first.click()
    expect(typed(page, "descriptions")).to_have_value(words)
    expect(page.locator("#stage .chip").first).to_contain_text(words)
    expect(page.locator("body.stale-result")).to_have_count(0)


def test_an_upload_keeps_what_a_person_has_typed(page: Page, photo: Path) -> None:
    typed(page, "descriptions").fill("a thing I typed")
    choose(page, photo)
    expect(page.locator("#kept [data-picture]")).to_be_attached()
    expect(typed(page, "descriptions")).to_have_value("a thing I typed")
    expect(typed(page, "classes")).to_have_value("")


@pytest.mark.slow
def test_a_reload_the_way_back_and_a_new_tab_lose_nothing(page: Page, address: str, photo: Path) -> None:
    before = page.locator("#kept [data-picture]").get_attribute("data-picture")
    choose(page, photo)
    expect(page.locator(f"#kept [data-picture]:not([data-picture='{before}'])")).to_be_attached()
    typed(page, "descriptions").fill("a red half, a blue half")
    page.locator("#run-button").click()
    expect(page.locator("#stage svg[viewBox]").first).to_have_attribute("viewBox", "0 0 180 300")
    expect(page.locator("#stage .chip")).to_have_count(2)
    typed(page, "descriptions").press_sequentially(", and more")
    for again in (page.reload, lambda: page.goto(f"{address}evaluate/") and page.go_back()):
        again()
        expect(page.locator("#stage svg[viewBox]").first).to_have_attribute("viewBox", "0 0 180 300")
        expect(typed(page, "descriptions")).to_have_value("a red half, a blue half, and more")
        expect(page.locator("#stage .chip")).to_have_count(3)
    tab = page.context.new_page()
    tab.goto(address)
    expect(typed(tab, "descriptions")).to_have_value("a red half, a blue half, and more")
    expect(tab.locator("#stage svg[viewBox]").first).to_have_attribute("viewBox", "0 0 180 300")
    tab.close()


def test_labels_keep_apart_and_inside_the_picture(page: Page) -> None:
    page.locator("#which input[value=all]").check()
    looked_at(page, regions=len(BOXES_XYXY))
    expect(page.locator("#stage .tag:not(.likeliest-tag)")).to_have_count(len(BOXES_XYXY))
    # they are moved apart once the picture is laid out
    page.wait_for_function("""() => {
      const frame = document.querySelector("#stage .frame").getBoundingClientRect();
      const shown = document.querySelectorAll("#stage .tag:not(.likeliest-tag)");
      const tags = [...shown].map((tag) => tag.getBoundingClientRect());
      const inside = (tag) => frame.left - 1 <= tag.left && tag.right <= frame.right + 1;
      const overlap = (one, other) => Math.min(
        Math.min(one.right, other.right) - Math.max(one.left, other.left),
        Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top));
      return tags.length > 2 && tags.every(inside)
        && tags.every((tag, index) => tags.slice(0, index).every((other) => overlap(tag, other) < 0.5));
    }""")


def test_a_heic_is_shown_though_browsers_cannot(page: Page) -> None:
    choose(page, ROOT / "tests/support/turned.heic")
    shown = page.locator("#picture img")
    expect(shown).to_have_attribute("src", re.compile(r"\.png$"))
    page.wait_for_function("() => document.querySelector('#picture img').naturalWidth === 48")


def test_the_matrix_is_a_plot_with_axes_whose_cells_light_their_region(still: Page) -> None:
    matrix = still.locator("#matrix")
    expect(matrix.locator(".xtick")).to_have_count(4)
    expect(matrix.locator(".ytick")).to_have_count(len(BOXES_XYXY))
    expect(matrix.locator(".xtitle")).to_have_text("description")
    expect(matrix.locator(".ytitle")).to_have_text("region")
    expect(matrix.locator(".gtitle")).to_contain_text("4 descriptions land on")
    expect(matrix.locator(".heatmap-label, .heatmaplayer text").first).to_have_text(re.compile(r"−?-?0\.\d\d"))
    area = matrix.locator(".nsewdrag").first.bounding_box()
    assert area
    cell = [area["width"] / 4, area["height"] / len(BOXES_XYXY)]
    still.mouse.move(area["x"] + 2.5 * cell[0], area["y"] + 1.5 * cell[1])
    expect(matrix.locator(".hoverlayer text").first).to_be_attached()
    still.mouse.click(area["x"] + 2.5 * cell[0], area["y"] + 1.5 * cell[1])
    expect(still.locator('#stage .lit[data-region="1"]').first).to_be_attached()
    expect(matrix.locator(".shapelayer path")).to_have_count(5)  # four best cells, one row


def test_a_click_on_a_region_lights_its_row_and_escape_puts_it_out(still: Page) -> None:
    region = still.locator("#stage .region").first
    region.dispatch_event("click")
    expect(region).to_have_class(re.compile("lit"))
    expect(still.locator("#matrix .shapelayer path")).to_have_count(5)
    still.keyboard.press("Escape")
    expect(still.locator("#matrix .shapelayer path")).to_have_count(4)
    still.keyboard.press("ArrowRight")
    expect(still.locator("#stage .region.lit").first).to_be_attached()


def test_hover_tells_text_and_score_and_chips_switch_descriptions_off(still: Page) -> None:
    still.locator("#stage .region").last.hover(force=True)
    expect(still.locator(".tip")).to_contain_text(re.compile(r"region \d, cosine -?\d\.\d+"))
    chip = still.locator("#stage .chip").first
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "false")
    expect(still.locator('#stage .region[data-description="0"]')).to_be_hidden()
    still.keyboard.press("1")
    expect(chip).to_have_attribute("aria-pressed", "true")
    expect(still.locator('#stage .region[data-description="0"]')).to_be_visible()


def test_a_description_has_one_colour_everywhere(still: Page) -> None:
    for index, color in enumerate(PALETTE[:4]):
        mark = f'[data-description="{index}"]'
        expect(still.locator(f"#stage .region{mark} rect.line")).to_have_attribute("stroke", color)
        expect(still.locator(f"#stage .chip{mark} rect")).to_have_attribute("stroke", color)
        assert color in still.locator("#matrix .xtick").nth(index).inner_html()


def test_the_threshold_and_all_regions_redraw_without_another_look(page: Page) -> None:
    page.locator("#which input[value=all]").check()
    looked_at(page, regions=len(BOXES_XYXY))
    number = page.locator("#threshold input[type=number]")
    number.fill("0.99")
    number.press("Tab")
    expect(page.locator("#stage .region")).to_have_count(0)
    expect(page.locator("#stage .chip").first).to_contain_text("below 0.99")


def test_sliders_are_moved_by_keys_and_take_no_number_that_cannot_be(page: Page) -> None:
    field = page.locator("#threshold")
    number, slider, chip = field.locator("input[type=number]"), field.locator("input[type=range]"), "#stage .chip"
    number.fill("0.99")
    number.press("Enter")
    expect(page.locator(chip).first).to_contain_text("below 0.99")
    slider.press("ArrowLeft")
    expect(page.locator(chip).first).to_contain_text("below 0.98")
    number.fill("5")
    number.press("Tab")
    expect(page.locator(chip).first).to_contain_text("below 1.00")
    number.fill("")
    number.press("Control+Enter")
    expect(number).to_have_value("1")
    slider.press("Home")
    expect(page.locator(chip).first).not_to_contain_text("below")
    page.locator("#alpha input[type=range]").press("End")
    expect(page.locator("#scores")).to_contain_text("Score = 1.00 × whole picture")
    expect(page.locator(".toast-body")).to_have_count(0)


def test_the_regions_of_both_checkpoints_are_drawn_apart(page: Page) -> None:
    mine = looked_at(page).count()
    page.locator("#versus input").click()
    page.get_by_role("option", name="sample", exact=True).click()
    page.locator("#which input[value=both]").check()
    others = page.locator("#stage .versus")
    expect(others.first).to_be_attached()
    expect(page.locator("#stage .region")).to_have_count(mine)
    assert others.locator("rect.line[stroke-dasharray]").count() == others.count()
    expect(page.locator("#stage .line-legend span")).to_contain_text(["photo, whole lines", "sample, dashed"])
    page.locator("#which input[value=best]").check()
    expect(others).to_have_count(0)
    expect(page.locator("#stage .line-legend")).to_have_count(0)


def test_a_chosen_checkpoint_reads_many_class_texts_bit_by_bit_as_run_does(services: Services) -> None:
    with gr.Blocks() as app:
        build(app, services)
    events = {number: (event.name, event.trigger_after) for number, event in app.fns.items()}
    prepared = [after for name, after in events.values() if name == "prepare"]
    assert [None if after is None else events[after][0] for after in prepared] == [None, "choose_checkpoint", "about"]
    runs = [events[after][0] for name, after in events.values() if name == "run" and after is not None]
    assert sorted(runs) == ["describe", "prepare", "prepare", "prepare", "use_example"]


def test_alpha_mixes_whole_picture_and_regions(page: Page) -> None:
    expect(page.locator("#scores")).to_contain_text(
        "0.50 × whole picture + 0.50 × regions: mean over descriptions of the best region"
    )
    for value, whole in (("1", "1.00"), ("0", "0.00")):
        number = page.locator("#alpha input[type=number]")
        number.fill(value)
        number.press("Tab")
        expect(page.locator("#scores")).to_contain_text(f"Score = {whole} × whole picture")


def test_a_bad_upload_is_told_in_a_sentence_and_what_was_typed_stays(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "holiday.jpg"
    bad.write_text("<html>no picture</html>")
    typed(page, "descriptions").fill("a thing I typed")
    typed(page, "classes").fill("one: a; b")
    choose(page, bad)
    expect(page.locator("#note-picture .notice")).to_have_text(re.compile(r"This is not a JPEG.*\.$"))
    expect(page.locator(".toast-body").first).to_contain_text("This is not a JPEG")
    assert typed(page, "descriptions").input_value() == "a thing I typed"
    assert typed(page, "classes").input_value() == "one: a; b"
    page.locator("#run-button").click()
    expect(page.locator("#note-picture .notice")).to_contain_text("no picture yet")
    expect(page.locator("#stage .region").first, "the last result is still there").to_be_attached()


def test_bad_classes_are_told_at_their_field(page: Page) -> None:
    typed(page, "classes").fill('{"zorbex": [')
    page.locator("#run-button").click()
    expect(page.locator("#note-classes .notice")).to_contain_text("cannot be read")
    assert typed(page, "classes").input_value() == '{"zorbex": ['
    typed(page, "classes").fill("zorbex: a lid")
    page.locator("#run-button").click()
    expect(page.locator("#note-classes .notice")).to_have_count(0)


def test_what_people_write_is_shown_and_never_run(page: Page) -> None:
    typed(page, "descriptions").fill(EVIL)
    typed(page, "classes").fill(f"{EVIL}: {EVIL}")
    page.locator("#run-button").click()
    expect(page.locator("#stage .chip").first).to_contain_text(EVIL)
    expect(page.locator("#scores .name").first).to_contain_text("<img src=x")
    expect(page.locator("#matrix .xtick").first).to_contain_text("<img")
    typed(page, "classes").fill(f"{EVIL}\n{EVIL}")
    page.locator("#run-button").click()
    expect(page.locator("#note-classes .notice")).to_contain_text("is there twice")
    assert page.evaluate("window.hacked") is None


@pytest.mark.slow
def test_a_link_restores_picture_words_and_sliders(page: Page, address: str, photo: Path) -> None:
    choose(page, photo)
    expect(page.locator("#picture img")).to_be_visible()
    typed(page, "descriptions").fill("a red half\na blue half")
    typed(page, "classes").fill("flag: a red half; a blue half\nsea: waves")
    page.locator("#threshold input[type=number]").fill("-0.5")
    page.locator("#run-button").click()
    expect(page.locator("#stage svg[viewBox]").first).to_have_attribute("viewBox", "0 0 180 300")
    looked_at(page, regions=2)
    before = boxes(page)
    page.locator("#link-button").click()
    link = page.locator("#link input")
    expect(link).to_have_value(re.compile(rf"^{address}\?q=[\w-]{{16}}$"))
    assert page.url == link.input_value(), "the address bar has it too"
    page.goto(link.input_value())
    expect(page.locator("#stage svg[viewBox]").first).to_have_attribute("viewBox", "0 0 180 300")
    looked_at(page, regions=2)
    assert boxes(page) == before
    assert typed(page, "descriptions").input_value() == "a red half\na blue half"
    assert typed(page, "classes").input_value() == "flag: a red half; a blue half\nsea: waves"
    assert page.locator("#threshold input[type=number]").input_value() == "-0.5"
    assert page.locator("#checkpoint input").input_value() == "photo"


def test_a_link_that_leads_nowhere_says_so(page: Page, address: str) -> None:
    page.goto(f"{address}?q=nothing-of-that-id")
    looked_at(page)
    expect(page.locator("#note-picture .notice")).to_contain_text("This link leads nowhere")


def test_a_link_whose_picture_is_gone_says_so_and_keeps_the_words(page: Page, services: Services, photo: Path) -> None:
    choose(page, photo)
    expect(page.locator("#picture img")).to_be_visible()
    typed(page, "descriptions").fill("a gone lid")
    page.locator("#run-button").click()
    expect(page.locator("#stage .chip").first).to_contain_text("a gone lid")
    page.locator("#link-button").click()
    expect(page.locator("#link input")).to_have_value(re.compile("q="))
    for kept in services.settings.pictures.rglob("*"):
        if kept.is_file():
            kept.unlink()
    page.goto(page.locator("#link input").input_value())
    expect(typed(page, "descriptions")).to_have_value("a gone lid")
    expect(page.locator("#note-picture .notice")).to_contain_text("The picture of this link is no longer there")
    expect(page.locator("#stage .region")).to_have_count(0)


def test_json_and_png_can_be_kept(still: Page, tmp_path: Path) -> None:
    with still.expect_download() as download:
        still.locator("#json-button").click()
    download.value.save_as(tmp_path / "detections.json")
    prediction = json.loads((tmp_path / "detections.json").read_text())
    assert prediction["checkpoint"]["name"] == "photo" and "versus" not in prediction
    with still.expect_download() as download:
        still.locator("#png-button").click()
    download.value.save_as(tmp_path / "detections.png")
    with Image.open(tmp_path / "detections.png") as kept:
        assert kept.size == (prediction["image"]["width"], prediction["image"]["height"])


def test_a_checkpoint_without_a_decoder_says_so_where_the_regions_would_be(page: Page) -> None:
    page.locator("#checkpoint input").click()
    page.get_by_role("option", name="sample-clip").click()
    expect(page.locator("#stage .notice")).to_have_text("This checkpoint has no trained decoder.")
    expect(page.locator("#stage .region")).to_have_count(0)
    expect(page.locator("#scores .verdict")).to_have_count(1)
    expect(page.locator("#about")).to_contain_text("this checkpoint has no trained decoder")


def test_an_example_brings_its_words_and_the_checkpoint_that_knows_such_pictures(page: Page, photo: Path) -> None:
    example = load_examples()[6]
    page.locator(f'#gallery [title="{example.title}"]').click()
    expect(typed(page, "descriptions")).to_have_value(example.descriptions)
    expect(page.locator("#stage .chip").first).to_contain_text(example.descriptions.splitlines()[0])
    expect(page.locator("#checkpoint input")).to_have_value("sample")
    expect(page.locator("#about")).to_contain_text("sample was trained on made-up words")
    expect(page.locator("#scores .verdict")).to_have_count(2)
    expect(page.locator("#scores")).to_contain_text("CLIP · sample-clip")
    choose(page, photo)
    expect(page.locator("#checkpoint input")).to_have_value("photo")
    expect(page.locator("#about")).to_have_text("photo is made-up words")


def test_a_checkpoint_that_a_person_chose_stays_when_the_picture_changes(page: Page, photo: Path) -> None:
    page.locator("#checkpoint input").click()
    page.get_by_role("option", name="sample-clip").click()
    expect(page.locator("#scores")).to_contain_text("CLIP · sample-clip")
    choose(page, photo)
    expect(page.locator("#picture img")).to_be_visible()
    typed(page, "descriptions").fill("a man")
    page.locator("#run-button").click()
    expect(page.locator("#stage svg[viewBox]").first).to_have_attribute("viewBox", "0 0 180 300")
    assert page.locator("#checkpoint input").input_value() == "sample-clip"


def test_what_the_picture_does_not_show_gets_no_box(page: Page) -> None:
    typed(page, "descriptions").fill("a man\na unicorn")
    page.locator("#run-button").click()
    expect(page.locator("#stage .chip").nth(1)).to_contain_text("not found")
    expect(page.locator('#stage .region[data-description="1"]')).to_have_count(0)
    expect(page.locator('#stage .region[data-description="0"]')).to_have_count(1)
    chip, place = page.locator("#stage .chip").nth(1), page.locator('#stage .likeliest[data-description="1"]')
    expect(place).to_be_hidden()
    chip.click()
    expect(place).to_be_visible()
    expect(page.locator("#stage .likeliest-tag")).to_have_text("likeliest: a unicorn")
    expect(chip).to_have_attribute("aria-pressed", "true")
    expect(page.locator('#stage .region[data-description="0"]')).to_have_class(re.compile("faded"))
    page.locator('#stage .region[data-description="0"]').click()
    expect(place).to_be_hidden()
    page.locator("h1").click()
    page.keyboard.press("2")
    expect(place).to_be_visible()
    page.keyboard.press("2")
    expect(place).to_be_hidden()


def test_the_keys_and_the_code_are_one_step_away(still: Page, address: str) -> None:
    still.locator("h1").click()
    still.keyboard.press("?")
    expect(still.locator("dialog.keys-dialog")).to_be_visible()
    still.keyboard.press("Escape")
    expect(still.locator("dialog.keys-dialog")).to_be_hidden()
    still.locator("#code-button").click()
    expect(still.locator("#code")).to_contain_text("python -m grain.predict picture.jpg")
    expect(still.locator("#code")).to_contain_text(f'Client("{address}")')


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_at_either_width(page: Page, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)
    page.reload()
    looked_at(page)
    assert page.evaluate("document.body.classList.contains('dark')") is (scheme == "dark")
    for width, columns in ((1400, 3), (400, 1)):
        fits(page, width)
        cards = [card.bounding_box() for card in page.locator(".card").all()]
        assert len(cards) == 8 and len({round(card["x"]) for card in cards if card}) == columns


@pytest.mark.slow
def test_a_describer_fills_the_descriptions_and_a_detector_is_laid_beside(page: Page) -> None:
    page.get_by_text("Let a model describe it").click()
    page.locator("#describe").click()
    expect(page.locator("#described")).to_contain_text("As the model wrote it")
    expect(typed(page, "descriptions")).to_have_value(re.compile("person"))
    expect(page.locator("#stage .chip").first).to_contain_text("person")
    page.locator("#compare").click()
    rows = page.locator("#comparison tbody tr")
    expect(rows).to_have_count(page.locator("#stage .chip").count())
    expect(page.locator("#comparison .notice")).to_contain_text("Both are the photo checkpoint")
    assert page.locator("#comparison rect.line[stroke-dasharray]").count() >= 1
    page.locator("#detector input").click()
    page.get_by_role("option", name="OWLv2 on this machine").click()
    page.locator("#compare").click()
    expect(page.locator("#note-comparison .notice")).to_contain_text("hf download")
