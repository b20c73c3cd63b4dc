"""Choose the attention kernel in training: on a CPU the fused one's backward is slow for few tokens."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

FEW_TOKENS = 128  # 65 an image: 115 images/s by plain products, 88 fused; 197: the fused kernel is 1.15 × quicker


def attention_over(tokens: int, device: torch.device) -> AbstractContextManager[None]:
    """Choose plain products where a training on this device is quicker with them, else what torch chooses.

    Args: tokens: how many each query attends to.
    """
    if device.type == "cpu" and tokens < FEW_TOKENS and torch.is_grad_enabled():
        plain: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
        return plain
    return nullcontext()


def attention_now() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return contexts for a pass and for its repetition: none, and the kernel that is chosen now."""
    plain = not torch.backends.cuda.flash_sdp_enabled()  # type: ignore[no-untyped-call]  # of every device, its name aside
    again: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()
    return nullcontext(), again


def any_attention() -> AbstractContextManager[None]:
    """Let torch choose again: compiled code cannot view what plain products leave (torch 2.13)."""
    every = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH]
    chosen: AbstractContextManager[None] = sdpa_kernel(every)
    return chosen
