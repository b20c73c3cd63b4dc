"""What Ground finds goes to Curate: pictures and regions, pending, named by the checkpoint that found them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from app.access.accounts import Person
from app.core.ground_links import GroundQuestion, image_question, open_picture
from app.ground.send import send_to_curate
from app.ground.several import ground_files
from app.services import Services
from curation.exchange.import_annotations import import_file
from curation.ingest.ingest import ingest
from db.engine import reading
from db.models import Job
from db.queries.data_set_queries import image_page
from db.queries.job_queries import job_page, jobs_before
from db.queries.region_queries import regions_of
from tests.support.fake_app import fake_services
from tests.support.fake_predictor import BOXES_XYXY
from tests.support.still_services import StillServices
from user_errors import UserError

ADA = Person("ada", "curator")


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return fake_services(tmp_path, StillServices)


def jobs_of(services: Services) -> list[Job]:
    with reading(services.engine) as session:
        return sorted(job_page(session), key=lambda job: job.id)


def test_pictures_and_what_was_found_in_them_become_regions_to_judge(services: Services, tmp_path: Path) -> None:
    paths = []
    for folder, colour in (("x", "red"), ("y", "blue")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (120, 80), colour).save(tmp_path / folder / "a.jpg")
        paths.append(str(tmp_path / folder / "a.jpg"))
    question = GroundQuestion("", "a lid", "", "sample", threshold=-1.0)
    answers = ground_files(services, paths, question)
    found = [(each.path, each.found.prediction) for each in answers if each.found]
    send_to_curate(services, found, checkpoint="sample", dataset=" lids ", person=ADA)
    pictures, annotations = jobs_of(services)
    assert (pictures.kind, annotations.kind) == ("import", "import-annotations")
    with reading(services.engine) as session:
        assert [job.id for job in jobs_before(session, job_id=annotations.id)] == [pictures.id]
    assert pictures.config["dataset"] == annotations.config["dataset"] == "lids"
    # as the jobs do
    ingest(services.engine, Path(pictures.config["source"]), dataset="lids", home=services.settings.home)
    file = Path(annotations.config["file"])
    import_file(services.engine, dataset="lids", path=file, format="coco", who="ada")
    with reading(services.engine) as session:
        images = image_page(session, dataset_id=1)
        rows = regions_of(session, image_ids=[image.id for image in images])
    assert sorted(Path(image.location).name for image in images) == ["a-2.jpg", "a.jpg"]
    regions = [row for each in rows.values() for row in each]
    assert [(row.text, row.status, row.source) for row in regions] == 2 * [
        ("a lid", "pending", "import:found-by-sample.json")
    ]
    assert [each["sha256"] for each in json.loads(file.read_text())["images"]] == [
        hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths
    ], "names alone may be those of other pictures"
    by_name = {Path(image.location).name: rows[image.id][0] for image in images}
    for name, (_, prediction) in zip(("a.jpg", "a-2.jpg"), found, strict=True):
        box = [getattr(by_name[name], side) for side in ("x1", "y1", "x2", "y2")]
        assert box == pytest.approx(BOXES_XYXY[prediction.regions[0].index], abs=1e-3)


def test_a_picture_of_a_data_set_that_is_sent_back_is_the_same_picture(services: Services, tmp_path: Path) -> None:
    folder, home = tmp_path / "own", services.settings.home
    folder.mkdir()
    Image.effect_noise((300, 200), 90).convert("RGB").save(folder / "a.jpg", quality=60)
    ingest(services.engine, folder, dataset="lids", home=home)
    question = image_question(services.settings, services.engine, 1, checkpoint="sample")
    assert (
        hashlib.sha256(Path(question.picture).read_bytes()).hexdigest()
        == hashlib.sha256((folder / "a.jpg").read_bytes()).hexdigest()
    )
    asked = replace(question, descriptions="a lid", threshold=-1.0)
    [answer] = ground_files(services, [question.picture], asked)
    assert answer.found is not None
    send_to_curate(services, [(answer.path, answer.found.prediction)], checkpoint="sample", dataset="lids", person=ADA)
    pictures, annotations = jobs_of(services)
    ingest(services.engine, Path(pictures.config["source"]), dataset="lids", home=home)
    import_file(services.engine, dataset="lids", path=Path(annotations.config["file"]), format="coco", who="ada")
    with reading(services.engine) as session:
        images = image_page(session, dataset_id=1)
        rows = regions_of(session, image_ids=[1])
    assert [image.id for image in images] == [1] and [row.text for row in rows[1]] == ["a lid"]


def test_a_picture_of_a_data_set_may_be_larger_than_an_upload(services: Services, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    Image.new("RGB", (3000, 100), "red").save(folder / "wide.jpg")
    Image.new("RGB", (3000, 100), "blue").save(folder / "wide.tif")
    ingest(services.engine, folder, dataset="lids", home=services.settings.home)
    settings = services.settings.model_copy(update={"upload_pixels": 200_000})
    for image in (1, 2):
        question = image_question(settings, services.engine, image, checkpoint="sample")
        assert open_picture(settings, question.picture).size == (2048, 68)


def test_without_a_result_or_a_name_or_a_picture_nothing_is_sent(services: Services, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no result yet"):
        send_to_curate(services, [], checkpoint="sample", dataset="lids", person=ADA)
    Image.new("RGB", (120, 80), "red").save(tmp_path / "a.png")
    question = GroundQuestion("", "a lid", "", "sample", threshold=-1.0)
    found = [
        (each.path, each.found.prediction)
        for each in ground_files(services, [str(tmp_path / "a.png")], question)
        if each.found
    ]
    with pytest.raises(UserError, match="needs a name"):
        send_to_curate(services, found, checkpoint="sample", dataset=" ", person=ADA)
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match="no longer there"):
        send_to_curate(services, found, checkpoint="sample", dataset="lids", person=ADA)
    assert not jobs_of(services)
