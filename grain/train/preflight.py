"""Run dry steps of a training:  python -m grain.train.preflight <the flags of grain.train>

The run's own model, data, batch and step, and an evaluation of a few pictures, in a folder that is thrown away: what it
needs of memory and time is measured before it is queued for hours. Prints one JSON object (see `Report`).
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from grain.command import exit_sentence
from grain.data.loader import Shards, find_shards, read_records, to_device
from grain.hardware import device_name
from grain.structures import SCHEMA_VERSION
from grain.train.region_trainer import RegionTrainer
from grain.train.start import starts_from_regions
from grain.train.train import Trainer, config_from, region_trainer
from grain.train.watch import memory_bytes
from grain.train_config import TrainConfig

DRY_STEPS = 4  # the first one makes buffers and reads the shards' headers, the others are timed
DRY_PICTURES = 16  # evaluated, in place of all that a run evaluates on


@dataclass(frozen=True)
class PreflightReport:
    """Measurements of the main process. Bytes, seconds. memory_total_bytes: of the GPU, or of this machine.

    seconds_per_step: with what loading holds up; loading_seconds: of this process reading a batch alone;
    evaluation_seconds: of one evaluation, scaled up from a few pictures. Saved states are not in them. reading_seconds:
    of all pictures before the first step, where regions alone are trained.
    """

    device: str
    processes: int
    parameters: int
    trainable: int
    memory_bytes: int
    memory_total_bytes: int
    seconds_per_step: float
    loading_seconds: float
    evaluation_seconds: float
    steps: int
    loss: float
    train_images: int
    held_out_images: int
    reading_seconds: float = 0.0
    schema_version: int = SCHEMA_VERSION


def preflight(config: TrainConfig) -> PreflightReport | None:
    """Take the steps and measure them; None in all processes but the main one.

    Raises: ValueError, CheckpointError, OSError: what the training would say.
    """
    held_out = find_shards(config.data, "held_out")
    if not held_out.images:
        raise ValueError(f"the split held_out of {config.data} has no pictures: write the data again with some")
    if starts_from_regions(config):
        return _regions_preflight(config, held_out)
    with tempfile.TemporaryDirectory(prefix="grain-preflight-") as folder:
        # not compiled, which takes minutes and gives less of both; read here, since workers read ahead of what is timed
        pictures = min(DRY_PICTURES, config.held_out_images, held_out.images)
        dry = replace(config, out=Path(folder) / "run", workers=0, held_out_images=pictures)
        trainer = Trainer(replace(dry, tracker="none", compile=False))
        loading, stepping, loss = _dry_steps(trainer, min(DRY_STEPS, config.steps))
        began = time.perf_counter()
        if trainer.main:
            trainer._held_out_metrics()
        evaluating = (time.perf_counter() - began) * min(config.held_out_images, held_out.images) / pictures
        trainer.accelerator.wait_for_everyone()
    if not trainer.main:
        return None
    costs = {"seconds_per_step": step_seconds(loading, stepping, config.workers), "loading_seconds": loading}
    processes, device = trainer.accelerator.num_processes, trainer.accelerator.device
    return _report(trainer, loss, held_out, device=device, processes=processes, **costs, evaluation_seconds=evaluating)


def _regions_preflight(config: TrainConfig, held_out: Shards) -> PreflightReport:
    """Read a few pictures through the networks, take the steps on them, and evaluate some."""
    with tempfile.TemporaryDirectory(prefix="grain-preflight-") as folder:
        pictures = min(DRY_PICTURES, config.held_out_images, held_out.images)
        trainer = region_trainer(replace(config, out=Path(folder) / "run", held_out_images=pictures))
        began = time.perf_counter()
        records = list(read_records(trainer.shards, limit=DRY_PICTURES))
        trainer.learn_from(trainer.read_few(records))
        reading = (time.perf_counter() - began) / len(records) * trainer.shards.images
        stepping, loss, began = [], 0.0, time.perf_counter()
        for batch in islice(trainer.batches(), DRY_STEPS):
            loss = trainer.take_step(batch)["loss"]
            stepping.append(time.perf_counter() - began)
            began = time.perf_counter()
        trainer.evaluate()
        evaluating = (time.perf_counter() - began) * min(config.held_out_images, held_out.images) / pictures
    costs = {"seconds_per_step": statistics.median(stepping[1:] or stepping), "loading_seconds": 0.0}
    costs |= {"evaluation_seconds": evaluating, "reading_seconds": reading}
    return _report(trainer, loss, held_out, device=trainer.device, processes=1, **costs)


def _report(
    trainer: Trainer | RegionTrainer, loss: float, held_out: Shards, *, device: torch.device, **measured: Any
) -> PreflightReport:
    """Return what was measured of a trainer."""
    weights = list(trainer.model.parameters())
    return PreflightReport(
        device=device_name(str(device)),
        parameters=sum(weight.numel() for weight in weights),
        trainable=sum(weight.numel() for weight in weights if weight.requires_grad),
        memory_bytes=memory_bytes(device),
        memory_total_bytes=_memory_total(device),
        steps=trainer.config.steps,
        loss=loss,
        train_images=trainer.shards.images,
        held_out_images=held_out.images,
        **measured,
    )


def _dry_steps(trainer: Trainer, steps: int) -> tuple[float, float, float]:
    """Return median seconds of loading a batch and of a step, and the last loss; a first step counts only alone."""
    device, batches = trainer.accelerator.device, trainer._batches()
    loading, stepping, loss = [], [], 0.0
    for _ in range(steps):
        began = time.perf_counter()
        batch = next(batches)
        read = time.perf_counter()
        loss = trainer.take_step(to_device(batch, device))["loss"]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        loading.append(read - began)
        stepping.append(time.perf_counter() - read)
    return statistics.median(loading[1:] or loading), statistics.median(stepping[1:] or stepping), loss


def step_seconds(loading: float, stepping: float, workers: int) -> float:
    """Return how long a step takes: after its loading, or beside that of so many workers, if that is longer."""
    return max(stepping, loading / workers) if workers else loading + stepping


def _memory_total(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with exit_sentence("grain.train.preflight"):
        report = preflight(config_from(sys.argv[1:] if arguments is None else arguments, about=__doc__))
    if report is not None:
        print(json.dumps(asdict(report)), flush=True)


if __name__ == "__main__":
    main()
