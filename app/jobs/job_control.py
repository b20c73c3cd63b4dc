"""Let a person control a job: pause, resume, cancel, sooner, later. Only the person who queued it or an admin may."""

from __future__ import annotations

from collections.abc import Callable

from app.access.accounts import Person
from app.jobs.control import Jobs
from user_errors import UserError


def control_job(jobs: Jobs, person: Person, job_id: int, *, what: str) -> None:
    """Pause, resume or cancel a job, or let it go sooner or later.

    Raises: UserError: there is no such job, it is somebody else's, or it cannot do that from where it is.
    """
    job = jobs.get(job_id)
    if job is None:
        raise UserError(f"There is no job {job_id}: choose one of the list.")
    if person.role != "admin" and person.name != job.owner:
        raise UserError(f"Job {job_id} is {job.owner}'s: only {job.owner} or an admin may {what[:20]} it.")
    priority = job.priority
    controls: dict[str, Callable[[], object]] = {
        "pause": lambda: jobs.pause(job_id),
        "resume": lambda: jobs.resume(job_id),
        "cancel": lambda: jobs.cancel(job_id),
        "sooner": lambda: jobs.prefer(job_id, priority + 1),
        "later": lambda: jobs.prefer(job_id, priority - 1),
    }
    if what not in controls:
        raise UserError(f"A job cannot {what[:20]!r}: press one of its buttons.")
    controls[what]()
