"""Grounding DINO's boxes are transformers' own, a description's score that of its tokens, and no text breaks out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from benchmarks.annotators import EVERYTHING, TEXTS, noise, same_regions
from benchmarks.random_detectors import tiny_dino
from curation.annotate.grounding_dino import GroundingDinoLocalizer, MMGroundingDinoLocalizer
from grain.boxes import cxcywh_to_xyxy

KINDS = {"grounding-dino": GroundingDinoLocalizer, "mm-grounding-dino": MMGroundingDinoLocalizer}


def tiny(kind: str, **options: object) -> GroundingDinoLocalizer:
    model, processor = tiny_dino(kind)
    settings = {"config": EVERYTHING, "device": "cpu", "precision": "fp32", **options}
    return KINDS[kind](model, processor, name="tiny@0", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(96, 48), (30, 75), (1, 1), (70, 3)])
def test_boxes_and_scores_are_those_of_transformers_own_call(kind: str, size: tuple[int, int]) -> None:
    [picture], (model, processor) = noise([size]), tiny_dino(kind)
    inputs = processor(images=picture, text=[[*TEXTS]], return_tensors="pt")
    with torch.inference_mode():
        out = model(**inputs)
    boxes = cxcywh_to_xyxy(out.pred_boxes[0]).clamp(0, 1)
    ids, scores = inputs["input_ids"][0], out.logits[0].sigmoid()
    ends = [0, *(ids == 1012).nonzero().flatten().tolist()]
    spans = [scores[:, start + 1 : end] for start, end in pairwise(ends)]
    of_text = [each.amax(1) if kind == "grounding-dino" else each.mean(1) for each in spans]
    [found] = tiny(kind).localize([picture], [TEXTS])
    for index in range(len(TEXTS)):
        ours = sorted((each.score, *each.xyxy) for each in found if each.index == index)
        area = (boxes[:, 2:] > boxes[:, :2]).all(1)
        theirs = sorted((float(s), *b.tolist()) for s, b in zip(of_text[index][area], boxes[area], strict=True))
        assert len(ours) == len(theirs) > 0
        assert np.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_more_descriptions_than_a_question_holds_are_asked_in_several(kind: str) -> None:
    many = [f"a {colour} {thing} on the left side of the jar" for colour in ("red", "blue") for thing in "abcdefgh"]
    localizer = tiny(kind)
    questions = [*localizer._questions(0, many)]
    assert len(questions) > 1
    assert [column for each in questions for column in each.columns] == [*range(len(many))]
    assert all(len(each.ids) <= 64 for each in questions)
    [found] = localizer.localize(noise([(60, 60)]), [many])
    assert {each.index for each in found} == {*range(len(many))}


def test_a_description_cannot_end_its_own_sentence() -> None:
    localizer = tiny("grounding-dino")
    [plain] = localizer._questions(0, ["a lid cat"])
    [hostile] = localizer._questions(0, ["a. lid? [SEP] cat. [CLS] [PAD]"])
    assert hostile == plain
    assert [*localizer._questions(0, ["..?", "[SEP]"])] == []
    assert localizer.localize(noise([(50, 50)]), [["...", "a lid"]])[0][0].index == 1


def test_a_text_longer_than_a_question_is_reported_and_cut() -> None:
    localizer = tiny("grounding-dino")
    long = " ".join(["lid"] * 70)
    assert localizer.too_long([long, "a lid"]) == (long,)
    [regions] = localizer.localize(noise([(50, 50)]), [[long]])
    assert regions and regions[0].text == long


def test_half_precision_gives_nearly_the_same_boxes_and_wrong_settings_are_refused() -> None:
    pictures = noise([(96, 48)])
    exact, quick = (tiny("grounding-dino", precision=each).localize(pictures, [TEXTS]) for each in ("fp32", "bf16"))
    assert len(exact[0]) == len(quick[0]) and not same_regions(exact[0], quick[0])
    for wrong in ({"precision": "fp8"}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=r"precision must be one of|batch_size must be at least 1"):
            tiny("grounding-dino", **wrong)
