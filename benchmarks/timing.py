"""Ratios that survive a busy machine: the candidates take turns in one run, and each round is compared with itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm


@dataclass(frozen=True)
class Rounds:
    """Seconds of every candidate in every round."""

    seconds: Mapping[str, NDArray[np.float64]]

    def median(self, name: str) -> float:
        """Median seconds of one candidate."""
        return float(np.median(self.seconds[name]))

    def ratio(self, over: str, under: str) -> list[float]:
        """[median, lower quartile, upper quartile] of one candidate's seconds over another's, round by round."""
        ratios = self.seconds[over] / self.seconds[under]
        return [float(np.quantile(ratios, q)) for q in (0.5, 0.25, 0.75)]


def take_turns(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Rounds:
    """Time each candidate once a round, in turn; every other round runs in the opposite order.

    Args: rounds: that count. warm_up: rounds before them that do not. clock: seconds; `time.process_time` leaves out
          what other programs take.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in tqdm(range(-warm_up, rounds), desc=" vs ".join(candidates), unit="round"):
        for name in list(candidates)[:: 1 if turn % 2 else -1]:
            began = clock()
            candidates[name]()
            if turn >= 0:
                seconds[name].append(clock() - began)
    return Rounds({name: np.array(values) for name, values in seconds.items()})
