"""Bring pictures into a data set: each is read once, hashed, given a thumbnail and a row; what is left out is listed.

What the data set has from a place where it no longer is, is found again: its row then names the new place.

`python -m curation.ingest SOURCE --dataset NAME` takes a folder, a zip or tar, WebDataset shards (img2dataset's too), a
CSV or TSV of captions and paths, a Hugging Face ImageFolder or a parquet file, and prints a JSON object. Stopped at any
moment, the same command resumes, and adds nothing twice.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import imagehash
import tyro
from PIL import Image
from tqdm import tqdm

from atomic_files import write_atomically
from curation.exchange.export_mark import ExportsBelow
from curation.exchange.import_annotations import import_file
from curation.files.archives import ArchiveLimits
from curation.files.decode import Limits, RefusedError, check_size
from curation.files.home import database_url, home_folder
from curation.files.images import PictureReader
from curation.files.import_limits import PICTURES, most_pictures
from curation.files.pictures import AHEAD, DecoderPool, in_order, read_file
from curation.files.records import with_captions
from curation.files.sources import FoundFile, PictureSource, is_address, open_source
from curation.ingest.annotations_beside import CHOICES, Annotations, annotations_beside
from curation.ingest.uploads import note_dataset
from curation.sample.world import WorldConfig, write_world
from db import models
from db.engine import Engine, Session, open_engine, reading, retrying
from db.queries.bulk import Added
from db.queries.data_set_queries import (
    NewImage,
    NewRefusal,
    add_images,
    add_refusals,
    count_replaced_files,
    create_dataset,
    find_images,
    get_dataset,
    last_image,
    move_images,
)
from db.queries.values import check_storable, storable
from grain.command import run_command
from job_progress import report_progress
from user_errors import UserError

__all__ = [
    "ImportTally",
    "IngestConfig",
    "UserError",
    "command_line",
    "import_id_of",
    "ingest",
    "perceptual_hash",
    "thumbnail_path",
]

THUMBNAIL_SIDE = 320  # pixels
THUMBNAIL_QUALITY = 85
BATCH_FILES = 256  # a transaction
BATCH_BYTES = 64_000_000  # of files held in memory for it
IMPORT_ID_DIGITS = 16


@dataclass
class ImportTally:
    """The progress of an import.

    added: new pictures. changed: files among theirs that other pictures came from earlier; those stay, and cannot be
    opened. known: there already from the same place, as after a stop. found_again: there already from another place,
    where they no longer are; the data set now has them from this one. duplicates_inside, duplicates_outside: pictures
    whose content the data set has from another place within this source, or from elsewhere. refused: reason -> files
    of this pass. seen: files looked at, of `total` where that is known.
    """

    added: int = 0
    changed: int = 0
    known: int = 0
    found_again: int = 0
    duplicates_inside: int = 0
    duplicates_outside: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    total: int | None = None

    @property
    def seen(self) -> int:
        """Count all of them."""
        copies = self.duplicates_inside + self.duplicates_outside
        return self.added + self.known + self.found_again + copies + self.refused.total()

    @property
    def nothing_came_in(self) -> str:
        """Return a sentence that says so where no file of the source became, or is, a picture; else ""."""
        if self.seen > self.refused.total():
            return ""
        if not self.refused:
            return "Nothing came in: no picture was found there. Check the path."
        reason, files = self.refused.most_common(1)[0]
        return f"Nothing came in. Left out: {self.refused.total():,}, of these {files:,} for this: {reason}"

    def count(self, added: Added, refusals: Iterable[NewRefusal], copies: Mapping[str, int]) -> None:
        """Put a transaction on top. copies: field -> pictures."""
        self.added += added.new
        self.known += copies.get("known", 0)
        self.found_again += copies.get("found_again", 0)
        self.duplicates_inside += copies.get("duplicates_inside", 0)
        self.duplicates_outside += copies.get("duplicates_outside", 0) + added.known  # another import was quicker
        self.refused.update(refusal.reason for refusal in refusals)

    def to_json(self) -> dict[str, Any]:
        """Return the counts for people and pages."""
        names = ("seen", "added", "changed", "known", "found_again", "duplicates_inside", "duplicates_outside")
        return {**{name: getattr(self, name) for name in names}, "refused": dict(self.refused.most_common())}


@dataclass(frozen=True)
class _ReadFile:
    """A file, read; or why not."""

    found: FoundFile
    content: bytes = b""
    sha256: str = ""
    refusal: str = ""


def ingest(
    engine: Engine,
    source: Path,
    *,
    dataset: str,
    home: Path,
    limits: Limits | None = None,
    archive_limits: ArchiveLimits | None = None,
    processes: int | None = None,
    skip: Collection[Path] = (),
    on_progress: Callable[[ImportTally], None] = lambda tally: None,
) -> ImportTally:
    """Bring a source's pictures into a data set, making that where there is none of the name.

    Args:    source: what open_source takes. home: thumbnails go below it. limits: for each picture. archive_limits: for
             each archive. processes: that decode at the same time, None for one a core. skip: files that are no
             pictures. on_progress: called after every transaction.
    Returns: what this pass came to, whatever earlier ones did.
    Raises:  UserError: nothing can be imported from there, or more files than GRAIN_IMPORT_PICTURES. WriteError:
             thumbnails cannot be written. DatabaseError: the disk of the database is full. ValueError: the name will
             not do.
    """
    opened = _bounded(open_source(source, limits, archive_limits), most_pictures())
    passed, exports = {os.path.abspath(file) for file in skip}, ExportsBelow(opened.root)
    kept = (each for each in opened.files if not (each.location in passed or exports.wrote_beside(each.location)))
    opened = replace(opened, files=kept)
    dataset_id = _dataset_id(engine, dataset, source)
    note_dataset(home, source, dataset_id=dataset_id)
    tally = ImportTally(total=opened.total)
    before = retrying(engine, lambda session: last_image(session, dataset_id=dataset_id))
    with (
        DecoderPool(limits, processes) as pool,
        ThreadPoolExecutor(pool.processes) as threads,
        PictureReader(limits, processes=1) as reader,
    ):
        work = _Import(engine, dataset_id, import_id_of(source), opened.root, home, pool, threads, reader)
        for batch in work.batches(opened.files):
            work.keep(batch, tally)
            on_progress(tally)
    if before and tally.added:
        with reading(engine) as session:
            tally.changed = count_replaced_files(session, dataset_id=dataset_id, after=before)
        on_progress(tally)
    return tally


def ingest_with_annotations(
    engine: Engine, source: Path, *, dataset: str, annotations: Annotations, who: str, **settings: Any
) -> tuple[ImportTally, list[dict[str, Any]]]:
    """Bring a source's pictures into a data set, and the COCO files beside them as was chosen.

    Where they are left, standard error says how they are brought. who: author of what they bring. settings: further
    ones of `ingest`.

    Returns: what came of the pictures, and of each COCO file, as JSON.
    Raises:  as `ingest`. UserError: a COCO file cannot be read.
    """
    beside = annotations_beside(source)
    brought = beside if annotations != "leave" else ()
    tally = ingest(engine, source, dataset=dataset, skip=brought, **settings)
    accept = annotations == "accept"
    named: dict[str, Any] = {"dataset": dataset, "format": "coco", "who": who, "accept": accept}
    results = [{"file": file.name, **import_file(engine, path=file, **named).to_json()} for file in brought]
    if len(beside) > len(brought):
        names = ", ".join(file.name for file in beside)
        print(f"{names} has annotations: --annotations bring brings them too, accept as accepted", file=sys.stderr)
    return tally, results


def _bounded(opened: PictureSource, most: int) -> PictureSource:
    """Return a source that gives at most so many files, 0 for all.

    Raises: UserError: it is known to have more; its files raise it where that shows on the way.
    """
    if not most:
        return opened
    sentence = f"expected at most {most:,} files in one import ({PICTURES}), got more: import a part, or raise it"
    if (opened.total or 0) > most:
        raise UserError(sentence)

    def files() -> Iterator[FoundFile]:
        for number, found in enumerate(opened.files, start=1):
            if number > most:
                raise UserError(sentence)
            yield found

    return replace(opened, files=files())


def import_id_of(source: Path) -> str:
    """Name the list of what a source's import left out, 16 hex digits: the same for the same place."""
    return hashlib.sha256(os.fsencode(os.path.abspath(source))).hexdigest()[:IMPORT_ID_DIGITS]


def thumbnail_path(home: Path, sha256: str) -> Path:
    """Return where a picture's thumbnail lies: a JPEG, upright, at most THUMBNAIL_SIDE long."""
    return home / "thumbnails" / sha256[:2] / f"{sha256}.jpg"


def perceptual_hash(image: Image.Image) -> str:
    """Hash how a picture looks, 64 bits as 16 hex digits: equal, or nearly so, for pictures that look alike."""
    return str(imagehash.phash(image))


@dataclass(frozen=True)
class _Import:
    """One import under way. root: where the source's files lie."""

    engine: Engine
    dataset_id: int
    import_id: str
    root: Path
    home: Path
    pool: DecoderPool
    threads: ThreadPoolExecutor
    reader: PictureReader
    """Of what the data set has already."""

    def batches(self, files: Iterable[FoundFile]) -> Iterator[list[_ReadFile]]:
        """Yield the source's files, read and hashed, as many as go into memory and into one transaction."""
        batch: list[_ReadFile] = []
        held = 0
        for read in in_order(self._read, files, self.threads, ahead=AHEAD * self.pool.processes):
            batch.append(read)
            held += len(read.content)
            if len(batch) == BATCH_FILES or held >= BATCH_BYTES:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch

    def keep(self, batch: list[_ReadFile], tally: ImportTally) -> None:
        """Decode what is new in a batch, write thumbnails, then its rows, all or none.

        Raises: WriteError, DatabaseError: as ingest.
        """
        first = {read.sha256: read for read in reversed(batch) if not read.refusal}  # of each content
        there = retrying(self.engine, lambda session: find_images(session, dataset_id=self.dataset_id, sha256s=first))
        made = self._make([r for r in first.values() if r.sha256 not in there or not self._has_thumbnail(r.sha256)])
        images: list[NewImage] = []
        refusals: list[NewRefusal] = []
        counts: Counter[str] = Counter()
        again: dict[str, FoundFile] = {}
        for read in batch:
            new = made.get(read.sha256)
            if read.refusal or isinstance(new, str):
                location, member = read.found.place
                refusals.append(NewRefusal(location, read.refusal or str(new), member))
            elif read.sha256 in again:
                counts["duplicates_inside"] += 1
            elif read.sha256 in there:
                kind = self._kind_of_copy(read.found, there[read.sha256])
                counts[kind] += 1
                if kind == "found_again":
                    again[read.sha256] = read.found
            elif first[read.sha256] is not read:
                counts["duplicates_inside"] += 1
            else:
                assert new is not None
                images.append(replace(new, **_origin(read.found)))
        places = {there[sha256].id: (one.location, one.member, one.origin_row) for sha256, one in again.items()}
        tally.count(self._write(images, refusals, places, captions=_further_captions(batch, there)), refusals, counts)

    def _read(self, found: FoundFile) -> _ReadFile:
        if found.refusal:
            return _ReadFile(found, refusal=found.refusal)
        try:
            content = read_file(Path(found.location), self.pool.limits) if found.content is None else found.content
            check_size(len(content), self.pool.limits)
        except RefusedError as error:
            return _ReadFile(found, refusal=str(error))
        bare = replace(found, content=None)  # kept once
        return _ReadFile(bare, content, hashlib.sha256(content).hexdigest())

    def _make(self, todo: list[_ReadFile]) -> dict[str, NewImage | str]:
        """Write each picture's thumbnail and return sha256 -> what is known of it, or why it is refused."""
        return dict(zip([read.sha256 for read in todo], self.threads.map(self._make_one, todo), strict=True))

    def _make_one(self, read: _ReadFile) -> NewImage | str:
        try:
            picture = self.pool.read(read.content, THUMBNAIL_SIDE)
        except RefusedError as error:
            return str(error)
        buffer = io.BytesIO()
        picture.image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
        # one that a power cut takes is made again when the import is run again
        write_atomically(thumbnail_path(self.home, read.sha256), buffer.getvalue(), sync="content")
        phash = perceptual_hash(picture.image)
        return NewImage(read.sha256, picture.width, picture.height, location="", phash=phash, has_thumbnail=True)

    def _has_thumbnail(self, sha256: str) -> bool:
        return thumbnail_path(self.home, sha256).exists()

    def _kind_of_copy(self, found: FoundFile, there: models.Image) -> str:
        if (found.location, found.member) == (there.location, there.member):
            return "known"
        if not self.reader.finds(there):
            return "found_again"
        return "duplicates_inside" if Path(there.location).is_relative_to(self.root) else "duplicates_outside"

    def _write(
        self,
        images: list[NewImage],
        refusals: list[NewRefusal],
        places: Mapping[int, tuple[str, str, int | None]],
        *,
        captions: Mapping[str, Iterable[str]],
    ) -> Added:
        def write(session: Session) -> Added:
            move_images(session, places=places)
            add_refusals(session, dataset_id=self.dataset_id, import_id=self.import_id, files=refusals)
            added = add_images(session, dataset_id=self.dataset_id, images=images)
            for sha256, image in find_images(session, dataset_id=self.dataset_id, sha256s=captions).items():
                image.caption, image.facts = with_captions(image.caption, image.facts or {}, captions[sha256])
            return added

        return retrying(self.engine, write)


def _further_captions(batch: list[_ReadFile], there: Mapping[str, models.Image]) -> dict[str, list[str]]:
    """Return sha256 -> captions of pictures that get more than the first one that their file came with.

    A picture that somebody has edited keeps what it has.
    """
    captions: dict[str, dict[str, None]] = {}
    first: dict[str, str] = {}  # what a new picture's row has
    for read in batch:
        if not read.refusal:
            first.setdefault(read.sha256, storable(read.found.caption))
            captions.setdefault(read.sha256, {}).update(dict.fromkeys(map(storable, read.found.captions)))
    found = {}
    for sha256, texts in captions.items():
        image = there.get(sha256)
        kept = (image.caption, *(image.facts or {}).values()) if image else (first[sha256],)
        if (image is None or image.version == 1) and not texts.keys() <= {*kept}:
            found[sha256] = [*texts]
    return found


def _origin(found: FoundFile) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("location", "member", "origin_row", "caption")}


def _dataset_id(engine: Engine, name: str, source: Path) -> int:
    def find_or_make(session: Session) -> int:
        dataset = get_dataset(session, name=name) or create_dataset(session, name=name, source=str(source))
        return dataset.id

    try:
        return retrying(engine, find_or_make)
    except Exception:  # another import may have made it at the same moment: then it is there now
        return retrying(engine, find_or_make)


@dataclass(frozen=True)
class IngestConfig:
    """Bring pictures into a data set; prints one JSON object."""

    source: tyro.conf.Positional[str] = ""
    """Folder, archive, table or parquet file."""
    dataset: str = field(kw_only=True)
    """Its name; made where there is none."""
    sample: int = 0
    """In place of a source: so many pictures of the sample world, drawn first."""
    home: Path | None = None
    """Where thumbnails go, and the database if GRAIN_DATABASE_URL names no other; by default GRAIN_HOME."""
    processes: int | None = None
    """Pictures decoded at the same time; by default one a core."""
    annotations: Annotations = "leave"
    """COCO files in the folder, such as instances.json: leave them, bring them too, or bring them as accepted, because
    people made them."""
    who: str = "import"
    """Author of what they bring, for the history."""

    def __post_init__(self) -> None:
        """Refuse what says nothing, or two things at once.

        Raises: ValueError.
        """
        check_storable(self.source, "a path")
        if bool(self.source) == (self.sample > 0):
            raise ValueError(
                f"expected a source or a number of sample pictures, got the source {self.source!r} and {self.sample}: "
                "give one of them"
            )
        if self.annotations not in CHOICES:
            raise ValueError(f"annotations: expected one of {', '.join(CHOICES)}, got {self.annotations!r}: correct it")
        if self.processes is not None and self.processes < 1:
            raise ValueError(f"expected one process or more, got {self.processes}: give a larger number")


def command_line(config: IngestConfig) -> list[str]:
    """Return the words that run it from a terminal, after the name of Python."""
    flags = {"dataset": config.dataset, "sample": config.sample, "home": config.home, "processes": config.processes}
    if config.annotations != "leave":
        flags |= {"annotations": config.annotations, "who": config.who}
    # a value in one word with its flag, and a path from the root: either may begin with a dash
    words = [f"--{name}={value}" for name, value in flags.items() if value]
    return ["-m", "curation.ingest", *words, *([_from_root(config.source)] if config.source else [])]


def _from_root(source: str) -> str:
    """Return a path as people write it, from the root; an address as it is."""
    return source if is_address(source) else os.path.abspath(Path(source).expanduser())


def sample_world(home: Path, pictures: int) -> Path:
    """Draw a folder of pictures, or return the same ones, if it is there already.

    Raises: UserError: the disk is full.
    """
    out = home / "samples" / f"world-{pictures}"
    return write_world(WorldConfig(out, images=pictures, held_out_images=0, novel_images_per_class=0))


def main(config: IngestConfig) -> None:
    """Run from the command line."""
    home = home_folder(config.home)
    source = Path(_from_root(config.source)) if config.source else sample_world(home, config.sample)
    start = time.perf_counter()
    engine = open_engine(database_url(home))
    try:
        with tqdm(unit=" pictures", smoothing=0.1) as bar:

            def show(tally: ImportTally) -> None:
                bar.total = tally.total and max(tally.total, tally.seen)
                bar.update(tally.seen - bar.n)
                others = {"of them from files that have changed since an earlier import": tally.changed}
                others |= {"found again": tally.found_again, "left out": tally.refused.total()}
                parts = (f"{count:,} {what}" for what, count in others.items() if count)
                message = ", ".join([f"{tally.added:,} pictures added", *parts])
                report_progress(tally.seen, bar.total or 0, message)

            named: dict[str, Any] = {"annotations": config.annotations, "who": config.who}
            named |= {"dataset": config.dataset, "home": home, "processes": config.processes}
            tally, annotations = ingest_with_annotations(engine, source, **named, on_progress=show)
    finally:
        engine.dispose()
    seconds = round(time.perf_counter() - start, 2)
    answer = {
        "dataset": config.dataset.strip(),
        "import_id": import_id_of(source),
        **tally.to_json(),
        "seconds": seconds,
    }
    answer |= {"annotations": annotations} if annotations else {}
    json.dump(answer, sys.stdout, indent=1)
    print()
    if tally.nothing_came_in:
        raise UserError(tally.nothing_came_in)


def command() -> None:
    """Run `python -m curation.ingest`."""
    run_command(main, IngestConfig, module="curation.ingest")
