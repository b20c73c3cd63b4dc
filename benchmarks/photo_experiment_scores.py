"""Measure what benchmarks.photo_experiment trained: novel nouns, pointing, boxes, retrieval and zero-shot sets.

A picture is scored by its image embedding, by GRAIN's regions (the best query for a text), and for a CLIP by its
patches as well. Sets of GRAIN_BENCH_CLASSES (benchmarks.recognition_sets) that are not there are left out and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_iou

from benchmarks.evaluation import Numbers, lead, percent
from benchmarks.photo_experiment import (
    ARMS,
    EPOCHS,
    NOVEL,
    Arm,
    ImageAndRegions,
    Photograph,
    Sentences,
    photographs,
    set_features,
    singular,
    trained_on,
    weights_of,
)
from benchmarks.rows import AS_MEASURED, Benchmark, Finding
from grain.dense.model import Cells
from grain.evaluate.metrics import mean_interval
from grain.structures import Array

SEED = 0
SEEDS = (0, 1, 2)
IMAGE, PLACES, BOTH = "image embedding", "regions or patches", "both"
WAYS = (IMAGE, PLACES, BOTH)
IOU = 0.5
NAMES = tuple(sorted(NOVEL))
PROMPT = "a photo of a {}"
AT_ONCE = 32  # pictures
MAIN_ARMS: tuple[Arm, ...] = ("grain", "clip-phrases", "clip")
ABLATIONS: Mapping[Arm, str] = {
    "grain": "all losses",
    "grain-no-rd": "without L_rd",
    "grain-no-box": "without L_box",
    "clip": "without both",
}


class Seen(NamedTuple):
    """One picture. image: [E]. places: [P, E] of regions or patches. bonus: [P] logits. boxes: [P, 4] or none.

    centres: [P, 2].
    """

    image: Tensor
    places: Tensor
    bonus: Tensor
    centres: Tensor
    boxes: Tensor | None


@dataclass(frozen=True)
class Scores:
    """Of one training. novel: way -> [C] share of each noun's pictures where it wins among those that are not there.

    pointed, boxed: [C] share of each noun's phrases whose best place lies in, or covers, one of its boxes. recall:
    "image to text, R@1" and the like -> [N] hits. sets: (set, texts, way) -> ([N] hits, [N] classes).
    """

    novel: Mapping[str, Numbers]
    pointed: Numbers
    boxed: Numbers
    recall: Mapping[str, Numbers]
    sets: Mapping[tuple[str, str, str], tuple[Numbers, NDArray[np.int64]]]


class Reader:
    """A finished training."""

    def __init__(self, arm: Arm, seed: int, encode: Sentences) -> None:
        """Load its weights."""
        self._model, self._encode = ImageAndRegions(), encode
        self._model.load_state_dict(torch.load(weights_of(arm, seed), weights_only=True)["model"])
        self._model.eval()
        self._regions, self._boxes = arm.startswith("grain"), arm != "grain-no-box"

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts, [T, E]."""
        return self._model.texts(torch.from_numpy(self._encode(texts)))

    @torch.no_grad()
    def see(self, tokens: Sequence[Array], sizes: NDArray[np.int64]) -> list[Seen]:
        """Read pictures. tokens: [N, 2272] of each, padded to one length."""
        found = []
        for start in range(0, len(tokens), AT_ONCE):
            batch = torch.from_numpy(np.stack(tokens[start : start + AT_ONCE]))
            cells = self._model.read(batch, torch.from_numpy(sizes[start : start + AT_ONCE]))
            images = self._model.embed_image(cells.states, cells.absent)
            found += [self._seen(images[row], cells, row) for row in range(len(batch))]
        return found

    def _seen(self, image: Tensor, cells: Cells, row: int) -> Seen:
        one = Cells(*(part[row : row + 1] for part in cells))
        there = ~one.absent[0]
        if not self._regions:
            patches = self._model.embed_patches(one.states)[0][there]
            return Seen(image, patches, torch.zeros(len(patches)), one.centres[0][there], None)
        output = self._model.propose(one)
        there = ~output.absent[0]
        scale = self._model.log_scale.exp()
        boxes = output.boxes_xyxy[0][there] if self._boxes else None
        return Seen(
            image, output.embeds[0][there], output.objectness[0][there] / scale, output.centres[0][there], boxes
        )


def place_scores(seen: Seen, texts: Tensor) -> Tensor:
    """Return how well each place fits each text, [P, T], in cosines."""
    return seen.places @ texts.T + seen.bonus[:, None]


def way_scores(seen: Seen, texts: Tensor) -> dict[str, Tensor]:
    """Score a picture for each text in each way, [T]; both: the mean of the two, each of unit spread over the texts."""
    image, places = seen.image @ texts.T, place_scores(seen, texts).amax(dim=0)
    even = [(one - one.mean()) / one.std().clamp(min=1e-6) for one in (image, places)]
    return {IMAGE: image, PLACES: places, BOTH: (even[0] + even[1]) / 2}


def measure(arm: Arm, seed: int, every: Sequence[Photograph], encode: Sentences) -> Scores:
    """Evaluate one training on all that it has not seen."""
    reader = Reader(arm, seed, encode)
    novel = [each for each in every if each.novel]
    hits, pointed, boxed = _novel(reader, novel, _see(reader, novel))
    held_out = [each for each in every if each.split != "train"]
    return Scores(hits, pointed, boxed, _recall(reader, held_out, _see(reader, held_out)), _sets(reader))


def _see(reader: Reader, pictures: Sequence[Photograph]) -> list[Seen]:
    tokens = [each.kept.tokens[each.kept.row, 0] for each in pictures]
    return reader.see(tokens, np.stack([each.kept.sizes[each.kept.row] for each in pictures]))


def _novel(
    reader: Reader, pictures: Sequence[Photograph], seen: Sequence[Seen]
) -> tuple[dict[str, Numbers], Numbers, Numbers]:
    """Recognise and find nouns that training never said."""
    names = reader.texts([PROMPT.format(name) for name in NAMES])
    hits: dict[str, dict[str, list[float]]] = {way: {name: [] for name in NAMES} for way in WAYS}
    pointed: dict[str, list[float]] = {name: [] for name in NAMES}
    boxed: dict[str, list[float]] = {name: [] for name in NAMES}
    for picture, one in zip(pictures, seen, strict=True):
        there = np.array([name in picture.novel for name in NAMES])
        for way, scores in way_scores(one, names).items():
            strongest = scores.numpy()[~there].max()
            for column in np.flatnonzero(there):
                hits[way][NAMES[column]].append(float(scores[column] > strongest))
        for name, text, boxes in _novel_phrases(picture):
            best = int(place_scores(one, reader.texts([text]))[:, 0].argmax())
            x, y = one.centres[best] if one.boxes is None else (one.boxes[best, :2] + one.boxes[best, 2:]) / 2
            inside = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])
            pointed[name].append(float(inside.any()))
            if one.boxes is not None:
                boxed[name].append(float(box_iou(one.boxes[best : best + 1], boxes).max() >= IOU))
    means = {way: np.array([np.mean(found) for found in some.values()]) for way, some in hits.items()}
    return means, _means(pointed), _means(boxed)


def _novel_phrases(picture: Photograph) -> list[tuple[str, str, Tensor]]:
    """Return each distinct phrase that names something novel: its last noun of NOVEL, its words, its boxes."""
    found = []
    for entity in picture.kept.entities:
        for text in entity.phrases:
            named = [singular(word) for word in text.split() if singular(word) in NOVEL]
            if named:
                found.append((named[-1], text, torch.tensor(entity.boxes, dtype=torch.float32)))
    return found


def _means(found: Mapping[str, Sequence[float]]) -> Numbers:
    return np.array([np.mean(some) for some in found.values() if some])


def _recall(reader: Reader, pictures: Sequence[Photograph], seen: Sequence[Seen]) -> dict[str, Numbers]:
    """Find captions by pictures and pictures by captions, by the image embedding."""
    images = torch.stack([one.image for one in seen])
    texts = reader.texts([text for each in pictures for text in each.captions])
    owner = torch.arange(len(pictures)).repeat_interleave(torch.tensor([len(each.captions) for each in pictures]))
    scores = images @ texts.T
    found = {}
    for k in (1, 5, 10):
        to_text = (owner[scores.topk(k, dim=1).indices] == torch.arange(len(pictures))[:, None]).any(dim=1)
        to_image = (scores.topk(k, dim=0).indices == owner).any(dim=0)
        found[f"image to text, R@{k}"] = to_text.numpy().astype(float)
        found[f"text to image, R@{k}"] = to_image.numpy().astype(float)
    return found


def _sets(reader: Reader) -> dict[tuple[str, str, str], tuple[Numbers, NDArray[np.int64]]]:
    found = {}
    for kept in set_features():
        seen = reader.see(list(kept.tokens), kept.sizes)
        titles = list(kept.classes)
        for texts, class_texts in (
            ("names", [[PROMPT.format(title)] for title in titles]),
            ("descriptions", [list(kept.classes[title]) or [PROMPT.format(title)] for title in titles]),
        ):
            embeds = reader.texts([text for own in class_texts for text in own])
            owner = np.repeat(np.arange(len(class_texts)), [len(own) for own in class_texts])
            counts = np.bincount(owner)
            hits: dict[str, list[float]] = {way: [] for way in WAYS}
            for one, target in zip(seen, kept.targets, strict=True):
                for way, scores in way_scores(one, embeds).items():
                    mean = np.bincount(owner, scores.numpy()) / counts
                    hits[way].append(float(mean.argmax() == target))
            for way, values in hits.items():
                found[kept.name, texts, way] = (np.array(values), kept.targets)
    return found


@cache
def all_scores() -> dict[tuple[Arm, int], Scores]:
    """Measure every finished training of SEEDS."""
    every, encode = photographs(), Sentences()
    finished = [(arm, seed) for arm in ARMS for seed in SEEDS if weights_of(arm, seed).is_file()]
    found = {key: measure(*key, every, encode) for key in finished}
    encode.save()
    return found


def regions_on_photographs() -> Finding:
    """GRAIN over the stronger CLIP on nouns that training never said, mean over seeds, interval over nouns.

    Raises: ValueError: a training has not finished.
    """
    every, scores = photographs(), all_scores()
    _require(scores, [(arm, seed) for arm in MAIN_ARMS for seed in SEEDS])
    means = {
        (arm, way): np.mean([one.novel[way] for (name, _), one in scores.items() if name == arm], axis=0)
        for arm in MAIN_ARMS
        for way in WAYS
    }
    twins = {key: hits for key, hits in means.items() if key[0] != "grain"}
    strongest = max(twins, key=lambda key: float(twins[key].mean()))
    by_image = max((key for key in twins if key[1] == IMAGE), key=lambda key: float(twins[key].mean()))
    ours = {way: lead(means["grain", way], twins[strongest]) for way in WAYS}
    novel = [each for each in every if each.novel]
    detail: dict[str, Any] = {
        "trained on": f"{len(trained_on(every)):,} pictures, {EPOCHS} epochs, seeds {', '.join(map(str, SEEDS))}",
        "told on": f"{len(novel):,} pictures with one of {len(NAMES)} nouns that training never said",
        "strongest CLIP": f"{ARMS[strongest[0]]}, by {strongest[1]}",
        **{f"GRAIN by {way} over the strongest CLIP, points": ours[way] for way in WAYS},
        f"GRAIN's image embedding over that of {ARMS[by_image[0]]}, points": lead(
            means["grain", IMAGE], twins[by_image]
        ),
        "novel nouns": [_novel_row(arm, seed, one) for (arm, seed), one in scores.items()],
        "retrieval, 532 pictures": [
            {"model": ARMS[arm], "seed": seed} | {f"{way} %": percent(hits) for way, hits in one.recall.items()}
            for (arm, seed), one in scores.items()
        ],
        "zero-shot, mean over seeds": _set_rows(scores),
    }
    return Finding(ours[PLACES][0], ours[PLACES][1] > 0, detail)


def ablations_on_photographs() -> Finding:
    """Compare GRAIN without each of its losses on nouns that training never said.

    Means are over the seeds that every arm has finished, intervals over nouns.

    Raises: ValueError: a training of the first seed has not finished.
    """
    scores = all_scores()
    _require(scores, [(arm, SEED) for arm in ABLATIONS])
    seeds = [seed for seed in SEEDS if all((arm, seed) in scores for arm in ABLATIONS)]
    trained = {arm: _mean([scores[arm, seed] for seed in seeds]) for arm in ABLATIONS}
    full, others = trained["grain"], {arm: one for arm, one in trained.items() if arm != "grain"}
    table = [
        {
            "losses": ABLATIONS[arm],
            **_novel_numbers(one),
            **{f"{way} %": percent(hits) for way, hits in one.recall.items() if way.endswith("R@1")},
        }
        for arm, one in trained.items()
    ]
    leads = [
        {
            "all losses over": ABLATIONS[arm],
            **{f"{way}, points": lead(full.novel[way], one.novel[way]) for way in WAYS},
            "points into the box, points": lead(full.pointed, one.pointed),
        }
        for arm, one in others.items()
    ]
    ours = lead(full.novel[IMAGE], others["clip"].novel[IMAGE])
    every_seed = [
        {"losses": ABLATIONS[arm], "seed": seed, **_novel_numbers(scores[arm, seed])}
        for arm in ABLATIONS
        for seed in seeds
    ]
    detail = {
        "seeds": ", ".join(map(str, seeds)),
        "novel nouns and retrieval": table,
        "differences": leads,
        "each seed": every_seed,
    }
    return Finding(ours[0], None, detail)


def _mean(seeds: Sequence[Scores]) -> Scores:
    """Return the mean over seeds of each noun, phrase and picture; without the sets, of which nobody asks it."""
    return Scores(
        {way: np.mean([one.novel[way] for one in seeds], axis=0) for way in WAYS},
        np.mean([one.pointed for one in seeds], axis=0),
        np.mean([one.boxed for one in seeds], axis=0),
        {way: np.mean([one.recall[way] for one in seeds], axis=0) for way in seeds[0].recall},
        {},
    )


def _require(scores: Mapping[tuple[Arm, int], Scores], trainings: Sequence[tuple[Arm, int]]) -> None:
    if missing := [f"{arm}-{seed}" for arm, seed in trainings if (arm, seed) not in scores]:
        raise ValueError(f"train first (benchmarks/photo_experiment.py): {', '.join(missing)}")


def _novel_row(arm: Arm, seed: int, one: Scores) -> dict[str, Any]:
    return {"model": ARMS[arm], "seed": seed, **_novel_numbers(one)}


def _novel_numbers(one: Scores) -> dict[str, list[float] | None]:
    return {
        **{f"{way} %": percent(one.novel[way]) for way in WAYS},
        "points into the box %": percent(one.pointed),
        "IoU ≥ 0.5 %": percent(one.boxed),
    }


def _set_rows(scores: Mapping[tuple[Arm, int], Scores]) -> list[dict[str, Any]]:
    rows = []
    for name, texts in dict.fromkeys((key[0], key[1]) for one in scores.values() for key in one.sets):
        for arm in dict.fromkeys(arm for arm, _ in scores):
            mine = [one for (other, _), one in scores.items() if other == arm]
            row: dict[str, Any] = {"set": name, "texts": texts, "model": ARMS[arm]}
            for way in WAYS:
                hits = np.mean([one.sets[name, texts, way][0] for one in mine], axis=0)
                found = mean_interval(100 * hits, groups=mine[0].sets[name, texts, way][1], bounds=(0.0, 100.0))
                row[f"{way} %"] = [found.value, found.low, found.high]
            rows.append(row)
    return rows


BENCHMARKS = (
    Benchmark(
        "regions_on_photographs",
        "the paper's experiment in small: nouns that training never said, told apart in photographs by GRAIN's "
        "regions, over the stronger CLIP of the same features, captions and steps",
        "ahead, by an interval over nouns that excludes 0",
        "points",
        SEED,
        regions_on_photographs,
    ),
    Benchmark(
        "ablations_on_photographs",
        "the same experiment without L_rd, without L_box and without both: novel nouns by the image embedding, all "
        "losses over neither",
        AS_MEASURED,
        "points",
        SEED,
        ablations_on_photographs,
    ),
)
