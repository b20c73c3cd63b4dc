"""The `photo` checkpoint on phrases that people wrote of photographs that it did not learn from.

GRAIN_BENCH_ENTITIES names a folder with entities.jsonl, images/ and test.txt (numbers of the official test pictures of
Flickr30k Entities): a line a picture with `image`, `w`, `h`, `boxes` {entity: [[x0, y0, x1, y1], …]} in pixels of
w x h, `captions` [{phrases [{id, type, text}]}]. GRAIN_BENCH_NAMES names a data folder with shards of photographs whose
descriptions are class names, of which the split `held_out` counts.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from benchmarks.evaluation import percent
from benchmarks.photographs import IOU, PROMPT, iou
from benchmarks.rows import Benchmark, Finding
from grain.checkpoint import EMBEDDED, locate
from grain.data.loader import find_shards, read_records
from grain.dense.features import words_of
from grain.photo.phrases import COUNTED, parse_phrase
from grain.predict import Encoder, load_encoder
from grain.structures import Array, ImageFeatures, RegionRanking
from grain.zero_shot import found_regions

SEED = 0
LONGER_SIDE = 500  # pixels: the files are squares, and are stretched back
RIGHT_BAR, REACH_BAR, OTHERS_BAR, CHANGED_BAR, SIZE_BAR = 65.0, 90.0, 0.95, 0.75, 30.0
TYPE_BARS = {"people": 78.0, "clothing": 60.0, "bodyparts": 25.0, "scene": 62.0}
NUMBER = re.compile(rf"\b(?:{'|'.join(COUNTED)}|\d+) ", re.IGNORECASE)
STRANGERS = 8  # phrases of other pictures, asked of each
COLOURS = "black white grey red orange yellow green blue purple pink brown".split()
SWAPS = dict(
    pair
    for one, other in (
        ("man woman", "woman man"), ("men women", "women men"), ("boy girl", "girl boy"), ("dog cat", "cat dog"),
        ("dogs cats", "shirt dress"), ("jacket skirt", "hat helmet"), ("helmet hat", "water sand"),
        ("grass snow", "snow grass"), ("beach street", "street beach"), ("bike horse", "ball kite"),
        ("car bus", "bus car"), ("two five", "three seven"),
    )
    for pair in (one.split(), other.split())
)  # fmt: skip


@dataclass(frozen=True, eq=False)  # hashed by identity
class Captioned:
    """A picture and every mention of an entity with boxes: text, type, boxes [M, 4] normalized."""

    image: Image.Image
    mentions: tuple[tuple[str, str, Array], ...]


@dataclass(frozen=True)
class Answered:
    """Of one mention: its types, whether the chosen box is right, whether any region is."""

    kinds: list[str]
    right: bool
    within_reach: bool


def folder(variable: str, file: str) -> Path:
    """The folder that an environment variable names.

    Raises: ValueError: it is not set, or the folder lacks the file.
    """
    path = Path(os.environ.get(variable, ""))
    if not (path / file).is_file():
        raise ValueError(f"{variable} must name a folder with {file}: see benchmarks/phrases.py")
    return path


def entity_lines(split: str = "test.txt") -> Iterator[Mapping[str, Any]]:
    """The lines of entities.jsonl for the pictures of an official split, the test's by default."""
    root = folder("GRAIN_BENCH_ENTITIES", "entities.jsonl")
    wanted = set((root / split).read_text(encoding="utf-8").split())
    for line in (root / "entities.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["image"].split("_")[0] in wanted:
            yield row


def boxes_of(row: Mapping[str, Any]) -> dict[str, Array]:
    """The boxes [M, 4] of each entity of a line, normalized."""
    size = np.array([row["w"], row["h"]] * 2)
    return {name: (np.array(found) / size).astype(np.float32) for name, found in row["boxes"].items()}


def captioned(split: str = "test.txt") -> Iterator[Captioned]:
    """The pictures of an official split, the test's by default, in about their own shape."""
    root = folder("GRAIN_BENCH_ENTITIES", "entities.jsonl")
    for row in entity_lines(split):
        boxes = boxes_of(row)
        mentions = tuple(
            (phrase["text"], phrase["type"], boxes[phrase["id"]])
            for caption in row["captions"]
            for phrase in caption["phrases"]
            if phrase["id"] in boxes
        )
        yield Captioned(upright_picture(root, row), mentions)


def upright_picture(root: Path, row: Mapping[str, Any]) -> Image.Image:
    """Read the square picture of a line of entities.jsonl, stretched back to about its own shape."""
    scale = LONGER_SIDE / max(row["w"], row["h"])
    with Image.open(root / "images" / row["image"]) as image:
        return image.convert("RGB").resize((round(row["w"] * scale), round(row["h"] * scale)), Image.Resampling.BICUBIC)


@cache
def encoder(checkpoint: str) -> Encoder:
    """An embedded checkpoint."""
    return load_encoder(locate(checkpoint))


@cache
def pictures() -> tuple[Captioned, ...]:
    """All test pictures with a mention."""
    return tuple(picture for picture in captioned() if picture.mentions)


def rank(checkpoint: str, image: Image.Image, texts: list[str]) -> tuple[ImageFeatures, RegionRanking]:
    """All regions of a picture, ranked for each text."""
    model = encoder(checkpoint)
    features, embeds = model.encode_images([image])[0], model.encode_texts(texts)
    return features, model.rank_regions(image, features, descriptions=texts, embeds=embeds)


@cache
def answers(checkpoint: str) -> tuple[tuple[Answered, ...], ...]:
    """Every mention of every test picture, grounded; a tuple a picture."""
    found = []
    for picture in tqdm(pictures(), desc=checkpoint, unit="photo"):
        texts = list(dict.fromkeys(text for text, _, _ in picture.mentions))
        features, ranked = rank(checkpoint, picture.image, texts)
        first = dict(zip(texts, ranked.best_boxes(features.boxes_xyxy), strict=True))
        rows = []
        for text, kinds, boxes in picture.mentions:
            right, allowed = (bool(iou(each, boxes).max() >= IOU) for each in (first[text][None], features.boxes_xyxy))
            rows.append(Answered(kinds.split("/"), right, allowed))
        found.append(tuple(rows))
    return tuple(found)


def share(rows: Sequence[Sequence[float]]) -> list[float] | None:
    """The share of all mentions in percent, with an interval over pictures, which are drawn whole."""
    pictures = [number for number, row in enumerate(rows) for _ in row]
    return percent(np.array([each for row in rows for each in row]), groups=np.array(pictures))


def phrase_boxes() -> Finding:
    """By type of phrase, beside the checkpoint of names alone and what the boxes allow."""
    ours, names = answers("photo"), answers("photo-names")
    kinds = sorted({kind for picture in ours for one in picture for kind in one.kinds})
    table: list[dict[str, Any]] = []
    for kind in ("all", *kinds):

        def of(found: Sequence[Sequence[Answered]], field: str, kind: str = kind) -> list[float] | None:
            return share(
                [[float(getattr(one, field)) for one in each if kind in ("all", *one.kinds)] for each in found]
            )

        table.append(
            {
                "type": kind,
                "mentions": sum(kind in ("all", *one.kinds) for each in ours for one in each),
                "right %": of(ours, "right"),
                "photo-names %": of(names, "right"),
                "its boxes allow %": of(ours, "within_reach"),
            }
        )
    value = {row["type"]: row["right %"][0] for row in table if row["right %"]}
    reach = table[0]["its boxes allow %"][0]
    holds = value["all"] >= RIGHT_BAR and reach >= REACH_BAR
    holds &= all(value.get(kind, 0.0) >= bar for kind, bar in TYPE_BARS.items())
    return Finding(value["all"], holds, {"photographs": len(ours), "by type": table})


def changed(text: str, random: np.random.Generator) -> str | None:
    """The phrase with one word exchanged for another of its kind: a colour, a noun or a number; None without one."""
    words = text.lower().split()
    places = [place for place, word in enumerate(words) if word in COLOURS or word in SWAPS]
    if not places:
        return None
    place = int(random.choice(places))
    others = [colour for colour in COLOURS if colour not in words]
    words[place] = str(random.choice(others)) if words[place] in COLOURS else SWAPS[words[place]]
    return " ".join(words)


def phrase_presence() -> Finding:
    """Phrases of the picture against phrases of others, and against themselves with one word changed."""
    random = np.random.default_rng(SEED)
    every = sorted({text for picture in pictures() for text, _, _ in picture.mentions})
    own, others, kept, exchanged = [], [], [], []
    for picture in tqdm(pictures(), desc="presence", unit="photo"):
        texts = list(dict.fromkeys(text for text, _, _ in picture.mentions))
        own_words = [words_of(text) for text in texts]
        drawn = [every[row] for row in random.permutation(len(every))[: 2 * STRANGERS]]
        strangers = [text for text in drawn if not any(words_of(text) <= words for words in own_words)][:STRANGERS]
        pairs = [(row, other) for row, text in enumerate(texts) if (other := changed(text, random)) is not None]
        pairs = [(row, other) for row, other in pairs if not any(words_of(other) <= words for words in own_words)]
        _, ranked = rank("photo", picture.image, [*texts, *strangers, *(other for _, other in pairs)])
        presence = ranked.presence
        assert presence is not None
        own += presence[: len(texts)].tolist()
        others += presence[len(texts) : len(texts) + len(strangers)].tolist()
        kept += presence[[row for row, _ in pairs]].tolist()
        exchanged += presence[len(texts) + len(strangers) :].tolist()
    against_others, against_changed = auc(own, others), auc(kept, exchanged)
    detail = {
        "phrases, others', changed": f"{len(own)}, {len(others)}, {len(exchanged)}",
        "AUC against others'": against_others,
        "AUC against one word changed": against_changed,
        "found at presence 0.5, %": percent((np.array(own) >= 0.5).astype(float)),
        "others' found, %": percent((np.array(others) >= 0.5).astype(float)),
        "changed found, %": percent((np.array(exchanged) >= 0.5).astype(float)),
    }
    return Finding(against_others, against_others >= OTHERS_BAR and against_changed >= CHANGED_BAR, detail)


def auc(present: Sequence[float], absent: Sequence[float]) -> float:
    """How often what is there has the higher presence."""
    labels = [1] * len(present) + [0] * len(absent)
    return float(roc_auc_score(labels, [*present, *absent]))


def counted_things() -> Finding:
    """Phrases with a number and as many boxes, beside the same words without the number: all instances asked for."""
    found: dict[str, list[list[float]]] = defaultdict(list)
    right: dict[str, list[list[float]]] = defaultdict(list)
    for picture in tqdm(pictures(), desc="numbers", unit="photo"):
        own = {text: boxes for text, _, boxes in picture.mentions if len(boxes) == parse_phrase(text).count > 1}
        if not own:
            continue
        bare = {text: NUMBER.sub("", text, count=1) for text in own}
        features, ranked = rank("photo", picture.image, texts := list(dict.fromkeys([*own, *bare.values()])))
        matches = np.zeros_like(ranked.ranking)
        regions = found_regions(features.boxes_xyxy, matches, ranked, descriptions=texts, instances="all")
        for asked, wording in ((dict(zip(own, own, strict=True)), "with its number"), (bare, "without it")):
            pairs = [_matched([each.xyxy for each in regions if each.text == asked[text]], own[text]) for text in own]
            found[wording].append([each for boxes, _ in pairs for each in boxes])
            right[wording].append([each for _, regions in pairs for each in regions])
    table = [
        {"asked": each, "boxes found %": share(found[each]), "regions right %": share(right[each])} for each in found
    ]
    phrases = sum(len(each) for each in found["with its number"])
    value = share(found["with its number"])
    assert value is not None
    return Finding(
        value[0], None, {"photographs, boxes": f"{len(found['with its number'])}, {phrases}", "by wording": table}
    )


def _matched(regions_xyxy: Sequence[Sequence[float]], boxes_xyxy: Array) -> tuple[list[float], list[float]]:
    """Pair regions and boxes one to one: 1 for each of the boxes, and of the regions, that has its own."""
    hits = iou(np.array(regions_xyxy, np.float32).reshape(-1, 4), boxes_xyxy) >= IOU
    rows, columns = linear_sum_assignment(~hits)
    paired = hits[rows, columns]
    found, right = np.zeros(hits.shape[1]), np.zeros(hits.shape[0])
    found[columns[paired]], right[rows[paired]] = 1, 1
    return found.tolist(), right.tolist()


def phrase_names() -> Finding:
    """Class names of photographs that were held out, beside the checkpoint of names alone."""
    data = find_shards(folder("GRAIN_BENCH_NAMES", "manifest.json"), "held_out")
    hits: dict[str, list[list[float]]] = {"photo": [], "photo-names": []}
    for record in tqdm(read_records(data), desc="names", unit="photo"):
        boxes: defaultdict[str, list[Any]] = defaultdict(list)
        for box, text in zip(record.boxes_xyxy, record.texts, strict=True):
            boxes[text].append(box)
        prompts = [PROMPT.format(name) for name in boxes]
        for checkpoint, points in hits.items():
            features, ranked = rank(checkpoint, record.image, prompts)
            first = ranked.best_boxes(features.boxes_xyxy)
            right = [
                iou(box[None], np.array(own, np.float32)).max() >= IOU
                for box, own in zip(first, boxes.values(), strict=True)
            ]
            points.append([float(each) for each in right])
    ours, names = (share(hits[checkpoint]) for checkpoint in ("photo", "photo-names"))
    assert ours is not None and names is not None
    prompts_asked = sum(map(len, hits["photo"]))
    detail = {
        "photographs, prompts": f"{data.images}, {prompts_asked}",
        "photo, right %": ours,
        "photo-names, right %": names,
    }
    return Finding(ours[0], ours[0] >= names[0], detail)


def photo_size() -> Finding:
    """What a clone has to bring for the default checkpoint."""
    sizes = {
        name: sum(path.stat().st_size for path in (EMBEDDED / name).iterdir()) / 1e6
        for name in ("photo", "photo-names")
    }
    return Finding(
        sum(sizes.values()), sum(sizes.values()) <= SIZE_BAR, {f"{name}, MB": size for name, size in sizes.items()}
    )


BENCHMARKS = (
    Benchmark(
        "phrase_boxes",
        "Flickr30k Entities, test pictures of Flickr8k: the box chosen for a phrase has IoU ≥ 0.5 with one of its own",
        f"≥ {RIGHT_BAR:g} %, boxes allow ≥ {REACH_BAR:g} %, people ≥ 78, clothing ≥ 60, body parts ≥ 25, scene ≥ 62",
        "%",
        SEED,
        phrase_boxes,
    ),
    Benchmark(
        "phrase_presence",
        "the same phrases against those of other pictures, and against themselves with one word changed: AUC",
        f"≥ {OTHERS_BAR:g}, and ≥ {CHANGED_BAR:g}",
        "",
        SEED,
        phrase_presence,
    ),
    Benchmark(
        "counted_things",
        "phrases with a number (“two dogs”) and as many boxes, all instances asked for: boxes found at IoU ≥ 0.5",
        "as measured",
        "%",
        SEED,
        counted_things,
    ),
    Benchmark(
        "phrase_names",
        "class names of held-out photographs of COCO and VOC2007: right at IoU ≥ 0.5",
        "no less than photo-names",
        "%",
        SEED,
        phrase_names,
    ),
    Benchmark(
        "photo_size",
        "the default checkpoint on disk, with the networks it stands on",
        f"≤ {SIZE_BAR:g} MB",
        "MB",
        SEED,
        photo_size,
    ),
)
