"""By how much a process grows while it works. Linux only."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path


def extra_megabytes(work: Callable[[], object]) -> float:
    """By how much the process grew at most while it worked."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier work let go and the C library kept would hide growth
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts from here
    before = _status("VmRSS")
    work()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    """Kilobytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
