"""A benchmark, what it finds, and the row that both become: one JSON line that says on what it was measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from grain.hardware import multiplies_bf16

ROOT = Path(__file__).parent.parent
AS_MEASURED = "as measured"  # a bar that nothing can miss
LIBRARIES = {"open_clip": "open_clip_torch"} | {
    name: name for name in ("torch", "torchvision", "accelerate", "scipy", "numpy", "gradio")
}


@dataclass(frozen=True)
class Finding:
    """What a run found. holds: None where the bar is "as measured".

    detail: name -> a scalar, an estimate [value, low, high], or a table as a list of such dicts with the same keys.
    """

    value: float | None
    holds: bool | None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """One claim. what: its line in the table. bar: what must hold, in words. seed: of everything random in it."""

    name: str
    what: str
    bar: str
    unit: str
    seed: int
    measure: Callable[[], Finding]


def row_of(benchmark: Benchmark, finding: Finding) -> dict[str, Any]:
    """The row: plain JSON types, the finding with where it comes from."""
    return {
        "name": benchmark.name,
        "what": benchmark.what,
        "value": finding.value,
        "bar": benchmark.bar,
        "unit": benchmark.unit,
        "holds": finding.holds,
        "detail": finding.detail,
        "command": f"python -m benchmarks.run {benchmark.name}",
        "seed": benchmark.seed,
        "versions": {
            "python": platform.python_version(),
            **{name: version(package) for name, package in LIBRARIES.items()},
        },
        "machine": asdict(machine()),
    }


def failure(reason: str) -> Finding:
    """A benchmark that could not run: a row as well, with its reason and without this machine's paths."""
    for place, replacement in ((str(ROOT), "."), (str(Path.home()), "~")):
        reason = reason.replace(place, replacement)
    return Finding(None, False, {"reason": " ".join(reason.split())[:500]})


@dataclass(frozen=True)
class Machine:
    """What a number was measured on. bf16: the processor multiplies it in hardware."""

    cpu: str
    cores: int
    threads: int
    bf16: bool


def machine() -> Machine:
    """This one."""
    return Machine(_cpu_model(), os.cpu_count() or 1, torch.get_num_threads(), multiplies_bf16("cpu"))


def _cpu_model() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
