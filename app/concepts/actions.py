"""Answer the page Novel concepts: the state of a set, edits by clicks and keys, and the jobs that take long."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.access.accounts import Person
from app.access.permissions import check_readable
from app.concepts.layout import ClassForm
from app.jobs.control import NewJob
from app.jobs.devices import DATA
from app.jobs.imports import CONCEPTS
from app.services import Services
from curation.concepts.class_list import parse_keeping_facts, save_classes
from curation.concepts.compare import LeakSettings
from curation.concepts.concepts import ConceptsConfig
from curation.concepts.concepts import command_line as import_command
from curation.concepts.freeze_set import freeze_set
from curation.concepts.leaks import LeaksConfig
from curation.concepts.leaks import command_line as leaks_command
from curation.concepts.metadata import create_set
from curation.concepts.status import STATED, ConceptSetStatus, Step, person_name, status_of
from curation.exchange.concept_classes import to_text
from curation.exchange.export import command_line as export_command
from curation.exchange.export_config import ExportConfig
from curation.files.decode import RefusedError
from curation.ingest.annotations_beside import CHOICES, Annotations, annotations_beside
from db.engine import reading
from db.models import DatasetVersion, Image
from db.queries.concept_queries import list_concept_sets
from db.queries.data_set_queries import list_datasets
from db.queries.values import check_line
from db.queries.version_queries import list_versions
from user_errors import UserError, sentence

KINDS = (CONCEPTS, "leaks", "export", "evaluate")  # of jobs that the page shows
MOST_JOBS = 6
NAME = re.compile(r"[^\s:](?:[^:\n]{0,38}[^\s:])?")
SHA_DIGITS = 16
SHARDS, EVALUATIONS, RESULT = "shards", "evaluations", "metrics.json"


@dataclass(frozen=True)
class ConceptEvaluation:
    """A checkpoint, and its CLIP twin where there is one, on one version.

    top1: of each model and way of asking it, with its 95 % interval.
    """

    checkpoint: str
    pictures: int
    classes: int
    top1: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True)
class ExportedVersion:
    """A frozen version with what was made of it. shards: their folder; None until they are complete."""

    version: DatasetVersion
    shards: Path | None
    evaluations: tuple[ConceptEvaluation, ...]


def set_names(services: Services) -> list[str]:
    """Return the sets of novel concepts, then the other data sets, which may become such."""
    with reading(services.engine) as session:
        begun = list(list_concept_sets(session))
        return begun + [dataset.name for dataset in list_datasets(session) if dataset.name not in begun]


def training_names(services: Services, dataset: str) -> list[tuple[str, str]]:
    """Return what a set can be compared with, for a menu: (words, value)."""
    found = []
    with reading(services.engine) as session:
        for each in list_datasets(session):
            if each.name != dataset:
                found.append((each.name, json.dumps([each.name, ""])))
                versions = list_versions(session, dataset_id=each.id)
                found += [(f"{each.name}, version {one.name}", json.dumps([each.name, one.name])) for one in versions]
    return found


def labeller(services: Services, person: Person, stated: str) -> str:
    """Return who labels: the account where people sign in, else the name that the person states, marked as such.

    Raises: UserError: no name.
    """
    if services.people.required:
        return person.name
    name = " ".join(stated.split())
    if not NAME.fullmatch(name) or not name.isprintable():
        raise UserError("Say who you are first: a name of up to 40 characters, without a colon.")
    return STATED + name


def editor_name(services: Services, person: Person, stated: str) -> str:
    """Return who edits, for the history: the stated name where there is one and nobody signs in.

    Raises: UserError: the stated name is none.
    """
    return labeller(services, person, stated) if stated.strip() else person.name


def named_plainly(error: UserError, own: str = "") -> UserError:
    """Return a conflict with the name of who was quicker as people know it. own: the reader's, who is called "you"."""
    by = getattr(error, "by", "")
    return UserError(str(error).replace(by, "you" if by == own else person_name(by), 1)) if by else error


def steps_of(services: Services, now: ConceptSetStatus) -> list[Step]:
    """Return all steps, the last one by the files there are."""
    made = exported_versions(services, now)
    measured = sum(len(one.evaluations) for one in made)
    if measured:
        last = Step("evaluate", True, f"{measured:,} evaluations.")
    elif any(one.shards for one in made):
        last = Step("evaluate", False, "A version is exported: choose a checkpoint and evaluate it.")
    else:
        last = Step("evaluate", False, "Waits for a frozen version, exported.")
    return [*now.steps(), last]


def first_open(steps: Sequence[Step]) -> str:
    """Return the name of the first step that is not done, else of the last."""
    return next((step.name for step in steps if not step.done), steps[-1].name)


def exported_versions(services: Services, now: ConceptSetStatus) -> list[ExportedVersion]:
    """Return the frozen versions of a set, newest first, with their shards and evaluations."""
    return [_exported(version, folder_of(services, version)) for version in now.versions]


def folder_of(services: Services, version: DatasetVersion) -> Path:
    """Return the folder of a version's shards and evaluations."""
    return services.settings.home / "concepts" / version.sha256[:SHA_DIGITS]


def picture_uri(services: Services, image: Image) -> str:
    """Return a picture to label as a data URI; "" where it cannot be read."""
    try:
        return services.pictures.get(image)[1]
    except RefusedError:
        return ""


def start_import(
    services: Services, source: str, dataset: str, *, person: Person, annotations: str | None = None
) -> tuple[Path, ...]:
    """Queue an import of a folder of found pictures, once it is said what to do with annotations beside them.

    Args:    annotations: see curation.ingest.annotations_beside; None where nobody was asked.
    Returns: the COCO files that somebody must be asked about first; empty where the import is queued.
    Raises:  UserError: no folder, one that the person may not have read, or no name.
    """
    if not dataset.strip():
        raise UserError("The data set needs a name: write one.")
    check_line(dataset.strip(), "a name for the data set")
    folder = Path(source.strip()).expanduser()
    check_readable(services.settings.home, person.role, folder)
    if not source.strip() or not folder.is_dir():
        raise UserError(f"Expected a folder of pictures on this machine, got {source.strip()!r}: check the path.")
    beside = annotations_beside(folder)
    if beside and not annotations:
        return beside
    if annotations not in (None, *CHOICES):
        raise UserError(f"annotations: expected one of {', '.join(CHOICES)}, got {annotations!r}: reload the page")
    choice: Annotations = annotations if beside and annotations else "leave"
    config = ConceptsConfig(str(folder), dataset.strip(), annotations=choice, who=person.name)
    argv = import_command(config)
    services.jobs.submit(NewJob(kind=CONCEPTS, owner=person.name, config=config, argv=argv, device=DATA))
    return ()


def start_leak_check(services: Services, config: LeaksConfig, person: Person) -> int:
    """Queue a leak check and return its job's id.

    Raises: UserError: there is nothing to check, no folder of shards, or one that the person may not have read.
    """
    if not status_of(services.engine, config.dataset).images:
        raise UserError("There are no pictures to check yet: import some first.")
    if config.shards is not None:
        check_readable(services.settings.home, person.role, config.shards)
    if config.settings.checkpoint:
        services.registry.find(config.settings.checkpoint)
    if config.shards is not None and not (config.shards.expanduser() / "manifest.json").is_file():
        raise UserError(f"Expected a folder of shards with its manifest.json, got {config.shards}: check the path.")
    return services.jobs.submit(NewJob(kind="leaks", owner=person.name, config=config, argv=leaks_command(config)))


def leak_check(
    dataset: str, training: str, shards: str, *, distance: float, nearest: float, checkpoint: str
) -> LeaksConfig:
    """Return the settings of a comparison with training data.

    Args:   training: of the menu (training_names). shards: a folder, instead of it.
    Raises: UserError: none is named, or a setting is out of range.
    """
    if not shards.strip() and not training:
        raise UserError("Name the training data: a data set, one of its versions or a folder of shards.")
    try:
        settings = LeakSettings(int(distance), float(nearest), checkpoint)
        if shards.strip():
            return LeaksConfig(dataset, shards=Path(shards.strip()).expanduser(), settings=settings)
        name, version = json.loads(training)
        return LeaksConfig(dataset, against=str(name), version=str(version), settings=settings)
    except (ValueError, TypeError) as error:
        raise UserError(sentence(error)) from error


def duplicate_check(dataset: str, distance: float) -> LeaksConfig:
    """Return the settings of a search for duplicates within a set.

    Raises: UserError: the distance is out of range.
    """
    try:
        return LeaksConfig(dataset, itself=True, settings=LeakSettings(int(distance), 1.0))
    except (ValueError, TypeError) as error:
        raise UserError(sentence(error)) from error


def class_form(now: ConceptSetStatus) -> ClassForm:
    """Return the form of the step Classes as a set fills it."""
    concept = now.concept
    return ClassForm(to_text(now.classes), concept.licence, concept.intended_use) if concept else ClassForm()


def save_class_form(
    services: Services, now: ConceptSetStatus, version: int, *, shown: ClassForm, typed: ClassForm, who: str
) -> int:
    """Save what was typed into the form of the step Classes, and return the version that it is of now.

    Args:   version: of the set that the form is of. shown: its texts then; what is still the same is not saved.
    Raises: ConceptConflictError: the set has another version by now. UserError.
    """
    create_set(services.engine, now.dataset, who)
    classes = now.classes if typed.classes == shown.classes else parse_keeping_facts(typed.classes, now.classes)
    saved = save_classes(
        services.engine,
        now.dataset,
        classes,
        who=who,
        expected_version=version or 1,
        licence=None if typed.licence == shown.licence else " ".join(typed.licence.split()),
        intended_use=None if typed.use == shown.use else " ".join(typed.use.split()),
    )
    return saved.version


def freeze_and_export(services: Services, dataset: str, name: str, *, who: str) -> DatasetVersion:
    """Freeze a set, and queue the job that writes its shards.

    Raises: UserError: something is missing, or the name is taken.
    """
    try:
        version = freeze_set(services.engine, services.settings.home, dataset, name=name, who=who)
    except UserError:
        raise
    except ValueError as error:  # the name is no printable line
        raise UserError(sentence(error)) from error
    start_export(services, version, dataset=dataset, owner=who)
    return version


def start_export(services: Services, version: DatasetVersion, *, dataset: str, owner: str) -> int:
    """Queue the shards of a version and return the job's id."""
    out = folder_of(services, version) / SHARDS
    config = ExportConfig("shards", out, dataset=dataset, version=version.name)
    argv = export_command(config)
    return services.jobs.submit(NewJob(kind="export", owner=owner, config=config, argv=argv, device=DATA))


def start_evaluation(services: Services, now: ConceptSetStatus, version: str, *, checkpoint: str, owner: str) -> int:
    """Queue an evaluation of a checkpoint on an exported version and return its job's id.

    Raises: UserError: no such version or checkpoint, or its shards are not there yet.
    """
    found = next((one for one in exported_versions(services, now) if one.version.name == version), None)
    if found is None or found.shards is None:
        raise UserError("The version is not exported yet: freeze the set, and let the export end.")
    usable = {each.name: each.folder for each in services.registry.usable()}
    if checkpoint not in usable:
        raise UserError(f"Expected a checkpoint that can be used, got {checkpoint!r}: choose another.")
    out = found.shards.parent / EVALUATIONS
    out.mkdir(exist_ok=True)
    words = ["-m", "grain.evaluate", "--models", str(usable[checkpoint]), "--data-sets", str(found.shards)]
    words.append(f"--out={out / checkpoint}")
    config = {"dataset": now.dataset, "version": version, "checkpoint": checkpoint}
    return services.jobs.submit(NewJob(kind="evaluate", owner=owner, config=config, argv=words))


def _exported(version: DatasetVersion, folder: Path) -> ExportedVersion:
    mark = _json(folder / SHARDS / "export.json")
    complete = mark.get("state") == "complete" and mark.get("state_sha256") == version.sha256
    files = sorted((folder / EVALUATIONS).glob(f"*/{RESULT}"))
    measured = (_evaluation(_json(file), file.parent.name) for file in files)
    return ExportedVersion(version, folder / SHARDS if complete else None, tuple(one for one in measured if one))


def _evaluation(plain: Mapping[str, Any], checkpoint: str) -> ConceptEvaluation | None:
    try:
        [seen] = plain["data_sets"]
        top1 = {str(row["row"]): tuple(map(float, row["top1"])) for row in seen["rows"]}
        return ConceptEvaluation(checkpoint, int(seen["pictures"]), int(seen["classes"]), top1)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError):  # half written, or of another program
        return None


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
