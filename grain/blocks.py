"""What every transformer block of a model can be told: forget activations and make them again.

The names of the weights stay, so that checkpoints know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from grain.attention import attention_now
from grain.model import GrainModel


def blocks_of(model: GrainModel) -> Iterator[nn.Module]:
    """The blocks of both towers and of the decoder; a tower without a transformer has none."""
    for tower in (model.vision, model.text):
        yield from getattr(getattr(tower.trunk, "transformer", None), "resblocks", ())
    if model.decoder is not None:
        yield from model.decoder.layers


def recompute_blocks(model: GrainModel) -> None:
    """Keep only what goes into a block, and run it again for its gradient: the same numbers in less memory."""
    for block in blocks_of(model):
        _replace_forward(block, partial(_recomputed, block.forward))


def _recomputed(forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **options)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=attention_now, **options)


def _replace_forward(block: nn.Module, forward: Callable[..., Any]) -> None:
    block.forward = forward
