"""Pure metrics and their intervals. Arrays in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from grain.structures import Array

Values = NDArray[np.float64]  # one number an item


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
    found = bootstrap((values,), np.mean, n_resamples=resamples, method="percentile", rng=np.random.default_rng(seed))
    return Estimate(float(values.mean()), float(found.confidence_interval.low), float(found.confidence_interval.high))


def top1_hits(scores: Array, target: NDArray[np.int64]) -> Values:
    """scores [N, C], target [N] column -> [N] 1.0 where the best column is the target."""
    hits: Values = np.equal(scores.argmax(axis=1), target).astype(np.float64)
    return hits


def recall_at(similarity: Array, k: int) -> Values:
    """Retrieval where row i belongs to column i.

    Args:    similarity: [N, N]. k: how many of the best count.
    Returns: [N] 1.0 where fewer than k other columns score at least as high (ties, and NaN, count against).
    """
    own = np.diagonal(similarity)[:, None]
    not_below = np.logical_not(similarity < own).sum(axis=1) - 1
    hits: Values = np.logical_and(not_below < k, np.isfinite(own[:, 0])).astype(np.float64)
    return hits


def paired_iou(a_xyxy: Array, b_xyxy: Array) -> Array:
    """[R, 4] against [R, 4] -> [R]; 0 for boxes without area."""
    corner = np.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - np.maximum(a_xyxy[:, :2], b_xyxy[:, :2])
    overlap: Array = corner.clip(0).prod(axis=1)
    union = _area(a_xyxy) + _area(b_xyxy) - overlap
    iou: Array = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return iou


def _area(boxes_xyxy: Array) -> Array:
    area: Array = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clip(0).prod(axis=1)
    return area
