"""Freeze and read versions of a data set: files that never change, known by the hash of what they say.

A version is GRAIN_HOME/versions/<sha256>.jsonl.gz: a head, then one picture a line in the order of their ids, each as
curation/files/records.py writes it. The hash is of the lines, not of how they are packed. The same state has the same
lines, so that freezing it twice makes one version.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from atomic_files import keep_name
from curation.files.records import PictureRecord, Status, shown
from curation.versions.state import HASH_LENGTH, edited_since, state_of
from curation.versions.state_file import FrozenState, StateHead, read_state, write_state
from db import models
from db.engine import Engine, Session, reading, retrying
from db.queries.data_set_queries import get_dataset
from db.queries.values import check_line
from db.queries.version_queries import (
    create_version,
    datasets_of_version,
    get_version,
    last_edit_id,
    list_versions,
)
from user_errors import UserError

SHA256 = re.compile(r"[0-9a-f]{64}")
SUFFIX = ".jsonl.gz"


def version_path(home: Path, sha256: str) -> Path:
    """Return the path of a version.

    Raises: UserError: no hash, and so never a path.
    """
    if not SHA256.fullmatch(sha256):
        raise UserError(f"expected a version's sha256 of 64 hex digits, got {shown(sha256)}: correct it")
    return home / "versions" / f"{sha256}{SUFFIX}"


def read_version(home: Path, sha256: str) -> FrozenState:
    """Open a frozen version, verified.

    Raises: UserError: as read_state and version_path.
    """
    return read_state(version_path(home, sha256), sha256)


def write_current_state(
    path: Path,
    engine: Engine,
    dataset: models.Dataset,
    *,
    statuses: Sequence[Status],
    concepts: Mapping[str, Any] | None = None,
) -> FrozenState:
    """Write a data set's state as of one moment: pictures edited meanwhile are read again at the end.

    Raises: DiskFullError.
    """
    head = StateHead(dataset.name, tuple(statuses), dict(concepts or {}))
    with reading(engine) as session:
        since = last_edit_id(session)
    frozen = write_state(path, head, state_of(engine, dataset.id, statuses=statuses))
    if later := edited_since(engine, dataset.id, statuses=statuses, since=since):
        return write_state(path, head, _merged(frozen, later))
    return frozen


def freeze(
    engine: Engine,
    home: Path,
    *,
    dataset: str,
    name: str,
    who: str,
    statuses: Sequence[Status] = ("accepted",),
    note: str = "",
    concepts: Mapping[str, Any] | None = None,
    pictures: int = 0,
) -> models.DatasetVersion:
    """Freeze a data set: its pictures, and their descriptions of some statuses, as they are now.

    Args:    concepts: of a novel-concept data set, what is frozen with it. pictures: how many count; 0 for all.
    Returns: the version; the existing one where this state was frozen before under this name.
    Raises:  UserError: no such data set, a name of another state or none, a state of another name, an unwritable file.
    """
    with reading(engine) as session:
        found = get_dataset(session, name=dataset)
    if found is None:
        raise UserError(f"expected the name of a data set, got {dataset!r}, which none has: correct it")
    name = check_line(name, "a name for the version")
    waiting = write_current_state(
        home / "versions" / f".waiting-{os.getpid()}{SUFFIX}", engine, found, statuses=statuses, concepts=concepts
    )
    try:
        target = version_path(home, waiting.sha256)
        try:
            read_state(target, waiting.sha256)
        except UserError:  # missing or damaged: put this file in its place
            waiting.path.replace(target)
        keep_name(target)  # also where an earlier try was stopped before this
    finally:
        waiting.path.unlink(missing_ok=True)

    def register(session: Session) -> models.DatasetVersion:
        for version in list_versions(session, dataset_id=found.id):
            if version.sha256 == waiting.sha256:
                if version.name != name:
                    raise UserError(
                        f"expected a state that has no name yet for {name!r}, got the one that is {version.name!r} "
                        "already: use that name"
                    )
                return version
        if get_version(session, dataset_id=found.id, name=name) is not None:
            raise UserError(f"expected a new name, got {name!r}, which another version has: versions never change")
        return create_version(
            session,
            dataset_id=found.id,
            name=name,
            sha256=waiting.sha256,
            file_name=target.name,
            pictures=pictures or waiting.pictures,
            regions=waiting.regions,
            created_by=who,
            note=note,
        )

    return retrying(engine, register)


def open_version(engine: Engine, home: Path, *, version: str, dataset: str = "") -> FrozenState:
    """Open a frozen version by its sha256, or by its name within a data set, verified.

    Raises: UserError: none of that name, its file is gone or not what it was, or it is of another data set.
    """
    sha256 = version
    if not SHA256.fullmatch(version):
        with reading(engine) as session:
            found = get_dataset(session, name=dataset)
            row = found and get_version(session, dataset_id=found.id, name=version)
        if not row:
            raise UserError(
                f"expected the name of a version of the data set {dataset!r}, got {version!r}, which none has: name "
                "both, or give the version's sha256"
            )
        sha256 = row.sha256
    frozen = read_version(home, sha256)
    if dataset:
        dataset_of_version(engine, dataset=dataset, sha256=sha256)
    return frozen


def dataset_of_version(engine: Engine, *, sha256: str, dataset: str = "") -> models.Dataset:
    """Return the data set that a version is of, whatever it is called by now.

    Args:   dataset: the name that it is expected to have; "" for any.
    Raises: UserError: there is no such version of that data set.
    """
    with reading(engine) as session:
        owners = datasets_of_version(session, sha256=sha256)
    named = [each for each in owners if each.name == dataset or not dataset]
    if not named:
        others = " and ".join(repr(each.name) for each in owners) or "none that is here"
        raise UserError(f"expected a version of {dataset!r}, got one of {others}: name another")
    return named[0]


def check_statuses(frozen: FrozenState, statuses: Sequence[Status], *, version: str) -> None:
    """Refuse a version that does not hold descriptions of these statuses: it says nothing about the others.

    Args:   version: as the person named it.
    Raises: UserError.
    """
    if missing := [status for status in statuses if status not in frozen.head.statuses]:
        name = version[:HASH_LENGTH] if SHA256.fullmatch(version) else version
        raise UserError(
            f"{name} holds {' and '.join(frozen.head.statuses)} only, got {' and '.join(missing)}: choose among those, "
            "or freeze a version that holds more"
        )


def _merged(frozen: Iterable[PictureRecord], later: Mapping[int, PictureRecord]) -> Iterator[PictureRecord]:
    """Yield the pictures of a state, replaced by their later versions."""
    for record in frozen:
        yield later.get(record.id, record)
