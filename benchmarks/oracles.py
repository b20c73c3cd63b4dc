"""Ask how far the novel classes of the sample world can be told by less than a model should see; no training needed.

An oracle reads some of a product without an error and guesses evenly among the classes that agree with what it reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from random import Random
from typing import Any

import numpy as np

from benchmarks.learning import EVALUATION_SEEDS
from benchmarks.near_misses import DIFFERENCES, is_unseen, near_misses
from benchmarks.rows import Benchmark, Finding
from curation.sample.families import FAMILY
from curation.sample.products import NovelClass
from curation.sample.scenes import classes_of
from curation.sample.shapes import SLOTS

CLASSES = 6 * FAMILY  # of each world of the second edition
BAR = 60.0  # percent
Reading = Callable[[NovelClass], Hashable]
"""A class -> what an oracle reads of a picture of it."""


def read_parts(slots: Sequence[str]) -> Reading:
    """Read the whole phrase of some parts."""
    return lambda one: tuple(_phrase(one, slot) for slot in slots)


def read_seen(one: NovelClass) -> Hashable:
    """Read the parts whose kind and color training shows together."""
    return tuple(None if is_unseen(part) else _phrase(one, part.slot) for part in one.parts)


def read_colors(one: NovelClass) -> Hashable:
    """Read the color of each part."""
    return tuple(part.color for part in one.parts)


def read_color_set(one: NovelClass) -> Hashable:
    """Read which colors there are, not of what."""
    return frozenset(part.color for part in one.parts)


def read_kinds(one: NovelClass) -> Hashable:
    """Read the kind of each part."""
    return tuple(part.kind for part in one.parts)


def read_bag(one: NovelClass) -> Hashable:
    """Read all words, not which color belongs to which part."""
    return (read_kinds(one), frozenset(Counter(part.color for part in one.parts).items()), one.side)


ORACLES: Mapping[str, Sequence[Reading]] = {
    **{f"{k} of 5 parts": [read_parts(slots) for slots in combinations(SLOTS, k)] for k in range(1, 6)},
    "the parts that training shows in that color": [read_seen],
    "colors of the parts": [read_colors],
    "colors, not of what": [read_color_set],
    "kinds of the parts": [read_kinds],
    "all words, unbound": [read_bag],
}
"""What an oracle reads -> its readings, each as likely."""
BAG = "all words, unbound"


def share_right(readings: Sequence[Reading], classes: Sequence[NovelClass]) -> float:
    """Return the expected top-1 share of an oracle among classes, each as likely."""
    shares = []
    for read in readings:
        seen = [read(one) for one in classes]
        counts = Counter(seen)
        shares.append(np.mean([1 / counts[each] for each in seen]))
    return float(np.mean(shares))


def share_right_of_six(readings: Sequence[Reading], classes: Sequence[NovelClass], difference: str, seed: int) -> float:
    """Return the expected share of classes told from five near misses."""
    shares = []
    for one in classes:
        others = near_misses(one, difference, Random(f"{seed}/{one.name}/{difference}"))
        shares += [1 / (1 + sum(read(other) == read(one) for other in others)) for read in readings]
    return float(np.mean(shares))


def world_oracles() -> Finding:
    """What each oracle reaches among the novel classes of both editions, and among near misses."""
    first = [classes_of(1, seed, 100) for seed in EVALUATION_SEEDS]
    second = [classes_of(2, seed, CLASSES) for seed in EVALUATION_SEEDS]
    table: list[dict[str, Any]] = []
    for name, readings in ORACLES.items():
        row: dict[str, Any] = {"reads": name}
        for heading, worlds in (("edition 1, top-1 %", first), ("edition 2, top-1 %", second)):
            row[heading] = 100 * float(np.mean([share_right(readings, classes) for classes in worlds]))
        for difference in DIFFERENCES:
            shares = [
                share_right_of_six(readings, classes, difference, seed)
                for classes, seed in zip(second, EVALUATION_SEEDS, strict=True)
            ]
            row[f"edition 2, one of six, {difference} %"] = 100 * float(np.mean(shares))
        table.append(row)
    bag = next(row["edition 2, top-1 %"] for row in table if row["reads"] == BAG)
    unseen = float(np.mean([is_unseen(part) for classes in second for one in classes for part in one.parts]))
    detail = {
        "classes": f"edition 1: 100 a world, drawn alone; edition 2: {CLASSES} a world, in families of {FAMILY}",
        "evaluation seeds": ", ".join(map(str, EVALUATION_SEEDS)),
        "edition 2, phrases that training never shows %": 100 * unseen,
        "oracles": table,
    }
    return Finding(bag, bag <= BAR, detail)


def _phrase(one: NovelClass, slot: str) -> Hashable:
    part = one.parts[SLOTS.index(slot)]
    return (part.kind, part.color, one.side if slot == "side" else None)


BENCHMARKS = (
    Benchmark(
        "world_oracles",
        "the second sample world's novel classes, told by all words of a product without which color is whose",
        f"≤ {BAR:g} %",
        "%",
        EVALUATION_SEEDS[0],
        world_oracles,
    ),
)
