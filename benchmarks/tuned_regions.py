"""Fine-tunes of `photo` on photographs of one's own, with the settings that the Train page suggests.

GRAIN_BENCH_OWN names a folder of data folders (shards with the splits train and held_out, as the export writes them),
each of pictures and words that `photo` never saw. The words of each are also asked on the held-out pictures of the
others, where they are not. GRAIN_BENCH_ENTITIES (benchmarks/phrases.py) holds what must not be forgotten.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from app.train.recipe import region_fields
from benchmarks.evaluation import percent
from benchmarks.photographs import IOU
from benchmarks.phrases import captioned
from benchmarks.rows import Benchmark, Finding
from grain.box_overlap import iou
from grain.checkpoint import locate
from grain.data.loader import find_shards, read_records
from grain.data.record import ShardRecord
from grain.dense.features import entities_of
from grain.evaluate.metrics import mean_interval
from grain.predict import Encoder, load_encoder
from grain.structures import Array, RegionRanking
from grain.train.train import train
from grain.train_config import TrainConfig

SEEDS = (0, 1, 2)
KNOWN_PICTURES = 80  # validation pictures of Entities whose phrases must still be grounded
START = "photo"


@dataclass(frozen=True)
class Asked:
    """The descriptions of some pictures under one checkpoint, a row each: right, found; and the picture's number."""

    right: Array
    found: Array
    picture: Array


@cache
def own_sets() -> dict[str, Path]:
    """The data folders, by name."""
    root = Path(os.environ.get("GRAIN_BENCH_OWN", "nowhere"))
    if len(found := {place.parent.name: place.parent for place in sorted(root.glob("*/manifest.json"))}) < 2:
        raise ValueError("GRAIN_BENCH_OWN must name a folder of at least two data folders: see this file")
    return found


@cache
def held_out(name: str) -> tuple[ShardRecord[Image.Image], ...]:
    """The held-out pictures of a set that have a description."""
    return tuple(record for record in read_records(find_shards(own_sets()[name], "held_out")) if record.texts)


@cache
def words(name: str) -> tuple[str, ...]:
    """The descriptions of a set's held-out pictures."""
    return tuple(sorted({text for record in held_out(name) for text in phrases_of(record)}))


def phrases_of(record: ShardRecord[Image.Image]) -> dict[str, Array]:
    """The boxes of each description of a picture."""
    return {text: np.array(each.boxes, np.float32) for each in entities_of(record) for text in each.phrases}


def found_of(ranked: RegionRanking) -> Array:
    """Whether each description is found: surely present, and one region surely meant."""
    assert ranked.presence is not None and ranked.confidence is not None
    found: Array = (ranked.presence >= 0.5) & (ranked.confidence.max(axis=0) >= 0.5)
    return found


def ask(model: Encoder, pictures: Sequence[tuple[Image.Image, Mapping[str, Array]]]) -> Asked:
    """Ground the descriptions of each picture; without boxes, none is right."""
    rows = []
    for number, (image, boxes) in enumerate(pictures):
        texts = list(boxes)
        features, embeds = model.encode_images([image])[0], model.encode_texts(texts)
        ranked = model.rank_regions(image, features, descriptions=texts, embeds=embeds)
        best, found = ranked.best_boxes(features.boxes_xyxy), found_of(ranked)
        for row, own in enumerate(boxes.values()):
            right = bool(len(own)) and bool(iou(best[row][None], own).max() >= IOU)
            rows.append((right, found[row], number))
    return Asked(*np.array(rows, np.float64).T)


def tuned(name: str, seed: int, out: Path) -> Encoder:
    """Train as the Train page would, and load what came out last."""
    fields = region_fields(find_shards(own_sets()[name], "train").images)
    train(TrainConfig(own_sets()[name], out, init=str(locate(START)), name=name, seed=seed, **fields))
    return load_encoder(out / "final")


def known(model: Encoder) -> Asked:
    """What was grounded before."""
    some = [picture for picture in captioned("val.txt") if picture.mentions][:KNOWN_PICTURES]
    return ask(model, [(each.image, {text: boxes for text, _, boxes in each.mentions}) for each in some])


def tuned_regions() -> Finding:
    """Before and after, on the pictures held out, on others, and on what was known."""
    start, table, leads, lows = load_encoder(locate(START)), [], [], []
    others = {
        name: [(record.image, dict.fromkeys(words(name), np.zeros((0, 4), np.float32))) for record in strangers(name)]
        for name in own_sets()
    }
    known_before = known(start)
    for name in own_sets():
        own = [(record.image, phrases_of(record)) for record in held_out(name)]
        before, absent_before = ask(start, own), ask(start, others[name])
        after, absent, kept = [], [], []
        for seed in SEEDS:
            with tempfile.TemporaryDirectory(prefix="grain-tuned-") as place:
                model = tuned(name, seed, Path(place) / "run")
                after.append(ask(model, own))
                absent.append(ask(model, others[name]))
                kept.append(known(model))
        lead = percent_lead(after, before)
        leads.append(lead[0])
        lows.append(lead[1])
        table.append(
            {
                "set": name,
                "pictures": f"{find_shards(own_sets()[name], 'train').images} + {len(held_out(name))}",
                "before, right %": percent(before.right, groups=before.picture.astype(np.int64)),
                "after, right %": shares([each.right for each in after]),
                "lead": lead,
                "found % before": 100 * float(before.found.mean()),
                "found % after": shares([each.found for each in after]),
                "absent found % before": 100 * float(absent_before.found.mean()),
                "absent found % after": shares([each.found for each in absent]),
                "known phrases right % before": 100 * float(known_before.right.mean()),
                "known phrases right % after": shares([each.right for each in kept]),
            }
        )
    return Finding(float(np.mean(leads)), min(lows) > 0, {"seeds": ", ".join(map(str, SEEDS)), "by set": table})


def strangers(name: str) -> list[ShardRecord[Image.Image]]:
    """The held-out pictures of the other sets."""
    return [record for other in own_sets() if other != name for record in held_out(other)]


def percent_lead(after: Sequence[Asked], before: Asked) -> list[float]:
    """Points by which the mean of the seeds is ahead, with an interval over pictures, which are drawn whole."""
    difference = 100 * (np.mean([each.right for each in after], axis=0) - before.right)
    found = mean_interval(difference, groups=before.picture.astype(np.int64), bounds=(-100.0, 100.0))
    return [found.value, found.low, found.high]


def shares(rows: Sequence[Array]) -> str:
    """The share of each seed, in percent."""
    return ", ".join(f"{100 * float(row.mean()):.1f}" for row in rows)


BENCHMARKS = (
    Benchmark(
        "tuned_regions",
        "fine-tunes of `photo` with the Train page's settings, on data sets that it never saw: held-out descriptions"
        " right at IoU ≥ 0.5, ahead of `photo`",
        "every set ahead, interval excludes 0",
        "points",
        SEEDS[0],
        tuned_regions,
    ),
)
