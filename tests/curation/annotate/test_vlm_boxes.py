"""A model's boxes are read in its own convention, whatever the picture's shape; hostile answers stay text."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from benchmarks.annotators import golden_answers, noise, right_boxes
from benchmarks.random_vlms import write_random_vlm
from curation.annotate.annotator_specs import QWEN_STEP
from curation.annotate.describe import DescriberError, LlavaDescriber
from curation.annotate.localize import LocalizeConfig
from curation.annotate.openai_describer import OpenAIDescriber
from curation.annotate.picture_sizes import reduce_picture, stepped_size
from curation.annotate.registry import DescriberChoice, LocalizerChoice, make_localizer, works_of
from curation.annotate.sample_annotators import SampleConfig
from curation.annotate.stage_run import try_together
from curation.annotate.vlm_boxes import (
    CONVENTIONS,
    Convention,
    box_question,
    convention_of,
    parse_boxes,
    place_box,
)
from curation.annotate.vlm_localizer import VlmLocalizer
from tests.support.fake_openai import COLOURS, fake_openai, pictures_of
from user_errors import UserError

PAIR, TWO_STARS = [(0, 0.1), (1, 0.2)], [(1, 0.2), (1, 0.5)]  # index and left edge
SQUARE = {"sent": (100, 100), "seen": (112, 112)}
TEXTS = ["a red lid", "a blue star"]


@pytest.mark.parametrize("row", golden_answers(), ids=lambda row: f"{row['convention']} {row['picture']}")
def test_golden_answers_are_read_as_they_were_meant(row: dict[str, Any]) -> None:
    right, boxes = right_boxes(row)
    assert right == boxes == 2


def test_every_convention_has_golden_answers_on_odd_shapes() -> None:
    rows = golden_answers()
    assert {row["convention"] for row in rows} == {*CONVENTIONS}
    for convention in CONVENTIONS:
        shapes = [max(row["picture"]) / min(row["picture"]) for row in rows if row["convention"] == convention]
        assert len(shapes) == 5 and max(shapes) > 10


def test_one_box_by_hand_in_five_conventions() -> None:
    sent, seen = (200, 100), (224, 112)
    box: dict[Convention, list[float]] = {
        "pixels": [20, 30, 100, 90],
        "resized": [22.4, 33.6, 112, 100.8],
        "thousand": [100, 300, 500, 900],
        "unit": [0.1, 0.3, 0.5, 0.9],
        "y-first": [300, 100, 900, 500],
    }
    for convention, numbers in box.items():
        assert place_box(numbers, convention, sent=sent, seen=seen) == pytest.approx((0.1, 0.3, 0.5, 0.9))


def test_a_box_over_the_edge_is_clipped_and_one_far_beyond_is_of_another_convention() -> None:
    assert place_box([-3, 0, 104, 50], "pixels", **SQUARE) == (0.0, 0.0, 1.0, 0.5)
    assert place_box([0, 0, 500, 500], "pixels", **SQUARE) is None
    assert place_box([30, 10, 20, 40], "pixels", **SQUARE) is None
    answer = json.dumps([{"bbox_2d": [100, 200, 800, 900], "label": "a red lid"}])
    with pytest.raises(ValueError, match="no box of the answer lies in the picture when read as 'unit'"):
        parse_boxes(answer, TEXTS, "unit", **SQUARE)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ('[{"bbox_2d": [10, 20, 30, 40], "label": "A red lid."}]', [(0, 0.1)]),
        ('```json\n[{"label": "a blue star", "bbox": [10, 20, 30, 40]}]\n```', [(1, 0.1)]),
        ('{"box": [10, 20, 30, 40], "name": "1. a red lid"} and more', [(0, 0.1)]),
        ("a red lid[[10, 20, 30, 40]]", [(0, 0.1)]),
        ('- "a blue star": [10, 20, 30, 40]', [(1, 0.1)]),
        ('[{"bbox_2d": [10, 20, 30, 40], "label": "1"}, {"bbox_2d": [20, 20, 30, 40], "label": 2}]', PAIR),
        ('[{"bbox_2d": [[10, 20, 30, 40], [50, 20, 60, 40]], "label": "#2."}]', [(1, 0.1), (1, 0.5)]),
        (
            '{"a red lid": [10, 20, 30, 40], "a blue star": [[20, 20, 30, 40], [50, 20, 60, 40]]}',
            [PAIR[0], *TWO_STARS],
        ),
        ('{\n "a red lid": [],\n "a blue star": [\n  [20, 20, 30, 40],\n  [50, 20, 60, 40]\n ]\n}', TWO_STARS),
        ("<ref>a blue star</ref><box>[[20, 20, 30, 40], [50, 20, 60, 40]]</box>", TWO_STARS),
        ("<ref>a red lid</ref><box>[[10, 20, 30, 40]]</box><ref>a blue star</ref><box>[[20, 2, 30, 4]]</box>", PAIR),
        ("<|object_ref_start|>a blue star<|object_ref_end|><|box_start|>(20,20),(30,40)<|box_end|>", [(1, 0.2)]),
        ("a blue star: [20, 20, 30, 40], [50, 20, 60, 40]", TWO_STARS),
        ("a blue star[[20, 20, 30, 40],[50, 20, 60, 40]]", TWO_STARS),
        ("a blue star: [20, 20, 30, 40] and [50, 20, 60, 40]", TWO_STARS),
        ("1. **a red lid**: [10, 20, 30, 40]\n2. **a blue star**: [20, 20, 30, 40]", PAIR),
        ('<think>{"bbox_2d": [1, 2, 30, 40], "label": "a red lid"}?</think>a blue star: [20, 20, 30, 40]', PAIR[1:]),
        ('[{"bbox_2d": [10, 20, 30, 40], "label": "a red lid"}, {"box": [1, 2, 3, 4], "label": "a dog"}]', PAIR[:1]),
        ("None of these can be seen.", []),
        ("Nothing.", []),
        ('{"a red lid": [], "a blue star": []}', []),
        ("There is nothing of these: []", []),
        (
            '[{"bbox_2d": [10, 20, 30, 40], "label": "a red lid"}, {"bbox_2d": [true, 1, 2, 3], "label": "x"}',
            [(0, 0.1)],
        ),
    ],
)
def test_answers_of_many_forms_are_read(answer: str, found: list[tuple[int, float]]) -> None:
    boxes = parse_boxes(answer, TEXTS, "pixels", **SQUARE)
    assert [(box.index, box.xyxy[0]) for box in boxes] == found


def test_a_single_description_needs_no_label() -> None:
    [box] = parse_boxes('{"bbox_2d": [0, 0, 50, 50]}', ["a lid"], "pixels", **SQUARE)
    assert (box.index, box.xyxy) == (0, (0.0, 0.0, 0.5, 0.5))


@pytest.mark.parametrize("label", ["a dog", "red lid of the jar", "3", "0", "2 red lids"])
def test_boxes_of_nothing_that_was_asked_about_are_no_answer(label: str) -> None:
    for answer in (json.dumps([{"bbox_2d": [10, 20, 30, 40], "label": label}]), f"{label}: [10, 20, 30, 40]"):
        with pytest.raises(ValueError, match="are of none of the descriptions"):
            parse_boxes(answer, TEXTS, "pixels", **SQUARE)


def test_labels_behind_their_boxes_are_not_taken_for_the_next_ones() -> None:
    with pytest.raises(ValueError, match="are of none of the descriptions"):
        parse_boxes("[10, 20, 30, 40] a red lid, [20, 20, 30, 40] a blue star", TEXTS, "pixels", **SQUARE)


def test_thoughts_without_an_end_hold_no_answer() -> None:
    with pytest.raises(ValueError, match="cut within the model's thoughts"):
        parse_boxes("<think>a red lid: [10, 20, 30, 40]", TEXTS, "pixels", **SQUARE)


@pytest.mark.parametrize(
    "answer",
    ["", "I'm sorry, I cannot help with that", '{"bbox_2d": [1, 2], "label": "a red lid"}', "x" * 20_001, "{" * 5000],
)
def test_what_holds_no_boxes_is_refused_with_its_reason(answer: str) -> None:
    with pytest.raises(ValueError, match=r"holds no list of boxes|is longer than"):
        parse_boxes(answer, TEXTS, "thousand", **SQUARE)


@given(st.text(max_size=400) | st.text(alphabet='[]{}",:0123456789.- abx', max_size=400))
def test_any_answer_gives_boxes_inside_the_picture_or_a_reason(answer: str) -> None:
    for convention in CONVENTIONS:
        try:
            boxes = parse_boxes(answer, TEXTS, convention, **SQUARE)
        except ValueError as error:
            assert str(error)
        else:
            assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for x0, y0, x1, y1 in (box.xyxy for box in boxes))


def test_the_question_names_the_frame_and_keeps_each_description_on_its_line() -> None:
    for convention in CONVENTIONS:
        question = box_question(["a lid\n2. a trap", "a star"], convention)
        assert question.splitlines()[1:3] == ["1. a lid 2. a trap", "2. a star"]
    assert "[y1, x1, y2, x2]" in box_question(TEXTS, "y-first") and "from 0 to 1 along" in box_question(TEXTS, "unit")


def test_a_convention_is_the_models_own_or_chosen_and_never_guessed() -> None:
    assert convention_of("auto", family="qwen2_5_vl") == "resized" == convention_of("auto", name="Qwen/Qwen2.5-VL-72B")
    assert convention_of("auto", family="qwen3_vl") == "thousand" == convention_of("auto", name="Qwen3-VL-8B")
    assert convention_of("auto", name="gemini-2.5-pro") == "y-first"
    assert convention_of("unit", name="Qwen3-VL-8B") == "unit"
    with pytest.raises(UserError, match="How 'llava' writes boxes is not known: choose its convention"):
        convention_of("auto", name="llava")


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_stepped_size_is_the_one_that_qwens_processor_takes(width: int, height: int) -> None:
    if max(width, height) / min(width, height) < 200:
        tall, wide = smart_resize(height, width, QWEN_STEP, 4 * QWEN_STEP**2, 10**9)
        assert stepped_size((width, height), QWEN_STEP) == (wide, tall)
        assert smart_resize(tall, wide, QWEN_STEP, 4 * QWEN_STEP**2, 10**9) == (tall, wide)


def test_a_picture_is_reduced_and_never_enlarged() -> None:
    assert reduce_picture(Image.new("L", (4000, 300)), 1008).size == (1008, 76)
    assert reduce_picture(Image.new("RGB", (40, 30)), 1008).size == (40, 30)
    assert reduce_picture(Image.new("RGB", (4000, 300)), 1008, QWEN_STEP).size == (1008, 84)


# the localizers


def served(url: str, model: str = "Qwen2.5-VL-7B", **options: Any) -> LocalizerChoice:
    return LocalizerChoice("vlm-server", model=model, server=url, patience_seconds=0.0, **options)


def test_boxes_from_a_server_are_in_the_pixels_of_what_was_sent() -> None:
    answer = (
        '[{"bbox_2d": [0, 0, 504, 42], "label": "a {colour} lid"}, {"bbox_2d": [504, 42, 1008, 84], "label": "star"}]'
    )
    pictures = [Image.new("RGB", (4000, 300), COLOURS[name]) for name in ("red", "blue")]
    with fake_openai(answer=answer) as server:
        localizer = make_localizer(served(server.url), SampleConfig())
        found = localizer.localize([*pictures, pictures[0]], [["a red lid", "star"], ["a blue lid"], []])
    assert [[(each.text, each.xyxy, each.score) for each in regions] for regions in found] == [
        [("a red lid", (0.0, 0.0, 0.5, 0.5), 1.0), ("star", (0.5, 0.5, 1.0, 1.0), 1.0)],
        [("a blue lid", (0.0, 0.0, 0.5, 0.5), 1.0)],
        [],
    ]
    assert localizer.name == "Qwen2.5-VL-7B@served" and localizer.too_long(["x" * 500]) == ()
    sizes = {Image.open(io.BytesIO(_bytes(body))).size for body in server.requests}
    assert sizes == {(1008, 84)}, "sides of whole steps, so that the server leaves them as they are"


def _bytes(body: dict[str, Any]) -> bytes:
    return base64.b64decode(pictures_of(body)[0].partition(",")[2])


def test_a_poison_picture_fails_alone_and_the_others_are_not_asked_again() -> None:
    answer = '[{"bbox_2d": [0, 0, 500, 500], "label": "a lid"}]'
    items = [(name, Image.new("RGB", (60, 40), COLOURS[name])) for name in ("red", "green", "blue")]
    with fake_openai(answer=answer, always={"green": 400}) as server:
        localizer = make_localizer(served(server.url, "qwen3-vl"), SampleConfig())

        def make(some: Any) -> list[tuple[str, Any]]:
            found = localizer.localize([picture for _, picture in some], [["a lid"]] * len(some))
            return [*zip([name for name, _ in some], found, strict=True)]

        results = dict(try_together(make, items, lambda item, reason: (item[0], reason)))
    assert [len(results[name]) for name in ("red", "blue")] == [1, 1]
    assert "the server refuses this picture (400)" in results["green"]
    assert len(server.requests) == 4, "three at first, and the poison once more"


def test_a_server_that_is_gone_stops_the_stage() -> None:
    localizer = make_localizer(served("http://127.0.0.1:9/v1", "qwen3-vl"), SampleConfig())
    assert isinstance(localizer, VlmLocalizer)
    quick = OpenAIDescriber("m", base_url="http://127.0.0.1:9/v1", patience=0.0, first_wait=0.001)
    with pytest.raises(DescriberError, match="cannot be reached"):
        VlmLocalizer(quick, "unit").localize([Image.new("RGB", (9, 9))], [["a lid"]])


def test_repeated_boxes_and_more_than_the_most_are_left_out() -> None:
    boxes = [[0, 0, 500, 500], [0, 0, 505, 500], [600, 600, 900, 900], [0, 600, 200, 900]]
    answer = json.dumps([{"bbox_2d": box, "label": "a lid"} for box in boxes])
    config = LocalizeConfig(most_of_text=2)
    with fake_openai(answer=answer) as server:
        localizer = make_localizer(served(server.url, "qwen3-vl", boxes=config), SampleConfig())
        [regions] = localizer.localize([Image.new("RGB", (60, 40))], [["a lid"]])
    assert [each.xyxy for each in regions] == [(0.0, 0.0, 0.5, 0.5), (0.6, 0.6, 0.9, 0.9)]


def test_a_local_model_tells_the_size_that_it_made_of_a_picture(tmp_path: Any) -> None:
    folder = write_random_vlm("qwen2.5-vl", tmp_path / "weights")
    describer = LlavaDescriber.from_pretrained(folder, picture_side=112)
    [answer] = describer.ask_each(noise([(300, 100)]), ["where?"], 2)
    assert (answer.sent, answer.seen) == ((112, 37), (112, 28))
    choice = LocalizerChoice("vlm", model=str(folder))
    assert works_of(DescriberChoice("photo"), choice, SampleConfig())[1].source.startswith("weights@")


def test_a_local_model_whose_convention_nobody_knows_is_refused_until_it_is_chosen(tmp_path: Any) -> None:
    folder = str(write_random_vlm("smolvlm", tmp_path / "weights"))
    with pytest.raises(UserError, match="How 'idefics3' writes boxes is not known"):
        works_of(DescriberChoice("photo"), LocalizerChoice("vlm", model=folder), SampleConfig())
    works_of(DescriberChoice("photo"), LocalizerChoice("vlm", model=folder, convention="unit"), SampleConfig())
