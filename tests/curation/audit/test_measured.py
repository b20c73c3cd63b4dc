"""Counts and places by hand: what each claim needs, and what the boxes say of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from curation.audit.claims import split_claims
from curation.audit.evidence import Evidence, gather
from curation.audit.measured import LEAST_LIKELY, BoxMeasurer, count_likelihoods
from curation.audit.photo_instances import PhotoInstances
from grain.structures import Region
from tests.support.paths import ROOT

PICTURE = Image.new("RGB", (8, 8))
Box = tuple[float, float, float, float]


class Boxes:
    """A localizer that knows where things are, and what it cannot read."""

    name = "boxes@1"

    def __init__(self, found: dict[str, list[tuple[Box, float]]], unreadable: Sequence[str] = ()) -> None:
        self._found, self._unreadable, self.asked = found, unreadable, list[Sequence[str]]()

    def too_long(self, texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(text for text in texts if text in self._unreadable)

    def localize(self, pictures: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[tuple[Region, ...]]:
        self.asked += texts
        return [
            tuple(Region(box, text, score, row) for row, text in enumerate(each) for box, score in self._found[text])
            for each in texts
        ]


def evidence(text: str, boxes: Boxes) -> dict[str, Evidence]:
    """The words of each claim that is measured -> its evidence."""
    [[found]] = BoxMeasurer(boxes).measure([PICTURE], [[text]])
    claims = split_claims(text)
    return {claim.words(text): one for claim, one in zip(claims, found, strict=True) if one}


def test_the_likelihoods_of_a_count_are_those_of_independent_boxes() -> None:
    assert count_likelihoods([]).tolist()[:2] == [1.0, 0.0]
    assert count_likelihoods([0.5, 0.9], most=2) == pytest.approx([0.05, 0.5, 0.45])
    assert count_likelihoods([1.0] * 5, most=3) == pytest.approx([0, 0, 0, 1]), "the last counts what is more, too"
    assert count_likelihoods(np.linspace(0.1, 0.9, 12).tolist()).sum() == pytest.approx(1)


def test_a_count_stands_against_the_likeliest_other_one() -> None:
    boxes = Boxes({"dogs": [((0, 0, 0.2, 0.2), 0.9), ((0.5, 0, 0.7, 0.2), 0.9), ((0.8, 0, 1, 0.2), 0.1)]})
    found = evidence("three dogs", boxes)["three"]
    three, two = 0.9 * 0.9 * 0.1, 0.9 * 0.9 * 0.9 + 2 * 0.9 * 0.1 * 0.1
    assert found.source == "counted" and found.counter_text == "2 of them"
    assert (found.score, found.counter) == pytest.approx(
        (math.log(three + LEAST_LIKELY), math.log(two + LEAST_LIKELY)), abs=1e-3
    )


def test_a_place_is_as_sure_as_the_box_and_as_far_from_the_middle() -> None:
    boxes = Boxes({"red dog": [((0.0, 0.0, 0.2, 1.0), 0.8)]})
    found = evidence("a red dog on the left", boxes)["on the left"]
    assert (found.source, found.score, found.counter) == ("placed", 0.8, -0.8)
    assert found.counter_text == "to the right"
    near = Boxes({"dog": [((0.4, 0.0, 0.54, 1.0), 0.8)]})
    assert evidence("a dog on the left side", near)["on the left side"].score == pytest.approx(0.8 * 0.03 / 0.15)


def test_one_of_several_that_is_there_is_enough() -> None:
    boxes = Boxes({"dog": [((0.8, 0, 1, 1), 0.9), ((0, 0, 0.2, 1), 0.6)]})
    assert evidence("a dog on the left", boxes)["on the left"].score == 0.6
    assert evidence("a dog at the top", boxes)["at the top"].score == 0.0, "both are in the middle of the height"


def test_two_things_lie_beside_each_other() -> None:
    boxes = Boxes({"dog": [((0.7, 0, 0.9, 1), 0.5)], "cat": [((0, 0, 0.2, 1), 0.8)], "bird": []})
    found = evidence("a dog right of a cat", boxes)["right of a cat"]
    assert (found.score, found.counter, found.counter_text) == (0.4, -0.4, "left of cat")
    assert evidence("a dog above a bird", boxes)["above a bird"].score == 0.0, "no bird was found"
    assert boxes.asked[0] == ["dog", "cat"], "both in one call"


def test_what_is_no_count_or_place_or_cannot_be_read_has_no_evidence() -> None:
    boxes = Boxes({"dog": []}, unreadable=["dogs"])
    assert evidence("a red dog", boxes) == {} and boxes.asked == []
    assert evidence("a dog holding a ball", boxes) == {}
    assert evidence("two dogs", boxes) == {}
    assert evidence("99 dogs", boxes) == {}, "nobody counts that many boxes"


def test_measured_evidence_stands_beside_the_others() -> None:
    boxes = Boxes({"dogs": [((0, 0, 1, 1), 1.0)]})
    [[claims]] = gather([PICTURE], [["two dogs"]], witnesses=(), vqa=None, vocabulary=(), measurer=BoxMeasurer(boxes))
    assert {claim.kind: [one.source for one in found] for claim, found in claims} == {
        "count": ["counted"],
        "object": [],
    }


def test_things_that_photo_knows_by_name_are_counted_by_its_networks() -> None:
    other = Boxes({"red cats": [((0, 0, 1, 1), 0.3)], "zorbexes": []})
    instances = PhotoInstances(other)
    with Image.open(ROOT / "app/ground/example_pictures/chelsea.jpg") as cat:
        [found] = instances.localize([cat.convert("RGB")], [["cats", "red cats", "dogs", "zorbexes"]])
    scores = {text: [region.score for region in found if region.text == text] for text in ("cats", "dogs", "red cats")}
    assert len([score for score in scores["cats"] if score > 0.5]) == 1
    assert scores["dogs"] == [] and scores["red cats"] == [0.3]
    assert other.asked == [["red cats", "zorbexes"]], "a colour is no name, and nobody knows a zorbex"
