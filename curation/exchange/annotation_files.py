"""Read the pictures of an annotation file in any of the formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from curation.exchange import coco, entities, imagefolder, label_studio_json, odvg, shards
from curation.exchange.formats import ENTITIES_FORMATS, ImportFormat
from curation.files.records import PictureRecord
from user_errors import UserError


def read_file(
    path: Path, format: ImportFormat, left_out: Counter[str] | None = None, *, refused: list[str] | None = None
) -> Iterator[PictureRecord]:
    """Read the pictures of a file in one of the formats; for shards and exports, their folder will do.

    Args:   left_out: content that cannot be imported is counted here, by kind. refused: where each picture has files of
            its own, takes a sentence for each that cannot be read; any other malformed file raises.
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
    if format in ENTITIES_FORMATS:
        yield from entities.read(path, left_out, refused, longer=format == "entities-longer")
        return
    names = {"coco": "annotations.json", "odvg": "annotations.jsonl", "imagefolder": "metadata.jsonl"}
    names["label-studio"] = "tasks.json"
    if path.is_dir():
        folder, path = path, path / names.get(format, "data.parquet")
        if not path.is_file():
            raise UserError(
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
                yield from label_studio_json.read(file)
            elif format == "imagefolder":
                yield from imagefolder.read_metadata(file)
            else:
                yield from imagefolder.read_parquet(file)
        except UserError as error:
            raise UserError(f"{path.name}, {error}") from error


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
