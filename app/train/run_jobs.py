"""Find the training jobs and say which kinds of jobs the Train page queues."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.services import Services
from db.engine import reading
from db.models import Job
from db.queries.job_queries import job_page

TRAIN, DATA, DRY, KEEP = "train", "data", "preflight", "keep"  # kinds of jobs
SOONER = 10  # priority of what somebody waits for at the page


def run_jobs(services: Services, limit: int) -> Sequence[Job]:
    """Return the jobs of the latest runs, newest first."""
    with reading(services.engine) as session:
        return job_page(session, kind=TRAIN, limit=limit)


def name_of(job: Job) -> str:
    """Return the name of a job's run."""
    return str(job.config["train"]["name"])


def folder_of(job: Job) -> Path:
    """Return the folder that a job's run writes to."""
    return Path(job.config["train"]["out"])


def name_taken(name: str) -> str:
    """Return the sentence for a run whose name is in use."""
    return f"There is a run {name} already: choose another name, or resume that one."
