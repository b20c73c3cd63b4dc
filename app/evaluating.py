"""What the Evaluate page asks: what there is to evaluate, a job, its results, a picture of theirs on Ground."""

from __future__ import annotations

import json
import re
import secrets
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from app.accounts import Person
from app.jobs.control import Jobs
from app.jobs.local import ROOT
from app.looking import AskError, Question, keep, sentence
from app.registry import UnknownCheckpointError
from app.rules import Role, allows
from app.services import Services
from curation.describe_classes import ENDING, Drafts, ReviewError, Verdict, accepted_path, decide, load
from db.engine import DatabaseError, reading
from db.queries import list_datasets
from db.version_queries import list_versions
from grain.checkpoint import EMBEDDED
from grain.contenders import OPEN_CLIP
from grain.published import PUBLISHED

KIND = "evaluate"
SAMPLE_WORLD, SKETCHED, VERSION = "sample-world", "sample-sketch", "version:"  # a job writes them: app/evaluate_job.py
MOST_JOBS = 4
RUN_NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
DATA_SETS = "data_sets"  # below GRAIN_HOME: where published data sets are looked for
WEIGHTS = ".safetensors"  # of open_clip: a file; anything else is a published tag
MOST_CLASSES = 12  # on Ground, beside the true and the said one


class EvaluatingError(ValueError):
    """What was asked cannot be done; the message is one sentence for the person."""


@dataclass(frozen=True)
class Wanted:
    """What a person chose, as the page's fields hold it. paths: more data sets, one a line.

    experiment: in place of models, with its arms as ARM=CHECKPOINT; see app/experimenting.py.
    """

    models: Sequence[str]
    data_sets: Sequence[str]
    paths: str
    descriptions: str
    limit: float
    experiment: str = ""
    arms: Sequence[str] = ()


@dataclass(frozen=True)
class Result:
    """A finished evaluation. name: of its folder. metrics, details: as grain/report.py writes them."""

    name: str
    folder: Path
    metrics: dict[str, Any]
    details: dict[str, Any]

    def data_sets(self) -> list[str]:
        """Their names, in order."""
        return [each["name"] for each in self.metrics["data_sets"]]


def model_names(services: Services) -> list[str]:
    """The checkpoints that can be evaluated."""
    return [each.name for each in services.registry.usable() if each.info and not each.info.from_proposals]


def data_set_choices(services: Services) -> list[tuple[str, str]]:
    """What there is on this machine: label, and what a job calls it."""
    choices = [("sample world, novel classes", SAMPLE_WORLD), ("the same in coloured pencil", SKETCHED)]
    with reading(services.engine) as session:
        for dataset in list_datasets(session):
            for version in list_versions(session, dataset_id=dataset.id):
                choices.append((f"{dataset.name} · {version.name}", f"{VERSION}{version.sha256}"))
    root = services.settings.home / DATA_SETS
    return choices + [(one.title, name) for name, one in PUBLISHED.items() if one.is_below(root)]


def missing(services: Services) -> list[tuple[str, str]]:
    """Published data sets that are not here: title, and what to get and where to put it."""
    root = services.settings.home / DATA_SETS
    return [
        (one.title, f"get {one.get} and put it into {root / one.place}")
        for one in PUBLISHED.values()
        if not one.is_below(root)
    ]


def command_line(services: Services, wanted: Wanted, out: str, role: Role) -> list[str]:
    """The words that run it from a terminal, after the name of Python.

    Args:   role: of whoever asks; only an admin names what lies outside GRAIN_HOME.
    Raises: EvaluatingError: something is missing, or cannot be.
    """
    home = services.settings.home
    paths = [line.strip() for line in wanted.paths.splitlines() if line.strip()]
    data_sets = [*wanted.data_sets, *paths]
    compared = _compared(services, wanted, role)
    if not data_sets:
        raise EvaluatingError("No data set is chosen: choose one, or write a path.")
    if dashed := [each for each in data_sets if each.startswith("-")]:
        raise EvaluatingError(f"The path {dashed[0][:40]!r} begins with a dash: write it in full.")
    for spec in data_sets:
        if spec not in (SAMPLE_WORLD, SKETCHED, *PUBLISHED) and not spec.startswith(VERSION):
            place, _, split = spec.partition("#")
            _must_be_at_home(services, role, place, str(Path(place) / split))
    words = ["-m", "app.evaluate_job", *compared, "--data-sets", *data_sets]
    words += [f"--out={home / 'evaluations' / out}", f"--cache={home / 'evaluations' / 'cache'}"]
    words += [f"--root={home / DATA_SETS}"]
    if wanted.descriptions.strip():
        files = _files(wanted.descriptions)
        _must_be_at_home(services, role, *(file.rpartition("=")[2] for file in files))
        words += ["--descriptions", *files]
    return [*words, *([f"--limit={int(wanted.limit)}"] if wanted.limit else [])]


def _must_be_at_home(services: Services, role: Role, *paths: str) -> None:
    """Whoever reads a folder of the server sees what lies in it: with an evaluation as with an import.

    Raises: EvaluatingError: somebody who is no admin names a path outside GRAIN_HOME, links followed.
    """
    home = services.settings.home.resolve()
    if outside := [path for path in paths if not allows(role, "admin") and not _is_below(path, home)]:
        raise EvaluatingError(
            f"The path {outside[0][:40]!r} lies outside GRAIN_HOME, where only an admin may read: "
            "name one below it, or ask an admin."
        )


def _is_below(path: str, home: Path) -> bool:
    try:
        return (ROOT / path).resolve().is_relative_to(home)  # from where a job reads it
    except (OSError, RuntimeError, ValueError):  # a loop of links, or no path at all
        return False


def command_shown(services: Services, wanted: Wanted, role: Role) -> str:
    """The same as a line to copy.

    Raises: EvaluatingError.
    """
    return shlex.join(["python", *command_line(services, wanted, "NAME", role)])


def start(services: Services, wanted: Wanted, person: Person) -> int:
    """Queue an evaluation; the id of its job.

    Raises: EvaluatingError: it could not begin.
    """
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    words = command_line(services, wanted, name, person.role)
    compared = [f"experiment {wanted.experiment}"] if wanted.experiment else list(wanted.models)
    config = {"dataset": ", ".join(compared), "run": name, "models": compared}
    return _enqueue(services.jobs, person.name, config, words)


def result_names(services: Services) -> list[str]:
    """Finished evaluations, newest first."""
    root = services.settings.home / "evaluations"
    found = (path.parent.name for path in root.glob("*/metrics.json"))
    return sorted((name for name in found if RUN_NAME.fullmatch(name)), reverse=True)


def result(services: Services, name: str) -> Result:
    """A finished evaluation.

    Raises: EvaluatingError: there is none of that name, or it cannot be read.
    """
    if not RUN_NAME.fullmatch(name or ""):
        raise EvaluatingError("There is no such evaluation: choose one of the list.")
    folder = services.settings.home / "evaluations" / name
    try:
        metrics, details = (json.loads((folder / f"{file}.json").read_text("utf-8")) for file in ("metrics", "details"))
    except (OSError, ValueError) as error:
        raise EvaluatingError(f"The evaluation {name} cannot be read ({error}): run it again.") from error
    return Result(name, folder, metrics, details)


def file_of(found: Result, name: str) -> bytes:
    """One of its files, to keep.

    Raises: EvaluatingError: it has no such file.
    """
    if name not in ("metrics.json", "results.csv", "measures.csv", "classes.csv", "pictures.csv"):
        raise EvaluatingError(f"There is no file {name[:40]!r} to keep.")
    return (found.folder / name).read_bytes()


def on_ground(services: Services, found: Result, data_set: int, picture: int, model: str) -> str:
    """Keep a look at a picture with its class's descriptions, so that Ground opens with it; the id of its link.

    Raises: EvaluatingError: there is no such picture, or its model is no checkpoint of the registry.
    """
    try:
        details = found.details["data_sets"][data_set]
        one = details["pictures"][str(picture)]
    except (KeyError, IndexError) as error:
        raise EvaluatingError("This picture was not kept: only those in the lists were.") from error
    usable = [each.name for each in services.registry.usable()]
    checkpoint = model if model in usable else next(iter(usable), "")
    said = [row["said"] for name, row in one["rows"].items() if name.startswith(f"{model} · ")]
    names = list(dict.fromkeys([one["true"], *said, *details["classes"]]))[:MOST_CLASSES]
    descriptions = details["descriptions"]
    question = Question(
        picture=str(found.folder / "pictures" / Path(one["file"]).name),
        descriptions="\n".join(descriptions.get(one["true"], [])[:MOST_CLASSES]),
        classes=json.dumps({name: descriptions.get(name, []) for name in names}, ensure_ascii=False),
        checkpoint=checkpoint,
    )
    try:
        return keep(services, question)
    except AskError as error:
        raise EvaluatingError(sentence(error)) from error


def review_names(services: Services) -> list[str]:
    """Review files of drafted class descriptions, by name."""
    return sorted(path.name for path in _reviews(services).glob(f"*{ENDING}"))


def review(services: Services, name: str) -> tuple[Drafts, Path]:
    """The drafts of a review file, and where the accepted ones lie.

    Raises: EvaluatingError: there is no such file, or it cannot be read.
    """
    try:
        path = _review_file(services, name)
        return load(path), accepted_path(path)
    except ReviewError as error:
        raise EvaluatingError(sentence(error)) from error


def judge(services: Services, name: str, class_name: str, text: str, verdict: str) -> None:
    """Accept, reject or take back a description.

    Raises: EvaluatingError: it is not there any more.
    """
    try:
        decide(_review_file(services, name), class_name, text, cast(Verdict, verdict))
    except ReviewError as error:
        raise EvaluatingError(sentence(error)) from error


def _reviews(services: Services) -> Path:
    return services.settings.home / "class_descriptions"


def _review_file(services: Services, name: str) -> Path:
    if name not in review_names(services):
        raise EvaluatingError("There is no such review: choose one of the list.")
    return _reviews(services) / name


def _compared(services: Services, wanted: Wanted, role: Role) -> list[str]:
    """The flags that say which models are shown.

    Raises: EvaluatingError: none is chosen, or one is not there.
    """
    if wanted.experiment:
        return ["--experiment", wanted.experiment, "--arms", *wanted.arms, "--no-twins"]
    if not wanted.models:
        raise EvaluatingError("No model is chosen: choose one or more.")
    return ["--models", *(model_spec(services, name, role) for name in wanted.models)]


def model_spec(services: Services, name: str, role: Role) -> str:
    """What a job calls a checkpoint: an embedded one by its name, any other by its folder.

    Args:   name: of the registry; or a folder, as in runs/first/best; or open_clip:NAME=WEIGHTS. The job says whether
            a folder is there: who may only look is not told what lies on this machine. role: see command_line.
    Raises: EvaluatingError: there is none of that name, or it lies where the person may not read.
    """
    if name.startswith(OPEN_CLIP):
        weights = name.partition("=")[2]
        if "/" in weights or weights.endswith(WEIGHTS):
            _must_be_at_home(services, role, weights)
        return name
    if "/" in name:
        place = str(Path(name).expanduser().absolute())
        _must_be_at_home(services, role, place)
        return place
    try:
        folder = services.registry.find(name).folder
    except UnknownCheckpointError as error:
        raise EvaluatingError(str(error)) from error
    return name if folder.parent == EMBEDDED else str(folder)


def _files(text: str) -> list[str]:
    """Description files, one a line.

    Raises: EvaluatingError: one begins with a dash.
    """
    files = [line.strip() for line in text.splitlines() if line.strip()]
    if dashed := [file for file in files if file.startswith("-")]:
        raise EvaluatingError(f"The file {dashed[0][:40]!r} begins with a dash: write its path in full.")
    return files


def _enqueue(jobs: Jobs, owner: str, config: dict[str, Any], words: Sequence[str]) -> int:
    try:
        return jobs.enqueue(kind=KIND, owner=owner, config=config, argv=[sys.executable, *words])
    except (ValueError, DatabaseError) as error:
        raise EvaluatingError(sentence(error)) from error
