"""Free descriptions and all instances on photographs: what people write, rather than class names.

GRAIN_BENCH_PHOTOS names the photographs (benchmarks/photographs.py); benchmarks/data/free_descriptions.txt holds the
descriptions with boxes. Half of it was there to choose rules on, the other half decides. GRAIN_BENCH_NAMES names a data
folder with shards of photographs whose descriptions are class names, of which the split `held_out` counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.evaluation import percent
from benchmarks.photographs import IOU, PROMPT, photographs, photographs_folder
from benchmarks.phrases import SEED, folder
from benchmarks.rows import Benchmark, Finding
from grain.box_overlap import iou
from grain.data.loader import find_shards, read_records
from grain.predict import Predictor
from grain.structures import Answer, Array, Region

LIST = Path(__file__).parent / "data" / "free_descriptions.txt"
DECIDES = "tell"
ABSENT = ("absent", "related")  # kinds of descriptions of what is not there
RIGHT_BAR, WRONG_BAR, RELATED_BAR = 60.0, 15.0, 20.0
RECALL_BAR, PRECISION = 45.0, 75.0
PANORAMAS, IN_A_ROW, HEIGHT = 20, 6, 448


@dataclass(frozen=True)
class Written:
    """A line of the list. boxes: [M, 4] normalized, of which any is right; none where it is not in the picture."""

    half: str
    picture: str
    kind: str
    text: str
    boxes: Array


@dataclass(frozen=True)
class Grounded:
    """A description with what the checkpoint answers. right: its box is; False where there is none."""

    written: Written
    answer: Answer
    right: bool


@cache
def predictor(checkpoint: str) -> Predictor:
    """An embedded checkpoint."""
    return Predictor.from_pretrained(checkpoint)


def written() -> list[Written]:
    """The list."""
    rows = []
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        half, picture, kind, text, boxes = (part.strip() for part in f"{line} ".split("|"))
        corners = [[float(each) / 100 for each in box.split()] for box in boxes.split(";") if box.strip()]
        rows.append(Written(half, picture, kind, text, np.array(corners, np.float32).reshape(-1, 4)))
    return rows


@cache
def grounded(checkpoint: str) -> tuple[Grounded, ...]:
    """Every description, asked of its picture together with the picture's others."""
    pictures: defaultdict[str, list[Written]] = defaultdict(list)
    for row in written():
        pictures[row.picture].append(row)
    found = []
    for picture, rows in tqdm(pictures.items(), desc=checkpoint, unit="photo"):
        with Image.open(photographs_folder() / "images" / f"{picture}.jpg") as file:
            asked = predictor(checkpoint).predict(file, [row.text for row in rows], {})
        boxes = {region.text: region.xyxy for region in asked.regions}
        for row, answer in zip(rows, asked.answers, strict=True):
            box = np.array(boxes.get(row.text, (0, 0, 0, 0)), np.float32)
            found.append(Grounded(row, answer, bool(iou(box[None], row.boxes).max(initial=0.0) >= IOU)))
    return tuple(found)


def shares(rows: Sequence[Grounded]) -> dict[str, Any]:
    """What came of some descriptions, in percent; intervals over pictures, which are drawn whole."""
    groups = np.unique([row.written.picture for row in rows], return_inverse=True)[1]

    def of(*points: bool) -> list[float] | None:
        return percent(np.array(points, float), groups=groups)

    return {
        "asked": len(rows),
        "right %": of(*(row.right for row in rows)),
        "wrong box %": of(*(row.answer == "found" and not row.right for row in rows)),
        "not found %": of(*(row.answer == "not found" for row in rows)),
        "cannot tell %": of(*(row.answer == "cannot tell" for row in rows)),
    }


def free_descriptions() -> Finding:
    """By kind, beside the checkpoint of names alone, on the half that decides."""
    table: list[dict[str, Any]] = []
    for checkpoint in ("photo", "photo-names"):
        for half in (DECIDES, "tune"):
            there = [row for row in grounded(checkpoint) if row.written.half == half and len(row.written.boxes)]
            for kind in ("all", *sorted({row.written.kind for row in there})):
                chosen = [row for row in there if kind in ("all", row.written.kind)]
                table.append({"checkpoint": checkpoint, "half": half, "kind": kind} | shares(chosen))
    ours = table[0]
    holds = ours["right %"][0] >= RIGHT_BAR and ours["wrong box %"][0] <= WRONG_BAR
    return Finding(ours["right %"][0], holds, {"by kind": table})


def absent_descriptions() -> Finding:
    """Descriptions of what the pictures do not show: somebody or something else of the kind, or anything else."""
    table: list[dict[str, Any]] = []
    for checkpoint in ("photo", "photo-names"):
        for kind in ABSENT[::-1]:
            rows = [row for row in grounded(checkpoint) if row.written.kind == kind]
            groups = np.unique([row.written.picture for row in rows], return_inverse=True)[1]
            found = percent(np.array([row.answer == "found" for row in rows], float), groups=groups)
            table.append({"checkpoint": checkpoint, "kind": kind, "asked": len(rows), "found %": found})
    related = table[0]["found %"][0]
    return Finding(related, related <= RELATED_BAR, {"by kind": table})


def every_instance() -> Finding:
    """All boxes of class names: the most recall where three of four regions are right."""
    data = find_shards(folder("GRAIN_BENCH_NAMES", "manifest.json"), "held_out")
    recalls = {}
    for checkpoint in ("photo", "photo-names"):
        scored: list[tuple[float, bool]] = []
        boxes, at_half = 0, [0, 0]
        for record in tqdm(read_records(data), desc=checkpoint, unit="photo"):
            own: defaultdict[str, list[Any]] = defaultdict(list)
            for box, text in zip(record.boxes_xyxy, record.texts, strict=True):
                own[PROMPT.format(text)].append(box)
            found = predictor(checkpoint).ground(record.image, list(own), -1.0, min_confidence=0.0, instances="all")
            for prompt, truth in own.items():
                points = hits([region for region in found if region.text == prompt], np.array(truth, np.float32))
                scored += points
                boxes += len(truth)
                shown = [right for sure, right in points if sure >= 0.5]
                at_half[0] += sum(shown)
                at_half[1] += len(shown)
        recalls[checkpoint] = {
            "boxes": boxes,
            f"recall at precision {PRECISION:g}, %": most_recall(scored, boxes),
            "recall at confidence 0.5, %": 100 * at_half[0] / boxes,
            "precision there, %": 100 * at_half[0] / max(1, at_half[1]),
        }
    value = recalls["photo"][f"recall at precision {PRECISION:g}, %"]
    return Finding(value, value >= RECALL_BAR, recalls)


def long_pictures() -> Finding:
    """Class names in panoramas of six photographs side by side, and in the same photographs one by one."""
    alone = [(each.open(), each.boxes_xyxy) for each in photographs(None) if each.path.stem.startswith("coco_")]
    alone = alone[: PANORAMAS * IN_A_ROW]
    rows = {
        "one by one": instance_shares(alone),
        "side by side": instance_shares([side_by_side(alone[row::PANORAMAS]) for row in range(PANORAMAS)]),
    }
    return Finding(rows["side by side"]["found, %"], None, rows)


def side_by_side(photos: Sequence[tuple[Image.Image, Mapping[str, Array]]]) -> tuple[Image.Image, dict[str, Array]]:
    """Paste photographs into one row, with their boxes."""
    scaled = [image.resize((round(image.width * HEIGHT / image.height), HEIGHT)) for image, _ in photos]
    panorama = Image.new("RGB", (sum(image.width for image in scaled), HEIGHT))
    boxes: defaultdict[str, list[Array]] = defaultdict(list)
    left = 0
    for image, (_, named) in zip(scaled, photos, strict=True):
        panorama.paste(image, (left, 0))
        scale = np.array([image.width / panorama.width, 1, image.width / panorama.width, 1], np.float32)
        for name, found in named.items():
            boxes[name].append(found * scale + np.array([left / panorama.width, 0] * 2, np.float32))
        left += image.width
    return panorama, {name: np.concatenate(found) for name, found in boxes.items()}


def instance_shares(photos: Sequence[tuple[Image.Image, Mapping[str, Array]]]) -> dict[str, Any]:
    """How many boxes are found, how many regions are right; of those names that a picture shows."""
    right, shown, boxes = 0, 0, 0
    for image, named in tqdm(photos, desc="names", unit="picture"):
        prompts = {PROMPT.format(name): found for name, found in named.items()}
        regions = predictor("photo").ground(image, list(prompts), -1.0, instances="all")
        for prompt, truth in prompts.items():
            points = hits([region for region in regions if region.text == prompt], truth)
            right, shown, boxes = right + sum(hit for _, hit in points), shown + len(points), boxes + len(truth)
    return {"pictures": len(photos), "boxes": boxes, "found, %": 100 * right / boxes, "right, %": 100 * right / shown}


def hits(regions: Sequence[Region], truth: Array) -> list[tuple[float, bool]]:
    """Each region's confidence, and whether it is the first on a box of the truth [M, 4]; the surest choose first."""
    free, points = set(range(len(truth))), []
    for region in sorted(regions, key=lambda region: -(region.confidence or 0)):
        overlap = iou(np.array([region.xyxy], np.float32), truth)[0]
        best = max(free, key=lambda row: overlap[row], default=None)
        right = best is not None and overlap[best] >= IOU
        free -= {best} if right else set()
        points.append((region.confidence or 0.0, bool(right)))
    return points


def most_recall(scored: Sequence[tuple[float, bool]], boxes: int) -> float:
    """The most recall in percent, over all thresholds at which the precision holds."""
    right = np.array([each for _, each in sorted(scored, key=lambda point: -point[0])])
    counts = right.cumsum()
    holds = counts / np.arange(1, len(right) + 1) >= PRECISION / 100
    return float(100 * counts[holds].max(initial=0) / boxes)


BENCHMARKS = (
    Benchmark(
        "free_descriptions",
        "free descriptions of photographs (attributes, clothing, relations, parts): found, with the right box",
        f"≥ {RIGHT_BAR:g} %, wrong box ≤ {WRONG_BAR:g} %",
        "%",
        SEED,
        free_descriptions,
    ),
    Benchmark(
        "absent_descriptions",
        "descriptions of what photographs do not show, though something alike: said to be found",
        f"≤ {RELATED_BAR:g} %",
        "%",
        SEED,
        absent_descriptions,
    ),
    Benchmark(
        "every_instance",
        f"all boxes of class names on held-out photographs of COCO and VOC2007: recall at precision {PRECISION:g} %",
        f"≥ {RECALL_BAR:g} %",
        "%",
        SEED,
        every_instance,
    ),
    Benchmark(
        "long_pictures",
        "class names in panoramas of six photographs of COCO: boxes found",
        "as measured",
        "%",
        SEED,
        long_pictures,
    ),
)
