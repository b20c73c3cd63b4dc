"""Measure detection by descriptions as COCO and LVIS do: average precision of each category. Pure numpy.

By falling score, each detection takes the free box of its category that it overlaps most, at ten IoU thresholds; the
precision is read at 101 recalls. Pictures in which nobody looked for a category say nothing of it, and detections in a
crowd, or beside the boxes of a category that is not boxed everywhere, count neither way.

Source: Lin et al. 2014 and cocodataset/cocoapi, cocoeval.py; Gupta et al. 2019, for categories looked for in some
pictures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grain.data.data_sets import PictureObjects

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]
IOU_THRESHOLDS: Numbers = np.linspace(0.5, 0.95, 10, dtype=np.float64)
RECALLS: Numbers = np.linspace(0, 1, 101, dtype=np.float64)
MOST_OF_CATEGORY = 100  # detections of a category in a picture


@dataclass(frozen=True)
class PictureDetections:
    """The detections in a picture: boxes_xyxy [D, 4], scores [D] and categories [D], rows of the data set's."""

    boxes_xyxy: Numbers
    scores: Numbers
    categories: Rows


@dataclass(frozen=True)
class _Matches:
    """The detections of a category in a picture, by falling score: right [T, D], and counted [T, D]."""

    scores: Numbers
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    boxes: int


def average_precision(
    detections: Sequence[PictureDetections], truths: Sequence[PictureObjects], categories: int
) -> Numbers:
    """Return the AP of each category at each threshold, [T, C]; NaN for a category that has no box anywhere.

    Args:   detections, truths: of the same pictures. categories: how many there are.
    Raises: ValueError: not the same number of pictures.
    """
    return np.asarray(precision_curves(detections, truths, categories).mean(axis=2))


def precision_curves(
    detections: Sequence[PictureDetections], truths: Sequence[PictureObjects], categories: int
) -> Numbers:
    """Return the best precision at each of RECALLS or above, [T, C, 101]: see average_precision."""
    if len(detections) != len(truths):
        raise ValueError(f"both must be about the same pictures, got {len(detections)} and {len(truths)}")
    asked: dict[int, list[int]] = {}
    for row, truth in enumerate(truths):
        for category in truth.asked:
            asked.setdefault(category, []).append(row)
    found = np.full((len(IOU_THRESHOLDS), categories, len(RECALLS)), np.nan)
    for category, rows in asked.items():
        matches = [_match(detections[row], truths[row], category) for row in rows]
        if boxes := sum(each.boxes for each in matches):
            found[:, category] = _precision(matches, boxes)
    return found


def _match(found: PictureDetections, truth: PictureObjects, category: int) -> _Matches:
    own = [row for row, each in enumerate(truth.categories) if each == category]
    own.sort(key=lambda row: truth.crowds[row])  # crowds last: they are taken where nothing else is left
    crowds = np.array([truth.crowds[row] for row in own], bool)
    true = np.array([truth.boxes_xyxy[row] for row in own], np.float64).reshape(-1, 4)
    mine = np.flatnonzero(found.categories == category)
    mine = mine[np.argsort(-found.scores[mine], kind="stable")][:MOST_OF_CATEGORY]
    overlap = overlaps(found.boxes_xyxy[mine], true, crowds)
    right = np.zeros((len(IOU_THRESHOLDS), len(mine)), bool)
    counted = np.ones_like(right)
    if category in truth.incomplete:
        counted[:] = False
    for row, threshold in enumerate(IOU_THRESHOLDS):
        free = np.ones(len(own), bool)
        for column in range(len(mine)):
            best = _best_box(overlap[column], free, crowds, threshold=threshold)
            if best is None:
                continue
            right[row, column] = counted[row, column] = not crowds[best]
            free[best] = crowds[best]
    return _Matches(found.scores[mine], right, counted, int((~crowds).sum()))


def _best_box(overlap: Numbers, free: NDArray[np.bool_], crowds: NDArray[np.bool_], *, threshold: float) -> int | None:
    """Return the free box that is overlapped most, of equals the last; a crowd only where there is no other."""
    for group in (free & ~crowds, crowds):
        reached = np.flatnonzero(group & (overlap >= threshold))
        if len(reached):
            return int(reached[::-1][overlap[reached[::-1]].argmax()])
    return None


def overlaps(boxes_xyxy: Numbers, true_xyxy: Numbers, crowds: NDArray[np.bool_]) -> Numbers:
    """Return the IoU of boxes [D, 4] with boxes [G, 4], [D, G]; with a crowd the share of the first in it."""
    low = np.maximum(boxes_xyxy[:, None, :2], true_xyxy[None, :, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], true_xyxy[None, :, 2:])
    common = (high - low).clip(0).prod(axis=2)
    mine, theirs = ((each[:, 2:] - each[:, :2]).clip(0).prod(axis=1) for each in (boxes_xyxy, true_xyxy))
    union = np.where(crowds[None], mine[:, None], mine[:, None] + theirs[None] - common)
    overlap: Numbers = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return overlap


def _precision(matches: Sequence[_Matches], boxes: int) -> Numbers:
    """Return the best precision at each of RECALLS or above, [T, 101]."""
    order = np.argsort(-np.concatenate([each.scores for each in matches]), kind="stable")
    right = np.concatenate([each.right for each in matches], axis=1)[:, order]
    counted = np.concatenate([each.counted for each in matches], axis=1)[:, order]
    curves = np.zeros((len(IOU_THRESHOLDS), len(RECALLS)))
    for row in range(len(curves)):
        true = right[row][counted[row]].cumsum()
        if not len(true):
            continue
        precision = true / np.arange(1, len(true) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(true / boxes, RECALLS, side="left")
        curves[row] = np.where(places < len(best), best[places.clip(max=len(best) - 1)], 0)
    return curves
