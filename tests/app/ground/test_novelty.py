"""The sentence beside a picture that is far from what a checkpoint has seen."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from app.core.checkpoints import Checkpoint
from app.ground.actions import CheckpointResult
from app.ground.examples import load_examples
from app.ground.novelty import stage_note
from app.ground.page import GroundPage
from tests.support.fake_app import fake_services
from tests.support.fake_predictor import fake_predictor, write_fake_checkpoint

MakeResult = Callable[..., CheckpointResult]


@pytest.fixture
def make(tmp_path: Path) -> MakeResult:
    def result(name: str, novelty: float | None, kind: str = "grain") -> CheckpointResult:
        folder = write_fake_checkpoint(tmp_path / name, kind=kind)
        model = fake_predictor(folder)
        found = replace(model.predict(Image.new("RGB", (20, 20)), ["a lid"], {}), novelty=novelty)
        return CheckpointResult(Checkpoint(name, folder, model.info), model.info, found)

    return result


def test_a_picture_like_those_seen_gets_no_sentence(make: MakeResult) -> None:
    assert stage_note([make("mine", 0.99)]) == ""
    assert stage_note([make("silent", None)]) == ""


def test_a_strange_picture_is_said_to_be_strange_to_each_checkpoint_that_says_so(make: MakeResult) -> None:
    first, second = make("mine", 1.01), make("yours", 7.0)
    assert stage_note([first]).startswith("This picture is far from what mine has seen: do not trust")
    assert stage_note([first, second]).startswith("This picture is far from what mine and yours have seen:")
    assert stage_note([make("known", 0.5), second]).startswith("This picture is far from what yours has seen:")


def test_what_a_checkpoint_cannot_do_is_said_first(make: MakeResult) -> None:
    note = stage_note([make("twin", 2.0, kind="clip")])
    assert note.startswith("This checkpoint has no trained decoder. This picture is far from what twin has seen:")


def test_nothing_is_suggested_of_a_chart_and_something_of_a_photograph(tmp_path: Path) -> None:
    chart = Image.new("RGB", (640, 480), "white")
    pen = ImageDraw.Draw(chart)
    for column in range(10):
        pen.rectangle((80 + column * 53, 400 - column * 30, 115 + column * 53, 440), fill="#4477aa")
    pen.line((60, 20, 60, 440, 620, 440), fill="black", width=2)
    chart.save(tmp_path / "chart.png")
    examples = load_examples()
    photograph = next(each.path for each in examples if each.path.name == "chelsea.jpg")
    page = GroundPage(fake_services(tmp_path), examples)
    strange, seen = page.suggest(str(tmp_path / "chart.png"), ""), page.suggest(str(photograph), "")
    assert "data-add" not in strange and "Nothing is suggested: this picture is far from" in strange
    assert 'data-add="a cat"' in seen
    assert page.suggest(str(tmp_path / "chart.png"), "a bar") == page.suggest(None, "") == ""
