"""Report progress to the job that a command is part of, in a small file that the job's runner reads."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

PROGRESS = "GRAIN_JOB_PROGRESS"  # set by app/jobs


def report_progress(done: int, total: int, message: str) -> None:
    """Write how far the work is; without a job nothing is written. A full disk costs the message, not the work."""
    file = os.environ.get(PROGRESS)
    if not file:
        return
    with suppress(OSError):
        Path(file).write_text(json.dumps({"done": done, "total": total, "message": message}), encoding="utf-8")
