"""Measure how boxes overlap, in numpy: what inference needs without torch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from grain.structures import Array

SAME_INSTANCE = 0.4  # IoU; regions of one description that overlap by more are the same thing
PART_OF_INSTANCE = 0.6  # share of a region that lies in another of its description: more, and it is a part of that


def iou(boxes_xyxy: Array, others_xyxy: Array) -> Array:
    """Return the intersection over union of boxes [N, 4] and [M, 4], [N, M]."""
    common, sizes, other_sizes = _areas(boxes_xyxy, others_xyxy)
    overlap: Array = common / (sizes + other_sizes - common).clip(1e-9)
    return overlap


def share_inside(boxes_xyxy: Array, others_xyxy: Array) -> Array:
    """Return the share of each box [N, 4] that lies in each other one [M, 4], [N, M]."""
    common, sizes, _ = _areas(boxes_xyxy, others_xyxy)
    share: Array = common / sizes.clip(1e-9)
    return share


def distinct_rows(
    boxes_xyxy: Array, order: Iterable[int], *, most_overlap: float, most_inside: float = 1.0
) -> list[int]:
    """Go through boxes [Q, 4] in an order of rows, and keep those that are no part or copy of one before them.

    Args: most_overlap: IoU of two that are kept. most_inside: share of the smaller of two that are kept which lies in
          the other.
    """
    kept: list[int] = []
    overlap = iou(boxes_xyxy, boxes_xyxy)
    common, sizes, other_sizes = _areas(boxes_xyxy, boxes_xyxy)
    inside = common / np.minimum(sizes, other_sizes).clip(1e-9)
    for row in order:
        if not kept or (overlap[row, kept].max() <= most_overlap and inside[row, kept].max() <= most_inside):
            kept.append(int(row))
    return kept


def instance_rows(boxes_xyxy: Array, order: Iterable[int]) -> list[int]:
    """Go through boxes [Q, 4] of one description in an order of rows, and keep those that are a thing of their own."""
    return distinct_rows(boxes_xyxy, order, most_overlap=SAME_INSTANCE, most_inside=PART_OF_INSTANCE)


def _areas(boxes_xyxy: Array, others_xyxy: Array) -> tuple[Array, Array, Array]:
    """Return what boxes have in common [N, M], and their own areas [N, 1] and [1, M]."""
    low = np.maximum(boxes_xyxy[:, None, :2], others_xyxy[None, :, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], others_xyxy[None, :, 2:])
    sizes, other_sizes = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) for boxes in (boxes_xyxy, others_xyxy))
    return (high - low).clip(0).prod(axis=-1), sizes[:, None], other_sizes[None]
