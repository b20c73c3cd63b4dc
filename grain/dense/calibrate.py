"""Fit how phrases and names are weighed against each other, on photographs that were not trained on.

    python -m grain.dense.calibrate --checkpoint runs/mine --data data/flickr30k data/photographs --split held_out

Writes a JSON file, which `python -m grain.dense.publish --fusion` takes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import box_iou

from atomic_files import write_atomically
from grain.command import run_command
from grain.data.loader import ShardRecord, find_shards, read_records
from grain.dense.features import entities_of, words_of
from grain.dense.measure import RIGHT_IOU
from grain.photo.learned import EVIDENCE, Fusion, LearnedPhotoEncoder, expected_overlap, fuse
from grain.photo.photo import PRESENCE_WEIGHTS
from grain.structures import Array, ImageFeatures
from user_errors import UserError

SHRINK = 1e-3  # of the squared weights, in the loss
START = (1.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.3)  # of EVIDENCE
SIZES = (1.0, 1.0, 10.0, 1.0, 1.0, 1.0, 1.0)  # of their units
STRANGERS = 8  # phrases of other pictures, asked of each
FOUND = 0.9  # of what is there, at presence 0.5


@dataclass(frozen=True)
class CalibrateConfig:
    """Fit the fusion of a checkpoint with learned regions."""

    checkpoint: Path
    """Its folder."""
    data: tuple[Path, ...]
    """Data folders with manifest.json. Each counts equally, however many phrases it has."""
    out: Path
    """The JSON file to write."""
    split: tuple[str, ...] = ("held_out",)
    """Which pictures of each folder, or one for all."""
    seed: int = 0
    """Of the phrases of other pictures."""


class Asked(NamedTuple):
    """All phrases asked of one picture.

    evidence: [Q, D, 7]. near: [D], to a name. right: [Q, D], whether a region is right. there: [D], whether the phrase
    is the picture's own. weight: of each of its phrases.
    """

    features: ImageFeatures
    embeds: Array
    evidence: Array
    near: Array
    right: NDArray[np.bool_]
    there: NDArray[np.bool_]
    weight: float


def main(config: CalibrateConfig) -> None:
    """Fit and write; print the shares right and found.

    Raises: UserError: another number of splits than of folders.
    """
    encoder = LearnedPhotoEncoder.load(config.checkpoint)
    splits = config.split * len(config.data) if len(config.split) == 1 else config.split
    if len(splits) != len(config.data):
        raise UserError(f"expected a split for each of {len(config.data)} folders, or one for all, got {len(splits)}")
    asked: list[Asked] = []
    for folder, split in zip(config.data, splits, strict=True):
        asked += ask_all(encoder, list(read_records(find_shards(folder, split))), seed=config.seed)
        print(f"{folder}: right {share_right(encoder.fusion, asked):.1%} before")
    fusion = fit_ranking(asked)
    print(f"right {share_right(fusion, asked):.1%} after")
    encoder.fusion = fusion
    fusion = fit_presence(encoder, asked)
    write_atomically(config.out, json.dumps(asdict(fusion), indent=1))


def ask_all(encoder: LearnedPhotoEncoder, records: Sequence[ShardRecord[Image.Image]], *, seed: int) -> list[Asked]:
    """Ask each picture for its own phrases and for some of others."""
    entities, order = [entities_of(record) for record in records], np.random.default_rng(seed)
    total = sum(len(entity.phrases) for picture in entities for entity in picture)
    every = sorted({text for picture in entities for entity in picture for text in entity.phrases})
    asked = []
    for record, own in zip(records, entities, strict=True):
        texts = [text for entity in own for text in entity.phrases]
        if not texts:
            continue
        words = [words_of(text) for text in texts]
        drawn = [every[row] for row in order.permutation(len(every))[: 2 * STRANGERS]]
        strangers = [text for text in drawn if not any(words_of(text) <= known for known in words)][:STRANGERS]
        features, embeds = encoder.encode_images([record.image])[0], encoder.encode_texts([*texts, *strangers])
        evidence, near = encoder.evidence(record.image, features, descriptions=[*texts, *strangers], embeds=embeds)
        boxes = torch.from_numpy(features.boxes_xyxy)
        right = [
            (box_iou(boxes, torch.tensor(entity.boxes, dtype=torch.float32)).amax(dim=1) >= RIGHT_IOU).numpy()
            for entity in own
            for _ in entity.phrases
        ]
        right += [np.zeros(len(boxes), np.bool_)] * len(strangers)
        there = np.arange(len(right)) < len(texts)
        asked.append(Asked(features, embeds, evidence, near, np.stack(right, axis=1), there, 1 / total))
    return asked


def rank(fusion: Fusion, one: Asked) -> Array:
    """Rank the regions as the checkpoint does, [Q, D]; without rules for places."""
    return expected_overlap(one.features.boxes_xyxy, fuse(fusion, one.evidence, one.near))


def share_right(fusion: Fusion, asked: Sequence[Asked]) -> float:
    """Return the share of the pictures' own phrases whose first region is right, in their weights."""
    points = []
    for one in asked:
        first = rank(fusion, one).argmax(axis=0)
        right = one.right[first, np.arange(len(first))][one.there]
        points += [(one.weight, float(each)) for each in right]
    weights, shares = np.array(points).T
    return float(np.average(shares, weights=weights))


def fit_ranking(asked: Sequence[Asked]) -> Fusion:
    """Choose the weights under which the right regions are likeliest among all of a phrase's.

    Near a name the weights of names alone (grain.photo.photo) are added.
    """
    rows = [
        (torch.from_numpy(one.evidence[:, column]), float(one.near[column]), one.right[:, column], one.weight)
        for one in asked
        for column in np.flatnonzero(one.there & one.right.any(axis=0))
    ]
    most = max(len(evidence) for evidence, *_ in rows)
    table = torch.zeros(len(rows), most, 2 * len(EVIDENCE))
    right, real = torch.zeros(len(rows), most, dtype=torch.bool), torch.zeros(len(rows), most, dtype=torch.bool)
    for row, (evidence, near, hits, _) in enumerate(rows):
        table[row, : len(evidence)] = torch.cat([evidence, near * evidence], dim=1)
        right[row, : len(evidence)], real[row, : len(evidence)] = torch.from_numpy(hits), True
    weight = torch.tensor([row[3] for row in rows])
    sizes = torch.tensor(SIZES * 2)

    def misses(chosen: Tensor) -> Tensor:
        logits = (table @ (chosen * sizes)).masked_fill(~real, -1e9)
        each = logits.logsumexp(dim=1) - logits.masked_fill(~right, -1e9).logsumexp(dim=1)
        return (each * weight).sum() / weight.sum()

    found = (minimize(misses, [*START, *[0.0] * len(EVIDENCE)]) * sizes).tolist()
    weights, near_names = found[: len(EVIDENCE)], found[len(EVIDENCE) :]
    for name, own in zip(("name", "sureness"), PRESENCE_WEIGHTS[:2], strict=True):
        near_names[EVIDENCE.index(name)] += own  # few photographs with class names are there to fit on
    return Fusion(*(tuple(round(value, 4) for value in row) for row in (weights, near_names)))


def fit_presence(encoder: LearnedPhotoEncoder, asked: Sequence[Asked]) -> Fusion:
    """Fit presence at the chosen regions: a phrase is there, or it is another picture's; print what is found."""
    told, there, weights = [], [], []
    for one in asked:
        ranking = rank(encoder.fusion, one)
        told.append(encoder.tell(one.features, one.evidence, one.near, ranking=ranking, embeds=one.embeds))
        there.append(one.there)
        weights.append(np.full(len(one.there), one.weight))
    evidence, labels = torch.from_numpy(np.concatenate(told)), np.concatenate(there)
    weight = np.concatenate(weights)
    share = torch.from_numpy(weight / np.where(labels, weight[labels].sum(), weight[~labels].sum())).float()

    def surprise(chosen: Tensor) -> Tensor:
        each = binary_cross_entropy_with_logits(evidence @ chosen, torch.from_numpy(labels).float(), reduction="none")
        return (each * share).sum()

    chosen = minimize(surprise, Fusion().presence)
    scores = (evidence @ chosen).numpy()
    point = float(np.quantile(scores[labels], 1 - FOUND))
    own, others = (f"{(scores[rows] >= point).mean():.1%}" for rows in (labels, ~labels))
    print(f"at presence 0.5: found {own}, others' {others}")
    *weighed, bias = chosen.tolist()
    return replace(encoder.fusion, presence=tuple(round(value, 4) for value in (*weighed, bias - point)))


def minimize(loss: Callable[[Tensor], Tensor], start: Sequence[float]) -> Tensor:
    """Return the weights of least loss, a little smaller than they would be without SHRINK."""
    chosen = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.LBFGS([chosen], max_iter=100, line_search_fn="strong_wolfe")

    def value() -> Tensor:
        optimizer.zero_grad()
        found: Tensor = loss(chosen) + SHRINK * (chosen**2).sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(value)  # type: ignore[no-untyped-call]
    return chosen.detach()


if __name__ == "__main__":
    run_command(main, CalibrateConfig, module="grain.dense.calibrate")
