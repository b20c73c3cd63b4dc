"""Score pictures against classes by names, by descriptions, by regions and by both. Pure numpy.

Scores are not kept: a few numbers remain of each picture, so that a data set of any size fits into memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grain.evaluate.comparison import AlphaPoint, best_alpha, softmax
from grain.evaluate.metrics import Estimate, Values, mean_interval
from grain.structures import Array, ImageFeatures
from grain.zero_shot import ClassBank, global_scores, mix, region_scores

ALPHAS = tuple(round(0.1 * step, 1) for step in range(11))  # 0: regions alone, 1: the whole picture alone
NAMES, DESCRIPTIONS, REGIONS, MIXED = "names", "descriptions", "regions", "mixed"
NEVER = int(np.iinfo(np.int64).max)
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of N pictures.

    predicted: [N] rows of the classes. rank: [N] classes before the true one, 0 where it wins, NEVER where its score is
    no number. probability: [N] of the predicted class. true_probability: [N].
    """

    predicted: Ints
    rank: Ints
    probability: Array
    true_probability: Array

    @property
    def hits(self) -> Values:
        """Return 1.0 where the true class wins, [N]."""
        hits: Values = np.equal(self.rank, 0).astype(np.float64)
        return hits

    @classmethod
    def joined(cls, parts: Sequence[Outcomes]) -> Outcomes:
        """Join several batches, in order."""
        names = ("predicted", "rank", "probability", "true_probability")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def where(self, other: Outcomes, chosen_rows: NDArray[np.bool_]) -> Outcomes:
        """Take these where `chosen_rows`, and the other's elsewhere."""
        names = ("predicted", "rank", "probability", "true_probability")
        return Outcomes(*(np.where(chosen_rows, getattr(self, name), getattr(other, name)) for name in names))


def outcomes(scores: Array, target: Ints, *, scale: float) -> Outcomes:
    """Tell from scores what became of the pictures; of equal scores the first class wins, and NaN counts against.

    Args: scores: [N, C] cosines. target: [N] true rows. scale: what the softmax multiplies cosines by.
    """
    rows = np.arange(len(scores))
    own = scores[rows, target][:, None]
    before = np.arange(scores.shape[1]) < target[:, None]
    ahead = np.logical_not(scores <= own) | (np.equal(scores, own) & before)
    rank = np.where(np.isfinite(own[:, 0]), ahead.sum(axis=1), NEVER)
    predicted = scores.argmax(axis=1)
    probability = softmax(scores, scale)
    return Outcomes(
        predicted.astype(np.int64),
        rank.astype(np.int64),
        probability[rows, predicted].astype(np.float32),
        probability[rows, target].astype(np.float32),
    )


def merged(scores: Array, firsts: Ints | None) -> Array:
    """Score each class by the best of its names: [N, M] -> [N, C].

    Args: firsts: [C] the column of each class's first name; None where each has one.
    """
    if firsts is None:
        return scores
    best: Array = np.maximum.reduceat(scores, firsts, axis=1)
    return best


def score_batch(
    features: Sequence[ImageFeatures],
    target: Ints,
    *,
    names: ClassBank,
    described: ClassBank | None,
    scale: float,
    firsts: Ints | None = None,
) -> dict[tuple[str, float], Outcomes]:
    """Score a batch in every way: (way, alpha) -> outcomes.

    Args: names: the classes by name alone. described: with their descriptions; None where nobody has any. firsts: see
          merged.
    """
    images = np.stack([each.image_embed for each in features])
    found = {(NAMES, 1.0): outcomes(merged(global_scores(images, names), firsts), target, scale=scale)}
    if described is None:
        return found
    image_scores = global_scores(images, described)
    if not any(len(each.region_embeds) for each in features):
        return found | {(DESCRIPTIONS, 1.0): outcomes(image_scores, target, scale=scale)}
    parts = np.concatenate([region_scores(each.region_embeds[None], described) for each in features])
    return found | {
        (DESCRIPTIONS, alpha): outcomes(mix(image_scores, parts, alpha), target, scale=scale) for alpha in ALPHAS
    }


@dataclass(frozen=True)
class AlphaSweep:
    """α on two halves of the pictures: the curve of each, and the α of each, which the other one chose."""

    curves: tuple[tuple[AlphaPoint, ...], tuple[AlphaPoint, ...]]
    chosen: tuple[float, float]


def halves(keys: Sequence[str]) -> NDArray[np.bool_]:
    """Assign each picture to a half by its key alone, [N]; True for the second half."""
    bits = [hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] & 1 for key in keys]
    return np.array(bits, dtype=bool)


def sweep(by_alpha: dict[float, Outcomes], target: Ints, second: NDArray[np.bool_]) -> tuple[AlphaSweep, Outcomes]:
    """Choose α for each half by what is best on the other one, and report each half with the α it did not choose.

    Of equally good ones the largest is taken. Where a half is empty, α stays 1: there is nothing to choose by.
    Args:    target, second: [N], see halves.
    Returns: the curves, and the outcomes under the α of each half.
    """
    first = np.logical_not(second)
    curves = (_curve(by_alpha, target, first), _curve(by_alpha, target, second))
    chosen = (best_alpha(curves[1]) if curves[1] else 1.0, best_alpha(curves[0]) if curves[0] else 1.0)
    return AlphaSweep(curves, chosen), by_alpha[chosen[0]].where(by_alpha[chosen[1]], first)


def _curve(by_alpha: dict[float, Outcomes], target: Ints, half: NDArray[np.bool_]) -> tuple[AlphaPoint, ...]:
    if not half.any():
        return ()
    return tuple(AlphaPoint(a, share(by_alpha[a].hits[half], target[half])) for a in sorted(by_alpha))


def share(values: Values, groups: Ints) -> Estimate:
    """Return the mean of [N], its interval over groups: what belongs together is drawn together (see mean_interval)."""
    return mean_interval(values, groups=groups)
