"""The slots that a job of annotators takes, and jobs that are asked for twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.annotate.actions import slots_of, start
from app.core.example_data import EXAMPLES
from app.jobs.imports import queue_example, queue_import
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.settings import AnnotateConfig
from curation.ingest.ingest import ingest
from db.engine import reading
from db.queries.dataset_removal_queries import jobs_of_dataset
from db.queries.job_queries import jobs_before
from tests.support.fake_app import fake_services
from tests.support.source_files import jpeg
from tests.support.still_services import StillServices

SERVER = DescriberChoice("server", model="m", server="http://127.0.0.1:1/v1")
PHOTO = LocalizerChoice("photo")
LLAVA = DescriberChoice("llava")


@pytest.mark.parametrize(
    ("describer", "localizer", "slots", "taken"),
    [
        (LLAVA, PHOTO, {"cpu": 1, "gpu": 2}, ("gpu", 1)),
        (SERVER, LocalizerChoice("owlv2"), {"cpu": 1, "gpu": 2}, ("gpu", 1)),
        (DescriberChoice("llava", device_map="auto"), PHOTO, {"cpu": 1, "gpu": 4}, ("gpu", 4)),
        (DescriberChoice("photo", device_map="auto"), PHOTO, {"cpu": 1, "gpu": 4}, ("cpu", 1)),
        (SERVER, PHOTO, {"cpu": 1, "gpu": 2}, ("cpu", 1)),
        (LLAVA, LocalizerChoice("owlv2"), {"cpu": 1}, ("cpu", 1)),
        (LLAVA, LocalizerChoice("owlv2"), {"cpu": 1, "gpu": 0}, ("cpu", 1)),
    ],
)
def test_weights_on_this_machine_take_a_gpu_where_there_is_one(
    describer: DescriberChoice, localizer: LocalizerChoice, slots: dict[str, int], taken: tuple[str, int]
) -> None:
    assert slots_of(slots, describer, localizer) == taken


def test_what_needs_no_gpu_waits_for_none(tmp_path: Path) -> None:
    services = fake_services(tmp_path, StillServices)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(jpeg())
    ingest(services.engine, tmp_path / "pictures", dataset="a", home=services.settings.home, processes=1)
    wanted = AnnotateConfig("a", DescriberChoice("photo"), PHOTO)
    job = services.jobs.get(start(services, wanted, "ada"))
    assert job and (job.device, job.width) == ("cpu", 1)
    assert start(services, wanted, "ada") == job.id, "a double click"
    imports = [queue_import(services.jobs, name=name, owner="ada", source=str(tmp_path / "pictures")) for name in "ab"]
    later = start(services, wanted, "ada")
    assert later != job.id
    with reading(services.engine) as session:
        assert [each.id for each in jobs_before(session, job_id=later)] == imports[:1], "pictures are on the way"
    services.engine.dispose()


def test_an_example_that_is_asked_for_twice_is_brought_once(tmp_path: Path) -> None:
    services = fake_services(tmp_path, StillServices)
    for name in EXAMPLES:
        first, again = (queue_example(services.jobs, name, owner="ada") for _ in range(2))
        assert first == again
        with reading(services.engine) as session:
            kinds = [job.kind for job in jobs_of_dataset(session, name=name)]
        assert len(kinds) == len(set(kinds))
    services.engine.dispose()
