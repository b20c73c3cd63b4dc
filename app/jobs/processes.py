"""Find the processes of a job, and end them.

A process is known by its number together with its start, since numbers are reused. What a job starts is known by its
process group and by a mark in its environment: torch starts the workers of a training in groups of their own.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.jobs.folder import token_of
from job_progress import PROGRESS

START_TOLERANCE_S = 2.0  # a start is told by the clock, which may have been corrected meanwhile
KILL_PATIENCE_S = 5.0  # what is still there so long after it was killed hangs in the system
TICK_S = 0.05


@dataclass(frozen=True)
class Worker:
    """A runner, as a job remembers it. started: seconds since 1970."""

    host: str
    pid: int
    started: float

    @classmethod
    def this(cls) -> Worker:
        """Return the current process."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    @classmethod
    def read(cls, text: str) -> Worker:
        """Parse `str(worker)`; anything else is a worker on a machine of that name."""
        host, _, rest = text.rpartition(" process ")
        if found := re.fullmatch(r"(\d{1,10}) started (\d+\.\d+)", rest):
            return cls(host, int(found[1]), float(found[2]))
        return cls(text, 0, 0.0)

    def __str__(self) -> str:
        return f"{self.host} process {self.pid} started {self.started:.2f}"

    @property
    def is_here(self) -> bool:
        """Return whether it is on this machine, where its life can be checked."""
        return self.host == socket.gethostname()


def find(pid: int | None, started: float | None) -> psutil.Process | None:
    """Return the process of that number that started then; None if it is gone or its number is another's now."""
    if not pid or started is None:
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) <= START_TOLERANCE_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def of_job(folder: Path, tokens: range, *, group: int | None = None) -> list[psutil.Process]:
    """Return the living processes of some attempts at a job.

    Args:   tokens: of these attempts. group: a process group that is known to be the job's.
    """
    found = []
    for pid in psutil.pids():
        try:
            process = psutil.Process(pid)
            if _attempt(process, folder) in tokens or (group and os.getpgid(pid) == group):
                found += [process] if process.status() != psutil.STATUS_ZOMBIE else []
        except (psutil.Error, OSError):  # gone meanwhile
            continue
    return found


class Ending:
    """Ends processes from the top: who started the others gets to end them in good order (a training saves first)."""

    def __init__(self) -> None:
        self._asked: set[psutil.Process] = set()

    def step(self, processes: Sequence[psutil.Process], *, force: bool) -> None:
        """Ask those that have no living parent among them to end, each once; or kill them all."""
        pids = {process.pid for process in processes}
        for process in processes:
            try:
                if force:
                    process.kill()
                elif process not in self._asked and process.ppid() not in pids:
                    self._asked.add(process)
                    process.terminate()
            except psutil.Error:  # gone meanwhile, or not ours to end
                continue


def end(processes: Callable[[], Sequence[psutil.Process]], *, grace_s: float) -> bool:
    """Wait until none is left.

    Args:   processes: those there are now. grace_s: seconds from asking to killing.
    Returns: False when some are still there after all.
    """
    ending, start = Ending(), time.monotonic()
    while found := processes():
        waited_s = time.monotonic() - start
        if waited_s > grace_s + KILL_PATIENCE_S:
            return False
        ending.step(found, force=waited_s >= grace_s)
        time.sleep(TICK_S)
    return True


def _attempt(process: psutil.Process, folder: Path) -> int | None:
    try:
        return token_of(process.environ().get(PROGRESS, ""), folder)
    except (psutil.Error, OSError):  # another person's
        return None
