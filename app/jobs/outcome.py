"""Tell how a job ended, as a state and a sentence."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import Literal

from db.models import JobState

Ask = Literal["", "pause", "cancel", "stop", "lost"]
"""What ends a job before it is through: a person, the runner's own end, or that the job is no longer the runner's."""

REASON_CHARACTERS = 300
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # by itself, or as a shell tells it of its child
OUT_OF_MEMORY = re.compile(
    r"^(\S+: )?[\w.]*(MemoryError|OutOfMemoryError)\b|\bstd::bad_alloc\b"  # Python, torch and numpy; C++
    r"|^.*CalledProcessError: .*\bSIGKILL\b|\bSignal 9 \(SIGKILL\)",  # what accelerate and torch say of their children
    re.MULTILINE,
)
MEMORY_HINT = "take a smaller batch or model, or end other programs, and resume it"


@dataclass(frozen=True)
class Outcome:
    """What is kept of it."""

    state: JobState
    reason: str


def outcome(code: int, tail: str, asked: Ask = "") -> Outcome:
    """Judge the end of a job.

    Args:   code: its exit code, negative for a signal. tail: the last lines it said. asked: what it was told before.
    """
    if asked == "pause":
        return Outcome("paused", "paused when asked")
    if asked == "cancel":
        return Outcome("cancelled", "cancelled when asked")
    if asked:
        return Outcome("interrupted", "its runner was told to stop: resume it")
    if code == 0:
        return Outcome("done", "ok")
    if OUT_OF_MEMORY.search(tail):
        return Outcome("failed", f"memory: it ran out of memory: {MEMORY_HINT}")
    if code in KILLED:
        return Outcome("failed", f"memory: the system killed it, as it does when memory runs out: {MEMORY_HINT}")
    if code < 0:
        return Outcome("failed", f"killed by signal {-code} ({_name(-code)})")
    last = tail.rpartition("\n")[2].strip()[:REASON_CHARACTERS]
    return Outcome("failed", f"exit code {code}: {last or 'it said nothing'}")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
