"""COCO's mean average precision for grounding, and the precision-recall curve behind it. Pure numpy.

Every picture is asked for every category (a description, or a kind of part); each region answers each of them with its
score. The rules are pycocotools': greedy matching by score, 101 points of recall, IoU 0.5 to 0.95, every size of box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grain.evaluate.metrics import Estimate, mean_interval, paired_iou
from grain.structures import Array

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]
IOU_THRESHOLDS: Numbers = np.linspace(0.5, 0.95, 10, dtype=np.float64)
RECALLS: Numbers = np.linspace(0, 1, 101, dtype=np.float64)
MAX_REGIONS = 100  # of a picture; COCO counts no more


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
    scores = np.concatenate([each.scores for each in pictures]).astype(np.float64)  # [all regions, P]
    first = np.cumsum([0, *(len(each.scores) for each in pictures)])
    precision = np.full((len(IOU_THRESHOLDS), count, len(RECALLS)), np.nan)
    showing: dict[int, list[int]] = {}  # category -> the pictures that show it
    for row, each in enumerate(pictures):
        for category in np.unique(each.true_category):
            showing.setdefault(int(category), []).append(row)
    for category, rows in showing.items():
        hits = np.zeros((len(IOU_THRESHOLDS), len(scores)), bool)
        truths = 0
        for row in rows:
            each = pictures[row]
            mine = each.true_xyxy[each.true_category == category].astype(np.float64)
            truths += len(mine)
            iou = _pairwise_iou(each.boxes_xyxy.astype(np.float64), mine)
            hits[:, first[row] : first[row + 1]] = _matched(each.scores[:, category], iou)
        order = np.argsort(-scores[:, category], kind="stable")
        precision[:, category] = _precision(hits[:, order], truths)
    return GroundingMap(precision)


def _check(pictures: Sequence[GroundingPicture]) -> None:
    if sum(len(each.true_xyxy) for each in pictures) == 0:
        raise ValueError("no true boxes to ground: expected at least one picture with a described box")
    widths = {each.scores.shape[1] for each in pictures}
    if len(widths) > 1:
        raise ValueError(f"every picture must be asked for the same categories, got {sorted(widths)} of them")
    most = max(len(each.boxes_xyxy) for each in pictures)
    if most > MAX_REGIONS:
        raise ValueError(f"a picture may have {MAX_REGIONS} regions, got {most}: keep the best of each")


def _row(iou: float) -> int:
    found = np.flatnonzero(np.isclose(IOU_THRESHOLDS, iou))
    if len(found) == 0:
        raise ValueError(f"the IoU must be one of {', '.join(f'{each:.2f}' for each in IOU_THRESHOLDS)}, got {iou}")
    return int(found[0])


def _pairwise_iou(boxes_xyxy: Numbers, true_xyxy: Numbers) -> Numbers:
    """[Q, 4], [G, 4] -> [Q, G]."""
    left, right = np.repeat(boxes_xyxy, len(true_xyxy), axis=0), np.tile(true_xyxy, (len(boxes_xyxy), 1))
    return paired_iou(left, right).reshape(len(boxes_xyxy), len(true_xyxy))


def _matched(scores: Array, iou: Numbers) -> NDArray[np.bool_]:
    """One picture, one category: which regions are right, [T, Q].

    By falling score, each region takes the free true box that it overlaps most, of equals the last.
    """
    thresholds = np.arange(len(IOU_THRESHOLDS))
    hits = np.zeros((len(thresholds), len(iou)), bool)
    free = np.ones((len(thresholds), iou.shape[1]), bool)
    for region in np.argsort(-scores, kind="stable"):
        reached = np.where(free & (iou[region] >= IOU_THRESHOLDS[:, None]), iou[region], -1.0)  # [T, G]
        best = reached.shape[1] - 1 - reached[:, ::-1].argmax(axis=1)
        hits[:, region] = reached[thresholds, best] >= 0
        free[thresholds[hits[:, region]], best[hits[:, region]]] = False
    return hits


def _precision(hits: NDArray[np.bool_], truths: int) -> Numbers:
    """[T, all regions] by falling score -> [T, 101] the best precision at each recall or above."""
    right = hits.cumsum(axis=1)
    precision = right / np.arange(1, right.shape[1] + 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.zeros((len(hits), len(RECALLS)))
    for row, recall in enumerate(right / truths):
        places = np.searchsorted(recall, RECALLS, side="left")
        there = places < len(recall)
        reached[row, there] = best[row, places[there]]
    return reached
