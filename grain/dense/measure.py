"""Measure a query a token on pictures that it did not learn from.

python -m grain.dense.features --data data/flickr30k --split test --out data/flickr30k-test-features
python -m grain.dense.measure --features data/flickr30k-test-features --weights runs/dense/regions.safetensors
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torchvision.ops import box_iou

from grain.checkpoint import EMBEDDED
from grain.command import run_command
from grain.dense.model import DenseRegions
from grain.dense.train import Phrases, Picture, make_batch, read_pictures, sentence_encoder

RIGHT_IOU = 0.5


@dataclass(frozen=True)
class MeasureConfig:
    """Ground every phrase of kept features."""

    features: tuple[Path, ...]
    """Folders that `python -m grain.dense.features` wrote."""
    weights: Path
    """What `python -m grain.dense.train` wrote."""
    checkpoint: Path = EMBEDDED / "photo-names"
    """Whose sentence encoder reads the phrases."""


@dataclass(frozen=True)
class Grounded:
    """Shares of the distinct phrases of each picture. right: the best query's box has IoU >= 0.5 with one of the
    phrase's boxes. within_reach: some query's has.
    """

    pictures: int
    phrases: int
    right: float
    within_reach: float


def main(config: MeasureConfig) -> None:
    """Print the shares as JSON.

    Raises: ValueError: a folder holds no features.
    """
    pictures = read_pictures(config.features)
    phrases = Phrases(pictures, sentence_encoder(config.checkpoint))
    model = DenseRegions()
    model.load_state_dict(load_file(config.weights))
    print(json.dumps(asdict(ground_all(model.eval(), pictures, phrases)), indent=1))


def ground_all(model: DenseRegions, pictures: Sequence[Picture], phrases: Phrases) -> Grounded:
    """Ground every phrase of every picture, one picture after the other."""
    right, within_reach = zip(*(row for picture in pictures for row in ground(model, picture, phrases)), strict=True)
    return Grounded(len(pictures), len(right), float(np.mean(right)), float(np.mean(within_reach)))


@torch.no_grad()
def ground(model: DenseRegions, picture: Picture, phrases: Phrases) -> list[tuple[bool, bool]]:
    """Ground every phrase of a picture; returns for each whether it is right, and within reach (see Grounded)."""
    batch = make_batch([picture], phrases)
    output = model(batch.tokens, batch.sizes)
    logits = model.logits(output, model.texts(phrases.embeds[batch.texts]))[0]  # [Q, T]
    rows = []
    for target in batch.targets:
        overlap = box_iou(output.boxes_xyxy[0], target.boxes_xyxy).amax(dim=1)
        reach = bool(overlap[~output.absent[0]].amax() >= RIGHT_IOU)
        rows += [(bool(overlap[logits[:, column].argmax()] >= RIGHT_IOU), reach) for column in target.phrases]
    return rows


if __name__ == "__main__":
    run_command(main, MeasureConfig, module="grain.dense.measure")
