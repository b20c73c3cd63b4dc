"""Run jobs: take one from the queue, report how far it is, end it, take it from a process that is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from db.models import Job, JobRequest, JobState, JobWait, now
from db.queries.job_queries import end_job, lock_job, take_turns
from db.queries.values import storable

CLAIM_LOCK = 0x4A4F_4253  # any number: on PostgreSQL one process at a time counts the free slots and takes one


LONGEST_WAIT_S = 300.0  # before an interrupted job is tried again


@dataclass(frozen=True)
class RetryPolicy:
    """The retries of an interrupted job.

    most: tries in a row of which none got further than the one before. first_wait_s: seconds before the first of them;
    twice as long before each further one.
    """

    most: int
    first_wait_s: float


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
    of a device's queue is never overtaken by a narrower one, or a wide one would wait for ever. One that wants more
    slots than the device has holds up nobody.

    Args:   slots: device -> how many jobs may run on it at a time; a device without an entry has none.
            moment: what counts as now.
    """
    moment = moment or now()
    take_turns(session, CLAIM_LOCK)
    taken: dict[str, set[int]] = {device: set() for device in slots}
    for device, slot, width in session.exec(select(Job.device, Job.slot, Job.width).where(Job.state == "running")):
        taken.setdefault(device, set()).update(range(slot or 0, (slot or 0) + width))
    found: list[tuple[Job, int]] = []
    for device, count in slots.items():
        # locked, since somebody may be cancelling it at this moment
        queue = _ready().where(Job.device == device, Job.width <= count).limit(1).with_for_update(of=Job)
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
        end_job(session, _held(session, job_id, token), state=state, exit_reason=exit_reason)
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


def mark_interrupted(
    session: Session,
    *,
    job_id: int,
    token: int,
    exit_reason: str,
    retry: RetryPolicy | None = None,
    work_over: bool = False,
) -> bool:
    """Take a job from a process that is gone; False when the job has moved on since it was looked at.

    One that was asked to cancel or to pause is cancelled or paused thereby, unless its work may go on elsewhere: then
    the next try asks for that again. Should the process live after all, it writes nothing more.

    Args:   token: the job's, as read when its process was looked for. exit_reason: a sentence without its full stop.
            retry: when it is tried again, which the reason then says; None: when a person resumes it.
            work_over: its work was seen to end; else that may go on where it has a name, which is kept.
    """
    job = lock_job(session, job_id)
    if job.state != "running" or job.token != token:
        return False
    if work_over:
        job.external_id = ""
    ends: Mapping[JobRequest, JobState] = {"cancel": "cancelled", "pause": "paused", "": "interrupted"}
    request = job.request
    state = "interrupted" if job.external_id else ends[request]
    end_job(session, job, state=state, exit_reason=exit_reason)
    if retry and state == "interrupted":
        _plan_retry(job, retry)
        job.request = request if job.retry_at else ""
    session.flush()
    return True


def any_job_due(session: Session, *, moment: datetime | None = None) -> bool:
    """Return whether `requeue_due_jobs` has something to do: asking takes no lock."""
    return session.exec(_due(moment).limit(1)).first() is not None


def requeue_due_jobs(session: Session, *, moment: datetime | None = None) -> list[int]:
    """Queue the interrupted jobs whose time to be tried again has come; return their ids.

    Args:   moment: what counts as now.
    """
    locked = _due(moment).with_for_update().execution_options(populate_existing=True)
    jobs = session.exec(locked).all()
    for job in jobs:
        job.state, job.retry_at, job.ended_at = "queued", None, None
    session.flush()
    return [job.id for job in jobs]


def busy_devices(session: Session) -> set[str]:
    """Return the devices of which a job runs, waits for nothing but a slot, or will be tried again."""
    running = select(Job.device).where(Job.state == "running")
    again = select(Job.device).where(Job.state == "interrupted", col(Job.retry_at).is_not(None))
    ready = {job.device for job in ready_jobs(session)}
    return ready.union(session.exec(running), session.exec(again))


def _ready() -> SelectOfScalar[Job]:
    before = aliased(Job)
    unfinished = select(JobWait.job_id).join(before, col(before.id) == JobWait.before_id).where(before.state != "done")
    waits = col(Job.id).in_(unfinished)
    asked = select(Job).where(Job.state == "queued", ~waits)
    return asked.order_by(col(Job.priority).desc(), col(Job.id))


def _plan_retry(job: Job, retry: RetryPolicy) -> None:
    """Decide when an interrupted job is tried again, and add that to its reason."""
    if job.done > job.retry_done:  # it got further than at its last end: the count begins again
        job.retries, job.retry_done = 0, job.done
    if job.retries >= retry.most:
        times = f"; it was tried again {retry.most} times and got no further" if retry.most else ""
        job.exit_reason += f"{times}: resume it"
        return
    wait_s = min(retry.first_wait_s * 2**job.retries, LONGEST_WAIT_S)
    job.retries += 1
    job.retry_at = now() + timedelta(seconds=wait_s)
    job.exit_reason += f"; it is tried again by itself at {job.retry_at:%H:%M:%S} UTC"


def _due(moment: datetime | None) -> SelectOfScalar[Job]:
    due = (Job.state == "interrupted", col(Job.retry_at) <= (moment or now()))
    return select(Job).where(*due).order_by(col(Job.id))


def _first_free(free: set[int], width: int) -> int | None:
    """Return the first of `width` free slots in a row."""
    return next((slot for slot in sorted(free) if free.issuperset(range(slot, slot + width))), None)


def _held(session: Session, job_id: int, token: int) -> Job:
    job = lock_job(session, job_id)
    if job.state != "running" or job.token != token:
        raise JobLostError(f"job {job_id} is {job.state} and no longer this process's: stop without writing")
    return job
