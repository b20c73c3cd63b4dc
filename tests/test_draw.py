from __future__ import annotations

import base64
import io
import re
import shlex
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from app import draw, panels
from app.gallery import load_examples
from app.looking import Question, Sight
from app.registry import Checkpoint
from grain.checkpoint import EMBEDDED, read_info
from grain.predict import PredictConfig
from grain.structures import Look
from tests.fake_predictor import fake_predictor, write_fake_checkpoint

EVIL = "<img src=x onerror=alert(1)>\"&'`${alert(1)}{{x}}"


def look_of(
    matches: list[list[float]],
    descriptions: tuple[str, ...],
    *,
    size: tuple[int, int] = (200, 100),
    presence: tuple[float, ...] | None = None,
) -> Look:
    scores = np.array(matches, np.float32).reshape(len(matches), len(descriptions))
    boxes = np.linspace(0.1, 0.9, 4 * len(matches), dtype=np.float32).reshape(-1, 4)
    return Look(
        *size,
        boxes,
        descriptions,
        scores,
        best=tuple(scores.argmax(axis=0).tolist()) if scores.size else (),
        presence=presence,
        regions=(),
        classes=(),
        timing_ms={"image": 2.0},
    )


TWO_BY_THREE = look_of([[0.5, 0.1, -0.2], [0.4, 0.3, -0.1]], ("a lid", "a star", "a fish"))


# ------------------------------------------------------------------------------------ which regions, which colours


def test_best_shows_for_each_description_its_best_region_above_the_threshold() -> None:
    shown = draw.shown_regions(TWO_BY_THREE, threshold=0.0, which="best")
    assert [(one.region, one.description, round(one.score, 2)) for one in shown] == [(0, 0, 0.5), (1, 1, 0.3)]
    assert [one.description for one in draw.shown_regions(TWO_BY_THREE, threshold=-1, which="best")] == [0, 1, 2]
    assert draw.shown_regions(TWO_BY_THREE, threshold=0.6, which="best") == ()


def test_all_shows_every_region_under_the_description_that_it_matches_best() -> None:
    shown = draw.shown_regions(TWO_BY_THREE, threshold=0.0, which="all")
    assert [(one.region, one.description) for one in shown] == [(0, 0), (1, 0)]


def test_a_chip_says_why_its_description_has_no_box() -> None:
    best = draw.shown_regions(TWO_BY_THREE, threshold=0.2, which="best")
    every = draw.shown_regions(TWO_BY_THREE, threshold=0.2, which="all")
    assert draw.chips(TWO_BY_THREE, best, 0.2).count("below 0.20") == 1
    assert draw.chips(TWO_BY_THREE, every, 0.2).count("best on no region") == 1


def test_without_regions_or_without_descriptions_nothing_is_shown() -> None:
    for look in (look_of([], ("a lid",)), look_of([[], []], ())):
        assert draw.shown_regions(look, threshold=-1, which="best") == ()
        assert draw.heatmap(look).layout.annotations[0].text.startswith("No ")
        assert "<svg" in draw.stage(look, (), "data:,", 0.0)


def test_colours_repeat_after_eight_under_another_pattern() -> None:
    marks = [draw.mark_of(index) for index in range(32)]
    assert len(set(marks)) == 32
    assert [mark.color for mark in marks[:8]] == [mark.color for mark in marks[8:16]]
    assert {mark.dash for mark in marks[:8]} == {""} and "" not in {mark.dash for mark in marks[8:]}


# ------------------------------------------------------------------------------------ the overlay


def test_boxes_are_drawn_in_pixels_of_the_upright_picture() -> None:
    html = draw.overlay(TWO_BY_THREE, draw.shown_regions(TWO_BY_THREE, threshold=0.0, which="best"), "data:,")
    assert 'viewBox="0 0 200 100"' in html
    x0, y0, x1, y1 = TWO_BY_THREE.boxes_xyxy[0]
    numbers = " ".join(rf'{name}="([\d.]+)"' for name in ("x", "y", "width", "height"))
    box = re.search(rf'data-region="0" data-description="0".*?<rect class="line" {numbers} stroke="(#\w+)"', html)
    assert box
    assert [float(value) for value in box.groups()[:4]] == pytest.approx(
        [200 * x0, 100 * y0, 200 * (x1 - x0), 100 * (y1 - y0)], abs=0.01
    )
    assert box.group(5) == draw.mark_of(0).color


def test_what_people_write_is_escaped_everywhere() -> None:
    look = look_of([[0.5]], (EVIL,))
    shown = draw.shown_regions(look, threshold=0.0, which="best")
    figure = draw.heatmap(look)
    for html in (
        draw.stage(look, shown, "data:,", 0.0),
        panels.notice(EVIL),
        figure.layout.title.text,
        *figure.layout.xaxis.ticktext,
    ):
        assert "<img src=x" not in html
    assert EVIL in unescape(draw.stage(look, shown, "data:,", 0.0))


# ------------------------------------------------------------------------------------ the matrix


def test_the_matrix_has_axes_values_outlines_in_the_descriptions_colours_and_says_what_it_found() -> None:
    figure = draw.heatmap(TWO_BY_THREE)
    assert np.allclose(figure.data[0].z, TWO_BY_THREE.matches)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("description", "region")
    assert figure.layout.title.text.replace("<br>", " ") == (
        "3 descriptions land on 2 regions; clearest is “a lid” on region 0 (0.50)"
    )
    assert [(shape.x0, shape.y0, shape.line.color) for shape in figure.layout.shapes] == [
        (column - 0.47, row - 0.45, draw.mark_of(column).color) for column, row in enumerate((0, 1, 1))
    ]
    assert all(draw.mark_of(index).color in label for index, label in enumerate(figure.layout.xaxis.ticktext))


def test_one_description_and_many_make_a_matrix_too() -> None:
    assert draw.heatmap(look_of([[0.1], [0.2]], ("a",))).layout.title.text.startswith(
        "The best match is “a” on region 1"
    )
    many = tuple(f"description number {index} of many" for index in range(40))
    assert (
        len(draw.heatmap(look_of(np.random.default_rng(0).normal(size=(6, 40)).tolist(), many)).layout.xaxis.ticktext)
        == 40
    )


# ------------------------------------------------------------------------------------ pictures


def test_the_png_has_the_boxes_where_they_belong_and_leaves_the_picture_alone() -> None:
    image = Image.new("RGB", (200, 100), "white")
    shown = draw.shown_regions(TWO_BY_THREE, threshold=0.4, which="best")
    drawn = np.asarray(Image.open(io.BytesIO(draw.png(draw.annotate(image, TWO_BY_THREE, shown)))).convert("RGB"))
    color = np.array([int(draw.mark_of(0).color[at : at + 2], 16) for at in (1, 3, 5)])
    x0, y0, x1, y1 = (TWO_BY_THREE.boxes_xyxy[0] * [200, 100, 200, 100]).round().astype(int)
    assert np.abs(drawn[(y0 + y1) // 2, x0] - color).max() <= 2 and np.abs(drawn[y1, (x0 + x1) // 2] - color).max() <= 2
    assert np.asarray(image).min() == 255, "the picture itself is not drawn on"
    assert draw.annotate(Image.new("RGB", (5000, 100)), TWO_BY_THREE, ()).size == (2048, 41)


def test_a_picture_for_the_page_is_small_and_inside_it() -> None:
    uri = draw.picture_uri(Image.new("RGB", (4000, 2000)))
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (1280, 640)


# ------------------------------------------------------------------------------------ words and numbers


@pytest.fixture
def sights(tmp_path: Path) -> tuple[Sight, Sight]:
    folders = [write_fake_checkpoint(tmp_path / "sample"), write_fake_checkpoint(tmp_path / "twin", kind="clip")]
    found = []
    for folder in folders:
        classes = {"zorbex": ["a lid", "a star"], EVIL: [], **{f"class {index}": ["x"] for index in range(20)}}
        look = fake_predictor(folder).look(Image.new("RGB", (9, 9)), ["a lid"], classes, alpha=0.5)
        found.append(Sight(Checkpoint(folder.name, folder, read_info(folder)), read_info(folder), look))
    return found[0], found[1]


def test_the_classes_panel_shows_both_models_and_why(sights: tuple[Sight, Sight]) -> None:
    html = panels.classes_panel(*sights, alpha=0.5)
    assert html.count('class="verdict ') == 2
    assert html.count('<div class="bar grain"') == html.count('<div class="bar clip"') == panels.MOST_CLASSES
    assert "12 more classes score lower" in html
    assert "<img src=x" not in html
    assert html.count("<details open>") == 1
    assert "0.50 × whole picture + 0.50 × mean of best regions" in html


def test_a_description_in_the_table_has_the_colour_it_has_on_the_picture(sights: tuple[Sight, Sight]) -> None:
    rows = [score for score in sights[0].look.classes if score.name == "zorbex"]
    html = panels.classes_panel(replace(sights[0], look=replace(sights[0].look, classes=tuple(rows))), None, alpha=0.5)
    assert f"{draw.swatch(0)}a lid" in html
    assert "<th>a star</th>" in html, "not looked for, so without a colour"


def test_one_model_alone_and_no_classes_at_all(sights: tuple[Sight, Sight]) -> None:
    assert panels.classes_panel(sights[1], None, alpha=1.0).count('class="verdict ') == 1
    empty = Sight(sights[0].checkpoint, sights[0].info, TWO_BY_THREE)
    assert "No classes asked" in panels.classes_panel(empty, None, alpha=1.0)


def test_the_honest_lines_name_what_was_trained_on_what_and_what_is_broken(sights: tuple[Sight, Sight]) -> None:
    good = [sight.checkpoint for sight in sights]
    broken = Checkpoint("bad", Path("bad"), None, f"config.json {EVIL}")
    html = panels.about([*good, broken], "sample", "twin")
    assert "<b>sample</b> was trained on made-up words" in html
    assert "no trained decoder" in html and "1 cannot be used" in html and "<img src=x" not in html
    assert "There is no checkpoint yet" in panels.about([], "", "")


def test_the_command_that_is_shown_asks_the_same_question() -> None:
    question = Question("x.jpg", "a 'red' lid\nit's round", 'zorbex: a lid; a "star"\nplim', "sample", "", 0.25, 0.5)
    checkpoint = Checkpoint("sample", EMBEDDED / "sample", None)
    words = shlex.split(" ".join(panels.command_line(question, checkpoint)))
    assert words[:3] == ["python", "-m", "grain.predict"]
    config = tyro.cli(PredictConfig, args=words[3:])
    assert config.description == ("a 'red' lid", "it's round")
    assert config.class_text == ('zorbex: a lid; a "star"', "plim: ")
    assert (config.checkpoint, config.threshold, config.alpha) == ("sample", 0.25, 0.5)


def test_the_examples_are_small_pictures_with_words() -> None:
    examples = load_examples()
    assert len(examples) >= 6
    for example in examples:
        assert example.path.stat().st_size <= 60_000 and example.descriptions and example.classes
        with Image.open(example.path) as image:
            assert max(image.size) <= 512
    assert panels.gallery(examples).count("<button") == len(examples)
