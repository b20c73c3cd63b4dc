"""Compute contrastive losses in memory that grows with M + C, not with the M · C of the logits.

The logits are made a few rows at a time and made again for the gradient, so that a batch of 16,384 costs megabytes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MAX_LOGITS = 2**22  # that exist at a time: 16 MiB in float32


def towards_classes(rows: Tensor, classes: Tensor, target: Tensor, *, logit_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross entropies of exp(logit_scale) · rows · classes in both directions, each a mean over the rows.

    Args:    rows: [M, E], M ≥ 1. classes: [C, E]. target: [M] the class of each row. logit_scale: log of the scale.
    Returns: from each row to its class among all classes; and from each row's class back to it among the rows of
             other classes: rows of one class are not each other's negatives.
    Raises:  ValueError: there are not as many targets as rows.
    """
    if len(target) != len(rows):
        raise ValueError(f"expected a target for each of {len(rows)} rows, got {len(target)}")
    own = logit_scale.exp() * (rows * classes[target]).sum(-1)  # [M]
    row_sums, others = _LogSums.apply(rows, classes, target, logit_scale)  # type: ignore[no-untyped-call]
    back = torch.logaddexp(own, others[target])
    return (row_sums - own).mean(), (back - own).mean()


class _LogSums(torch.autograd.Function):
    """[M] log of the sum over classes; [C] log of the sum over the rows of other classes, −∞ where there are none."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        rows, classes, target, logit_scale = inputs
        row_sums = []
        others = rows.new_full((len(classes),), float("-inf"))
        for part in _parts(rows, classes):
            logits = logit_scale.exp() * rows[part] @ classes.T
            row_sums.append(logits.logsumexp(dim=1))
            logits.scatter_(1, target[part, None], float("-inf"))
            others = torch.logaddexp(others, logits.logsumexp(dim=0))
        sums = torch.cat(row_sums)
        ctx.save_for_backward(rows, classes, target, logit_scale, sums, others)
        return sums, others

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, Tensor]:
        rows, classes, target, logit_scale, sums, others = ctx.saved_tensors
        of_sums, of_others = gradients
        scale = logit_scale.exp()
        others = others.clamp(min=torch.finfo(others.dtype).min)  # no row of another class: a share of 0, not of 0/0
        to_rows, to_classes, to_scale = torch.empty_like(rows), torch.zeros_like(classes), torch.zeros_like(logit_scale)
        for part in _parts(rows, classes):
            logits = scale * rows[part] @ classes.T
            share = (logits - sums[part, None]).exp_().mul_(of_sums[part, None])
            to_scale += (share * logits).sum()
            back = logits.scatter(1, target[part, None], float("-inf")).sub_(others).exp_().mul_(of_others)
            to_scale += (back * logits).sum()
            share += back
            to_rows[part] = scale * share @ classes
            to_classes.addmm_(share.T, rows[part])
        return to_rows, to_classes.mul_(scale), None, to_scale


def _parts(rows: Tensor, classes: Tensor) -> list[slice]:
    step = max(1, MAX_LOGITS // max(len(classes), 1))
    return [slice(first, first + step) for first in range(0, len(rows), step)]
