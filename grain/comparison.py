"""One model against another on the same pictures: paired, per class, per description. Arrays in, frozen answers out.

"One" and "other" are two contenders; a lead is one's share minus the other's, in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, false_discovery_control

from grain.metrics import LEAD, Estimate, Values, mean_interval, top1_hits
from grain.structures import Array, ImageFeatures
from grain.zero_shot import ClassBank, global_scores, mix, region_scores

Rows = NDArray[np.int64]
DESCRIPTIONS = 512  # left out in one block of scores
LEAST_LENGTH = 1e-12


# ------------------------------------------------------------------------------------------------ in all


@dataclass(frozen=True)
class McNemar:
    """only_one, only_other: pictures that one alone gets right. p_value: of these or more uneven counts by chance."""

    only_one: int
    only_other: int
    p_value: float


def mcnemar(one: Values, other: Values) -> McNemar:
    """McNemar's exact test of hits [N] against hits [N] on the same pictures; 1.0 where they never differ.

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


# ------------------------------------------------------------------------------------------------ by class


@dataclass(frozen=True)
class ClassDelta:
    """A class: its pictures, the shares that one and the other get right, the lead, and how sure that it is one.

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
    one: Values, other: Values, target: Rows, names: Sequence[str], *, seed: int = 0
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


# ------------------------------------------------------------------------------------------------ pictures


@dataclass(frozen=True)
class Example:
    """A picture that one gets right and the other wrong. picture: its row. one, other: rows of the classes they say.

    margin: how far the right class is ahead of the best wrong one, in one's scores less in the other's.
    """

    picture: int
    one: int
    other: int
    margin: float


@dataclass(frozen=True)
class Examples:
    """wins: one is right, the other wrong. losses: the reverse. The clearest first."""

    wins: tuple[Example, ...]
    losses: tuple[Example, ...]


def examples(one: Array, other: Array, target: Rows, *, most: int = 20) -> Examples:
    """Pictures to look at. one, other: scores [N, C] on one scale (cosines, or probabilities). most: of each kind."""
    if one.shape != other.shape:
        raise ValueError(f"both models must score the same pictures and classes, got {one.shape} and {other.shape}")
    says_one, says_other = one.argmax(axis=1), other.argmax(axis=1)
    margin = margins(one, target) - margins(other, target)
    right_one, right_other = says_one == target, says_other == target

    def clearest(rows: NDArray[np.bool_], sign: int) -> tuple[Example, ...]:
        chosen = np.flatnonzero(rows)
        chosen = chosen[np.argsort(-sign * margin[chosen], kind="stable")][:most]
        return tuple(Example(int(i), int(says_one[i]), int(says_other[i]), float(margin[i])) for i in chosen)

    return Examples(clearest(right_one & ~right_other, 1), clearest(right_other & ~right_one, -1))


def margins(scores: Array, target: Rows) -> Array:
    """[N] the right class's score less the best wrong one's: above 0 where the picture is recognised."""
    rows = np.arange(len(scores))
    wrong = scores.copy()
    wrong[rows, target] = -np.inf
    margin: Array = scores[rows, target] - wrong.max(axis=1, initial=-np.inf)
    return margin


# ------------------------------------------------------------------------------------------------ descriptions


@dataclass(frozen=True)
class DescriptionEffect:
    """What leaving one description out does to all pictures.

    helped: pictures recognised only with it. hurt: only without it; those of its own class and of others alike.
    p_value: McNemar's for the two. picture: the row of one of the more numerous, -1 where there are none.
    class_index, index: rows of the class and of the description.
    """

    class_name: str
    text: str
    class_index: int
    index: int
    helped: int
    hurt: int
    p_value: float
    picture: int

    @property
    def net(self) -> int:
        """Pictures that it brings."""
        return self.helped - self.hurt


def leave_one_out(
    features: Sequence[ImageFeatures], bank: ClassBank, target: Rows, *, alpha: float = 1.0
) -> tuple[DescriptionEffect, ...]:
    """Recognise every picture once without each description in turn; those that bring most come first.

    Only the score of the description's own class changes, so all of them together cost two products of matrices. A
    picture counts as recognised where its class is ahead of every other. The single description of a class cannot be
    left out and is not among the answers.

    Args:   target: [N] row of each picture's class. alpha: 1 image embedding only, 0 regions only.
    Raises: ValueError: not the same number, or alpha outside [0, 1].
    """
    if len(features) != len(target):
        raise ValueError(f"every picture needs its class, got {len(features)} pictures and {len(target)} classes")
    if len(features) == 0:
        return ()
    images = np.stack([each.image_embed for each in features])
    sums = _Sums.of(bank)
    parts = np.stack([region_scores(each.region_embeds[None], bank)[0] for each in features])  # [N, C]
    standing = _Standing.of(mix(global_scores(images, bank), parts, alpha), target)
    can = np.flatnonzero(sums.counts[bank.class_index] > 1)
    effects: list[DescriptionEffect] = []
    for first in range(0, len(can), DESCRIPTIONS):
        block = can[first : first + DESCRIPTIONS]
        owner = bank.class_index[block]
        whole = images @ sums.without(block).T  # [N, block]
        count = sums.counts[owner].astype(np.float32)
        rest = (parts[:, owner] * count - _best_regions(features, bank.bare[block])) / (count - 1)
        effects += _effects(bank, block, standing, standing.right_with(mix(whole, rest, alpha), owner))
    return tuple(sorted(effects, key=lambda effect: (-effect.net, -effect.helped)))


@dataclass(frozen=True)
class _Sums:
    """counts [C]: descriptions of each class. rows [D, E]: sum of each one's texts. totals [C, E]: of each class."""

    counts: Rows
    rows: Array
    totals: Array
    owner: Rows

    @classmethod
    def of(cls, bank: ClassBank) -> _Sums:
        rows = bank.prompted * bank.lengths[:, None]
        totals = np.zeros_like(bank.class_embeds)
        np.add.at(totals, bank.class_index, rows)
        return cls(np.bincount(bank.class_index, minlength=len(bank.names)), rows, totals, bank.class_index)

    def without(self, block: Rows) -> Array:
        """[block, E] embedding of each description's class when that one is left out."""
        rest: Array = self.totals[self.owner[block]] - self.rows[block]
        rest /= np.linalg.norm(rest, axis=1, keepdims=True).clip(LEAST_LENGTH)
        return rest


@dataclass(frozen=True)
class _Standing:
    """Of each picture [N]: its class, that one's score, the best wrong class, its score and the next best one's."""

    target: Rows
    score: Array
    rival: Rows
    rival_score: Array
    next_score: Array

    @classmethod
    def of(cls, scores: Array, target: Rows) -> _Standing:
        rows = np.arange(len(scores))
        wrong = scores.copy()
        wrong[rows, target] = -np.inf
        rival = wrong.argmax(axis=1)
        rival_score = wrong[rows, rival]
        wrong[rows, rival] = -np.inf
        return cls(target, scores[rows, target], rival, rival_score, wrong.max(axis=1))

    @property
    def right(self) -> NDArray[np.bool_]:
        """[N] recognised as things stand."""
        return self.score > self.rival_score

    def right_with(self, changed: Array, owner: Rows) -> NDArray[np.bool_]:
        """[N, K] recognised if class owner[k] alone had the score changed[:, k]."""
        own = self.target[:, None] == owner
        score = np.where(own, changed, self.score[:, None])
        others = np.where(self.rival[:, None] == owner, self.next_score[:, None], self.rival_score[:, None])
        ahead: NDArray[np.bool_] = score > np.where(own, others, np.maximum(others, changed))
        return ahead


def _best_regions(features: Sequence[ImageFeatures], bare: Array) -> Array:
    """[N, D] cosine of each description with the nearest region; NaN where a picture has none."""
    return np.stack(
        [
            (each.region_embeds @ bare.T).max(axis=0)
            if len(each.region_embeds)
            else np.full(len(bare), np.nan, np.float32)
            for each in features
        ]
    )


def _effects(
    bank: ClassBank, block: Rows, standing: _Standing, right_without: NDArray[np.bool_]
) -> list[DescriptionEffect]:
    found = []
    for row, without in zip(block, right_without.T, strict=True):
        test = mcnemar(standing.right.astype(np.float64), without.astype(np.float64))
        owner = int(bank.class_index[row])
        brings = test.only_one >= test.only_other
        decided = np.flatnonzero(standing.right & ~without if brings else without & ~standing.right)
        found.append(
            DescriptionEffect(
                bank.names[owner],
                bank.texts[row],
                owner,
                int(row),
                test.only_one,
                test.only_other,
                test.p_value,
                int(decided[0]) if len(decided) else -1,
            )
        )
    return found


# ------------------------------------------------------------------------------------------------ image and regions


@dataclass(frozen=True)
class AlphaPoint:
    """alpha: share of the image embedding in the score, the rest is the regions'. top1: share recognised."""

    alpha: float
    top1: Estimate


def sweep_alpha(
    whole: Array, parts: Array, target: Rows, *, steps: int = 11, groups: Rows | None = None
) -> tuple[AlphaPoint, ...]:
    """Top-1 for alphas from 0 to 1, evenly spaced.

    Choose on one split (best_alpha) and tell the number of another: the best of a curve flatters itself.

    Args: whole, parts: [N, C] global and region scores (parts may be NaN, see mix). groups: see lead.
    """
    return tuple(
        AlphaPoint(float(alpha), mean_interval(top1_hits(mix(whole, parts, alpha), target), groups=groups))
        for alpha in np.linspace(0, 1, steps)
    )


def best_alpha(curve: Sequence[AlphaPoint]) -> float:
    """The alpha of the highest top-1; of equals the largest, which leans on the regions least."""
    return max(curve, key=lambda point: (point.top1.value, point.alpha)).alpha


# ------------------------------------------------------------------------------------------------ how sure, how wrong


@dataclass(frozen=True)
class Bin:
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
    bins: tuple[Bin, ...]


def calibration(probabilities: Array, target: Rows, *, bins: int = 15) -> Calibration:
    """How far the winning class's probability can be believed.

    Args:   probabilities: [N, C], each row sums to 1. target: [N].
    Raises: ValueError: no pictures, or rows that are no probabilities.
    """
    if len(probabilities) == 0:
        raise ValueError("no pictures to calibrate on: expected at least one")
    if probabilities.min() < 0 or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError("each row must be probabilities that sum to 1: put the scores through a softmax first")
    return reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == target, bins=bins)


def reliability(confidences: Array, right: NDArray[np.bool_], *, bins: int = 15) -> Calibration:
    """The same of the winning class's probability [N], and of whether it is the right one [N]."""
    confidence = confidences.astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    found = tuple(
        Bin(row / bins, (row + 1) / bins, int(here.sum()), float(confidence[here].mean()), float(right[here].mean()))
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
class Confused:
    """Pictures of one class that were taken for another. pictures: their rows."""

    true: str
    said: str
    pictures: tuple[int, ...]


@dataclass(frozen=True)
class Confusion:
    """counts [C, C]: pictures of the class of the row that were said to be the class of the column."""

    names: tuple[str, ...]
    counts: Rows
    pairs: tuple[Confused, ...]


def confusion(said: Rows, target: Rows, names: Sequence[str], *, most: int = 50) -> Confusion:
    """What is taken for what. said, target: [N] rows in names. most: pairs kept, the most frequent first."""
    _same_length(said, target)
    count = len(names)
    cell = target * count + said
    counts = np.bincount(cell, minlength=count * count).reshape(count, count)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    chosen = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = tuple(
        Confused(names[each // count], names[each % count], tuple(np.flatnonzero(cell == each).tolist()))
        for each in chosen
        if wrong.flat[each]
    )
    return Confusion(tuple(names), counts, pairs)


def _same_length(one: NDArray[np.generic], other: NDArray[np.generic]) -> None:
    if len(one) != len(other):
        raise ValueError(f"both must be about the same pictures, got {len(one)} and {len(other)}")
