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
from grain.box_overlap import SAME_INSTANCE, distinct_rows
from grain.command import run_command
from grain.data.loader import find_shards, read_records
from grain.data.record import ShardRecord
from grain.dense.changed_words import change_word, last_words
from grain.dense.features import entities_of, words_of
from grain.dense.measure import RIGHT_IOU
from grain.photo.learned import EVIDENCE, Fusion, LearnedPhotoEncoder, expected_overlap, fuse
from grain.photo.photo import PRESENCE_WEIGHTS, at_best
from grain.structures import Array, ImageFeatures
from user_errors import UserError

SHRINK = 1e-3  # of the squared weights, in the loss
START = (1.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.3)  # of EVIDENCE
SIZES = (1.0, 1.0, 10.0, 1.0, 1.0, 1.0, 1.0)  # of their units
STRANGERS = 8  # phrases of other pictures, and as many changed ones, asked of each
FOUND = 0.9  # of what is there, at presence 0.5
MOST_WRONG = 0.2  # of what is there has a wrong box at confidence 0.5
INSTANCES = 12  # regions of each phrase that confidence is fitted at


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
    """The phrases asked of one picture.

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
    """Ask each picture for its own phrases, for some of others, and for some of its own with a word changed."""
    entities, order = [entities_of(record) for record in records], np.random.default_rng(seed)
    total = sum(len(entity.phrases) for picture in entities for entity in picture)
    every = sorted({text for picture in entities for entity in picture for text in entity.phrases})
    nouns = last_words(every)
    asked = []
    for record, own in zip(records, entities, strict=True):
        texts = [text for entity in own for text in entity.phrases]
        if not texts:
            continue
        words = [words_of(text) for text in texts]
        drawn = [every[row] for row in order.permutation(len(every))[:STRANGERS]]
        drawn += [change_word(texts[row], nouns, order) for row in order.permutation(len(texts))[:STRANGERS]]
        strangers = [text for text in drawn if not any(words_of(text) <= known for known in words)]
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
    """Fit presence and confidence; print what is found.

    presence: at the chosen regions; a phrase is the picture's own, or is not. confidence: at the regions that come
    first and overlap little; a region is right, or is not.
    """
    inputs, there, sure, right = [], [], [], []
    weights, sure_weights, first, own_right = [], [], [], []
    for one in asked:
        logits, ranking = fuse(encoder.fusion, one.evidence, one.near), rank(encoder.fusion, one)
        each = encoder.judging_inputs(one.features, one.evidence, one.near, logits=logits, embeds=one.embeds)
        inputs.append(at_best(each, ranking))
        there.append(one.there)
        weights.append(np.full(len(one.there), one.weight))
        first.append(at_best(each, ranking)[one.there])
        own_right.append(one.right[ranking.argmax(axis=0), np.arange(len(one.there))][one.there])
        for column, order in enumerate(np.argsort(-ranking, axis=0).T):
            rows = distinct_rows(one.features.boxes_xyxy, order, most_overlap=SAME_INSTANCE)[:INSTANCES]
            sure.append(each[rows, column])
            right.append(one.right[rows, column])
            sure_weights.append(np.full(len(rows), one.weight))
    labels, weight = np.concatenate(there), np.concatenate(weights)
    evidence = np.concatenate(inputs)
    share = weight / np.where(labels, weight[labels].sum(), weight[~labels].sum())
    chosen = _logistic(evidence, labels, share)
    point = float(np.quantile((evidence @ chosen)[labels], 1 - FOUND))
    own, others = (f"{((evidence @ chosen)[rows] >= point).mean():.1%}" for rows in (labels, ~labels))
    print(f"at presence 0.5: found {own}, others' {others}")
    certain = _logistic(np.concatenate(sure), np.concatenate(right), np.concatenate(sure_weights) / weight.sum())
    least = _least_score(np.concatenate(first) @ certain, np.concatenate(own_right), weight[labels])
    return replace(
        encoder.fusion,
        presence=tuple(round(float(value), 4) for value in (*chosen[:-1], chosen[-1] - point)),
        confidence=tuple(round(float(value), 4) for value in (*certain[:-1], certain[-1] - least)),
    )


def _least_score(scores: Array, right: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Return the lowest score down to which at most MOST_WRONG of the own phrases have a wrong box, or the highest."""
    order = np.argsort(-scores)
    wrong = np.cumsum((weights * ~right)[order]) / weights.sum()
    place = max(0, int(np.searchsorted(wrong, MOST_WRONG, side="right")) - 1)
    shown = np.average(right & (scores >= scores[order][place]), weights=weights)
    print(f"at confidence 0.5: right {shown:.1%}, a wrong box {wrong[place]:.1%}")
    return float(scores[order][place])


def _logistic(evidence: Array, labels: NDArray[np.bool_], shares: NDArray[np.float64]) -> Array:
    """Return the weights of a logistic regression; evidence: [N, K]. shares: of each row, in the loss."""
    rows, weights = torch.from_numpy(evidence), torch.from_numpy(shares).float()
    sizes = rows.std(dim=0).clamp(min=0.1)  # units of about one size converge sooner

    def surprise(chosen: Tensor) -> Tensor:
        each = binary_cross_entropy_with_logits(
            rows @ (chosen / sizes), torch.from_numpy(labels).float(), reduction="none"
        )
        return (each * weights).sum()

    found: Array = (minimize(surprise, [0.0] * evidence.shape[1]) / sizes).numpy()
    return found


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
