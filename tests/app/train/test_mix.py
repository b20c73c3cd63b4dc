"""Several data sets and a zero-shot set, as the Train page plans them, without a browser or a training."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tyro

from app.access.accounts import Person
from app.services import Services
from app.train import actions as train_actions
from app.train import panels as train_panels
from app.train import runs as train_runs
from app.train.plan import TrainRequest, plan_run, zero_shot_choices
from app.train.preflight import check_plan
from app.train.run_jobs import DATA
from db.engine import reading
from db.queries.job_queries import job_page
from grain.train_config import TrainConfig
from tests.support.fake_app import fake_services
from tests.support.still_services import StillServices
from tests.support.tiny import write_data
from user_errors import UserError

ADA = Person("ada", "curator")
FIELDS = {"images": "64", "batch_size": "4", "warmup_images": 8, "precision": "no"}


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Two drawn worlds of 12 and 6 pictures to train on; all others are not drawn yet."""
    services = fake_services(tmp_path, StillServices)
    for number, pictures in (("12", 12), ("6", 6)):
        write_data(services.settings.home / "worlds" / number, train=pictures)
    yield services
    services.engine.dispose()


def asked(**changes: Any) -> TrainRequest:
    form = {"name": "first", "data": "world:12", "start": "scratch", "where": "cpu", "fields": FIELDS}
    return TrainRequest.read(form | changes)


def test_what_is_mixed_in_is_trained_on_and_its_share_is_said(services: Services) -> None:
    wanted = asked(mix="world:6", mix_weight="3", zero_shot="world:6")
    plan = plan_run(services, wanted, "curator")
    worlds = services.settings.home / "worlds"
    assert plan.config.mix == (f"{worlds / '6'}=3",) and plan.config.zero_shot == f"{worlds / '6'}#novel"
    checks = {each.name: each for each in check_plan(services, plan)}
    assert checks["mix"].found == "6 pictures more, seen 3 × as often: 60% of all that are seen"  # 18 of 12 + 18
    job = services.jobs.get(train_actions.queue(services, ADA, wanted))
    assert job is not None and job.after_id is None
    words = job.argv[job.argv.index("grain.train") + 1 :]
    assert tyro.cli(TrainConfig, args=words) == plan.config
    assert shlex.split(plan.command)[1:] == job.argv[1:]
    again = train_runs.form_of(services, job.id)
    assert (again["mix"], again["mix_weight"], again["zero_shot"]) == ("world:6", "3", "world:6")
    other = services.jobs.get(train_actions.queue(services, ADA, asked(name="second")))
    assert other is not None
    assert train_runs.settings_difference([job, other]).keys() == {"mix", "zero_shot"}


def test_data_that_are_not_there_are_made_one_after_the_other_before_the_training(services: Services) -> None:
    wanted = asked(data="world:2000", mix="world:20000")
    plan = plan_run(services, wanted, "curator")
    assert plan.command.count("curation.sample.world") == 2
    assert {each.name: each.state for each in check_plan(services, plan)}["mix"] == "open"
    training = services.jobs.get(train_actions.queue(services, ADA, wanted))
    with reading(services.engine) as session:
        second, first = job_page(session, kind=DATA, limit=10)
    assert training is not None and (training.after_id, second.after_id, first.after_id) == (second.id, first.id, None)
    assert [Path(job.config["out"]).name for job in (first, second)] == ["2000", "20000"]
    again = services.jobs.get(train_actions.queue(services, ADA, asked(name="second", data="world:2000")))
    assert again is not None and again.after_id == first.id, "what is in progress is not made twice"


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"mix": "world:12"}, "The data and what is mixed in are the same: choose others, or nothing"),
    ({"mix": "nonsense"}, "Choose the data: a frozen version, or the sample world"),
    ({"mix": "world:6", "mix_weight": "0"}, "Weight of what is mixed in: expected a number above 0, at most 1,000"),
    ({"mix": "world:6", "mix_weight": "1,5"}, "got '1,5': write 2 for twice as often"),
    ({"zero_shot": "folder"}, "Name the folder to classify, a folder of pictures for each class, or choose none"),
    ({"zero_shot": "folder", "zero_shot_folder": "/etc"}, "lies outside GRAIN_HOME, where only an admin may read"),
    ({"zero_shot": "what"}, "Name the folder to classify"),
])  # fmt: skip
def test_what_cannot_be_mixed_or_classified_is_refused(
    services: Services, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        plan_run(services, asked(**changes), "curator")


def test_queries_from_proposals_are_trained_on_a_world_that_is_drawn_with_some(services: Services) -> None:
    plan = plan_run(services, asked(fields=FIELDS | {"queries": "proposals"}), "curator")
    assert plan.config.data.name == "12-proposals" and plan.data[0].words[-1] == "--proposals=8"
    assert plan.config.queries == "proposals" and all(each.name != "queries" for each in check_plan(services, plan))


def test_a_world_without_a_picture_to_train_on_cannot_be_mixed_in(services: Services) -> None:
    write_data(services.settings.home / "worlds" / "1", train=0)
    plan = plan_run(services, asked(mix="world:1"), "curator")
    assert {each.name: each.state for each in check_plan(services, plan)}["mix"] == "bad"


def test_the_form_offers_what_is_drawn_to_classify_and_shows_what_was_chosen(services: Services) -> None:
    assert [key for _, key in zero_shot_choices(services)] == ["", "world:6", "world:12", "folder"]
    shown = train_panels.form_panel(
        {"mix": "world:6", "mix_weight": "2", "zero_shot": "folder", "zero_shot_folder": "pets"},
        data=[("a", "world:12"), ("b", "world:6")], starts=[], places=[], zero_shot=zero_shot_choices(services),
    )  # fmt: skip
    assert '<option value="world:6" selected>b</option>' in shown and 'value="pets"' in shown
    assert '<option value="folder" selected>a folder</option>' in shown
