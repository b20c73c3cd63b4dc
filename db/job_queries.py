"""Questions about jobs, by name. Habits as in db/queries.py.

queued -> running -> done | failed | cancelled | paused | interrupted; the last four can be queued again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from db.models import Job, JobState, Request, now
from db.queries import storable

CLAIM_LOCK = 0x4A4F_4253  # any number: on PostgreSQL one process at a time counts the free slots and takes one
OVER: tuple[JobState, ...] = ("failed", "cancelled", "paused", "interrupted")  # can be queued again


class JobLostError(RuntimeError):
    """The writer no longer has the job: it was taken away, given to another or ended."""


class JobStateError(ValueError):
    """The job cannot do that from where it is; the message is one sentence that says what it can."""


def enqueue_job(
    session: Session,
    *,
    kind: str,
    owner: str,
    config: Mapping[str, Any],
    argv: Sequence[str],
    device: str = "cpu",
    priority: int = 0,
    backend: str = "local",
    width: int = 1,
    after: int | None = None,
) -> Job:
    """Put work in the queue; its id is the link.

    Args:   config: plain JSON, kept as it is now. argv: word by word, never a shell's line. device: what it needs
            `width` slots of, in a row. priority: the larger goes first; among equals the older. after: id of the job
            that must be done first.
    Raises: ValueError: argv is empty, one string, or has a word that no program can be given; or no slot is wanted.
    """
    if width < 1:
        raise ValueError(f"expected a job to want one slot or more, got {width}: correct it")
    if not argv or isinstance(argv, str) or any(not isinstance(word, str) or "\0" in word for word in argv):
        raise ValueError(f"expected argv to be the words of a command, program first, got {argv!r}: list them")
    job = Job(
        kind=kind,
        owner=owner,
        config=dict(config),
        argv=list(argv),
        device=device,
        priority=priority,
        backend=backend,
        width=width,
        after_id=after,
    )
    session.add(job)
    session.flush()
    return job


def get_job(session: Session, *, job_id: int) -> Job | None:
    """One job; None when there is none of that id."""
    return session.get(Job, job_id)


def job_page(
    session: Session,
    *,
    owner: str | None = None,
    kind: str | None = None,
    states: Collection[JobState] = (),
    before: int | None = None,
    limit: int = 50,
) -> Sequence[Job]:
    """Jobs, newest first; of one owner, of one kind, in any of some states.

    Args:   before: id of the last job of the page before.
    """
    asked = select(Job)
    if owner is not None:
        asked = asked.where(Job.owner == owner)
    if kind is not None:
        asked = asked.where(Job.kind == kind)
    if states:
        asked = asked.where(col(Job.state).in_(states))
    if before is not None:
        asked = asked.where(Job.id < before)
    return session.exec(asked.order_by(col(Job.id).desc()).limit(limit)).all()


def running_jobs(session: Session) -> Sequence[Job]:
    """All jobs that say they run: what the app compares with the processes there are when it starts."""
    return session.exec(select(Job).where(Job.state == "running").order_by(col(Job.id))).all()


def ready_jobs(session: Session, *, limit: int = 1000) -> Sequence[Job]:
    """The queued jobs that wait for nothing but a slot, in the order in which they are taken."""
    return session.exec(_ready().limit(limit)).all()


def claim_job(
    session: Session,
    *,
    slots: Mapping[str, int],
    worker: str,
    lease_seconds: float,
    moment: datetime | None = None,
) -> Job | None:
    """Take the next job whose device has the free slots that it wants, and these; None when there is none.

    A running job keeps its slots until it is finished or marked interrupted, since its process may live. The first job
    of a device's queue is never overtaken by a narrower one, or a wide one would wait for ever.

    Args:   slots: device -> how many jobs may run on it at a time; a device without an entry has none.
            moment: what counts as now.
    """
    moment = moment or now()
    if session.get_bind().dialect.name == "postgresql":
        session.connection().exec_driver_sql(f"SELECT pg_advisory_xact_lock({CLAIM_LOCK})")
    taken: dict[str, set[int]] = {device: set() for device in slots}
    for device, slot, width in session.exec(select(Job.device, Job.slot, Job.width).where(Job.state == "running")):
        taken.setdefault(device, set()).update(range(slot or 0, (slot or 0) + width))
    found: list[tuple[Job, int]] = []
    for device, count in slots.items():
        # locked, since somebody may be cancelling it at this moment
        queue = _ready().where(Job.device == device).limit(1).with_for_update(of=Job)
        first = session.exec(queue.execution_options(populate_existing=True)).first()
        slot = _first_free(set(range(count)) - taken[device], first.width) if first else None
        found += [(first, slot)] if first and slot is not None else []
    if not found:
        return None
    job, slot = min(found, key=lambda each: (-each[0].priority, each[0].id))
    job.state, job.worker, job.slot = "running", worker, slot
    job.token += 1
    job.attempts += 1
    job.started_at = job.heartbeat_at = moment
    job.lease_until = moment + timedelta(seconds=lease_seconds)
    job.ended_at, job.exit_reason = None, ""
    job.process_group = job.process_started = None
    session.flush()
    return job


def set_job_process(
    session: Session,
    *,
    job_id: int,
    token: int,
    process_group: int | None = None,
    process_started: float | None = None,
    external_id: str = "",
) -> None:
    """Note which process, or which job of the backend, does the work.

    Args:   process_started: seconds since 1970, as the system tells it.
    Raises: JobLostError: the token is not the present one.
    """
    job = _held(session, job_id, token)
    job.process_group, job.process_started, job.external_id = process_group, process_started, external_id
    session.flush()


def heartbeat(
    session: Session, *, job_id: int, token: int, lease_seconds: float, moment: datetime | None = None
) -> Request:
    """Say that the job lives, and hear what was asked of it.

    A late one is welcome as long as nobody took the job away meanwhile: a laptop may have slept.

    Returns: "", "pause" or "cancel".
    Raises:  JobLostError: the token is not the present one; stop working.
    """
    moment = moment or now()
    job = _held(session, job_id, token)
    job.heartbeat_at, job.lease_until = moment, moment + timedelta(seconds=lease_seconds)
    session.flush()
    return job.request


def set_job_progress(
    session: Session, *, job_id: int, token: int, done: int, total: int = 0, message: str = ""
) -> None:
    """Say how far the job is.

    Args:   total: 0 while unknown. message: where it is, for people.
    Raises: JobLostError: the token is not the present one.
    """
    job = _held(session, job_id, token)
    job.done, job.total, job.message = done, total, storable(message)
    session.flush()


def finish_job(session: Session, *, job_id: int, token: int, state: JobState, exit_reason: str = "") -> None:
    """End a running job and free its slot. The same again under the same token does nothing: `retrying` may repeat it.

    Args:   state: done, failed, cancelled or paused.
    Raises: JobLostError: the token is not the present one.
            ValueError: a job does not end in that state.
    """
    if state not in ("done", "failed", "cancelled", "paused"):
        raise ValueError(f"expected done, failed, cancelled or paused, got {state!r}")
    job = _locked(session, job_id)
    if (job.token, job.state) != (token, state):
        _end(_held(session, job_id, token), state, exit_reason)
    session.flush()


def request_pause(session: Session, *, job_id: int) -> Job:
    """Ask a running job to stop where it can go on later; a queued one is paused at once.

    Raises: JobStateError: it is over, or there is none of that id.
    """
    job = _locked(session, job_id)
    if job.state == "running":
        job.request = job.request or "pause"  # who was told to stop for good does not merely pause
    elif job.state == "queued":
        _end(job, "paused", "")
    else:
        raise JobStateError(f"job {job_id} is {job.state}: only a queued or running job can be paused")
    session.flush()
    return job


def request_cancel(session: Session, *, job_id: int) -> Job:
    """Ask a running job to stop for good; one that does not run is cancelled at once.

    Raises: JobStateError: it has ended, or there is none of that id.
    """
    job = _locked(session, job_id)
    if job.state == "running":
        job.request = "cancel"
    elif job.state in ("queued", "interrupted") and job.external_id:  # it may go on elsewhere: a runner ends it there
        job.state, job.request, job.exit_reason, job.ended_at = "queued", "cancel", "", None
    elif job.state in ("queued", "paused", "interrupted"):
        _end(job, "cancelled", "cancelled before it ran on")
    else:
        raise JobStateError(f"job {job_id} is {job.state}: only a job that has not ended can be cancelled")
    session.flush()
    return job


def requeue_job(session: Session, *, job_id: int) -> Job:
    """Resume or retry: back into the queue, to go on from what it had kept.

    Raises: JobStateError: it is queued, running or done, or there is none of that id.
    """
    job = _locked(session, job_id)
    if job.state not in OVER:
        raise JobStateError(f"job {job_id} is {job.state}: only a {', '.join(OVER)} one can be queued again")
    if job.state != "interrupted":
        job.external_id = ""  # what it names is over; else a runner finds it again by that
    job.state, job.request, job.exit_reason, job.ended_at = "queued", "", "", None
    session.flush()
    return job


def set_job_priority(session: Session, *, job_id: int, priority: int) -> Job:
    """Let a queued job go earlier (larger) or later.

    Raises: JobStateError: it is not queued, or there is none of that id.
    """
    job = _locked(session, job_id)
    if job.state != "queued":
        raise JobStateError(f"job {job_id} is {job.state}: only a queued one has a place in the queue")
    job.priority = priority
    session.flush()
    return job


def hand_over_job(session: Session, *, job_id: int, token: int) -> bool:
    """Put a job whose work goes on elsewhere back in the queue, for another runner to find it again by `external_id`.

    What was asked of it stays asked. False when the job has moved on since it was looked at.
    """
    job = _locked(session, job_id)
    if job.state != "running" or job.token != token:
        return False
    job.state, job.slot, job.lease_until = "queued", None, None
    session.flush()
    return True


def mark_interrupted(session: Session, *, job_id: int, token: int, exit_reason: str) -> bool:
    """Take a job from a process that is gone; False when the job has moved on since it was looked at.

    One that was asked to cancel is cancelled thereby. Should the process live after all, it writes nothing more.

    Args:   token: the job's, as read when its process was looked for.
    """
    job = _locked(session, job_id)
    if job.state != "running" or job.token != token:
        return False
    _end(job, "cancelled" if job.request == "cancel" else "interrupted", exit_reason)
    session.flush()
    return True


def overdue_jobs(session: Session, *, moment: datetime | None = None) -> Sequence[Job]:
    """Running jobs that have not been heard of in time, the longest silent first: candidates for `mark_interrupted`."""
    silent = select(Job).where(Job.state == "running", col(Job.lease_until) < (moment or now()))
    return session.exec(silent.order_by(col(Job.lease_until))).all()


def _ready() -> SelectOfScalar[Job]:
    before = aliased(Job)
    done_first = exists().where(col(before.id) == Job.after_id, col(before.state) != "done")
    asked = select(Job).where(Job.state == "queued", ~done_first)
    return asked.order_by(col(Job.priority).desc(), col(Job.id))


def _first_free(free: set[int], width: int) -> int | None:
    """The first of `width` free slots in a row."""
    return next((slot for slot in sorted(free) if free.issuperset(range(slot, slot + width))), None)


def _end(job: Job, state: JobState, exit_reason: str) -> None:
    job.state, job.exit_reason, job.ended_at = state, storable(exit_reason), now()
    job.request, job.slot, job.lease_until = "", None, None


def _locked(session: Session, job_id: int) -> Job:
    """The job as it is now, kept from other writers until the transaction ends."""
    asked = select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True)
    job = session.exec(asked).first()
    if job is None:
        raise JobStateError(f"expected the id of a job, got {job_id}: job_page lists them")
    return job


def _held(session: Session, job_id: int, token: int) -> Job:
    job = _locked(session, job_id)
    if job.state != "running" or job.token != token:
        raise JobLostError(f"job {job_id} is {job.state} and no longer this process's: stop without writing")
    return job
