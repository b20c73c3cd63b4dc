"""List the latest jobs of some kinds: how far, how fast, what failed and why, and the buttons that control them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.services import Services
from app.ui.html import empty_state, render
from db.engine import reading
from db.models import Job
from db.queries.data_set_queries import get_dataset, list_datasets
from db.queries.job_queries import IN_PROGRESS, is_about, job_page, jobs_before
from db.queries.run_queries import FailureGroup, StageTally, failures_by_reason, run_of_job, run_tallies

MOST_JOBS, SEARCHED_JOBS = 8, 50
PUBLISHED = {"CC3M": (3_300_000, 600), "CC12M": (12_400_000, 2_200)}  # pictures, A40-hours (arXiv 2412.04429)
BUTTONS: Mapping[str, tuple[str, ...]] = {
    "queued": ("pause", "cancel"),
    "running": ("pause", "cancel"),
    "paused": ("resume", "cancel"),
    "interrupted": ("resume", "cancel"),
    "failed": ("resume",),
    "cancelled": ("resume",),
}


@dataclass(frozen=True)
class JobView:
    """A job with what its run has come to. waits_for: others that have to be done first and are not.

    obstacle: why a queued one will never begin here.
    """

    job: Job
    tallies: Sequence[StageTally]
    failures: Sequence[FailureGroup]
    waits_for: Sequence[Job] = ()
    obstacle: str = ""

    @property
    def buttons(self) -> tuple[str, ...]:
        """Return what a person may ask of it now."""
        return () if self.job.state == "running" and self.job.request else BUTTONS.get(self.job.state, ())


def dataset_names(services: Services) -> list[str]:
    """Return the names of all data sets."""
    with reading(services.engine) as session:
        return [dataset.name for dataset in list_datasets(session)]


def latest_jobs(
    services: Services, kinds: Sequence[str], *, dataset: str | None = None, most: int = MOST_JOBS
) -> list[JobView]:
    """Return the latest jobs of some kinds, newest first. A job whose process is dead is found out here.

    One that runs or waits is there before any that is over, however many came after it.

    Args: dataset: only those about it, among the latest SEARCHED_JOBS of each kind. most: how many.
    """
    services.jobs.reconcile()
    views = []
    with reading(services.engine) as session:
        limit = most if dataset is None else SEARCHED_JOBS
        pages = [(kind, states) for kind in kinds for states in (IN_PROGRESS, ())]
        jobs = {job.id: job for kind, some in pages for job in job_page(session, kind=kind, states=some, limit=limit)}
        found = get_dataset(session, name=dataset) if dataset is not None else None
        made = found.created_at if found else None
        mine = [job for job in jobs.values() if dataset is None or is_about(job, dataset=dataset, made=made)]
        mine.sort(key=lambda job: (job.state == "running", job.state == "queued", job.id), reverse=True)
        for job in sorted(mine[:most], key=lambda job: -job.id):
            run = run_of_job(session, job_id=job.id)
            tallies = run_tallies(session, run_id=run.id) if run else []
            failures = failures_by_reason(session, run_id=run.id, limit=5) if run else []
            queued = job.state == "queued"
            before = jobs_before(session, job_id=job.id) if queued else ()
            obstacle = services.jobs.obstacle(job.device, job.width) if queued else ""
            views.append(JobView(job, tallies, failures, before, obstacle))
    return views


def jobs_panel(views: Sequence[JobView], advice: str = "Choose a data set and annotators, and press Start.") -> str:
    """Render the latest jobs. advice: what to do while there is none."""
    if not views:
        return empty_state("No job yet", advice)
    costs = {view.job.id: _costs(view) for view in views}
    return render("ui/templates/jobs.html", views=views, costs=costs)


def _costs(view: JobView) -> dict[str, Any]:
    """Sum pictures, tokens and seconds a stage, and project the paper's data sets at that pace."""
    rows, seconds_each = [], 0.0
    for stage in sorted({tally.stage for tally in view.tallies}):
        mine = [tally for tally in view.tallies if tally.stage == stage]
        pictures, seconds = sum(tally.pictures for tally in mine), sum(tally.seconds for tally in mine)
        if not pictures:
            continue
        seconds_each += seconds / pictures
        tokens = sum(tally.tokens for tally in mine)
        rows.append((stage, f"{pictures:,}", f"{tokens:,}", f"{seconds / pictures:.3f}", f"{seconds / 3600:.2f}"))
    projected = [
        (
            f"{name}, {pictures / 1e6:.1f} M pictures",
            f"{seconds_each * pictures / 3600:,.0f} hours here",
            f"{hours:,} A40-hours published",
        )
        for name, (pictures, hours) in PUBLISHED.items()
    ]
    return {"rows": rows, "projected": projected}
