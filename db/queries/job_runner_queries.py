"""Run jobs: take one from the queue, report how far it is, end it, take it from a process that is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import exists
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from db.models import Job, JobRequest, JobState, now
from db.queries.job_queries import end_job, lock_job
from db.queries.values import storable

CLAIM_LOCK = 0x4A4F_4253  # any number: on PostgreSQL one process at a time counts the free slots and takes one


class JobLostError(RuntimeError):
    """The writer no longer has the job: it was taken away, given to another or ended."""


def ready_jobs(session: Session, *, limit: int = 1000) -> Sequence[Job]:
    """Return the queued jobs that wait for nothing but a slot, in the order in which they are taken."""
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
) -> JobRequest:
    """Renew a job's lease and return what was requested of it.

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
    """Store a job's progress.

    Args:   total: 0 while unknown. message: where it is, for people.
    Raises: JobLostError: the token is not the present one.
    """
    job = _held(session, job_id, token)
    job.done, job.total, job.message = done, total, storable(message)
    session.flush()


def finish_job(session: Session, *, job_id: int, token: int, state: JobState, exit_reason: str = "") -> None:
    """End a running job and free its slot. Again under the same token does nothing: `retrying` may repeat it.

    Args:   state: done, failed, cancelled or paused.
    Raises: JobLostError: the token is not the present one.
            ValueError: a job does not end in that state.
    """
    if state not in ("done", "failed", "cancelled", "paused"):
        raise ValueError(f"expected done, failed, cancelled or paused, got {state!r}")
    job = lock_job(session, job_id)
    if (job.token, job.state) != (token, state):
        end_job(_held(session, job_id, token), state, exit_reason)
    session.flush()


def hand_over_job(session: Session, *, job_id: int, token: int) -> bool:
    """Queue a job whose work goes on elsewhere again, for another runner to find it by `external_id`.

    What was asked of it stays asked. False when the job has moved on since it was looked at.
    """
    job = lock_job(session, job_id)
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
    job = lock_job(session, job_id)
    if job.state != "running" or job.token != token:
        return False
    end_job(job, "cancelled" if job.request == "cancel" else "interrupted", exit_reason)
    session.flush()
    return True


def _ready() -> SelectOfScalar[Job]:
    before = aliased(Job)
    done_first = exists().where(col(before.id) == Job.after_id, col(before.state) != "done")
    asked = select(Job).where(Job.state == "queued", ~done_first)
    return asked.order_by(col(Job.priority).desc(), col(Job.id))


def _first_free(free: set[int], width: int) -> int | None:
    """Return the first of `width` free slots in a row."""
    return next((slot for slot in sorted(free) if free.issuperset(range(slot, slot + width))), None)


def _held(session: Session, job_id: int, token: int) -> Job:
    job = lock_job(session, job_id)
    if job.state != "running" or job.token != token:
        raise JobLostError(f"job {job_id} is {job.state} and no longer this process's: stop without writing")
    return job
