"""Tell how a job ended, as a state and a sentence."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from db.models import JobState
from user_errors import sentence

Ask = Literal["", "pause", "cancel", "stop", "lost"]
"""What ends a job before it is through: a person, the runner's own end, or that the job is no longer the runner's."""

REASON_CHARACTERS = 300
OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)  # sent by a person, the system or its shutdown
SHELL = 128  # a shell adds a signal to it to tell of its child
CHILD_KILLED = re.compile(r"^.*CalledProcessError: .*\bSIGKILL\b|\bSignal 9 \(SIGKILL\)", re.MULTILINE)
"""What accelerate and torch say of their children."""
OUT_OF_MEMORY = re.compile(
    r"^(\S+: )?[\w.]*(MemoryError|OutOfMemoryError)\b|\bstd::bad_alloc\b"  # Python, torch and numpy; C++
    r"|\bDefaultCPUAllocator: |\bCUDA error: out of memory",  # torch where it raises a RuntimeError
    re.MULTILINE,
)
DATABASE_SILENT = re.compile(
    r"^sqlalchemy\.exc\.(?:OperationalError|InterfaceError): \((?:"
    r"psycopg\.(?:(?:Operational|Interface)Error|errors\.(?:(?:Admin|Crash)Shutdown|CannotConnectNow|DeadlockDetected))\)"
    r"|sqlite3\.OperationalError\) database is locked)",
    re.MULTILINE,
)
"""It was away, or others kept it busy for too long: what db.engine's `retrying` gives up on."""
SENTENCE = re.compile(r"^(?:\[[^\]\n]*\]:? *)?(?:app|grain|curation|benchmarks)(?:\.\w+)+: (\S.*)$", re.MULTILINE)
"""How our own commands end, whatever their launcher says after them (grain/command.py's exit_sentence)."""
BOX_BEGINS, BOX_ENDS = "╭─", "╰─"
LAUNCHED = re.compile(r"CalledProcessError: .*\Z")
TRACEBACK = "Traceback (most recent call last):"
MEMORY_HINT = "take a smaller batch or model, or end other programs, and resume it"


@dataclass(frozen=True)
class Outcome:
    """The end of a job, as it is kept. work_over: False where its work may go on elsewhere, unseen."""

    state: JobState
    reason: str
    work_over: bool = True


def outcome(code: int, tail: str, asked: Ask = "", *, for_memory: bool = False) -> Outcome:
    """Judge the end of a job. What was killed from outside, or had no database, is interrupted: it is tried again.

    Args:   code: its exit code, negative for a signal. tail: the last lines it said. asked: what it was told before.
            for_memory: whether the kernel has ended a process for want of memory meanwhile.
    """
    if asked == "pause":
        return Outcome("paused", "paused when asked")
    if asked == "cancel":
        return Outcome("cancelled", "cancelled when asked")
    if asked:
        return Outcome("interrupted", "its runner was told to stop")
    if code == 0:
        return Outcome("done", "ok")
    if OUT_OF_MEMORY.search(tail):
        return Outcome("failed", f"memory: it ran out of memory: {MEMORY_HINT}")
    number = -code if code < 0 else code - SHELL
    killed = number == signal.SIGKILL or CHILD_KILLED.search(tail) is not None
    if killed and for_memory:
        return Outcome("failed", f"memory: the kernel ended a process for want of memory: {MEMORY_HINT}")
    if killed and number != signal.SIGKILL:
        return Outcome("interrupted", "one of its processes was killed by signal 9 (SIGKILL)")
    if number in OUTSIDE:
        return Outcome("interrupted", f"killed by signal {number} ({_name(number)})")
    if code < 0:
        return Outcome("failed", f"killed by signal {-code} ({_name(-code)})")
    if own := SENTENCE.findall(tail):
        return Outcome("failed", sentence(own[-1][:REASON_CHARACTERS]))
    if DATABASE_SILENT.search(tail.rpartition(TRACEBACK)[2]):
        return Outcome("interrupted", "the database did not answer")
    if LAUNCHED.search(tail):  # the launcher's traceback follows that of the program
        tail = tail.rpartition(TRACEBACK)[0].rstrip() or tail
    last = _boxed(tail) or tail.rpartition("\n")[2].strip()
    return Outcome("failed", f"exit code {code}: {last[:REASON_CHARACTERS] or 'it said nothing'}")


def _boxed(tail: str) -> str:
    """Return the first paragraph of the box with which tyro refuses a flag; "" where no box is the end."""
    if not tail.rpartition("\n")[2].startswith(BOX_ENDS):
        return ""
    lines = (line.strip("│ ") for line in tail.rpartition(BOX_BEGINS)[2].splitlines()[1:])
    return " ".join(takewhile(lambda line: line and not line.startswith("─"), lines))


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
