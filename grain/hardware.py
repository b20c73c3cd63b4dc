"""Tell what a device computes fast. torch is imported when somebody asks."""

from __future__ import annotations

import platform
from pathlib import Path


def uses_bf16(precision: str, device: str) -> bool:
    """Tell whether a precision means bfloat16 on a device; `auto` does where it is faster than float32."""
    return precision == "bf16" or (precision == "auto" and multiplies_bf16(device))


def precision_used(precision: str, device: str) -> str:
    """Return what a precision of a training means on a device: bf16, tf32 or fp32. device: its type."""
    if uses_bf16(precision, device):
        return "bf16"
    return "tf32" if precision == "tf32" and device == "cuda" else "fp32"


def set_matmul_precision(precision: str) -> None:
    """Set how float32 is multiplied by this process: in TF32 on NVIDIA's cards where that is the precision."""
    import torch

    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def device_name(device: str) -> str:
    """Return the name of a GPU as its maker calls it; of another device its type. device: as `cpu:0`, `cuda`."""
    import torch

    kind = device.partition(":")[0]
    return torch.cuda.get_device_name(device) if kind == "cuda" else kind


def multiplies_bf16(device: str) -> bool:
    """Tell whether a device multiplies bfloat16 faster than float32; a processor may be up to a hundred times slower.

    Intel's processors do with AMX only: with AVX-512 alone bfloat16 was slower wherever it was measured.

    Args: device: its type, `cpu` or `cuda`.
    """
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.cpu._is_amx_tile_supported():
        return True
    facts = Path("/proc/cpuinfo")
    maker = facts.read_text(encoding="utf-8") if facts.is_file() else platform.processor()
    return bool(torch.cpu._is_avx512_bf16_supported()) and "GenuineIntel" not in maker
