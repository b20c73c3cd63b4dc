"""Keep the last pictures of each person, so that a page shows them again after a reload or a crash of the tab."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from PIL import Image

from app.core.settings import Settings
from app.core.uploads import browsers_show, save_picture
from atomic_files import write_atomically
from curation.files.pictures import read_file

MOST_KEPT = 12  # pictures of a person
NAME_CHARACTERS = 80
KEPT_ID = re.compile(r"[0-9a-f]{64}")


def owner_of(person: str) -> str:
    """Return what stands for a person in a browser: it tells nobody's name."""
    return hashlib.sha256(person.encode()).hexdigest()[:16]


def keep_picture(settings: Settings, person: str, path: Path, *, image: Image.Image) -> tuple[str, Path]:
    """Keep a picture for its person, the newest MOST_KEPT of each.

    Args:    path: the uploaded file. image: its upright pixels, kept instead where browsers cannot show the file.
    Returns: its id, and the kept file, which every browser shows.
    Raises:  RefusedError: the file is gone. DiskFullError, WriteError: nothing is left behind.
    """
    content = read_file(path, settings.limits)
    folder = settings.recent_pictures / owner_of(person)
    kept_id = hashlib.sha256(content).hexdigest()
    place = folder / kept_id
    if not (found := _file_in(place)):
        place.mkdir(parents=True, exist_ok=True)
        if browsers_show(content):
            found = place / (path.name[-NAME_CHARACTERS:] or "picture")
            write_atomically(found, content)
        else:
            found = place / f"{save_picture(image, place)}.png"
    place.touch()
    _prune(folder)
    return kept_id, found


def find_kept_picture(settings: Settings, person: str, kept_id: str) -> Path | None:
    """Find a picture that was kept for this person; None where it is gone, or another's."""
    if not KEPT_ID.fullmatch(kept_id):
        return None
    return _file_in(settings.recent_pictures / owner_of(person) / kept_id)


def _file_in(place: Path) -> Path | None:
    return next((file for file in sorted(place.glob("*")) if file.is_file()), None)


def _prune(folder: Path) -> None:
    newest_first = sorted(folder.iterdir(), key=lambda place: place.stat().st_mtime_ns, reverse=True)
    for place in newest_first[MOST_KEPT:]:
        shutil.rmtree(place, ignore_errors=True)
