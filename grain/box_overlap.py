"""Measure how boxes overlap, in numpy: what inference needs without torch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from grain.structures import Array


def iou(boxes_xyxy: Array, others_xyxy: Array) -> Array:
    """Return the intersection over union of boxes [N, 4] and [M, 4], [N, M]."""
    low = np.maximum(boxes_xyxy[:, None, :2], others_xyxy[None, :, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], others_xyxy[None, :, 2:])
    common = (high - low).clip(0).prod(axis=-1)
    sizes, other_sizes = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) for boxes in (boxes_xyxy, others_xyxy))
    overlap: Array = common / (sizes[:, None] + other_sizes - common).clip(1e-9)
    return overlap


def distinct_rows(boxes_xyxy: Array, order: Iterable[int], *, most_overlap: float) -> list[int]:
    """Go through boxes [Q, 4] in an order of rows, and keep those that overlap none before them by more."""
    kept: list[int] = []
    overlap = iou(boxes_xyxy, boxes_xyxy)
    for row in order:
        if not kept or overlap[row, kept].max() <= most_overlap:
            kept.append(int(row))
    return kept
