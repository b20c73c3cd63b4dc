"""Train on large batches in little memory: the loss sees the whole batch, the towers see a piece at a time.

Contrastive losses are not additive over micro-batches, so plain accumulation would change the negatives. Here the
embeddings of all pieces come first, without a graph; the loss gives each embedding its gradient; then every piece runs
again and carries its part of that gradient into the weights.
Source: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup".
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from grain.structures import Batch, GrainOutput, Proposals
from grain.train.losses import Losses

Forward = Callable[[Tensor, list[Tensor], Proposals | None], tuple[GrainOutput, list[Tensor], Tensor]]
LossOf = Callable[[GrainOutput, list[Tensor], Tensor], Losses]


def cached_backward(
    forward: Forward,
    batch: Batch,
    loss_of: LossOf,
    *,
    pieces: int,
    seed: int,
    backward: Callable[[Tensor], None] = torch.Tensor.backward,
    no_sync: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Losses:
    """Compute the gradient of the loss over the whole batch, as one pass would (up to rounding).

    Args:
        forward: images, text tables, proposals -> output, text embeddings, logit scale.
        loss_of: those three over the whole batch -> Losses.
        pieces: how many parts the batch is cut into. seed: for dropout, so that both runs of a piece are the same.
        backward, no_sync: accelerate's, where there are several processes.
    Raises: ValueError: more pieces than images, or none.
    """
    if not 1 <= pieces <= len(batch.images):
        raise ValueError(f"pieces must lie between 1 and the {len(batch.images)} images of a batch, got {pieces}")
    texts = [table for table in (batch.captions, batch.descriptions) if len(table)]
    proposals = _cut(batch.proposals, pieces)
    cuts = [
        (images, [table.tensor_split(pieces)[i] for table in texts], proposals[i])
        for i, images in enumerate(batch.images.tensor_split(pieces))
    ]

    def run(piece: int) -> tuple[list[Tensor], Tensor]:
        torch.manual_seed(seed * pieces + piece)
        output, embeds, scale = forward(*cuts[piece])
        return [output.image_embeds, output.region_embeds, output.boxes_cxcywh, *embeds], scale

    with torch.no_grad():
        parts = [run(piece) for piece in range(pieces)]
    leaves = [[each.detach().requires_grad_() for each in tensors] for tensors, _ in parts]
    scale = parts[0][1].detach().requires_grad_()
    images, regions, *embeds = (torch.cat(kind) for kind in zip(*(row[:2] + row[3:] for row in leaves), strict=True))
    boxes = torch.cat([row[2] for row in leaves], dim=1)
    mask = None if batch.proposals is None else batch.proposals.mask
    losses = loss_of(GrainOutput(images, regions, boxes, mask), embeds, scale)
    losses.total.backward()  # type: ignore[no-untyped-call]
    for piece in range(pieces):
        with nullcontext() if piece == pieces - 1 else no_sync():
            tensors, again = run(piece)
            carried = sum((t * _gradient(leaf)).sum() for t, leaf in zip(tensors, leaves[piece], strict=True))
            backward(carried + again * _gradient(scale) / pieces)
    return losses


def _cut(proposals: Proposals | None, pieces: int) -> list[Proposals | None]:
    if proposals is None:
        return [None] * pieces
    tables = (proposals.boxes_xyxy.tensor_split(pieces), proposals.mask.tensor_split(pieces))
    return [Proposals(*rows) for rows in zip(*tables, strict=True)]


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
