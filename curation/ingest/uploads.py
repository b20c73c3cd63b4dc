"""Keep pictures that came through a browser below the home, so that they can be imported like any folder."""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from atomic_files import atomic_folder
from user_errors import UserError

TOKEN_BYTES = 8
COCO_KEYS = (b'"images"', b'"annotations"')
PICTURES, ANNOTATIONS = "pictures", "annotations"
COMPANIONS = {".txt", ".caption", ".json", ".jsonl", ".csv", ".tsv"}  # endings of what is said of pictures by name


@dataclass(frozen=True)
class KeptUpload:
    """An upload that was kept: the folder of the pictures, and the COCO files that were among them."""

    pictures: Path
    annotations: tuple[Path, ...]


def uploads_folder(home: Path) -> Path:
    """Return the folder of all uploads; each has one of its own there."""
    return home / "uploads"


def named(files: Sequence[Path]) -> dict[str, Path]:
    """Return files by name; of several with one name the second and further ones get a number.

    Raises: UserError: names repeat, and texts or boxes among the files would go to the wrong one.
    """
    names = [file.name for file in files]
    twice = next((name for name in names if names.count(name) > 1), "") if len(set(names)) < len(names) else ""
    if twice and any(file.suffix.lower() in COMPANIONS for file in files):
        raise UserError(
            f"{twice} is there twice, and texts or boxes among the files could be of either: choose one folder at a "
            "time, or an archive."
        )
    return numbered(files)


def numbered(files: Sequence[Path]) -> dict[str, Path]:
    """Return files by name, those whose name was there before with a number, as in a-2.jpg."""
    found: dict[str, Path] = {}
    for file in files:
        name, number = file.name, 1
        while name in found:
            number += 1
            name = f"{file.stem}-{number}{file.suffix}"
        found[name] = file
    return found


def keep_upload(home: Path, files: Mapping[str, Path]) -> KeptUpload:
    """Put files into a new folder below the home, pictures and archives apart from COCO files.

    Args:   files: name there -> file.
    Raises: UserError: there are no pictures, or a file is gone. DiskFullError, WriteError: nothing is left behind.
    """
    if gone := [file.name for file in files.values() if not file.is_file()]:
        raise UserError(f"{len(gone)} of the chosen files, {gone[0]} among them, are gone: choose them again.")
    annotations = [name for name, file in files.items() if is_coco(file)]
    if len(files) == len(annotations):
        raise UserError("There are no pictures yet: choose some, a folder of them, or an archive.")
    folder = uploads_folder(home) / secrets.token_hex(TOKEN_BYTES)
    with atomic_folder(folder) as temporary:
        for kind in (PICTURES, ANNOTATIONS):
            (temporary / kind).mkdir()
        for name, file in files.items():
            _put(file, temporary / (ANNOTATIONS if name in annotations else PICTURES) / name)
    return KeptUpload(folder / PICTURES, tuple(folder / ANNOTATIONS / name for name in annotations))


def is_coco(file: Path) -> bool:
    """Tell whether a file looks like COCO's JSON, without reading it whole into memory."""
    if file.suffix.lower() != ".json" or not file.stat().st_size:
        return False
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return all(content.find(key) >= 0 for key in COCO_KEYS)


def uploads_of(home: Path, locations: Iterable[str]) -> set[Path]:
    """Return the folders of the uploads that some pictures lie in."""
    uploads, places = uploads_folder(home), map(Path, locations)
    inside = (place.relative_to(uploads).parts for place in places if place.is_relative_to(uploads))
    return {uploads / parts[0] for parts in inside if parts}


def _put(file: Path, target: Path) -> None:
    """Give a file a second name, or where that cannot be, as on another disk, copy it."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
