"""What the preflight says of a version's pictures, regions and captions, against what its export and loader give."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import tyro

from app.access.accounts import Person
from app.jobs.resources import FIELDS
from app.services import Services
from app.train import actions as train_actions
from app.train.data_checks import PreflightCheck
from app.train.plan import TrainPlan, TrainRequest, plan_run
from app.train.preflight import check_plan
from app.train.run_jobs import DATA, TRAIN
from curation.data_sets.rename import rename
from curation.exchange.export import export
from curation.exchange.export_config import ExportConfig
from curation.exchange.training_census import NOT_REVIEWED, count_for_training, version_census
from curation.files.records import CLASS, Status
from curation.versions.state_file import peek_state
from curation.versions.versions import freeze, version_path
from db.engine import reading, transaction
from db.models import DatasetVersion
from db.queries.curate_queries import edit_image
from db.queries.data_set_queries import NewImage, add_images, create_dataset, image_page
from db.queries.edit_values import ImageChange
from db.queries.job_queries import UNFINISHED, job_page, request_cancel, request_pause, requeue_job
from db.queries.job_runner_queries import RetryPolicy, claim_job, finish_job, mark_interrupted
from db.queries.region_queries import NewRegion, add_regions
from grain.data.loader import find_shards, read_records
from tests.support.curated import picture_files, sha256_of
from tests.support.fake_app import fake_services
from tests.support.fake_predictor import fake_predictor
from tests.support.still_services import StillServices
from user_errors import UserError

ADA = Person("ada", "curator")
SMALL = {"images": "64", "batch_size": "4", "warmup_images": 8, "precision": "no", "max_regions": "5"}
PICTURES, BARE = 90, 10  # with regions, and without
EACH = 8  # regions of a picture


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = fake_services(tmp_path)
    yield services
    services.engine.dispose()


def frozen(services: Services, *statuses: Status, status: Status = "pending", caption: str = "") -> DatasetVersion:
    """A version of a data set whose pictures have EACH regions of one verdict, but for the last BARE."""
    folder = services.settings.home / "pictures"
    files = picture_files(folder, PICTURES + BARE - 2)
    images = [NewImage(sha256_of(c), 40, 30, str(folder / name), caption=caption) for name, c in files.items()]
    boxes = [(0.1 * n, 0.1, 0.1 * n + 0.1, 0.9) for n in range(EACH)]
    with transaction(services.engine) as session:
        number = create_dataset(session, name="boxes").id
        add_images(session, dataset_id=number, images=images)
        found = image_page(session, dataset_id=number, limit=PICTURES)
        rows = [
            NewRegion(one.id, box, f"thing {n} of {one.id}", "import:boxes", None, status)
            for one in found
            for n, box in enumerate(boxes)
        ]
        add_regions(session, dataset_id=number, rows=rows)
    return freeze(services.engine, services.settings.home, dataset="boxes", name="v1", who="ada", statuses=statuses)


def asked(version: DatasetVersion, **changes: Any) -> TrainRequest:
    form = {"name": "first", "data": f"version:{version.sha256}", "start": "scratch", "where": "cpu", "fields": SMALL}
    return TrainRequest.read(form | changes)


def planned(services: Services, version: DatasetVersion, **changes: Any) -> tuple[TrainPlan, dict[str, PreflightCheck]]:
    plan = plan_run(services, asked(version, **changes), "admin")
    return plan, {each.name: each for each in check_plan(services, plan) if each.name != "settings"}


def test_a_version_is_trained_on_with_the_verdicts_that_it_holds(services: Services) -> None:
    version = frozen(services, "accepted", "pending", "rejected")
    plan, checks = planned(services, version, caption="descriptions")
    assert plan.data[0].export is not None and plan.data[0].export.statuses == ("accepted", "pending")
    ran = tyro.cli(ExportConfig, args=list(plan.data[0].words[2:]))
    assert (ran, ran.out) == (plan.data[0].export, plan.config.data)
    exported = export(services.engine, services.settings.home, ran)
    counts = {split: find_shards(ran.out, split).images for split in ("train", "held_out")}
    records = list(read_records(find_shards(ran.out, "train")))
    census = version_census(version_path(services.settings.home, version.sha256), ran)
    assert {**census.pictures} == counts == exported["pictures"] and sum(counts.values()) == PICTURES
    assert census.descriptions == sum(len(record.texts) for record in records) == EACH * counts["train"]
    assert census.captions["descriptions"].total() == sum(bool(record.caption) for record in records)
    assert census.beyond(5) == 3 * counts["train"] and census.left_out == {NOT_REVIEWED: BARE}
    assert f"{counts['train']:,} pictures to train on, {counts['held_out']} held out" in checks["data"].found
    assert f"left out: {BARE} {NOT_REVIEWED}" in checks["data"].found
    assert {name: checks[name].state for name in ("data", "regions", "captions")} == {
        "data": "ok",
        "regions": "ok",
        "captions": "ok",
    }
    assert "(38%) out: of a picture with more than 5, so many are drawn, others" in checks["regions"].found
    proposing = planned(services, version, fields=SMALL | {"queries": "proposals"})[1]["queries"]
    assert proposing.state == "bad" and proposing.found.startswith("a version has no boxes for region queries")
    best = planned(services, version, caption="descriptions", fields=SMALL | {"regions": "best"})[1]["regions"]
    assert best.state == "warn" and "(38%) are never used" in best.found and best.found.endswith("raise it up to 8.")
    plan, checks = planned(services, version, caption="descriptions", fields=SMALL | {"max_regions": 8})
    assert checks["regions"].state == "ok" and checks["data"].found.startswith("schema 1, ") and not plan.missing


def test_a_run_that_would_learn_nothing_is_refused_with_what_to_do(services: Services) -> None:
    version = frozen(services, "accepted")
    _, checks = planned(services, version)
    assert checks["data"].state == "bad" and f"{PICTURES + BARE} {NOT_REVIEWED}" in checks["data"].found
    with pytest.raises(UserError, match="no picture to train on"):
        train_actions.queue(services, ADA, asked(version))
    _, checks = planned(services, version, unreviewed=True)
    assert checks["data"].state == "ok" and checks["regions"].state == "bad"
    assert "accept some on the Curate page" in checks["regions"].found
    _, checks = planned(services, version, unreviewed=True, fields=SMALL | {"clip": True})
    assert "regions" not in checks and checks["captions"].state == "bad"
    assert checks["captions"].found.endswith("write captions first, on the Curate page or with a describer.")
    _, checks = planned(services, version, fields=SMALL | {"clip": True, "losses.image_caption": 0}, unreviewed=True)
    assert "CLIP has no loss but L_ic" in checks["captions"].found


@pytest.mark.parametrize(("caption", "word"), [("", "empty"), ("a photo", "the same")])
def test_captions_that_tell_nothing_apart_forbid_l_ic_and_say_what_to_choose(
    services: Services, caption: str, word: str
) -> None:
    version = frozen(services, "accepted", status="accepted", caption=caption)
    _, checks = planned(services, version)
    assert checks["captions"].state == "bad" and f"captions are {word}, so that L_ic" in checks["captions"].found
    assert (
        "compose them from the descriptions" in checks["captions"].found and "describer" not in checks["captions"].found
    )
    for choice in ({"caption": "descriptions"}, {"fields": SMALL | {"losses.image_caption": 0}}):
        assert planned(services, version, **choice)[1]["captions"].state == "ok"
    drawn = SMALL | {"caption_source": "with_descriptions"}
    assert planned(services, version, fields=drawn)[1]["captions"].state == "ok"


def test_a_describers_captions_are_offered_and_few_different_ones_are_a_warning(services: Services) -> None:
    version = frozen(services, "accepted", status="accepted")
    with transaction(services.engine) as session:
        for number, image in enumerate(image_page(session, dataset_id=version.dataset_id, limit=PICTURES)):
            change = ImageChange(
                caption="the same" if number % 2 else "", facts={"written caption": f"one of {number}"}
            )
            edit_image(session, image_id=image.id, expected_version=1, who="ada", change=change)
    home = services.settings.home
    version = freeze(services.engine, home, dataset="boxes", name="v2", who="ada")
    _, checks = planned(services, version)
    assert "choose the captions that a describer wrote, which" in checks["captions"].found
    assert planned(services, version, caption="written")[1]["captions"].state == "ok"
    assert planned(services, version, fields=SMALL | {"caption_source": "either"})[1]["captions"].state == "ok"
    plan, _ = planned(services, version)
    assert plan.data[0].export is not None
    head, records = peek_state(version_path(home, version.sha256))
    first = count_for_training(head, records, replace(plan.data[0].export, unreviewed=True), most=10)
    assert first.pictures.total() == 10 and not first.complete


def test_a_version_whose_file_is_gone_is_named(services: Services) -> None:
    version = frozen(services, "accepted")
    version_path(services.settings.home, version.sha256).unlink()
    with pytest.raises(UserError, match="bring it back from a copy"):
        planned(services, version)


def data_words(services: Services) -> list[list[str]]:
    """The commands of all jobs that make data, the latest first."""
    with reading(services.engine) as session:
        return [job.argv[1:] for job in job_page(session, kind=DATA)]


def end_jobs(services: Services) -> None:
    """Cancel every job that is not over."""
    with reading(services.engine) as session:
        numbers = [job.id for job in job_page(session, states=UNFINISHED)]
    with transaction(services.engine) as session:
        for number in numbers:
            request_cancel(session, job_id=number)


def test_shards_without_pictures_that_could_not_be_read_are_written_again(tmp_path: Path) -> None:
    services = fake_services(tmp_path, StillServices)
    version, away = frozen(services, "pending"), services.settings.home / "away"
    chosen: dict[str, Any] = {"caption": "descriptions"}
    train_actions.queue(services, ADA, asked(version, **chosen))
    end_jobs(services)
    plan, _ = planned(services, version, **chosen)
    ran = plan.data[0].export
    assert ran is not None
    (services.settings.home / "pictures").rename(away)  # the disk with the pictures is not mounted
    export(services.engine, services.settings.home, ran)
    away.rename(services.settings.home / "pictures")  # it is back
    plan, checks = planned(services, version, name="second", **chosen)
    assert plan.missing == plan.data and checks["data"].found.endswith("; a job writes them first")
    assert checks["unreadable"].state == "warn"
    assert f"{PICTURES} pictures could not be read when they were exported" in checks["unreadable"].found
    assert "no longer where it was imported from" in checks["unreadable"].found
    before = data_words(services)
    train_actions.queue(services, ADA, asked(version, name="second", **chosen))
    assert data_words(services) == [[*plan.data[0].words], *before], "the export is queued once more"

    export(services.engine, services.settings.home, tyro.cli(ExportConfig, args=list(plan.data[0].words[2:])))
    plan, checks = planned(services, version, name="third", **chosen)
    assert not plan.missing and "unreadable" not in checks and checks["data"].found.startswith("schema 1, ")
    services.engine.dispose()


def test_shards_without_a_damaged_picture_are_used_again_until_its_file_changes(tmp_path: Path) -> None:
    services = fake_services(tmp_path, StillServices)
    version = frozen(services, "pending")
    chosen: dict[str, Any] = {"caption": "descriptions"}
    ran = planned(services, version, **chosen)[0].data[0].export
    assert ran is not None
    damaged = services.settings.home / "pictures" / "деталь 0.jpg"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:100])
    export(services.engine, services.settings.home, ran)
    plan, checks = planned(services, version, **chosen)
    assert not plan.missing and checks["unreadable"].state == "warn"
    assert "1 pictures could not be read when they were exported" in checks["unreadable"].found
    assert "their files are as they were then" in checks["unreadable"].found
    for name in ("first", "second"):
        train_actions.queue(services, ADA, asked(version, name=name, **chosen))
    assert data_words(services) == [], "nothing is exported again"
    end_jobs(services)

    damaged.write_bytes(content)
    assert planned(services, version, name="third", **chosen)[0].missing, "it may be readable now"
    damaged.write_bytes(content[:50])
    export(services.engine, services.settings.home, ran)
    assert not planned(services, version, name="third", **chosen)[0].missing
    mark = ran.out / "export.json"
    mark.write_text(json.dumps(json.loads(mark.read_text()) | {"shard_images": 7}))
    assert planned(services, version, name="third", **chosen)[0].missing, "it was made with other options"
    services.engine.dispose()


def test_a_half_export_of_a_data_set_that_was_renamed_is_made_again(tmp_path: Path) -> None:
    services = fake_services(tmp_path, StillServices)
    version = frozen(services, "pending")
    ran = planned(services, version)[0].data[0].export
    assert ran is not None

    def stop(done: int, total: int) -> None:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        export(services.engine, services.settings.home, ran, on_progress=stop)
    rename(services.engine, services.settings.home, dataset="boxes", name="crates")
    plan = planned(services, version)[0]
    assert plan.missing
    export(services.engine, services.settings.home, tyro.cli(ExportConfig, args=list(plan.data[0].words[2:])))
    assert not planned(services, version)[0].missing
    services.engine.dispose()


def test_trainings_of_a_version_that_are_queued_at_once_wait_for_one_export(tmp_path: Path) -> None:
    services = fake_services(tmp_path, StillServices)
    other = StillServices(services.settings, load_model=fake_predictor, embedded=tmp_path / "embedded")
    apps = (services, other)  # on one database
    version, together = frozen(services, "pending"), threading.Barrier(6)

    def queue(number: int) -> int:
        together.wait()
        form = asked(version, name=f"run{number}", caption="descriptions")
        return train_actions.queue(apps[number % 2], ADA, form)

    with ThreadPoolExecutor(6) as threads:
        assert len(set(threads.map(queue, range(6)))) == 6
    assert len(data_words(services)) == 1
    for app in apps:
        app.engine.dispose()


@pytest.mark.parametrize(
    "form", [{"processes": math.inf}, {"data": "world:²"}, {"zero_shot": "world:²"}, {"priority": 2**31}]
)
def test_numbers_that_are_none_are_one_sentence(services: Services, form: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        plan_run(services, TrainRequest.read({"name": "a", "data": "world:2000", "start": "scratch"} | form), "admin")


@pytest.mark.parametrize("name", [each.name for each in fields(TrainRequest) if each.type == "str"] + [*FIELDS])
@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800"])
def test_text_that_cannot_be_written_is_one_sentence(services: Services, name: str, text: str) -> None:
    form = {"name": "a", "data": "world:2000", "start": "scratch", "zero_shot": "folder", "zero_shot_folder": "x"}
    with pytest.raises(UserError, match=f"text for {name.replace('_', ' ')}, of characters that can be written"):
        plan_run(services, TrainRequest.read(form | {name: text}), "admin")


def test_shards_that_a_run_learns_from_are_not_written_again_beneath_it(tmp_path: Path) -> None:
    services = fake_services(tmp_path, StillServices)
    version = frozen(services, "pending")
    chosen: dict[str, Any] = {"caption": "descriptions"}
    plan, _ = planned(services, version, **chosen)
    ran = plan.data[0].export
    assert ran is not None
    files = sorted((services.settings.home / "pictures").iterdir())[:20]
    contents = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    export(services.engine, services.settings.home, ran)
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    train_actions.queue(services, ADA, asked(version, **chosen))
    assert planned(services, version, name="second", **chosen)[0].missing, "the job that writes them is waited for"
    with transaction(services.engine) as session:
        job = claim_job(session, slots={"cpu": 1}, worker="me", lease_seconds=60)
        assert job is not None and job.kind == DATA
        finish_job(session, job_id=job.id, token=1, state="done")
    plan, checks = planned(services, version, name="second", **chosen)
    assert not plan.missing
    assert "a run that is not over learns from what is there" in checks["unreadable"].found
    with transaction(services.engine) as session:
        [run] = job_page(session, kind=TRAIN)
        request_pause(session, job_id=run.id)
    assert not planned(services, version, name="second", **chosen)[0].missing, "it goes on with what it began with"
    with transaction(services.engine) as session:
        requeue_job(session, job_id=run.id)
        job = claim_job(session, slots={"cpu": 1}, worker="me", lease_seconds=60)
        assert job is not None and job.id == run.id
        never = RetryPolicy(most=0, first_wait_s=1.0)
        mark_interrupted(session, job_id=job.id, token=job.token, exit_reason="killed", retry=never)
    assert not planned(services, version, name="second", **chosen)[0].missing
    end_jobs(services)
    assert planned(services, version, name="second", **chosen)[0].missing
    services.engine.dispose()


def test_an_export_that_was_killed_is_not_whole_and_pictures_of_no_class_are_not_unreadable(services: Services) -> None:
    home, engine = services.settings.home, services.engine
    first = frozen(services, "pending")
    with transaction(engine) as session:
        for image in image_page(session, dataset_id=first.dataset_id, limit=4):
            change = ImageChange(facts={CLASS: "lid"})
            edit_image(session, image_id=image.id, expected_version=1, who="ada", change=change)
    concepts = {"classes": [{"name": "lid", "descriptions": ["a lid"]}]}
    version = freeze(engine, home, dataset="boxes", name="v2", who="ada", statuses=("pending",), concepts=concepts)
    ran = planned(services, version)[0].data[0].export
    assert ran is not None
    found = export(engine, home, ran)
    assert found["left_out"] == {"its class is not settled": PICTURES + BARE - 4}
    plan, checks = planned(services, version)
    assert not plan.missing and "unreadable" not in checks
    mark = ran.out / "export.json"
    mark.write_text(json.dumps(json.loads(mark.read_text()) | {"state": "writing"}))
    assert planned(services, version)[0].missing
