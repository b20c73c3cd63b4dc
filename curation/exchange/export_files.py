"""Write the pictures of an export: as files beside a format's own file, or packed into shards."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from atomic_files import atomic_file, write_atomically
from curation.exchange import coco, cvat, fiftyone_json, finehard, imagefolder, label_studio_json, odvg, voc, yolo
from curation.exchange.classes import CLASSES, Classes
from curation.exchange.dataset_card import ExportTally
from curation.exchange.export_config import ExportConfig
from curation.exchange.export_selection import ROWS, SPLITS, ExportSelection, Split, split_for
from curation.exchange.formats import MAIN_FILE
from curation.exchange.shards import to_sample
from curation.exchange.unreadable import file_stamp
from curation.files.image_files import JPEG, PictureFile, PictureFileReader
from curation.files.records import PictureRecord, captions_in
from db.engine import Engine, reading
from db.models import Image
from db.queries.bulk import batches
from db.queries.data_set_queries import find_images
from grain.checkpoint import file_sha256
from grain.structures import SCHEMA_VERSION

MANIFEST = MAIN_FILE["shards"]
IMAGES, BEFORE = "images", ".images-before"
ONLY_JPEG = ("shards", "voc")  # formats whose readers look for nothing else


@dataclass
class ExportProgress:
    """The progress of an export.

    left_out: reason -> pictures that cannot be read. unreadable: sha256 of each -> the stamp of its file before the
    try. encoded: pictures that were re-encoded.
    """

    pictures: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    encoded: int = 0


@dataclass
class ExportWriter:
    """Writes the pictures of one export, counts them, and leaves out those that cannot be read."""

    engine: Engine
    config: ExportConfig
    dataset_id: int
    on_progress: Callable[[int, int], object]
    tally: ExportTally
    progress: ExportProgress = field(default_factory=ExportProgress)
    missing: set[int] = field(default_factory=set)  # ids of pictures that cannot be read
    renamed: dict[int, str] = field(default_factory=dict)  # id -> file name, where its content needs another suffix
    encoded: dict[int, str] = field(default_factory=dict)  # id -> sha256 of the file, where it was re-encoded
    total: int = 0

    @property
    def out(self) -> Path:
        """Return the export's folder."""
        return self.config.out

    @property
    def main_file(self) -> Path:
        """Return the file that the format is read from."""
        return self.out / MAIN_FILE[self.config.format]

    def write(self, selection: ExportSelection, classes: Classes) -> None:
        """Write the export's pictures and the format's own files."""
        self.total = self.tally.pictures
        for name in (MANIFEST, CLASSES):
            (self.out / name).unlink(missing_ok=True)
        if self.config.format == "shards":
            self.write_shards(selection, classes)
        elif self.config.format == "parquet":
            contents = ((self.named(record), prepared.content) for record, prepared in self.pictures(selection))
            with atomic_file(self.main_file) as temporary, temporary.open("wb") as file:
                imagefolder.write_parquet(contents, file)
        else:
            self.write_files(selection)

    def pictures(
        self, records: Iterable[PictureRecord], split: str = "all"
    ) -> Iterator[tuple[PictureRecord, PictureFile]]:
        """Yield each record with its picture; unreadable ones are counted and skipped."""
        with PictureFileReader(kinds=(JPEG,) if self.config.format in ONLY_JPEG else None) as originals:
            by_id: dict[int, tuple[PictureRecord, str]] = {}
            for image, prepared in originals.prepared(self._rows(records, by_id)):
                record, stamp = by_id.pop(image.id)
                if isinstance(prepared, str):
                    self.progress.left_out[prepared] += 1
                    self.progress.unreadable[record.sha256] = stamp
                    self.missing.add(record.id)
                    self.tally.leave_out(record)
                else:
                    self.progress.pictures[split] += 1
                    self.progress.encoded += prepared.encoded
                    if prepared.encoded:
                        self.encoded[record.id] = hashlib.sha256(prepared.content).hexdigest()
                    if not record.file_name.endswith(prepared.suffix):
                        self.renamed[record.id] = str(Path(record.file_name).with_suffix(prepared.suffix))
                    yield record, prepared
                self.on_progress(self.progress.pictures.total() + self.progress.left_out.total(), self.total)

    def _rows(self, records: Iterable[PictureRecord], by_id: dict[int, tuple[PictureRecord, str]]) -> Iterator[Image]:
        for some in batches(records, ROWS):
            with reading(self.engine) as session:
                found = find_images(session, dataset_id=self.dataset_id, sha256s=[record.sha256 for record in some])
            for record in some:
                image = found.get(record.sha256) or Image(
                    id=-record.id, dataset_id=0, sha256=record.sha256, width=1, height=1, location=""
                )
                by_id[image.id] = (record, file_stamp(image.location))
                yield image

    @property
    def images(self) -> str:
        """Return the folder of the pictures, where they are files."""
        return voc.IMAGES if self.config.format == "voc" else IMAGES

    def folder_of(self, record: PictureRecord) -> str:
        """Return where a picture lies: in a folder of few, but where a format wants all in one."""
        return f"{voc.IMAGES}/" if self.config.format == "voc" else f"{IMAGES}/{record.sha256[:2]}/"

    def named(self, record: PictureRecord, folder: str = "") -> PictureRecord:
        """Return a record with the file name that its picture was written under, and what tells the file."""
        name = folder + self.renamed.get(record.id, record.file_name)
        return replace(record, file_name=name, written_sha256=self.encoded.get(record.id, ""))

    def write_files(self, selection: ExportSelection) -> None:
        """Write the pictures as files, then the file with their records."""
        images, kept = self.out / self.images, self.out / BEFORE
        self.main_file.unlink(missing_ok=True)
        _set_aside(images, kept)
        for record, prepared in self.pictures(selection):
            name = Path(self.folder_of(record)) / self.named(record).file_name
            _put(self.out / name, prepared.content, kept / name.relative_to(self.images))
        shutil.rmtree(kept, ignore_errors=True)
        records = _WrittenPictures(selection, self)
        self._write_beside(records)
        os.sync()  # one for all: each by itself would take longer than the pictures
        write: dict[str, Callable[[BinaryIO], object]] = {
            "coco": lambda file: coco.write(records, file, categories=self.config.categories),
            "odvg": lambda file: odvg.write(records, file),
            "yolo": lambda file: yolo.write(records, file),
            "voc": lambda file: voc.write(records, file),
            "fiftyone": lambda file: fiftyone_json.write(records, file),
            "cvat": lambda file: cvat.write(records, file),
            "finehard": lambda file: finehard.write(records, file),
            "imagefolder": lambda file: imagefolder.write_metadata(records, file),
            "label-studio": lambda file: label_studio_json.write(records, file),
        }
        self.main_file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.main_file) as temporary, temporary.open("wb") as file:
            write[self.config.format](file)

    def _write_beside(self, records: Iterable[PictureRecord]) -> None:
        """Write the files that some formats have for each picture, in place of those of an earlier export."""
        if self.config.format == "yolo":
            shutil.rmtree(self.out / yolo.LABELS, ignore_errors=True)
            yolo.write_labels(records, self.out)
        elif self.config.format == "voc":
            shutil.rmtree(self.out / voc.ANNOTATIONS, ignore_errors=True)
            voc.write_annotations(records, self.out)

    def write_shards(self, selection: ExportSelection, classes: Classes) -> None:
        """Write the shards of every split, classes.json and the manifest."""
        splits = {split: self._write_split(selection, split) for split in SPLITS}
        if classes:
            write_atomically(self.out / CLASSES, json.dumps(classes, indent=1, ensure_ascii=False) + "\n")
        names = {entry["file"] for entries in splits.values() for entry in entries}
        for path in self.out.glob("*.tar"):
            if path.name not in names:  # of an earlier, larger export: a reader that goes by names would take it in
                path.unlink()
        state = selection.state
        name, trained = state.head.dataset, self.progress.pictures["train"]
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "source": f"the data set {name}",
            "trained_on": f"{trained:,} pictures of the data set {name}, described by {self.tally.makers()}",
            "state_sha256": state.sha256,
            "options": self.config.options(),
            "splits": splits,
        }
        write_atomically(self.main_file, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")

    def _write_split(self, selection: ExportSelection, split: Split) -> list[dict[str, Any]]:
        mine = (record for record in selection if split_for(record, self.config) == split)
        samples = enumerate(self.pictures(mine, split))
        shards: list[dict[str, Any]] = []
        while (first := next(samples, None)) is not None:
            file = self.out / f"{split}-{len(shards):06d}.tar"
            count = 0
            with atomic_file(file) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
                for number, (record, prepared) in chain([first], islice(samples, self.config.shard_images - 1)):
                    key = f"{split}-{number:07d}"
                    _add(tar, f"{key}.jpg", prepared.content)
                    further = captions_in(record.facts) if self.config.caption == "picture" else ()
                    sample = to_sample(self.named(record), key, captions=further)
                    _add(tar, f"{key}.json", json.dumps(sample).encode())
                    count += 1
            shards.append({"file": file.name, "images": count, "sha256": file_sha256(file)})
        return shards


@dataclass(frozen=True)
class _WrittenPictures:
    """The pictures that were written, with their exported file names; iterable any number of times."""

    selection: ExportSelection
    writer: ExportWriter

    def __iter__(self) -> Iterator[PictureRecord]:
        for record in self.selection:
            if record.id not in self.writer.missing:
                yield self.writer.named(record, self.writer.folder_of(record))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # its time, owner and group are zero: the same pictures give the same bytes
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _set_aside(images: Path, kept: Path) -> None:
    """Move the pictures of an earlier export aside, so that the new one reuses what it needs and nothing else."""
    if not kept.exists():
        if images.exists():
            images.rename(kept)
        return
    for path in images.rglob("*"):
        if path.is_file():
            target = kept / path.relative_to(images)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def _put(target: Path, content: bytes, earlier: Path) -> None:
    """Write a picture under its name, or move it there from an earlier export that has it."""
    if earlier.is_file() and earlier.read_bytes() == content:
        target.parent.mkdir(parents=True, exist_ok=True)
        earlier.replace(target)
    else:
        write_atomically(target, content, sync="none")
