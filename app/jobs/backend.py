"""Where a job may run: what the runner asks of this machine, or of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Submitted:
    """What names the work from outside. started: seconds since 1970, as the system tells it."""

    process_group: int | None = None
    process_started: float | None = None
    external_id: str = ""


class Backend(Protocol):
    """One attempt at a job. The runner calls again and again, so nothing here waits."""

    @property
    def outlives_runner(self) -> bool:
        """Whether the work goes on without the runner: another one finds it again by the job's external_id."""

    def submit(self) -> Submitted:
        """Start it, once; or find it again.

        Raises: OSError, ValueError: it cannot be started.
        """

    def poll(self) -> int | None:
        """Its exit code, negative for a signal, once it is over and nothing of it is left; None before."""

    def cancel(self, *, force: bool) -> None:
        """Ask it to end, or make it. Called again until poll says that it is over."""

    def tail(self) -> str:
        """The last of what it said."""
