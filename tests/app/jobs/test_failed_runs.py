"""A failing training of each kind: the sentence that is kept of it names the cause and the next step."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.jobs.outcome import outcome
from app.jobs.slurm import SlurmJob
from db.models import Job
from grain.command import flags_of
from grain.train.train import main
from grain.train_config import TrainConfig
from tests.grain.train.test_train import poison_start, poisoned_data, settings
from tests.support.tiny import finish, start, write_data
from tests.support.waiting import until


def command(config: TrainConfig, memory: int = 0) -> None:
    """Run `python -m grain.train`. memory: bytes that the process may have beyond what it has now; 0 for any."""
    sys.argv = ["grain.train", *flags_of(config)]
    if memory:
        limit = psutil.Process().memory_info().vms + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    main()


def reason_of(config: TrainConfig, folder: Path, memory: int = 0) -> str:
    """What the job of a training keeps as the reason of its end."""
    process = start(command, config, memory, log=folder / "log")
    code = finish(process)
    assert code, "it failed"
    found = outcome(code, (folder / "log").read_text())
    assert found.state == "failed"
    return found.reason


def broken_shard(data: Path) -> None:
    shard = min(data.glob("train-*.tar"))
    shard.write_bytes(shard.read_bytes()[:700])


def no_shard(data: Path) -> None:
    min(data.glob("train-*.tar")).unlink()


def no_picture(data: Path) -> None:
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["splits"]["train"] = []
    (data / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(("harm", "cause", "step"), [
    (broken_shard, "Shard train-000000.tar cannot be read (it ends in the middle", "copy or write the shards again."),
    (no_shard, "lacks train-000000.tar and 0 more shards", "copy or write them again."),
    (no_picture, "The data has 0 images, fewer than one batch of 4", "use less."),
    (shutil.rmtree, "has no manifest.json", "expected a data folder as curation writes it."),
])  # fmt: skip
def test_data(tmp_path: Path, harm: Callable[[Path], None], cause: str, step: str) -> None:
    config = settings(write_data(tmp_path / "tiny"), tmp_path)
    harm(config.data)
    reason = reason_of(config, tmp_path)
    assert cause in reason and reason.endswith(step)


def test_numbers_that_are_none(tmp_path: Path) -> None:
    data = poisoned_data(tmp_path / "data", set(range(12)))
    config = settings(data, tmp_path, init=poison_start(tmp_path / "poison"), patience=1)
    reason = reason_of(config, tmp_path)
    assert reason.startswith("The loss broke 4 times, 1 steps in a row each, the last time at step 3: look at the data")
    assert reason.endswith("or lower learning_rate and choose another --out.")


def test_memory(tmp_path: Path) -> None:
    config = settings(write_data(tmp_path / "tiny"), tmp_path, init=None, preset="vit-b-16")
    reason = reason_of(config, tmp_path, memory=200 * 2**20)
    assert reason.startswith("memory: it ran out of memory: take a smaller batch or model, or end other programs")


def test_disk(tmp_path: Path, small_disk: Path) -> None:
    config = settings(write_data(tmp_path / "tiny"), tmp_path, out=small_disk / "run")
    (small_disk / "ballast").write_bytes(b"0" * (shutil.disk_usage(small_disk).free - 2**18))
    reason = reason_of(config, tmp_path)
    assert reason.startswith("The disk is full: free some space on ") and "try again" in reason


def test_killed(tmp_path: Path) -> None:
    config = settings(write_data(tmp_path / "tiny"), tmp_path, images=48_000)
    process = start(command, config, 0, log=tmp_path / "log")
    while not (config.out / "metrics.jsonl").is_file():
        process.join(0.01)
        assert process.is_alive(), (tmp_path / "log").read_text()
    os.kill(process.pid or 0, signal.SIGKILL)
    found = outcome(finish(process) or 0, (tmp_path / "log").read_text())
    assert (found.state, found.reason) == ("interrupted", "killed by signal 9 (SIGKILL)")  # the queue tries it again
    memory = outcome(-9, "", for_memory=True)
    assert memory.state == "failed" and "take a smaller batch or model" in memory.reason


REFUSAL = "sbatch: error: Batch job submission failed: Invalid partition name specified"


def test_a_cluster_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands named as Slurm's: a version, and otherwise a refusal as Slurm words it."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("sbatch", "srun", "squeue", "scancel"):
        (commands / name).write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo slurm 24 && exit 0\necho "{REFUSAL}" >&2\nexit 1\n'
        )
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    home = tmp_path / "home"
    monkeypatch.setenv("GRAIN_HOME", str(home))
    monkeypatch.setenv("GRAIN_SHARED_URL", f"file://{home}")
    one, two = home / "worlds" / "1", home / "worlds" / "2"
    train = {"out": str(home / "runs" / "r"), "data": str(one), "mix": [f"{two}=2"], "zero_shot": f"{two}#novel"}
    config = {"train": train, "asked": {"processes": 1}}
    job = Job(id=1, kind="train", owner="ada", config=config, argv=["python", "-m", "grain.train"], token=1)
    (home / "jobs" / "1").mkdir(parents=True)
    backend = SlurmJob(job, home / "jobs" / "1")
    assert backend.order().needs == ("worlds/1", "worlds/2"), "what is mixed in and classified is sent too, once"
    backend.submit()
    until(lambda: backend.poll() is not None, "the cluster answers")
    code = backend.poll()
    assert code is not None
    reason = outcome(code, backend.tail()).reason
    assert reason == (
        f"The cluster refused the job ({REFUSAL}): correct its partition, account, hours, cores and memory."
    )
