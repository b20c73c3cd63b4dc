"""Only what torchvision.ops lacks: paired GIoU without the cross product."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor
from torchvision.ops import box_convert

from grain.structures import Array

Boxes = TypeVar("Boxes", Tensor, Array)
TINY = torch.finfo(torch.float32).tiny  # and bfloat16's


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """[..., 4] centre and size -> [..., 4] corners."""
    boxes_xyxy: Tensor = box_convert(boxes_cxcywh, "cxcywh", "xyxy")
    return boxes_xyxy


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """[..., 4] corners -> [..., 4] centre and size."""
    boxes_cxcywh: Tensor = box_convert(boxes_xyxy, "xyxy", "cxcywh")
    return boxes_cxcywh


def iou_and_giou(a_xyxy: Boxes, b_xyxy: Boxes) -> tuple[Boxes, Boxes]:
    """Overlap of boxes that broadcast against each other; boxes without area give 0, never NaN.

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


def _area(low: Boxes, high: Boxes) -> Boxes:
    size = (high - low).clip(min=0)
    area: Boxes = size[..., 0] * size[..., 1]  # several times quicker than torch's prod(-1)
    return area
