"""The queue of jobs, on both databases. Time stands still: every moment is given."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from db.engine import reading, transaction
from db.models import Job, now
from db.queries.job_queries import (
    JobStateError,
    enqueue_job,
    get_job,
    job_page,
    jobs_before,
    request_cancel,
    request_pause,
    requeue_job,
    running_jobs,
)
from db.queries.job_runner_queries import (
    JobLostError,
    RetryPolicy,
    any_job_due,
    busy_devices,
    claim_job,
    finish_job,
    heartbeat,
    mark_interrupted,
    requeue_due_jobs,
    set_job_process,
    set_job_progress,
)
from user_errors import UserError

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
WORK = {
    "kind": "annotate",
    "owner": "ada",
    "config": {"dataset": "lids"},
    "argv": ["python", "-m", "x", "--name", "a\n$(b)"],
}
ONE_CPU: dict[str, Any] = {"slots": {"cpu": 1}, "worker": "runner", "lease_seconds": 30.0, "moment": NOON}


def queued(session: Session, **changes: Any) -> int:
    return enqueue_job(session, **(WORK | changes)).id


def claimed(session: Session, **changes: Any) -> Job:
    job = claim_job(session, **(ONE_CPU | changes))
    assert job is not None
    return job


def test_a_job_comes_back_as_it_was_asked(engine: Engine) -> None:
    with transaction(engine) as session:
        job_id = queued(session, device="cuda:0", priority=3, backend="ray")
    with reading(engine) as session:
        job = get_job(session, job_id=job_id)
        assert job is not None
        assert (job.kind, job.owner, job.config, job.argv) == tuple(WORK.values())
        assert (job.state, job.device, job.priority, job.backend) == ("queued", "cuda:0", 3, "ray")
        assert (job.attempts, job.token, job.slot, job.started_at) == (0, 0, None, None)
        assert get_job(session, job_id=99) is None


@pytest.mark.parametrize("argv", [[], "python -m x", ["python", 3]], ids=repr)
def test_a_job_without_the_words_of_a_command_is_refused(engine: Engine, argv: Any) -> None:
    with pytest.raises(ValueError, match="expected argv to be the words of a command"), transaction(engine) as session:
        queued(session, argv=argv)


@pytest.mark.parametrize(("words", "sentence"), [
    (["a\0b"], r"^expected text of characters that can be written, got 'a\\x00b': write it again$"),
    (["--note=a\0b"], r"^expected text for note, of characters that can be written, got 'a\\x00b': write it again$"),
    (["--note=" + "é" * 70_000], r"^note: expected at most 131,064 bytes, got 140,000: shorten it$"),
    (["--classes", "a", "b" * 200_000], r"^classes: expected at most 131,071 bytes, got 200,000: shorten it$"),
    (["c" * 100_000] * 16, r"^expected a job with at most 1,500,000 bytes of settings, got 1,600,159: give less$"),
])  # fmt: skip
def test_a_word_that_no_program_can_be_given_is_refused_by_its_flag(
    engine: Engine, words: list[str], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence), transaction(engine) as session:
        queued(session, argv=["python", *words])


def test_the_longest_words_that_are_taken_can_be_given_to_a_program(engine: Engine) -> None:
    argv = [sys.executable, "-c", "import sys; print(len(sys.argv[1]))", "--note=" + "n" * 131_064]
    with transaction(engine) as session:
        queued(session, argv=argv)
    assert subprocess.check_output(argv, text=True) == "131071\n"


def test_the_most_urgent_goes_first_and_among_equals_the_oldest(engine: Engine) -> None:
    with transaction(engine) as session:
        ids = [queued(session, priority=priority) for priority in (0, 5, 0, 5)]
        order = [claimed(session, slots={"cpu": 9}).id for _ in ids]
        assert claim_job(session, **(ONE_CPU | {"slots": {"cpu": 9}})) is None
    assert order == [ids[1], ids[3], ids[0], ids[2]]


def test_each_device_runs_as_many_as_it_has_slots(engine: Engine) -> None:
    with transaction(engine) as session:
        for device in ("cuda", "cuda", "cuda", "cpu", "tpu"):
            queued(session, device=device)
        slots: dict[str, Any] = {"cuda": 2, "cpu": 1}
        jobs = [claim_job(session, **(ONE_CPU | {"slots": slots})) for _ in range(4)]
        assert [job and (job.id, job.device, job.slot) for job in jobs] == [
            (1, "cuda", 0),
            (2, "cuda", 1),
            (4, "cpu", 0),
            None,
        ]
        finish_job(session, job_id=1, token=1, state="done")
        freed = claimed(session, slots=slots)
        assert (freed.id, freed.slot) == (3, 0)
        assert claim_job(session, **(ONE_CPU | {"slots": {}})) is None


def test_a_job_that_is_wider_than_its_device_holds_up_nobody(engine: Engine) -> None:
    with transaction(engine) as session:
        wide, fitting, narrow = (queued(session, width=width) for width in (3, 2, 1))
        assert claimed(session, slots={"cpu": 2}).id == fitting
        assert claim_job(session, **(ONE_CPU | {"slots": {"cpu": 2}})) is None
        finish_job(session, job_id=fitting, token=1, state="done")
        assert claimed(session, slots={"cpu": 2}).id == narrow
        finish_job(session, job_id=narrow, token=1, state="done")
        assert claimed(session, slots={"cpu": 3}).id == wide, "once there are as many again"


def test_a_claimed_job_says_who_has_it_and_until_when(engine: Engine) -> None:
    with transaction(engine) as session:
        queued(session)
        job = claimed(session)
    assert (job.state, job.worker, job.token, job.attempts) == ("running", "runner", 1, 1)
    assert (job.started_at, job.heartbeat_at, job.lease_until) == (NOON, NOON, NOON + timedelta(seconds=30))


def test_workers_at_once_never_share_a_slot_or_a_job(engine: Engine) -> None:
    with transaction(engine) as session:
        for _ in range(8):
            queued(session)
    start = threading.Barrier(4)

    def take(worker: str) -> list[tuple[int, int | None]]:
        start.wait()
        taken = []
        for _ in range(3):
            with transaction(engine) as session:
                job = claim_job(session, **(ONE_CPU | {"slots": {"cpu": 5}, "worker": worker}))
            taken += [(job.id, job.slot)] if job else []
        return taken

    with ThreadPoolExecutor(4) as workers:
        taken = [pair for share in workers.map(take, "abcd") for pair in share]
    assert sorted(job_id for job_id, _ in taken) == [1, 2, 3, 4, 5]
    assert sorted(slot for _, slot in taken if slot is not None) == [0, 1, 2, 3, 4]


def test_progress_and_process_are_read_by_anybody(engine: Engine) -> None:
    with transaction(engine) as session:
        queued(session)
        claimed(session)
        set_job_process(
            session, job_id=1, token=1, process_group=4321, process_started=1764072000.25, external_id="ray-7"
        )
        set_job_progress(session, job_id=1, token=1, done=5_000_000_000, total=12_000_000_000, message="localize\0")
    with reading(engine) as session:
        [job] = running_jobs(session)
    assert (job.process_group, job.process_started, job.external_id) == (4321, 1764072000.25, "ray-7")
    assert (job.done, job.total, job.message) == (5_000_000_000, 12_000_000_000, "localize\ufffd")


def test_a_heartbeat_brings_back_what_was_asked(engine: Engine) -> None:
    beat: dict[str, Any] = {"job_id": 1, "token": 1, "lease_seconds": 30.0}
    with transaction(engine) as session:
        queued(session)
        claimed(session)
        late = NOON + timedelta(hours=1)  # a laptop slept, and nobody took the job away
        assert heartbeat(session, **beat, moment=late) == ""
        assert request_pause(session, job_id=1).state == "running"
        assert heartbeat(session, **beat, moment=late) == "pause"
        request_cancel(session, job_id=1)
        request_pause(session, job_id=1)
        assert heartbeat(session, **beat, moment=late) == "cancel"
        job = get_job(session, job_id=1)
        assert job is not None and job.lease_until == late + timedelta(seconds=30)


def test_a_paused_job_goes_on_from_the_queue_under_a_new_token(engine: Engine) -> None:
    with transaction(engine) as session:
        queued(session)
        claimed(session)
        set_job_process(session, job_id=1, token=1, process_group=4321, process_started=1.0)
        request_pause(session, job_id=1)
        finish_job(session, job_id=1, token=1, state="paused")
        paused = get_job(session, job_id=1)
        assert paused is not None
        assert (paused.state, paused.slot, paused.request, paused.lease_until) == ("paused", None, "", None)
        assert requeue_job(session, job_id=1).state == "queued"
        again = claimed(session)
        assert (again.token, again.attempts, again.process_group, again.ended_at) == (2, 2, None, None)


def test_a_queued_job_is_paused_or_cancelled_at_once(engine: Engine) -> None:
    with transaction(engine) as session:
        queued(session)
        queued(session)
        assert request_pause(session, job_id=1).state == "paused"
        assert request_cancel(session, job_id=2).state == "cancelled"
        assert claim_job(session, **ONE_CPU) is None
        assert request_cancel(session, job_id=1).state == "cancelled"


def test_an_interrupted_job_frees_its_slot_and_its_process_writes_nothing_more(engine: Engine) -> None:
    with transaction(engine) as session:
        queued(session)
        queued(session)
        claimed(session)
        [silent] = running_jobs(session)
        assert silent.lease_until == NOON + timedelta(seconds=30)
        assert claim_job(session, **ONE_CPU) is None  # its process may live: the slot is still its own
        assert mark_interrupted(session, job_id=silent.id, token=silent.token, exit_reason="its process is gone")
        assert not mark_interrupted(session, job_id=silent.id, token=silent.token, exit_reason="twice")
        assert claimed(session).id == 2
        requeue_job(session, job_id=1)
        claimed(session, slots={"cpu": 2})
        assert not mark_interrupted(session, job_id=1, token=1, exit_reason="looked at before it was resumed")
    writes = [
        lambda session: heartbeat(session, job_id=1, token=1, lease_seconds=30),
        lambda session: set_job_progress(session, job_id=1, token=1, done=1),
        lambda session: set_job_process(session, job_id=1, token=1, process_group=1, process_started=1.0),
        lambda session: finish_job(session, job_id=1, token=1, state="done"),
    ]
    for write in writes:
        with pytest.raises(JobLostError, match="no longer this process's"), transaction(engine) as session:
            write(session)
    with reading(engine) as session:
        job = get_job(session, job_id=1)
        assert job is not None and (job.state, job.token, job.done) == ("running", 2, 0)


def interrupted(engine: Engine, *, done: int, most: int = 3) -> Job:
    """The one job is taken up when its time has come, gets so far, and its process dies."""
    with transaction(engine) as session:
        requeue_due_jobs(session, moment=now() + timedelta(hours=1))
        job = claimed(session)
        set_job_progress(session, job_id=1, token=job.token, done=done)
        retry = RetryPolicy(most, 10.0)
        assert mark_interrupted(session, job_id=1, token=job.token, exit_reason="its process is gone", retry=retry)
    with reading(engine) as session:
        found = get_job(session, job_id=1)
        assert found is not None
        return found


def test_an_interrupted_job_is_tried_again_later_and_later_until_it_gets_no_further(engine: Engine) -> None:
    with transaction(engine) as session:
        queued(session)
    waits = []
    for _ in range(3):
        job = interrupted(engine, done=7)
        assert job.state == "interrupted" and job.retry_at and job.ended_at
        assert job.exit_reason == f"its process is gone; it is tried again by itself at {job.retry_at:%H:%M:%S} UTC"
        waits.append(round((job.retry_at - job.ended_at).total_seconds()))
    assert waits == [10, 20, 40]
    further = interrupted(engine, done=8)
    assert further.retries == 1 and further.retry_at  # it got further: the count begins again
    for _ in range(2):
        assert interrupted(engine, done=8).retry_at
    given_up = interrupted(engine, done=5)  # what a try says at its beginning is less, and no step further
    assert (given_up.retry_at, given_up.state) == (None, "interrupted")
    assert given_up.exit_reason == "its process is gone; it was tried again 3 times and got no further: resume it"
    with transaction(engine) as session:
        assert not any_job_due(session, moment=now() + timedelta(days=1)) and busy_devices(session) == set()
        assert requeue_job(session, job_id=1).retries == 0
        assert busy_devices(session) == {"cpu"}
    assert interrupted(engine, done=8).retry_at  # a person asked for it: as often again


def test_a_job_is_tried_again_when_its_time_has_come_and_not_sooner(engine: Engine) -> None:
    with transaction(engine) as session:
        queued(session)
    at = interrupted(engine, done=0).retry_at
    assert at is not None
    with transaction(engine) as session:
        before = at - timedelta(seconds=1)
        assert not any_job_due(session, moment=before) and requeue_due_jobs(session, moment=before) == []
        assert busy_devices(session) == {"cpu"}
        assert any_job_due(session, moment=at) and requeue_due_jobs(session, moment=at) == [1]
        job = get_job(session, job_id=1)
        assert job is not None and (job.state, job.retry_at, job.ended_at) == ("queued", None, None)
    never = interrupted(engine, done=0, most=0)
    assert (never.retry_at, never.exit_reason) == (None, "its process is gone: resume it")


def test_a_job_that_a_person_stopped_is_not_tried_again(engine: Engine) -> None:
    with transaction(engine) as session:
        queued(session)
        claimed(session)
        request_pause(session, job_id=1)
        retry = RetryPolicy(3, 10.0)
        assert mark_interrupted(session, job_id=1, token=1, exit_reason="its process is gone", retry=retry)
        job = get_job(session, job_id=1)
        assert job is not None and (job.state, job.retry_at) == ("paused", None)
        requeue_job(session, job_id=1)
    assert interrupted(engine, done=0).retry_at
    with transaction(engine) as session:
        cancelled = request_cancel(session, job_id=1)
        assert (cancelled.state, cancelled.retry_at) == ("cancelled", None)


def test_a_job_that_was_told_to_stop_and_died_is_cancelled(engine: Engine) -> None:
    with transaction(engine) as session:
        queued(session)
        claimed(session)
        request_cancel(session, job_id=1)
        assert mark_interrupted(session, job_id=1, token=1, exit_reason="its process is gone")
        job = get_job(session, job_id=1)
        assert job is not None and (job.state, job.slot, job.request) == ("cancelled", None, "")


def test_a_job_ends_once_with_its_reason(engine: Engine) -> None:
    with transaction(engine) as session:
        queued(session)
        claimed(session)
        for _ in range(2):  # the second time the answer to the first commit was lost
            finish_job(session, job_id=1, token=1, state="failed", exit_reason="memory: take a smaller batch")
        job = get_job(session, job_id=1)
        assert job is not None and job.ended_at is not None
        assert (job.state, job.exit_reason, job.slot) == ("failed", "memory: take a smaller batch", None)
        with pytest.raises(JobLostError, match="job 1 is failed"):
            finish_job(session, job_id=1, token=1, state="done")
        with pytest.raises(ValueError, match="expected done, failed, cancelled or paused, got 'queued'"):
            finish_job(session, job_id=1, token=1, state="queued")


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (request_pause, "job 1 is done: only a queued or running job can be paused"),
        (request_cancel, "job 1 is done: only a job that has not ended can be cancelled"),
        (requeue_job, "job 1 is done: only a failed, cancelled, paused, interrupted one can be queued again"),
    ],
)
def test_what_a_finished_job_cannot_do_is_said(engine: Engine, ask: Any, sentence: str) -> None:
    with transaction(engine) as session:
        queued(session)
        claimed(session)
        finish_job(session, job_id=1, token=1, state="done")
        with pytest.raises(JobStateError, match=sentence):
            ask(session, job_id=1)
        with pytest.raises(JobStateError, match="expected the id of a job, got 99"):
            ask(session, job_id=99)


def test_pages_of_jobs_are_newest_first_and_filtered(engine: Engine) -> None:
    with transaction(engine) as session:
        for n in range(7):
            queued(session, owner="ada" if n % 2 else "bob", kind="train" if n == 3 else "annotate")
        claimed(session)
    with reading(engine) as session:
        first = job_page(session, limit=3)
        rest = job_page(session, before=first[-1].id)
        assert [job.id for job in [*first, *rest]] == [7, 6, 5, 4, 3, 2, 1]
        assert [job.id for job in job_page(session, owner="ada")] == [6, 4, 2]
        assert [job.id for job in job_page(session, owner="ada", kind="train")] == [4]
        assert [job.id for job in job_page(session, states=("running", "paused"))] == [1]
        assert list(job_page(session, owner="nobody")) == []


@pytest.mark.parametrize(("name", "value"), [("config", {"dataset": "other"}), ("argv", ["rm"])])
def test_what_a_job_was_asked_cannot_change(engine: Engine, name: str, value: Any) -> None:
    with transaction(engine) as session:
        queued(session)
    with pytest.raises(ValueError, match=f"{name} of Job 1 cannot change"), transaction(engine) as session:
        setattr(get_job(session, job_id=1), name, value)


def test_a_job_waits_for_all_that_it_comes_after(engine: Engine) -> None:
    with transaction(engine) as session:
        one, other = queued(session), queued(session)
        job_id = queued(session, after=[one, other], priority=9)
        for first in (other, one):  # the later one is done first
            assert claimed(session, slots={"cpu": 3}).id == (one if first == other else other)
        finish_job(session, job_id=other, token=1, state="done")
        assert claim_job(session, **(ONE_CPU | {"slots": {"cpu": 3}})) is None
        assert [job.id for job in jobs_before(session, job_id=job_id)] == [one]
        finish_job(session, job_id=one, token=1, state="done")
        assert claimed(session, slots={"cpu": 3}).id == job_id and not jobs_before(session, job_id=job_id)


@pytest.mark.parametrize(("end", "said"), [("fail", "failed (the disk is full)"), ("cancel", "was cancelled")])
def test_what_waits_for_a_job_that_failed_or_was_cancelled_fails_with_it(engine: Engine, end: str, said: str) -> None:
    with transaction(engine) as session:
        first = queued(session, kind="data")
        second = queued(session, after=[first], kind="train")
        third, paused, other = queued(session, after=[second]), queued(session, after=[first]), queued(session)
        request_pause(session, job_id=paused)
        if end == "fail":
            claimed(session)
            finish_job(session, job_id=first, token=1, state="failed", exit_reason="the disk is full")
        else:
            request_cancel(session, job_id=first)
        jobs = {each.id: each for each in job_page(session)}
        assert jobs[second].state == jobs[third].state == "failed" and jobs[other].state == "queued"
        assert jobs[second].exit_reason == f"data {first}, which this waits for, {said}: resume that, then this"
        assert jobs[third].exit_reason == jobs[second].exit_reason  # where the trouble is
        for waiting, before in ((second, f"data {first}"), (paused, f"data {first}"), (third, f"train {second}")):
            with pytest.raises(JobStateError, match=f"{before}, which this waits for, .*: resume that, then this"):
                requeue_job(session, job_id=waiting)
        requeue_job(session, job_id=first)
        requeue_job(session, job_id=second)
        assert [job.id for job in jobs_before(session, job_id=second)] == [first]


def test_a_job_that_is_queued_after_one_that_ended_badly_has_failed(engine: Engine) -> None:
    with transaction(engine) as session:
        first = queued(session, kind="data")
        request_cancel(session, job_id=first)
        job = get_job(session, job_id=queued(session, after=[first]))
        assert job is not None and job.state == "failed"
        assert job.exit_reason == f"data {first}, which this waits for, was cancelled: resume that, then this"
