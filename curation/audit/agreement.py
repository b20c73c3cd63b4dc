"""Measure how far people who label the same pictures agree, and list where they differ.

Pure: no database, no files.
"""

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
        """Return the interval for people, to stand behind kappa: `[0.10, 0.70]`, or the reason why there is none."""
        if self.low is None or self.high is None:
            return "(no interval: too little varies)"
        return f"[{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Disagreement:
    """A picture whose labels differ, with each person's label."""

    image_id: int
    labels: Mapping[str, str]


def agreements(labels: Labels, *, seed: int = 0) -> list[Agreement]:
    """Return the agreement of each pair of people who share a picture, most shared pictures first."""
    people = sorted({who for labels_of_picture in labels.values() for who in labels_of_picture})
    results = []
    for first, second in combinations(people, 2):
        label_pairs = [
            (labels_of_picture[first], labels_of_picture[second])
            for labels_of_picture in labels.values()
            if first in labels_of_picture and second in labels_of_picture
        ]
        if label_pairs:
            results.append(between(first, second, label_pairs, seed=seed))
    return sorted(results, key=lambda one: -one.pictures)


def disagreements(labels: Labels) -> list[Disagreement]:
    """Return the pictures whose labels differ, by picture."""
    return [
        Disagreement(number, dict(labels_of_picture))
        for number, labels_of_picture in sorted(labels.items())
        if len({*labels_of_picture.values()}) > 1
    ]


def resampled_kappas(first: NDArray[np.int64], second: NDArray[np.int64], *, seed: int) -> NDArray[np.float64]:
    """Return Cohen's kappa of RESAMPLES bootstrap samples, leaving out those that have none.

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


def between(first: str, second: str, label_pairs: Sequence[tuple[str, str]], *, seed: int = 0) -> Agreement:
    """Return the agreement of two people.

    Args: both: the labels of the first and the second, a pair for each picture that both labelled.
    """
    from sklearn.metrics import cohen_kappa_score  # takes seconds to import, and most callers only ask who differs

    agreed = sum(one == other for one, other in label_pairs)
    order = {label: number for number, label in enumerate(sorted({label for pair in label_pairs for label in pair}))}
    if len(order) <= 1:
        return Agreement(first, second, len(label_pairs), agreed, None, None, None)
    numbers = np.array([[order[one], order[other]] for one, other in label_pairs])
    kappa = float(cohen_kappa_score(numbers[:, 0], numbers[:, 1]))
    kappas = resampled_kappas(numbers[:, 0], numbers[:, 1], seed=seed)
    low, high = _interval(kappas)
    return Agreement(first, second, len(label_pairs), agreed, kappa, low, high)


def _interval(kappas: NDArray[np.float64]) -> tuple[float, float] | tuple[None, None]:
    low, high = np.quantile(kappas, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return (float(low), float(high)) if high - low > ROUNDING else (None, None)
