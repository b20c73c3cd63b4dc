"""Compute metrics and their intervals. Arrays in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binomtest, bootstrap, t

from grain.structures import Array

DRAWN_AT_ONCE = 2_000_000  # numbers: 50,000 pictures would otherwise take gigabytes
FEW = 15  # hits or misses: with fewer the bootstrap interval alone is too narrow
FEW_ITEMS = 30  # of other numbers than hits: with fewer the bootstrap interval is too narrow
UPPER = 0.975  # quantile: the upper end of a 95 % interval
OUT_OF_BOUNDS = 1e-6  # of the span, which rounding may come to
END = 0.75  # of an item, on the far side of an end: 1 is Clopper and Pearson's, 1/2 Jeffreys'
Bounds = tuple[float, float]
SHARE: Bounds = (0.0, 1.0)
LEAD: Bounds = (-1.0, 1.0)
Values = NDArray[np.float64]  # one number an item
Groups = NDArray[np.int64]
Boxes = TypeVar("Boxes", Array, NDArray[np.float64])


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval, see mean_interval."""

    value: float
    low: float
    high: float


def mean_interval(
    values: Values | Array,
    *,
    groups: Groups | None = None,
    bounds: Bounds = SHARE,
    seed: int = 0,
    resamples: int = 2000,
) -> Estimate:
    """Return the mean of one number an item, with its 95 % interval.

    Items alone: a percentile bootstrap; equal items have no spread to resample, so their interval is the exact one, for
    how often another number than theirs may have been missed, and so is that of hits and misses where there are fewer
    than FEW of either. Fewer than FEW_ITEMS of other numbers, such as the precisions of a few categories, are groups of
    one. Groups: see _of_groups; with one group, or where all have the same mean, items count alone.

    Args:   values: [N]. groups: [N] what belongs together (pictures of a class share their descriptions, so their hits
            are not independent); None: each item stands alone. bounds: the least and the largest number there can be.
    Raises: ValueError: nothing to average, or a number out of bounds.
    Source: Clopper and Pearson, Biometrika 26 (1934), for the exact interval.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("no items to average: expected at least one")
    _must_lie_in(values, bounds)
    if groups is None:
        return _of_items(values, bounds, seed=seed, resamples=resamples)
    sums, counts = group_sums(values, groups)
    if len(sums) == 1 or np.ptp(sums / counts) == 0:
        return _of_items(values, bounds, seed=seed, resamples=resamples)
    return _of_groups(sums, counts, bounds, hits=bool(np.isin(values, bounds).all()))


def group_sums(values: Values, groups: Groups) -> tuple[Values, Values]:
    """Add [N] up by group: the sum and the number of items of each, [G] and [G]."""
    _, row = np.unique(groups, return_inverse=True)
    return np.bincount(row, values).astype(np.float64), np.bincount(row).astype(np.float64)


def _must_lie_in(values: Values, bounds: Bounds) -> None:
    least, most = bounds
    slack = OUT_OF_BOUNDS * (most - least)
    if values.min() < least - slack or values.max() > most + slack:
        raise ValueError(f"numbers must lie in {bounds}, got {values.min()} … {values.max()}: give their own bounds")


def _of_items(values: Values, bounds: Bounds, *, seed: int, resamples: int) -> Estimate:
    """Estimate the mean of independent items."""
    least, most = bounds
    values = values.clip(least, most)
    value, span = float(values.mean()), most - least
    if np.ptp(values) == 0:
        bound = _exact(len(values), len(values))[0]
        return Estimate(value, value - (1 - bound) * (value - least), value + (1 - bound) * (most - value))
    hits = int(np.equal(values, most).sum())
    if min(hits, len(values) - hits) < FEW and np.isin(values, bounds).all():
        low, high = _exact(hits, len(values))
        return Estimate(value, least + span * low, least + span * high)
    if len(values) < FEW_ITEMS and not np.isin(values, bounds).all():
        return _of_groups(values, np.ones(len(values)), bounds, hits=False)
    return _bootstrap(values, seed=seed, resamples=resamples)


def _exact(hits: int, items: int) -> tuple[float, float]:
    """Return Clopper and Pearson's interval of a share."""
    found = binomtest(hits, items).proportion_ci(method="exact")
    return float(found.low), float(found.high)


def _of_groups(sums: Values, counts: Values, bounds: Bounds, *, hits: bool) -> Estimate:
    """Estimate a mean over groups that are drawn whole: the interval of as many independent items as they are worth.

    The variance of leaving each group out in turn says how many independent items would leave as much doubt. That
    number is made smaller for the groups being few or of unequal size (t with the effective number of groups), and is
    not more than there are items where they are hits and misses.

    The ends lie halfway between Clopper and Pearson's, which are wide, and Jeffreys', which are narrow where few miss.

    Source: Korn and Graubard, Survey Methodology 24 (1998); Kish, Survey Sampling (1965), for the effective number.
    """
    least, span, items = bounds[0], bounds[1] - bounds[0], counts.sum()
    shares = (sums - least * counts) / span  # of the span, a group
    mean = shares.sum() / items
    left_out = (shares.sum() - shares) / (items - counts)
    variance = (len(sums) - 1) / len(sums) * np.square(left_out - mean).sum()
    worth = mean * (1 - mean) / variance
    worth = min(worth, items) if hits else worth
    effective = items**2 / np.square(counts).sum()
    few_groups = t.ppf(UPPER, max(worth, 2) - 1) / t.ppf(UPPER, max(effective - 1, 1))
    worth *= min(few_groups, 1) ** 2  # groups that are worth fewer items than they are: already in their variance
    right, wrong = mean * worth, worth - mean * worth
    low = beta.ppf(1 - UPPER, right + 1 - END, wrong + END)
    high = beta.ppf(UPPER, right + END, wrong + 1 - END)
    value = float(sums.sum() / items)
    return Estimate(value, min(value, float(least + span * low)), max(value, float(least + span * high)))


def _bootstrap(values: Values, *, seed: int, resamples: int) -> Estimate:
    """Estimate the mean of values that are resampled."""
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, DRAWN_AT_ONCE // len(values)),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(float(values.mean()), float(found.low), float(found.high))


def topk_hits(scores: Array, target: NDArray[np.int64], k: int) -> Values:
    """Return [N] 1.0 where fewer than k other columns score at least as high; ties and NaN count against."""
    own = np.take_along_axis(scores, target[:, None], axis=1)
    not_below = np.logical_not(scores < own).sum(axis=1) - 1
    hits: Values = np.logical_and(not_below < k, np.isfinite(own[:, 0])).astype(np.float64)
    return hits


def mean_class_recall(hits: Values, target: NDArray[np.int64]) -> float:
    """Return the mean share recognised over the classes that have pictures: each counts alike, however many it has.

    Raises: ValueError: no pictures.
    """
    if len(hits) == 0:
        raise ValueError("no pictures to average: expected at least one")
    _, row = np.unique(target, return_inverse=True)
    return float((np.bincount(row, hits) / np.bincount(row)).mean())


def recall_at(similarity: Array, k: int) -> Values:
    """Measure retrieval where row i belongs to column i.

    Args:    similarity: [N, N]. k: how many of the best count.
    Returns: [N] as topk_hits.
    Raises:  ValueError: not square.
    """
    if similarity.shape[0] != similarity.shape[1]:
        raise ValueError(
            f"similarity must be square, got {similarity.shape}: use grain.evaluate.retrieval for several captions"
        )
    return topk_hits(similarity, np.arange(len(similarity)), k)


def paired_iou(a_xyxy: Boxes, b_xyxy: Boxes) -> Boxes:
    """Return the IoU of [R, 4] with [R, 4] boxes, [R]; 0 for boxes without area."""
    corner = np.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - np.maximum(a_xyxy[:, :2], b_xyxy[:, :2])
    overlap: Boxes = corner.clip(0).prod(axis=1)
    union = _area(a_xyxy) + _area(b_xyxy) - overlap
    iou: Boxes = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return iou


def _area(boxes_xyxy: Boxes) -> Boxes:
    area: Boxes = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clip(0).prod(axis=1)
    return area
