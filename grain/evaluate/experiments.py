"""Define ready experiments: what to train for each, and the models that it compares on the same data sets.

    python -m grain.evaluate --experiment equal-size --runs runs --data-sets WORLD --out DIR

Trainings are commands of their own, since they take long and go on where they were: what is missing is named with its
command. Results on the sample world are in docs/experiments.md.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGES = 25_600
BUDGET = ("--images", str(IMAGES), "--warmup-images", str(IMAGES // 10))  # short and equal: minutes on one core
STRONG = ("--clip", "--caption-source", "with_descriptions")
NO_BOXES = "no-boxes:"  # before a checkpoint: its box head is switched off
TRUE_WORLD = "data/world"


@dataclass(frozen=True)
class Arm:
    """One side of a comparison. description: what it is, in words.

    name: its run folder's, and what results call it. flags: of grain.train beyond its folders and the budget. data:
    what it is trained on, a key of WORLDS. checkpoint: an embedded one that is used, so that none is trained.
    prefix: before the checkpoint's name.
    """

    name: str
    description: str
    flags: tuple[str, ...] = ()
    data: str = TRUE_WORLD
    checkpoint: str = ""
    prefix: str = ""


@dataclass(frozen=True)
class Experiment:
    """question: what it answers. measured: rows of docs/benchmarks.md that hold our result.

    arms: the first is what the others are compared with. show: the data sets to use, in words; "" for any data set.
    """

    question: str
    measured: tuple[str, ...]
    arms: tuple[Arm, ...]
    show: str = ""


def _wrong_world(wrong: str) -> tuple[str, ...]:
    """List the commands that write the same pictures with that share of their descriptions wrong."""
    name = f"told-{wrong}"
    return (
        f"python -m curation.ingest --sample {IMAGES} --dataset {name}",
        f"python -m curation.annotate --dataset {name} --describer.kind sample --localizer.kind sample "
        f"--sample.wrong {wrong}",
        f"python -m curation.exchange.export --dataset {name} --format shards --statuses pending --unreviewed "
        f"--out data/{name}",
    )


WORLDS: Mapping[str, tuple[str, ...]] = {
    TRUE_WORLD: (f"python -m curation.sample.world --out {TRUE_WORLD} --images {IMAGES}",),
    "data/told-0.2": _wrong_world("0.2"),
    "data/told-0.4": _wrong_world("0.4"),
}
"""What arms are trained on -> the commands that write it."""

FULL = Arm("full", "GRAIN as it is")
EXPERIMENTS: Mapping[str, Experiment] = {
    "equal-size": Experiment(
        "Is GRAIN's lead that of more parameters?",
        ("equal_size",),
        (
            FULL,
            Arm("small", "GRAIN no larger than CLIP: a smaller image tower", ("--preset", "sample-small")),
            Arm("two-queries", "GRAIN with 2 region queries for 5", ("--preset", "sample-two-queries")),
            Arm("clip-wide", "CLIP widened to GRAIN's size", ("--preset", "sample-wide", "--clip")),
            Arm("strong-wide", "the same, descriptions as captions too", ("--preset", "sample-wide", *STRONG)),
        ),
    ),
    "losses": Experiment(
        "Which of the losses does it?",
        ("ablations",),
        (
            FULL,
            Arm("no-rd", "without L_rd", ("--losses.region-description", "0")),
            Arm("no-box", "without L_box", ("--losses.box", "0")),
            Arm("neither", "without both", ("--losses.region-description", "0", "--losses.box", "0")),
            Arm("clip", "CLIP alone", ("--clip",)),
        ),
    ),
    "annotations": Experiment(
        "What do wrong descriptions cost, against the true ones?",
        ("audit_training",),
        (
            FULL,
            Arm("told-0.2", "a fifth of the descriptions wrong", data="data/told-0.2"),
            Arm("told-0.4", "two fifths of the descriptions wrong", data="data/told-0.4"),
        ),
    ),
    "other-look": Experiment(
        "Does it hold on pictures of another look?",
        ("other_look",),
        (
            Arm("grain", "a GRAIN that saw painted products alone", checkpoint="sample"),
            Arm("twin", "its CLIP twin", checkpoint="sample-clip"),
        ),
        "a world that was written with --rendering sketch, and the same world painted",
    ),
    "no-box-head": Experiment(
        "Does recognition need the box head once it is trained?",
        ("box_head_off",),
        (
            Arm("with", "the checkpoint as it is", checkpoint="sample"),
            Arm("without", "its box head switched off", checkpoint="sample", prefix=NO_BOXES),
        ),
    ),
}

MAX_ARMS = max(len(each.arms) for each in EXPERIMENTS.values())


def experiment_models(name: str, runs: Path, chosen: Sequence[str] = ()) -> dict[str, str]:
    """Map the models of an experiment to their names in results, those of its arms.

    Args:   runs: folder of its trainings. chosen: ARM=CHECKPOINT, for some arms or all; those alone are compared then.
    Raises: KeyError: no such experiment. ValueError: a training has not finished, the sentence has the command; or
            what was chosen is no comparison.
    """
    experiment = EXPERIMENTS[name]
    return _chosen(name, experiment, chosen) if chosen else _trained(experiment, runs)


def training_command(arm: Arm, runs: Path) -> str:
    """Return the command that trains an arm; "" where an embedded checkpoint is used."""
    if arm.checkpoint:
        return ""
    return shlex.join(
        ["python", "-m", "grain.train", "--data", arm.data, "--out", str(runs / arm.name), *arm_flags(arm)]
    )


def arm_flags(arm: Arm) -> tuple[str, ...]:
    """Return the flags of grain.train for an arm, besides its folders."""
    return (*BUDGET, *arm.flags)


def _trained(experiment: Experiment, runs: Path) -> dict[str, str]:
    missing = [arm for arm in experiment.arms if not arm.checkpoint and not (runs / arm.name / "final").is_dir()]
    if missing:
        names = ", ".join(arm.name for arm in missing)
        raise ValueError(
            f"not trained yet in {runs}: {names}; begin with `{training_command(missing[0], runs)}`, then again"
        )
    return {arm.prefix + (arm.checkpoint or str(runs / arm.name / "final")): arm.name for arm in experiment.arms}


def _chosen(name: str, experiment: Experiment, chosen: Sequence[str]) -> dict[str, str]:
    arms = {arm.name: arm for arm in experiment.arms}
    found: dict[str, str] = {}
    for each in chosen:
        arm, _, checkpoint = each.partition("=")
        if arm not in arms or not checkpoint:
            raise ValueError(f"expected ARM=CHECKPOINT with an arm of {', '.join(arms)}, got {each[:60]!r}")
        spec = arms[arm].prefix + checkpoint
        if spec in found:
            raise ValueError(f"the arms {found[spec]} and {arm} have the same checkpoint: choose another for one")
        found[spec] = arm
    if len(found) < 2 or len(set(found.values())) != len(chosen):
        raise ValueError(f"{name} compares two arms or more, a checkpoint each, got {' '.join(chosen)[:200]}")
    order = list(arms)
    return dict(sorted(found.items(), key=lambda pair: order.index(pair[1])))
