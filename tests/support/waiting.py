"""Wait for what is meant: a wait ends as soon as it has come, and late only on a machine that has stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PATIENCE_S = 240.0
PATIENCE_MS = 1000 * PATIENCE_S
JOB_MS = 900_000.0  # for a job of several processes
POLL_S = 0.02


def until(condition: Callable[[], object], what: str | Callable[[], str] = "") -> None:
    """Wait until a condition holds. what: what is waited for, in words."""
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what() if callable(what) else what}"
        pause.wait(POLL_S)
