"""Queue jobs and read them; ask them to pause, cancel or resume.

queued -> running -> done | failed | cancelled | paused | interrupted; the last four can be queued again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import or_
from sqlmodel import Session, col, select, update

from db.models import Job, JobState, JobWait, now
from db.queries.selectivity import on_postgresql
from db.queries.values import check_command, storable
from user_errors import UserError

IN_PROGRESS: tuple[JobState, ...] = ("queued", "running")
UNFINISHED: tuple[JobState, ...] = (*IN_PROGRESS, "paused", "interrupted")  # goes on by itself, or once it is resumed
BADLY: tuple[JobState, ...] = ("failed", "cancelled")  # what waits for one that ended so has failed too
OVER: tuple[JobState, ...] = ("failed", "cancelled", "paused", "interrupted")  # can be queued again
ONCE_LOCK = 0x4F4E_4345  # any number: one process at a time looks for a job and queues it where there is none


class JobStateError(UserError):
    """A job cannot do that from its state; the message says what it can."""


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
    after: Collection[int] = (),
) -> Job:
    """Put a job in the queue; its id is the link. It has failed at once where one of `after` ended badly already.

    Args:   config: plain JSON, kept as it is now. argv: word by word, never a shell's line. device: what it needs
            `width` slots of, in a row. priority: the larger goes first; among equals the older. after: ids of the
            jobs that must be done first.
    Raises: UserError: no program can be given a word. ValueError: argv is empty or one string, or no slot is wanted.
    """
    if width < 1:
        raise ValueError(f"expected a job to want one slot or more, got {width}: correct it")
    if not argv or isinstance(argv, str) or any(not isinstance(word, str) for word in argv):
        raise ValueError(f"expected argv to be the words of a command, program first, got {argv!r}: list them")
    check_command(argv)
    job = Job(
        kind=kind,
        owner=owner,
        config=dict(config),
        argv=list(argv),
        device=device,
        priority=priority,
        backend=backend,
        width=width,
    )
    session.add(job)
    session.flush()
    before = [lock_job(session, before_id) for before_id in sorted(set(after))]
    session.add_all(JobWait(job_id=job.id, before_id=each.id) for each in before)
    for each in before:
        if each.state in BADLY:
            end_job(session, job, state="failed", exit_reason=_waits_in_vain(each))
    session.flush()
    return job


def job_under_way(session: Session, *, kind: str, config: Mapping[str, Any]) -> Job | None:
    """Return the job of a kind and settings that waits, runs or will be tried again; None where there is none.

    Who queues one where there is none takes a turn of ONCE_LOCK first.
    """
    going_on = or_(col(Job.state).in_(IN_PROGRESS), col(Job.retry_at).is_not(None))
    jobs = session.exec(select(Job).where(Job.kind == kind, going_on).order_by(col(Job.id)))
    return next((job for job in jobs if job.config == config), None)


def take_turns(session: Session, number: int) -> None:
    """Wait until no other transaction holds a number, and hold it to the end; on SQLite writers always take turns."""
    if on_postgresql(session):
        session.connection().exec_driver_sql(f"SELECT pg_advisory_xact_lock({number})")


def get_job(session: Session, *, job_id: int) -> Job | None:
    """Return one job; None when there is none of that id."""
    return session.get(Job, job_id)


def jobs_before(session: Session, *, job_id: int) -> Sequence[Job]:
    """Return the jobs that a job waits for and that are not done, oldest first."""
    waits = select(JobWait.before_id).where(JobWait.job_id == job_id)
    return session.exec(select(Job).where(col(Job.id).in_(waits), Job.state != "done").order_by(col(Job.id))).all()


def job_page(
    session: Session,
    *,
    owner: str | None = None,
    kind: str | None = None,
    states: Collection[JobState] = (),
    before: int | None = None,
    limit: int = 50,
) -> Sequence[Job]:
    """Return jobs, newest first; of one owner, of one kind, in any of some states.

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


def is_about(job: Job, *, dataset: str, made: datetime | None) -> bool:
    """Return whether a job is about a data set: one that ended before that was made was about another of its name.

    Args:   made: when the data set was made; None where there is none yet.
    """
    over = job.ended_at is not None and made is not None and job.ended_at < made
    return job.config.get("dataset") == dataset and not over


def rename_in_jobs(session: Session, *, before: str, made: datetime, name: str) -> None:
    """Have the jobs about a data set name it by its new name, in what would run again, too."""
    for job in session.exec(select(Job).where(col(Job.config)["dataset"].as_string() == before)):
        if is_about(job, dataset=before, made=made):
            argv = [f"--dataset={name}" if word == f"--dataset={before}" else word for word in job.argv]
            renamed = {"config": {**job.config, "dataset": name}, "argv": argv}
            # a statement of its own: rows refuse any other change of what a job is
            session.connection().execute(update(Job).where(col(Job.id) == job.id).values(renamed))
            session.expire(job)


def running_jobs(session: Session) -> Sequence[Job]:
    """Return all jobs in state running, for the app to compare with the processes there are when it starts."""
    return session.exec(select(Job).where(Job.state == "running").order_by(col(Job.id))).all()


def request_pause(session: Session, *, job_id: int) -> Job:
    """Ask a running job to stop where it can go on later; a queued one is paused at once, unless its work goes on.

    Raises: JobStateError: it is over, or there is none of that id.
    """
    job = lock_job(session, job_id)
    if job.state == "running":
        job.request = job.request or "pause"  # who was told to stop for good does not merely pause
    elif job.state == "queued" and job.external_id:  # it may go on elsewhere: a runner stops it there
        job.request = job.request or "pause"
    elif job.state == "queued":
        end_job(session, job, state="paused", exit_reason="")
    else:
        raise JobStateError(f"job {job_id} is {job.state}: only a queued or running job can be paused")
    session.flush()
    return job


def request_cancel(session: Session, *, job_id: int) -> Job:
    """Ask a running job to stop for good; one that does not run is cancelled at once.

    Raises: JobStateError: it has ended, or there is none of that id.
    """
    job = lock_job(session, job_id)
    if job.state == "running":
        job.request = "cancel"
    elif job.state in ("queued", "interrupted") and job.external_id:  # it may go on elsewhere: a runner ends it there
        job.state, job.request, job.exit_reason, job.ended_at = "queued", "cancel", "", None
        job.retry_at = None
    elif job.state in ("queued", "paused", "interrupted"):
        end_job(session, job, state="cancelled", exit_reason="cancelled before it ran on")
    else:
        raise JobStateError(f"job {job_id} is {job.state}: only a job that has not ended can be cancelled")
    session.flush()
    return job


def requeue_job(session: Session, *, job_id: int) -> Job:
    """Queue a job again, to resume from its last checkpoint.

    Raises: JobStateError: it is queued, running or done, waits for one that ended badly, or there is none of that id.
    """
    job = lock_job(session, job_id)
    if job.state not in OVER:
        raise JobStateError(f"job {job_id} is {job.state}: only a {', '.join(OVER)} one can be queued again")
    for before in jobs_before(session, job_id=job_id):
        if lock_job(session, before.id).state in BADLY:
            raise JobStateError(_waits_in_vain(before))
    job.state, job.request, job.exit_reason, job.ended_at = "queued", "", "", None
    job.retries, job.retry_at = 0, None
    session.flush()
    return job


def set_job_priority(session: Session, *, job_id: int, priority: int) -> Job:
    """Let a queued job go earlier (larger) or later.

    Raises: JobStateError: it is not queued, or there is none of that id.
    """
    job = lock_job(session, job_id)
    if job.state != "queued":
        raise JobStateError(f"job {job_id} is {job.state}: only a queued one has a place in the queue")
    job.priority = priority
    session.flush()
    return job


def end_job(session: Session, job: Job, *, state: JobState, exit_reason: str) -> None:
    """Set a job's last state and free its slot. What is queued after it has failed if it ended badly.

    Work on a cluster is over with it, except where nobody can say what became of an interrupted job.
    """
    _set_end(job, state, exit_reason)
    session.flush()
    ended = [job] if state in BADLY else []
    for each in ended:  # and what waits for those that fail thereby
        waits = select(JobWait.job_id).where(JobWait.before_id == each.id)
        queue = select(Job).where(col(Job.id).in_(waits), Job.state == "queued").order_by(col(Job.id))
        for waiting in session.exec(queue.with_for_update().execution_options(populate_existing=True)).all():
            _set_end(waiting, "failed", _waits_in_vain(job))
            ended.append(waiting)
        session.flush()


def _set_end(job: Job, state: JobState, exit_reason: str) -> None:
    job.state, job.exit_reason, job.ended_at = state, storable(exit_reason), now()
    job.request, job.slot, job.lease_until, job.retry_at = "", None, None, None
    if state != "interrupted":
        job.external_id = ""


def _waits_in_vain(before: Job) -> str:
    """Return why a job fails that waits for one that ended badly; no full stop."""
    reason = f" ({before.exit_reason.rstrip('.')})" if before.state == "failed" and before.exit_reason else ""
    ended = f"failed{reason}" if before.state == "failed" else "was cancelled"
    return f"{before.kind} {before.id}, which this waits for, {ended}: resume that, then this"


def lock_job(session: Session, job_id: int) -> Job:
    """Lock and return a job as it is now."""
    asked = select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True)
    job = session.exec(asked).first()
    if job is None:
        raise JobStateError(f"expected the id of a job, got {job_id}: job_page lists them")
    return job
