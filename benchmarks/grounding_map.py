"""COCO's mean average precision for grounding, and the precision-recall curve behind it.

Every picture is asked for every category (a description, or a kind of part); each region answers each of them with its
score, as a detection of grain.evaluate.average_precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grain.data.data_sets import PictureObjects
from grain.evaluate.average_precision import (
    IOU_THRESHOLDS,
    MOST_OF_CATEGORY,
    PictureDetections,
    precision_curves,
)
from grain.evaluate.metrics import Estimate, mean_interval
from grain.structures import Array

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class GroundingPicture:
    """A picture: boxes_xyxy [Q, 4] and scores [Q, P] of its regions; true_xyxy [R, 4], true_category [R] columns."""

    boxes_xyxy: Array
    scores: Array
    true_xyxy: Array
    true_category: Rows


@dataclass(frozen=True)
class GroundingMap:
    """precision [T, P, 101] at each IoU threshold, category and recall; NaN for a category that no picture shows."""

    precision: Numbers

    @property
    def average_precision(self) -> Numbers:
        """[T, P] AP of each category, NaN where it is never shown."""
        return np.asarray(self.precision.mean(axis=2))

    @property
    def mean(self) -> Estimate:
        """COCO's AP: the mean over thresholds and categories, its interval over categories."""
        by_category = self.average_precision.mean(axis=0)
        return mean_interval(by_category[~np.isnan(by_category)])

    def at(self, iou: float) -> Estimate:
        """The same at one threshold: COCO's AP50 at 0.5.

        Raises: ValueError: none of the thresholds.
        """
        by_category = self.average_precision[_row(iou)]
        return mean_interval(by_category[~np.isnan(by_category)])

    def curve(self, iou: float = 0.5) -> Numbers:
        """[101] mean precision over the categories at recall 0, 0.01 … 1; its own mean is `at(iou)`.

        Raises: ValueError: none of the thresholds.
        """
        return np.asarray(np.nanmean(self.precision[_row(iou)], axis=0))


def grounding_map(pictures: Sequence[GroundingPicture]) -> GroundingMap:
    """All pictures' regions against all true boxes.

    Raises: ValueError: no true box at all, more than 100 regions, or pictures asked for different categories.
    """
    _check(pictures)
    count = pictures[0].scores.shape[1]
    found, truths = zip(*map(_asked, pictures), strict=True)
    return GroundingMap(precision_curves(found, truths, count))


def _asked(picture: GroundingPicture) -> tuple[PictureDetections, PictureObjects]:
    """Every region as a detection of every category, and what is there; somebody looked for all of it."""
    regions, categories = picture.scores.shape
    found = PictureDetections(
        np.repeat(picture.boxes_xyxy.astype(np.float64), categories, axis=0),
        picture.scores.astype(np.float64).ravel(),
        np.tile(np.arange(categories), regions),
    )
    boxes = tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in picture.true_xyxy.tolist())
    there = tuple(picture.true_category.tolist())
    return found, PictureObjects(boxes, there, (False,) * len(boxes), asked=tuple(range(categories)))


def _check(pictures: Sequence[GroundingPicture]) -> None:
    if sum(len(each.true_xyxy) for each in pictures) == 0:
        raise ValueError("no true boxes to ground: expected at least one picture with a described box")
    widths = {each.scores.shape[1] for each in pictures}
    if len(widths) > 1:
        raise ValueError(f"every picture must be asked for the same categories, got {sorted(widths)} of them")
    most = max(len(each.boxes_xyxy) for each in pictures)
    if most > MOST_OF_CATEGORY:
        raise ValueError(f"a picture may have {MOST_OF_CATEGORY} regions, got {most}: keep the best of each")


def _row(iou: float) -> int:
    found = np.flatnonzero(np.isclose(IOU_THRESHOLDS, iou))
    if len(found) == 0:
        raise ValueError(f"the IoU must be one of {', '.join(f'{each:.2f}' for each in IOU_THRESHOLDS)}, got {iou}")
    return int(found[0])
