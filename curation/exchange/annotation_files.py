"""Read the pictures of an annotation file in any of the formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from curation.exchange import (
    coco,
    cvat,
    entities,
    fiftyone_json,
    finehard,
    imagefolder,
    label_studio_json,
    odvg,
    shards,
    voc,
    yolo,
)
from curation.exchange.formats import MAIN_FILE, OF_MANY_FILES, ImportFormat
from curation.exchange.picture_headers import PictureFolder
from curation.files.records import PictureRecord
from curation.files.text_files import as_utf_8
from user_errors import UserError

PICTURES = ("data", "images")  # folders beside FiftyOne's labels.json: its own, and that of our exports


def read_file(
    path: Path, format: ImportFormat, left_out: Counter[str] | None = None, *, refused: list[str] | None = None
) -> Iterator[PictureRecord]:
    """Read the pictures of a file in one of the formats; for shards and exports, their folder will do.

    Args:   left_out: content that cannot be imported is counted here, by kind. refused: where each picture has files of
            its own, takes a sentence for each that cannot be read, and for each that is not there where it alone tells
            its size; any other malformed file raises.
    Raises: UserError: names the file and the place, or says what is not there.
    """
    if not path.exists():
        raise UserError(f"expected a file or folder, got {path}, where nothing is: correct the path")
    if format == "shards":
        paths = sorted(path.glob("[!.]*.tar")) if path.is_dir() else [path]
        if not paths:
            raise UserError(f"expected shards (*.tar) in {path}, got none: give their folder")
        yield from shards.read(paths)
        return
    if format in OF_MANY_FILES:
        yield from _of_many_files(path, format, left_out=left_out, refused=refused)
        return
    if path.is_dir():
        folder, path = path, path / MAIN_FILE[format]
        if not path.is_file():
            raise UserError(
                f"expected an export as {format} with its {path.name}, got the folder {folder} without one: name the "
                "file itself, or choose the format that it has"
            )
    with _opened(path) as file:
        try:
            with as_utf_8(file) as text:
                yield from _of_one_file(text, path, format=format, left_out=left_out, refused=refused)
        except UserError as error:
            raise UserError(f"{path.name}, {error}") from error


def _of_many_files(
    path: Path, format: ImportFormat, *, left_out: Counter[str] | None, refused: list[str] | None
) -> Iterator[PictureRecord]:
    """Read a format that has a file or two for each picture."""
    if format == "yolo":
        return yolo.read(path, left_out, refused)
    if format == "voc":
        return voc.read(path, left_out, refused)
    return entities.read(path, left_out, refused, longer=format == "entities-longer")


def _of_one_file(
    file: IO[bytes], path: Path, *, format: ImportFormat, left_out: Counter[str] | None, refused: list[str] | None
) -> Iterable[PictureRecord]:
    """Read a format that has one file for all pictures, which lie beside it."""
    if format == "fiftyone":
        beside = next((path.parent / name for name in PICTURES if (path.parent / name).is_dir()), path.parent)
        return fiftyone_json.read(file, PictureFolder(beside), left_out, refused=refused)
    if format == "finehard":
        return finehard.read(file, PictureFolder(path.parent), left_out, refused=refused)
    if format == "coco":
        return coco.read(file, left_out)
    if format == "cvat":
        return cvat.read(file, left_out)
    if format == "odvg":
        return odvg.read(file)
    if format == "label-studio":
        return label_studio_json.read(file)
    return imagefolder.read_metadata(file) if format == "imagefolder" else imagefolder.read_parquet(file)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading.

    Raises: UserError: it cannot be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): see to its permissions") from error
    with file:
        yield file
