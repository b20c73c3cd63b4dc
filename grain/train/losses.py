"""Compute the three losses. Tensors in, tensors out; each has the same value over one process or many."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grain.boxes import cxcywh_to_xyxy, iou_and_giou, xyxy_to_cxcywh
from grain.structures import GrainOutput, RegionTargets
from grain.train.contrast import towards_classes
from grain.train.distributed import gather_counts, gather_rows, world_size
from grain.train.matching import match
from grain.train_config import LossWeights


@dataclass(frozen=True)
class Losses:
    """Scalars. box_iou: mean IoU of matched boxes, to be watched, without gradient.

    Over several processes each holds its share, and the mean over processes is the whole batch's number.
    """

    total: Tensor
    image_caption: Tensor
    box: Tensor
    region_description: Tensor
    box_iou: Tensor


def image_caption_loss(image_embeds: Tensor, caption_embeds: Tensor, logit_scale: Tensor) -> Tensor:
    """Compute symmetric InfoNCE over the global batch.

    Args:   image_embeds: [B, E] unit length. caption_embeds: [B + N, E] too, of the images, then of N hard negatives,
            which images are told from but which are told from no image. All are gathered here with gradient.
            logit_scale: log of the scale.
    Raises: ValueError: there are fewer captions than images.
    Source: Radford et al. 2021, figure 3; hard negatives as in Yuksekgonul et al. 2023, section 4.
    """
    own, negatives = caption_embeds[: len(image_embeds)], caption_embeds[len(image_embeds) :]
    images, captions = gather_rows(image_embeds), gather_rows(own)
    if len(images) != len(captions):
        raise ValueError(f"expected a caption for each of {len(images)} images, got {len(captions)}")
    texts = torch.cat((captions, gather_rows(negatives)))
    forward, backward = towards_classes(
        images, texts, torch.arange(len(images), device=images.device), logit_scale=logit_scale
    )
    return (forward + backward) / 2


def box_loss(boxes_cxcywh: Tensor, targets_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Compute (L1 summed over coordinates + 1 − GIoU) / N, mean over layers; N = boxes of all processes, at least 1.

    Args:    boxes_cxcywh: [K, M, 4] matched boxes of each layer. targets_xyxy: [M, 4].
    Returns: the loss, and the mean IoU of the last layer without gradient (0 for no boxes); of several processes each
             returns a share, whose mean over them is the number.
    """
    count = max(sum(gather_counts(len(targets_xyxy), targets_xyxy.device)), 1)
    share = world_size() / count  # gradients are averaged over processes
    l1 = (boxes_cxcywh - xyxy_to_cxcywh(targets_xyxy)).abs().sum()
    iou, giou = iou_and_giou(cxcywh_to_xyxy(boxes_cxcywh), targets_xyxy)
    mean_iou = iou[-1].detach().sum() * share if iou.numel() else boxes_cxcywh.new_zeros(())
    return (l1 + (1 - giou).sum()) * (share / max(len(boxes_cxcywh), 1)), mean_iou


def region_description_loss(
    region_embeds: Tensor,
    text_embeds: Tensor,
    *,
    text_index: Tensor,
    text_ids: Tensor,
    logit_scale: Tensor,
    symmetric: bool = True,
    gathered: bool = True,
) -> Tensor:
    """Compute the cross entropy between matched regions and descriptions; equal texts are one class.

    Args:
        region_embeds: [M, E] matched regions. text_embeds: [U, E] unique texts of this process.
        text_index: [M] row of each region's text. text_ids: [U] hashes equal on every process.
        logit_scale: log of the scale.
        symmetric: also from description to region, where regions of the same text are not each other's negatives.
        gathered: over all processes.
    Returns: scalar; 0 with a (zero) gradient where there is no region.
    """
    ids = text_ids[text_index]
    if gathered:
        region_embeds, ids = gather_rows(region_embeds), gather_rows(ids)
        text_embeds, text_ids = gather_rows(text_embeds), gather_rows(text_ids)
    if len(region_embeds) == 0:
        return (region_embeds.sum() + text_embeds.sum() + logit_scale) * 0
    unique, first = _first_of_each(text_ids)
    forward, backward = towards_classes(
        region_embeds, text_embeds[first], torch.searchsorted(unique, ids), logit_scale=logit_scale
    )
    return (forward + backward) / 2 if symmetric else forward


def grain_losses(
    output: GrainOutput,
    *,
    caption_embeds: Tensor,
    description_embeds: Tensor,
    targets: RegionTargets,
    description_ids: Tensor,
    logit_scale: Tensor,
    weights: LossWeights,
) -> Losses:
    """Compute all losses of one step. Matching is done once, on the last layer's boxes, and serves every layer."""
    contrast = image_caption_loss(output.image_embeds, caption_embeds, logit_scale)
    if output.region_embeds.shape[1] == 0:
        zero = contrast.detach() * 0
        return Losses(contrast * weights.image_caption, contrast.detach(), zero, zero, zero)
    region, query = match(output.boxes_cxcywh[-1], targets, output.region_mask)
    image = targets.image_index[region]
    boxes, iou = box_loss(output.boxes_cxcywh[:, image, query], targets.boxes_xyxy[region])
    boxes = boxes * weights.box_scale + output.boxes_cxcywh.sum() * 0
    described = region_description_loss(
        output.region_embeds[image, query],
        description_embeds,
        text_index=targets.text_index[region],
        text_ids=description_ids,
        logit_scale=logit_scale,
        symmetric=weights.symmetric,
        gathered=weights.gathered,
    )
    described = (
        described + (output.region_embeds.sum() + description_embeds.sum()) * 0
    )  # keep unused outputs in the autograd graph
    total = weights.image_caption * contrast + weights.box * boxes + weights.region_description * described
    return Losses(total, contrast.detach(), boxes.detach(), described.detach(), iou)


def _first_of_each(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return sorted distinct ids and the first row of each."""
    unique, inverse = torch.unique(ids, sorted=True, return_inverse=True)
    rows = torch.arange(len(ids), device=ids.device)
    first = torch.full((len(unique),), len(ids), device=ids.device).scatter_reduce_(0, inverse, rows, "amin")
    return unique, first
