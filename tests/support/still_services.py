"""Services whose jobs are queued and never run."""

from __future__ import annotations

from app.jobs.control import Jobs
from app.services import Services


class StillJobs(Jobs):
    """A queue in which nothing ever runs."""

    def start_runners(self) -> int:
        return 0


class StillServices(Services):
    """Services with such a queue: two GPUs, a Ray cluster."""

    @property
    def jobs(self) -> Jobs:
        slots = {"cpu": 1, "gpu": 2, "ray": 4, "slurm": 4}
        self._jobs = self._jobs or StillJobs(self.engine, self.settings.home, slots)
        return self._jobs
