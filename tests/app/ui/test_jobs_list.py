"""The list of jobs draws how far each is, and nothing that its state denies."""

from __future__ import annotations

from pathlib import Path

from app.core.settings import Settings
from app.ui.jobs_list import JobView, jobs_panel, latest_jobs
from db.engine import transaction
from db.models import Job, JobState
from db.queries.job_queries import end_job, enqueue_job
from tests.support.still_services import StillServices


def bars(state: JobState, done: int, total: int) -> int:
    """How many bars are drawn for such a job."""
    job = Job(id=1, kind="concepts", owner="ada", config={}, argv=["true"], state=state, done=done, total=total)
    return jobs_panel([JobView(job, (), ())]).count("progressbar")


def test_a_job_that_is_done_and_counted_nothing_has_no_empty_bar() -> None:
    assert bars("done", 0, 0) == 0
    assert bars("done", 4, 4) == bars("running", 0, 0) == bars("running", 1, 4) == 1


def test_a_job_under_way_stays_in_the_list_however_many_were_done_after_it(tmp_path: Path) -> None:
    services = StillServices(Settings(home=tmp_path))
    states: list[JobState] = ["queued", "done", "queued", "done", "done", "done"]
    with transaction(services.engine) as session:
        for state in states:
            job = enqueue_job(session, kind="audit", owner="ada", config={}, argv=["true"])
            if state == "done":
                end_job(session, job, state=state, exit_reason="")
    assert [view.job.id for view in latest_jobs(services, ["audit"], most=3)] == [6, 3, 1]
    assert [view.job.id for view in latest_jobs(services, ["audit"], dataset="", most=3)] == []
    services.engine.dispose()
