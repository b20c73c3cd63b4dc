"""Run queued jobs one after the other, until none is left for a free slot: python -m app.jobs.runner.

It is started by control.Jobs in a session of its own and needs nothing of the app: that may end or be killed.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import tyro

from app.jobs.backend import Backend, OutOfSightError, Submitted, VanishedError
from app.jobs.folder import Log, Progress, job_folder, progress_file, read_progress
from app.jobs.launch import RunnerConfig, keep_watchdog
from app.jobs.local import LocalProcess
from app.jobs.outcome import Ask, Outcome, outcome
from app.jobs.processes import Worker, end, of_job
from curation.files.home import DATABASE
from db.engine import DatabaseError, Engine, connect_to, retrying, transaction
from db.models import Job, now
from db.queries.job_runner_queries import (
    JobLostError,
    RetryPolicy,
    claim_job,
    finish_job,
    hand_over_job,
    heartbeat,
    mark_interrupted,
    set_job_process,
    set_job_progress,
)
from user_errors import UserError


def _on_ray(job: Job, folder: Path) -> Backend:
    from app.jobs.ray import RayJob  # here: what runs on this machine needs none of it

    return RayJob(job, folder)


def _on_slurm(job: Job, folder: Path) -> Backend:
    from app.jobs.slurm import SlurmJob

    return SlurmJob(job, folder)


Backends = Mapping[str, Callable[[Job, Path], Backend]]
BACKENDS: Backends = {"local": LocalProcess, "ray": _on_ray, "slurm": _on_slurm}
FINISH_PAUSES_S = (0.05, 0.2, 0.8, 2.0, *[5.0] * 60)  # what was worked out for hours waits for a database to come back


class HandedOverError(RuntimeError):
    """The runner ends and the work does not."""


class Runner:
    """Works through the queue."""

    def __init__(self, engine: Engine, config: RunnerConfig, backends: Backends = BACKENDS) -> None:
        self._engine, self._config, self._backends = engine, config, backends
        self._worker = str(Worker.this())
        self._stopped = False

    def stop(self) -> None:
        """End the current job where it can resume, and take no other."""
        self._stopped = True

    def run(self) -> None:
        """Run jobs until none is left for a free slot.

        Raises: DBAPIError, DatabaseError: the database is gone for good; the job counts as interrupted.
        """
        while not self._stopped and (job := self._claim()):
            attempt = Attempt(self._engine, self._config, job, stopped=lambda: self._stopped, backends=self._backends)
            try:
                attempt.finish(attempt.work())
            except HandedOverError as error:
                attempt.hand_over()
                print(error, file=sys.stderr)
            except JobLostError as error:
                print(error, file=sys.stderr)

    def _claim(self) -> Job | None:
        # not `retrying`: should the answer to a commit get lost, this runner must die for its job to be taken back
        with transaction(self._engine) as session:
            pace = self._config.pace
            return claim_job(session, slots=self._config.slots, worker=self._worker, lease_seconds=pace.lease_s)


class Attempt:
    """One job from being taken up to its end."""

    def __init__(
        self,
        engine: Engine,
        config: RunnerConfig,
        job: Job,
        *,
        stopped: Callable[[], bool],
        backends: Backends = BACKENDS,
    ) -> None:
        self._engine, self._pace, self._job, self._stopped = engine, config.pace, job, stopped
        self._backends = backends
        self._folder = job_folder(config.home, job.id)
        self._request: Ask = ""
        self._submitted: Submitted | None = None  # to be told to the database
        self._progress: Progress | None = None  # as the database knows it

    def work(self) -> Outcome:
        """Run the job.

        Raises: JobLostError: it was given to somebody else; all that was started here is over.
        """
        job, grace_s = self._job, self._pace.cancel_grace_s
        if job.backend not in self._backends:
            return self._not_begun(f"expected the backend {' or '.join(self._backends)}, got {job.backend!r}")
        if not end(lambda: of_job(self._folder, range(job.token)), grace_s=grace_s):
            return self._not_begun("an earlier attempt at it cannot be ended: restart the machine, and resume it")
        progress_file(self._folder, job.token).unlink(missing_ok=True)  # of a database that is no more
        self._beat()  # still ours? ending the earlier one may have taken long
        if self._request == "lost":
            raise JobLostError(f"job {job.id} was taken away before it started")
        if (ask := self._ask()) and not job.external_id:  # what goes on elsewhere must be ended there
            return outcome(0, "", ask)
        try:
            self._open_log()
            backend = self._backends[job.backend](job, self._folder)
            if backend.name:  # the next runner asks for it, should this one be killed
                note = partial(set_job_process, job_id=job.id, token=job.token, external_id=backend.name)
                retrying(self._engine, note, pauses_s=FINISH_PAUSES_S)
            self._submitted = backend.submit()
        except UserError as error:
            return self._not_begun(error.sentence)
        except (OSError, ValueError) as error:
            return self._not_begun(f"cannot start {job.argv[0]!r} ({error}): correct the command or install it")
        try:
            asked, code = self._watch(backend)
        except VanishedError as error:
            return Outcome("interrupted", str(error))
        except OutOfSightError as error:
            return Outcome("interrupted", str(error), work_over=False)
        if asked == "lost":
            raise JobLostError(f"job {job.id} was taken away and has been ended here")
        if code is None:
            raise HandedOverError(f"job {job.id} goes on elsewhere; the next runner finds it again")
        return outcome(code, backend.tail(), asked, for_memory=backend.killed_for_memory())

    def _not_begun(self, reason: str) -> Outcome:
        """Return the outcome of an attempt that did not come about: what an earlier one began elsewhere may go on."""
        if self._job.external_id:
            return Outcome("interrupted", reason.rstrip("."), work_over=False)
        return Outcome("failed", reason)

    def hand_over(self) -> None:
        """Leave work that runs elsewhere to the next runner."""
        self._beat()
        give = partial(hand_over_job, job_id=self._job.id, token=self._job.token)
        retrying(self._engine, give, pauses_s=FINISH_PAUSES_S)

    def finish(self, how: Outcome) -> None:
        """Record how far it came and how it ended.

        Raises: JobLostError: it was given to somebody else meanwhile.
        """
        job_id, token, reason = self._job.id, self._job.token, how.reason
        progress = read_progress(progress_file(self._folder, token))
        if progress and progress != self._progress:
            report = partial(set_job_progress, job_id=job_id, token=token, **vars(progress))
            retrying(self._engine, report, pauses_s=FINISH_PAUSES_S)
        if how.state == "interrupted":
            again = RetryPolicy(self._pace.retries, self._pace.retry_s)
            mark = partial(mark_interrupted, job_id=job_id, token=token, retry=again, work_over=how.work_over)
            retrying(self._engine, partial(mark, exit_reason=reason), pauses_s=FINISH_PAUSES_S)
        else:
            write = partial(finish_job, job_id=job_id, token=token, state=how.state, exit_reason=reason)
            retrying(self._engine, write, pauses_s=FINISH_PAUSES_S)

    def _watch(self, backend: Backend) -> tuple[Ask, int | None]:
        """Wait for its end; return the request it got and its exit code, None if only the runner ends."""
        asked: Ask = ""
        next_beat, deadline = 0.0, math.inf
        while (code := backend.poll()) is None:
            if time.monotonic() >= next_beat:
                self._beat()
                next_beat = time.monotonic() + self._pace.heartbeat_s
            if (ask := self._ask()) != asked:
                asked, deadline = ask, min(deadline, time.monotonic() + self._grace_s(ask))
            if asked in ("stop", "lost") and backend.name:
                return asked, None
            if asked:
                backend.cancel(force=time.monotonic() >= deadline)
            time.sleep(self._pace.tick_s)
        return asked, code

    def _ask(self) -> Ask:
        return self._request or ("stop" if self._stopped() else "")

    def _grace_s(self, ask: Ask) -> float:
        return {"pause": self._pace.pause_grace_s, "lost": 0.0}.get(ask, self._pace.cancel_grace_s)

    def _beat(self) -> None:
        """Renew the lease, report progress, receive requests."""
        if self._request == "lost":
            return
        job_id, token = self._job.id, self._job.token
        submitted, progress = self._submitted, read_progress(progress_file(self._folder, token))
        try:
            with transaction(self._engine) as session:
                if submitted:
                    set_job_process(session, job_id=job_id, token=token, **vars(submitted))
                if progress and progress != self._progress:
                    set_job_progress(session, job_id=job_id, token=token, **vars(progress))
                request = heartbeat(session, job_id=job_id, token=token, lease_seconds=self._pace.lease_s)
        except JobLostError:
            self._request = "lost"
        except Exception:  # whatever the database has, the job goes on; the next beat tries again
            traceback.print_exc()
        else:
            self._request, self._submitted, self._progress = request, None, progress

    def _open_log(self) -> None:
        log = Log(self._folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._job.attempts == 1:
            log.clear()
        log.write(f"--- attempt {self._job.attempts}, {now():%Y-%m-%d %H:%M:%S} UTC\n".encode())


def _keep_watched(config: RunnerConfig) -> None:
    """See that a watchdog lives as long as this runner does."""
    while True:
        try:
            keep_watchdog(config, os.environ[DATABASE])
        except OSError:  # no processes or no disk left: the jobs go on, and the next look tries again
            traceback.print_exc()
        time.sleep(config.pace.watch_s)


def main(config: RunnerConfig) -> None:
    """Run as a process of its own.

    Raises: DatabaseError: no such database.
    """
    if DATABASE not in os.environ:
        raise DatabaseError(f"expected the database of the queue in {DATABASE}: set it")
    runner = Runner(connect_to(os.environ[DATABASE]), config)
    signal.signal(signal.SIGTERM, lambda *_: runner.stop())
    if config.watched:
        threading.Thread(target=_keep_watched, args=(config,), name="watchdog", daemon=True).start()
    os.dup2(2, 1)  # who started this waits for the end of stdout: what is queued from now on is seen
    runner.run()


if __name__ == "__main__":
    try:
        main(tyro.cli(RunnerConfig))
    except DatabaseError as error:
        sys.exit(f"app.jobs.runner: {error}")
