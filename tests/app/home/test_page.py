"""The Home page: the road of a data set at every stage, and one data set that is chosen once for all pages."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, expect
from starlette.requests import Request

from app.access.accounts import PERSON_KEY, Person
from app.core.example_data import EXAMPLES, GROCERIES
from app.home import actions as home_actions
from app.home.actions import DatasetRoad, road
from app.home.page import HomePage
from app.home.panels import ways_in_panel
from app.jobs.imports import queue_import
from app.main import PAGES
from app.services import Services
from app.ui.dataset_choice import DatasetNames, dataset_field, kept_dataset, last_imported, refreshed_dataset
from curation.ingest.ingest import ingest
from curation.versions.versions import freeze
from db.engine import reading, transaction
from db.models import Job, StageResult
from db.queries.curate_queries import set_status
from db.queries.dataset_removal_queries import rename_dataset
from db.queries.job_queries import enqueue_job, jobs_before
from tests.support.browser_fixtures import fits, opened, settled
from tests.support.curated import all_regions, curated, ids_of
from tests.support.fake_app import fake_services, running
from tests.support.fake_predictor import write_fake_checkpoint
from tests.support.still_services import StillServices
from user_errors import UserError

ADA = Person("ada", "curator")


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = fake_services(tmp_path, StillServices)
    yield services
    services.engine.dispose()


def states(found: DatasetRoad) -> dict[str, str]:
    return {step.name: step.state for step in found.steps}


def next_action(found: DatasetRoad) -> str:
    return found.steps[found.next_step].action


def queued(services: Services, kind: str, config: Mapping[str, Any], **values: Any) -> None:
    with transaction(services.engine) as session:
        job = enqueue_job(session, kind=kind, owner="ada", config=dict(config), argv=["true"])
        job.sqlmodel_update({"state": "done"} | values)


def test_the_next_action_leads_from_pictures_to_a_promoted_model(services: Services, tmp_path: Path) -> None:
    home = services.settings.home
    number = curated(services.engine, tmp_path / "bare", 4, name="bare", described=False)
    assert number and next_action(road(services, "bare")) == "Describe the pictures"
    curated(services.engine, tmp_path / "lids", 6)
    found = road(services, "lids")
    assert states(found) == {"Imported": "done", "Described": "done", "Reviewed": "going"} | dict.fromkeys(
        ("Frozen", "Trained", "Promoted"), "open"
    )
    assert [step.count for step in found.steps] == ["8", "8", "18", "0", "0", "–"]
    assert found.steps[2].action == "Review 2 more" and found.steps[2].link.endswith("dataset=lids&statuses=pending")
    assert next_action(found) == "Freeze a version" and len(found.pictures) == 8
    version = freeze(services.engine, home, dataset="lids", name="v1", who="ada")
    found = road(services, "lids")
    assert (found.steps[3].count, found.steps[3].state) == ("v1", "done") and next_action(found) == "Train on v1"
    with transaction(services.engine) as session:
        pending = next(row for row in all_regions(services.engine, version.dataset_id) if row.status == "pending")
        set_status(session, region_id=pending.id, expected_version=1, who="ada", status="accepted")
    assert "edited since" in road(services, "lids").steps[3].detail
    out = home / "runs" / "r7"
    run = {"asked": {"data": f"version:{version.sha256}"}, "train": {"name": "r7", "out": str(out)}}
    queued(services, "train", run)
    (out / "best").mkdir(parents=True)
    (out / "metrics.jsonl").write_text(
        '{"step": 1, "images": 4, "loss": 1}\n{"step": 1, "held_out_grounding_acc50": 0.61}\n'
    )
    found = road(services, "lids")
    assert (found.steps[5].count, next_action(found)) == ("61%", "Compare and promote")
    write_fake_checkpoint(services.settings.checkpoints / "r7")
    picture = found.pictures[1].id  # the first that has a region
    assert road(services, "lids").steps[5].link == f"/?checkpoint=r7&image={picture}"
    queued(services, "train", run, state="failed", exit_reason="The data has no regions.")
    found = road(services, "lids")
    assert found.steps[4].problem == "The data has no regions." and next_action(found) == "Look at the run"


def test_what_an_import_left_out_is_told_beside_the_pictures(services: Services, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.mkdir()
    Image.new("RGB", (40, 30), "red").save(sent / "red.png")
    for count, sentence in enumerate(("pictures", "pictures; 1 file was left out", "pictures; 2 files were left out")):
        if count:
            (sent / f"broken-{count}.jpg").write_bytes(b"no picture")
        ingest(services.engine, sent, dataset="sent", home=services.settings.home)
        step = road(services, "sent").steps[0]
        assert (step.state, step.count, step.detail) == ("done", "1", sentence)
        assert step.action == ("See which, or import more" if count else "Import more")


def test_a_version_without_a_region_is_a_problem_and_not_trained_on(services: Services, tmp_path: Path) -> None:
    curated(services.engine, tmp_path / "bare", 4, name="bare", described=False)
    freeze(services.engine, services.settings.home, dataset="bare", name="v1", who="ada")
    found = road(services, "bare")
    assert found.steps[3].problem.startswith("It holds no region") and found.steps[4].action == ""
    with pytest.raises(UserError, match="no data set 'lid'"):
        road(services, "lid")


def test_a_picture_that_was_annotated_with_nothing_found_is_described(services: Services, tmp_path: Path) -> None:
    number = curated(services.engine, tmp_path / "bare", 4, name="bare", described=False)
    assert road(services, "bare").steps[1].action == "Describe the pictures"
    with transaction(services.engine) as session:
        ids = ids_of(session, number)
        for image_id, stage, state in zip(
            ids, ("localize", "localize", "describe"), ("done", "failed", "done"), strict=False
        ):
            values: dict[str, Any] = {"dataset_id": number, "image_id": image_id, "stage": stage, "state": state}
            session.add(StageResult(**values, key="k", recipe="r", source="owl@1"))
    found = road(services, "bare").steps[1]
    assert (found.count, found.action) == ("1", f"Describe {len(ids) - 1} more")


def test_work_in_progress_and_failures_are_told(services: Services, tmp_path: Path) -> None:
    curated(services.engine, tmp_path / "bare", 4, name="bare", described=False)
    queued(services, "import", {"dataset": "bare"}, state="failed", exit_reason="The disk is full.")
    queued(services, "annotate", {"dataset": "bare"}, state="queued", done=3, total=6, message="3 of 6 described")
    queued(services, "annotate", {"dataset": "another"}, state="failed", exit_reason="no")
    found = road(services, "bare")
    assert (found.steps[0].problem, found.steps[0].action) == ("The disk is full.", "Import again")
    assert (found.steps[1].state, found.steps[1].detail) == ("going", "50% · 3 of 6 described")


def test_a_new_data_set_of_ones_own_is_chosen_and_nobody_elses(services: Services, tmp_path: Path) -> None:
    curated(services.engine, tmp_path / "lids")
    queue_import(services.jobs, name="pots", owner="ada", sample=2)
    known = ["lids"]
    assert refreshed_dataset(services, "lids", known, who="ada")[1] == known, "not imported yet"
    curated(services.engine, tmp_path / "pots", 2, name="pots")
    mine, names = refreshed_dataset(services, "lids", known, who="ada")
    assert (mine.value, names) == ("pots", ["lids", "pots"])
    assert refreshed_dataset(services, "lids", known, who="bo")[0].value == "lids"
    assert refreshed_dataset(services, "gone", ["lids"], who="bo")[0].value == "lids"


def test_a_page_that_is_open_offers_a_data_set_under_its_new_name_and_lets_the_old_one_be_refused_by_name(
    services: Services, tmp_path: Path
) -> None:
    number = curated(services.engine, tmp_path / "lids")
    with gr.Blocks():
        field = dataset_field(services)
    assert DatasetNames(services).offer().choices == [("lids", "lids")]
    with transaction(services.engine) as session:
        rename_dataset(session, dataset_id=number, name="caps")
    assert DatasetNames(services).offer().choices == [("caps", "caps")]
    assert field.preprocess("lids") == "lids"


def test_the_first_data_set_to_open_is_the_last_one_made_and_no_sample_of_another(
    services: Services, tmp_path: Path
) -> None:
    assert last_imported(services) == []
    for name in ("lids", "pots", "lids · prompts on 2"):
        curated(services.engine, tmp_path / "pictures", 2, name=name)
    assert last_imported(services) == ["pots"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_one_row_and_one_click(services: Services, name: str) -> None:
    job = services.jobs.get(home_actions.import_example(services, name, ADA))
    assert isinstance(job, Job) and job.config["dataset"] == name and job.owner == "ada"
    with reading(services.engine) as session:
        assert [each.id for each in jobs_before(session, job_id=job.id + 1)] == [job.id] * (name == "groceries")
    assert kept_dataset(object()) == ""  # type: ignore[arg-type]
    with pytest.raises(UserError, match="There is no example '/etc': choose one of sample-world, groceries"):
        home_actions.import_example(services, "/etc", ADA)


def test_the_example_photographs_are_whole_and_have_captions_and_texts_of_their_kinds() -> None:
    pictures, texts = sorted(GROCERIES.glob("*/*.jpg")), json.loads((GROCERIES.parent / "classes.json").read_text())
    assert len(pictures) == 120 and sum(each.stat().st_size for each in pictures) < 4e6
    assert {each.parent.name.replace("-", " ") for each in pictures} == texts.keys() and all(texts.values())
    with (GROCERIES / "metadata.csv").open(newline="") as file:
        captions = {row["file_name"]: row["text"] for row in csv.DictReader(file)}
    assert captions == {f"{p.parent.name}/{p.name}": p.parent.name.replace("-", " ") for p in pictures}
    assert "MIT License" in (GROCERIES.parent / "LICENSE").read_text()


def test_the_ways_in_offer_the_examples_that_are_not_there_yet_to_whoever_may_import() -> None:
    both, drawn = ways_in_panel([], edits=True), ways_in_panel(["groceries"], edits=True)
    assert both.count("data-ask") == 2 and both.count('class="next"') == 1
    assert "Try the example" in drawn and "Try photographs" not in drawn and 'class="next"' not in drawn
    assert "data-ask" not in ways_in_panel([], edits=False)


def test_an_example_that_is_being_imported_is_not_offered_again(services: Services) -> None:
    page, request = (
        HomePage(services),
        gr.Request(Request({"type": "http", "query_string": b"", "headers": [], PERSON_KEY: ADA})),
    )
    for name in EXAMPLES:
        _, ways = page.import_example([], request, SimpleNamespace(ask=name))  # type: ignore[arg-type]
    assert "data-ask" not in ways and "data-ask" not in page.open(request)[3], "nor after a reload"


@pytest.mark.slow
def test_every_page_of_a_data_set_offers_the_examples_while_there_is_none(
    services: Services, tmp_path: Path, visitor: BrowserContext
) -> None:
    paths = [page.path for page in PAGES if page.offers or page.on_dataset]
    assert {"evaluate", "concepts"} < {*paths}
    offer = "#first-example .next"
    with running(services) as address:
        for path in paths:
            with opened(visitor, f"{address}{path}", offer if path != "home" else "#ways-in .next") as page:
                settled(page)
                if path == "concepts":
                    expect(page.locator("#first-example button")).to_have_text(re.compile("Try photographs"))
                expect(page.locator(".toast-body")).to_have_count(0)
                for width in (1400, 400):
                    fits(page, width)
        with opened(visitor, f"{address}curate", offer) as page:
            page.get_by_role("button", name="Try photographs").click()
            expect(page).to_have_url(f"{address}home")
            expect(page.locator("#road")).to_contain_text("Pictures are on their way")
            job = services.jobs.get(1)
            assert job is not None and (job.config["dataset"], job.owner) == ("groceries", job.config["who"])
            with opened(visitor, f"{address}annotate", offer) as annotate:
                expect(annotate.locator("#jobs .job")).to_be_visible()
                curated(services.engine, tmp_path / "crates", 4, name="crates")
                with transaction(services.engine) as session:
                    session.get_one(Job, job.id).state = "cancelled"
                expect(annotate.locator(offer)).to_have_count(0)  # without a reload, as what follows
            expect(page.locator("ol.road")).to_be_visible()
            expect(page.locator("#ways-in .next")).to_have_count(0)
        for path in paths:
            with opened(visitor, f"{address}{path}", "h1") as page:
                settled(page)
                if path != "evaluate":  # which has no data set of its own
                    expect(page.locator("#dataset input")).to_have_value("crates")
                expect(page.locator(offer)).to_have_count(0)


@pytest.mark.slow
def test_a_data_set_is_chosen_once_for_all_pages(tmp_path: Path, visitor: BrowserContext) -> None:
    services = fake_services(tmp_path)
    with running(services) as address:
        with opened(visitor, f"{address}home", ".ways .next") as page:
            expect(page.locator("#road")).to_contain_text("No data set yet")
        for name in ("lids", "pots"):
            curated(services.engine, tmp_path / name, 4, name=name)
        with opened(visitor, f"{address}home", "ol.road") as page:
            chosen = page.locator("#dataset input")
            expect(chosen).to_have_value("pots")  # the last one that was made
            chosen.click()
            page.get_by_role("option", name="lids").click()
            expect(page).to_have_url(f"{address}home?dataset=lids")
            for title, path in (("Train", "train"), ("Data", "data"), ("Home", "home")):
                page.locator("#navigation").get_by_role("link", name=title, exact=True).click()
                expect(page).to_have_url(f"{address}{path}?dataset=lids")
                expect(page.locator("#dataset input")).to_have_value("lids")
            fits(page, 400)
        with opened(visitor, f"{address}curate", "#regions .tile") as page:  # an address without one
            expect(page.locator("#dataset input")).to_have_value("lids")
        with opened(visitor, f"{address}data?dataset=pots", "#overview table") as page:  # a link decides
            expect(page.locator("#dataset input")).to_have_value("pots")
