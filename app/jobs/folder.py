"""Keep a job's files, GRAIN_HOME/jobs/<id>: its bounded output and its progress."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOG_BYTES = 4 * 2**20  # of log.txt; one that was full before it is kept beside it
TAIL_BYTES = 64 * 2**10
PROGRESS_BYTES = 4096
MESSAGE_CHARACTERS = 300
LARGEST = 2**63 - 1  # what the database can count


@dataclass(frozen=True)
class Progress:
    """The progress of a job. total: 0 while unknown. message: where it is, for people."""

    done: int
    total: int = 0
    message: str = ""


def job_folder(home: Path, job_id: int) -> Path:
    """Return the folder of a job's files."""
    return home / "jobs" / str(job_id)


def progress_file(folder: Path, token: int) -> Path:
    """Return an attempt's progress file: each has its own, so that an earlier one that lives on is not read."""
    return folder / f"progress-{token}.json"


def token_of(file: str, folder: Path) -> int | None:
    """Return which attempt's `progress_file` that is; None if it is none of this folder."""
    found = re.fullmatch(re.escape(f"{folder}/progress-") + r"(\d{1,18})\.json", file)
    return int(found[1]) if found else None


def read_progress(file: Path) -> Progress | None:
    """Return the job's latest progress, None while there is none or it is half written.

    A job writes the whole file again each time, `{"done": 3, "total": 10, "message": "…"}`; only done must be there.
    """
    try:
        with file.open("rb") as stream:
            values = json.loads(stream.read(PROGRESS_BYTES))
        done, total, message = values["done"], values.get("total"), values.get("message")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    total, message = 0 if total is None else total, "" if message is None else message
    if not (_counts(done) and _counts(total) and isinstance(message, str)):
        return None
    return Progress(done, total, message[:MESSAGE_CHARACTERS])


class Log:
    """The output of a job, in log.txt; the older half of it in log.old.txt. A full disk costs output, not the job."""

    def __init__(self, folder: Path, *, most_bytes: int = LOG_BYTES) -> None:
        """most_bytes: of each of the two files."""
        self._file, self._old, self._most_bytes = folder / "log.txt", folder / "log.old.txt", most_bytes

    def clear(self) -> None:
        """Remove the output of an earlier job with the same id, from a database that no longer exists."""
        self._file.unlink(missing_ok=True)
        self._old.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Append to the output."""
        try:
            with self._file.open("ab", buffering=0) as stream:
                stream.write(chunk)
                full = stream.tell() >= self._most_bytes
            if full:
                self._file.replace(self._old)
        except OSError:
            return

    def tail(self, lines: int) -> str:
        """Return the last lines, of a progress bar its last state."""
        return last_lines((_end_of(self._old) + _end_of(self._file))[-TAIL_BYTES:], lines)


def last_lines(output: bytes, lines: int) -> str:
    """Return the last lines as a terminal would show them; invalid UTF-8 is replaced."""
    text = output.decode("utf-8", "replace").replace("\r\n", "\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip("\r\n").split("\n")]
    return "\n".join(shown[-lines:])


def _counts(number: Any) -> bool:
    return isinstance(number, int) and 0 <= number <= LARGEST


def _end_of(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL_BYTES))
            return stream.read(TAIL_BYTES)
    except OSError:
        return b""
