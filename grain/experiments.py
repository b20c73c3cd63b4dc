"""The checks that a doubter asks for, ready to run: what to train, and that the same data sets are shown to all of it.

    python -m grain.evaluate --experiment equal-size --runs runs --data-sets WORLD --out DIR

Trainings are commands of their own, since they take long and go on where they were: what is missing is named with its
command. What came of them on the sample world stands in docs/experiments.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BUDGET = ("--images", "25600", "--warmup-images", "2560")  # short and equal: minutes on one core
STRONG = ("--clip", "--caption-source", "with_descriptions")


@dataclass(frozen=True)
class Arm:
    """A training: its run folder's name, and the flags of grain.train beyond its folders and the budget."""

    name: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """question: what it answers. arms: the first is what the others are compared with. models: besides, by name."""

    question: str
    arms: tuple[Arm, ...] = ()
    models: tuple[str, ...] = ()


FULL = Arm("full")
EXPERIMENTS: dict[str, Experiment] = {
    "equal-size": Experiment(
        "Is GRAIN's lead that of more parameters?",
        (
            FULL,
            Arm("small", ("--preset", "sample-small")),
            Arm("two-queries", ("--preset", "sample-two-queries")),
            Arm("clip-wide", ("--preset", "sample-wide", "--clip")),
            Arm("strong-wide", ("--preset", "sample-wide", *STRONG)),
        ),
    ),
    "losses": Experiment(
        "Which of the losses does it?",
        (
            FULL,
            Arm("no-rd", ("--losses.region-description", "0")),
            Arm("no-box", ("--losses.box", "0")),
            Arm("neither", ("--losses.region-description", "0", "--losses.box", "0")),
            Arm("clip", ("--clip",)),
        ),
    ),
    "other-look": Experiment(
        "Does it hold on pictures of another look? Show it a world that was written with --rendering sketch.",
        models=("sample", "sample-clip"),
    ),
}


def models_of(name: str, runs: Path) -> tuple[str, ...]:
    """The models of an experiment, trained ones as folders.

    Raises: KeyError: no such experiment. ValueError: a training has not finished; the sentence has the command.
    """
    experiment = EXPERIMENTS[name]
    missing = [arm for arm in experiment.arms if not (runs / arm.name / "final").is_dir()]
    if missing:
        names = ", ".join(arm.name for arm in missing)
        flags = " ".join(("--data WORLD --out", str(runs / missing[0].name), *flags_of(missing[0])))
        raise ValueError(f"not trained yet in {runs}: {names}; begin with `python -m grain.train {flags}`, then again")
    return (*(str(runs / arm.name / "final") for arm in experiment.arms), *experiment.models)


def flags_of(arm: Arm) -> tuple[str, ...]:
    """What grain.train is told of an arm, besides its folders."""
    return (*BUDGET, *arm.flags)
