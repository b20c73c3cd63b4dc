"""Ready experiments on the Evaluate page: what each asks, which checkpoints are its arms, how the rest are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.evaluating import SAMPLE_WORLD, SKETCHED, EvaluatingError, Wanted, model_spec
from app.looking import sentence
from app.rules import Role
from app.services import Services
from grain.experiments import EXPERIMENTS, WORLDS, Arm, Experiment, models_of, training_of

TITLES = {
    "equal-size": "equal size: smaller towers, fewer queries, CLIP widened",
    "losses": "without L_rd, without L_box",
    "annotations": "true descriptions against wrong ones",
    "other-look": "another rendering of the sample world",
    "no-box-head": "box head switched off",
}
SHOWN = {"other-look": (SAMPLE_WORLD, SKETCHED)}  # data sets of the page that an experiment is about


@dataclass(frozen=True)
class ArmView:
    """An arm as it stands here. checkpoint: name or folder, "" where it has to be trained. train: the command."""

    arm: Arm
    checkpoint: str
    train: str


@dataclass(frozen=True)
class ExperimentView:
    """An experiment as it stands here. worlds: commands that write what the missing arms are trained on."""

    name: str
    asked: Experiment
    arms: tuple[ArmView, ...]
    worlds: tuple[str, ...]


def choices() -> list[tuple[str, str]]:
    """What the page lists: label, name."""
    return [(TITLES[name], name) for name in EXPERIMENTS]


def view(services: Services, name: str) -> ExperimentView:
    """An experiment with the checkpoints that are here for its arms.

    Raises: EvaluatingError: there is none of that name.
    """
    asked = _experiment(name)
    runs = services.settings.home / "runs"
    arms = tuple(ArmView(arm, _here(services, arm, runs), training_of(arm, runs)) for arm in asked.arms)
    lacking = dict.fromkeys(each.arm.data for each in arms if not each.checkpoint)
    return ExperimentView(name, asked, arms, tuple(line for data in lacking for line in WORLDS[data]))


def with_arms(services: Services, form: Wanted, name: str, checkpoints: Sequence[str], role: Role) -> Wanted:
    """An evaluation of an experiment's arms on the data sets of the form.

    Args:   checkpoints: of each arm in order, by name or folder; "" for none. role: see app.evaluating.command_line.
    Raises: EvaluatingError: fewer than two, the same for two, one that is not there or that the person may not read.
    """
    arms = _experiment(name).arms
    pairs = [(arm, chosen.strip()) for arm, chosen in zip(arms, checkpoints, strict=False) if chosen.strip()]
    chosen = tuple(f"{arm.name}={model_spec(services, checkpoint, role)}" for arm, checkpoint in pairs)
    if len(chosen) < 2:
        raise EvaluatingError("Two arms or more are compared: choose their checkpoints, or train them first.")
    try:
        models_of(name, services.settings.home, chosen)
    except ValueError as error:
        raise EvaluatingError(sentence(error)) from error
    return replace(form, experiment=name, arms=chosen)


def _experiment(name: str) -> Experiment:
    if name not in EXPERIMENTS:
        raise EvaluatingError("There is no such experiment: choose one of the list.")
    return EXPERIMENTS[name]


def _here(services: Services, arm: Arm, runs: Path) -> str:
    """The checkpoint that goes by the arm's name, or its run's last, or the embedded one that stands for it."""
    if arm.name in [each.name for each in services.registry.usable()]:
        return arm.name
    return str(runs / arm.name / "final") if (runs / arm.name / "final").is_dir() else arm.checkpoint
