"""Pure metrics and their intervals. Arrays in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from grain.structures import Array

DRAWN_AT_ONCE = 2_000_000  # numbers: 50,000 pictures would otherwise take gigabytes
Values = NDArray[np.float64]  # one number an item
Boxes = TypeVar("Boxes", Array, NDArray[np.float64])


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % percentile bootstrap interval."""

    value: float
    low: float
    high: float


def mean_interval(values: Values | Array, *, seed: int = 0, resamples: int = 2000) -> Estimate:
    """Mean of one number an item, with its interval.

    Args:   values: [N].
    Raises: ValueError: nothing to average.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("no items to average: expected at least one")
    if len(values) == 1 or np.ptp(values) == 0:
        return Estimate(float(values.mean()), float(values.min()), float(values.max()))
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, DRAWN_AT_ONCE // len(values)),
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return Estimate(float(values.mean()), float(found.confidence_interval.low), float(found.confidence_interval.high))


def top1_hits(scores: Array, target: NDArray[np.int64]) -> Values:
    """scores [N, C], target [N] column -> [N] 1.0 where the best column is the target."""
    hits: Values = np.equal(scores.argmax(axis=1), target).astype(np.float64)
    return hits


def topk_hits(scores: Array, target: NDArray[np.int64], k: int) -> Values:
    """[N, C], [N] -> [N] 1.0 where fewer than k other columns score at least as high (ties, and NaN, count against)."""
    own = np.take_along_axis(scores, target[:, None], axis=1)
    not_below = np.logical_not(scores < own).sum(axis=1) - 1
    hits: Values = np.logical_and(not_below < k, np.isfinite(own[:, 0])).astype(np.float64)
    return hits


def mean_class_recall(hits: Values, target: NDArray[np.int64]) -> float:
    """Mean over the classes that have pictures of the share recognised: each class counts alike, however many it has.

    Raises: ValueError: no pictures.
    """
    if len(hits) == 0:
        raise ValueError("no pictures to average: expected at least one")
    _, row = np.unique(target, return_inverse=True)
    return float((np.bincount(row, hits) / np.bincount(row)).mean())


def recall_at(similarity: Array, k: int) -> Values:
    """Retrieval where row i belongs to column i.

    Args:    similarity: [N, N]. k: how many of the best count.
    Returns: [N] as topk_hits.
    Raises:  ValueError: not square.
    """
    if similarity.shape[0] != similarity.shape[1]:
        raise ValueError(f"similarity must be square, got {similarity.shape}: use grain.retrieval for several captions")
    return topk_hits(similarity, np.arange(len(similarity)), k)


def paired_iou(a_xyxy: Boxes, b_xyxy: Boxes) -> Boxes:
    """[R, 4] against [R, 4] -> [R]; 0 for boxes without area."""
    corner = np.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - np.maximum(a_xyxy[:, :2], b_xyxy[:, :2])
    overlap: Boxes = corner.clip(0).prod(axis=1)
    union = _area(a_xyxy) + _area(b_xyxy) - overlap
    iou: Boxes = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return iou


def _area(boxes_xyxy: Boxes) -> Boxes:
    area: Boxes = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clip(0).prod(axis=1)
    return area
