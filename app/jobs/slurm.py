"""Run jobs on a Slurm cluster, through submitit. GRAIN_HOME must be a folder of all its machines."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from app.core.settings import ROOT
from app.jobs.cluster import ClusterJob, refused
from app.jobs.node import Order, run
from atomic_files import write_atomically
from db.models import Job
from user_errors import UserError

PATIENCE_S = 60  # for a word of Slurm's
PASSES = re.compile(r"contact slurm controller|timed out|temporarily|connect failure|connection refused", re.IGNORECASE)
"""What sbatch says where it is worth trying again."""


def enter(folder: Path) -> str:
    """Return the line of a batch script that goes to a folder, whatever its name."""
    return f"cd {shlex.quote(str(folder))}"


class SlurmJob(ClusterJob):
    """A Backend. Slurm's own number is kept beside the job's log, so that another runner finds it again."""

    patience_s: float = PATIENCE_S

    def __init__(self, job: Job, folder: Path) -> None:
        """folder: the job's.

        Raises: UserError: Slurm or submitit is not installed here.
        """
        super().__init__(job, folder)
        self._place = folder / "slurm" / self.name
        self._number, self._verdict = self._place / "number", self._place / "verdict"
        try:
            import submitit

            self._submitit: Any = submitit
            subprocess.run(["sbatch", "--version"], check=True, capture_output=True, timeout=PATIENCE_S)
        except (ImportError, OSError, subprocess.SubprocessError) as error:
            raise UserError(f"expected sbatch and submitit here ({error}): install them") from error

    def start(self, order: Order) -> None:
        """Submit it: submitit writes a batch script that runs app/jobs/node.py with the order as its argument.

        Raises: UserError: Slurm refuses it. RuntimeError: it may take it later.
        """
        self._place.mkdir(parents=True, exist_ok=True)
        executor = self._submitit.SlurmExecutor(folder=self._place, max_num_timeout=0)
        asked = {name.replace("-", "_"): value for name, value in self.resources.sbatch().items()}
        once = {"no-requeue": True}  # after a lost node or a preemption the queue here submits it again, not Slurm too
        executor.update_parameters(job_name=self.name, setup=[enter(ROOT)], additional_parameters=once, **asked)
        with_verdict = Order(**vars(order) | {"verdict": str(self._verdict)})
        try:
            number = executor.submit(run, with_verdict.to_json()).job_id
        except RuntimeError as error:
            if PASSES.search(str(error)):
                raise
            raise refused(error) from error
        write_atomically(self._number, str(number))

    def look(self) -> int | None:
        """Return the exit code that the node left; without one, whether Slurm still has the job."""
        if not self._verdict.is_file():
            number = self._id
            if number and self._slurm("squeue", "--noheader", "--jobs", number, "--format", "%T").strip():
                return None
        if self._verdict.is_file():  # it may be written between the two looks
            return int(self._verdict.read_text(encoding="utf-8"))
        raise LookupError(self.name)

    def output(self) -> str:
        """Return the output of the node's process, errors included."""
        files = sorted(self._place.glob("*_log.*"))
        return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)

    def end(self, *, force: bool) -> None:
        """Send SIGTERM to the whole job, or cancel it in Slurm."""
        self._slurm("scancel", *(["--signal=TERM", "--full"] if not force else []), self._id)

    @property
    def _id(self) -> str:
        """Return Slurm's number of it, "" for none; asked for by name where a runner was killed before it kept it."""
        if not self._number.is_file():
            numbers = self._slurm("squeue", "--noheader", "--name", self.name, "--format", "%A").split()
            if not numbers:
                return ""
            write_atomically(self._number, numbers[0])
        return self._number.read_text(encoding="utf-8").strip()

    def _slurm(self, *words: str) -> str:
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=self.patience_s)
        except subprocess.SubprocessError as error:
            raise RuntimeError(f"{words[0]} did not answer within {self.patience_s:g} s") from error
        if done.returncode and "Invalid job id" not in done.stderr:
            raise RuntimeError(done.stderr.strip()[:300])
        return done.stdout
