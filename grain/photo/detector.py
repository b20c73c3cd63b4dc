"""Propose regions with NanoDet as an ONNX graph: boxes, and scores under the names of COCO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grain.photo.text_encoder import open_session
from grain.structures import Array

DETECTOR_SIDE, STRIDES, BINS = 416, (8, 16, 32), 11
DETECTOR_MEAN, DETECTOR_STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)  # BGR, 0..255
MIN_CONFIDENCE = 0.02  # of a proposal; below is only noise
NMS_IOU = 0.5
MAX_REGIONS = 20
NECK_CELL = 16  # pixels of one cell of its feature map


class Detector:
    """NanoDet and its non-maximum suppression, of a checkpoint folder."""

    def __init__(self, folder: Path) -> None:
        """Open the graphs `detector` and `nms`.

        Raises: CheckpointError: one of them is missing.
        """
        self._detector, self._nms = (open_session(folder / f"{name}.onnx") for name in ("detector", "nms"))

    def __call__(self, image: Image.Image) -> tuple[Array, Array, Array]:
        """Propose boxes [Q, 4] normalized xyxy with scores [Q, 80] under COCO's names, best first; at least one.

        The third is the feature map that shows the picture, [128, h, w], h and w at most 26.
        """
        pixels, ratio = letterbox(image)
        names = [f"{kind}_{stride}" for stride in STRIDES for kind in ("scores", "distances")]
        neck, *outputs = self._detector.run(["neck_16", *names], {"pixels": pixels})
        scores = np.concatenate([rows[0] for rows in outputs[::2]])  # [cells, 80]
        confidence = scores.max(axis=1)
        good = np.flatnonzero(confidence > min(MIN_CONFIDENCE, float(confidence.max()) / 2))
        boxes = decode_boxes([rows[0] for rows in outputs[1::2]], good)
        boxes = (boxes / ratio / np.tile(image.size, 2)).clip(0, 1).astype(np.float32)
        kept = self._suppress(boxes, scores[good])
        rows, columns = (max(1, round(side * ratio / NECK_CELL)) for side in (image.height, image.width))
        return boxes[kept], scores[good][kept], neck[0][:, :rows, :columns]

    def _suppress(self, boxes_xyxy: Array, scores: Array) -> NDArray[np.int64]:
        """Return the rows kept by non-maximum suppression under each proposal's best name, best first."""
        confidence, best = scores.max(axis=1), scores.argmax(axis=1)
        own = np.zeros((scores.shape[1], len(scores)), np.float32)
        own[best, np.arange(len(scores))] = confidence
        chosen = self.suppress(boxes_xyxy, own, iou=NMS_IOU, most=MAX_REGIONS)
        kept: NDArray[np.int64] = chosen[np.argsort(-confidence[chosen], kind="stable")][:MAX_REGIONS]
        return kept

    def suppress(self, boxes_xyxy: Array, scores: Array, *, iou: float, most: int) -> NDArray[np.int64]:
        """Return the rows that non-maximum suppression keeps of each class, the best first.

        Args: boxes_xyxy: [N, 4]. scores: [C, N] in [0, 1]; 0 is no candidate. iou: more overlap is the same thing.
              most: rows of a class.
        """
        limits = {
            "max_output": np.array([most], np.int64), "iou": np.array([iou], np.float32),
            "least_score": np.array([0], np.float32),
        }  # fmt: skip
        rows: NDArray[np.int64] = self._nms.run(
            ["chosen"], {"boxes": boxes_xyxy[None], "scores": scores[None], **limits}
        )[0][:, 2]
        return rows


def letterbox(image: Image.Image) -> tuple[Array, float]:
    """Return the detector's input [1, 3, 416, 416], the picture at the top left, and its scale in pixels a pixel."""
    ratio = DETECTOR_SIDE / max(image.size)
    width, height = (max(1, round(side * ratio)) for side in image.size)
    small = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    pixels = np.zeros((3, DETECTOR_SIDE, DETECTOR_SIDE), np.float32)  # zero is the mean colour
    bgr = np.asarray(small, np.float32)[:, :, ::-1]
    pixels[:, :height, :width] = ((bgr - DETECTOR_MEAN) / DETECTOR_STD).transpose(2, 0, 1)
    return pixels[None], ratio


def decode_boxes(distances: Sequence[Array], rows: NDArray[np.int64]) -> Array:
    """Convert the detector's distances to the four sides to xyxy in letterboxed pixels.

    Args:    distances: a stride each, [cells, 4 · BINS] logits over 0 … BINS − 1 strides. rows: cells to
             decode, counted over all strides.
    Returns: [rows, 4].
    """
    strides = np.repeat(STRIDES, [len(table) for table in distances])[rows]
    logits = np.concatenate(distances)[rows].reshape(len(rows), 4, BINS)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    sides = (weights @ np.arange(BINS)) / weights.sum(axis=-1) * strides[:, None]  # left, top, right, bottom
    cells = np.concatenate([np.arange(len(table)) for table in distances])[rows]
    across = DETECTOR_SIDE // strides
    x, y = (cells % across + 0.5) * strides, (cells // across + 0.5) * strides
    return np.stack([x - sides[:, 0], y - sides[:, 1], x + sides[:, 2], y + sides[:, 3]], axis=1).astype(np.float32)
