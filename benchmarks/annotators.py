"""Annotators of the registry, tiny and random: what a batch and a cache change, and boxes in five conventions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.random_detectors import RANDOM_DETECTORS, write_random_detector
from benchmarks.random_vlms import RANDOM_VLMS, write_random_vlm
from benchmarks.rows import Benchmark, Finding
from curation.annotate.describe import DescribeConfig, DescriberResult, LlavaDescriber
from curation.annotate.localize import LocalizeConfig
from curation.annotate.registry import LocalizerChoice, make_localizer
from curation.annotate.sample_annotators import SampleConfig
from curation.annotate.vlm_boxes import CONVENTIONS, parse_boxes
from grain.structures import Region

SEED = 3
SIZES = ((90, 40), (40, 90), (60, 60), (100, 20), (300, 200))  # pixels across and down
SHORT = DescribeConfig(stage1_tokens=12, stage2_tokens=20, caption_tokens=12)
TEXTS = ("a red round lid", "a yellow bottle", "the black cat")
ASKED: tuple[tuple[str, ...], ...] = (TEXTS, TEXTS[:1], ("a green painted star", *TEXTS), (), TEXTS[::-1])
EVERYTHING = LocalizeConfig(threshold=0.0, nms_iou=1.0, most_of_text=100)
CLOSE = 1e-5
PLACES = ((1, 2, 20), (5, 9, 30), (0, 0, 9), (8, 4, 12), (3, 6, 7), (2, 2, 2))
BOX_LINES = tuple(
    f'{{"bbox_2d": [{x}, {y}, {x + wide}, {y + 20}], "label": "{text}"}},\n'
    for text, (x, y, wide) in zip((*TEXTS, *TEXTS), PLACES, strict=True)
)
"""What a random model that is asked for boxes can say."""
ANSWERS = Path(__file__).parent / "data" / "box_answers.json"


def noise(sizes: Sequence[tuple[int, int]] = SIZES) -> list[Image.Image]:
    """Return pictures of noise."""
    make = np.random.default_rng(SEED)
    return [Image.fromarray(make.integers(0, 256, (down, across, 3), dtype=np.uint8)) for across, down in sizes]


def describe_three_ways(kind: str, folder: Path) -> dict[str, list[DescriberResult]]:
    """Describe pictures with a random model of a describer's kind: in a batch, one by one, and without its cache."""
    loaded = LlavaDescriber.from_pretrained(write_random_vlm(kind, folder / kind), config=SHORT)
    ways: dict[str, dict[str, Any]] = {"batch": {}, "single": {"batch_size": 1}, "no cache": {"reuse_cache": False}}
    return {
        way: LlavaDescriber(
            loaded._model, loaded._processor, name=loaded.name, **{"config": SHORT, **options}
        ).describe(noise())
        for way, options in ways.items()
    }


def localize_ways(kind: str, folder: Path) -> dict[str, list[tuple[Region, ...]]]:
    """Localize descriptions with a random model of a localizer's kind: in a batch, one by one, and a second time."""
    if kind == "vlm":
        place = write_random_vlm("qwen3-vl", folder / kind, BOX_LINES)
    else:
        place = write_random_detector(kind, folder / kind)
    options: dict[str, Any] = {"model": str(place), "precision": "fp32", "boxes": EVERYTHING, "box_tokens": 12}

    def made(**more: Any) -> Any:
        return make_localizer(LocalizerChoice(kind, **options, **more), SampleConfig())

    together = made()
    return {
        "batch": together.localize(noise(), ASKED),
        "single": [made(batch=1).localize([image], [texts])[0] for image, texts in zip(noise(), ASKED, strict=True)],
        "again": together.localize(noise(), ASKED),
    }


def same_regions(ours: Sequence[Region], theirs: Sequence[Region]) -> bool:
    """Tell whether two lists hold the same regions, their numbers equal but for rounding."""
    if [(each.index, each.text) for each in ours] != [(each.index, each.text) for each in theirs]:
        return False
    one, other = (np.array([[*each.xyxy, each.score] for each in some]).reshape(-1, 5) for some in (ours, theirs))
    return bool(np.allclose(one, other, atol=CLOSE))


def tiny_annotators() -> Finding:
    """Count the pictures whose result depends on the batch they are in, or on what was kept from a call before."""
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as place:
        for kind in RANDOM_VLMS:
            answers = {way: [each.raw for each in some] for way, some in describe_three_ways(kind, Path(place)).items()}
            differ = {way: sum(a != b for a, b in zip(answers["batch"], answers[way], strict=True)) for way in answers}
            rows.append(_row(f"describer {kind}", differ["single"], differ["no cache"]))
        for kind in (*RANDOM_DETECTORS, "vlm"):
            found = localize_ways(kind, Path(place) / "boxes")
            differ = {
                way: sum(not same_regions(a, b) for a, b in zip(found["batch"], found[way], strict=True))
                for way in found
            }
            rows.append(_row(f"localizer {kind}", differ["single"], differ["again"]))
    total = sum(row["single differs"] + row["cached differs"] for row in rows)
    return Finding(total, total == 0, {"pictures": len(SIZES), "annotators": rows})


def golden_answers() -> list[dict[str, Any]]:
    """Return answers of models about pictures of odd shapes, with the boxes that they mean."""
    rows: list[dict[str, Any]] = json.loads(ANSWERS.read_text(encoding="utf-8"))
    return rows


def right_boxes(row: dict[str, Any]) -> tuple[int, int]:
    """Return how many boxes of a golden answer are read as meant, to the rounding of its numbers, and of how many."""
    texts, (wide, high) = list(row["boxes"]), row["seen"] if row["convention"] == "resized" else row["sent"]
    found = parse_boxes(row["answer"], texts, row["convention"], sent=tuple(row["sent"]), seen=tuple(row["seen"]))
    frame = {"pixels": (wide, high), "resized": (wide, high)}.get(row["convention"], (1000, 1000))
    step = np.array([0.5 / frame[0], 0.5 / frame[1]] * 2) + 1e-9
    places = {texts[box.index]: np.array(box.xyxy) for box in found}
    right = [text in places and (np.abs(places[text] - row["boxes"][text]) <= step).all() for text in texts]
    return sum(map(bool, right)) if len(found) == len(texts) else 0, len(texts)


def box_conventions() -> Finding:
    """Boxes of golden answers that are read as they were meant, by convention."""
    rows: list[dict[str, Any]] = []
    total = np.zeros(2)
    for convention in CONVENTIONS:
        counts = [right_boxes(row) for row in golden_answers() if row["convention"] == convention]
        right, boxes = (sum(column) for column in zip(*counts, strict=True))
        rows.append({"convention": str(convention), "right": right, "boxes": boxes})
        total += np.array([right, boxes])
    value = float(100 * total[0] / total[1])
    shapes = sorted({"×".join(map(str, row["picture"])) for row in golden_answers()})
    return Finding(value, value == 100, {"pictures": ", ".join(shapes), "conventions": rows})


def _row(name: str, single: int, cached: int) -> dict[str, Any]:
    return {"annotator": name, "single differs": single, "cached differs": cached}


BENCHMARKS = (
    Benchmark(
        "tiny_annotators",
        "every local annotator, tiny and random: pictures whose result differs in a batch from alone, or with a cache "
        "from without",
        "0",
        "pictures",
        SEED,
        tiny_annotators,
    ),
    Benchmark(
        "box_conventions",
        "boxes of answers in five conventions (pixels, resized pixels, 0 to 1000, 0 to 1, vertical first), pictures of "
        "odd shapes: read as meant",
        "100 %",
        "%",
        SEED,
        box_conventions,
    ),
)
