"""The ways in which regions score a class, on few and many phrases and on whole sentences; see grain.zero_shot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.evaluation import GRAIN, Numbers, by_class, percent, top1_hits
from benchmarks.learning import EVALUATION_SEEDS, World, evaluation_world, write
from benchmarks.rows import Benchmark, Finding
from grain.data.loader import find_shards, read_records
from grain.evaluate.held_out import encode_records
from grain.predict import Predictor
from grain.structures import REGION_RULES, RegionRule

PHRASES = (1, 2, 3, 5)
IN_FIRST = 3  # parts of the first of two sentences
Hits = dict[tuple[str, RegionRule], Numbers]


def class_texts(classes: Mapping[str, Sequence[str]], seed: int) -> dict[str, dict[str, list[str]]]:
    """Every way of describing the classes -> class -> texts. Which phrases are told is drawn for each class."""
    draw = np.random.default_rng(seed)
    order = {name: [rows[place] for place in draw.permutation(len(rows))] for name, rows in classes.items()}
    ways = {f"{count} phrase{'s' * (count > 1)}": {name: order[name][:count] for name in classes} for count in PHRASES}
    one_sentence = {name: [sentence(f"It is {rows[0]} with", rows[1:])] for name, rows in classes.items()}
    halves = {
        name: [sentence(f"It is {rows[0]} with", rows[1:IN_FIRST]), sentence("It has", rows[IN_FIRST:])]
        for name, rows in classes.items()
    }
    return ways | {"1 sentence": one_sentence, "2 sentences": halves}


def sentence(beginning: str, parts: Sequence[str]) -> str:
    """The parts as a person lists them."""
    *first, last = parts
    return f"{beginning} {', '.join(first)}{' and ' if first else ''}{last}."


def region_rules() -> Finding:
    """Top-1 of the embedded GRAIN's regions alone, by rule and by what is told of each class."""
    worlds = [_hits(Predictor.from_pretrained(GRAIN), evaluation_world(seed), seed) for seed in EVALUATION_SEEDS]
    hits = {key: np.concatenate([world[key] for world in worlds]) for key in worlds[0]}
    ways = list(dict.fromkeys(way for way, _ in hits))
    table: list[dict[str, Any]] = [
        {"told of each class": way, **{f"{rule} %": percent(hits[way, rule]) for rule in REGION_RULES}} for way in ways
    ]
    mean = {key: float(100 * found.mean()) for key, found in hits.items()}
    least = min(mean[way, "phrases"] - max(mean[way, "best_region"], mean[way, "best_description"]) for way in ways)
    first = evaluation_world(EVALUATION_SEEDS[0])
    classes: dict[str, list[str]] = json.loads((write(first) / "classes.json").read_text(encoding="utf-8"))
    texts = class_texts(classes, EVALUATION_SEEDS[0])
    name = next(iter(classes))
    detail = {
        "rules": "; ".join(f"{rule}: {words}" for rule, words in REGION_RULES.items()),
        "classes": "300 in 3 worlds of 100, chance 1 %",
        "evaluation seeds": ", ".join(map(str, EVALUATION_SEEDS)),
        "1 sentence": texts["1 sentence"][name][0],
        "2 sentences": " ".join(texts["2 sentences"][name]),
        "intervals": "95 % bootstrap over classes",
        "top-1": table,
    }
    return Finding(least, least >= 0, detail)


def _hits(predictor: Predictor, world: World, seed: int) -> Hits:
    folder = write(world)
    shards = find_shards(folder, "novel")
    features, records = encode_records(predictor, read_records(shards), total=shards.images)
    classes: dict[str, list[str]] = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
    names = [str(record.class_name) for record in records]
    order = {name: column for column, name in enumerate(classes)}
    target = np.array([order[name] for name in names])
    found: Hits = {}
    for way, texts_by_class in class_texts(classes, seed).items():
        for rule in REGION_RULES:
            scores = predictor.classify_features(features, texts_by_class, alpha=0.0, region_rule=rule)
            found[way, rule] = by_class(top1_hits(scores, target), names)
    return found


BENCHMARKS = (
    Benchmark(
        "region_rules",
        "novel classes by the embedded GRAIN's regions, told 1, 2, 3 or 5 phrases, 1 or 2 sentences: sentences split "
        "into phrases against the better of best region and best description, at the worst of the six",
        "≥ 0 points",
        "points",
        EVALUATION_SEEDS[0],
        region_rules,
    ),
)
