"""Define what the runner needs of a place where jobs run: this machine, or a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Submitted:
    """The name of the work from outside. started: seconds since 1970, as the system tells it."""

    process_group: int | None = None
    process_started: float | None = None
    external_id: str = ""


class VanishedError(RuntimeError):
    """The end of work that left no exit code. The message says why, without its full stop."""


class OutOfSightError(RuntimeError):
    """The end of a watch: nobody can say what became of the work, and it may go on. The message as above."""


class Backend(Protocol):
    """One attempt at a job. The runner calls again and again, so nothing here waits."""

    @property
    def name(self) -> str:
        """Return the name, known before it begins, by which another runner finds work that outlives this one; or ""."""

    def submit(self) -> Submitted:
        """Start it once, or find it again.

        Raises: OSError, ValueError: it cannot be started.
        """

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal, once it and all of its processes are over; None before.

        Raises: VanishedError, OutOfSightError: there is no such code to be had.
        """

    def cancel(self, *, force: bool) -> None:
        """Ask it to end, or make it. Called repeatedly until poll says that it is over."""

    def killed_for_memory(self) -> bool:
        """Return whether the kernel says that it ended a process for want of memory meanwhile."""

    def tail(self) -> str:
        """Return the last lines of its output."""
