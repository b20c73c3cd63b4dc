"""Change how every transformer block of a model runs: recompute its activations, or compile it.

The names of the weights stay, so that checkpoints know nothing of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from grain.model.attention import any_attention, attention_now
from grain.model.model import GrainModel


def blocks_of(model: GrainModel) -> Iterator[nn.Module]:
    """List the blocks of both towers and of the decoder; a tower without a transformer has none."""
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


def compile_blocks(model: GrainModel) -> None:
    """Compile each block for training, whatever the numbers of images and tokens; call it before recompute_blocks.

    Raises: ValueError: no C++ compiler.
    """
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        raise ValueError(f"compile needs a C++ compiler and found no {compiler}: install one (g++), or leave it out")
    for block in blocks_of(model):
        _replace_forward(block, partial(_compiled, block.forward, torch.compile(block.forward, dynamic=True)))


def _compiled(plain: Callable[..., Any], compiled: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():  # an evaluation would compile everything once more
        return plain(*inputs, **options)
    with any_attention():
        return compiled(*inputs, **options)


def _replace_forward(block: nn.Module, forward: Callable[..., Any]) -> None:
    block.forward = forward
