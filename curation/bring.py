"""Annotations from files of other programs, or of ours, into a data set whose pictures are there already.

`python -m curation.bring FILE --dataset NAME --format FORMAT` finds each picture by its content's hash, or by its file
name, adds what the data set does not have, and prints a JSON object. The file is read through once before anything is
added: a malformed one adds nothing. Doing it again adds nothing either.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

import tyro

from curation import coco, imagefolder, odvg, shards, tasks
from curation.formats import Format, FormatError
from curation.home import database_url, home_folder, report_progress
from curation.records import DescriptionRecord, PictureRecord, RegionRecord
from curation.versions import name_of
from db.curate_queries import ImageChange, add_annotation_by_hand, edit_image
from db.engine import DatabaseError, Engine, Session, open_engine, reading, retrying
from db.gallery_queries import index_annotations
from db.models import Annotation, Image, Review, Status
from db.queries import STATUSES, NewAnnotation, add_annotations, batches, find_images, get_dataset, image_page, storable
from db.version_queries import PictureAnnotations, pictures_of

BATCH = 200  # pictures in a transaction: others wait for it a tenth of a second
PAGE = 5_000
EXAMPLES = 5
ACCEPTED: tuple[Status, ...] = ("accepted",)
Content = tuple[tuple[float, ...], str, str]  # box, text, source: what makes two annotations the same


@dataclass
class Brought:
    """What an import did. pictures: found. added, known: descriptions. not_found: pictures that the data set lacks.

    left_out: kind of annotation that has no place here -> how many.
    """

    pictures: int = 0
    added: int = 0
    known: int = 0
    edited_pictures: int = 0
    not_found: int = 0
    examples: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """For people and pages."""
        names = ("pictures", "added", "known", "edited_pictures", "not_found", "examples")
        return {**{name: getattr(self, name) for name in names}, "left_out": dict(sorted(self.left_out.items()))}


def read_file(path: Path, format: Format, left_out: Counter[str] | None = None) -> Iterator[PictureRecord]:
    """The pictures of a file in one of the formats; of shards and exports the folder will do.

    Raises: FormatError: names the file and the place, or says what is not there.
    """
    if not path.exists():
        raise FormatError(f"expected a file or folder, got {path}, where nothing is: correct the path")
    if format == "shards":
        paths = sorted(path.glob("[!.]*.tar")) if path.is_dir() else [path]
        if not paths:
            raise FormatError(f"expected shards (*.tar) in {path}, got none: give their folder")
        yield from shards.read(paths)
        return
    names = {"coco": "annotations.json", "odvg": "annotations.jsonl", "imagefolder": "metadata.jsonl"}
    names["label-studio"] = "tasks.json"
    if path.is_dir():
        folder, path = path, path / names.get(format, "data.parquet")
        if not path.is_file():
            raise FormatError(
                f"expected an export as {format} with its {path.name}, got the folder {folder} without one: name the "
                "file itself, or choose the format that it has"
            )
    with _opened(path) as file:
        try:
            if format == "coco":
                yield from coco.read(file, left_out)
            elif format == "odvg":
                yield from odvg.read(file)
            elif format == "label-studio":
                yield from tasks.read(file)
            elif format == "imagefolder":
                yield from imagefolder.read_metadata(file)
            else:
                yield from imagefolder.read_parquet(file)
        except FormatError as error:
            raise FormatError(f"{path.name}, {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Raises: FormatError: it cannot be read."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise FormatError(f"cannot read {path} ({error.strerror}): see to its permissions") from error
    with file:
        yield file


def bring_file(engine: Engine, *, dataset: str, path: Path, format: Format, who: str) -> Brought:
    """Import a file's annotations; as import_records.

    Raises: FormatError: it is malformed or not there, and nothing was added.
    """
    for _ in read_file(path, format):
        pass
    brought = Brought()
    records = read_file(path, format, brought.left_out)
    return import_records(engine, dataset, records, who=who, source=f"import:{path.name}", into=brought)


def import_records(
    engine: Engine,
    dataset: str,
    records: Iterable[PictureRecord],
    *,
    who: str,
    source: str = "import:file",
    into: Brought | None = None,
) -> Brought:
    """Add to a data set what records know of its pictures.

    A description is known where its picture has one of equal box, text and source, whatever its verdict is by now: what
    curators decided here is never overruled. Likewise caption, facts and review are taken where there were none.

    Args:   who: does it, for the history. source: of descriptions that name none. into: counted here.
    Raises: ValueError: no such data set, or a record that the database does not take.
    """
    with reading(engine) as session:
        found = get_dataset(session, name=dataset)
    if found is None:
        raise ValueError(f"expected the name of a data set, got {dataset!r}, which none has: import the pictures first")
    brought = into or Brought()
    finder = _Finder(engine, found.id)
    for some in batches(records, BATCH):
        pairs = finder.find(some, brought)
        work = _Work(found.id, pairs, who, source)
        done = retrying(engine, work)
        brought.pictures += len(pairs)
        brought.added += done["added"]
        brought.known += done["known"]
        brought.edited_pictures += done["edited"]
    while retrying(engine, lambda session: index_annotations(session)):
        pass
    return brought


@dataclass
class _Finder:
    """Finds a data set's picture for a record. Names are looked up in memory, and only where a record has no hash."""

    engine: Engine
    dataset_id: int
    _by_name: dict[bytes, int] | None = None

    def find(self, records: Sequence[PictureRecord], brought: Brought) -> list[tuple[int, PictureRecord]]:
        """The records whose picture is there, with its id, each picture once."""
        with reading(self.engine) as session:
            hashes = {record.sha256 for record in records if record.sha256}
            by_hash = find_images(session, dataset_id=self.dataset_id, sha256s=hashes)
        found = []
        for record in records:
            image = by_hash.get(record.sha256)
            number = image.id if image else 0 if record.sha256 else self._named(record.file_name)
            if number:
                found.append((number, record))
            else:
                brought.not_found += 1
                if len(brought.examples) < EXAMPLES:
                    brought.examples.append(record.file_name)
        return found

    def _named(self, name: str) -> int:
        """Its id; 0 where none has the name, or several have."""
        if self._by_name is None:
            self._by_name = {}
            for image in self._images():
                for known in {*_names(image)}:
                    key = _short(known)
                    # a name that two pictures have names neither
                    self._by_name[key] = image.id if self._by_name.get(key, image.id) == image.id else 0
        path = PurePosixPath(name.replace("\\", "/"))
        tries = ("/".join(path.parts[-2:]), path.name)
        return next((number for one in tries if (number := self._by_name.get(_short(one), 0))), 0)

    def _images(self) -> Iterator[Image]:
        after = 0
        while True:
            with reading(self.engine) as session:
                page = image_page(session, dataset_id=self.dataset_id, after=after, limit=PAGE)
            if not page:
                return
            yield from page
            after = page[-1].id


def _names(image: Image) -> Iterator[str]:
    path = PurePosixPath((image.member if image.origin_row is None else "") or image.location.replace("\\", "/"))
    yield from (path.name, "/".join(path.parts[-2:]), name_of(image))


def _short(name: str) -> bytes:
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()


@dataclass
class _Work:
    """One transaction of an import; safe to do twice."""

    dataset_id: int
    pairs: list[tuple[int, PictureRecord]]
    who: str
    source: str

    def __call__(self, session: Session) -> dict[str, int]:
        there = self._there(session)
        counts = {"added": 0, "known": 0, "edited": 0}
        firsts = []
        rest: list[tuple[int, RegionRecord, list[DescriptionRecord]]] = []
        for number, record in self.pairs:
            known = {_content(row) for row in there[number].annotations}
            for region in record.regions:
                new = [one for one in region.descriptions if self._content_of(region, one) not in known]
                known |= {self._content_of(region, one) for one in new}
                counts["known"] += len(region.descriptions) - len(new)
                if len(new) == len(region.descriptions):
                    firsts.append(self._new(number, region, new[0]))
                    new = new[1:]
                if new:
                    rest.append((number, region, new))
        added = add_annotations(session, dataset_id=self.dataset_id, rows=firsts)
        counts["added"] += added.new
        counts["known"] += added.known
        if rest:
            there = self._there(session)
        for number, region, descriptions in rest:
            self._add_to(session, there[number], region, descriptions, counts)
        for number, record in self.pairs:
            counts["edited"] += self._edit(session, there[number].image, record)
        return counts

    def _there(self, session: Session) -> dict[int, PictureAnnotations]:
        ids = [number for number, _ in self.pairs]
        return {one.image.id: one for one in pictures_of(session, image_ids=ids, statuses=STATUSES)}

    def _new(self, number: int, region: RegionRecord, one: DescriptionRecord) -> NewAnnotation:
        return NewAnnotation(number, region.xyxy, one.text, one.source or self.source, one.score, one.status)

    def _content_of(self, region: RegionRecord, one: DescriptionRecord) -> Content:
        return region.xyxy, storable(one.text), one.source or self.source

    def _add_to(
        self,
        session: Session,
        there: PictureAnnotations,
        region: RegionRecord,
        descriptions: list[DescriptionRecord],
        counts: dict[str, int],
    ) -> None:
        """Further descriptions of a region that has one by now."""
        said = {self._content_of(region, one) for one in region.descriptions}
        first = next((row for row in there.annotations if _content(row) in said and row.status != "deleted"), None)
        if first is None:  # it was edited or deleted since an earlier import brought it with all of these
            counts["known"] += len(descriptions)
            return
        for one in descriptions:
            add_annotation_by_hand(
                session,
                image_id=there.image.id,
                who=self.who,
                region_id=first.id,
                text=one.text,
                status=one.status,
                source=one.source or self.source,
                score=one.score,
                key=repr((self._content_of(region, one), "import")),
            )
        counts["added"] += len(descriptions)

    def _edit(self, session: Session, image: Image, record: PictureRecord) -> bool:
        """Take what is known of the picture as a whole where nothing was."""
        review: Review | None = record.review if image.review == "open" and record.review != "open" else None
        if review == "empty" and pictures_of(session, image_ids=[image.id], statuses=ACCEPTED)[0].annotations:
            review = None
        if image.review == "empty" and pictures_of(session, image_ids=[image.id], statuses=ACCEPTED)[0].annotations:
            review = "open"  # the file's accepted regions contradict it: somebody must look again
        change = ImageChange(
            caption=(record.caption or None) if not image.caption else None,
            facts=(record.facts or None) if not image.facts else None,
            review=review,
        )
        if change == ImageChange():
            return False
        edit_image(
            session, image_id=image.id, expected_version=image.version, who=self.who, change=change, reason="import"
        )
        return True


def _content(row: Annotation) -> Content:
    return (row.x1, row.y1, row.x2, row.y2), row.text, row.source


@dataclass(frozen=True)
class BringConfig:
    """Bring annotations into a data set; prints one JSON object."""

    file: tyro.conf.Positional[Path]
    """The file, or the folder of an export or of shards."""
    dataset: str
    """Its name; its pictures are there already (curation.ingest)."""
    format: Format
    """What the file is."""
    who: str = "import"
    """Who does it, for the history."""
    home: Path | None = None
    """Where the database lies; by default GRAIN_HOME."""


def command_line(config: BringConfig) -> list[str]:
    """The words that run it from a terminal, after the name of Python."""
    flags = {"dataset": config.dataset, "format": config.format, "who": config.who, "home": config.home}
    words = [f"--{name}={value}" for name, value in flags.items() if value]
    return ["-m", "curation.bring", *words, os.path.abspath(config.file)]


def main(config: BringConfig) -> None:
    """The command line."""
    home = config.home.expanduser().absolute() if config.home else home_folder()
    engine = open_engine(database_url(home))
    try:
        brought = bring_file(
            engine, dataset=config.dataset, path=config.file.expanduser(), format=config.format, who=config.who
        )
    finally:
        engine.dispose()
    report_progress(1, 1, f"{brought.added:,} added, {brought.known:,} known, {brought.not_found:,} pictures not found")
    json.dump({"dataset": config.dataset, **brought.to_json()}, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    try:
        main(tyro.cli(BringConfig))
    except (ValueError, OSError, DatabaseError) as error:
        sys.exit(f"curation.bring: {error}")
    except KeyboardInterrupt:
        sys.exit("curation.bring: stopped: the same command goes on")
