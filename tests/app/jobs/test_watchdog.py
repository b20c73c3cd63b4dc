"""Kills while no page is open: the real app, its watchdog, runners and workers as processes, and nobody who looks."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.jobs.processes import Worker
from db.engine import Engine, open_engine, reading, transaction
from db.models import Job
from db.queries.job_queries import enqueue_job, get_job
from tests.support.fake_app import app_at
from tests.support.paths import ROOT
from tests.support.waiting import until

PROGRAMS = str(ROOT / "tests" / "support" / "job_programs.py")


def processes_of(home: Path, module: str = "") -> list[psutil.Process]:
    """The living processes that work for a home, or those that run a module."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("GRAIN_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE
            found += [process] if mine and (not module or module in process.cmdline()) else []
        except psutil.Error:
            continue
    return found


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A GRAIN_HOME; whatever a test leaves running in its name is killed."""
    home = tmp_path / "home"
    home.mkdir()
    yield home
    while left := processes_of(home):  # one that is killed may have started another just before
        for process in left:
            process.kill()
        psutil.wait_procs(left)


class Queue:
    """The queue of a home, as its database has it: nothing here looks after jobs."""

    def __init__(self, home: Path) -> None:
        self.engine: Engine = open_engine(f"sqlite:///{home}/grain.sqlite")

    def add(self, folder: Path, total: int) -> int:
        """Queue a count that may go as far as FOLDER/allowed says."""
        folder.mkdir()
        self.allow(folder, 1)
        argv = [sys.executable, PROGRAMS, "count", str(folder), str(total)]
        with transaction(self.engine) as session:
            return enqueue_job(session, kind="annotate", owner="ada", config={}, argv=argv).id

    def allow(self, folder: Path, number: int) -> None:
        (folder / "allowed.tmp").write_text(str(number))
        (folder / "allowed.tmp").replace(folder / "allowed")

    def job(self, number: int) -> Job:
        with reading(self.engine) as session:
            job = get_job(session, job_id=number)
            assert job is not None
            return job

    def at(self, number: int, folder: Path, attempt: int) -> Job:
        """Wait until a job has been taken up so often, let it count one further, and wait for that."""

        def taken() -> bool:
            job = self.job(number)
            return (job.state, job.attempts) == ("running", attempt) and bool(job.process_group)

        def told() -> str:
            job = self.job(number)
            return f"attempt {attempt}, but {job.state}, attempt {job.attempts} at {job.done}: {job.exit_reason}"

        until(taken, told)
        self.allow(folder, attempt)
        until(lambda: self.job(number).done == attempt, told)
        return self.job(number)


def kill(pid: int | None) -> None:
    """Kill a process that may not clean up, and wait until it is gone."""
    assert pid
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, f"process {pid} is dead")


@pytest.mark.slow
def test_whatever_is_killed_while_no_page_is_open_the_queue_moves(home: Path, tmp_path: Path) -> None:
    queue = Queue(home)
    work, later = tmp_path / "work", tmp_path / "later"
    job, other = queue.add(work, 6), queue.add(later, 1)
    with app_at(home) as (_, app):
        kill(Worker.read(queue.at(job, work, 1).worker).pid)  # the runner
        kill(queue.at(job, work, 2).process_group)  # the worker
        queue.at(job, work, 3)
        kill(app.pid)
    kill(Worker.read(queue.job(job).worker).pid)  # the runner, without an app
    queue.at(job, work, 4)
    [watchdog] = processes_of(home, "app.jobs.watchdog")
    kill(watchdog.pid)
    until(lambda: processes_of(home, "app.jobs.watchdog"), "the runner has started another watchdog")
    kill(Worker.read(queue.job(job).worker).pid)
    queue.allow(work, 6)
    until(lambda: queue.job(job).state == "done", lambda: repr(queue.job(job)))
    until(lambda: queue.job(other).state == "done", lambda: repr(queue.job(other)))
    assert (work / "kept").read_text().split() == ["0", "1", "2", "3", "4", "5"]
    assert "two at once" not in (work / "events").read_text()
    until(lambda: not processes_of(home), "with nothing left to do, nothing is left running")
