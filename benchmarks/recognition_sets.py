"""Recognition on real photographs: names, descriptions, regions and both, and which α and region rule pay.

GRAIN_BENCH_CLASSES names a folder with checkouts of the public repositories of SETS, each called as its repository, and
`class_descriptions/` with CuPL's cupl_cal.json and cupl_cifar10.json. α and region rule are chosen on one half of the
pictures and reported on the other; a set that is not there is left out and named.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.evaluation import percent
from benchmarks.rows import Benchmark, Finding
from grain.checkpoint import locate
from grain.class_texts import load_descriptions, match_descriptions
from grain.evaluate.metrics import mean_interval
from grain.evaluate.scoring import ALPHAS, DESCRIPTIONS, NAMES, Outcomes, halves, score_batch
from grain.predict import Predictor, load_encoder
from grain.preprocess import upright_rgb
from grain.structures import REGION_RULES, RegionRule
from grain.zero_shot import build_class_bank

SEED = 0
MOST_PICTURES = 400  # of a set, drawn evenly over its classes
CHECKPOINTS = ("photo", "photo-names")
BATCH = 32
NAMED_OTHERWISE = {  # Caltech-101's folders -> CuPL's names
    "Faces": "off-center face",
    "Faces_easy": "centered face",
    "Leopards": "leopard",
    "Motorbikes": "motorbike",
    "airplanes": "airplane",
    "car_side": "side of a car",
    "cougar_body": "body of a cougar cat",
    "cougar_face": "face of a cougar cat",
    "crocodile_head": "head of a crocodile",
    "flamingo_head": "head of a flamingo",
    "snoopy": "snoopy (cartoon beagle)",
    "yin_yang": "yin and yang symbol",
}
CLOTHING = {  # written for this benchmark before it was measured
    "dress": ("a long skirt that hangs from a bodice", "one piece from shoulder to knee", "a narrow waist"),
    "hat": ("a brim", "a round crown", "a hollow to put the head in"),
    "longsleeve": ("long sleeves", "a round neck", "soft stretchy cloth"),
    "outwear": ("a zip down the front", "a hood or a collar", "thick padded cloth", "pockets"),
    "pants": ("two long legs", "a waistband with a button", "pockets at the hips"),
    "shirt": ("a collar", "a row of buttons down the front", "cuffs"),
    "shoes": ("a thick sole", "laces", "a heel", "a pair side by side"),
    "shorts": ("two short legs", "a waistband"),
    "skirt": ("hangs from the waist", "an open hem without legs", "folds or pleats"),
    "t-shirt": ("short sleeves", "a round neck", "a print on the chest"),
}
CLOTHING_NAMES = {"longsleeve": "long-sleeved shirt", "outwear": "jacket"}
LEAD = "both over names, points"
TEXTS = {
    "groceries": "the shop's, a sentence a description",
    "Caltech-101": "CuPL",
    "CIFAR-10": "CuPL",
    "clothing": "our own, written beforehand",
}
Key = tuple[RegionRule, str, float]  # region rule, way, alpha


SetOutcomes = tuple[Mapping[Key, Outcomes], NDArray[np.int64], NDArray[np.bool_]]


@dataclass(frozen=True)
class RecognitionSet:
    """Pictures with their classes. files: class -> its pictures. classes: class -> its descriptions."""

    name: str
    files: Mapping[str, tuple[Path, ...]]
    classes: Mapping[str, Sequence[str]]

    def drawn(self) -> list[tuple[str, Path]]:
        """Return the pictures that count, evenly of each class, always the same."""
        draw = np.random.default_rng(SEED)
        each = max(1, MOST_PICTURES // len(self.files))
        return [
            (name, files[place]) for name, files in self.files.items() for place in draw.permutation(len(files))[:each]
        ]


def folder() -> Path:
    """GRAIN_BENCH_CLASSES.

    Raises: ValueError: it is not set, or names no folder.
    """
    named = os.environ.get("GRAIN_BENCH_CLASSES", "")
    if not named or not Path(named).is_dir():
        raise ValueError("GRAIN_BENCH_CLASSES must name a folder with checkouts of the sets and class_descriptions/")
    return Path(named)


def groceries(place: Path) -> RecognitionSet:
    """GroceryStoreDataset's test pictures of 81 classes, each with the shop's text, a description a sentence."""
    root = place / "dataset"
    with (root / "classes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {row["Class ID (int)"]: row["Class Name (str)"].replace("-", " ") for row in rows}
    files: dict[str, list[Path]] = {name: [] for name in names.values()}
    for line in (root / "test.txt").read_text(encoding="utf-8").splitlines():
        picture, number, _ = (part.strip() for part in line.split(","))
        files[names[number]].append(root / picture)
    classes = {
        names[row["Class ID (int)"]]: [
            sentence.strip().rstrip(".") + "."
            for sentence in (root / row["Product Description Path (str)"].lstrip("/"))
            .read_text(encoding="utf-8", errors="replace")
            .split(". ")
            if sentence.strip()
        ]
        for row in rows
    }
    return RecognitionSet("groceries", _frozen(files), classes)


def caltech(place: Path) -> RecognitionSet:
    """Caltech-101 with CuPL's descriptions."""
    folders = [each for each in _folders(place / "101_ObjectCategories") if each.name != "BACKGROUND_Google"]
    names = {each: NAMED_OTHERWISE.get(each.name, each.name.replace("_", " ")) for each in folders}
    return _of_folders("Caltech-101", names, texts=_cupl("cupl_cal.json", list(names.values())))


def cifar(place: Path) -> RecognitionSet:
    """CIFAR-10's test pictures with CuPL's descriptions."""
    names = {each: each.name for each in _folders(place / "test")}
    return _of_folders("CIFAR-10", names, texts=_cupl("cupl_cifar10.json", list(names.values())))


def clothing(place: Path) -> RecognitionSet:
    """The small clothing data set's test pictures with descriptions of our own."""
    names = {each: CLOTHING_NAMES.get(each.name, each.name) for each in _folders(place / "test")}
    texts = {name: CLOTHING[each.name] for each, name in names.items()}
    return _of_folders("clothing", names, texts=texts)


SETS: Mapping[str, Callable[[Path], RecognitionSet]] = {
    "GroceryStoreDataset": groceries,
    "Homework2-Caltech101": caltech,
    "CIFAR-10-images": cifar,
    "clothing-dataset-small": clothing,
}


@cache
def scored(checkpoint: str) -> dict[str, SetOutcomes]:
    """Score every set in every way: set -> (way -> outcomes, [N] true rows, [N] whether in the half that decides)."""
    encoder = load_encoder(locate(checkpoint))
    predictor = Predictor(encoder)
    found: dict[str, SetOutcomes] = {}
    for title, opener in SETS.items():
        place = folder() / title
        if not place.is_dir():
            continue
        data = opener(place)
        names = build_class_bank(dict.fromkeys(data.classes, ()), encoder.class_texts, predictor.embed_texts)
        banks = {
            rule: build_class_bank(data.classes, encoder.class_texts, predictor.embed_texts, region_rule=rule)
            for rule in REGION_RULES
        }
        rows = {name: row for row, name in enumerate(data.classes)}
        parts: dict[Key, list[Outcomes]] = {}
        pictures = data.drawn()
        for some in tqdm(
            [pictures[at : at + BATCH] for at in range(0, len(pictures), BATCH)],
            desc=f"{checkpoint}, {data.name}",
            unit="batch",
        ):
            features = predictor.batch_features([upright_rgb(file) for _, file in some])
            target = np.array([rows[name] for name, _ in some])
            for rule, bank in banks.items():
                outcomes = score_batch(features, target, names=names, described=bank, scale=encoder.logit_scale)
                for (way, alpha), each in outcomes.items():
                    parts.setdefault((rule, way, alpha), []).append(each)
        target = np.array([rows[name] for name, _ in pictures])
        deciding = halves([str(file.relative_to(place)) for _, file in pictures])
        found[data.name] = ({key: Outcomes.joined(some) for key, some in parts.items()}, target, deciding)
    return found


def _folders(place: Path) -> list[Path]:
    return sorted(each for each in place.iterdir() if each.is_dir())


def _frozen(files: Mapping[str, Sequence[Path]]) -> dict[str, tuple[Path, ...]]:
    return {name: tuple(some) for name, some in files.items() if some}


def _of_folders(name: str, names: Mapping[Path, str], *, texts: Mapping[str, Sequence[str]]) -> RecognitionSet:
    files = {title: tuple(sorted(each.glob("*.*"))) for each, title in names.items()}
    return RecognitionSet(name, _frozen(files), texts)


def _cupl(file: str, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    return match_descriptions(load_descriptions(folder() / "class_descriptions" / file), names, file).classes


def recognition_sets() -> Finding:
    """Names, descriptions, regions and both by each checkpoint's best rule and α, on the half that did not choose."""
    tables: list[dict[str, Any]] = []
    curve: list[dict[str, Any]] = []
    chosen: dict[str, str] = {}
    leads = []
    for checkpoint in CHECKPOINTS:
        sets = scored(checkpoint)
        rule, alpha = _chosen(sets)
        chosen[f"chosen for {checkpoint}"] = f"{rule}, α {alpha:g}"
        ways: dict[str, Key] = {
            "names %": (rule, NAMES, 1.0),
            "descriptions %": (rule, DESCRIPTIONS, 1.0),
            "regions %": (rule, DESCRIPTIONS, 0.0),
            "both, as chosen %": (rule, DESCRIPTIONS, alpha),
        }
        for name, (found, target, deciding) in sets.items():
            hits = {way: found[key].hits[deciding] for way, key in ways.items()}
            counts = {"classes": len(set(target.tolist())), "pictures": int(deciding.sum())}
            row: dict[str, Any] = {"checkpoint": checkpoint, "set": name, **counts}
            row |= {way: percent(values, groups=target[deciding]) for way, values in hits.items()}
            ahead = mean_interval(
                hits["both, as chosen %"] - hits["names %"], groups=target[deciding], bounds=(-1.0, 1.0)
            )
            tables.append(row | {LEAD: [100 * ahead.value, 100 * ahead.low, 100 * ahead.high]})
        curve += [
            {"checkpoint": checkpoint, "rule": each}
            | {f"α {a:g}": round(_mean(sets, (each, DESCRIPTIONS, a), deciding_half=False), 1) for a in ALPHAS}
            for each in REGION_RULES
        ]
        means = {way: _mean(sets, key, deciding_half=True) for way, key in ways.items()}
        tables.append(
            {"checkpoint": checkpoint, "set": "mean", "classes": "", "pictures": ""}
            | means
            | {LEAD: means["both, as chosen %"] - means["names %"]}
        )
        leads.append(means["both, as chosen %"] - max(means["names %"], means["descriptions %"], means["regions %"]))
    missing = [title for title in SETS if not (folder() / title).is_dir()]
    detail = {
        **chosen,
        "texts": "; ".join(f"{name}: {words}" for name, words in TEXTS.items()),
        "not there": ", ".join(missing) or "nothing",
        "intervals": "95 %, over classes",
        "on the half that did not choose": tables,
        "mean over sets on the half that chose, %": curve,
    }
    return Finding(leads[0], leads[0] >= 0, detail)


def _chosen(sets: Mapping[str, SetOutcomes]) -> tuple[RegionRule, float]:
    """Return the region rule and α of the largest mean over the sets on the half that chooses; of equals the first."""
    ways = [(rule, alpha) for rule in REGION_RULES for alpha in ALPHAS]
    return max(ways, key=lambda way: _mean(sets, (way[0], DESCRIPTIONS, way[1]), deciding_half=False))


def _mean(sets: Mapping[str, SetOutcomes], key: Key, *, deciding_half: bool) -> float:
    return float(
        np.mean([100 * found[key].hits[deciding == deciding_half].mean() for found, _, deciding in sets.values()])
    )


BENCHMARKS = (
    Benchmark(
        "recognition_sets",
        "recognition on real sets by photo, α and region rule chosen on the other half of the pictures: both together "
        "against the best of names, descriptions and regions alone, mean over the sets",
        "≥ 0 points",
        "points",
        SEED,
        recognition_sets,
    ),
)
