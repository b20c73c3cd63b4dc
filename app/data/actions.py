"""Answer the Data page: versions and their differences, exports and what they lose, imports of annotations."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast, get_args

from app.core.page_values import chosen_dataset
from app.data.upkeep_actions import DELETE, REMOVE, RESTORE, UNDO
from app.jobs.control import NewJob
from app.jobs.devices import DATA
from app.jobs.imports import ANNOTATIONS
from app.services import Services
from curation.exchange.dataset_card import CARD
from curation.exchange.export import command_line as export_command
from curation.exchange.export_config import ExportConfig
from curation.exchange.export_mark import MARK
from curation.exchange.export_selection import novel_classes, select
from curation.exchange.export_share import export_share
from curation.exchange.formats import IMPORT_FORMATS, Format, losses
from curation.exchange.import_annotations import ImportAnnotationsConfig
from curation.files.records import Status
from curation.versions.diff import PictureDifference, last_editor, picture_differences
from curation.versions.freeze import FreezeConfig
from curation.versions.freeze import command_line as freeze_command
from curation.versions.state import state_of
from curation.versions.state_file import FrozenState
from curation.versions.versions import check_statuses, open_version
from db.engine import Session, reading
from db.models import DatasetVersion, Review
from db.queries.data_set_queries import count_images, existing_dataset, get_dataset
from db.queries.region_index_queries import SourceCount, count_by_status
from db.queries.values import check_line
from db.queries.version_queries import count_reviews, list_versions
from user_errors import UserError

KINDS = ("freeze", "export", ANNOTATIONS, RESTORE, UNDO, REMOVE, DELETE)  # of jobs that the page shows
MOST_CHECKED = 5_000  # pictures that losses are counted on before an export; its job counts all of them
MOST_DIFFERENT = 12  # pictures of a difference that are shown at a time
NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class DatasetOverview:
    """A data set in numbers. reviews: pictures by review state."""

    pictures: int
    reviews: Mapping[Review, int]
    counts: Sequence[SourceCount]


@dataclass(frozen=True)
class VersionDifference:
    """The changes between two versions, with MOST_DIFFERENT of the pictures that differ, from `start` on.

    kinds: (added | changed | removed, picture | description) -> how many. people: who -> how many. pictures: of how
    many that differ. holds: the verdicts of the descriptions that each version holds.
    """

    before: str
    after: str
    holds: tuple[Sequence[str], Sequence[str]]
    kinds: Mapping[tuple[str, str], int]
    people: Mapping[str, int]
    shown: Sequence[PictureDifference]
    start: int = 0
    pictures: int = 0


@dataclass(frozen=True)
class ExportLosses:
    """The losses of an export, a sentence each. pictures: counted. complete: they are all that go into it.

    share: what its filter takes and leaves out, a sentence each.
    """

    sentences: Sequence[str]
    pictures: int
    complete: bool
    share: Sequence[str] = ()


@dataclass(frozen=True)
class WrittenExport:
    """A complete export. card: Markdown, not to be trusted."""

    folder: Path
    format: Format
    card: str
    pictures: int


def overview(services: Services, dataset: str) -> DatasetOverview:
    """Count a data set's pictures and regions.

    Raises: UserError: there is none of that name.
    """
    with reading(services.engine) as session:
        number = _dataset(session, dataset)
        return DatasetOverview(
            count_images(session, dataset_id=number),
            count_reviews(session, dataset_id=number),
            count_by_status(session, dataset_id=number),
        )


def versions(services: Services, dataset: str) -> Sequence[DatasetVersion]:
    """Return the versions of a data set, newest first."""
    with reading(services.engine) as session:
        found = get_dataset(session, name=dataset)
        return list_versions(session, dataset_id=found.id) if found else ()


def freeze_config(dataset: str, name: str, note: str, *, statuses: Sequence[str], who: str) -> FreezeConfig:
    """Return the settings of a version to be made.

    Raises: UserError: it has no name, or nothing to hold.
    """
    chosen_dataset(dataset)
    if not name.strip():
        raise UserError("The version needs a name: write one.")
    check_line(name.strip(), "a name for the version")
    chosen = tuple(status for status in get_args(Status) if status in statuses)
    if not chosen:
        raise UserError("A version needs one verdict or more: choose which descriptions it holds.")
    return FreezeConfig(dataset, name.strip(), note.strip(), chosen, who)


def freeze(services: Services, config: FreezeConfig) -> int:
    """Queue a freeze and return its job's id.

    Raises: UserError: there is no such data set, or the name is taken.
    """
    with reading(services.engine) as session:
        made = list_versions(session, dataset_id=_dataset(session, config.dataset))
    if any(version.name == config.name for version in made):
        raise UserError(f"A version is called {config.name!r} already, and versions never change: choose another name.")
    argv = freeze_command(config)
    return services.jobs.submit(
        NewJob(kind="freeze", owner=config.who, config=config, argv=argv, device=DATA, once=True)
    )


def difference(services: Services, dataset: str, *, before: str, after: str, start: int = 0) -> VersionDifference:
    """Compare two versions of a data set. start: how many of the pictures that differ come before those to be shown.

    Raises: UserError: one of them is gone, damaged or not chosen.
    """
    if not before or not after:
        raise UserError("Choose two versions to compare.")
    home = services.settings.home
    old, new = (open_version(services.engine, home, dataset=dataset, version=name) for name in (before, after))
    chosen = [each for each in versions(services, dataset) if {each.name, each.sha256} & {before, after}]
    until = max(each.created_at for each in chosen)
    editor = last_editor(services.engine, until=until)
    kinds: Counter[tuple[str, str]] = Counter()
    people: Counter[str] = Counter()
    shown: list[PictureDifference] = []
    pictures = 0
    for pictures, each in enumerate(picture_differences(old, new, last_editor=editor), start=1):
        kinds.update((change.kind, change.what) for change in each.changes)
        people.update(change.who for change in each.changes if change.who)
        if start < pictures <= start + MOST_DIFFERENT:
            shown.append(each)
    holds = (old.head.statuses, new.head.statuses)
    return VersionDifference(before, after, holds, kinds, people, shown, start, pictures)


def export_config(
    services: Services, dataset: str, version: str, *, format: str, statuses: Sequence[str], unreviewed: bool
) -> ExportConfig:
    """Return the settings of an export into a folder of its own under GRAIN_HOME/exports.

    Raises: UserError: there is nothing to export.
    """
    chosen_dataset(dataset)
    if format not in get_args(Format):
        raise UserError(f"Expected the format {', '.join(get_args(Format))}, got {format!r}: choose one.")
    chosen = tuple(status for status in get_args(Status) if status in statuses)
    if not chosen:
        raise UserError("Expected one verdict or more, got none: choose which descriptions to export.")
    short = hashlib.sha256(json.dumps([dataset, version]).encode()).hexdigest()[:6]  # names may differ in signs only
    folder = "-".join([*(NAME.sub("-", part).strip("-") for part in (dataset, version or "now", format)), short])
    return ExportConfig(
        cast(Format, format),
        services.settings.home / "exports" / folder,
        dataset=dataset,
        version=version,
        statuses=chosen,
        unreviewed=unreviewed,
    )


def export_losses(services: Services, config: ExportConfig) -> ExportLosses:
    """List what the format cannot store, before anything is written.

    Raises: UserError: there is no such data set or version, or it does not hold these verdicts.
    """
    dataset_id, frozen = _exported(services, config)
    records = iter(frozen) if frozen else state_of(services.engine, dataset_id, statuses=config.statuses)
    classes = novel_classes(frozen.head, config) if frozen else {}
    selected = (chosen for each in records if (chosen := select(each, config, classes)) is not None)
    some = list(islice(selected, MOST_CHECKED + 1))
    checked, complete = some[:MOST_CHECKED], len(some) <= MOST_CHECKED
    share = export_share(services.engine, config, dataset_id=dataset_id, frozen=frozen).sentences()
    return ExportLosses(losses(config.format, checked), len(checked), complete, share)


def export(services: Services, config: ExportConfig, who: str) -> int:
    """Queue an export and return its job's id.

    Raises: UserError: the version does not hold these verdicts, or is none.
    """
    if config.version:
        _open_version(services, config)
    argv = export_command(config)
    once = bool(config.version)  # the data set as it is now may be another by the time that one begins
    return services.jobs.submit(NewJob(kind="export", owner=who, config=config, argv=argv, device=DATA, once=once))


def import_config(dataset: str, file: str, format: str, *, who: str, accept: bool = False) -> ImportAnnotationsConfig:
    """Return the settings of an import of annotations from a file on this machine. accept: people made them.

    Raises: UserError: there is no such file, data set or format.
    """
    chosen_dataset(dataset)
    path = Path(file.strip()).expanduser()
    if not file.strip() or not path.exists():
        raise UserError(f"Expected a file or folder on this machine, got {file.strip()!r}: correct the path.")
    if format not in IMPORT_FORMATS:
        raise UserError(f"Expected the format {', '.join(IMPORT_FORMATS)}, got {format!r}: choose one.")
    return ImportAnnotationsConfig(path, dataset, format, who=who, accept=accept)


def written_exports(services: Services, dataset: str) -> list[WrittenExport]:
    """Return the complete exports of a data set, the latest first."""
    found = []
    for mark in sorted((services.settings.home / "exports").glob(f"*/{MARK}"), key=lambda path: -path.stat().st_mtime):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # one that is being written again
            state = json.loads(mark.read_text(encoding="utf-8"))
            if (state["dataset"], state["state"]) == (dataset, "complete"):
                card = (mark.parent / CARD).read_text(encoding="utf-8")
                found.append(WrittenExport(mark.parent, state["format"], card, sum(state["pictures"].values())))
    return found


def _open_version(services: Services, config: ExportConfig) -> FrozenState:
    frozen = open_version(services.engine, services.settings.home, dataset=config.dataset, version=config.version)
    check_statuses(frozen, config.statuses, version=config.version)
    return frozen


def _exported(services: Services, config: ExportConfig) -> tuple[int, FrozenState | None]:
    """Return the data set's id, and the version that is exported; None for the present data set."""
    frozen = _open_version(services, config) if config.version else None
    with reading(services.engine) as session:
        return _dataset(session, config.dataset), frozen


def _dataset(session: Session, name: str) -> int:
    return existing_dataset(session, name=name).id
