"""Save and load the state of a training: weights, optimiser, guard and step; RNG and data position follow from it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from grain.checkpoint import WEIGHTS, CheckpointError, checkpoint_folder, verify
from grain.train.averaging import AveragedWeights
from grain.train.guard import LossGuard

OPTIMISER, STATE, LOCK = "optimiser.safetensors", "state.json", "training.lock"
AVERAGE = "average.safetensors"


@contextmanager
def only_trainer(folder: Path) -> Iterator[None]:
    """Keep every other process from training in a folder; the system releases the lock however this one ends.

    The lock is the process's own: loader workers that outlive a killed trainer do not hold it. Where the file system
    has no locks, a sentence says so and the training runs without.

    Raises: ValueError: another process trains there.
    """
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                raise ValueError(
                    f"{folder} is being trained already (process {file.read().strip() or 'unknown'}): wait for it, or"
                    " choose another folder"
                ) from error
            print(f"{folder} cannot be locked ({error.strerror}): see that nothing else trains there", file=sys.stderr)
        file.truncate(0)
        file.write(f"{os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        yield


def save_state(
    folder: Path,
    step: int,
    *,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    guard: LossGuard,
    keep: int,
    average: AveragedWeights[Any] | None = None,
) -> None:
    """Write checkpoints/step-XXXXXXXX whole, then delete all but the newest `keep`.

    Raises: DiskFullError: the earlier ones are intact.
    """
    with checkpoint_folder(folder / f"step-{step:08d}") as place:
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, place / WEIGHTS)
        if average is not None:
            save_file({key: value.contiguous() for key, value in average.state_dict().items()}, place / AVERAGE)
        save_file(_flat(optimiser), place / OPTIMISER)
        (place / STATE).write_text(json.dumps({"step": step, "guard": asdict(guard)}), encoding="utf-8")
    for old in _states(folder)[keep:]:
        shutil.rmtree(old)


def load_state(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, *, average: AveragedWeights[Any] | None = None
) -> tuple[int, LossGuard, list[str]] | None:
    """Fill model, optimiser and average from the newest state that is whole.

    Returns: step, guard, and one sentence for every state that was refused; None where there is none.
    Raises:  CheckpointError: no state is whole.
    """
    refused = []
    for state in _states(folder):
        try:
            verify(state)
        except CheckpointError as error:
            refused.append(str(error))
            continue
        facts = json.loads((state / STATE).read_text(encoding="utf-8"))
        model.load_state_dict(load_file(state / WEIGHTS))
        if average is not None:
            average.load_state_dict(load_file(state / AVERAGE))
        _restore(optimiser, load_file(state / OPTIMISER))
        sentences = [f"{reason}; falling back to the one before" for reason in refused]
        return int(facts["step"]), LossGuard(**facts["guard"]), sentences
    if refused:
        raise CheckpointError(f"no usable state is left in {folder.name}: {refused[0]}; start again in another folder")
    return None


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _flat(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    def rows() -> Iterator[tuple[str, torch.Tensor]]:
        for index, state in optimiser.state_dict()["state"].items():
            for name, value in state.items():
                yield f"{index}.{name}", torch.as_tensor(value).contiguous()

    return dict(rows())


def _restore(optimiser: torch.optim.Optimizer, flat: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in flat.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
