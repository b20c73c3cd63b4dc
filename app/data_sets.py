"""What the Data page asks: versions and their differences, exports and what they would lose, annotations brought in."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast, get_args

from app.looking import sentence
from app.services import Services
from curation.bring import BringConfig
from curation.bring import command_line as bring_command
from curation.card import CARD
from curation.export import MARK, ExportConfig, choose
from curation.export import command_line as export_command
from curation.formats import Format, losses
from curation.freeze import FreezeConfig
from curation.freeze import command_line as freeze_command
from curation.records import PictureRecord, Status
from curation.versions import Change, Frozen, VersionError, diff, must_hold, open_version, state_of, who_did
from db.engine import DatabaseError, Session, reading
from db.gallery_queries import SourceCount, count_by_status
from db.models import DatasetVersion, Review
from db.queries import count_images, get_dataset
from db.version_queries import count_reviews, list_versions

KINDS = ("freeze", "export", "bring")  # of jobs that the page shows
LOOKED_AT = 5_000  # pictures that losses are counted on before an export; its job counts all of them
MOST_CHANGES = 200  # of a difference, told one by one
NAME = re.compile(r"[^A-Za-z0-9_-]+")
PRESENT = ""  # the version that is no version: the data set as it is now


class DataError(ValueError):
    """What was asked cannot be done; the message is one sentence for the person."""


@dataclass(frozen=True)
class Overview:
    """A data set in numbers. reviews: pictures by review state."""

    pictures: int
    reviews: Mapping[Review, int]
    counts: Sequence[SourceCount]


@dataclass(frozen=True)
class Difference:
    """Between two versions. kinds: (added | changed | removed, picture | description) -> how many. people: by whom.

    changes: the first of them.
    """

    before: str
    after: str
    kinds: Mapping[tuple[str, str], int]
    people: Mapping[str, int]
    changes: Sequence[Change]


@dataclass(frozen=True)
class Losses:
    """What an export would lose. pictures: that go into it, as far as they were looked at. whole: all were."""

    sentences: Sequence[str]
    pictures: int
    whole: bool


@dataclass(frozen=True)
class Written:
    """A complete export. card: Markdown, written by nobody we trust."""

    folder: Path
    format: Format
    card: str
    pictures: int


def overview(services: Services, dataset: str) -> Overview:
    """A data set in numbers.

    Raises: DataError: there is none of that name.
    """
    with reading(services.engine) as session:
        number = _dataset(session, dataset)
        return Overview(
            count_images(session, dataset_id=number),
            count_reviews(session, dataset_id=number),
            count_by_status(session, dataset_id=number),
        )


def versions(services: Services, dataset: str) -> Sequence[DatasetVersion]:
    """The versions of a data set, newest first."""
    with reading(services.engine) as session:
        found = get_dataset(session, name=dataset)
        return list_versions(session, dataset_id=found.id) if found else ()


def freeze_config(dataset: str, name: str, note: str, statuses: Sequence[str], who: str) -> FreezeConfig:
    """A version to be made.

    Raises: DataError: it has no name, or nothing to hold.
    """
    if not dataset:
        raise DataError("There is no data set yet: import one on the Annotate page.")
    if not name.strip():
        raise DataError("The version needs a name: write one.")
    chosen = tuple(status for status in get_args(Status) if status in statuses)
    if not chosen:
        raise DataError("A version needs one verdict or more: choose which descriptions it holds.")
    return FreezeConfig(dataset, name.strip(), note.strip(), chosen, who)


def freeze(services: Services, config: FreezeConfig) -> int:
    """Queue it; the id of its job.

    Raises: DataError: the name is taken.
    """
    if any(version.name == config.name for version in versions(services, config.dataset)):
        raise DataError(f"A version is called {config.name!r} already, and versions never change: choose another name.")
    return _enqueue(services, "freeze", config.who, asdict(config), freeze_command(config))


def difference(services: Services, dataset: str, before: str, after: str) -> Difference:
    """What happened between two versions.

    Raises: DataError: one of them is gone, damaged or not chosen.
    """
    if not before or not after:
        raise DataError("Choose two versions to compare.")
    old, new = (_open(services, dataset, name) for name in (before, after))
    kinds: Counter[tuple[str, str]] = Counter()
    people: Counter[str] = Counter()
    changes: list[Change] = []
    for change in diff(old, new, who_did=who_did(services.engine)):
        kinds[change.kind, change.what] += 1
        people[change.who] += bool(change.who)
        if len(changes) < MOST_CHANGES:
            changes.append(change)
    return Difference(before, after, kinds, +people, changes)


def export_config(
    services: Services, dataset: str, version: str, format: str, statuses: Sequence[str], unreviewed: bool
) -> ExportConfig:
    """An export into a folder of its own under GRAIN_HOME/exports.

    Raises: DataError: there is nothing to export.
    """
    if not dataset:
        raise DataError("There is no data set yet: import one on the Annotate page.")
    if format not in get_args(Format):
        raise DataError(f"Expected the format {', '.join(get_args(Format))}, got {format!r}: choose one.")
    chosen = tuple(status for status in get_args(Status) if status in statuses)
    short = hashlib.sha256(json.dumps([dataset, version]).encode()).hexdigest()[:6]  # names may differ in signs only
    folder = "-".join([*(NAME.sub("-", part).strip("-") for part in (dataset, version or "now", format)), short])
    try:
        return ExportConfig(
            cast(Format, format),
            services.settings.home / "exports" / folder,
            dataset=dataset,
            version=version,
            statuses=chosen,
            unreviewed=unreviewed,
        )
    except ValueError as error:
        raise DataError(sentence(error)) from error


def losses_of(services: Services, config: ExportConfig) -> Losses:
    """What the format cannot carry of this, before anything is written.

    Raises: DataError: there is no such data set or version, or it does not hold these verdicts.
    """
    records = _records(services, config)
    some = list(islice((chosen for each in records if (chosen := choose(each, config)) is not None), LOOKED_AT + 1))
    return Losses(losses(config.format, some[:LOOKED_AT]), len(some[:LOOKED_AT]), len(some) <= LOOKED_AT)


def export(services: Services, config: ExportConfig, who: str) -> int:
    """Queue it; the id of its job.

    Raises: DataError: the version does not hold these verdicts, or is none.
    """
    if config.version:
        _held(services, config)
    plain = asdict(config) | {"out": str(config.out), "home": None, "classes": None}
    return _enqueue(services, "export", who, plain, export_command(config))


def bring_config(dataset: str, file: str, format: str, who: str) -> BringConfig:
    """An import of annotations from a file on this machine.

    Raises: DataError: there is no such file, data set or format.
    """
    if not dataset:
        raise DataError("There is no data set yet: import its pictures on the Annotate page first.")
    path = Path(file.strip()).expanduser()
    if not file.strip() or not path.exists():
        raise DataError(f"Expected a file or folder on this machine, got {file.strip()!r}: correct the path.")
    if format not in get_args(Format):
        raise DataError(f"Expected the format {', '.join(get_args(Format))}, got {format!r}: choose one.")
    return BringConfig(path, dataset, cast(Format, format), who=who)


def bring(services: Services, config: BringConfig) -> int:
    """Queue it; the id of its job.

    Raises: DataError.
    """
    plain = asdict(config) | {"file": str(config.file), "home": None}
    return _enqueue(services, "bring", config.who, plain, bring_command(config))


def exports(services: Services, dataset: str) -> list[Written]:
    """The complete exports of a data set, the latest first."""
    found = []
    for mark in sorted((services.settings.home / "exports").glob(f"*/{MARK}"), key=lambda path: -path.stat().st_mtime):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # one that is being written anew
            said = json.loads(mark.read_text(encoding="utf-8"))
            if (said["dataset"], said["state"]) == (dataset, "complete"):
                card = (mark.parent / CARD).read_text(encoding="utf-8")
                found.append(Written(mark.parent, said["format"], card, sum(said["pictures"].values())))
    return found


def _open(services: Services, dataset: str, version: str) -> Frozen:
    try:
        return open_version(services.engine, services.settings.home, dataset=dataset, version=version)
    except VersionError as error:
        raise DataError(sentence(error)) from error


def _held(services: Services, config: ExportConfig) -> Frozen:
    frozen = _open(services, config.dataset, config.version)
    try:
        must_hold(frozen, config.statuses, version=config.version)
    except VersionError as error:
        raise DataError(str(error)) from error
    return frozen


def _records(services: Services, config: ExportConfig) -> Iterator[PictureRecord]:
    if config.version:
        return iter(_held(services, config))
    with reading(services.engine) as session:
        dataset_id = _dataset(session, config.dataset)
    return state_of(services.engine, dataset_id, statuses=config.statuses)


def _dataset(session: Session, name: str) -> int:
    dataset = get_dataset(session, name=name)
    if dataset is None:
        raise DataError(f"There is no data set {name!r}: choose another.")
    return dataset.id


def _enqueue(services: Services, kind: str, who: str, config: Mapping[str, Any], words: Sequence[str]) -> int:
    try:
        return services.jobs.enqueue(kind=kind, owner=who, config=config, argv=[sys.executable, *words])
    except (ValueError, DatabaseError) as error:
        raise DataError(sentence(error)) from error
