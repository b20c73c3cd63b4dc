"""Compare two models on the same pictures: in all, by class, by picture. Arrays in, frozen results out.

"One" and "other" are the two that are compared; a lead is one's share minus the other's, in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, false_discovery_control

from grain.evaluate.metrics import LEAD, Estimate, Values, group_sums, mean_interval
from grain.structures import Array

Rows = NDArray[np.int64]
SURE = 0.05  # p, above which chance may explain a lead
FEWEST_GROUPS = 6  # 2 / 2 ** 6 < SURE: swapping fewer in every way cannot show a lead
SWAPS = 4999
SWAPPED_AT_ONCE = 4_000_000  # numbers
ROUNDING = 1e-9  # of sums of hits


@dataclass(frozen=True)
class McNemar:
    """only_one, only_other: pictures that one alone gets right. p_value: of these or more uneven counts by chance."""

    only_one: int
    only_other: int
    p_value: float


def mcnemar(one: Values, other: Values) -> McNemar:
    """Test hits [N] against hits [N] on the same pictures with McNemar's exact test; 1.0 where they never differ.

    Raises: ValueError: not the same number.
    """
    _same_length(one, other)
    only_one, only_other = int(np.sum(one > other)), int(np.sum(other > one))
    differ = only_one + only_other
    return McNemar(only_one, only_other, float(binomtest(only_one, differ).pvalue) if differ else 1.0)


@dataclass(frozen=True)
class PairedLead:
    """A lead, how likely chance alone gives one as large, and the pictures behind it; see paired_lead.

    groups: how many were drawn whole, 0 where each picture stands alone.
    """

    lead: Estimate
    p_value: float
    only_one: int
    only_other: int
    groups: int


def paired_lead(one: Values, other: Values, *, groups: Rows | None = None, seed: int = 0) -> PairedLead:
    """Return the mean of one - other over the same items: its 95 % interval and its test, which are one statement.

    The test swaps the two models at random, class by class, and counts how often the lead is as large (a permutation
    test of signs). The interval holds the leads that the same swaps do not refuse, so it leaves 0 out just where p is
    at most 0.05. Where each picture stands alone, the test is McNemar's. Fewer than FEWEST_GROUPS cannot refuse
    anything, so their items stand alone: the statement is then about these classes.

    Args:   one, other: [N] in [0, 1]. groups: [N] what is swapped together; None: each item stands alone.
    Raises: ValueError: not the same number, or nothing to compare.
    Source: Hartigan, JASA 64 (1969), for the interval; Cameron, Gelbach and Miller, REStat 90 (2008), for clusters.
    """
    _same_length(one, other)
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    alone, test = mean_interval(difference, bounds=LEAD, seed=seed), mcnemar(one, other)
    count = 0 if groups is None else len(np.unique(groups))
    if np.ptp(difference) == 0:  # nothing to split: the exact interval and the exact test agree as well
        return PairedLead(alone, test.p_value, test.only_one, test.only_other, 0)
    units = np.arange(len(difference)) if groups is None or count < FEWEST_GROUPS else groups
    sums, sizes = group_sums(difference, units)
    if np.ptp(sums / sizes) == 0:
        units, (sums, sizes) = np.arange(len(difference)), (difference, np.ones(len(difference)))
    low, high, p_value = _swapped(sums, sizes, seed)
    drawn = count if units is groups else 0
    return PairedLead(Estimate(alone.value, low, high), p_value, test.only_one, test.only_other, drawn)


def _swapped(sums: Values, sizes: Values, seed: int) -> tuple[float, float, float]:
    """Swap groups at random: the ends of the interval and the p-value.

    Swaps split the groups into two halves. A lead is refused by few of them where few have a half with a mean beyond
    it, so the ends are quantiles of the lower and of the higher of the two means.
    """
    rng = np.random.default_rng(seed)
    alike, counts = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    lower, higher = np.empty(SWAPS), np.empty(SWAPS)
    step = max(1, SWAPPED_AT_ONCE // len(alike))
    for first in range(0, SWAPS, step):
        half = rng.binomial(counts, 0.5, size=(min(step, SWAPS - first), len(alike)))  # [swaps, kinds of group]
        with np.errstate(invalid="ignore"):  # a half without any group has no mean
            means = [(each @ alike[:, 0]) / (each @ alike[:, 1]) for each in (half, counts - half)]
        lower[first : first + len(half)] = np.where(np.isnan(means).any(axis=0), LEAD[0], np.minimum(*means))
        higher[first : first + len(half)] = np.where(np.isnan(means).any(axis=0), LEAD[1], np.maximum(*means))
    refused = int(SURE * (SWAPS + 1))
    low, high = float(np.sort(lower)[refused - 1]), float(np.sort(higher)[-refused])
    beyond = np.sum((lower <= ROUNDING) & (higher >= -ROUNDING))
    return low if abs(low) > ROUNDING else 0.0, high if abs(high) > ROUNDING else 0.0, float((1 + beyond) / (1 + SWAPS))


@dataclass(frozen=True)
class ClassDelta:
    """A class: its pictures, the shares that one and the other get right, the lead, and how likely it is due to chance.

    p_value: McNemar's. discovery_rate: the same, corrected for the number of classes (Benjamini-Hochberg): of the
    classes at or below 0.05, one in twenty is expected to be there by chance.
    """

    name: str
    pictures: int
    one: float
    other: float
    lead: Estimate
    p_value: float
    discovery_rate: float


def class_deltas(
    one: Values, other: Values, *, target: Rows, names: Sequence[str], seed: int = 0
) -> tuple[ClassDelta, ...]:
    """Compare hits [N] against hits [N] class by class, the largest lead first; classes without pictures are left out.

    Args: target: [N] row of each picture's class in names.
    """
    _same_length(one, other)
    present = np.unique(target)
    pairs = [(one[target == row], other[target == row]) for row in present]
    tests = [mcnemar(*pair) for pair in pairs]
    rates = false_discovery_control([test.p_value for test in tests]) if tests else []
    leads: dict[tuple[int, int, int], Estimate] = {}  # of classes with the same counts, which are many
    for pair, test in zip(pairs, tests, strict=True):
        if (key := (test.only_one, test.only_other, len(pair[0]))) not in leads:
            leads[key] = paired_lead(*pair, seed=seed).lead
    found = [
        ClassDelta(
            names[row],
            len(mine),
            float(mine.mean()),
            float(theirs.mean()),
            leads[test.only_one, test.only_other, len(mine)],
            test.p_value,
            float(rate),
        )
        for row, (mine, theirs), test, rate in zip(present, pairs, tests, rates, strict=True)
    ]
    return tuple(sorted(found, key=lambda delta: -delta.lead.value))


@dataclass(frozen=True)
class ComparedExamples:
    """Rows of images that one of two models alone gets right (wins), and the other alone (losses)."""

    wins: Rows
    losses: Rows


def examples(one: Values, other: Values, margin: Array, *, most: int = 20) -> ComparedExamples:
    """Choose images to show where two models differ, those that differ most first.

    Args:   one, other: [N] hits. margin: [N] how far one is ahead of the other. most: images of each kind.
    Raises: ValueError: not the same number.
    """
    _same_length(one, other)

    def clearest(rows: Rows, sign: int) -> Rows:
        return rows[np.argsort(-sign * margin[rows], kind="stable")][:most]

    return ComparedExamples(clearest(np.flatnonzero(one > other), 1), clearest(np.flatnonzero(other > one), -1))


@dataclass(frozen=True)
class AlphaPoint:
    """alpha: share of the image embedding in the score, the rest is the regions'. top1: share recognised."""

    alpha: float
    top1: Estimate


def best_alpha(curve: Sequence[AlphaPoint]) -> float:
    """Return the alpha of the highest top-1; of equals the largest, which depends on the regions least."""
    return max(curve, key=lambda point: (point.top1.value, point.alpha)).alpha


@dataclass(frozen=True)
class ReliabilityBin:
    """Pictures whose winning class had a probability in (low, high]; its mean, and the share that was right."""

    low: float
    high: float
    pictures: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """error: expected calibration error, the mean of |confidence - accuracy| over pictures. bins: those not empty."""

    error: float
    bins: tuple[ReliabilityBin, ...]


def reliability(confidences: Array, right: NDArray[np.bool_], *, bins: int = 15) -> Calibration:
    """Measure how far the predicted class's probability can be trusted.

    Args:   confidences: [N] probability of the predicted class. right: [N] whether it is the true one.
    Raises: ValueError: no images, or confidences that are no probabilities.
    """
    if len(confidences) == 0:
        raise ValueError("no pictures to calibrate on: expected at least one")
    if confidences.min() < 0 or confidences.max() > 1 + 1e-3:
        raise ValueError("confidences must be probabilities in [0, 1]: put the scores through a softmax first")
    confidence = confidences.astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    found = tuple(
        ReliabilityBin(
            row / bins, (row + 1) / bins, int(here.sum()), float(confidence[here].mean()), float(right[here].mean())
        )
        for row in range(bins)
        if (here := place == row).any()
    )
    error = sum(each.pictures * abs(each.confidence - each.accuracy) for each in found) / len(confidence)
    return Calibration(error, found)


def softmax(scores: Array, scale: float) -> Array:
    """Turn cosines [N, C] into probabilities. scale: what the model multiplies cosines by."""
    exponent = np.exp(scale * (scores - scores.max(axis=1, keepdims=True)))
    probabilities: Array = exponent / exponent.sum(axis=1, keepdims=True)
    return probabilities


@dataclass(frozen=True)
class ConfusedPair:
    """Pictures of one class that were taken for another. pictures: their rows."""

    true: str
    predicted: str
    pictures: tuple[int, ...]


def confusion(predicted: Rows, target: Rows, names: Sequence[str], *, most: int = 50) -> tuple[ConfusedPair, ...]:
    """Return which class is taken for which, the most frequent first; a matrix of 10,000 classes would fill the memory.

    Args: predicted, target: [N] rows in names. most: pairs kept.
    """
    _same_length(predicted, target)
    cell = target * len(names) + predicted
    cells, counts = np.unique(cell[predicted != target], return_counts=True)
    return tuple(
        ConfusedPair(names[each // len(names)], names[each % len(names)], tuple(np.flatnonzero(cell == each).tolist()))
        for each in cells[np.argsort(-counts, kind="stable")][:most]
    )


def _same_length(one: NDArray[np.generic], other: NDArray[np.generic]) -> None:
    if len(one) != len(other):
        raise ValueError(f"both must be about the same pictures, got {len(one)} and {len(other)}")
