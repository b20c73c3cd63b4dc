"""Encode pictures and texts with the ONNX graphs of a trained GRAIN, for the Predictor. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import ArrayLike
from PIL import Image
from tokenizers import Tokenizer

from grain.checkpoint import (
    IMAGE_GRAPH,
    TEXT_GRAPH,
    TOKENIZER,
    CheckpointError,
    CheckpointInfo,
    read_config,
    read_info,
    verify,
)
from grain.config import ClassTexts, GrainConfig
from grain.portable.texts import CLEANING
from grain.preprocess import image_to_array
from grain.structures import Array, ImageFeatures, RegionRanking
from grain.time_limit import check_time

TEXTS_AT_ONCE, PICTURES_AT_ONCE = 64, 16


class OnnxEncoder:
    """Implements grain.predict.Encoder with what `grain.model.onnx_export` wrote."""

    precision = "fp32"

    def __init__(self, folder: Path) -> None:
        """Open the graphs of a checkpoint folder.

        Raises: CheckpointError: it is damaged, or its configuration is none.
        """
        facts = read_config(folder)
        verify(folder)
        self.info: CheckpointInfo = read_info(folder)
        try:
            self.config = GrainConfig.from_json(facts["model"])
            self.logit_scale = math.exp(float(facts["logit_scale"]))
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
            self._clean = CLEANING[self.config.text_cfg.get("tokenizer_kwargs", {}).get("clean", "lower")]
            self._images, self._texts = (_session(folder / name) for name in (IMAGE_GRAPH, TEXT_GRAPH))
        except Exception as error:  # whatever a library raises on a foreign file, the checkpoint cannot be used
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{folder.name}: its graphs cannot be opened ({reason}): export it again") from error

    @property
    def class_texts(self) -> ClassTexts:
        """Return the templates that this checkpoint's class texts use."""
        return self.config.class_texts

    def encode_images(
        self, images: Sequence[Image.Image], proposals: Sequence[ArrayLike] | None = None
    ) -> list[ImageFeatures]:
        """Encode upright RGB pictures of any sizes.

        Raises: ValueError: proposals are given, which no exported checkpoint takes.
        """
        if proposals is not None:
            raise ValueError("this model takes no proposals: leave them out, or use the checkpoint before its export")
        found: list[ImageFeatures] = []
        for first in range(0, len(images), PICTURES_AT_ONCE):
            check_time()
            found += self._features(images[first : first + PICTURES_AT_ONCE])
        return found

    def _features(self, images: Sequence[Image.Image]) -> list[ImageFeatures]:
        size, mean, std = self.config.image_size, self.config.mean, self.config.std
        pixels = np.stack([image_to_array(image, size=size, mean=mean, std=std) for image in images])
        image_embeds, *parts = self._images.run(None, {"images": pixels})
        if not parts:  # a CLIP has no regions
            parts = [
                np.zeros((len(image_embeds), 0, image_embeds.shape[1]), np.float32),
                np.zeros((len(image_embeds), 0, 4), np.float32),
            ]
        ones = np.ones(parts[0].shape[1], np.float32)
        return [
            ImageFeatures(image, regions, boxes, ones)
            for image, regions, boxes in zip(image_embeds, *parts, strict=True)
        ]

    def encode_texts(self, texts: Sequence[str]) -> Array:
        """Embed texts, [T, E] unit length.

        Raises: OutOfTimeError: see grain.time_limit.
        """
        rows = [self.tokens(texts[first : first + TEXTS_AT_ONCE]) for first in range(0, len(texts), TEXTS_AT_ONCE)]
        embeds = [np.zeros((0, self.config.embed_dim), np.float32)]
        for tokens in rows:
            check_time()
            embeds.append(self._texts.run(None, {"tokens": tokens})[0])
        return np.concatenate(embeds)

    def tokens(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the token ids of texts, [T, L], L the model's context."""
        rows = self._tokenizer.encode_batch([self._clean(text) for text in texts])
        return np.array([row.ids for row in rows], np.int64)

    def rank_regions(
        self, image: Image.Image, features: ImageFeatures, *, descriptions: Sequence[str], embeds: Array
    ) -> RegionRanking:
        """Rank the regions by cosine; the model has no measure of presence."""
        return RegionRanking.by_cosine(features, embeds)


def _session(graph: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads would slow what else runs
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
