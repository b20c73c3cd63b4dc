"""Measure counts and places on the boxes that a localizer finds: "two dogs", "on the left", "left of a bus".

A count is weighed by the distribution of how many of the boxes are right (Poisson binomial), a place by where the
boxes lie in the picture, a relation by where two things lie beside each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from curation.annotate.localize import Localizer
from curation.audit.claims import COUNTS, Claim, split_claims
from curation.audit.evidence import Evidence
from grain.structures import Array

MOST_COUNTED = 8
LEAST_LIKELY = 1e-3  # of a number: a box that the localizer missed is never impossible
SURELY_OFF = 0.15  # from the middle, or between two centres, of the picture's side: there a place is certain
SIDES = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}
BESIDE = {"left": "left", "right": "right", "above": "top", "over": "top", "below": "bottom", "under": "bottom",
          "beneath": "bottom"}  # fmt: skip
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
PLACE = re.compile(r"(?:on|at|to|in) the (left|right|top|bottom)(?: side)?")
RELATION = re.compile(
    r"(?:(?:on |to )?(?:the )?(left|right) of|(above|over|below|under|beneath)) (?:an? |the )?(?P<other>.+)"
)


@dataclass(frozen=True)
class _Measurement:
    """A measurement that a claim needs: a count, or a side of the picture or of another thing."""

    thing: str
    count: int = 0
    side: str = ""
    other: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Return what is looked for."""
        return (self.thing, self.other) if self.other else (self.thing,)


class BoxMeasurer:
    """Measures claims on a localizer's boxes."""

    def __init__(self, localizer: Localizer, counter: Localizer | None = None) -> None:
        """Take a localizer that reports weak boxes, several of a description.

        counter: draws the boxes that are counted; left out: the localizer.
        """
        self._localizer, self._counter, self.name = localizer, counter or localizer, localizer.name

    def measure(
        self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]
    ) -> list[list[list[Evidence | None]]]:
        """Return the evidence for each claim of each description of each upright RGB picture.

        None where a claim says nothing of a count or a place.
        """
        wanted = [[list(_measurements(text)) for text in each] for each in texts]
        flat = [[one for claims in each for one in claims if one] for each in wanted]
        counted = _boxes(self._counter, images, [[one.thing for one in each if one.count] for each in flat])
        placed = _boxes(
            self._localizer, images, [[name for one in each if one.side for name in one.names] for each in flat]
        )
        return [
            [[_evidence(one, counted[row], placed[row]) for one in claims] for claims in each]
            for row, each in enumerate(wanted)
        ]


def _boxes(
    localizer: Localizer, images: Sequence[Image.Image], names: Sequence[Sequence[str]]
) -> list[dict[str, Array]]:
    """Return for each picture name -> its boxes and their scores [N, 5]; without those that cannot be read."""
    long = [set(localizer.too_long(each)) for each in names]
    things = [
        list(dict.fromkeys(name for name in each if name not in some)) for each, some in zip(names, long, strict=True)
    ]
    asked = [row for row, each in enumerate(things) if each]
    found = localizer.localize([images[row] for row in asked], [things[row] for row in asked]) if asked else []
    boxes: list[dict[str, Array]] = [{} for _ in images]
    for row, regions in zip(asked, found, strict=True):
        for name in things[row]:
            rows = [(*region.xyxy, region.score) for region in regions if region.text == name]
            boxes[row][name] = np.array(rows, np.float32).reshape(-1, 5)
    return boxes


def count_likelihoods(probabilities: Sequence[float], most: int = MOST_COUNTED) -> Array:
    """Return how likely 0, 1 … `most` of the boxes are right, [most + 1], when each is with its own probability.

    The last counts what is more, too.
    """
    likely: Array = np.zeros(most + 1, np.float32)
    likely[0] = 1
    for probability in probabilities:
        moved = np.roll(likely, 1) * probability
        moved[-1] += moved[0]  # as many as can be told, and one more
        moved[0] = 0
        likely = likely * (1 - probability) + moved
    return likely


def _measurements(text: str) -> Iterator[_Measurement | None]:
    """Yield for each claim what it needs; None where it says nothing of a count or a place."""
    claims = split_claims(text)
    for claim in claims:
        thing = _thing(text, claims, claim)
        words = " ".join(claim.words(text).lower().split())
        if claim.kind == "count":
            count = COUNTS.index(words) + 1 if words in COUNTS else int(words[:6]) if words.isdigit() else 0
            yield _Measurement(thing, count=count) if 1 <= count < MOST_COUNTED else None
        elif claim.kind == "relation" and (place := PLACE.fullmatch(words)):
            yield _Measurement(thing, side=place[1])
        elif claim.kind == "relation" and (beside := RELATION.fullmatch(words)):
            yield _Measurement(thing, side=BESIDE[beside[1] or beside[2]], other=beside["other"])
        else:
            yield None


def _thing(text: str, claims: Sequence[Claim], claim: Claim) -> str:
    """Return the thing that a claim is about, with its attributes."""
    owner = claims[claim.owner]
    attributes = [each for each in claims if each.kind == "attribute" and claims[each.owner] == owner]
    return " ".join(each.words(text).lower() for each in (*attributes, owner))


def _evidence(one: _Measurement | None, counted: dict[str, Array], placed: dict[str, Array]) -> Evidence | None:
    if one is None or not set(one.names) <= set(counted if one.count else placed):
        return None
    if one.count:
        return _count_evidence(one, counted[one.thing])
    opposite = OPPOSITE[one.side]
    other = placed[one.other] if one.other else None
    score, counter = (_place_score(placed[one.thing], side, other) for side in (one.side, opposite))
    words = {"top": "above", "bottom": "below"}.get(opposite, f"{opposite} of") if one.other else f"to the {opposite}"
    return Evidence("placed", score, f"{words} {one.other}".strip(), counter, counter)


def _count_evidence(one: _Measurement, boxes: Array) -> Evidence:
    likely = np.log(count_likelihoods(boxes[:, 4].tolist()) + LEAST_LIKELY)
    others = [number for number in range(MOST_COUNTED + 1) if number != one.count]
    best = max(others, key=lambda number: float(likely[number]))
    mean = float(np.mean([likely[number] for number in others]))
    words = f"{best} of them" if best < MOST_COUNTED else f"{best} of them or more"
    return Evidence("counted", round(float(likely[one.count]), 4), words, round(float(likely[best]), 4), round(mean, 4))


def _place_score(boxes: Array, side: str, other: Array | None) -> float:
    """Return how surely one of the boxes lies on a side of the picture, or of the surest of the others: -1 to 1."""
    axis, sign = SIDES[side]
    if not len(boxes) or (other is not None and not len(other)):
        return 0.0
    centres, sure, middle = (boxes[:, axis] + boxes[:, axis + 2]) / 2, boxes[:, 4], 0.5
    if other is not None:
        surest = other[other[:, 4].argmax()]
        middle, sure = float(surest[axis] + surest[axis + 2]) / 2, sure * surest[4]
    off = np.clip(sign * (centres - middle) / SURELY_OFF, -1, 1)
    scores = sure * off
    return round(float(scores.max() if scores.max() > 0 else scores.min()), 4)  # one of them there is enough
