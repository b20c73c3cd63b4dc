"""The classes of a data set fill Ground's field, as its import or the page Novel concepts wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.core.example_data import GROCERIES
from app.ground.class_lists_page import ClassLists
from app.jobs.imports import queue_example
from app.services import Services
from curation.concepts.class_list import save_classes
from curation.concepts.concepts import ConceptsConfig
from curation.concepts.concepts import main as import_concepts
from curation.concepts.metadata import create_set
from curation.exchange.concept_classes import ConceptClass
from db.engine import reading, transaction
from db.queries.data_set_queries import create_dataset
from db.queries.job_queries import get_job
from grain.zero_shot import parse_classes
from tests.support.fake_app import fake_services
from tests.support.still_services import StillServices


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return fake_services(tmp_path, StillServices)


def test_the_texts_of_the_example_photographs_are_imported_and_offered(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = ClassLists(services)
    assert lists.offer()["visible"] is False
    job_id = queue_example(services.jobs, "groceries", owner="ada") + 1
    with reading(services.engine) as session:
        job = get_job(session, job_id=job_id)
    assert job is not None and job.argv[1:3] == ["-m", "curation.concepts"]
    with transaction(services.engine) as session:
        create_dataset(session, name="groceries")  # as the first job does
    monkeypatch.setenv("GRAIN_HOME", str(services.settings.home))
    monkeypatch.delenv("GRAIN_DATABASE_URL", raising=False)
    config = {name: job.config[name] for name in ("dataset", "who")}
    import_concepts(ConceptsConfig(**config, classes=Path(job.config["classes"])))
    offered = lists.offer()
    assert offered["choices"] == [("groceries · 24 classes", "groceries")] and offered["visible"]
    published = json.loads((GROCERIES.parent / "classes.json").read_text())
    assert {name: list(texts) for name, texts in parse_classes(lists.fill("groceries")).items()} == published


def test_texts_that_lines_would_cut_come_as_json(services: Services) -> None:
    with transaction(services.engine) as session:
        create_dataset(session, name="lids")
    create_set(services.engine, "lids", "ada")
    classes = [ConceptClass("lid", ("red; round", "flat"))]
    save_classes(services.engine, "lids", classes, who="ada", expected_version=1)
    assert json.loads(ClassLists(services).fill("lids")) == {"lid": ["red; round", "flat"]}
