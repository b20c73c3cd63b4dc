"""Turn the Evaluate page's form into the command line of an evaluation, and list what can be evaluated."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from app.access.permissions import check_open_clip, check_readable, checkpoint_spec
from app.access.rules import Role
from app.core.example_data import PHOTOGRAPHS
from app.evaluate.results import AUTHORS
from app.services import Services
from db.engine import reading
from db.queries.data_set_queries import list_datasets
from db.queries.version_queries import list_versions
from grain.data.published import PUBLISHED
from grain.evaluate.evaluated_models import OPEN_CLIP
from grain.evaluate.other_ways import OTHER_WAYS
from user_errors import UserError

SAMPLE_WORLD, SKETCHED, VERSION = "sample-world", "sample-sketch", "version:"  # a job writes them: app/evaluate/job.py
MOST_PICTURES = 10**9
DATA_SETS = "data_sets"  # below GRAIN_HOME: where published data sets are looked for


@dataclass(frozen=True)
class EvaluateRequest:
    """The form of the page. paths: more data sets, one a line. limit: pictures of each data set, 0 for all.

    options: ways of grain.evaluate.other_ways to evaluate too, and AUTHORS for the authors' grammar.
    experiment: in place of models, with its arms as ARM=CHECKPOINT; see app/evaluate/experiments.py.
    """

    models: Sequence[str]
    data_sets: Sequence[str]
    _: KW_ONLY
    paths: str = ""
    descriptions: str = ""
    limit: float = 0
    options: Sequence[str] = ()
    experiment: str = ""
    arms: Sequence[str] = ()


def model_names(services: Services) -> list[str]:
    """Return the checkpoints that can be evaluated."""
    return [each.name for each in services.registry.usable() if each.info and not each.info.from_proposals]


def data_set_choices(services: Services) -> list[tuple[str, str]]:
    """Return the label and the name of every data set on this machine."""
    choices = [("sample world, novel classes", SAMPLE_WORLD), ("the same in coloured pencil", SKETCHED)]
    choices.append(("photographs in grocery stores, 24 classes", PHOTOGRAPHS.name))
    with reading(services.engine) as session:
        for dataset in list_datasets(session):
            for version in list_versions(session, dataset_id=dataset.id):
                choices.append((f"{dataset.name} · {version.name}", f"{VERSION}{version.sha256}"))
    root = services.settings.home / DATA_SETS
    return choices + [(one.title, name) for name, one in PUBLISHED.items() if one.is_below(root)]


def missing_data_sets(services: Services) -> list[tuple[str, str]]:
    """Return the title of every published data set that is not here, and what to get and where to put it."""
    root = services.settings.home / DATA_SETS
    return [
        (one.title, f"get {one.get} and put it into {root / one.place}")
        for one in PUBLISHED.values()
        if not one.is_below(root)
    ]


def command_line(services: Services, request: EvaluateRequest, *, out: str, role: Role) -> list[str]:
    """Return the words that run it from a terminal, after the name of Python.

    Args:   out: name of the evaluation. role: of the person; only an admin names what lies outside GRAIN_HOME.
    Raises: UserError: something is missing, or cannot be used.
    """
    if not 0 <= request.limit <= MOST_PICTURES:
        most = f"{MOST_PICTURES:,} pictures of each data set"
        raise UserError(f"expected 0 (all) to {most}, got {request.limit:g}: correct it")
    home = services.settings.home
    compared = _compared(services, request, role)
    data_sets = [*request.data_sets, *_lines(request.paths)]
    if not data_sets:
        raise UserError("No data set is chosen: choose one, or write a path.")
    if dashed := [each for each in data_sets if each.startswith("-")]:
        raise UserError(f"The path {dashed[0][:40]!r} begins with a dash: write it in full.")
    for spec in data_sets:
        if spec not in (SAMPLE_WORLD, SKETCHED, PHOTOGRAPHS.name, *PUBLISHED) and not spec.startswith(VERSION):
            place, _, split = spec.partition("#")
            check_readable(services.settings.home, role, place, str(Path(place) / split))
    words = ["-m", "app.evaluate.job", *compared, "--data-sets", *data_sets]
    words += [f"--out={home / 'evaluations' / out}", f"--cache={home / 'evaluations' / 'cache'}"]
    words += [f"--root={home / DATA_SETS}"]
    if request.descriptions.strip():
        words += ["--descriptions", *_description_files(services, request.descriptions, role)]
    if ways := [way for way in OTHER_WAYS if way in request.options]:
        words += ["--other-ways", *ways]
    words += ["--grammar=authors"] if AUTHORS in request.options else []
    return [*words, *([f"--limit={int(request.limit)}"] if request.limit else [])]


def shown_command(services: Services, request: EvaluateRequest, role: Role) -> str:
    """Return the command as a line to copy.

    Raises: UserError: as of command_line.
    """
    return shlex.join(["python", *command_line(services, request, out="NAME", role=role)])


def model_spec(services: Services, name: str, role: Role) -> str:
    """Return what a job calls a model: a checkpoint as of checkpoint_spec, or open_clip:NAME=WEIGHTS.

    Args:   role: see command_line.
    Raises: UserError: as of checkpoint_spec and check_open_clip.
    """
    if name.startswith(OPEN_CLIP):
        model, _, weights = name.removeprefix(OPEN_CLIP).partition("=")
        check_open_clip(services.settings.home, role, name=model, weights=weights)
        return name
    return checkpoint_spec(services.registry, name, home=services.settings.home, role=role)


def is_place(name: str) -> bool:
    """Return whether a model is named by its folder or as open_clip's weights, not as a checkpoint of the list."""
    return "/" in name or name.startswith(OPEN_CLIP)


def _compared(services: Services, request: EvaluateRequest, role: Role) -> list[str]:
    """Return the flags for the models.

    Raises: UserError: none is chosen, or one is not there.
    """
    if request.experiment:
        return ["--experiment", request.experiment, "--arms", *request.arms, "--no-twins"]
    if not request.models:
        raise UserError("No model is chosen: choose one or more.")
    return ["--models", *(model_spec(services, name, role) for name in request.models)]


def _description_files(services: Services, text: str, role: Role) -> list[str]:
    """Return the description files, one a line.

    Raises: UserError: one begins with a dash, or the person may not read it.
    """
    files = _lines(text)
    if dashed := [file for file in files if file.startswith("-")]:
        raise UserError(f"The file {dashed[0][:40]!r} begins with a dash: write its path in full.")
    check_readable(services.settings.home, role, *(file.rpartition("=")[2] for file in files))
    return files


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
