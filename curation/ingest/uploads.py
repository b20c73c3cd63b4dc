"""Keep pictures that came through a browser below the home, so that they can be imported like any folder."""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from atomic_files import atomic_folder, write_atomically
from curation.files.distinct_names import distinct_names
from picture_formats import SUFFIXES
from user_errors import UserError

TOKEN_BYTES = 8
COCO_KEYS = ('"images"', '"annotations"')
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be")  # of what looks like COCO; its reader refuses those it cannot read
PICTURES, ANNOTATIONS, DATA_SETS = "pictures", "annotations", "data_sets"
NAME_BYTES = 200  # of the 255 that a file system takes: a number may come behind
COMPANIONS = {".txt", ".caption", ".json", ".jsonl", ".csv", ".tsv"}  # endings of what is said of pictures by name


@dataclass(frozen=True)
class KeptUpload:
    """An upload that was kept: the folder of the pictures, and the COCO files that were among them."""

    pictures: Path
    annotations: tuple[Path, ...]


def uploads_folder(home: Path) -> Path:
    """Return the folder of all uploads; each has one of its own there."""
    return home / "uploads"


def named(files: Sequence[Path], *, sent: Sequence[str] = ()) -> dict[str, Path]:
    """Return files by name; of several with one name the second and further ones get a number.

    Args:   sent: the name of each where it comes from; its own counts where that is "", or cannot be one here.
    Raises: UserError: names of pictures or texts repeat, and texts or boxes would go to the wrong one.
    """
    wanted = sent or [""] * len(files)
    names = [_file_name(name) or file.name for file, name in zip(files, wanted, strict=True)]
    kinds = {name: Path(name).suffix.lower() for name in names}
    counts = Counter(map(str.casefold, names))
    mixed = (name for name in names[::-1] if kinds[name] in (*SUFFIXES, *COMPANIONS))
    twice = next((name for name in mixed if counts[name.casefold()] > 1), "")
    if twice and not COMPANIONS.isdisjoint(kinds.values()):
        raise UserError(
            f"{twice} is there twice, letter case aside, and texts or boxes among the files could be of either: "
            "choose one folder at a time, or an archive."
        )
    return numbered(files, names)


def numbered(files: Sequence[Path], names: Sequence[str]) -> dict[str, Path]:
    """Return files by the name of each, those whose name was there before with a number, as in a-2.jpg."""
    distinct = distinct_names((Path(name).stem, Path(name).suffix) for name in names)
    return dict(zip(distinct, files, strict=True))


def _file_name(sent: str) -> str:
    """Return a name that somebody sent, if a file can have it here; else ""."""
    plain = sent.isprintable() and not {"/", "\\"} & set(sent) and sent not in (".", "..")
    return sent if plain and len(sent.encode()) <= NAME_BYTES else ""


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
        return any(all(content.find(key.encode(encoding)) >= 0 for key in COCO_KEYS) for encoding in ENCODINGS)


def uploads_of(home: Path, locations: Iterable[str]) -> set[Path]:
    """Return the folders of the uploads that some pictures lie in."""
    uploads, places = uploads_folder(home), map(Path, locations)
    inside = (place.relative_to(uploads).parts for place in places if place.is_relative_to(uploads))
    return {uploads / parts[0] for parts in inside if parts}


def note_dataset(home: Path, source: Path, *, dataset_id: int) -> None:
    """Note with an upload, if a source lies in one, that a data set imports from it.

    Rows do not tell all of it: what is left out and what the data set has already are files of the upload, too.

    Raises: DiskFullError, WriteError.
    """
    for upload in uploads_of(home, [os.path.abspath(source)]):
        if upload.is_dir():
            write_atomically(upload / DATA_SETS / str(dataset_id), b"")


def uploads_of_dataset(home: Path, dataset_id: int) -> set[Path]:
    """Return the folders of the uploads that a data set imported from."""
    return {note.parents[1] for note in uploads_folder(home).glob(f"*/{DATA_SETS}/{dataset_id}")}


def _put(file: Path, target: Path) -> None:
    """Give a file a second name, or where that cannot be, as on another disk, copy it."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
