"""What the Data page does when the data set changes: what was chosen or asked of one is not done to another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from app.data import upkeep_actions
from app.home.actions import road
from app.jobs.imports import queue_import
from app.services import Services
from app.ui.jobs_list import latest_jobs
from db.engine import reading, transaction
from db.models import Job, ReviewAct
from db.queries.data_set_queries import existing_dataset
from db.queries.job_queries import end_job, job_page, lock_job
from db.queries.run_queries import start_run
from tests.support.browser_fixtures import opened
from tests.support.curated import curated
from tests.support.fake_app import environment_in, running
from tests.support.two_data_sets import two_data_sets
from tests.support.waiting import until
from user_errors import UserError


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("switching")
    with environment_in(folder):
        yield two_data_sets(folder)


def jobs_of(services: Services, kind: str) -> list[Job]:
    with reading(services.engine) as session:
        return list(job_page(session, kind=kind))


@pytest.fixture(scope="module")
def works(services: Services) -> dict[str, Any]:
    """A run and an act of alpha: what the page asks for each."""
    with transaction(services.engine) as session:
        number = existing_dataset(session, name="alpha").id
        run = start_run(session, dataset_id=number, config={}, recipes={"describe": "a" * 64}).id
        kept: dict[str, Any] = {"dataset_id": number, "kind": "restore version", "text": "v1", "who": "ana"}
        session.add(ReviewAct(**kept, action="an act of alpha", regions=1, pictures=1))
    return {"run": run, "act": "an act of alpha", "restore": "v1"}


@pytest.mark.parametrize("what", ["restore", "run", "act"])
def test_what_was_asked_of_one_data_set_is_not_queued_for_another(
    services: Services, works: dict[str, Any], what: str
) -> None:
    asked = upkeep_actions.question(services, "alpha", {"do": what, "of": works[what]})
    with pytest.raises(UserError, match="Another data set is chosen by now"):
        upkeep_actions.queue(services, "beta", asked.ask, who="ana")
    assert not jobs_of(services, upkeep_actions.RESTORE) and not jobs_of(services, upkeep_actions.UNDO)


@pytest.mark.parametrize("what", ["run", "act"])
def test_work_on_another_data_set_is_no_question(services: Services, works: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=r"(of|on) this data set, got"):
        upkeep_actions.question(services, "beta", {"do": what, "of": works[what]})


def test_the_job_of_a_deleted_data_set_is_none_of_its_namesake(services: Services, tmp_path: Path) -> None:
    number = queue_import(services.jobs, name="gamma", owner="ana", source=str(tmp_path))
    with transaction(services.engine) as session:
        end_job(session, lock_job(session, number), state="failed", exit_reason="the disk went away")
    assert len(latest_jobs(services, ["import"], dataset="gamma")) == 1, "while there is no such data set"
    curated(services.engine, tmp_path / "gamma", name="gamma")
    assert latest_jobs(services, ["import"], dataset="gamma") == []
    assert not upkeep_actions.removable(services, "gamma").imports
    with pytest.raises(UserError, match="an import of this data set, got another"):
        upkeep_actions.removal(services, "gamma", {"do": "import", "of": number})
    assert not road(services, "gamma").steps[0].problem


def choose(page: Page, field: str, name: str) -> None:
    page.locator(f"#{field} input").first.click()
    page.get_by_role("option", name=name, exact=True).first.click()


@pytest.mark.slow
def test_another_data_set_takes_the_question_and_the_version_of_the_one_before_away(
    services: Services, visitor: BrowserContext
) -> None:
    with running(services) as address, opened(visitor, f"{address}data?dataset=alpha", "#versions li") as page:
        choose(page, "version", "only-alpha")
        expect(page.locator("#losses")).to_contain_text("descriptions")
        page.locator("#versions li", has_text="v1").get_by_text("restore …").click()
        expect(page.locator("#restore-question .upkeep-question")).to_be_visible()
        choose(page, "dataset", "beta")
        expect(page.locator("#restore-question .upkeep-question")).to_have_count(0)
        expect(page.locator("#versions li")).to_have_count(1)
        expect(page.locator("#version input")).to_have_value("as it is now")
        page.locator("#export").click()
        until(lambda: len(jobs_of(services, "export")) == 1, "the export to be queued")
        expect(page.locator(".toast-body")).to_have_count(0)
    [job] = jobs_of(services, "export")
    assert (job.config["dataset"], job.config["version"]) == ("beta", "")
