"""How far people who label the same pictures agree, and where they do not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
ROUNDING = 1e-9  # shares and kappas that differ by less are the same
Labels = Mapping[int, Mapping[str, str]]
"""Picture -> person -> label."""


@dataclass(frozen=True)
class Agreement:
    """Two people on the pictures that both labelled.

    kappa: Cohen's; None where chance alone would make them agree, as when both use one label only. low, high: 95 %
    percentile bootstrap over pictures that have one; None where kappa is, or where all of them have the same.
    """

    first: str
    second: str
    pictures: int
    agreed: int
    kappa: float | None
    low: float | None
    high: float | None

    @property
    def interval(self) -> str:
        """In words, behind kappa: `[0.10, 0.70]`, or why there is none."""
        if self.low is None or self.high is None:
            return "(no interval: too little varies)"
        return f"[{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Disagreement:
    """A picture on which people differ: who says what."""

    image_id: int
    labels: Mapping[str, str]


def agreements(labels: Labels, *, seed: int = 0) -> list[Agreement]:
    """Each pair of people who share a picture, the pair with the most shared pictures first."""
    people = sorted({who for said in labels.values() for who in said})
    found = []
    for first, second in combinations(people, 2):
        both = [(said[first], said[second]) for said in labels.values() if first in said and second in said]
        if both:
            found.append(between(first, second, both, seed=seed))
    return sorted(found, key=lambda one: -one.pictures)


def disagreements(labels: Labels) -> list[Disagreement]:
    """The pictures whose labels differ, by picture."""
    return [Disagreement(number, dict(said)) for number, said in sorted(labels.items()) if len({*said.values()}) > 1]


def resampled_kappas(first: NDArray[np.int64], second: NDArray[np.int64], *, seed: int) -> NDArray[np.float64]:
    """Cohen's kappa of each of RESAMPLES bootstrap samples, those without one left out.

    Args: first, second: [N] labels as numbers from 0.
    """
    pictures, kinds = len(first), int(max(first.max(), second.max())) + 1
    weights = np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), size=RESAMPLES)
    shares = weights / pictures  # [B, N]
    observed = shares @ (first == second)
    by_chance = ((shares @ np.eye(kinds)[first]) * (shares @ np.eye(kinds)[second])).sum(axis=1)
    known = by_chance < 1 - ROUNDING
    kappas: NDArray[np.float64] = (observed[known] - by_chance[known]) / (1 - by_chance[known])
    return kappas


def between(first: str, second: str, both: Sequence[tuple[str, str]], *, seed: int = 0) -> Agreement:
    """How far two people agree.

    Args: both: the labels of the first and the second, a pair for each picture that both labelled.
    """
    from sklearn.metrics import cohen_kappa_score  # takes seconds to import, and most callers only ask who differs

    agreed = sum(one == other for one, other in both)
    order = {label: number for number, label in enumerate(sorted({label for pair in both for label in pair}))}
    if len(order) <= 1:
        return Agreement(first, second, len(both), agreed, None, None, None)
    numbers = np.array([[order[one], order[other]] for one, other in both])
    kappa = float(cohen_kappa_score(numbers[:, 0], numbers[:, 1]))
    kappas = resampled_kappas(numbers[:, 0], numbers[:, 1], seed=seed)
    low, high = _interval(kappas)
    return Agreement(first, second, len(both), agreed, kappa, low, high)


def _interval(kappas: NDArray[np.float64]) -> tuple[float, float] | tuple[None, None]:
    low, high = np.quantile(kappas, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return (float(low), float(high)) if high - low > ROUNDING else (None, None)
