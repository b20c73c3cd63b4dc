"""What the Train page suggests for a version, and how a run's checkpoint is compared with its start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.core.checkpoints import PROMOTED
from app.services import Services
from app.train import panels as train_panels
from app.train import runs as train_runs
from app.train.form import config_from
from app.train.plan import TrainRequest, plan_run, without_hidden_fields
from app.train.preflight import check_plan
from app.train.recipe import fine_tune_fields, fine_tune_start, held_out_share, region_fields, suggested_form
from app.train.runs import KeptCheckpoint
from db.models import Job
from grain.train_config import check_region_settings
from tests.app.train.test_data_checks import frozen
from tests.support.fake_app import fake_services
from tests.support.fake_predictor import write_fake_checkpoint
from tests.support.still_services import StillServices
from user_errors import UserError


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = fake_services(tmp_path, StillServices)
    yield services
    services.engine.dispose()


@pytest.fixture
def form(services: Services) -> dict[str, Any]:
    """The form that the page opens with on a version of ninety reviewed pictures."""
    frozen(services, "accepted", status="accepted")
    return train_runs.first_form(services, "boxes") | {"where": "cpu", "caption": "descriptions"}


def test_a_fine_tune_is_suggested_that_can_be_queued_at_once(services: Services, form: dict[str, Any]) -> None:
    assert (form["start"], form["name"]) == ("checkpoint:sample", "run-1")
    plan = plan_run(services, TrainRequest.read(form), "curator")
    assert plan.data[0].export is not None and plan.data[0].export.held_out == float(form["held_out"]) > 0.05
    checks = {each.name: each for each in check_plan(services, plan)}
    assert not [each.found for each in checks.values() if each.state == "bad"]
    assert checks["start"].found.startswith("sample was trained on")
    few = plan_run(services, TrainRequest.read(form | {"held_out": "0.01"}), "curator")
    assert check_plan(services, few)[1].found.endswith("so few held-out pictures tell large differences only.")


@pytest.mark.parametrize(
    ("facts", "start"),
    [
        ({"kind": "grain", "parameters": 7}, "mine"),
        ({"kind": "photo", "base": "photo-names"}, "mine"),
        ({"kind": "grain"}, "sample"),
        ({"kind": "grain", "runtime": "onnx"}, "sample"),
        ({"kind": "grain", "model": {"decoder": {"queries": "proposals"}}}, "sample"),
        ({"kind": "owlv2"}, "sample"),
        ({"kind": "clip"}, "sample"),
    ],
)
def test_a_fine_tune_begins_with_what_was_promoted_where_its_regions_can_be_trained_on(
    services: Services, facts: dict[str, Any], start: str
) -> None:
    mine = write_fake_checkpoint(services.settings.checkpoints / "mine")
    (mine / "config.json").write_text(json.dumps({"schema_version": 1, "name": "mine"} | facts))
    (services.settings.checkpoints / PROMOTED).write_text("mine")
    assert services.registry.promoted() == "mine"
    assert fine_tune_start(services) == f"checkpoint:{start}"


def test_settings_are_suggested_again_and_taken_back_and_other_choices_stay(
    services: Services, form: dict[str, Any]
) -> None:
    plain = suggested_form(services, form | {"name": "kept"}, "defaults")
    assert (plain["start"], plain["fields"], plain["name"], plain["data"]) == ("scratch", {}, "kept", form["data"])
    assert suggested_form(services, plain, "fine_tune") == form | {"name": "kept"}
    with pytest.raises(UserError, match="nothing to fine-tune on here: choose a frozen version"):
        suggested_form(services, {"data": "world:12"}, "fine_tune")
    assert train_runs.first_form(services, "nobody") == {"name": "run-1", "data": ""}


@pytest.mark.parametrize(
    ("counts", "pictures", "share"),
    [
        ({0.05: 25}, 500, 0.05),
        ({0.05: 8, 0.1: 16, 0.2: 36, 0.3: 61}, 200, 0.2),
        ({0.05: 0, 0.1: 0, 0.2: 1, 0.3: 2}, 7, 0.2),
        ({0.05: 0, 0.1: 0, 0.4: 0}, 3, 0.4),
    ],
)
def test_of_fewer_pictures_a_larger_share_is_held_out(counts: dict[float, int], pictures: int, share: float) -> None:
    assert held_out_share(counts, pictures) == share


@pytest.mark.parametrize("pictures", [2, 3, 27, 164, 5_000, 1_000_000])
def test_the_settings_of_a_fine_tune_can_run_on_any_number_of_pictures(pictures: int) -> None:
    config = config_from(fine_tune_fields(pictures), data=Path("d"), out=Path("o"), init="sample", name="n")
    assert 2 <= config.batch_size <= min(64, pictures) and 400 <= config.images <= 50_000
    assert config.evaluations in (4, 5) and config.warmup_images < config.images / 2 and config.learning_rate < 5e-4


@pytest.mark.parametrize("text", ["0.0", 0, "1", "0,2", "nan", "a fifth", "-0.1"])
def test_a_share_to_hold_out_that_is_none_is_refused_in_one_sentence(
    services: Services, form: dict[str, Any], text: Any
) -> None:
    with pytest.raises(UserError, match="Held out: expected a share above 0, at most"):
        plan_run(services, TrainRequest.read(form | {"held_out": text}), "admin")


@pytest.mark.parametrize(
    ("asked", "start"),
    [
        ({"start": "checkpoint:sample"}, ["sample"]),
        ({"start": "open_clip", "open_clip": "ViT-B-16:openai"}, ["open_clip:ViT-B-16=openai"]),
        ({"start": "scratch"}, []),
    ],
)
def test_a_checkpoint_is_compared_with_its_start_on_the_pictures_held_out(
    asked: dict[str, str], start: list[str]
) -> None:
    job = Job(kind="train", owner="ada", argv=[], config={"asked": asked, "train": {"data": "/d"}})
    link = urlsplit(train_panels.evaluation_link(job, KeptCheckpoint("best", Path("/runs/one/best"), {})))
    query = parse_qs(link.query)
    assert (link.path, query["b"], query["data"]) == ("/evaluate", ["/runs/one/best"], ["/d#held_out"])
    assert query.get("a", []) == start


@pytest.fixture
def photo(services: Services) -> None:
    """A checkpoint of which regions alone can be trained."""
    folder = services.registry.roots[0] / "photo"
    facts = {"schema_version": 1, "name": "photo", "kind": "photo", "base": "photo-names", "trained_on": "a GRAIN"}
    (folder / "config.json").write_text(json.dumps(facts))


def test_photographs_are_suggested_the_regions_of_photo_with_their_own_settings(
    services: Services, photo: None, form: dict[str, Any]
) -> None:
    assert form["start"] == "checkpoint:photo"
    plan = plan_run(services, TrainRequest.read(form), "curator")
    assert plan.regions_only and plan.config.flip and plan.config.average
    check_region_settings(plan.config)
    checks = {each.name: each for each in check_plan(services, plan)}
    assert not [each.found for each in checks.values() if each.state == "bad"]
    assert "captions" not in checks and checks["disk"].found.startswith("0.1 GB for what is read of the pictures")
    assert checks["start"].found == "photo is a GRAIN"


def test_what_regions_do_not_have_is_left_out_by_the_page_and_refused_by_name_otherwise(
    services: Services, photo: None, form: dict[str, Any]
) -> None:
    others = {"clip": True, "max_regions": "3", "losses.image_caption": "0", "queries": "proposals"}
    asked = form | {"fields": form["fields"] | others, "mix": "world:12", "zero_shot": "world:12"}
    request = TrainRequest.of_program(asked)
    names = "mix, clip, queries, losses, max_regions, zero_shot"
    with pytest.raises(UserError, match=rf"for regions alone, got {names}: \S*photo has no other part that can be"):
        plan_run(services, request, "curator")
    plan = plan_run(services, without_hidden_fields(services, request), "curator")
    assert plan.config == plan_run(services, TrainRequest.read(form), "curator").config
    assert plan.snapshot()["asked"]["mix"] == ""
    again = without_hidden_fields(services, replace(request, start="scratch"))
    assert (again.mix, again.fields["clip"]) == ("world:12", True), "others have them"
    services.jobs.slots["slurm"] = 1
    with pytest.raises(UserError, match="Regions are trained by one process, got 2 GPUs: take one"):
        plan_run(services, TrainRequest.read(form | {"where": "slurm", "processes": 2}), "curator")


def test_drawn_pictures_begin_with_what_knows_drawn_pictures(services: Services, photo: None) -> None:
    services.settings.checkpoints.mkdir(parents=True)
    (services.settings.checkpoints / PROMOTED).write_text("photo")
    assert fine_tune_start(services) == "checkpoint:photo"
    assert fine_tune_start(services, drawn=True) == "checkpoint:sample"


@pytest.mark.parametrize("pictures", [2, 3, 27, 164, 5_000, 1_000_000])
def test_the_settings_of_regions_can_run_on_any_number_of_pictures(pictures: int) -> None:
    config = config_from(region_fields(pictures), data=Path("d"), out=Path("o"), init="photo", name="n")
    check_region_settings(config)
    assert 2 <= config.batch_size <= min(16, pictures) and config.images <= 50_000 and config.evaluations in (3, 4)
