"""Only what torchvision.ops lacks: paired GIoU without the cross product."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_convert


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """[..., 4] centre and size -> [..., 4] corners."""
    boxes_xyxy: Tensor = box_convert(boxes_cxcywh, "cxcywh", "xyxy")
    return boxes_xyxy


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """[..., 4] corners -> [..., 4] centre and size."""
    boxes_cxcywh: Tensor = box_convert(boxes_xyxy, "xyxy", "cxcywh")
    return boxes_cxcywh


def iou_and_giou(a_xyxy: Tensor, b_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Overlap of boxes that broadcast against each other; boxes without area give 0, never NaN.

    Args:    a_xyxy, b_xyxy: [..., 4], leading dimensions broadcast.
    Returns: IoU and GIoU, each [...].
    Source:  Rezatofighi et al. 2019, equations 1 and 2.
    """
    tiny = torch.finfo(a_xyxy.dtype).tiny
    (a_low, a_high), (b_low, b_high) = a_xyxy.chunk(2, dim=-1), b_xyxy.chunk(2, dim=-1)
    intersection = _area(torch.maximum(a_low, b_low), torch.minimum(a_high, b_high))
    hull = _area(torch.minimum(a_low, b_low), torch.maximum(a_high, b_high))
    union = _area(a_low, a_high) + _area(b_low, b_high) - intersection
    iou = intersection / union.clamp(min=tiny)
    return iou, iou - (hull - union) / hull.clamp(min=tiny)


def _area(low: Tensor, high: Tensor) -> Tensor:
    width, height = (high - low).clamp(0).unbind(-1)
    return width * height  # several times quicker than prod(-1)
