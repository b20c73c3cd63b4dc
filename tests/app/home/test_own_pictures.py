"""Pictures and annotations come from a browser into a data set, on Home."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, expect

from app.jobs.imports import ANNOTATIONS, queue_upload
from app.ui import jobs_list
from curation.ingest.uploads import named
from db.engine import open_engine, reading, transaction
from db.queries.data_set_queries import image_page
from db.queries.job_queries import request_cancel
from db.queries.region_queries import regions_of
from tests.support.browser_fixtures import opened
from tests.support.fake_app import app_at, fake_services
from tests.support.still_services import StillServices
from tests.support.waiting import until

BOX = [40, 20, 60, 30]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two pictures, a text that is none, and boxes of the first, whose name has a sign that Gradio leaves out."""
    for name, colour in (("red!.jpg", (200, 20, 20)), ("blue.png", (20, 20, 200))):
        Image.new("RGB", (200, 100), colour).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    picture = {"id": 7, "file_name": "red!.jpg", "width": 200, "height": 100}
    boxes = {
        "images": [picture],
        "categories": [{"id": 1, "name": "a red wall"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": BOX}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(boxes))
    return [tmp_path / name for name in ("red!.jpg", "blue.png", "notes.txt", "instances.json")]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"


@pytest.mark.slow
def test_chosen_files_become_a_data_set_with_the_boxes_that_people_made(
    files: list[Path], home: Path, visitor: BrowserContext
) -> None:
    with app_at(home) as (address, _), opened(visitor, f"{address}home", "#own-import") as page:
        page.locator("#own-import").click()
        expect(page.locator("#note-own")).to_contain_text("needs a name")
        page.locator("#own-name input, #own-name textarea").fill("walls")
        page.locator("#own-import").click()
        expect(page.locator("#note-own")).to_contain_text("no pictures yet")
        page.locator("#own-files input[type=file]").set_input_files(files)
        expect(page.locator("#own-files")).to_contain_text("instances")
        page.locator("#own-accept input").check()
        page.locator("#own-import").click()
        expect(page.locator("#note-own")).to_contain_text("4 files go into “walls”")
        expect(page.locator("#dataset input")).to_have_value("walls")
        expect(page.locator("#road")).to_contain_text("Imported")
        engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")

        def found() -> tuple[list[str], list[tuple[str, str, float]]]:
            with reading(engine) as session:
                pictures = {image.id: Path(image.location).name for image in image_page(session, dataset_id=1)}
                rows = regions_of(session, image_ids=list(pictures))
            return sorted(pictures.values()), [(row.text, row.status, row.x1) for each in rows.values() for row in each]

        until(lambda: found() == (["blue.png", "red!.jpg"], [("a red wall", "accepted", 0.2)]), lambda: str(found()))
        engine.dispose()


def test_boxes_that_wait_for_pictures_which_did_not_come_say_so(files: list[Path], tmp_path: Path) -> None:
    services = fake_services(tmp_path / "app", StillServices)
    last = queue_upload(services.jobs, services.settings.home, files=named(files), name="walls", owner="ada")
    waiting = jobs_list.jobs_panel(jobs_list.latest_jobs(services, (ANNOTATIONS,)))
    assert f"waits for import {last - 1}<" in waiting
    with transaction(services.engine) as session:
        request_cancel(session, job_id=last - 1)
    html = jobs_list.jobs_panel(jobs_list.latest_jobs(services, (ANNOTATIONS,)))
    assert f"import {last - 1}, which this waits for, was cancelled: resume that, then this" in html
