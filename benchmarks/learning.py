"""The trainings behind the learning benchmarks, as data: `python -m benchmarks.learning train NAME` runs one.

They go into GRAIN_BENCH_DIR (default .bench/). A finished training is known by its final/ folder and an interrupted one
resumes, so asking again costs nothing. The embedded pair in grain/checkpoints is trained by `make sample`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

import tyro
from filelock import FileLock

from benchmarks.audited import Dropped, audit_filter, filter_judge
from benchmarks.noisy_annotations import Keep, everything, write_noisy
from curation.annotate.sample_annotators import SampleConfig
from curation.sample.shapes import KINDS
from grain.evaluate.experiments import EXPERIMENTS, STRONG

ROOT = Path(__file__).parent.parent
SHORT_IMAGES = 25_600  # seen by each ablation and the stronger twin: minutes on one core
SHARE_IMAGES = 51_200  # seen by each run of a part share: CLIP needs more to show what it makes of speaking captions
CLIP_SPEED = 1.4  # images that CLIP sees while GRAIN sees one (decoding included): 113 and 83 a second on one core
NOISE_SEED = 8  # of the annotators that err
FIT_SEED, AUDIT_SEEDS = 2001, (2002, 2003)  # pictures that judges are fitted on, and those they are measured on
AUDIT_IMAGES = 1000
EVALUATION_SEEDS = (1001, 1002, 1003)  # never trained on: other pictures, other novel classes


@dataclass(frozen=True)
class World:
    """A sample world, by the flags that write it.

    noise: its training pictures as annotators that err describe them, made from `source`, the true world.
    dropped: what the audit takes out of that; None: nothing. place: the folder of all such worlds in the bench folder.
    """

    name: str
    flags: tuple[str, ...]
    source: World | None = None
    noise: SampleConfig | None = None
    dropped: Dropped | None = None
    place: str = ""

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return bench_folder() / self.place / "worlds" / self.name


@dataclass(frozen=True)
class Training:
    """One training, by the flags of grain.train beyond its defaults."""

    name: str
    world: World
    images: int
    flags: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return bench_folder() / self.world.place / "runs" / self.name

    @property
    def final(self) -> Path:
        """Its checkpoint, there once it has finished."""
        return self.folder / "final"


def bench_folder() -> Path:
    """GRAIN_BENCH_DIR, or .bench beside this room."""
    return Path(os.environ.get("GRAIN_BENCH_DIR") or ROOT / ".bench").absolute()


def training_world(images: int, part_share: str) -> World:
    """Pictures to train on. Those of different shares differ only in what their captions mention."""
    flags = ("--images", str(images), "--seed", "1", "--part-share", part_share)
    return World(f"train-{images}-share-{part_share}", flags)


def noisy_world(wrong: str, dropped: Dropped | None = None) -> World:
    """The pictures of the short trainings, a share of their descriptions wrong."""
    truth = training_world(SHORT_IMAGES, "0.3")
    name = "-".join([truth.name, "wrong", wrong, *([dropped] if dropped else [])])
    return World(name, truth.flags, truth, SampleConfig(wrong=float(wrong), seed=NOISE_SEED), dropped)


def audit_world(seed: int) -> World:
    """Pictures whose descriptions are audited: no training, no evaluation sees them."""
    held_out = ("--held-out-images", str(AUDIT_IMAGES), "--shard-images", str(AUDIT_IMAGES))
    none = ("--images", "0", "--classes", "1", "--novel-images-per-class", "0")
    return World(f"audit-{seed}", (*none, *held_out, "--seed", str(seed)))


def audit_shard(seed: int) -> Path:
    """All of them."""
    return write(audit_world(seed)) / "held_out-000000.tar"


def evaluation_world(seed: int, *, rendering: str = "painted") -> World:
    """Pictures to evaluate on: 100 novel classes of its own seed, and held-out pictures; the same in any rendering."""
    flags = ("--images", "0", "--seed", str(seed), "--held-out-images", "500", "--classes", "100")
    if rendering == "painted":
        return World(f"evaluate-{seed}", flags)
    return World(f"evaluate-{seed}-{rendering}", (*flags, "--rendering", rendering))


WRONG_SHARES = ("0.2", "0.4")
POLICIES: tuple[Dropped, ...] = ("drop-description", "drop-claim")  # the bar is asked of the first
SEEDS = (0, 1, 2)
PART_SHARES = ("0", "0.3", "1")
CLIP = ("--clip",)
ARMS = {arm.name: arm.flags for experiment in EXPERIMENTS.values() for arm in experiment.arms}
ABLATIONS = {name: ARMS[name] for name in ("full", "no-rd", "no-box", "neither")}
# by training seed: another start, another order of the pictures
EQUAL_SIZE = {"full": (0, 1), "small": (0,), "two-queries": (0,), "clip-wide": (0,), "strong-wide": (0,)}


def repeated(name: str, seed: int) -> str:
    """The name of a training of EQUAL_SIZE at a seed."""
    return f"{name}-seed-{seed}" if seed else name


def _trainings() -> Iterable[Training]:
    short, warmup = training_world(SHORT_IMAGES, "0.3"), _warmup(SHORT_IMAGES)
    yield Training("clip", short, SHORT_IMAGES, (*warmup, *CLIP))
    yield Training("strong-steps", short, SHORT_IMAGES, (*warmup, *STRONG))
    yield Training("strong-time", short, int(SHORT_IMAGES * CLIP_SPEED), (*warmup, *STRONG))
    for name, flags in ABLATIONS.items():
        yield Training(name, short, SHORT_IMAGES, (*warmup, *flags))
    for name, seeds in EQUAL_SIZE.items():
        for seed in seeds:
            if (name, seed) != ("full", 0):  # among the ablations
                again = ("--seed", str(seed)) if seed else ()
                yield Training(repeated(name, seed), short, SHORT_IMAGES, (*warmup, *again, *ARMS[name]))
    for share in PART_SHARES:
        world, warmup = training_world(SHARE_IMAGES, share), _warmup(SHARE_IMAGES)
        yield Training(f"share-{share}-grain", world, SHARE_IMAGES, warmup)
        yield Training(f"share-{share}-clip", world, SHARE_IMAGES, (*warmup, *CLIP))

    for seed in SEEDS:
        if seed:  # that of seed 0 is the ablations' own
            yield Training(truth_name(seed), short, SHORT_IMAGES, (*_warmup(SHORT_IMAGES), "--seed", str(seed)))
        for share in WRONG_SHARES:
            flags = (*_warmup(SHORT_IMAGES), "--seed", str(seed))
            yield Training(f"wrong-{share}-seed-{seed}", noisy_world(share), SHORT_IMAGES, flags)
            for dropped in POLICIES:
                yield Training(f"{dropped}-{share}-seed-{seed}", noisy_world(share, dropped), SHORT_IMAGES, flags)


def truth_name(seed: int) -> str:
    """The name of the short training on true descriptions at a seed."""
    return f"full-seed-{seed}" if seed else "full"


def _warmup(images: int) -> tuple[str, ...]:
    return ("--warmup-images", str(images // 10))


TRAININGS = {training.name: training for training in _trainings()}


@cache
def write(world: World) -> Path:
    """Write a world unless it is there whole; returns its folder.

    Raises: subprocess.CalledProcessError: the command failed; what it said is on stderr.
    """
    world.folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{world.folder}.lock"):  # two trainings may ask for the same world at once
        if world.source is not None and world.noise is not None:
            keep = _filter(world.noise, world.dropped) if world.dropped else everything
            return write_noisy(write(world.source), world.folder, world.noise, keep)
        _run("curation.sample.world", "--out", str(world.folder), *world.flags)
    return world.folder


def train(name: str) -> Path:
    """Train one of TRAININGS to its end unless it has finished; returns its checkpoint folder.

    Raises: KeyError: no such training. subprocess.CalledProcessError: the command failed; what it said is on stderr.
    """
    return finish(TRAININGS[name])


def finish(training: Training) -> Path:
    """Train to the end unless that is done; returns the checkpoint folder.

    Raises: subprocess.CalledProcessError: the command failed; what it said is on stderr.
    """
    training.folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{training.folder}.lock"):
        if not training.final.is_dir():
            data = write(training.world)
            _run("grain.train", "--data", str(data), "--out", str(training.folder), *flags_of(training))
    return training.final


def _filter(noise: SampleConfig, dropped: Dropped) -> Keep:
    judge, threshold = filter_judge(audit_shard(FIT_SEED), replace(noise, seed=FIT_SEED), AUDIT_IMAGES, dropped)
    return audit_filter(judge, threshold, [kind for kinds in KINDS.values() for kind in kinds], dropped)


def flags_of(training: Training) -> tuple[str, ...]:
    """What grain.train is told besides its folders."""
    return ("--images", str(training.images), "--name", training.name, *training.flags)


def _run(module: str, *flags: str) -> None:
    # stdout carries a benchmark's row alone: what the commands say goes to stderr
    subprocess.run([sys.executable, "-m", module, *flags], cwd=ROOT, stdout=sys.stderr, check=True)


@dataclass(frozen=True)
class LearningConfig:
    """Train what the learning benchmarks need, one by one or all; or list it."""

    action: tyro.conf.Positional[Literal["train", "list"]]
    name: tyro.conf.Positional[str] = "all"
    """One of those that `list` names."""

    def __post_init__(self) -> None:
        """Refuse a name that is not there."""
        if self.name not in ("all", *TRAININGS):
            raise ValueError(f"no training {self.name!r}: choose all or one of {', '.join(TRAININGS)}")


def main(config: LearningConfig) -> None:
    """The command line."""
    for name, training in TRAININGS.items():
        if config.name in ("all", name):
            if config.action == "train":
                train(name)
            done = "finished" if training.final.is_dir() else "to do"
            print(f"{name}: {done}: {' '.join(flags_of(training))} on world {training.world.name}")


if __name__ == "__main__":
    try:
        main(tyro.cli(LearningConfig))
    except subprocess.CalledProcessError as error:
        sys.exit(f"benchmarks.learning: {error.cmd[2]} failed, see above; the same command resumes")
