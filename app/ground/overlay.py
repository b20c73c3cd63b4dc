"""Choose the regions to draw on the picture of the Ground page, and render them with a button for each description."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.ground.actions import CheckpointResult
from app.ui.frames import SECOND_DASH, Box
from app.ui.html import render
from app.ui.marks import mark_of
from grain.structures import Prediction

TAG_CHARACTERS = 28
INSET = 0.008  # of the picture's longer side, for each further description of one region
RIGHT_HALF = 0.6  # a tag of a box that begins beyond it is placed by the box's right edge
TOP_EDGE = 0.09  # a tag of a box that begins above it is placed inside the box

Which = Literal["best", "all", "both"]
"""Every region that was found; every region that there is; those found by the checkpoint compared with, too."""


@dataclass(frozen=True)
class DrawnRegion:
    """A box on the picture. region: row of the region query. description: index. box_xyxy: normalized.

    confidence: that the description means it; None where the checkpoint tells none. number: among several of one
    description, from 1; 0 for the only one.
    """

    region: int
    description: int
    score: float
    box_xyxy: Box
    confidence: float | None = None
    number: int = 0


@dataclass(frozen=True)
class DrawnResult:
    """The result of one of two checkpoints, to be drawn on the same picture. name: the checkpoint's."""

    name: str
    prediction: Prediction
    regions: tuple[DrawnRegion, ...]


def drawn_results(results: Sequence[CheckpointResult], *, threshold: float, which: Which) -> tuple[DrawnResult, ...]:
    """Choose the boxes of each checkpoint where both are asked for; nothing otherwise."""
    if which != "both":
        return ()
    return tuple(
        DrawnResult(
            each.checkpoint.name, each.prediction, drawn_regions(each.prediction, threshold=threshold, which=which)
        )
        for each in results
    )


def drawn_regions(prediction: Prediction, *, threshold: float, which: Which) -> tuple[DrawnRegion, ...]:
    """Choose the boxes to draw.

    Args: threshold: least cosine. which: `all`: every region of the checkpoint, under the description that it matches
          best; else every region that was found.
    """
    if which != "all":
        return _found(prediction.above(threshold=threshold))
    if prediction.matches.size == 0:
        return ()
    pairs = [(row, int(column)) for row, column in enumerate(prediction.matches.argmax(axis=1))]
    regions = (DrawnRegion(*pair, float(prediction.matches[pair]), _box(prediction, pair[0])) for pair in pairs)
    return tuple(region for region in regions if region.score >= threshold)


def _found(prediction: Prediction) -> tuple[DrawnRegion, ...]:
    columns = {text: column for column, text in enumerate(prediction.descriptions)}
    counts, seen = Counter(region.text for region in prediction.regions), Counter[str]()
    drawn = []
    for region in prediction.regions:
        seen[region.text] += 1
        number = seen[region.text] if counts[region.text] > 1 else 0
        column = columns[region.text]
        drawn.append(DrawnRegion(region.index, column, region.score, region.xyxy, region.confidence, number))
    return tuple(drawn)


def stage(
    prediction: Prediction,
    regions: Sequence[DrawnRegion],
    uri: str,
    *,
    threshold: float,
    note: str = "",
    compared: Sequence[DrawnResult] = (),
) -> str:
    """Render the picture with its regions, a button for each description below it, and a note.

    compared: both results where both are drawn, this one first; it alone where there is no other.

    The SVG has the pixels of the upright picture as its units; regions that are not drawn are there, hidden.
    """
    second = compared[1].regions if len(compared) > 1 else ()
    chips = _chips(prediction, regions, threshold, second={one.description for one in second})
    likeliest = [
        DrawnRegion(prediction.best[index], index, chip["score"], _box(prediction, prediction.best[index]))
        for index, chip in enumerate(chips)
        if chip["likeliest"]
    ]
    return render(
        "ground/templates/stage.html",
        uri=uri,
        width=prediction.width,
        height=prediction.height,
        regions=_drawn(prediction, regions),
        hidden=[_hidden(prediction, row) for row in range(len(prediction.boxes_xyxy))],
        chips=chips,
        likeliest=_drawn(prediction, likeliest),
        note=note,
        compared=compared,
        second=_drawn(compared[1].prediction, second) if second else [],
        dash=SECOND_DASH,
    )


def _drawn(prediction: Prediction, regions: Sequence[DrawnRegion]) -> list[dict[str, Any]]:
    """Return the values of each drawn box and its tag; boxes of one region lie inside each other."""
    depths: Counter[int] = Counter()
    values = []
    for one in regions:
        depth, text, (x0, y0, x1, _) = depths[one.region], prediction.descriptions[one.description], one.box_xyxy
        depths[one.region] += 1
        values.append(
            {
                "region": one.region,
                "description": one.description,
                "text": text,
                "score": one.score,
                "confidence": one.confidence,
                "number": one.number,
                "box": " ".join(f"{value:.5f}" for value in one.box_xyxy),
                "rect": _rect(prediction, one.box_xyxy, depth),
                "mark": mark_of(one.description),
                "depth": depth,
                "tag": numbered(textwrap.shorten(text, TAG_CHARACTERS, placeholder="…"), one),
                "inside": y0 < TOP_EDGE,
                "side": f"right:{100 * (1 - x1):.2f}%" if x0 > RIGHT_HALF else f"left:{100 * x0:.2f}%",
                "top": 100 * y0,
            }
        )
    return values


def numbered(text: str, region: DrawnRegion) -> str:
    """Return a region's words with its number among several."""
    return f"{text} {region.number}" if region.number else text


def _hidden(prediction: Prediction, row: int) -> dict[str, Any]:
    """Return the values of a region as it appears when its row of the matrix is pressed."""
    column = int(prediction.matches[row].argmax()) if prediction.matches.size else None
    return {
        "region": row,
        "rect": _rect(prediction, _box(prediction, row)),
        "text": "" if column is None else prediction.descriptions[column],
        "score": None if column is None else float(prediction.matches[row, column]),
    }


def _chips(
    prediction: Prediction, regions: Sequence[DrawnRegion], threshold: float, *, second: Collection[int]
) -> list[dict[str, Any]]:
    """Return of each description its text, how many boxes it has, its best cosine, and why it has none, or too few.

    Of one without a box a press shows where it is likeliest. second: descriptions that have the other checkpoint's box.
    """
    drawn = Counter(one.description for one in regions)
    values = []
    for index, text in enumerate(prediction.descriptions):
        best = float(prediction.matches[prediction.best[index], index]) if prediction.matches.size else None
        reason = "" if best is None else _reason(prediction, index, best, threshold=threshold, drawn=drawn[index] > 0)
        chip = {"text": text, "count": drawn[index], "score": best, "reason": reason, "second": index in second}
        values.append(chip | {"likeliest": best is not None and not drawn[index] and index not in second})
    return values


def _reason(prediction: Prediction, index: int, best: float, *, threshold: float, drawn: bool) -> str:
    answer = prediction.answers[index]
    reason = prediction.reasons[index] if prediction.reasons else ""
    if drawn:
        return reason if answer == "found" else ""
    if answer == "found":
        return f"below {threshold:.2f}" if best < threshold else "best on no region"
    if answer == "cannot tell":
        reason = reason or "it may be there; no region is surely it"
    return f"{answer}: {reason}" if reason else answer


def _box(prediction: Prediction, row: int) -> Box:
    x0, y0, x1, y1 = (float(value) for value in prediction.boxes_xyxy[row])
    return x0, y0, x1, y1


def _rect(prediction: Prediction, box: Box, depth: int = 0) -> tuple[float, float, float, float]:
    """Return x, y, width and height in pixels of the upright picture."""
    width, height = prediction.width, prediction.height
    inset = INSET * depth * max(width, height)
    x0, y0, x1, y1 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    return x0 + inset, y0 + inset, max(0.0, x1 - x0 - 2 * inset), max(0.0, y1 - y0 - 2 * inset)
