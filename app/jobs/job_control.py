"""Let a person control a job: pause, resume, cancel, sooner, later. Only the person who queued it or an admin may."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from app.access.accounts import Person
from app.jobs.control import Jobs
from db.models import Job, JobState
from db.queries.job_queries import IN_PROGRESS, JobStateError
from user_errors import UserError

OUTCOMES: Mapping[str, Sequence[JobState]] = {"pause": ("paused",), "resume": IN_PROGRESS, "cancel": ("cancelled",)}
"""Where a job is once it was controlled so: pressed again, a button asks for what is so already."""


def control_job(jobs: Jobs, person: Person, job_id: int, *, what: str) -> None:
    """Pause, resume or cancel a job, or let it go sooner or later. Pressed twice, a button does as much as once.

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
    try:
        controls[what]()
    except JobStateError:
        if not _is_so(jobs.get(job_id), what):
            raise


def _is_so(job: Job | None, what: str) -> bool:
    """Tell whether a job is where a control would bring it, and is not on its way out of there."""
    return job is not None and job.state in OUTCOMES.get(what, ()) and not job.request
