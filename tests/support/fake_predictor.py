"""A model without weights: the real Predictor around an encoder that hashes words and answers at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from grain.checkpoint import CheckpointInfo, read_info
from grain.config import ClassTexts
from grain.predict import Predictor
from grain.structures import Array, ImageFeatures, RegionRanking

WIDTH = 32
BOXES_XYXY = np.array(
    [(0.10, 0.05, 0.45, 0.30), (0.30, 0.35, 0.90, 0.95), (0.55, 0.10, 0.95, 0.40), (0.02, 0.60, 0.30, 0.98)], np.float32
)


@dataclass(frozen=True)
class FakeEncoder:
    """Embeds a text by its words and a picture by its mean colour; the boxes are always the same four."""

    info: CheckpointInfo
    class_texts: ClassTexts = field(default_factory=ClassTexts)
    logit_scale: float = 20.0

    def encode_images(self, images: Sequence[Image.Image], proposals: object = None) -> list[ImageFeatures]:
        return [self._encode(image) for image in images]

    def encode_texts(self, texts: Sequence[str]) -> Array:
        return np.stack([_embed(text) for text in texts]) if texts else np.zeros((0, WIDTH), np.float32)

    def rank_regions(
        self, image: Image.Image, features: ImageFeatures, *, descriptions: Sequence[str], embeds: Array
    ) -> RegionRanking:
        ranked = RegionRanking.by_cosine(features, embeds)
        if self.info.kind != "photo":
            return ranked
        return RegionRanking(
            ranked.ranking, np.array([float("unicorn" not in text) for text in descriptions], np.float32)
        )

    def _encode(self, image: Image.Image) -> ImageFeatures:
        assert image.mode == "RGB"
        seed = "/".join(str(value) for value in image.resize((1, 1)).getpixel((0, 0)))  # type: ignore[union-attr]
        regions = np.stack([_word(f"{seed}/{row}") for row in range(len(BOXES_XYXY))])
        boxes = BOXES_XYXY
        if not self.info.can_ground:
            regions, boxes = regions[:0], boxes[:0]
        return ImageFeatures(_word(f"{seed}/{self.info.name}"), regions, boxes, np.ones(len(boxes), np.float32))


def fake_predictor(folder: Path) -> Predictor:
    """What Predictor.from_pretrained gives, of a folder that holds only a config.json and empty weights."""
    encoder: Any = FakeEncoder(read_info(folder))
    return Predictor(encoder)


def write_fake_checkpoint(folder: Path, *, kind: str = "grain", twin: str | None = None) -> Path:
    """A folder that the registry lists."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"")
    text = f'{{"schema_version": 1, "kind": "{kind}", "name": "{folder.name}", "trained_on": "made-up words"'
    (folder / "config.json").write_text(text + (f', "twin": "{twin}"' if twin else "") + "}")
    return folder


def _embed(text: str) -> Array:
    return _unit(np.sum([_word(word) for word in text.lower().split()] or [_word("")], axis=0))


def _word(word: str) -> Array:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
    row: Any = np.random.default_rng(seed).normal(size=WIDTH)
    return _unit(row)


def _unit(row: Array) -> Array:
    unit: Array = (row / np.linalg.norm(row)).astype(np.float32)
    return unit
