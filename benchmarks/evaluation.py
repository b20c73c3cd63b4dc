"""One evaluation for all learning benchmarks: novel classes and grounding on worlds that nothing was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning import EVALUATION_SEEDS, World, evaluation_world, write
from grain.checkpoint import EMBEDDED
from grain.data.loader import find_shards, read_records
from grain.evaluate.held_out import encode_records, grounding_ious
from grain.evaluate.metrics import Values, mean_interval
from grain.predict import Predictor
from grain.structures import Array, ImageFeatures

Numbers = NDArray[np.floating[Any]]
GLOBAL, REGIONS, BOTH = "novel_top1", "novel_top1_regions", "novel_top1_both"
SPLITS = ("held_out", "novel")
ALPHAS = {GLOBAL: 1.0, REGIONS: 0.0, BOTH: 0.5}
GRAIN, TWIN = EMBEDDED / "sample", EMBEDDED / "sample-clip"


@dataclass(frozen=True)
class Scores:
    """What one checkpoint does on all evaluation worlds.

    hits: way of scoring -> [C] share of each novel class's pictures that are recognised, the classes of all worlds end
    to end; without regions only the global way. ious: split -> [R] of every true description, R may be 0.
    """

    hits: Mapping[str, Numbers]
    ious: Mapping[str, Numbers]

    def best_hits(self) -> Numbers:
        """[C] of the way that recognises most."""
        return max(self.hits.values(), key=np.mean)


@lru_cache(maxsize=16)
def scores_of(checkpoint: Path) -> Scores:
    """Evaluate a checkpoint folder on every evaluation world.

    Raises: CheckpointError: it cannot be used.
    """
    return scores_on(checkpoint, tuple(evaluation_world(seed) for seed in EVALUATION_SEEDS))


def scores_on(checkpoint: Path, on: Sequence[World]) -> Scores:
    """The same on other worlds."""
    predictor = Predictor.from_pretrained(checkpoint)
    worlds = [_on_world(predictor, write(world)) for world in on]
    return Scores(
        {way: np.concatenate([world.hits[way] for world in worlds]) for way in worlds[0].hits},
        {split: np.concatenate([world.ious[split] for world in worlds]) for split in SPLITS},
    )


def _on_world(predictor: Predictor, folder: Path) -> Scores:
    ious, hits = {}, {}
    for split in SPLITS:
        shards = find_shards(folder, split)
        features, records = encode_records(predictor, read_records(shards), total=shards.images)
        ious[split] = grounding_ious(predictor, features, records)
        if split == "novel":
            classes: dict[str, list[str]] = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
            names = [str(record.class_name) for record in records]
            ways = ALPHAS if predictor.info.can_ground else {GLOBAL: ALPHAS[GLOBAL]}
            for way, alpha in ways.items():
                hits[way] = by_class(novel_hits(predictor, features, names=names, classes=classes, alpha=alpha), names)
    return Scores(hits, ious)


def top1_hits(scores: Array, target: NDArray[np.int64]) -> Values:
    """scores [N, C], target [N] column -> [N] 1.0 where the best column is the target; never where that is NaN."""
    own = np.take_along_axis(scores, target[:, None], axis=1)[:, 0]
    hits: Values = np.logical_and(scores.argmax(axis=1) == target, np.isfinite(own)).astype(np.float64)
    return hits


def novel_hits(
    predictor: Predictor,
    features: Sequence[ImageFeatures],
    *,
    names: Sequence[str],
    classes: dict[str, list[str]],
    alpha: float,
) -> Values:
    """[N] 1.0 where the picture's class wins.

    Raises: ValueError: a picture's class is not among the classes.
    """
    order = {name: column for column, name in enumerate(classes)}
    unknown = [name for name in names if name not in order]
    if unknown:
        raise ValueError(f"the class {unknown[0]!r} of a picture is not in classes.json: write the data again")
    scores = predictor.classify_features(features, classes, alpha=alpha)
    return top1_hits(scores, np.array([order[name] for name in names]))


def by_class(hits: Numbers, names: list[str]) -> Numbers:
    """[N] hits -> [C] share of each class: pictures of one class are not independent, its descriptions are the same."""
    owner = np.array(names)
    return np.array([hits[owner == name].mean() for name in dict.fromkeys(names)])


def percent(shares: Numbers, *, groups: NDArray[np.int64] | None = None) -> list[float] | None:
    """Mean in percent with its 95 % interval; None for nothing. groups: what belongs together."""
    if len(shares) == 0:
        return None
    found = mean_interval(100 * shares, groups=groups, bounds=(0.0, 100.0))
    return [found.value, found.low, found.high]


def lead(one: Numbers, other: Numbers) -> list[float]:
    """Percentage points by which one recognises more of the same classes than the other, with the interval."""
    found = mean_interval(100 * (one - other), bounds=(-100.0, 100.0))
    return [found.value, found.low, found.high]


def described(scores: Scores) -> dict[str, list[float] | None]:
    """Every number of a checkpoint, in percent, as columns of a table."""
    ious = scores.ious["held_out"]
    return {
        "novel, global %": percent(scores.hits[GLOBAL]),
        "novel, regions %": percent(scores.hits.get(REGIONS, np.zeros(0))),
        "novel, both %": percent(scores.hits.get(BOTH, np.zeros(0))),
        "IoU ≥ 0.5 %": percent((ious >= 0.5).astype(float)),
        "mean IoU %": percent(ious),
    }
