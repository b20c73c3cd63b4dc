"""Remember the files of pictures that an export could not read, so that it is made again only once they change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from stat import S_ISREG

from db.engine import Engine, reading
from db.queries.data_set_queries import find_images

MOST_REMEMBERED = 1_000  # where there are more, a disk is likely away, and looking for each of them takes long


def file_stamp(location: str) -> str:
    """Return what changes when a file does, its size and times; "" where there is none."""
    try:
        found = Path(location).stat()
    except (OSError, ValueError):
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}" if S_ISREG(found.st_mode) else ""


def files_unchanged(engine: Engine, *, dataset_id: int, stamps: Mapping[str, str]) -> bool:
    """Tell whether the files of some pictures are as they were; False where none is remembered.

    Args: stamps: sha256 of a picture -> the stamp of its file then.
    """
    with reading(engine) as session:
        found = find_images(session, dataset_id=dataset_id, sha256s=list(stamps))
        places = {sha256: image.location for sha256, image in found.items()}
    return bool(stamps) and all(file_stamp(places.get(sha256, "")) == stamp for sha256, stamp in stamps.items())
