"""Find this machine's devices and how many jobs each runs at a time. Asks the system, not torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

CPU, GPU, DATA, LIGHT = "cpu", "gpu", "data", "light"
BESIDE = {DATA: 1, LIGHT: 1}
"""Slots beside those that compute, for which nobody waits for hours: of jobs that read and write data sets, one after
the other, and of jobs that mostly wait for a server."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
NODES = Path("/dev")


def gpus(environment: Mapping[str, str] = os.environ, nodes: Path = NODES) -> tuple[str, ...]:
    """Return the GPUs that programs may use, as CUDA_VISIBLE_DEVICES names them."""
    if VISIBLE in environment:
        return tuple(name for name in environment[VISIBLE].split(",") if name.strip() and name != "-1")
    found = (re.fullmatch(r"nvidia(\d+)", node.name) for node in nodes.glob("nvidia[0-9]*"))
    return tuple(sorted((each[1] for each in found if each), key=int))


def slots_here(*, cpu: int = 1, gpu: int = 1) -> dict[str, int]:
    """Return the number of jobs a device runs at a time. cpu: jobs on the processors. gpu: jobs on each GPU."""
    return {CPU: cpu} | ({GPU: gpu * len(gpus())} if gpus() else {})


def visible_to(device: str, slot: int | None, *, width: int, all_gpus: tuple[str, ...]) -> dict[str, str]:
    """Return the environment of a job on GPUs. GPUs are assigned to slots round-robin."""
    if device != GPU or not all_gpus:
        return {}
    mine = dict.fromkeys(all_gpus[number % len(all_gpus)] for number in range(slot or 0, (slot or 0) + width))
    return {VISIBLE: ",".join(mine)}
