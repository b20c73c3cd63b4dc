"""Find the home folder and the database, and report how far a stage is, from the environment."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

HOME, DATABASE = "GRAIN_HOME", "GRAIN_DATABASE_URL"
PROGRESS = "GRAIN_JOB_PROGRESS"  # the file that app/jobs gives a job: GRAIN_HOME/jobs/<id>/progress-<attempt>.json


def home_folder() -> Path:
    """Return GRAIN_HOME, or ~/.grain."""
    return Path(os.environ.get(HOME) or "~/.grain").expanduser().absolute()


def database_url(home: Path) -> str:
    """Return GRAIN_DATABASE_URL, or SQLite under home."""
    return os.environ.get(DATABASE) or f"sqlite:///{home / 'grain.sqlite'}"


def job_id() -> int | None:
    """Return the job that this process is part of; None where it was started from a terminal."""
    name = Path(os.environ.get(PROGRESS, "")).parent.name
    return int(name) if name.isdigit() else None


def report_progress(done: int, total: int, message: str) -> None:
    """Tell the job's runner; does nothing where there is no job. A full disk costs the message, not the work."""
    if file := os.environ.get(PROGRESS):
        with suppress(OSError):
            Path(file).write_text(json.dumps({"done": done, "total": total, "message": message}), encoding="utf-8")
