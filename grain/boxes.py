"""Compute what torchvision.ops lacks: paired GIoU without the cross product, padding, one pooled cell a box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import box_convert, roi_align

from grain.structures import Array, Proposals

Boxes = TypeVar("Boxes", Tensor, Array)
MIN_SIDE = 1e-3  # of the image: a thinner box is pooled as if it were so wide
TINY = torch.finfo(torch.float32).tiny  # and bfloat16's


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Convert [..., 4] centre and size to [..., 4] corners."""
    boxes_xyxy: Tensor = box_convert(boxes_cxcywh, "cxcywh", "xyxy")
    return boxes_xyxy


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """Convert [..., 4] corners to [..., 4] centre and size."""
    boxes_cxcywh: Tensor = box_convert(boxes_xyxy, "xyxy", "cxcywh")
    return boxes_cxcywh


def iou_and_giou(a_xyxy: Boxes, b_xyxy: Boxes) -> tuple[Boxes, Boxes]:
    """Measure the overlap of boxes that broadcast against each other; boxes without area give 0, never NaN.

    One formula for tensors (the loss) and arrays (the matching), written in what both understand.

    Args:    a_xyxy, b_xyxy: [..., 4], leading dimensions broadcast.
    Returns: IoU and GIoU, each [...].
    Source:  Rezatofighi et al. 2019, equations 1 and 2.
    """
    a_low, a_high, b_low, b_high = a_xyxy[..., :2], a_xyxy[..., 2:], b_xyxy[..., :2], b_xyxy[..., 2:]
    intersection = _area(a_low.clip(min=b_low), a_high.clip(max=b_high))
    hull = _area(a_low.clip(max=b_low), a_high.clip(min=b_high))
    union = _area(a_low, a_high) + _area(b_low, b_high) - intersection
    iou = intersection / union.clip(min=TINY)
    return iou, iou - (hull - union) / hull.clip(min=TINY)


def pad_boxes(rows: Sequence[ArrayLike], device: torch.device | None = None) -> Proposals:
    """Pad the proposals of each image to one table.

    Args:    rows: for each image [P_i, 4] xyxy normalized.
    Returns: P is the most of any image, at least 1, so that a batch without any still reaches every parameter.
    Raises:  ValueError: a box is not four numbers inside the image, or its corners are swapped.
    """
    tables = [_checked(row) for row in rows]
    boxes_xyxy = pad_sequence([*tables, torch.zeros(1, 4)], batch_first=True)[:-1]
    counts = torch.tensor([len(table) for table in tables])
    mask = torch.arange(boxes_xyxy.shape[1]) < counts.unsqueeze(-1)
    return Proposals(boxes_xyxy.to(device), mask.to(device))


def _checked(row: ArrayLike) -> Tensor:
    table = np.asarray(row, np.float64)
    table = table if table.size else np.zeros((0, 4))
    if table.ndim != 2 or table.shape[1] != 4 or not _inside(table):
        raise ValueError("proposals must be boxes [x0, y0, x1, y1] normalized to the image, x0 <= x1 and y0 <= y1")
    return torch.from_numpy(table.astype(np.float32))


def _inside(table: NDArray[np.float64]) -> bool:
    return bool(((table >= 0) & (table <= 1)).all() and (table[:, 2:] >= table[:, :2]).all())


def pool_boxes(features: Tensor, boxes_xyxy: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average a feature map over each box, bilinear between cells; a box without area takes the cell it is in.

    Args:    features: [B, rows · columns, C]. boxes_xyxy: [B, P, 4] normalized. grid: rows, columns.
    Returns: [B, P, C].
    Source:  RoIAlign (He et al. 2017) with one bin.
    """
    rows, columns = grid
    table = features.float().transpose(1, 2).reshape(len(features), features.shape[-1], rows, columns)
    low, high = boxes_xyxy[..., :2].float(), boxes_xyxy[..., 2:].float()
    corners = torch.cat([low, high.maximum(low + MIN_SIDE)], dim=-1)
    cells = corners * corners.new_tensor([columns, rows, columns, rows])
    pooled: Tensor = roi_align(table, list(cells), output_size=1, aligned=True)
    return pooled.reshape(*boxes_xyxy.shape[:2], features.shape[-1]).to(features.dtype)


def _area(low: Boxes, high: Boxes) -> Boxes:
    size = (high - low).clip(min=0)
    area: Boxes = size[..., 0] * size[..., 1]  # several times quicker than torch's prod(-1)
    return area
