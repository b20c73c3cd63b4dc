from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from app.access.accounts import LOCAL_PERSON
from app.core.ground_links import GroundQuestion, QuestionError
from app.ground import panels
from app.ground.actions import answer
from app.ground.model_comparison import audit, compare, describe, description_lines
from app.services import Services
from curation.annotate.describe import DescriberResult
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
from grain.structures import Region
from tests.support.fake_app import fake_services
from tests.support.fake_predictor import BOXES_XYXY

LONG = "a thing " * 10


SAID = DescriberResult(raw=("a sheet", "- a"), subject="a sheet", descriptions=tuple(f"text {n}" for n in range(80)))


class Wordy:
    """See Describer."""

    name = "wordy@1"

    def describe(self, images: Sequence[Image.Image]) -> list[DescriberResult]:
        return [SAID for _ in images]


class Quarter:
    """A Localizer that finds every description in the upper left quarter, and reads 60 characters."""

    name = "quarter@1"

    def too_long(self, texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(text for text in texts if len(text) > 60)

    def localize(self, pictures: Sequence[Image.Image], said: Sequence[Sequence[str]]) -> list[tuple[Region, ...]]:
        return [tuple(Region((0, 0, 0.5, 0.5), text, 0.9, row) for row, text in enumerate(texts)) for texts in said]


class StubbedServices(Services):
    """Those two, whatever is chosen."""

    def annotators(self, config: AnnotateConfig) -> AnnotatorFactory:
        return AnnotatorFactory(Wordy, Quarter)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    image = Image.new("RGB", (80, 40), "orange")
    image.save(tmp_path / "orange.png")
    return str(tmp_path / "orange.png")


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return fake_services(tmp_path, StubbedServices)


def test_what_a_describer_says_fills_no_more_lines_than_a_look_can_show(services: Services, picture: str) -> None:
    said = describe(services, picture, "photo", person=LOCAL_PERSON)
    assert said.subject == "a sheet" and said.seconds > 0
    assert description_lines(said).splitlines() == [f"text {number}" for number in range(64)]


def test_each_description_has_both_boxes_and_their_overlap_by_hand(services: Services, picture: str) -> None:
    grounded = answer(services, GroundQuestion(picture, f"a dog\na unicorn\n{LONG}", "", "photo"))
    rows = {row.text: row for row in compare(services, picture, grounded.result.prediction, kind="owlv2")}
    dog, unicorn, long = rows["a dog"], rows["a unicorn"], rows[LONG.strip()]
    own = BOXES_XYXY[grounded.result.prediction.best[0]].tolist()
    assert dog.grain_xyxy == pytest.approx(own) and dog.detector_xyxy == (0, 0, 0.5, 0.5) and dog.score == 0.9
    width, height = min(own[2], 0.5) - own[0], min(own[3], 0.5) - own[1]
    overlap = max(0.0, width) * max(0.0, height)
    assert dog.iou == pytest.approx(overlap / (0.25 + (own[2] - own[0]) * (own[3] - own[1]) - overlap))
    assert (unicorn.grain_xyxy, unicorn.iou, unicorn.score) == (None, None, 0.9), "GRAIN does not find it"
    assert (long.detector_xyxy, long.score, long.iou, long.reason) == (None, None, None, "too long for it")


def test_nothing_to_compare_and_no_picture_are_one_sentence(services: Services, picture: str) -> None:
    prediction = answer(services, GroundQuestion(picture, "", "dog: a tail", "photo")).result.prediction
    with pytest.raises(QuestionError, match="nothing to compare: write a description"):
        compare(services, picture, prediction, kind="photo")
    with pytest.raises(QuestionError, match="no picture yet"):
        describe(services, "", "photo", person=LOCAL_PERSON)


def test_an_address_with_a_password_is_refused_and_not_repeated(services: Services, picture: str) -> None:
    with pytest.raises(QuestionError, match="holds a password") as error:
        describe(services, picture, "server", server="http://me:secret@127.0.0.1/v1", person=LOCAL_PERSON)
    assert "secret" not in str(error.value)
    assert describe(
        services, picture, "photo", server="what the hidden field still holds", person=LOCAL_PERSON
    ).descriptions


def test_what_is_missing_is_said_with_the_command_that_fetches_it(tmp_path: Path, picture: str) -> None:
    services = fake_services(tmp_path)
    prediction = answer(services, GroundQuestion(picture, "a dog", "", "photo")).result.prediction
    with pytest.raises(QuestionError, match="hf download google/owlv2"):
        compare(services, picture, prediction, kind="owlv2")
    with pytest.raises(QuestionError, match="hf download llava-hf"):
        describe(services, picture, "llava", person=LOCAL_PERSON)
    with pytest.raises(QuestionError, match="needs its address"):
        describe(services, picture, "server", server=" ", person=LOCAL_PERSON)


def test_descriptions_are_audited_beside_counterfactuals_and_shown_as_text(services: Services, picture: str) -> None:
    prediction = answer(
        services, GroundQuestion(picture, "a red lid\n<b>a dog</b> on the left\n!?", "", "photo")
    ).result.prediction
    rows = audit(services, picture, prediction, checkpoint="photo", kind="owlv2")
    assert (
        [text for text, _ in rows] == list(prediction.descriptions) == ["a red lid", "<b>a dog</b> on the left", "!?"]
    )
    kinds = [[one.claim.kind for one in judged] for _, judged in rows]
    assert kinds[0] == ["attribute", "object"] and kinds[2] == []
    assert {one.source for one in rows[0][1][0].evidence} == {"detector", "likeness"}
    panel = panels.audit_panel(rows)
    assert "<b>a dog" not in panel and "&lt;b&gt;" in panel and "nothing that can be checked" in panel
    with pytest.raises(QuestionError, match="nothing to audit"):
        audit(services, picture, replace(prediction, descriptions=()), checkpoint="photo", kind="photo")
