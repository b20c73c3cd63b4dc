"""Frozen versions of a data set: files that never change, known by the hash of what they say.

A version is GRAIN_HOME/versions/<sha256>.jsonl.gz: a head, then one picture a line in the order of their ids, each as
curation/records.py writes it. The hash is of the lines, not of how they are packed. The same state has the same lines,
so that freezing it twice makes one version.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast

from curation.records import (
    WRITTEN_CAPTION,
    DescriptionRecord,
    PictureRecord,
    RecordError,
    RegionRecord,
    Status,
    from_json,
    shown,
    to_json,
)
from curation.sample_world import SampleWorldError, write_whole
from db import models
from db.curate_queries import history_page
from db.engine import Engine, Session, reading, retrying
from db.queries import get_dataset
from db.run_queries import written_captions
from db.version_queries import (
    PictureAnnotations,
    create_version,
    dataset_batch,
    get_version,
    images_edited_since,
    last_edit_id,
    list_versions,
    pictures_of,
)

SCHEMA = 1
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
HISTORY = 200  # edits read at a time
SHA256 = re.compile(r"[0-9a-f]{64}")
STEM = re.compile(r"[^A-Za-z0-9_-]+")  # no dot: what follows it is the ending
STEM_LENGTH, HASH_LENGTH = 60, 12  # characters of a file's name that tell people, and the program, which it is
SUFFIX = ".jsonl.gz"


class VersionError(RuntimeError):
    """A version cannot be made or read; one sentence says why and what to do."""


class DiskFullError(VersionError):
    """There is no room for it."""


@dataclass(frozen=True)
class Head:
    """What a version is of: its first line."""

    dataset: str
    statuses: tuple[Status, ...]
    concepts: Mapping[str, Any] = field(default_factory=dict)
    """Of a novel-concept data set: classes, licence, agreement and leak checks (curation/concepts.py); else nothing."""


@dataclass(frozen=True)
class Frozen:
    """A state that lies in a file; to be gone through any number of times, a picture at a time.

    pictures, regions, descriptions: how many there are.
    """

    path: Path
    sha256: str
    head: Head
    pictures: int
    regions: int
    descriptions: int

    def __iter__(self) -> Iterator[PictureRecord]:
        lines = _lines(self.path)
        next(lines)
        for line in lines:
            yield from_json(line)


Kind = Literal["added", "changed", "removed"]


@dataclass(frozen=True)
class Change:
    """One difference between two versions.

    what: the picture as a whole, or one description. id: of the annotation, 0 for a picture. fields: name -> before and
    after, of what changed; of an addition or removal all that there was. who: did it; "" where nobody knows.
    """

    kind: Kind
    what: Literal["picture", "description"]
    file_name: str
    sha256: str
    id: int = 0
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    who: str = ""

    def sentence(self) -> str:
        """For people, on one line."""
        of = f"{self.what} {self.id} of {self.file_name}" if self.id else f"picture {self.file_name}"
        said = "; ".join(f"{name}: {shown(before)} → {shown(after)}" for name, (before, after) in self.fields.items())
        return f"{self.kind} {of}" + f" by {self.who}" * bool(self.who) + f" ({said})" * (self.kind == "changed")


# ------------------------------------------------------------------------------------ a data set's present state


def state_of(engine: Engine, dataset_id: int, *, statuses: Sequence[Status]) -> Iterator[PictureRecord]:
    """A data set's pictures in the order of their ids, with the descriptions of these statuses.

    Read a page at a time, so that writers never wait; every picture is whole as of one moment (see `caught_up`).
    """
    after = 0
    while True:
        with reading(engine) as session:
            batch = dataset_batch(session, dataset_id=dataset_id, statuses=statuses, after=after)
            page = _recorded(session, batch)
        if not page:
            return
        yield from page
        after = page[-1].id


def caught_up(engine: Engine, dataset_id: int, *, statuses: Sequence[Status], since: int) -> dict[int, PictureRecord]:
    """The pictures that were edited since an edit, by id, all as of one moment: with them a state is of that moment."""
    with reading(engine) as session:
        ids = images_edited_since(session, dataset_id=dataset_id, edit_id=since)
        found = _recorded(session, pictures_of(session, image_ids=ids, statuses=statuses))
        return {record.id: record for record in found}


def record_of(
    image: models.Image, annotations: Iterable[models.Annotation], editors: Mapping[int, str] | None = None
) -> PictureRecord:
    """What the database holds of a picture. editors: annotation's id -> who edited it last."""
    regions: dict[int, RegionRecord] = {}
    for row in sorted(annotations, key=lambda row: row.id):
        first = row.region_id or row.id
        editor = (editors or {}).get(row.id, "")
        status = cast(Status, row.status)
        one = DescriptionRecord(row.text, status, row.score, row.source, row.id, row.version, editor)
        # keyed by the box as well: whatever the numbers say, a description never moves to another box
        region = regions.get(first)
        if region is not None and region.xyxy == (row.x1, row.y1, row.x2, row.y2):
            regions[first] = replace(region, descriptions=(*region.descriptions, one))
        else:
            key = row.id if region is not None else first
            regions[key] = RegionRecord((row.x1, row.y1, row.x2, row.y2), (one,), key)
    return PictureRecord(
        image.sha256,
        image.width,
        image.height,
        name_of(image),
        image.caption,
        image.review,
        dict(image.facts or {}),
        tuple(regions.values()),
        image.id,
    )


def name_of(image: models.Image) -> str:
    """A file name for a picture: people recognise it, nothing in it is a path, and no other content has it."""
    original = PurePosixPath((image.member if image.origin_row is None else "") or image.location.replace("\\", "/"))
    suffix = original.suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", original.suffix) else ""
    stem = STEM.sub("-", original.stem).strip("-")[:STEM_LENGTH] or "picture"
    return f"{stem}-{image.sha256[:HASH_LENGTH]}{suffix}"


def _recorded(session: Session, some: Sequence[PictureAnnotations]) -> list[PictureRecord]:
    """Pictures with who edited them, and with a describer's caption where people wrote no other under its name."""
    captions = written_captions(session, image_ids=[one.image.id for one in some])
    records = []
    for one in some:
        edited = {row.id for row in one.annotations if row.version > 1}
        record = record_of(one.image, one.annotations, _editors(session, one.image.id, edited))
        if (written := captions.get(one.image.id, "")) and WRITTEN_CAPTION not in record.facts:
            record = replace(record, facts={**record.facts, WRITTEN_CAPTION: written})
        records.append(record)
    return records


def _editors(session: Session, image_id: int, wanted: set[int]) -> dict[int, str]:
    """Who edited each of these annotations of a picture last."""
    found: dict[int, str] = {}
    before = None
    while wanted - found.keys():
        page = history_page(session, image_id=image_id, before=before, limit=HISTORY)
        for edit in page:
            if edit.annotation_id is not None:
                found.setdefault(edit.annotation_id, edit.who)
        if len(page) < HISTORY:
            break
        before = page[-1].id
    return {number: who for number, who in found.items() if number in wanted}


# ------------------------------------------------------------------------------------ files


def write_state(path: Path, head: Head, records: Iterable[PictureRecord]) -> Frozen:
    """Write a state whole or not at all.

    Raises: DiskFullError.
    """
    digest = hashlib.sha256()
    counts = [0, 0, 0]

    def write(file: BinaryIO) -> None:
        # no name, no time: equal lines are packed into equal bytes
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
            for line in _head_and(head, records, counts):
                digest.update(line)
                packed.write(line)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, write)
    except (SampleWorldError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in FULL:
            raise
        raise DiskFullError(
            f"disk full while writing {path}: make room and do it again; nothing was changed"
        ) from error
    return Frozen(path, digest.hexdigest(), head, *counts)


def read_state(path: Path, sha256: str) -> Frozen:
    """Open a state and read it through once, so that what comes out later is what was frozen.

    Raises: VersionError: it is gone, or is not what it was.
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
    except FileNotFoundError as error:
        raise VersionError(f"expected the version's file {path}, got nothing: bring it back from a copy") from error
    except (OSError, EOFError, zlib.error, RecordError, ValueError) as error:
        raise VersionError(
            f"expected {path} as it was frozen, got a damaged file: bring it back from a copy"
        ) from error
    if digest.hexdigest() != sha256:
        raise VersionError(
            f"expected {path} as it was frozen (sha256 {sha256[:12]}…), got another ({digest.hexdigest()[:12]}…): "
            "bring it back from a copy, or freeze the data set anew"
        )
    return Frozen(path, sha256, head, *counts)


def version_path(home: Path, sha256: str) -> Path:
    """Where a version lies.

    Raises: VersionError: no hash, and so never a path.
    """
    if not SHA256.fullmatch(sha256):
        raise VersionError(f"expected a version's sha256 of 64 hex digits, got {shown(sha256)}: correct it")
    return home / "versions" / f"{sha256}{SUFFIX}"


def read_version(home: Path, sha256: str) -> Frozen:
    """A frozen version, verified.

    Raises: VersionError: as read_state and version_path.
    """
    return read_state(version_path(home, sha256), sha256)


def write_present(
    path: Path,
    engine: Engine,
    dataset: models.Dataset,
    statuses: Sequence[Status],
    concepts: Mapping[str, Any] | None = None,
) -> Frozen:
    """Write a data set's state as of one moment: what is edited while it is read is read again at the end.

    Raises: DiskFullError.
    """
    head = Head(dataset.name, tuple(statuses), dict(concepts or {}))
    with reading(engine) as session:
        since = last_edit_id(session)
    frozen = write_state(path, head, state_of(engine, dataset.id, statuses=statuses))
    if later := caught_up(engine, dataset.id, statuses=statuses, since=since):
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
) -> models.DatasetVersion:
    """Freeze a data set: pictures, and their descriptions of some statuses, as they are at this moment.

    Args:    concepts: what is frozen with them of a novel-concept data set, plain JSON.
    Returns: the version; the one that there is already where this state was frozen before under this name.
    Raises:  VersionError: no such data set, this state has another name, the name is another state's, or the disk is
             full.
             ValueError: the name is no name.
    """
    with reading(engine) as session:
        found = get_dataset(session, name=dataset)
    if found is None:
        raise VersionError(f"expected the name of a data set, got {dataset!r}, which none has: correct it")
    waiting = write_present(home / "versions" / f".waiting-{os.getpid()}{SUFFIX}", engine, found, statuses, concepts)
    try:
        target = version_path(home, waiting.sha256)
        try:
            read_state(target, waiting.sha256)
        except VersionError:  # none there, or a damaged one: here is the right one
            waiting.path.replace(target)
    finally:
        waiting.path.unlink(missing_ok=True)

    def note_it(session: Session) -> models.DatasetVersion:
        for version in list_versions(session, dataset_id=found.id):
            if version.sha256 == waiting.sha256:
                if version.name != name:
                    raise VersionError(
                        f"expected a state that has no name yet for {name!r}, got the one that is {version.name!r} "
                        "already: use that name"
                    )
                return version
        if get_version(session, dataset_id=found.id, name=name) is not None:
            raise VersionError(f"expected a new name, got {name!r}, which another version has: versions never change")
        return create_version(
            session,
            dataset_id=found.id,
            name=name,
            sha256=waiting.sha256,
            file_name=target.name,
            pictures=waiting.pictures,
            regions=waiting.regions,
            created_by=who,
            note=note,
        )

    return retrying(engine, note_it)


def open_version(engine: Engine, home: Path, *, version: str, dataset: str = "") -> Frozen:
    """A frozen version by its sha256, or by its name within a data set, verified.

    Raises: VersionError: none of that name, its file is gone or not what it was, or it is of another data set.
    """
    sha256 = version
    if not SHA256.fullmatch(version):
        with reading(engine) as session:
            found = get_dataset(session, name=dataset)
            row = found and get_version(session, dataset_id=found.id, name=version)
        if not row:
            raise VersionError(
                f"expected the name of a version of the data set {dataset!r}, got {version!r}, which none has: name "
                "both, or give the version's sha256"
            )
        sha256 = row.sha256
    frozen = read_version(home, sha256)
    if dataset and frozen.head.dataset != dataset:
        raise VersionError(f"expected a version of {dataset!r}, got one of {frozen.head.dataset!r}: name another")
    return frozen


def must_hold(frozen: Frozen, statuses: Sequence[Status], *, version: str) -> None:
    """See that a version holds descriptions of these verdicts: of others it says nothing, and not that there are none.

    Args:   version: as the person named it.
    Raises: VersionError.
    """
    if missing := [status for status in statuses if status not in frozen.head.statuses]:
        name = version[:HASH_LENGTH] if SHA256.fullmatch(version) else version
        raise VersionError(
            f"{name} holds {' and '.join(frozen.head.statuses)} only, got {' and '.join(missing)}: choose among those, "
            "or freeze a version that holds more"
        )


def who_did(engine: Engine) -> Callable[[int, int], str]:
    """For `diff`: who edited last, as the history has it. Arguments: a picture's id, and an annotation's or 0."""

    def last(image_id: int, annotation_id: int) -> str:
        with reading(engine) as session:
            page = history_page(
                session, image_id=image_id, annotation_id=annotation_id or None, limit=1 if annotation_id else HISTORY
            )
        return next((edit.who for edit in page if annotation_id or edit.annotation_id is None), "")

    return last


def _merged(frozen: Iterable[PictureRecord], later: Mapping[int, PictureRecord]) -> Iterator[PictureRecord]:
    """The pictures of a state, the later ones in place of those they were."""
    for record in frozen:
        yield later.get(record.id, record)


def _head_and(head: Head, records: Iterable[PictureRecord], counts: list[int]) -> Iterator[bytes]:
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


def _head(line: bytes) -> Head:
    plain = json.loads(line)
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
        raise ValueError("no head")
    return Head(str(plain["dataset"]), tuple(plain["statuses"]), dict(plain.get("concepts", {})))


# ------------------------------------------------------------------------------------ differences


def diff(
    before: Iterable[PictureRecord],
    after: Iterable[PictureRecord],
    *,
    who_did: Callable[[int, int], str] = lambda image_id, annotation_id: "",
) -> Iterator[Change]:
    """What happened between two versions of one data set, picture by picture; neither is ever whole in memory.

    Args: who_did: who took an annotation away or changed a picture, which no version holds: see `who_did`.
    """
    old_ones, new_ones = iter(before), iter(after)
    old, new = next(old_ones, None), next(new_ones, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.id < new.id):
            assert old is not None
            yield from _between(old, None, who_did)
            old = next(old_ones, None)
        elif old is None or new.id < old.id:
            yield from _between(None, new, who_did)
            new = next(new_ones, None)
        else:
            yield from _between(old, new, who_did)
            old, new = next(old_ones, None), next(new_ones, None)


PICTURE_FIELDS = ("sha256", "width", "height", "file_name", "caption", "review")


def _between(
    old: PictureRecord | None, new: PictureRecord | None, who_did: Callable[[int, int], str]
) -> Iterator[Change]:
    any_one = new or old
    assert any_one is not None
    name, sha256 = any_one.file_name, any_one.sha256
    if fields := _changed(_picture_fields(old), _picture_fields(new)):
        yield Change(_kind(old, new), "picture", name, sha256, fields=fields, who=who_did(any_one.id, 0))
    olds, news = _by_id(old), _by_id(new)
    for number in sorted(olds.keys() | news.keys()):
        was, now = olds.get(number), news.get(number)
        if fields := _changed(was or {}, now or {}):
            who = who_did(any_one.id, number) if now is None else now["editor"] or now["source"]
            yield Change(_kind(was, now), "description", name, sha256, number, fields, who)


def _kind(old: object, new: object) -> Kind:
    return "added" if old is None else "removed" if new is None else "changed"


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*old, *new])
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def _picture_fields(record: PictureRecord | None) -> dict[str, Any]:
    if record is None:
        return {}
    facts = {f"fact {name}": value for name, value in record.facts.items()}
    return {name: getattr(record, name) for name in PICTURE_FIELDS} | facts


def _by_id(record: PictureRecord | None) -> dict[int, dict[str, Any]]:
    found = {}
    for region in record.regions if record else ():
        for one in region.descriptions:
            found[one.id] = {"xyxy": region.xyxy, "region": region.id} | {
                name: getattr(one, name) for name in ("text", "status", "score", "source", "version", "editor")
            }
    return found
