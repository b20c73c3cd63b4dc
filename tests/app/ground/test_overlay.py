from __future__ import annotations

import io
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from PIL import Image

from app.ground.annotated_image import draw_both, draw_regions, png_bytes
from app.ground.heatmap import heatmap
from app.ground.overlay import DrawnResult, drawn_regions, stage
from app.ui.html import notice
from app.ui.marks import mark_of
from grain.structures import Prediction, RegionRanking
from grain.zero_shot import found_regions

EVIL = "<img src=x onerror=alert(1)>\"&'`${alert(1)}{{x}}"


def prediction_of(
    matches: list[list[float]],
    descriptions: tuple[str, ...],
    *,
    size: tuple[int, int] = (200, 100),
    presence: tuple[float, ...] | None = None,
) -> Prediction:
    scores = np.array(matches, np.float32).reshape(len(matches), len(descriptions))
    sure = None if presence is None else np.array(presence, np.float32)
    boxes = np.linspace(0.1, 0.9, 4 * len(matches), dtype=np.float32).reshape(-1, 4)
    return Prediction(
        *size,
        boxes,
        descriptions,
        scores,
        best=tuple(scores.argmax(axis=0).tolist()) if scores.size else (),
        presence=presence,
        regions=found_regions(boxes, scores, RegionRanking(scores, sure), descriptions=descriptions),
        classes=(),
        timing_ms={"image": 2.0},
    )


TWO_BY_THREE_MATCHES, THREE = [[0.5, 0.1, -0.2], [0.4, 0.3, -0.1]], ("a lid", "a star", "a fish")
TWO_BY_THREE = prediction_of(TWO_BY_THREE_MATCHES, THREE)


# ------------------------------------------------------------------------------------ which regions, which colours


def test_best_shows_for_each_description_its_best_region_above_the_threshold() -> None:
    shown = drawn_regions(TWO_BY_THREE, threshold=0.0, which="best")
    assert [(one.region, one.description, round(one.score, 2)) for one in shown] == [(0, 0, 0.5), (1, 1, 0.3)]
    assert [one.description for one in drawn_regions(TWO_BY_THREE, threshold=-1, which="best")] == [0, 1, 2]
    assert drawn_regions(TWO_BY_THREE, threshold=0.6, which="best") == ()


def test_what_is_found_is_drawn_where_its_description_has_it() -> None:
    [first, *_] = TWO_BY_THREE.regions
    [drawn] = drawn_regions(
        replace(TWO_BY_THREE, regions=(replace(first, xyxy=(0.1, 0.2, 0.3, 0.4)),)), threshold=0.0, which="best"
    )
    assert (drawn.region, drawn.box_xyxy) == (first.index, (0.1, 0.2, 0.3, 0.4))


def test_all_shows_every_region_under_the_description_that_it_matches_best() -> None:
    shown = drawn_regions(TWO_BY_THREE, threshold=0.0, which="all")
    assert [(one.region, one.description) for one in shown] == [(0, 0), (1, 0)]


def test_a_chip_says_why_its_description_has_no_box() -> None:
    best = drawn_regions(TWO_BY_THREE, threshold=0.2, which="best")
    every = drawn_regions(TWO_BY_THREE, threshold=0.2, which="all")
    assert stage(TWO_BY_THREE, best, "data:,", threshold=0.2).count("below 0.20") == 1
    assert stage(TWO_BY_THREE, every, "data:,", threshold=0.2).count("best on no region") == 1


def test_a_chip_with_a_box_says_how_many_are_missing() -> None:
    found = replace(TWO_BY_THREE, reasons=("1 of 2 found", "", ""))
    best = drawn_regions(found, threshold=0.2, which="best")
    assert stage(found, best, "data:,", threshold=0.2).count("1 of 2 found") == 1
    absent = replace(found, regions=())
    every = drawn_regions(absent, threshold=0.2, which="all")
    assert "1 of 2 found" not in stage(absent, every, "data:,", threshold=0.2), "any region is drawn, found or not"


def test_a_description_without_a_box_has_its_likeliest_place_hidden_until_its_chip_is_pressed() -> None:
    best = drawn_regions(TWO_BY_THREE, threshold=0.2, which="best")
    html = stage(TWO_BY_THREE, best, "data:,", threshold=0.2)
    assert re.findall(r'<g class="likeliest" data-description="(\d)"[^>]*data-region="(\d)"', html) == [("2", "1")]
    [chip] = re.findall(r'<button[^>]*data-description="2"[^>]*>', html)
    assert 'data-likeliest="1"' in chip and "disabled" not in chip
    assert html.count("data-likeliest") == 1 and "likeliest: a fish" in html
    nothing = prediction_of([], ("a lid",))
    assert "disabled" in stage(nothing, (), "data:,", threshold=0.0), "there is no region at all"


def test_without_regions_or_without_descriptions_nothing_is_shown() -> None:
    for prediction in (prediction_of([], ("a lid",)), prediction_of([[], []], ())):
        assert drawn_regions(prediction, threshold=-1, which="best") == ()
        assert heatmap(prediction).layout.annotations[0].text.startswith("No ")
        assert "<svg" in stage(prediction, (), "data:,", threshold=0.0)


def test_colours_repeat_after_eight_under_another_pattern() -> None:
    marks = [mark_of(index) for index in range(32)]
    assert len(set(marks)) == 32
    assert [mark.color for mark in marks[:8]] == [mark.color for mark in marks[8:16]]
    assert {mark.dash for mark in marks[:8]} == {""} and "" not in {mark.dash for mark in marks[8:]}


# ------------------------------------------------------------------------------------ the overlay


def test_boxes_are_drawn_in_pixels_of_the_upright_picture() -> None:
    shown = drawn_regions(TWO_BY_THREE, threshold=0.0, which="best")
    html = stage(TWO_BY_THREE, shown, "data:,", threshold=0.0)
    assert 'viewBox="0 0 200 100"' in html
    x0, y0, x1, y1 = TWO_BY_THREE.boxes_xyxy[0]
    numbers = " ".join(rf'{name}="([\d.]+)"' for name in ("x", "y", "width", "height"))
    box = re.search(rf'data-region="0" data-description="0".*?<rect class="line" {numbers} stroke="(#\w+)"', html)
    assert box
    assert [float(value) for value in box.groups()[:4]] == pytest.approx(
        [200 * x0, 100 * y0, 200 * (x1 - x0), 100 * (y1 - y0)], abs=0.01
    )
    assert box.group(5) == mark_of(0).color


def test_what_people_write_is_escaped_everywhere() -> None:
    prediction = prediction_of([[0.5]], (EVIL,))
    shown = drawn_regions(prediction, threshold=0.0, which="best")
    figure = heatmap(prediction)
    for html in (
        stage(prediction, shown, "data:,", threshold=0.0),
        notice(EVIL),
        figure.layout.title.text,
        *figure.layout.xaxis.ticktext,
    ):
        assert "<img src=x" not in html
    assert EVIL in unescape(stage(prediction, shown, "data:,", threshold=0.0))


# ------------------------------------------------------------------------------------ the matrix


def test_the_matrix_has_axes_values_outlines_in_the_descriptions_colours_and_says_what_it_found() -> None:
    figure = heatmap(TWO_BY_THREE)
    assert np.allclose(figure.data[0].z, TWO_BY_THREE.matches)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("description", "region")
    assert figure.layout.title.text.replace("<br>", " ") == (
        "3 descriptions land on 2 regions; clearest is “a lid” on region 0 (0.50)"
    )
    one = heatmap(prediction_of(TWO_BY_THREE_MATCHES, THREE, presence=(0.9, 0.1, 0.1)))
    assert one.layout.title.text.startswith("1 description lands on 1 region;")
    assert [(shape.x0, shape.y0, shape.line.color) for shape in figure.layout.shapes] == [
        (column - 0.47, row - 0.45, mark_of(column).color) for column, row in enumerate((0, 1, 1))
    ]
    assert all(mark_of(index).color in label for index, label in enumerate(figure.layout.xaxis.ticktext))


def test_one_description_and_many_make_a_matrix_too() -> None:
    assert heatmap(prediction_of([[0.1], [0.2]], ("a",))).layout.title.text.startswith(
        "The best match is “a” on region 1"
    )
    many = tuple(f"description number {index} of many" for index in range(40))
    axis = heatmap(prediction_of(np.random.default_rng(0).normal(size=(6, 40)).tolist(), many)).layout.xaxis
    assert list(axis.tickvals) == list(range(0, 40, 4)), "as many as have room beside each other"
    assert "number 36" in axis.ticktext[-1]


# ------------------------------------------------------------------------------------ pictures


def test_the_png_has_the_boxes_where_they_belong_and_leaves_the_picture_alone() -> None:
    image = Image.new("RGB", (200, 100), "white")
    shown = drawn_regions(TWO_BY_THREE, threshold=0.4, which="best")
    drawn = np.asarray(Image.open(io.BytesIO(png_bytes(draw_regions(image, TWO_BY_THREE, shown)))).convert("RGB"))
    color = np.array([int(mark_of(0).color[at : at + 2], 16) for at in (1, 3, 5)])
    x0, y0, x1, y1 = (TWO_BY_THREE.boxes_xyxy[0] * [200, 100, 200, 100]).round().astype(int)
    assert np.abs(drawn[(y0 + y1) // 2, x0] - color).max() <= 2 and np.abs(drawn[y1, (x0 + x1) // 2] - color).max() <= 2
    assert np.asarray(image).min() == 255, "the picture itself is not drawn on"
    assert draw_regions(Image.new("RGB", (5000, 100)), TWO_BY_THREE, ()).size == (2048, 41)


# ------------------------------------------------------------------------------------ two checkpoints on one picture


def two_results(*names: str) -> list[DrawnResult]:
    other = prediction_of([[0.2, 0.1, 0.6]], THREE)
    return [
        DrawnResult(name, each, drawn_regions(each, threshold=0.15, which="both"))
        for name, each in zip(names, (TWO_BY_THREE, other), strict=False)
    ]


def test_the_boxes_of_two_checkpoints_are_on_one_picture_in_one_colour_a_description_told_apart_by_dashes() -> None:
    both = two_results("mine", "yours")
    html = stage(TWO_BY_THREE, both[0].regions, "data:,", threshold=0.15, compared=both)
    first = re.findall(
        r'<g class="region" .*?data-description="(\d)".*?<rect class="line" .*?stroke="(#\w+)"(.*?)/>', html
    )
    second = re.findall(
        r'<g class="versus" data-description="(\d)".*?<rect class="line" .*?stroke="(#\w+)"(.*?)/>', html
    )
    assert [(index, color) for index, color, _ in first] == [(str(n), mark_of(n).color) for n in (0, 1)]
    assert [(index, color) for index, color, _ in second] == [(str(n), mark_of(n).color) for n in (0, 2)]
    assert all("dash" not in rest for *_, rest in first) and all("dasharray" in rest for *_, rest in second)
    legend = " ".join(re.sub(r"<[^>]+>", " ", html[html.index("line-legend") :]).split())
    assert "mine, whole lines: 2 regions" in legend and "yours, dashed: 2 regions" in legend
    assert html.count('class="tag versus-tag"') == 2
    chips = re.findall(
        r'<button type="button" class="chip" data-description="(\d)"[^>]*?( disabled)?>?(?= title)', html
    )
    assert chips == [("0", ""), ("1", ""), ("2", "")], "what only the other one found can be hidden too"
    assert "mine: below 0.15" in html


def test_without_another_checkpoint_the_page_says_where_to_choose_one() -> None:
    html = stage(TWO_BY_THREE, (), "data:,", threshold=0.15, compared=two_results("mine"))
    assert 'class="versus"' not in html and "Choose a checkpoint under “compare with”" in html
    assert "line-legend" not in stage(TWO_BY_THREE, (), "data:,", threshold=0.15)


def test_the_png_has_whole_and_dashed_boxes_and_a_legend_below() -> None:
    image = Image.new("RGB", (400, 200), "gray")
    first, second = two_results("mine", "yours")
    drawn = draw_both(image, first, second)
    assert drawn.width == 400 and drawn.height > 200
    pixels = np.asarray(drawn)
    legend = pixels[200:]
    assert (legend == 255).all(axis=-1).mean() > 0.8 and (legend < 60).all(axis=-1).any()
    color = np.array([int(mark_of(2).color[at : at + 2], 16) for at in (1, 3, 5)])
    box = second.regions[1].box_xyxy
    left = pixels[round(box[1] * 200) : round(box[3] * 200), round(box[0] * 400)]
    share = (np.abs(left.astype(int) - color).max(axis=-1) <= 2).mean()
    assert 0.3 < share < 0.75, "its left edge is dashed"
