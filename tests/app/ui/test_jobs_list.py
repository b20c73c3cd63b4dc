"""The list of jobs draws how far each is, and nothing that its state denies."""

from __future__ import annotations

from app.ui.jobs_list import JobView, jobs_panel
from db.models import Job, JobState


def bars(state: JobState, done: int, total: int) -> int:
    """How many bars are drawn for such a job."""
    job = Job(id=1, kind="concepts", owner="ada", config={}, argv=["true"], state=state, done=done, total=total)
    return jobs_panel([JobView(job, (), ())]).count("progressbar")


def test_a_job_that_is_done_and_counted_nothing_has_no_empty_bar() -> None:
    assert bars("done", 0, 0) == 0
    assert bars("done", 4, 4) == bars("running", 0, 0) == bars("running", 1, 4) == 1
