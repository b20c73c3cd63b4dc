"""Boxes that the model suggests while a person draws: which there are, and how they are taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, Route, expect

from app.curate.suggestions import SuggestedBox, suggest_boxes
from app.services import Services
from curation.ingest.ingest import ingest
from curation.sample.world import WorldConfig, write_world
from db.engine import Engine, open_engine, reading, transaction
from db.models import RegionRow
from db.queries.curate_queries import add_region_by_hand
from db.queries.region_queries import regions_of
from grain.checkpoint import read_info
from grain.predict import Predictor
from grain.structures import ImageFeatures
from tests.support.browser_fixtures import intercept, opened, settled
from tests.support.fake_app import fake_services
from tests.support.fake_predictor import BOXES_XYXY, FakeEncoder
from user_errors import UserError

RED, BLUE = (200, 30, 30), (30, 30, 200)
FOUND = [tuple(box) for box in BOXES_XYXY.tolist()]  # what the fake model finds in every picture


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """Three pictures; the model sees the same things in the first and the second."""
    folder = tmp_path_factory.mktemp("suggested")
    for number, colour in enumerate((RED, RED, BLUE)):
        Image.new("RGB", (60 + number, 60), colour).save(folder / f"{number}.png")
    made = fake_services(folder / "app")
    ingest(made.engine, folder, dataset="shelf", home=made.settings.home)
    with transaction(made.engine) as session:
        add_region_by_hand(session, image_id=3, who="ada", xyxy=(0, 0, 1, 1), text="jam")
    return made


def suggested(services: Services, checkpoint: str = "sample", **ask: Any) -> list[SuggestedBox]:
    return suggest_boxes(services, {"image": 2} | ask, dataset="shelf", checkpoint=checkpoint)


def test_boxes_with_words_of_the_person_and_the_data_set_come_first(services: Services) -> None:
    found = suggested(services, texts=["a red lid"])
    assert sorted(each.box for each in found) == sorted(FOUND), "each once"
    named = [each.text for each in found if each.text]
    assert named and set(named) <= {"a red lid", "jam"} and [each.text for each in found[: len(named)]] == named


def test_what_looks_like_the_last_box_is_first_and_has_its_words(services: Services) -> None:
    last = {"image": 1, "box": [side + 0.01 for side in FOUND[2]], "text": "  honey   jar "}
    assert suggested(services, last=last)[0] == SuggestedBox(FOUND[2], "honey jar", alike=True)
    assert not any(each.alike for each in suggested(services, last=last | {"image": 3})), "nothing looks like that"
    assert not any(each.alike for each in suggested(services, last=last | {"image": 2})), "the very picture"
    assert suggested(services, last=last | {"image": 99}) == suggested(services), "that picture is gone"
    elsewhere = last | {"box": [0.45, 0.0, 0.5, 0.04]}
    assert not any(each.alike for each in suggested(services, last=elsewhere)), "the model sees nothing there"


def test_only_what_looks_most_like_it_from_both_sides_is_the_same(services: Services) -> None:
    class OneSided(FakeEncoder):
        """In the second picture it sees what is like the first one's box 1, and a little less like its box 0."""

        def _encode(self, image: Image.Image) -> ImageFeatures:
            found = super()._encode(image)
            if image.width != 61:
                return found
            row = 0.80 * found.region_embeds[0] + 0.85 * found.region_embeds[1]
            unit = (row / np.linalg.norm(row)).astype(np.float32)
            return replace(found, region_embeds=np.tile(unit, (len(found.region_embeds), 1)))

    def load(folder: Path) -> Predictor:
        encoder: Any = OneSided(read_info(folder))
        return Predictor(encoder)

    embedded = services.settings.home.parent / "embedded"
    one_sided = Services(services.settings, load_model=load, embedded=embedded)
    drawn = [suggested(one_sided, last={"image": 1, "box": list(FOUND[row]), "text": "jar"})[0] for row in (0, 1)]
    assert [each.alike for each in drawn] == [False, True]


@pytest.mark.parametrize(
    ("ask", "checkpoint", "sentence"),
    [
        ({}, "", "choose a checkpoint"),
        ({"image": 99}, "sample", "There is no picture 99"),
        ({"image": "x"}, "sample", "picture"),
        ({"last": {"image": 1, "box": [0, 1], "text": "lid"}}, "sample", "box of four numbers"),
        ({}, "nowhere", "nowhere"),
    ],
)
def test_what_cannot_be_is_said(services: Services, ask: dict[str, Any], checkpoint: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        suggested(services, checkpoint, **ask)


def test_words_and_last_boxes_of_other_kinds_are_left_out(services: Services) -> None:
    plain = suggested(services)
    assert plain == suggested(services, texts=[None, 3, " "], last="there") == suggested(services, texts="lid")


# ---------------------------------------------------------------- on the page


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of the sample world without regions, but for a small one in the first's corner."""
    home = tmp_path_factory.mktemp("home")
    engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")
    world = WorldConfig(out=home / "drawn", images=0, held_out_images=2, classes=1, novel_images_per_class=0)
    ingest(engine, write_world(world), dataset="drawn", home=home)
    with transaction(engine) as session:
        add_region_by_hand(session, image_id=1, who="ada", xyxy=(0.0, 0.0, 0.1, 0.1), text="red lid")
    engine.dispose()
    return home


def regions(engine: Engine) -> list[RegionRow]:
    with reading(engine) as session:
        return regions_of(session, image_ids=[2])[2]


def saved(page: Page) -> None:
    expect(page.locator("#editor .stage")).to_have_attribute("data-unsaved", "0")


@pytest.mark.slow
def test_suggestions_that_did_not_come_are_asked_for_again(address: str, visitor: BrowserContext) -> None:
    """The first one waits for a model that loads, longer than a browser does."""
    with opened(visitor, f"{address}curate?image=2", "#editor .frame img", height=1200) as page:
        settled(page)
        lost: list[str] = []

        def lose_two(route: Route) -> None:
            if len(lost) < 2:
                lost.append(route.request.url)
                route.abort()
            else:
                route.continue_()

        page.locator("#scores-with input").click()
        page.get_by_role("option", name="sample", exact=True).click()
        page.locator("#editor h3, h2").first.click()
        intercept(page, "**/curate/suggestions", lose_two)
        page.keyboard.press("s")
        expect(page.locator("#editor .suggested b").first).to_have_text("red lid")
        assert len(lost) == 2
        page.keyboard.press("s")
        expect(page.locator("#editor .suggested")).to_have_count(0)


@pytest.mark.slow
def test_a_press_and_a_key_take_suggestions_and_a_drag_draws_as_ever(
    address: str, visitor: BrowserContext, engine: Engine
) -> None:
    with opened(visitor, f"{address}curate?image=2", "#editor .frame img", height=1200) as page:
        settled(page)
        page.keyboard.press("t")
        expect(page.locator("#editor .feedback")).to_contain_text("S shows what the model suggests")
        page.locator("#scores-with input").click()
        page.get_by_role("option", name="sample", exact=True).click()
        page.locator("#editor h3, h2").first.click()
        page.keyboard.press("s")
        expect(page.locator("#editor .suggested b").first).to_have_text("red lid")
        page.keyboard.press("t")
        expect(page.locator("#editor .text.chosen input")).to_have_value("red lid")
        saved(page)
        [taken] = regions(engine)
        assert taken.text == "red lid" and taken.x2 - taken.x1 > 0.02

        frame = page.locator("#editor .frame").bounding_box()
        assert frame
        for step in range(81):  # somewhere a box that is not taken yet is under the pointer
            across, down = 0.1 + 0.1 * (step % 9), 0.1 + 0.1 * (step // 9)
            page.mouse.move(frame["x"] + across * frame["width"], frame["y"] + down * frame["height"])
            if page.locator("#editor .suggested.near").count():
                break
        near = page.locator("#editor .suggested.near").bounding_box()
        assert near
        page.mouse.down()
        page.mouse.up()
        page.get_by_label("What is in the box?").fill("blue spout")
        page.keyboard.press("Enter")
        expect(page.locator("#editor .text.chosen input")).to_have_value("blue spout")
        saved(page)
        drawn = next(row for row in regions(engine) if row.text == "blue spout")
        assert drawn.x1 * frame["width"] + frame["x"] == pytest.approx(near["x"], abs=2)
        assert (drawn.y2 - drawn.y1) * frame["height"] == pytest.approx(near["height"], abs=2)

        page.keyboard.press("s")
        expect(page.locator("#editor .suggested")).to_have_count(0)
        page.mouse.move(frame["x"] + 3, frame["y"] + 3)
        page.mouse.down()
        page.mouse.move(frame["x"] + 33, frame["y"] + 43, steps=3)
        page.mouse.up()
        page.get_by_label("What is in the box?").fill("by hand")
        page.keyboard.press("Enter")
        saved(page)
        expect(page.locator("#editor .text.chosen input")).to_have_value("by hand")
        by_hand = next(row for row in regions(engine) if row.text == "by hand")
        assert (by_hand.x2 - by_hand.x1) * frame["width"] == pytest.approx(30, abs=2)
