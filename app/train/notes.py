"""Keep what people write of a run beside its files: a note and tags."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from app.core.file_cache import FileCache
from atomic_files import write_atomically
from db.queries.values import storable
from user_errors import UserError

NOTES = "notes.json"  # in the run folder
MOST_CHARACTERS, MOST_TAGS, MOST_TAG_CHARACTERS = 2000, 10, 40


@dataclass(frozen=True)
class RunNotes:
    """The note and the tags of a run."""

    note: str = ""
    tags: tuple[str, ...] = ()


def read_notes(folder: Path) -> RunNotes:
    """Return the notes of a run; empty where there are none, or the file is damaged.

    A file is read once while it stays the same: a search looks at those of all runs, every two seconds.
    """
    return _REMEMBERED.get(folder / NOTES)


def _read(file: Path) -> RunNotes:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return RunNotes(str(kept["note"]), tuple(str(tag) for tag in kept["tags"]))
    except (OSError, ValueError, LookupError, TypeError):
        return RunNotes()


_REMEMBERED = FileCache(_read, missing=RunNotes())


def write_note(folder: Path, text: str) -> None:
    """Write another note.

    Raises: UserError: it is too long, or the run's folder is gone.
    """
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"Note: expected at most {MOST_CHARACTERS:,} characters, got {len(text):,}: shorten it.")
    _write(folder, RunNotes(storable(text.strip()), read_notes(folder).tags))


def write_tags(folder: Path, text: str) -> None:
    """Write other tags, separated by commas.

    Raises: UserError: they are too many or too long, or the run's folder is gone.
    """
    tags = tuple(dict.fromkeys(word for part in storable(text).split(",") if (word := " ".join(part.split()))))
    if len(tags) > MOST_TAGS or any(len(tag) > MOST_TAG_CHARACTERS for tag in tags):
        expected = f"at most {MOST_TAGS} of at most {MOST_TAG_CHARACTERS} characters"
        raise UserError(f"Tags: expected {expected}: take fewer or shorter ones.")
    _write(folder, RunNotes(read_notes(folder).note, tags))


def _write(folder: Path, notes: RunNotes) -> None:
    if not folder.is_dir():
        raise UserError(f"The folder of the run, {folder}, is gone: nothing was kept.")
    write_atomically(folder / NOTES, json.dumps(asdict(notes)))
