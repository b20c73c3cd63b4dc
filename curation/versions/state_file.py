"""Write and read the file of a state: a head, then one picture a line in the order of their ids, compressed."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from atomic_files import atomic_file
from curation.files.records import PictureRecord, Status, from_json, to_json
from user_errors import UserError

SCHEMA = 1


@dataclass(frozen=True)
class StateHead:
    """The head of a state's file: its first line."""

    dataset: str
    statuses: tuple[Status, ...]
    concepts: Mapping[str, Any] = field(default_factory=dict)
    """Of a novel-concept data set: classes, licence, agreement and leak checks (curation.concepts); else nothing."""


@dataclass(frozen=True)
class FrozenState:
    """A state in a file, to be read any number of times, a picture at a time.

    pictures, regions, descriptions: how many there are.
    """

    path: Path
    sha256: str
    head: StateHead
    pictures: int
    regions: int
    descriptions: int

    def __iter__(self) -> Iterator[PictureRecord]:
        lines = _lines(self.path)
        next(lines)
        for line in lines:
            yield from_json(line)


def write_state(path: Path, head: StateHead, records: Iterable[PictureRecord]) -> FrozenState:
    """Write a state whole or not at all.

    Raises: DiskFullError.
    """
    digest = hashlib.sha256()
    counts = [0, 0, 0]
    with (
        atomic_file(path) as temporary,
        temporary.open("wb") as file,
        # no name, no time: equal lines are packed into equal bytes
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed,
    ):
        for line in _head_and(head, records, counts):
            digest.update(line)
            packed.write(line)
    return FrozenState(path, digest.hexdigest(), head, *counts)


def read_state(path: Path, sha256: str) -> FrozenState:
    """Open a state and verify it by reading it once, so that what is read later is what was frozen.

    Raises: UserError: it is gone, or is not what it was.
    """
    digest = hashlib.sha256()
    counts = [0, 0, 0]
    try:
        lines = _lines(path)
        first = next(lines, b"")
        digest.update(first)
        head = _head(first)
        for line in lines:
            digest.update(line)
            _count(from_json(line), counts)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise _unreadable(path, error) from error
    if digest.hexdigest() != sha256:
        raise UserError(
            f"expected {path} as it was frozen (sha256 {sha256[:12]}…), got another ({digest.hexdigest()[:12]}…): "
            "bring it back from a copy, or freeze the data set again"
        )
    return FrozenState(path, sha256, head, *counts)


def peek_state(path: Path) -> tuple[StateHead, Iterator[PictureRecord]]:
    """Return the head of a state, and its pictures as they are read; nothing is verified, so that it begins at once.

    Raises: UserError: it is gone or damaged; of a picture, when that is read.
    """
    records = _peeked(path)
    return cast(StateHead, next(records)), cast("Iterator[PictureRecord]", records)


def _peeked(path: Path) -> Iterator[StateHead | PictureRecord]:
    try:
        lines = _lines(path)
        yield _head(next(lines, b""))
        for line in lines:
            yield from_json(line)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"expected the version's file {path}, got nothing: bring it back from a copy")
    return UserError(f"expected {path} as it was frozen, got a damaged file: bring it back from a copy")


def _head_and(head: StateHead, records: Iterable[PictureRecord], counts: list[int]) -> Iterator[bytes]:
    plain: dict[str, Any] = {"schema": SCHEMA, "dataset": head.dataset, "statuses": sorted(head.statuses)}
    if head.concepts:
        plain["concepts"] = head.concepts
    yield (json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode()
    last = 0
    for record in records:
        if record.id <= last:
            raise ValueError(f"expected pictures in the order of their ids, got {record.id} after {last}: sort them")
        last = record.id
        _count(record, counts)
        yield (to_json(record) + "\n").encode()


def _count(record: PictureRecord, counts: list[int]) -> None:
    counts[0] += 1
    counts[1] += len(record.regions)
    counts[2] += sum(len(region.descriptions) for region in record.regions)


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as file:
        yield from file


def _head(line: bytes) -> StateHead:
    plain = json.loads(line)
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
        raise ValueError("no head")
    return StateHead(str(plain["dataset"]), tuple(plain["statuses"]), dict(plain.get("concepts", {})))
