from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import tyro
from PIL import Image

from app.core.checkpoints import Checkpoint
from app.core.ground_links import GroundQuestion
from app.ground import panels
from app.ground.actions import CheckpointResult
from app.ground.examples import load_examples
from app.ui.html import render_macro
from grain.checkpoint import EMBEDDED, read_info
from grain.predict import PredictConfig
from grain.zero_shot import parse_classes
from tests.app.ground.test_overlay import EVIL, TWO_BY_THREE
from tests.support.fake_predictor import fake_predictor, write_fake_checkpoint


@pytest.fixture
def results(tmp_path: Path) -> tuple[CheckpointResult, CheckpointResult]:
    folders = [write_fake_checkpoint(tmp_path / "sample"), write_fake_checkpoint(tmp_path / "twin", kind="clip")]
    found = []
    for folder in folders:
        classes = {"zorbex": ["a lid", "a star"], EVIL: [], **{f"class {index}": ["x"] for index in range(20)}}
        prediction = fake_predictor(folder).predict(Image.new("RGB", (9, 9)), ["a lid"], classes, alpha=0.5)
        found.append(
            CheckpointResult(Checkpoint(folder.name, folder, read_info(folder)), read_info(folder), prediction)
        )
    return found[0], found[1]


def test_the_classes_panel_shows_both_models_and_why(results: tuple[CheckpointResult, CheckpointResult]) -> None:
    html = panels.classes_panel(*results, alpha=0.5)
    assert html.count('class="verdict ') == 2
    assert html.count('<span class="bar grain"') == html.count('<span class="bar clip"') == panels.MOST_CLASSES
    assert "12 more classes score lower" in html
    assert "<img src=x" not in html
    assert html.count("<details open>") == 1
    assert "0.50 × whole picture + 0.50 × regions: mean over descriptions of the best region" in html


def test_a_description_in_the_table_has_the_colour_it_has_on_the_picture(
    results: tuple[CheckpointResult, CheckpointResult],
) -> None:
    rows = [score for score in results[0].prediction.classes if score.name == "zorbex"]
    html = panels.classes_panel(
        replace(results[0], prediction=replace(results[0].prediction, classes=tuple(rows))), None, alpha=0.5
    )
    assert f"{render_macro('swatch', 0)}a lid" in html
    assert '<th scope="row">a star</th>' in html, "not looked for, so without a colour"


def test_one_model_alone_and_no_classes_at_all(results: tuple[CheckpointResult, CheckpointResult]) -> None:
    assert panels.classes_panel(results[1], None, alpha=1.0).count('class="verdict ') == 1
    empty = CheckpointResult(results[0].checkpoint, results[0].info, TWO_BY_THREE)
    assert "No classes asked" in panels.classes_panel(empty, None, alpha=1.0)


def test_the_honest_lines_name_what_was_trained_on_what_and_what_is_broken(
    results: tuple[CheckpointResult, CheckpointResult],
) -> None:
    good = [result.checkpoint for result in results]
    broken = Checkpoint("bad", Path("bad"), None, f"config.json {EVIL}")
    html = panels.about_panel([*good, broken], "sample", "twin")
    assert "<b>sample</b> was trained on made-up words" in html
    assert "no trained decoder" in html and "1 cannot be used" in html and "<img src=x" not in html
    assert "There is no checkpoint yet" in panels.about_panel([], "", "")


def test_the_command_that_is_shown_asks_the_same_question() -> None:
    question = GroundQuestion(
        "x.jpg", "a 'red' lid\nit's round", 'zorbex: a lid; a "star"\nplim', "sample", "", 0.25, 0.5
    )
    checkpoint = Checkpoint("sample", EMBEDDED / "sample", None)
    words = shlex.split(" ".join(panels.command_line(question, checkpoint)))
    assert words[:3] == ["python", "-m", "grain.predict"]
    config = tyro.cli(PredictConfig, args=words[3:])
    assert config.description == ("a 'red' lid", "it's round")
    assert config.class_text == ('zorbex: a lid; a "star"', "plim: ")
    assert (config.checkpoint, config.threshold, config.alpha) == ("sample", 0.25, 0.5)
    assert config.instances == "all", "as the page"


@pytest.mark.parametrize("classes", [{"zorbex": ["a lid; a star"]}, {"a: b": ["a lid"], "plim": []}, {"{x": ["y"]}])
def test_the_command_says_every_class_as_it_was_typed(classes: dict[str, list[str]]) -> None:
    question = GroundQuestion("x.jpg", "a lid", json.dumps(classes), "sample", "", 0.25, 0.5)
    words = shlex.split(" ".join(panels.command_line(question, Checkpoint("sample", EMBEDDED / "sample", None))))
    config = tyro.cli(PredictConfig, args=words[3:])
    assert parse_classes("\n".join(config.class_text)) == classes


def test_classes_that_the_command_leaves_out_are_counted() -> None:
    def html(count: int) -> str:
        classes = "\n".join(f"c{row}: a lid" for row in range(count))
        question = GroundQuestion("x.jpg", "a lid", classes, "sample", "", 0.25, 0.5)
        return panels.code_panel(question, Checkpoint("sample", EMBEDDED / "sample", None))

    assert "the first 12 of 15 classes" in html(15)
    assert "classes, and" not in html(12)


def test_the_examples_are_small_pictures_with_words() -> None:
    examples = load_examples()
    assert len(examples) >= 6
    for example in examples:
        assert example.path.stat().st_size <= 60_000 and example.descriptions and example.classes
        with Image.open(example.path) as image:
            assert max(image.size) <= 512
    assert panels.gallery_panel(examples).count("<button") == len(examples)
