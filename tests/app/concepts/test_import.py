"""Found pictures of novel concepts come in as all pictures do: the same question, the same limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from starlette.requests import Request

from app.access.accounts import PERSON_KEY, Person
from app.concepts.page import ConceptsPage
from app.services import Services
from db.engine import reading
from db.queries.job_queries import job_page
from tests.support.fake_app import fake_services
from tests.support.still_services import StillServices

COCO: dict[str, Any] = {"images": [], "annotations": [], "categories": []}


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return fake_services(tmp_path, StillServices)


def press(services: Services, source: Path, annotations: str | None = None, name: str = "fair") -> list[Any]:
    request = gr.Request(Request({"type": "http", PERSON_KEY: Person("ada", "admin")}))
    return ConceptsPage(services).import_pictures(str(source), name, None, annotations, request)


def test_annotations_beside_found_pictures_are_asked_about_once(services: Services, tmp_path: Path) -> None:
    (folder := tmp_path / "found").mkdir()
    (folder / "instances.json").write_text(json.dumps(COCO))
    dataset, place, _, note, choice = press(services, folder)
    assert dataset == place == gr.skip() and choice["visible"] is True
    assert "instances.json has annotations of these pictures. Bring them too?" in note
    with reading(services.engine) as session:
        assert job_page(session) == []
    *_, note, choice = press(services, folder, "accept")
    assert note == "" and choice == gr.update(visible=False, value=None)
    with reading(services.engine) as session:
        [job] = job_page(session)
    assert "--annotations=accept" in job.argv
    for choice, name, said in (("all", "fair", "one of leave, bring, accept"), ("bring", "x" * 300, "a name for the")):
        with pytest.raises(gr.Error, match=said):
            press(services, folder, choice, name)


def test_a_folder_without_annotations_is_imported_at_once(services: Services, tmp_path: Path) -> None:
    (folder := tmp_path / "found").mkdir()
    assert press(services, folder)[3] == ""
    with reading(services.engine) as session:
        [job] = job_page(session)
    assert job.kind == "concepts" and job.config["annotations"] == "leave"
