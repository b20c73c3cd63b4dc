"""What each switch of a training costs: whole steps with their loading, with the switch on over off."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.learning import World, write
from benchmarks.rows import AS_MEASURED, Benchmark, Finding
from benchmarks.timing import take_turns
from grain.structures import Batch
from grain.train.train import Trainer
from grain.train_config import TrainConfig

SEED = 0
BATCH, ROUNDS, EVALUATIONS = 32, 15, 5
WORLD = World("switches", ("--images", "256", "--seed", "3", "--held-out-images", "64", "--classes", "8"))
SWITCHES: dict[str, dict[str, Any]] = {
    "average 0.999": {"average": 0.999},
    "rates by group": {"towers_rate": 0.1, "heads_rate": 2.0},
    "adapter rank 8": {"adapter_rank": 8},
    "flip": {"flip": True},
    "smallest crop 0.6": {"smallest_crop": 0.6},
    "colors 0.2": {"colors": 0.2},
}


class _Steps:
    """A trainer in a folder of its own, and its batches."""

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self.trainer = Trainer(replace(config, out=folder))
        self._batches: Iterator[Batch] = self.trainer._batches()

    def take(self) -> None:
        """Load a batch and take a step.

        Raises: ValueError: the guard skipped it, so that the step would be timed without its update.
        """
        self.trainer.take_step(next(self._batches))
        if self.trainer.guard.skipped:
            raise ValueError("the loss guard skipped a step: the time of a whole step cannot be taken")

    def evaluate(self) -> None:
        """Evaluate on the held-out pictures."""
        self.trainer._held_out_metrics()


def training_switches() -> Finding:
    """Take steps of the sample model in turns; the time is this process's own, on one core."""
    data = write(WORLD)
    plain = TrainConfig(data, Path(), batch_size=BATCH, seed=SEED, warmup_images=10**6, held_out_images=64)
    configs = {"none": plain} | {name: replace(plain, **changes) for name, changes in SWITCHES.items()}
    configs["mix of two sets"] = replace(plain, mix=(f"{data}=2",))
    watching = replace(plain, zero_shot=f"{data}#novel")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        steps = {name: _Steps(Path(place) / str(n), config) for n, (name, config) in enumerate(configs.items())}
        rounds = take_turns({name: each.take for name, each in steps.items()}, rounds=ROUNDS, clock=time.process_time)
        both = {"without": steps["none"], "with": _Steps(Path(place) / "watching", watching)}
        evaluations = take_turns(
            {name: each.evaluate for name, each in both.items()}, rounds=EVALUATIONS, clock=time.process_time
        )
        model = steps["none"].trainer.model
        trained = {name: _trained(steps[name].trainer) for name in ("none", "adapter rank 8")}
    ratios = {name: rounds.ratio(name, "none") for name in configs if name != "none"}
    table = [
        {"switch": name, "step, on over off": ratio[0], "low": ratio[1], "high": ratio[2]}
        for name, ratio in ratios.items()
    ]
    detail = {
        "step without, s": rounds.median("none"),
        "switches": table,
        "evaluation of 64 pictures with as many to classify, over without": evaluations.ratio("with", "without"),
        "parameters of the average": sum(parameter.numel() for parameter in model.parameters()),
        "trained parameters": trained["none"],
        "trained parameters with adapters": trained["adapter rank 8"],
        "model, batch, rounds": f"sample, {BATCH} pictures, {ROUNDS}",
        "clock": "processor time of one core, loading included",
    }
    return Finding(max(ratio[0] for ratio in ratios.values()), None, detail)


def _trained(trainer: Trainer) -> int:
    return sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)


BENCHMARKS = (
    Benchmark(
        "training_switches",
        "a training step with its loading, with each switch on over off, sample model: the dearest switch",
        AS_MEASURED,
        "×",
        SEED,
        training_switches,
    ),
)
