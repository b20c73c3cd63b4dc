"""Measure a checkpoint on the novel classes of the second sample world: families that differ in one thing, near misses.

A picture is scored by its image embedding, by GRAIN's regions, and for CLIP by its patches: the best patch for each
phrase, the mean over phrases. Dense scores of the last layer are taken in two ways, of the tokens that it gives and of
the values that its attention mixes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.evaluation import Numbers, by_class, lead, percent, top1_hits
from benchmarks.learning import World, write
from benchmarks.near_misses import DIFFERENCES, is_unseen, near_misses
from benchmarks.oracles import CLASSES
from curation.sample.families import class_texts
from curation.sample.products import NovelClass
from curation.sample.scenes import classes_of
from grain.data.loader import find_shards, read_records
from grain.data.record import ShardRecord
from grain.evaluate.held_out import encode_records, grounding_ious
from grain.model.encode import TorchEncoder
from grain.predict import Predictor
from grain.preprocess import image_to_array
from grain.structures import Array, ImageFeatures

IMAGE, REGIONS, TOKENS, VALUES = "image embedding", "regions", "patches, tokens", "patches, values"
WAYS = (IMAGE, REGIONS, TOKENS, VALUES)
TEXTS = ("phrases", "paraphrased", "sentences")
MISSED_BY = ("phrases", "sentences")  # what near misses are told by
BATCH = 64  # pictures


class Asked(NamedTuple):
    """way: of scoring a picture. texts: of TEXTS."""

    way: str
    texts: str


@dataclass(frozen=True)
class ArmScores:
    """What one checkpoint does on all worlds, the classes of all end to end.

    hits: [C] share of each class's pictures that are recognised among the classes of its world. near: difference ->
    the same among six that differ in one thing. unseen: [C] whether training never shows one of the class's phrases.
    ious: [R] of every description of a held-out picture.
    """

    hits: Mapping[Asked, Numbers]
    near: Mapping[tuple[Asked, str], Numbers]
    unseen: Numbers
    ious: Numbers

    def best(self, ways: Sequence[str] = WAYS) -> Asked:
        """Return what recognises most, of some ways."""
        return max(
            (asked for asked in self.hits if asked.way in ways), key=lambda asked: float(self.hits[asked].mean())
        )


def measure_arm(checkpoint: Path, worlds: Sequence[World]) -> ArmScores:
    """Evaluate a checkpoint folder.

    Raises: CheckpointError: it cannot be used.
    """
    encoder = TorchEncoder.load(checkpoint, precision="fp32")
    predictor = Predictor(encoder)
    found = [_on_world(encoder, predictor, world) for world in worlds]
    return ArmScores(
        {key: np.concatenate([one.hits[key] for one in found]) for key in found[0].hits},
        {key: np.concatenate([one.near[key] for one in found]) for key in found[0].near},
        np.concatenate([one.unseen for one in found]),
        np.concatenate([one.ious for one in found]),
    )


def table_of(arms: Mapping[tuple[str, int], ArmScores]) -> dict[str, Any]:
    """Make the tables of a row. arms: model and training seed -> its scores; twins begin with CLIP, the first is GRAIN.

    The strongest twin is that with the best way, texts and mean over seeds, and an image embedding counts by its best
    texts; GRAIN's regions are told by phrases alone.
    """
    top = [
        {"model": model, "training seed": seed, "by": way, **_top1(one, way)}
        for (model, seed), one in arms.items()
        for way in WAYS
        if Asked(way, TEXTS[0]) in one.hits
    ]
    near = [
        {
            "model": model,
            "training seed": seed,
            "by": asked.way,
            "told by": asked.texts,
            **{f"{difference} %": percent(one.near[asked, difference]) for difference in DIFFERENCES},
        }
        for (model, seed), one in arms.items()
        for asked in dict.fromkeys(asked for asked, _ in one.near)
    ]
    boxes = [
        {
            "model": model,
            "training seed": seed,
            "IoU ≥ 0.5 %": percent((one.ious >= 0.5).astype(float)),
            "mean IoU %": percent(one.ious),
        }
        for (model, seed), one in arms.items()
        if len(one.ious)
    ]
    return {**_leads(arms), "novel classes, top-1": top, "near misses, one of six is right": near, "boxes": boxes}


def _top1(one: ArmScores, way: str) -> dict[str, Any]:
    known = one.hits[Asked(way, TEXTS[0])]
    return {
        **{f"{texts} %": percent(one.hits[Asked(way, texts)]) for texts in TEXTS},
        "all phrases seen in training %": percent(known[one.unseen == 0]),
        "one never seen %": percent(known[one.unseen == 1]),
    }


def _leads(arms: Mapping[tuple[str, int], ArmScores]) -> dict[str, Any]:
    models = dict.fromkeys(model for model, _ in arms)
    means = {
        (model, asked): np.mean([one.hits[asked] for (name, _), one in arms.items() if name == model], axis=0)
        for model in models
        for asked in next(one for (name, _), one in arms.items() if name == model).hits
    }
    twins = {key: hits for key, hits in means.items() if key[0].startswith("CLIP")}
    image_twins = {key: hits for key, hits in twins.items() if key[1].way == IMAGE}
    strongest, by_image = (max(some, key=lambda key: float(some[key].mean())) for some in (twins, image_twins))
    grain, *variants = [model for model in models if not model.startswith("CLIP")]
    by_images = {
        model: max((means[model, Asked(IMAGE, texts)] for texts in TEXTS), key=lambda hits: float(hits.mean()))
        for model in (grain, *variants)
    }
    return {
        "strongest twin": f"{strongest[0]}; by its {strongest[1].way}, told by {strongest[1].texts}",
        "strongest twin %": percent(twins[strongest]),
        f"{grain} by regions over the strongest twin, points": lead(
            means[grain, Asked(REGIONS, TEXTS[0])], twins[strongest]
        ),
        f"{grain} by image embedding over the strongest twin's, points": lead(by_images[grain], image_twins[by_image]),
        **{
            f"{model} over {grain} by image embedding, points": lead(by_images[model], by_images[grain])
            for model in variants
        },
    }


def _on_world(encoder: TorchEncoder, predictor: Predictor, world: World) -> ArmScores:
    folder = write(world)
    seed = int(world.name.rpartition("-")[2])
    classes = classes_of(2, seed, CLASSES)
    order = {one.name: row for row, one in enumerate(classes)}
    seen = _features(encoder, predictor, folder, "novel")
    names = [str(record.class_name) for record in seen.records]
    target = np.array([order[name] for name in names])
    hits: dict[Asked, Numbers] = {}
    for texts, descriptions in class_texts(classes).items():
        for way, features in seen.by_way.items():
            scores = _scores(predictor, way, features, descriptions)
            hits[Asked(way, texts)] = by_class(top1_hits(scores, target), names)
    unseen = np.array([float(any(map(is_unseen, one.parts))) for one in classes])
    held_out = _features(encoder, predictor, folder, "held_out", dense=False)
    ious = grounding_ious(predictor, held_out.by_way[IMAGE], held_out.records)
    return ArmScores(hits, _near(predictor, seen, classes, seed), unseen, np.asarray(ious))


def _near(
    predictor: Predictor, seen: Seen, classes: Sequence[NovelClass], seed: int
) -> dict[tuple[Asked, str], Numbers]:
    rows: dict[str, list[int]] = {}
    for row, record in enumerate(seen.records):
        rows.setdefault(str(record.class_name), []).append(row)
    shares: dict[tuple[Asked, str], list[float]] = {}
    for one in classes:
        for difference in DIFFERENCES:
            others = near_misses(one, difference, Random(f"{seed}/{one.name}/{difference}"))
            # the right one last: a tie is no hit
            six = [NovelClass(f"{place}", each.parts, each.side) for place, each in enumerate([*others, one])]
            for texts in MISSED_BY:
                descriptions = class_texts(six)[texts]
                for way, features in seen.by_way.items():
                    scores = _scores(predictor, way, [features[row] for row in rows[one.name]], descriptions)
                    right = top1_hits(scores, np.full(len(scores), len(others)))
                    shares.setdefault((Asked(way, texts), difference), []).append(float(right.mean()))
    return {key: np.array(found) for key, found in shares.items()}


def _scores(
    predictor: Predictor, way: str, features: Sequence[ImageFeatures], descriptions: Mapping[str, Sequence[str]]
) -> Array:
    return predictor.classify_features(
        features, descriptions, alpha=1.0 if way == IMAGE else 0.0, region_rule="phrases"
    )


# ------------------------------------------------------------------------------------------------ patches


@dataclass(frozen=True)
class Seen:
    """Pictures of a split. by_way: the features whose image or regions a way scores by."""

    records: list[ShardRecord[Any]]
    by_way: dict[str, list[ImageFeatures]]


def _features(encoder: TorchEncoder, predictor: Predictor, folder: Path, split: str, *, dense: bool = True) -> Seen:
    shards = find_shards(folder, split)
    features, records = encode_records(predictor, read_records(shards), total=shards.images)
    if predictor.info.can_ground:
        return Seen(records, {IMAGE: features, REGIONS: features})
    if not dense:
        return Seen(records, {IMAGE: features})
    tokens, values = zip(*_patches(encoder, read_records(shards)), strict=True)
    return Seen(
        records, {IMAGE: features, TOKENS: _as_regions(features, tokens), VALUES: _as_regions(features, values)}
    )


def _as_regions(features: Sequence[ImageFeatures], patches: Sequence[Array]) -> list[ImageFeatures]:
    return [
        ImageFeatures(one.image_embed, embeds, np.zeros((len(embeds), 4), np.float32), np.ones(len(embeds), np.float32))
        for one, embeds in zip(features, patches, strict=True)
    ]


def _patches(encoder: TorchEncoder, records: Iterator[ShardRecord[Any]]) -> Iterator[tuple[Array, Array]]:
    """Embed the patches of each picture with CLIP's own projection: of tokens and of values, [P, E] unit length."""
    config, vision = encoder.config, encoder.model.vision
    block, projection = vision.trunk.transformer.resblocks[-1], vision.projection
    assert projection is not None, "a vision transformer has one"
    given: list[torch.Tensor] = []
    hook = block.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    while images := [record.image for record in islice(records, BATCH)]:
        size, mean, std = config.image_size, config.mean, config.std
        pixels = np.stack([image_to_array(image, size=size, mean=mean, std=std) for image in images])
        given.clear()
        with torch.inference_mode():
            tokens, _ = vision(torch.from_numpy(pixels).to(encoder.device))
            values = vision.trunk.ln_post(attention_values(block, given[0]))
            both = [F.normalize(some[:, 1:] @ projection, dim=-1).cpu().numpy() for some in (tokens, values)]
        yield from zip(*both, strict=True)
    hook.remove()


def attention_values(block: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Return what the attention of a block mixes, before it is mixed. Source: Zhou et al. 2022 (MaskCLIP)."""
    attention, width = block.attn, hidden.shape[-1]
    mixed = F.linear(block.ln_1(hidden), attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
    projected: torch.Tensor = attention.out_proj(mixed)
    return projected
