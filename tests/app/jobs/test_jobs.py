"""Jobs with real processes, real kills and both databases. Whatever is waited for is a condition, never a time."""

import json
import multiprocessing
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.jobs.control import Jobs, NewJob
from app.jobs.devices import DATA
from app.jobs.folder import Log, Progress, job_folder, progress_file, read_progress
from app.jobs.launch import Pace, RunnerConfig
from app.jobs.memory import memory_kills
from app.jobs.outcome import Outcome, outcome
from app.jobs.processes import Worker, find
from app.jobs.runner import Attempt, Runner
from db.engine import Engine, open_engine, reading, transaction
from db.models import Job, now
from db.queries.job_queries import JobStateError, enqueue_job, get_job, requeue_job
from db.queries.job_runner_queries import (
    JobLostError,
    RetryPolicy,
    claim_job,
    finish_job,
    mark_interrupted,
    set_job_process,
)
from job_progress import PROGRESS
from tests.support.databases import text_of
from tests.support.paths import ROOT
from tests.support.still_services import StillJobs
from tests.support.waiting import until
from user_errors import UserError

PROGRAMS = str(ROOT / "tests" / "support" / "job_programs.py")
PACE = Pace(heartbeat_s=0.1, lease_s=30.0, tick_s=0.02, cancel_grace_s=3.0, pause_grace_s=60.0)
WORK: dict[str, Any] = {"kind": "annotate", "owner": "ada", "config": {}}


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def writable(engine: Engine) -> bool:
    """Whether nobody is writing to an SQLite database at the moment."""
    with closing(sqlite3.connect(str(engine.url.database), timeout=0)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
    return True


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A GRAIN_HOME; whatever a test leaves running in its name is killed."""
    yield tmp_path / "home"
    for process in psutil.process_iter():
        try:
            if process.environ().get("GRAIN_HOME") == str(tmp_path / "home"):
                process.kill()
        except psutil.Error:
            continue


@pytest.fixture
def jobs(sqlite_engine: Engine, home: Path) -> Jobs:
    return Jobs(sqlite_engine, home, pace=PACE)


class Count:
    """A job that counts as far as it is allowed."""

    def __init__(self, jobs: Jobs, folder: Path, total: int = 3) -> None:
        folder.mkdir()
        self.jobs, self.folder = jobs, folder
        self.allow(1)
        argv = [sys.executable, PROGRAMS, "launch", "count", str(folder), str(total)]
        self.id = jobs.submit(NewJob(**WORK, argv=argv))

    @property
    def row(self) -> Job:
        job = self.jobs.get(self.id)
        assert job is not None
        return job

    @property
    def runner(self) -> int:
        return Worker.read(self.row.worker).pid

    @property
    def events(self) -> list[str]:
        return (self.folder / "events").read_text().splitlines()

    def allow(self, number: int) -> None:
        (self.folder / "allowed.tmp").write_text(str(number))
        (self.folder / "allowed.tmp").replace(self.folder / "allowed")

    def until_at(self, number: int) -> Job:
        until(lambda: self.row.state == "running" and self.row.done == number, f"count at {number}")
        return self.row

    def until_it_is(self, state: str) -> Job:
        until(lambda: self.row.state == state, f"job {state}, but {self.row.state}: {self.row.exit_reason}")
        return self.row

    def counted(self) -> list[int]:
        return [int(line) for line in (self.folder / "kept").read_text().split()]


@pytest.mark.slow
def test_a_paused_job_goes_on_where_it_stopped(engine: Engine, home: Path, tmp_path: Path) -> None:
    job = Count(Jobs(engine, home, pace=PACE), tmp_path / "work")
    job.until_at(1)
    assert job.jobs.pause(job.id).state == "running"
    assert job.until_it_is("paused").exit_reason == "paused when asked"
    assert job.events == ["start", "saved"]
    job.allow(3)
    assert job.jobs.resume(job.id).state == "queued"
    done = job.until_it_is("done")
    assert (done.attempts, done.done, done.total, done.message, done.exit_reason) == (2, 3, 3, "at 2", "ok")
    assert job.counted() == [0, 1, 2]
    assert job.events == ["start", "saved", "start", "end"]
    said = job.jobs.log_tail(job.id).splitlines()
    assert [line for line in said if line.startswith("counted")] == ["counted 0", "counted 1", "counted 2"]
    with pytest.raises(JobStateError, match="is done"):
        job.jobs.resume(job.id)


def test_killing_the_app_stops_nothing(sqlite_engine: Engine, jobs: Jobs, home: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "allowed").write_text("1")
    argv = [sys.executable, PROGRAMS, "app", str(home), str(work)]
    environment = os.environ | {"GRAIN_DATABASE_URL": text_of(sqlite_engine.url), "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout is not None
        job_id = int(app.stdout.readline())
        until(lambda: (work / "kept").exists(), "the job works")
        app.kill()
    (work / "allowed.tmp").write_text("3")
    (work / "allowed.tmp").replace(work / "allowed")  # the job reads it at any moment

    def row() -> Job:
        job = jobs.get(job_id)
        assert job is not None
        return job

    until(lambda: row().state == "done", "the job is done without the app")
    assert (row().done, row().total, row().attempts) == (3, 3, 1)


@pytest.mark.slow
def test_a_killed_runner_leaves_a_job_that_is_interrupted_and_resumed_and_a_queue_that_moves(
    jobs: Jobs, sqlite_engine: Engine, home: Path, tmp_path: Path
) -> None:
    job, other = Count(jobs, tmp_path / "first"), Count(jobs, tmp_path / "second", total=1)
    running = job.until_at(1)
    child = running.process_group
    assert child and find(child, running.process_started)
    os.kill(job.runner, signal.SIGKILL)
    until(lambda: not is_alive(job.runner), "the runner is dead")
    assert is_alive(child) and other.row.state == "queued"

    assert Jobs(sqlite_engine, home, pace=PACE).reconcile() == [job.id]  # another app, started just now
    assert job.row.state == "interrupted"
    assert job.row.exit_reason.startswith("its runner ended without a word; it is tried again by itself at ")
    assert not is_alive(child)
    other.until_it_is("done")

    job.allow(3)
    jobs.resume(job.id)
    assert job.until_it_is("done").attempts == 2
    assert job.counted() == [0, 1, 2]
    assert job.events == ["start", "saved", "start", "end"]


def test_a_living_runner_is_left_alone_and_shows_no_secret(
    jobs: Jobs, sqlite_engine: Engine, home: Path, tmp_path: Path
) -> None:
    job = Count(jobs, tmp_path / "work")
    child = job.until_at(1).process_group
    assert jobs.reconcile() == [] == Jobs(sqlite_engine, home).reconcile()
    assert child and is_alive(child) and job.row.attempts == 1
    url = text_of(sqlite_engine.url)
    for pid in (job.runner, child):
        process = psutil.Process(pid)
        assert len(process.cmdline()) > 3 and not any(url in word for word in process.cmdline())
        assert process.environ()["GRAIN_DATABASE_URL"] == url


@pytest.mark.slow
def test_cancel_ends_all_that_a_job_started(jobs: Jobs, tmp_path: Path) -> None:
    job_id = jobs.submit(NewJob(**WORK, argv=[sys.executable, PROGRAMS, "family", str(tmp_path)]))
    until((tmp_path / "pids").exists, "the family is there")
    pids = json.loads((tmp_path / "pids").read_text())
    assert len(pids) == 4 and all(map(is_alive, pids))
    jobs.cancel(job_id)
    until(lambda: (job := jobs.get(job_id)) and job.state == "cancelled", "the job is cancelled")
    assert [pid for pid in pids if is_alive(pid)] == []


@pytest.mark.slow
def test_two_slots_run_two_jobs_at_once_and_one_slot_one(sqlite_engine: Engine, home: Path, tmp_path: Path) -> None:
    wide = Jobs(sqlite_engine, home, {"cpu": 2}, pace=PACE)
    pair = [Count(wide, tmp_path / name) for name in "ab"]
    assert {job.until_at(1).slot for job in pair} == {0, 1}
    assert pair[0].runner != pair[1].runner
    for job in pair:
        job.allow(3)
        job.until_it_is("done")

    narrow = Jobs(sqlite_engine, home, {"cpu": 1}, pace=PACE)
    first, second = (Count(narrow, tmp_path / name) for name in "cd")
    first.until_at(1)
    assert (second.row.state, narrow.start_runners()) == ("queued", 0)
    first.allow(3)
    second.allow(3)
    second.until_it_is("done")
    assert first.runner == second.runner  # it takes the next by itself
    assert first.row.ended_at and second.row.started_at and first.row.ended_at <= second.row.started_at


def test_work_on_data_sets_goes_in_turns_and_waits_for_no_training(
    sqlite_engine: Engine, home: Path, tmp_path: Path
) -> None:
    jobs = Jobs(sqlite_engine, home, {"cpu": 1}, pace=PACE)
    training = Count(jobs, tmp_path / "training")
    training.until_at(1)
    freeze, delete = (jobs.submit(NewJob(**WORK, argv=["true"], device=DATA)) for _ in range(2))
    until(lambda: (job := jobs.get(delete)) and job.state == "done", "the second one is done")
    first, second = jobs.get(freeze), jobs.get(delete)
    assert first and second and first.ended_at and second.started_at and first.ended_at <= second.started_at
    assert training.row.state == "running"
    training.allow(3)
    training.until_it_is("done")


def test_a_runner_whose_job_was_given_to_another_writes_nothing_more(
    jobs: Jobs, sqlite_engine: Engine, home: Path, tmp_path: Path
) -> None:
    job = Count(jobs, tmp_path / "work")
    job.until_at(1)
    late = job.runner
    with transaction(sqlite_engine) as session:  # as somebody would who could not see that the runner lives
        assert mark_interrupted(session, job_id=job.id, token=1, exit_reason="nothing was heard")
        requeue_job(session, job_id=job.id)
    other = Runner(sqlite_engine, RunnerConfig(home, {"cpu": 1}, PACE))
    job.allow(3)
    other.run()
    until(lambda: not is_alive(late), "the late runner has ended")
    assert "two at once" not in job.events and job.counted() == [0, 1, 2]
    assert (job.row.state, job.row.token, job.row.exit_reason) == ("done", 2, "ok")
    with pytest.raises(JobLostError), transaction(sqlite_engine) as session:
        finish_job(session, job_id=job.id, token=1, state="failed", exit_reason="too late")
    said = (home / "jobs" / "runners.txt").read_text()
    assert "taken away" in said or "no longer this process's" in said


def test_a_job_goes_on_while_its_database_is_away(
    postgres_server: Any, postgres_engine: Engine, home: Path, tmp_path: Path
) -> None:
    job = Count(Jobs(postgres_engine, home, pace=PACE), tmp_path / "work")
    job.until_at(1)
    postgres_server.stop()
    try:
        log = home / "jobs" / "runners.txt"
        until(lambda: "Error" in log.read_text(), "a heartbeat came to nothing")
        job.allow(3)
        until(lambda: job.events == ["start", "end"], "the job is through")
    finally:
        postgres_server.start()
    done = job.until_it_is("done")
    assert (done.attempts, done.done) == (1, 3)


@pytest.mark.slow
def test_a_hung_runner_is_ended_and_one_that_only_slept_is_not(
    sqlite_engine: Engine, home: Path, tmp_path: Path
) -> None:
    jobs = Jobs(sqlite_engine, home, pace=Pace(heartbeat_s=0.5, lease_s=1.0, tick_s=0.02, cancel_grace_s=1.0))
    job = Count(jobs, tmp_path / "work")
    job.until_at(1)
    runner, child = job.runner, job.row.process_group

    def stop() -> None:
        os.kill(runner, signal.SIGSTOP)
        while not writable(sqlite_engine):  # stopped in the middle of a heartbeat it would lock the database
            os.kill(runner, signal.SIGCONT)
            os.kill(runner, signal.SIGSTOP)

    def overdue() -> bool:
        return job.row.lease_until is not None and job.row.lease_until < now()

    stop()
    until(overdue, "the lease has run out")
    os.kill(runner, signal.SIGCONT)
    assert jobs.reconcile() == [] and is_alive(runner)

    stop()
    until(overdue, "the lease has run out again")
    assert jobs.reconcile() == [job.id]
    assert job.row.state == "interrupted" and job.row.exit_reason.startswith("its runner hung; it is tried again")
    assert child and not is_alive(runner) and not is_alive(child)


def test_a_runner_that_is_asked_to_end_lets_its_job_save_and_takes_no_other(jobs: Jobs, tmp_path: Path) -> None:
    job, other = Count(jobs, tmp_path / "first"), Count(jobs, tmp_path / "second")
    job.until_at(1)
    runner = job.runner
    os.kill(runner, signal.SIGTERM)
    assert job.until_it_is("interrupted").exit_reason.startswith("its runner was told to stop; it is tried again")
    assert job.events == ["start", "saved"]
    until(lambda: not is_alive(runner), "the runner has ended")
    assert other.row.state == "queued"


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    """A process of somebody else's, in a group of its own."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield psutil.Process(process.pid)
        process.kill()


def claimed(engine: Engine, worker: Worker, group: psutil.Process | None, started: float | None) -> int:
    """A job that says it is run by such a runner in such a group."""
    with transaction(engine) as session:
        enqueue_job(session, **WORK, argv=["true"])
        job = claim_job(session, slots={"cpu": 9}, worker=str(worker), lease_seconds=60)
        assert job is not None
        pid = group.pid if group else None
        set_job_process(session, job_id=job.id, token=1, process_group=pid, process_started=started)
    return job.id


def test_a_process_that_only_has_the_number_is_neither_believed_nor_killed(
    jobs: Jobs, sqlite_engine: Engine, bystander: psutil.Process
) -> None:
    here, started = Worker.this().host, bystander.create_time()
    reused = Worker(here, bystander.pid, started - 1000)
    job_id = claimed(sqlite_engine, reused, bystander, started - 1000)
    assert jobs.reconcile() == [job_id]
    assert is_alive(bystander.pid)
    alive = claimed(sqlite_engine, Worker(here, bystander.pid, started), None, None)
    assert jobs.reconcile() == []  # the same number with the right start is a living runner
    orphan = claimed(sqlite_engine, reused, bystander, started)
    assert jobs.reconcile() == [orphan]  # and with the right start it is the job's own process, which is ended
    assert not is_alive(bystander.pid)
    assert jobs.reconcile() == [alive]


def test_a_child_that_its_runner_had_no_time_to_note_is_found_by_its_mark(
    jobs: Jobs, sqlite_engine: Engine, home: Path
) -> None:
    job_id = claimed(sqlite_engine, Worker(Worker.this().host, 2**22 + 1, 1.0), None, None)
    own, other = job_folder(home, job_id), job_folder(home.with_name("other"), job_id)
    marks = [progress_file(own, 1), progress_file(own, 2), progress_file(other, 1)]
    children = [
        subprocess.Popen(["sleep", "600"], env={PROGRESS: str(mark), "GRAIN_HOME": str(home)}) for mark in marks
    ]
    try:
        assert jobs.reconcile() == [job_id]
        assert [is_alive(child.pid) for child in children] == [False, True, True]  # a later attempt, another home
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_a_job_of_another_machine_counts_as_interrupted_when_it_is_overdue(jobs: Jobs, sqlite_engine: Engine) -> None:
    job_id = claimed(sqlite_engine, Worker("elsewhere", os.getpid(), 1.0), None, None)
    assert jobs.reconcile() == []
    with transaction(sqlite_engine) as session:
        job = get_job(session, job_id=job_id)
        assert job is not None
        job.lease_until = now()
    assert jobs.reconcile() == [job_id]
    with reading(sqlite_engine) as session:
        job = get_job(session, job_id=job_id)
        assert job is not None and job.exit_reason.startswith("nothing has been heard from elsewhere")


def test_a_job_gets_its_words_verbatim_and_each_end_has_its_reason(engine: Engine, home: Path, tmp_path: Path) -> None:
    """Without a runner process: the class itself works the queue off."""
    words = [f"$(touch {tmp_path}/x)", "-rf", "a\nb", "", "; exit 3", "`id`", "*", "ü", "--", "-"]
    memory = "memory: "
    cases: dict[tuple[str, ...], tuple[str, str]] = {
        ("echo", *words): ("done", "ok"),
        ("fail", "3"): ("failed", "exit code 3: this went wrong"),
        ("fail", "-11"): ("failed", "killed by signal 11 (SIGSEGV)"),
        ("fail", "-9"): ("interrupted", "killed by signal 9 (SIGKILL); it is tried again by itself at "),
        ("exhaust",): ("failed", memory + "it ran out of memory"),
        ("shout", "10"): ("done", "ok"),
        ("leave_one_behind", str(tmp_path)): ("done", "ok"),
    }
    with transaction(engine) as session:
        ids = [enqueue_job(session, **WORK, argv=[sys.executable, PROGRAMS, *case]).id for case in cases]
        ids += [enqueue_job(session, **WORK, argv=["no-such-program", "x"]).id]
        ids += [enqueue_job(session, **WORK, argv=["true"], backend="abacus").id]
    Runner(engine, RunnerConfig(home, {"cpu": 1}, PACE)).run()

    jobs = Jobs(engine, home)
    wanted = [*cases.values(), ("failed", "cannot start 'no-such-program'"), ("failed", "expected the backend local")]
    found = [job for job_id in ids if (job := jobs.get(job_id))]
    assert len(found) == len(wanted)
    for job, (state, beginning) in zip(found, wanted, strict=True):
        assert job.state == state and job.exit_reason.startswith(beginning), job.exit_reason
        assert job.ended_at and job.slot is None
    assert json.loads(jobs.log_tail(ids[0], 1)) == words
    assert not (tmp_path / "x").exists()
    assert (found[0].done, found[0].total, found[0].message) == (len(words), len(words), "said")
    assert jobs.log_tail(ids[5], 1) == "the end"
    assert sum(file.stat().st_size for file in job_folder(home, ids[5]).glob("log*")) < 9 * 2**20
    [left] = json.loads((tmp_path / "pids").read_text())
    assert not is_alive(left)


def test_a_device_without_slots_is_refused(jobs: Jobs) -> None:
    with pytest.raises(ValueError, match=r"expected a device with a slot \(cpu\), got 'cuda:0'"):
        jobs.submit(NewJob(**WORK, argv=["true"], device="cuda:0"))
    assert (jobs.get(1), jobs.log_tail(1)) == (None, "")


def test_a_job_that_no_slot_here_will_do_for_holds_up_nobody_and_is_not_resumed(
    sqlite_engine: Engine, home: Path
) -> None:
    with transaction(sqlite_engine) as session:  # queued while there were two of them, and a cluster
        options: list[dict[str, Any]] = [{"width": 2}, {"device": "slurm", "backend": "slurm"}, {}]
        wide, away, narrow = (enqueue_job(session, **WORK, argv=["true"], **each).id for each in options)
    jobs = Jobs(sqlite_engine, home, {"cpu": 1}, pace=PACE)
    assert jobs.start_runners() == 1
    until(lambda: (job := jobs.get(narrow)) and job.state == "done", "the narrow one is done")
    for number, sentence in ((wide, "at most the 1 slots of cpu, got 2"), (away, r"a slot \(cpu\), got 'slurm'")):
        job = jobs.get(number)
        assert job is not None and job.state == "queued" and re.search(sentence, jobs.obstacle(job.device, job.width))
        jobs.pause(number)
        with pytest.raises(UserError, match=sentence):
            jobs.resume(number)
        assert (again := jobs.get(number)) and again.state == "paused"


def test_many_jobs_start_one_runner_a_slot_which_finds_a_database_named_from_here(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = open_engine("sqlite:///grain.sqlite")
    with transaction(engine) as session:
        ids = [enqueue_job(session, **WORK, argv=["true"]).id for _ in range(5)]
    jobs = Jobs(engine, Path("home"), pace=PACE)
    assert [jobs.start_runners() for _ in ids] == [1, 0, 0, 0, 0]
    until(lambda: {job.state for job in map(jobs.get, ids) if job} == {"done"}, "all are done")
    assert len({job.worker for job in map(jobs.get, ids) if job}) == 1
    engine.dispose()


def queue_wanted_once(url: str, home: Path, together: threading.Barrier) -> list[int]:
    """What each of two apps on one database does: queue the same twenty jobs, each as soon as the other is there."""
    engine, ids = open_engine(url), []
    for number in range(20):
        new = NewJob(kind="data", owner="ada", config={"out": Path(f"{number}")}, argv=["make"], once=True)
        together.wait()
        ids.append(StillJobs(engine, home).submit(new))
    engine.dispose()
    return ids


def test_two_apps_that_want_a_job_once_queue_it_once(engine: Engine, home: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager, ProcessPoolExecutor(2, spawn) as apps:
        asked = partial(queue_wanted_once, text_of(engine.url), home, manager.Barrier(2))
        first, second = [each.result() for each in [apps.submit(asked) for _ in range(2)]]
    assert first == second and len(set(first)) == 20


def test_a_job_that_is_wanted_once_is_queued_again_when_the_last_one_is_over(sqlite_engine: Engine, home: Path) -> None:
    jobs, wanted = StillJobs(sqlite_engine, home), NewJob(**WORK, argv=["make"], once=True)
    first = jobs.submit(wanted)
    assert jobs.submit(NewJob(**WORK | {"config": {"out": "other"}}, argv=["make"], once=True)) != first
    with transaction(sqlite_engine) as session:
        assert claim_job(session, slots={"cpu": 1}, worker="me", lease_seconds=60)
    assert jobs.submit(wanted) == first, "it runs"
    with transaction(sqlite_engine) as session:
        mark_interrupted(session, job_id=first, token=1, exit_reason="killed", retry=RetryPolicy(1, 1.0))
    assert jobs.submit(wanted) == first, "it will be tried again by itself"
    jobs.cancel(first)
    assert jobs.submit(wanted) != first


def test_what_a_job_of_the_same_id_left_is_forgotten(sqlite_engine: Engine, home: Path) -> None:
    folder = job_folder(home, 1)
    folder.mkdir(parents=True)
    progress_file(folder, 1).write_text('{"done": 77}')
    Log(folder).write(b"long ago\n")
    with transaction(sqlite_engine) as session:
        assert enqueue_job(session, **WORK, argv=["echo", "today"]).id == 1
    Runner(sqlite_engine, RunnerConfig(home, {"cpu": 1}, PACE)).run()
    jobs = Jobs(sqlite_engine, home)
    job, said = jobs.get(1), jobs.log_tail(1).splitlines()
    assert job is not None and (job.state, job.done) == ("done", 0)
    assert said[0].startswith("--- attempt 1, ") and said[1:] == ["today"]


def test_a_job_that_is_stopped_before_it_starts_does_not_start(sqlite_engine: Engine, home: Path) -> None:
    jobs = Jobs(sqlite_engine, home)
    with transaction(sqlite_engine) as session:
        ids = [enqueue_job(session, **WORK, argv=["no-such-program"]).id for _ in range(3)]
        taken = [claim_job(session, slots={"cpu": 9}, worker="me", lease_seconds=60) for _ in ids]
    jobs.cancel(ids[0])
    jobs.pause(ids[1])
    config = RunnerConfig(home, {"cpu": 9}, PACE)
    for job, stopped in zip(taken, (False, False, True), strict=True):
        assert job is not None
        attempt = Attempt(sqlite_engine, config, job, stopped=partial(bool, stopped))
        attempt.finish(attempt.work())
    assert [job.state for job in map(jobs.get, ids) if job] == ["cancelled", "paused", "interrupted"]


@pytest.mark.parametrize(
    ("code", "tail", "asked", "wanted"),
    [
        (0, "", "", Outcome("done", "ok")),
        (1, "", "", Outcome("failed", "exit code 1: it said nothing")),
        (1, "a\n" + "b" * 999, "", Outcome("failed", "exit code 1: " + "b" * 300)),
        (-6, "", "", Outcome("failed", "killed by signal 6 (SIGABRT)")),
        (-15, "MemoryError", "pause", Outcome("paused", "paused when asked")),
        (0, "", "cancel", Outcome("cancelled", "cancelled when asked")),
        (0, "", "stop", Outcome("interrupted", "its runner was told to stop")),
        (-9, "", "", Outcome("interrupted", "killed by signal 9 (SIGKILL)")),
        (137, "", "", Outcome("interrupted", "killed by signal 9 (SIGKILL)")),
        (-15, "", "", Outcome("interrupted", "killed by signal 15 (SIGTERM)")),
        (1, "died with <Signals.SIGKILL: 9>.", "", Outcome("failed", "exit code 1: died with <Signals.SIGKILL: 9>.")),
    ],
)
def test_an_end_is_judged(code: int, tail: str, asked: Any, wanted: Outcome) -> None:
    assert outcome(code, tail, asked) == wanted


BOXED = """╭─ Value error ────────────────────────────────────────────╮
│ Error parsing Config: limit must be at least 1, got -5;  │
│ it counts pictures                                       │
│ ──────────────────────────────────────────────────────── │
│ For full helptext, see app.evaluate.job --help           │
╰──────────────────────────────────────────────────────────╯"""


def test_the_reason_of_a_refused_flag_is_in_the_box_and_not_the_box() -> None:
    wanted = "exit code 2: Error parsing Config: limit must be at least 1, got -5; it counts pictures"
    assert outcome(2, f"it begins\n{BOXED}").reason == outcome(2, BOXED).reason == wanted
    assert outcome(1, f"{BOXED}\nKeyError: 'x'").reason == "exit code 1: KeyError: 'x'"


LAUNCHER = """Traceback (most recent call last):
  File "launch.py", line 999, in simple_launcher
    raise subprocess.CalledProcessError(returncode=process.returncode, cmd=cmd)
subprocess.CalledProcessError: Command '['python', '-m', 'grain.train']' returned non-zero exit status 1."""


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("grain.train: the data has 0 images: use less", "The data has 0 images: use less."),
        ("[rank1]: grain.train: another process trains there", "Another process trains there."),
        ("step 3\nTraceback (most recent call last):\n  File\nKeyError: 'x'", "exit code 1: KeyError: 'x'"),
        ("curation.ingest: first\ncuration.ingest: no such folder", "No such folder."),
    ],
)
def test_the_reason_of_a_failure_is_the_programs_own_and_not_its_launchers(said: str, reason: str) -> None:
    assert outcome(1, f"{said}\n{LAUNCHER}").reason == reason == outcome(1, said).reason
    assert outcome(1, LAUNCHER).reason.startswith("exit code 1: ")


@pytest.mark.parametrize(
    ("code", "tail", "is_memory"),
    [
        (1, "Traceback\nMemoryError", True),
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\nmore", True),
        (1, "[rank0]: torch.OutOfMemoryError: CUDA out of memory.", True),
        (1, "numpy._core._exceptions._ArrayMemoryError: Unable to allocate", True),
        (-6, "terminate called after throwing an instance of 'std::bad_alloc'", True),
        (1, "ValueError: no MemoryError here", False),
        (143, "", False),
    ],
)
def test_running_out_of_memory_is_recognised(code: int, tail: str, is_memory: bool) -> None:
    assert outcome(code, tail).reason.startswith("memory: ") == is_memory


@pytest.mark.parametrize(
    ("code", "tail"),
    [
        (137, ""),
        (-9, ""),
        (1, "subprocess.CalledProcessError: Command '['python']' died with <Signals.SIGKILL: 9>."),
        (1, "traceback : Signal 9 (SIGKILL) received by PID 7"),
    ],
)
def test_a_kill_counts_as_memory_only_where_the_kernel_says_so(code: int, tail: str) -> None:
    assert outcome(code, tail).state == "interrupted" and "signal 9" in outcome(code, tail).reason
    told = outcome(code, tail, for_memory=True)
    assert told.state == "failed" and told.reason.startswith("memory: the kernel ended a process")
    assert outcome(1, "ValueError: no", for_memory=True).reason == "exit code 1: ValueError: no"
    assert memory_kills() >= 0


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ('{"done": 3, "total": 10, "message": "here"}', Progress(3, 10, "here")),
        ('{"done": 3}', Progress(3)),
        ('{"done": 0, "total": null, "message": null}', Progress(0)),
        ('{"done": 1, "message": "' + "m" * 999 + '"}', Progress(1, 0, "m" * 300)),
        ('{"done": 3, "tot', None),
        ('{"done": -1}', None),
        ('{"done": 9223372036854775808}', None),
        ('{"done": "3"}', None),
        ('{"done": 1, "message": {}}', None),
        ("[3]", None),
        ("3", None),
        ("", None),
        ("\udcff", None),
    ],
)
def test_progress_is_read_and_nonsense_is_none(tmp_path: Path, said: str, wanted: Progress | None) -> None:
    file = progress_file(tmp_path, 1)
    assert read_progress(file) is None
    file.write_bytes(said.encode("utf-8", "surrogateescape"))
    assert read_progress(file) == wanted


def test_a_log_is_bounded_and_its_end_is_read_across_both_files(tmp_path: Path) -> None:
    log = Log(tmp_path, most_bytes=1000)
    for number in range(1000):
        log.write(f"line {number}\n".encode())
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2100
    assert log.tail(100) == "\n".join(f"line {number}" for number in range(900, 1000))
    log.write(b"10 %\r50 %\r100 %\r\nwindows\r\n\xff\n")
    assert log.tail(3) == "100 %\nwindows\n\ufffd"
    log.clear()
    assert log.tail(5) == ""
    Log(tmp_path / "gone").write(b"nowhere to put it")


def test_a_worker_is_read_back_from_its_words() -> None:
    worker = Worker("a-b.c process 3", 77, 1764072000.25)
    assert Worker.read(str(worker)) == worker
    assert not Worker.read("somebody").is_here
    assert Worker.this().is_here and find(os.getpid(), Worker.this().started)
    assert find(None, 1.0) is None is find(os.getpid(), 1.0)
