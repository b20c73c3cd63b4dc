"""Queue jobs, pause, resume and cancel them, and read their output: what the pages call.

Nothing here does the work or waits for it. Runners are processes of their own that outlive the one that started them.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from app.jobs.devices import BESIDE, slots_here
from app.jobs.folder import Log, job_folder
from app.jobs.launch import Pace, RunnerConfig, keep_watchdog, start_process
from app.jobs.processes import Worker, end, find, of_job
from db.engine import Engine, reading, retrying, transaction
from db.models import Job, now
from db.queries.job_queries import (
    ONCE_LOCK,
    enqueue_job,
    get_job,
    job_under_way,
    request_cancel,
    request_pause,
    requeue_job,
    running_jobs,
    set_job_priority,
    take_turns,
)
from db.queries.job_runner_queries import (
    RetryPolicy,
    any_job_due,
    busy_devices,
    hand_over_job,
    mark_interrupted,
    ready_jobs,
    requeue_due_jobs,
)
from user_errors import UserError

MOST_JOBS = 2**31 - 1  # the largest number that a database gives a job
SILENT_HEARTBEATS = 5  # a machine that slept wakes with every lease run out: so long a living runner may still speak up


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """Work for the queue.

    kind: which page lists it. config: its settings, a dataclass or plain values. argv: the words of its command; those
    that begin with "-m" run under this Python. It runs in the root of the repository, with the environment of the app,
    and must go on where it stopped when it is run again. after: ids of jobs that must be done first. once: not where
    one of its kind and settings is under way already. Other fields as in db.queries.job_queries.enqueue_job.
    """

    kind: str
    owner: str
    config: Any
    argv: Sequence[str]
    device: str = "cpu"
    priority: int = 0
    backend: str = "local"
    width: int = 1
    after: Sequence[int] = ()
    once: bool = False

    def command(self) -> list[str]:
        """Return the words of its command, the program first."""
        return [sys.executable, *self.argv] if self.argv[:1] and self.argv[0].startswith("-") else [*self.argv]

    def plain_config(self) -> dict[str, Any]:
        """Return its settings as JSON holds them; a path becomes text."""
        plain = asdict(self.config) if is_dataclass(self.config) and not isinstance(self.config, type) else self.config
        return dict(json.loads(json.dumps(plain, default=str)))


class Jobs:
    """The queue and its runners on this machine."""

    def __init__(
        self,
        engine: Engine,
        home: Path,
        slots: Mapping[str, int] | None = None,
        *,
        pace: Pace | None = None,
        watched: bool = False,
    ) -> None:
        """home: GRAIN_HOME. slots: device -> how many jobs it runs at a time; when not given, one on the processors and
        one on each GPU. watched: runners that are started from here see that a watchdog lives.
        """
        self._engine, self._home = engine, home.absolute()
        self.slots = dict(slots or slots_here())
        """Those that a person chooses from."""
        self._all_slots = BESIDE | self.slots
        self._pace = pace or Pace()
        self._config = RunnerConfig(self._home, self._all_slots, self._pace, watched)
        self._started: list[subprocess.Popen[bytes]] = []
        self._starting, self._reconciling = threading.Lock(), threading.Lock()

    def submit(self, new: NewJob) -> int:
        """Put a job in the queue and see that it is begun when a slot is free; return its id.

        One that is wanted once and under way already is not queued again: the id is that one's.

        Raises: UserError: no such device or not so wide, or argv is not the words of a command.
        """
        if obstacle := self.obstacle(new.device, new.width):
            raise UserError(obstacle)
        config = new.plain_config()
        with transaction(self._engine) as session:
            if new.once:
                take_turns(session, ONCE_LOCK)
                if under_way := job_under_way(session, kind=new.kind, config=config):
                    return under_way.id
            job = enqueue_job(
                session,
                kind=new.kind,
                owner=new.owner,
                config=config,
                argv=new.command(),
                device=new.device,
                priority=new.priority,
                backend=new.backend,
                width=new.width,
                after=new.after,
            )
        self.start_runners()
        return job.id

    def obstacle(self, device: str, width: int) -> str:
        """Return why this machine will never have the slots that a job wants; "" where it has them.

        The sentence is without its full stop. A queued job may come to that: a GPU is gone, or a cluster.
        """
        most = self._all_slots.get(device, 0)
        if most < 1:
            return f"expected a device with a slot ({', '.join(self.slots)}), got {device!r}: choose one"
        if width > most:
            return f"expected at most the {most} slots of {device}, got {width}: take fewer"
        return ""

    def get(self, job_id: int) -> Job | None:
        """Return a job as it is now; None if there is none of that id."""
        if not 0 < job_id <= MOST_JOBS:
            return None
        with reading(self._engine) as session:
            return get_job(session, job_id=job_id)

    def pause(self, job_id: int) -> Job:
        """Ask a job to stop where it can resume; it is paused once its processes are over.

        Raises: JobStateError: it is over, or there is none of that id.
        """
        job = retrying(self._engine, partial(request_pause, job_id=job_id))
        self.start_runners()  # what goes on elsewhere may need one to stop it
        return job

    def cancel(self, job_id: int) -> Job:
        """Ask a job, and all that it started, to end for good.

        Raises: JobStateError: it has ended, or there is none of that id.
        """
        job = retrying(self._engine, partial(request_cancel, job_id=job_id))
        self.start_runners()  # what goes on elsewhere may need one to end it
        return job

    def prefer(self, job_id: int, priority: int) -> Job:
        """Move a queued job up or down the queue.

        Raises: JobStateError: it is not queued, or there is none of that id.
        """
        return retrying(self._engine, partial(set_job_priority, job_id=job_id, priority=priority))

    def resume(self, job_id: int) -> Job:
        """Resume a job that is paused, interrupted, cancelled or failed.

        Raises: JobStateError: it is queued, running or done, or there is none of that id.
                UserError: this machine has not the slots for it any more.
        """
        with transaction(self._engine) as session:  # not twice: the second time it would be queued already
            job = requeue_job(session, job_id=job_id)
            if obstacle := self.obstacle(job.device, job.width):
                raise UserError(obstacle)
        self.start_runners()
        return job

    def log_tail(self, job_id: int, lines: int = 200) -> str:
        """Return the last lines of its output, over all attempts."""
        return Log(job_folder(self._home, job_id)).tail(lines)

    def reconcile(self) -> list[int]:
        """Compare the database with the running processes: the watchdog does, and any page that shows jobs.

        A job whose runner is dead becomes interrupted, after what is left of it has been ended: it is tried again some
        seconds later, or a person resumes it. One whose runner lives is left alone. One that goes on elsewhere goes to
        another runner. Then runners are started for what is queued.

        Returns: ids of the jobs that were interrupted now. Empty when another thread is at it.
        """
        if not self._reconciling.acquire(blocking=False):
            return []
        try:
            with reading(self._engine) as session:
                running, due = running_jobs(session), any_job_due(session)
            taken = [job.id for job in running if (reason := self._why_dead(job)) and self._take_back(job, reason)]
            if due:
                retrying(self._engine, requeue_due_jobs)
        finally:
            self._reconciling.release()
        self.start_runners()
        return taken

    def start_runners(self) -> int:
        """Start a runner for each free slot that has work waiting; return how many."""
        with self._starting:
            with reading(self._engine) as session:
                wanted = self._fitting(ready_jobs(session), running_jobs(session))
            self._started = [runner for runner in self._started if runner.poll() is None]
            missing = max(0, wanted - sum(map(_has_not_looked_yet, self._started)))
            self._started += [self._start_runner() for _ in range(missing)]
            return missing

    def has_work(self) -> bool:
        """Return whether a job runs, waits for a slot or will be tried again on a device that this machine has."""
        with reading(self._engine) as session:
            return not busy_devices(session).isdisjoint(self._all_slots)

    def keep_watched(self) -> None:
        """See that a watchdog lives while there is work, and that runners started from now on see to it as well.

        Raises: OSError, DatabaseError, DBAPIError: not possible now; call it again some seconds later.
        """
        self._config = replace(self._config, watched=True)
        if self.has_work():
            keep_watchdog(self._config, self._database())

    def _fitting(self, ready: Sequence[Job], running: Sequence[Job]) -> int:
        """Return how many jobs could start now; none overtakes a wider one of its device that it has slots for."""
        free = Counter(self._all_slots)
        for job in running:
            free[job.device] -= job.width
        fitting = 0
        for job in (each for each in ready if not self.obstacle(each.device, each.width)):
            fits = job.width <= free[job.device]
            fitting += fits
            free[job.device] = free[job.device] - job.width if fits else 0
        return fitting

    def _start_runner(self) -> subprocess.Popen[bytes]:
        return start_process("app.jobs.runner", self._config, self._database(), stdout=subprocess.PIPE)

    def _database(self) -> str:
        url = self._engine.url
        if url.get_backend_name() == "sqlite":  # a runner has another working folder
            url = url.set(database=os.path.abspath(url.database or ""))
        return url.render_as_string(hide_password=False)

    def _why_dead(self, job: Job) -> str:
        """Return why nobody works at a running job any more; "" if somebody does, or nobody can tell."""
        worker = Worker.read(job.worker)
        if worker.is_here and not find(worker.pid, worker.started):
            return "its runner ended without a word"
        if job.lease_until and job.lease_until >= now():
            return ""
        if not worker.is_here:
            return f"nothing has been heard from {worker.host}"
        return "its runner hung" if self._stays_silent(job) else ""

    def _stays_silent(self, job: Job) -> bool:
        deadline = time.monotonic() + SILENT_HEARTBEATS * self._pace.heartbeat_s
        while time.monotonic() < deadline:
            present = self.get(job.id)
            if not present or (present.token, present.lease_until) != (job.token, job.lease_until):
                return False
            time.sleep(self._pace.tick_s)
        return True

    def _take_back(self, job: Job, reason: str) -> bool:
        """End what is left of a job and mark it; return False if that is not possible, or it has moved on."""
        worker = Worker.read(job.worker)
        if worker.is_here:
            group = job.process_group if find(job.process_group, job.process_started) else None
            folder, tokens = job_folder(self._home, job.id), range(job.token + 1)
            runner_over = end(lambda: [p for p in [find(worker.pid, worker.started)] if p], grace_s=0)
            if not (
                runner_over and end(lambda: of_job(folder, tokens, group=group), grace_s=self._pace.cancel_grace_s)
            ):
                return False
        if job.backend != "local" and job.external_id:
            retrying(self._engine, partial(hand_over_job, job_id=job.id, token=job.token))
            return False
        again = RetryPolicy(self._pace.retries, self._pace.retry_s)
        mark = partial(mark_interrupted, job_id=job.id, token=job.token, exit_reason=reason, retry=again)
        return retrying(self._engine, mark)


def _has_not_looked_yet(runner: subprocess.Popen[bytes]) -> bool:
    """Return whether a runner has still to take its first job, and so will find one that is queued now.

    It closes its stdout just before.
    """
    assert runner.stdout is not None
    closed = select.poll()
    closed.register(runner.stdout)
    return not closed.poll(0)
