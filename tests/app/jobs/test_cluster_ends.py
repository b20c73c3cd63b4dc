"""How jobs on clusters end: which ends are known, so that a job is submitted again, and which are not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from app.jobs.backend import Submitted
from app.jobs.cluster import ClusterJob
from app.jobs.launch import Pace, RunnerConfig
from app.jobs.node import Order
from app.jobs.processes import Worker
from app.jobs.runner import Runner
from app.jobs.slurm import SlurmJob
from db.engine import reading, transaction
from db.models import Job, now
from db.queries.job_queries import enqueue_job, get_job, request_cancel, request_pause, requeue_job
from db.queries.job_runner_queries import requeue_due_jobs
from tests.support.still_services import StillJobs
from tests.support.waiting import PATIENCE_S, until
from user_errors import UserError

PACE = Pace(heartbeat_s=0.02, tick_s=0.01, retries=3)


class KilledError(BaseException):
    """The end of a runner that writes nothing more."""


class Cluster:
    """A cluster in memory, and one job that is queued for it.

    work: name -> exit code, None while it runs. trouble: raised instead of an answer. closed: it takes no client.
    deadly: runners end as killed ones do, as soon as it has the work.
    """

    def __init__(self, home: Path, engine: Engine) -> None:
        self.work: dict[str, int | None] = {}
        self.trouble: Exception | None = None
        self.closed = self.deadly = False
        self.looks = 0  # at its work
        (home / "worlds" / "1").mkdir(parents=True)
        (home / "worlds" / "1" / "manifest.json").write_text("{}")
        train = {"data": f"{home}/worlds/1", "out": f"{home}/runs/x", "init": None}
        self._engine, self._config = engine, RunnerConfig(home, {"ray": 1}, PACE)
        config = {"train": train, "asked": {"processes": 0}}
        options: dict[str, Any] = {"kind": "train", "owner": "ada", "config": config, "device": "ray"}
        with transaction(engine) as session:
            self._id = enqueue_job(session, argv=["python", "x"], backend="ray", **options).id

    def connect(self, job: Job, folder: Path) -> InMemory:
        if self.closed:
            raise UserError("no job server answers: start one")
        return InMemory(job, folder, self)

    @property
    def job(self) -> Job:
        with reading(self._engine) as session:
            job = get_job(session, job_id=self._id)
            assert job is not None
            return job

    def ask(self, what: Callable[..., Job]) -> None:
        with transaction(self._engine) as session:
            what(session, job_id=self._id)

    def wait_for_retry(self) -> None:
        with transaction(self._engine) as session:
            assert requeue_due_jobs(session, moment=now() + timedelta(hours=1)) == [self._id]

    def take_from_the_dead(self) -> None:
        """Have the watchdog find that the runner, which was this process, is no more."""
        with transaction(self._engine) as session:
            held = get_job(session, job_id=self._id)
            assert held is not None
            held.worker = str(replace(Worker.read(held.worker), started=0.0))
        StillJobs(self._engine, self._config.home, self._config.slots, pace=PACE).reconcile()

    def run(self) -> Job:
        """Run the job to the end of one attempt."""
        self.runner().run()
        return self.job

    def runner(self) -> Runner:
        return Runner(self._engine, self._config, {"ray": self.connect})

    def background(self) -> tuple[Runner, threading.Thread]:
        runner = self.runner()
        thread = threading.Thread(target=runner.run, daemon=True)
        thread.start()
        return runner, thread

    def until_it_runs(self) -> str:
        until(lambda: self.job.external_id in self.work, "it has been submitted")
        return self.job.external_id

    def end(self, code: int) -> None:
        [running] = [name for name, known in self.work.items() if known is None]
        self.work[running] = code


class InMemory(ClusterJob):
    """A job on that cluster."""

    look_s, out_of_sight_s = 0.005, 0.1

    def __init__(self, job: Job, folder: Path, cluster: Cluster) -> None:
        super().__init__(job, folder)
        self._cluster = cluster

    def submit(self) -> Submitted:
        submitted = super().submit()
        if self._cluster.deadly:
            until(lambda: self._cluster.work, "it has been submitted")
            raise KilledError
        return submitted

    def start(self, order: Order) -> None:
        self._cluster.work[self.name] = None

    def look(self) -> int | None:
        self._cluster.looks += 1
        if self._cluster.trouble:
            raise self._cluster.trouble
        if self.name not in self._cluster.work:
            raise LookupError(self.name)
        return self._cluster.work[self.name]

    def output(self) -> str:
        return ""

    def end(self, *, force: bool) -> None:
        if self._cluster.trouble:
            raise self._cluster.trouble
        self._cluster.work[self.name] = -15


@pytest.fixture
def cluster(sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("GRAIN_SHARED_URL", f"file://{tmp_path / 'home'}")
    return Cluster(tmp_path / "home", sqlite_engine)


def begin(cluster: Cluster) -> tuple[str, threading.Thread]:
    """Submit the job; return its name there."""
    _, thread = cluster.background()
    return cluster.until_it_runs(), thread


@pytest.mark.parametrize("again", ["by itself", "by a person"])
def test_work_that_was_seen_to_end_is_submitted_again(cluster: Cluster, again: str) -> None:
    first, thread = begin(cluster)
    cluster.end(143)  # what a training leaves that saved when it was asked to end
    thread.join(PATIENCE_S)
    assert (cluster.job.state, cluster.job.external_id) == ("interrupted", "")
    cluster.wait_for_retry() if again == "by itself" else cluster.ask(requeue_job)
    second, thread = begin(cluster)
    assert second != first and list(cluster.work) == [first, second]
    cluster.end(0)
    thread.join(PATIENCE_S)
    assert (cluster.job.state, cluster.job.exit_reason, cluster.job.external_id) == ("done", "ok", "")


def test_work_that_left_no_exit_code_is_interrupted_and_submitted_again(cluster: Cluster) -> None:
    first, thread = begin(cluster)
    del cluster.work[first]  # its node was lost
    thread.join(PATIENCE_S)
    job = cluster.job
    assert (job.state, job.external_id) == ("interrupted", "") and job.retry_at
    assert job.exit_reason.startswith("the cluster knows it no more, and it left no exit code; it is tried again")
    cluster.wait_for_retry()
    assert begin(cluster)[0] != first


@pytest.mark.parametrize("error", [RuntimeError("line\nno contact"), ValueError("no contact"), OSError("no contact")])
def test_a_cluster_that_says_nothing_is_asked_again_before_anything_is_submitted(
    cluster: Cluster, error: Exception
) -> None:
    first, thread = begin(cluster)
    cluster.trouble = error
    thread.join(PATIENCE_S)
    job = cluster.job
    assert (job.state, job.external_id) == ("interrupted", first) and job.retry_at
    assert job.exit_reason.startswith("nothing can be learned of its work on the cluster (no contact); it is tried")
    cluster.wait_for_retry()
    assert (cluster.run().state, cluster.job.external_id) == ("interrupted", first), "still away"
    cluster.trouble = None
    cluster.ask(requeue_job)
    _, thread = cluster.background()
    cluster.end(0)
    thread.join(PATIENCE_S)
    assert cluster.job.state == "done" and list(cluster.work) == [first]


@pytest.mark.parametrize("for_good", [False, True])
def test_a_job_is_done_once_its_files_are_here(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, for_good: bool
) -> None:
    monkeypatch.setattr(InMemory, "out_of_sight_s", 0.0 if for_good else PATIENCE_S)
    monkeypatch.setenv("GRAIN_SHARED_URL", f"file://{tmp_path / 'shared'}")
    (tmp_path / "shared" / "runs" / "x").mkdir(parents=True)
    (tmp_path / "shared" / "runs" / "x" / "metrics.jsonl").write_text("{}")
    here = tmp_path / "home" / "runs" / "x" / "metrics.jsonl"
    (unwritable := here.with_name(".metrics.jsonl.part")).mkdir(parents=True)
    name, thread = begin(cluster)
    cluster.end(0)
    if for_good:
        thread.join(PATIENCE_S)
        assert (cluster.job.state, cluster.job.external_id) == ("interrupted", name) and cluster.job.retry_at
        monkeypatch.setattr(InMemory, "out_of_sight_s", PATIENCE_S)
        cluster.wait_for_retry()
        _, thread = cluster.background()
    looks = cluster.looks
    until(lambda: cluster.looks > looks + 2, "it to be looked at again")
    unwritable.rmdir()
    thread.join(PATIENCE_S)
    assert cluster.job.state == "done" and here.read_text() == "{}"


def test_who_cancels_a_job_does_not_wait_for_files_that_cannot_come(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InMemory, "out_of_sight_s", PATIENCE_S)
    monkeypatch.setenv("GRAIN_SHARED_URL", f"file://{tmp_path / 'shared'}")
    (tmp_path / "shared" / "runs" / "x").mkdir(parents=True)
    (tmp_path / "shared" / "runs" / "x" / "metrics.jsonl").write_text("{}")
    (tmp_path / "home" / "runs" / "x" / ".metrics.jsonl.part").mkdir(parents=True)  # so that it cannot be written
    _, thread = begin(cluster)
    cluster.ask(request_cancel)
    thread.join(PATIENCE_S / 2)
    assert cluster.job.state == "cancelled"


def test_a_client_that_cannot_connect_leaves_work_that_goes_on(cluster: Cluster) -> None:
    cluster.closed = True
    assert (cluster.run().state, cluster.job.exit_reason) == ("failed", "No job server answers: start one.")
    cluster.closed = False
    cluster.ask(requeue_job)
    runner, thread = cluster.background()
    name = cluster.until_it_runs()
    runner.stop()
    thread.join(PATIENCE_S)
    cluster.closed = True
    job = cluster.run()
    assert (job.state, job.external_id) == ("interrupted", name) and job.retry_at
    assert job.exit_reason.startswith("No job server answers: start one; it is tried again by itself at")


@pytest.mark.parametrize(("ask", "state"), [(request_cancel, "cancelled"), (request_pause, "paused")])
def test_what_was_asked_while_the_cluster_was_away_is_asked_again(
    cluster: Cluster, ask: Callable[..., Job], state: str
) -> None:
    first, thread = begin(cluster)
    cluster.trouble = RuntimeError("no contact")
    cluster.ask(ask)
    thread.join(PATIENCE_S)
    assert (cluster.job.state, cluster.job.external_id) == ("interrupted", first), "it may go on"
    cluster.trouble = None
    cluster.wait_for_retry()
    assert (cluster.run().state, cluster.job.external_id) == (state, "")
    assert cluster.work == {first: -15}


@pytest.mark.parametrize(("ask", "state"), [(request_cancel, "cancelled"), (request_pause, "paused")])
def test_what_is_asked_between_two_runners_ends_the_work_where_it_goes_on(
    cluster: Cluster, ask: Callable[..., Job], state: str
) -> None:
    runner, thread = cluster.background()
    first = cluster.until_it_runs()
    runner.stop()
    thread.join(PATIENCE_S)
    assert (cluster.job.state, cluster.work) == ("queued", {first: None})
    cluster.ask(ask)
    assert cluster.job.state == "queued", "until a runner has ended it there"
    assert (cluster.run().state, cluster.work) == (state, {first: -15})
    cluster.ask(requeue_job)
    second, _ = begin(cluster)
    assert second != first and cluster.work[second] is None


@pytest.mark.parametrize("state", ["done", "cancelled"])
def test_work_whose_runner_is_killed_before_its_first_heartbeat_is_found_by_its_name(
    cluster: Cluster, state: str
) -> None:
    cluster.deadly = True
    with pytest.raises(KilledError):
        cluster.run()
    assert cluster.job.state == "running"
    [first] = cluster.work
    cluster.take_from_the_dead()
    assert (cluster.job.state, cluster.job.external_id) == ("queued", first)
    cluster.deadly = False
    if state == "cancelled":
        cluster.ask(request_cancel)
        assert cluster.run().state == state and cluster.work == {first: -15}
    else:
        _, thread = cluster.background()
        cluster.end(0)
        thread.join(PATIENCE_S)
        assert cluster.job.state == state and list(cluster.work) == [first]


def test_a_slow_word_of_slurm_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, line in (("sbatch", "true"), ("squeue", "exec tail -f /dev/null")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    config = {"train": {}, "asked": {"processes": 0}}
    row = Job(id=1, token=1, kind="train", owner="ada", argv=["x"], config=config, external_id="grain-1")
    job = SlurmJob(row, tmp_path / "home" / "jobs" / "1")
    job.patience_s = 0.2
    number = tmp_path / "home" / "jobs" / "1" / "slurm" / "grain-1" / "number"
    number.parent.mkdir(parents=True)
    number.write_text("7")
    with pytest.raises(RuntimeError, match=r"squeue did not answer within 0\.2 s"):
        job.look()
