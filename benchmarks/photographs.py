"""The photo-names checkpoint on photographs with boxes: GRAIN_BENCH_PHOTOS names a folder of them.

It holds images/, COCO's instances.json whose images say their `source`, and captions.json.

`python -m benchmarks.photographs` prints the calibration that grain/photo/photo.py carries: fitted on the photographs
of VOC2007 with odd ids, on captions.json and on words that are not in the pictures. The numbers for position words were
chosen on odd ids too. Rows that lean on either count the even ids alone, the others all of VOC2007.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torchvision.ops import box_iou
from tqdm import tqdm

from benchmarks.evaluation import percent
from benchmarks.rows import Benchmark, Finding
from benchmarks.timing import take_turns
from grain.checkpoint import locate
from grain.hardware import multiplies_bf16
from grain.photo.photo import PhotoEncoder, presence_evidence
from grain.predict import Predictor
from grain.structures import Array, ImageFeatures

SEED = 0
SOURCE = "VOC2007"  # of the photographs that decide: the detector was trained on COCO
PROMPT, IOU = "a photo of a {}", 0.5
REGIONS = (5, 10, 20)
BOX_BAR, ABSENT_BAR, POSITION_BAR = 60.0, 80.0, 90.0  # percent
STORED_BAR = 0.5  # points
FOUND = 0.9  # of the present classes, at the operating point
POSITIONS = {
    "the left {}": (0, -1),
    "the {} on the right": (0, 1),
    "the top {}": (1, -1),
    "the {} at the bottom": (1, 1),
}  # prompt -> axis, sign
PLACED = ("photo", "photo-names")
PLACE_ANSWERS = ("none", "only the other", "only the one meant", "both")
POSITION_GROUPS = ("there are two", "both are among the regions", "both are found by the plain name")
APART = 0.1  # of the picture's side: with nearer centres left and right are a matter of taste
ROUNDS, MS_BAR = 60, 80.0
OWLV2_TFLOP = 1.11  # base, patch 16, 960 px: 12 layers of 24 n d^2 + 4 n^2 d with n = 3601, d = 768; and its heads
UNLIKELY = (
    "violin volcano helicopter octopus guitar tractor castle dinosaur submarine piano crown anchor cactus snowman robot"
    " telescope dragon lighthouse waterfall windmill igloo accordion chandelier kangaroo penguin whale shark spider"
    " lobster snail trumpet drum cannon tank rocket pyramid totem pumpkin pineapple mushroom"
).split()
MADE_UP = "zorbex quimble fidvel klizban kodvin midvix nuvku plofvup dax blicket wug gorp snorlax fep toma vorp".split()

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)  # hashed by identity, for the cache
class Photograph:
    """One picture and its boxes: name -> [N, 4] normalized xyxy."""

    id: int
    path: Path
    boxes_xyxy: dict[str, Array]

    def open(self) -> Image.Image:
        """RGB."""
        with Image.open(self.path) as image:
            return image.convert("RGB")


def photographs_folder() -> Path:
    """GRAIN_BENCH_PHOTOS.

    Raises: ValueError: it is not set, or names no such folder.
    """
    folder = Path(os.environ.get("GRAIN_BENCH_PHOTOS", ""))
    if not (folder / "instances.json").is_file():
        raise ValueError("GRAIN_BENCH_PHOTOS must name a folder with images/ and instances.json (COCO's form, VOC2007)")
    return folder


@cache
def photographs(source: str | None = SOURCE) -> tuple[Photograph, ...]:
    """Those of one source, or all."""
    folder = photographs_folder()
    data = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    names = {row["id"]: row["name"] for row in data["categories"]}
    boxes: defaultdict[int, defaultdict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for row in data["annotations"]:
        boxes[row["image_id"]][names[row["category_id"]]].append(row["bbox"])

    def photograph(row: dict[str, Any]) -> Photograph:
        scale = np.array([row["width"], row["height"]] * 2)
        corners = {
            name: (np.array([[x, y, x + w, y + h] for x, y, w, h in found]) / scale).astype(np.float32)
            for name, found in boxes[row["id"]].items()
        }
        return Photograph(row["id"], folder / "images" / row["file_name"], corners)

    return tuple(photograph(row) for row in data["images"] if source in (None, row.get("source")))


def kept_back() -> tuple[Photograph, ...]:
    """Those that no number of grain/photo/photo.py was chosen on."""
    return tuple(each for each in photographs() if each.id % 2 == 0)


@cache
def encoder(folder: str = "photo-names") -> PhotoEncoder:
    """The embedded checkpoint, or another like it."""
    return PhotoEncoder.load(locate(folder))


@cache
def seen(photograph: Photograph, folder: str = "photo-names") -> ImageFeatures:
    """Its features, best region first."""
    return encoder(folder).encode_images([photograph.open()])[0]


@cache
def class_names() -> tuple[str, ...]:
    """The classes that the deciding photographs are annotated with."""
    return tuple(sorted({name for photograph in photographs() for name in photograph.boxes_xyxy}))


def chosen_boxes(
    features: ImageFeatures, photograph: Photograph, texts: Sequence[str], folder: str = "photo-names"
) -> Array:
    """The region that each text means: [T, 4]."""
    embeds = encoder(folder).encode_texts(texts)
    ranked = encoder(folder).rank_regions(photograph.open(), features, descriptions=texts, embeds=embeds)
    return ranked.best_boxes(features.boxes_xyxy)


def iou(a_xyxy: Array, b_xyxy: Array) -> Array:
    """[N, 4] and [M, 4] -> [N, M]."""
    return box_iou(torch.from_numpy(a_xyxy), torch.from_numpy(b_xyxy)).numpy()


def box_hits(regions: int, folder: str = "photo-names") -> NDArray[np.float64]:
    """For each class that is there: whether the box chosen for its prompt is one of its boxes; over all photographs."""
    hits: list[float] = []
    for photograph in tqdm(photographs(), desc=f"{regions} regions", unit="photo"):
        seen_all = seen(photograph, folder)
        features = seen_all.take(np.arange(len(seen_all.boxes_xyxy))[:regions])
        prompts = [PROMPT.format(name) for name in photograph.boxes_xyxy]
        boxes = chosen_boxes(features, photograph, prompts, folder)
        wanted = photograph.boxes_xyxy.values()
        hits += [float(iou(box[None], right).max() >= IOU) for box, right in zip(boxes, wanted, strict=True)]
    return np.array(hits)


def photo_boxes() -> Finding:
    """By how many regions may answer."""
    shares = {regions: box_hits(regions) for regions in REGIONS}
    table = [{"regions": regions, "prompts": len(hits), "right %": percent(hits)} for regions, hits in shares.items()]
    share = 100 * float(shares[max(REGIONS)].mean())
    return Finding(share, share >= BOX_BAR, {"photographs": len(photographs()), "by regions": table})


def photo_stored() -> Finding:
    """The same prompts with the weights before they were rounded to float16."""
    folder = os.environ.get("GRAIN_BENCH_PHOTO_FLOAT32", "")
    if not folder:
        raise ValueError(
            "GRAIN_BENCH_PHOTO_FLOAT32 must name the folder that grain.photo.make_photo --stored float32 writes"
        )
    stored, exact = (100 * float(box_hits(max(REGIONS), name).mean()) for name in ("photo-names", folder))
    detail = {"as stored, right %": stored, "float32, right %": exact}
    return Finding(abs(stored - exact), abs(stored - exact) <= STORED_BAR, detail)


def presence_of(photograph: Photograph, texts: Sequence[str]) -> Array:
    """[T] as the encoder judges."""
    presence = (
        encoder()
        .rank_regions(photograph.open(), seen(photograph), descriptions=texts, embeds=encoder().encode_texts(texts))
        .presence
    )
    assert presence is not None
    return presence


def photo_absent() -> Finding:
    """All of the data set's class names asked of every photograph that the calibration has not seen."""
    prompts = [PROMPT.format(name) for name in class_names()]
    presence = np.stack([presence_of(each, prompts) for each in tqdm(kept_back(), desc="presence", unit="photo")])
    there = np.array([[name in each.boxes_xyxy for name in class_names()] for each in kept_back()])
    point = float(np.quantile(presence[there], 1 - FOUND))
    absent = percent((presence[~there] < point).astype(float))
    assert absent is not None
    detail = {
        "present, absent": f"{there.sum()}, {(~there).sum()} on {len(there)} photographs",
        "not found where 90 % are found, %": absent,
        "presence at that point": point,
        "found at presence 0.5, %": percent((presence[there] >= 0.5).astype(float)),
        "not found at presence 0.5, %": percent((presence[~there] < 0.5).astype(float)),
    }
    return Finding(absent[0], absent[0] >= ABSENT_BAR, detail)


def photo_position() -> Finding:
    """Photographs with exactly two of a class, one clearly more to the left, right, top or bottom."""
    points: defaultdict[str, list[float]] = defaultdict(list)
    covers: defaultdict[str, list[float]] = defaultdict(list)
    for photograph in tqdm(kept_back(), desc="positions", unit="photo"):
        for name, prompt, pair, wanted in _pairs(photograph):
            own = iou(chosen_boxes(seen(photograph), photograph, [prompt]), pair)[0]  # [2]
            right = own[wanted] > own[1 - wanted]
            for group in _groups(photograph, name, pair):
                points[group].append(float(right))
                covers[group].append(float(right and own[wanted] >= IOU))
    table = [
        {
            "cases where": group,
            "cases": len(points[group]),
            "region on the right one %": percent(np.array(points[group])),
            "and IoU ≥ 0.5 %": percent(np.array(covers[group])),
        }
        for group in POSITION_GROUPS
    ]
    share = percent(np.array(points[POSITION_GROUPS[-1]]))
    assert share is not None
    return Finding(share[0], share[0] >= POSITION_BAR, {"groups": table})


def place_alone() -> Finding:
    """The same photographs, all instances asked for: the one that is meant is found, and the other one is not."""
    table, shares = [], {}
    for name in PLACED:
        predictor, counts = Predictor.from_pretrained(name), np.zeros(len(PLACE_ANSWERS), np.int64)
        for photograph in tqdm(kept_back(), desc=name, unit="photo"):
            cases = list(_pairs(photograph))
            prompts = [prompt for _, prompt, _, _ in cases]
            found = predictor.ground(photograph.open(), prompts, instances="all") if cases else []
            for _, prompt, pair, wanted in cases:
                boxes = np.array([region.xyxy for region in found if region.text == prompt], np.float32).reshape(-1, 4)
                own = iou(boxes, pair)  # [N, 2]
                right = own[:, wanted] > own[:, 1 - wanted]
                counts[2 * right.any() + (~right).any()] += 1
        shares[name] = percent(
            np.repeat(np.arange(4) == PLACE_ANSWERS.index("only the one meant"), counts).astype(float)
        )
        parts = zip(PLACE_ANSWERS, counts / counts.sum() * 100, strict=True)
        table.append({"checkpoint": name, "cases": int(counts.sum()), **{f"{part} %": share for part, share in parts}})
    share = shares[PLACED[0]]
    assert share is not None
    return Finding(share[0], None, {"checkpoints": table, f"{PLACED[0]}, %": share})


def _groups(photograph: Photograph, name: str, pair: Array) -> tuple[str, ...]:
    """Which of POSITION_GROUPS a pair belongs to."""
    among = iou(seen(photograph).boxes_xyxy, pair) >= IOU  # [Q, 2]
    texts = [PROMPT.format(name)]
    found = (
        encoder()
        .rank_regions(photograph.open(), seen(photograph), descriptions=texts, embeds=encoder().encode_texts(texts))
        .ranking[:, 0]
        >= 0
    )
    depth = 1 + int(among.any(axis=0).all()) + int(among[found].any(axis=0).all())
    return POSITION_GROUPS[:depth]


def _pairs(photograph: Photograph) -> Iterator[tuple[str, str, Array, int]]:
    for name, boxes in photograph.boxes_xyxy.items():
        if len(boxes) == 2:
            centres = (boxes[:, :2] + boxes[:, 2:]) / 2
            for prompt, (axis, sign) in POSITIONS.items():
                if abs(centres[0, axis] - centres[1, axis]) >= APART:
                    yield name, prompt.format(name), boxes, int((sign * centres[:, axis]).argmax())


def photo_speed() -> Finding:
    """From the file to boxes and matches, warm; and the seconds that OWLv2-base's arithmetic takes at the least."""
    predictor = Predictor.from_pretrained("photo")
    numbers = count()

    def look() -> None:
        photograph = photographs()[next(numbers)]
        predictor.predict(photograph.open(), ["a person", "a dog", "the left car"], {})

    torch.set_num_threads(os.cpu_count() or 1)  # as many as the graphs use
    square = torch.randn(2048, 2048)
    candidates = {"look": look, "fp32": lambda: square @ square}
    if multiplies_bf16("cpu"):
        half = square.bfloat16()
        candidates["bf16"] = lambda: half @ half
    rounds = take_turns(candidates, rounds=ROUNDS, warm_up=3)
    fastest = min(float(rounds.seconds[name].min()) for name in candidates if name != "look")
    limit = OWLV2_TFLOP * 1e12 / (2 * 2048**3 / fastest)
    milliseconds = 1000 * rounds.median("look")
    detail = {
        "ms, with quartiles": [1000 * float(np.quantile(rounds.seconds["look"], q)) for q in (0.5, 0.25, 0.75)],
        "OWLv2-base, least ms by arithmetic": 1000 * limit,
        "that over ours": 1000 * limit / milliseconds,
        "fastest matrix product, GFLOP/s": 2 * 2048**3 / fastest / 1e9,
        "rounds": ROUNDS,
    }
    return Finding(milliseconds, milliseconds <= MS_BAR, detail)


def calibration() -> dict[str, Any]:
    """The weights of presence_evidence; the intercept puts 0.5 where 90 % of the present classes are found."""
    prompts = encoder().encode_texts([PROMPT.format(name) for name in class_names()])
    odd = [each for each in photographs() if each.id % 2]
    there = np.concatenate([[name in each.boxes_xyxy for name in class_names()] for each in odd])
    own, other = _caption_evidence()
    lists = [
        (_evidence(odd, prompts)[there], 1, 1.0),
        (_evidence(odd, prompts)[~there], 0, 1.0),
        (own, 1, 0.5),
        (other, 0, 0.5),
        (_evidence(odd[:100], encoder().encode_texts([PROMPT.format(word) for word in UNLIKELY])), 0, 0.5),
        (_evidence(odd[:100], encoder().encode_texts([f"a {word}" for word in MADE_UP])), 0, 0.25),
    ]
    evidence = np.concatenate([rows for rows, _, _ in lists])
    labels = np.concatenate([np.full(len(rows), label) for rows, label, _ in lists])
    weights = np.concatenate([np.full(len(rows), 1e4 * weight / len(rows)) for rows, _, weight in lists])
    model = LogisticRegression(C=10, max_iter=1000).fit(evidence, labels, sample_weight=weights)
    point = float(np.quantile(model.decision_function(lists[0][0]), 1 - FOUND))
    titles = ("present", "absent", "own captions", "others' captions", "unlikely words", "made-up words")
    return {
        "weights": model.coef_[0].round(2).tolist(),
        "intercept": round(float(model.intercept_[0]) - point, 2),
        **{
            f"found: {name}": float((model.decision_function(rows) >= point).mean())
            for name, (rows, _, _) in zip(titles, lists, strict=True)
        },
    }


def _caption_evidence() -> tuple[Array, Array]:
    """Of each caption on its own photograph, and on four others."""
    captions = json.loads((photographs_folder() / "captions.json").read_text(encoding="utf-8"))["annotations"]
    by_id = {each.id: each for each in photographs(None)}
    embeds = encoder().encode_texts([row["caption"] for row in captions])
    ids, random = sorted({row["image_id"] for row in captions}), np.random.default_rng(SEED)
    own, other = [], []
    for row, embed in zip(captions, embeds, strict=True):
        own.append(_evidence([by_id[row["image_id"]]], embed[None]))
        strangers = random.choice([number for number in ids if number != row["image_id"]], 4)
        other.append(_evidence([by_id[number] for number in strangers], embed[None]))
    return np.concatenate(own), np.concatenate(other)


def _evidence(pictures: Sequence[Photograph], embeds: Array) -> Array:
    """Of the region that fits best, each picture with each text: [pictures · T, 3]."""
    rows = []
    for photograph in pictures:
        evidence = presence_evidence(seen(photograph), embeds, encoder().known_embeds)  # [Q, T, 3]
        best = (12 * evidence[..., 0] + evidence[..., 1]).argmax(axis=0)
        rows.append(np.take_along_axis(evidence, best[None, :, None], axis=0)[0])
    return np.concatenate(rows)


BENCHMARKS = (
    Benchmark(
        "photo_boxes",
        "photo-names on VOC2007 photographs, “a photo of a NAME” for each class that is there, 20 regions: IoU ≥ 0.5",
        f"≥ {BOX_BAR:g} %",
        "%",
        SEED,
        photo_boxes,
    ),
    Benchmark(
        "photo_absent",
        "the same photographs asked for absent classes: not found where 90 % of the present ones are found",
        f"≥ {ABSENT_BAR:g} %",
        "%",
        SEED,
        photo_absent,
    ),
    Benchmark(
        "photo_position",
        "photographs with two of a kind, both found by the plain name: left, right, top, bottom point to the right one",
        f"≥ {POSITION_BAR:g} %",
        "%",
        SEED,
        photo_position,
    ),
    Benchmark(
        "place_alone",
        "photographs with two of a kind, “the left NAME” and the like, all asked for: only the one meant is found",
        "as measured",
        "%",
        SEED,
        place_alone,
    ),
    Benchmark(
        "photo_stored",
        "the first row again with float32 weights: the difference that storing them as float16 makes",
        f"≤ {STORED_BAR:g} points",
        "points",
        SEED,
        photo_stored,
    ),
    Benchmark(
        "photo_speed",
        "one photograph, warm, from the file to boxes and matches",
        f"≤ {MS_BAR:g} ms",
        "ms",
        SEED,
        photo_speed,
    ),
)


if __name__ == "__main__":
    print(json.dumps(calibration(), indent=1))
