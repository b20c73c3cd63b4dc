"""Two dry steps of a training:  python -m grain.preflight <the flags of grain.train>

The run's own model, data, batch and step, in a folder that is thrown away: what it needs of memory and time is measured
before it is queued for hours. Prints one JSON object (see `Report`).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import tyro

from grain.data import find_shards, to_device
from grain.structures import SCHEMA_VERSION
from grain.train import Trainer
from grain.train_config import TrainConfig
from grain.watch import memory_bytes

DRY_STEPS = 2  # the first one makes buffers and compiles, the second one is timed


@dataclass(frozen=True)
class Report:
    """What was measured, by the main process. Bytes, seconds. memory_total_bytes: of the GPU, or of this machine."""

    device: str
    processes: int
    parameters: int
    trainable: int
    memory_bytes: int
    memory_total_bytes: int
    seconds_per_step: float
    steps: int
    loss: float
    train_images: int
    held_out_images: int
    schema_version: int = SCHEMA_VERSION


def preflight(config: TrainConfig) -> Report | None:
    """Take the steps; None in all processes but the main one.

    Raises: ValueError, CheckpointError, OSError: what the training would say.
    """
    held_out = find_shards(config.data, "held_out")
    if not held_out.images:
        raise ValueError(f"the split held_out of {config.data} has no pictures: write the data again with some")
    with tempfile.TemporaryDirectory(prefix="grain-preflight-") as folder:
        # not compiled, which takes minutes and gives less of both
        trainer = Trainer(replace(config, out=Path(folder) / "run", tracker="none", compile=False))
        device, batches, loss, seconds = trainer.accelerator.device, trainer._batches(), 0.0, 0.0
        for _ in range(min(DRY_STEPS, config.steps)):
            batch = to_device(next(batches), device)
            began = time.perf_counter()
            loss = trainer.take_step(batch)["loss"]
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - began
        trainer.accelerator.wait_for_everyone()
    if not trainer.main:
        return None
    weights = list(trainer.model.parameters())
    return Report(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        processes=trainer.accelerator.num_processes,
        parameters=sum(weight.numel() for weight in weights),
        trainable=sum(weight.numel() for weight in weights if weight.requires_grad),
        memory_bytes=memory_bytes(device),
        memory_total_bytes=_memory_total(device),
        seconds_per_step=seconds,
        steps=config.steps,
        loss=loss,
        train_images=trainer.shards.images,
        held_out_images=held_out.images,
    )


def _memory_total(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    try:
        report = preflight(tyro.cli(TrainConfig, args=arguments, description=__doc__))
    except (ValueError, OSError) as error:
        sys.exit(f"grain.preflight: {error}")
    if report is not None:
        print(json.dumps(asdict(report)), flush=True)


if __name__ == "__main__":
    main()
