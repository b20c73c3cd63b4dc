"""Report how far a command is to the job that it is part of, in a small file that the job's runner reads."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

PROGRESS = "GRAIN_JOB_PROGRESS"
"""The file that app/jobs gives a job, GRAIN_HOME/jobs/<id>/progress-<attempt>.json; inherited by all that it starts."""


def job_id() -> int | None:
    """Return the job that this process is part of; None where it was started from a terminal."""
    name = Path(os.environ.get(PROGRESS, "")).parent.name
    return int(name) if name.isdigit() else None


def report_progress(done: int, total: int, message: str) -> None:
    """Tell the job's runner; does nothing where there is no job. A full disk costs the message, not the work."""
    if file := os.environ.get(PROGRESS):
        with suppress(OSError):
            Path(file).write_text(json.dumps({"done": done, "total": total, "message": message}), encoding="utf-8")
