"""Run the learned regions of a `photo` checkpoint: tokens in, boxes and embeddings out. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file

from grain.checkpoint import WEIGHTS
from grain.photo.text_encoder import open_session
from grain.photo.tokens import MOST_TOKENS
from grain.structures import Array

HALF = "/half"  # ends the name of a weight table that its graph casts to float32


class LearnedRegions(NamedTuple):
    """A picture's regions by query: embeds [Q, E] unit length, boxes_xyxy [Q, 4] normalized, objectness [Q] logits."""

    embeds: Array
    boxes_xyxy: Array
    objectness: Array


class RegionGraphs:
    """The decoder and the adapter of phrases, whose weights are the folder's own table of weights."""

    def __init__(self, folder: Path) -> None:
        """Open the graphs `regions` and `adapter`.

        Raises: CheckpointError: one of them is missing.
        """
        weights = load_file(folder / WEIGHTS)
        self.scale = float(np.exp(weights.pop("log_scale")))
        del weights["presence"]
        adapter = {name: weights.pop(name) for name in sorted(weights) if name.startswith("adapter.")}
        self._regions = open_session(folder / "regions.onnx", _as_named(weights))
        self._adapter = open_session(folder / "adapter.onnx", _as_named(adapter))

    def __call__(self, tokens: Array) -> LearnedRegions:
        """Propose regions of a picture's tokens [h, w, 2272]."""
        rows, columns, width = tokens.shape
        padded = np.zeros((1, MOST_TOKENS, width), np.float32)
        padded[0, : rows * columns] = tokens.reshape(-1, width)
        given = {"tokens": padded, "sizes": np.array([[rows, columns]], np.int64)}
        embeds, boxes, objectness = self._regions.run(["embeds", "boxes_xyxy", "objectness"], given)
        there = rows * columns * embeds.shape[1] // MOST_TOKENS
        return LearnedRegions(embeds[0, :there], boxes[0, :there], objectness[0, :there])

    def texts(self, embeds: Array) -> Array:
        """Bring sentence embeddings to the regions' space, [T, E] unit length."""
        adapted: Array = self._adapter.run(["adapted"], {"embeds": embeds})[0]
        return adapted


def _as_named(weights: dict[str, Array]) -> dict[str, Array]:
    """Name each table as its graph does."""
    return {f"{name}{HALF}" if value.dtype == np.float16 else name: value for name, value in weights.items()}
