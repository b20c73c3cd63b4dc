"""What a person asks of a job: pause, resume, cancel, earlier, later. Only whoever queued it or an admin may."""

from __future__ import annotations

from collections.abc import Callable

from app.accounts import Person
from app.looking import sentence
from app.services import Services
from db.job_queries import JobStateError


class SteeringError(ValueError):
    """A job cannot do what was asked of it; one sentence for the person."""


def steer(services: Services, person: Person, job_id: int, what: str) -> None:
    """Ask it.

    Raises: SteeringError: there is no such job, it is somebody else's, or it cannot do that from where it is.
    """
    jobs = services.jobs
    job = jobs.get(job_id)
    if job is None:
        raise SteeringError(f"There is no job {job_id}: choose one of the list.")
    if person.role != "admin" and person.name != job.owner:
        raise SteeringError(f"Job {job_id} is {job.owner}'s: only {job.owner} or an admin may {what[:20]} it.")
    priority = job.priority
    asks: dict[str, Callable[[], object]] = {
        "pause": lambda: jobs.pause(job_id),
        "resume": lambda: jobs.resume(job_id),
        "cancel": lambda: jobs.cancel(job_id),
        "sooner": lambda: jobs.prefer(job_id, priority + 1),
        "later": lambda: jobs.prefer(job_id, priority - 1),
    }
    if what not in asks:
        raise SteeringError(f"A job cannot {what[:20]!r}: press one of its buttons.")
    try:
        asks[what]()
    except JobStateError as error:
        raise SteeringError(sentence(error)) from error
