"""Compare two models on the same pictures: in all, by class, by picture. Arrays in, frozen results out.

"One" and "other" are two contenders; a lead is one's share minus the other's, in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, false_discovery_control

from grain.evaluate.metrics import LEAD, Estimate, Values, mean_interval
from grain.structures import Array

Rows = NDArray[np.int64]


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


def lead(one: Values, other: Values, *, groups: Rows | None = None, seed: int = 0, resamples: int = 2000) -> Estimate:
    """Mean of one - other over the same items, with its 95 % paired interval.

    Args:   one, other: [N] in [0, 1]. groups: [N] what is drawn together, see mean_interval.
    Raises: ValueError: not the same number, or nothing to compare.
    """
    _same_length(one, other)
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return mean_interval(difference, groups=groups, bounds=LEAD, seed=seed, resamples=resamples)


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
    """Hits [N] against hits [N] class by class, the largest lead first; classes without pictures are left out.

    Args: target: [N] row of each picture's class in names.
    """
    _same_length(one, other)
    present = np.unique(target)
    pairs = [(one[target == row], other[target == row]) for row in present]
    chances = [mcnemar(*pair).p_value for pair in pairs]
    rates = false_discovery_control(chances) if chances else []
    found = [
        ClassDelta(
            names[row],
            len(mine),
            float(mine.mean()),
            float(theirs.mean()),
            lead(mine, theirs, seed=seed),
            chance,
            float(rate),
        )
        for row, (mine, theirs), chance, rate in zip(present, pairs, chances, rates, strict=True)
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
    """Cosines [N, C] -> probabilities. scale: what the model multiplies cosines by."""
    exponent = np.exp(scale * (scores - scores.max(axis=1, keepdims=True)))
    probabilities: Array = exponent / exponent.sum(axis=1, keepdims=True)
    return probabilities


@dataclass(frozen=True)
class ConfusedPair:
    """Pictures of one class that were taken for another. pictures: their rows."""

    true: str
    said: str
    pictures: tuple[int, ...]


@dataclass(frozen=True)
class Confusion:
    """counts [C, C]: pictures of the class of the row that were predicted as the class of the column."""

    names: tuple[str, ...]
    counts: Rows
    pairs: tuple[ConfusedPair, ...]


def confusion(said: Rows, target: Rows, names: Sequence[str], *, most: int = 50) -> Confusion:
    """Count which class is taken for which. said, target: [N] rows in names. most: pairs kept, most frequent first."""
    _same_length(said, target)
    count = len(names)
    cell = target * count + said
    counts = np.bincount(cell, minlength=count * count).reshape(count, count)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    chosen = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = tuple(
        ConfusedPair(names[each // count], names[each % count], tuple(np.flatnonzero(cell == each).tolist()))
        for each in chosen
        if wrong.flat[each]
    )
    return Confusion(tuple(names), counts, pairs)


def _same_length(one: NDArray[np.generic], other: NDArray[np.generic]) -> None:
    if len(one) != len(other):
        raise ValueError(f"both must be about the same pictures, got {len(one)} and {len(other)}")
