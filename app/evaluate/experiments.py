"""Show the ready experiments: their question, the checkpoints of their arms, and how the missing ones are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.access.rules import Role
from app.evaluate.request import SAMPLE_WORLD, SKETCHED, EvaluateRequest, model_spec
from app.services import Services
from grain.evaluate.experiments import EXPERIMENTS, WORLDS, Arm, Experiment, experiment_models, training_command
from user_errors import UserError, sentence

TITLES = {
    "equal-size": "equal size: smaller towers, fewer queries, CLIP widened",
    "losses": "without L_rd, without L_box",
    "annotations": "true descriptions against wrong ones",
    "other-look": "another rendering of the sample world",
    "no-box-head": "box head switched off",
}
DATA_SETS_OF = {"other-look": (SAMPLE_WORLD, SKETCHED)}  # data sets of the page that an experiment is about


@dataclass(frozen=True)
class ArmView:
    """An arm on this machine. checkpoint: name or folder, "" where it has to be trained. train: the command."""

    arm: Arm
    checkpoint: str
    train: str


@dataclass(frozen=True)
class ExperimentView:
    """An experiment on this machine. worlds: commands that write what the missing arms are trained on."""

    name: str
    experiment: Experiment
    arms: tuple[ArmView, ...]
    worlds: tuple[str, ...]


def experiment_choices() -> list[tuple[str, str]]:
    """Return the label and the name of every experiment."""
    return [(TITLES[name], name) for name in EXPERIMENTS]


def view_experiment(services: Services, name: str) -> ExperimentView:
    """Return an experiment with the checkpoints that are here for its arms.

    Raises: UserError: there is none of that name.
    """
    experiment = _experiment(name)
    runs = services.settings.home / "runs"
    arms = tuple(ArmView(arm, _checkpoint(services, arm, runs), training_command(arm, runs)) for arm in experiment.arms)
    needed = dict.fromkeys(each.arm.data for each in arms if not each.checkpoint)
    return ExperimentView(name, experiment, arms, tuple(line for data in needed for line in WORLDS[data]))


def with_arms(
    services: Services, request: EvaluateRequest, *, name: str, checkpoints: Sequence[str], role: Role
) -> EvaluateRequest:
    """Return the request for an evaluation of an experiment's arms on the data sets of a form.

    Args:   checkpoints: of each arm in order, by name or folder; "" for none. role: see request.command_line.
    Raises: UserError: fewer than two, the same for two, one that is not there or that the person may not read.
    """
    arms = _experiment(name).arms
    pairs = [(arm, chosen.strip()) for arm, chosen in zip(arms, checkpoints, strict=False) if chosen.strip()]
    chosen = tuple(f"{arm.name}={model_spec(services, checkpoint, role)}" for arm, checkpoint in pairs)
    if len(chosen) < 2:
        raise UserError("Two arms or more are compared: choose their checkpoints, or train them first.")
    try:
        experiment_models(name, services.settings.home, chosen)
    except ValueError as error:
        raise UserError(sentence(error)) from error
    return replace(request, experiment=name, arms=chosen)


def _experiment(name: str) -> Experiment:
    if name not in EXPERIMENTS:
        raise UserError("There is no such experiment: choose one of the list.")
    return EXPERIMENTS[name]


def _checkpoint(services: Services, arm: Arm, runs: Path) -> str:
    """Return the checkpoint of the arm's name, or its run's last one, or the embedded one that stands for it."""
    if arm.name in [each.name for each in services.registry.usable()]:
        return arm.name
    return str(runs / arm.name / "final") if (runs / arm.name / "final").is_dir() else arm.checkpoint
