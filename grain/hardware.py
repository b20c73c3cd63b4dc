"""Tell what a device computes fast. torch is imported when somebody asks."""

from __future__ import annotations


def uses_bf16(precision: str, device: str) -> bool:
    """Tell whether a precision means bfloat16 on a device; `auto` does where it is multiplied in hardware."""
    return precision == "bf16" or (precision == "auto" and multiplies_bf16(device))


def multiplies_bf16(device: str) -> bool:
    """Tell whether a device multiplies bfloat16 in hardware; a processor that does not is up to a hundred times slower.

    Args: device: its type, `cpu` or `cuda`.
    """
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())
