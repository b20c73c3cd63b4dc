"""Run jobs on this machine: a child in a session of its own."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import psutil

from app.core.settings import ROOT
from app.jobs.backend import Submitted
from app.jobs.devices import gpus, visible_to
from app.jobs.folder import Log, last_lines, progress_file
from app.jobs.memory import memory_kills
from app.jobs.processes import Ending, of_job
from db.models import Job
from job_progress import PROGRESS

REMEMBERED_BYTES = 8192  # of this attempt's output, to tell why it failed
REMEMBERED_LINES = 60  # a launcher of several processes says so many of its own
CHUNK_BYTES = 64 * 2**10
LEFTOVER_GRACE_S = 5.0  # for what a job that is over has left running


class LocalProcess:
    """A Backend. The output comes through a pipe, so that it can be bounded."""

    name = ""  # its work ends with the runner

    def __init__(self, job: Job, folder: Path) -> None:
        """folder: the job's, which exists."""
        self._argv, self._folder, self._token = job.argv, folder, job.token
        self._visible = visible_to(job.device, job.slot, width=job.width, all_gpus=gpus())
        self._log, self._remembered = Log(folder), b""
        self._ending, self._cancelled, self._over_at = Ending(), False, 0.0

    def submit(self) -> Submitted:
        """Start it. No shell reads argv."""
        environment = {"PYTHONUNBUFFERED": "1"} | os.environ | self._visible  # unbuffered, or a log comes in lumps
        environment[PROGRESS] = str(progress_file(self._folder, self._token))
        self._memory_kills = memory_kills()
        self._child = subprocess.Popen(
            self._argv,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._pump = threading.Thread(target=self._keep_output, name="output", daemon=True)
        self._pump.start()
        try:  # one that has ended already still has its number, since nobody has asked for its exit code
            return Submitted(self._child.pid, psutil.Process(self._child.pid).create_time())
        except psutil.Error:
            return Submitted(self._child.pid)

    def poll(self) -> int | None:
        """Return its exit code once it and all that it started are over; remaining processes are ended here."""
        code = self._child.poll()
        if code is None:
            return None
        self._over_at = self._over_at or time.monotonic()
        if left := self._processes():
            if not self._cancelled:  # else a launcher may have died of SIGTERM at once, and its training is saving
                self._ending.step(left, force=time.monotonic() - self._over_at >= LEFTOVER_GRACE_S)
            return None
        self._pump.join(1.0)
        return code

    def cancel(self, *, force: bool) -> None:
        """Ask the topmost of its processes to end, or kill all."""
        self._cancelled = True
        self._ending.step(self._processes(), force=force)

    def killed_for_memory(self) -> bool:
        """Return whether the kernel has ended a process for want of memory since it began."""
        return memory_kills() > self._memory_kills

    def tail(self) -> str:
        """Return the last lines of this attempt."""
        return last_lines(self._remembered, REMEMBERED_LINES)

    def _processes(self) -> list[psutil.Process]:
        return of_job(self._folder, range(self._token, self._token + 1), group=self._child.pid)

    def _keep_output(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as stream:
            while chunk := os.read(stream.fileno(), CHUNK_BYTES):
                self._log.write(chunk)
                self._remembered = (self._remembered + chunk)[-REMEMBERED_BYTES:]
