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
from db.engine import reading, transaction
from db.queries.job_queries import job_page, jobs_before
from db.queries.job_runner_queries import claim_job, finish_job
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
    assert job is not None and not waits_of(services, job.id)
    words = job.argv[job.argv.index("grain.train") + 1 :]
    assert tyro.cli(TrainConfig, args=words) == plan.config
    assert shlex.split(plan.command)[1:] == job.argv[1:]
    again = train_runs.form_of(services, job.id)
    assert (again["mix"], again["mix_weight"], again["zero_shot"]) == ("world:6", "3", "world:6")
    other = services.jobs.get(train_actions.queue(services, ADA, asked(name="second")))
    assert other is not None
    assert train_runs.settings_difference([job, other]).keys() == {"mix", "zero_shot"}


def waits_of(services: Services, job_id: int) -> list[int]:
    with reading(services.engine) as session:
        return [job.id for job in jobs_before(session, job_id=job_id)]


def test_a_training_waits_for_all_data_that_are_made_for_it_or_for_another(services: Services) -> None:
    wanted = asked(data="world:2000", mix="world:20000")
    plan = plan_run(services, wanted, "curator")
    assert plan.command.count("curation.sample.world") == 2
    assert {each.name: each.state for each in check_plan(services, plan)}["mix"] == "open"
    train_actions.queue(services, ADA, asked(name="other", data="world:2000"))
    training = train_actions.queue(services, ADA, wanted)
    with reading(services.engine) as session:
        second, first = job_page(session, kind=DATA, limit=10)
    assert [Path(job.config["out"]).name for job in (first, second)] == ["2000", "20000"], "none is made twice"
    assert waits_of(services, training) == [first.id, second.id]
    with transaction(services.engine) as session:
        taken = [claim_job(session, slots={"cpu": 9}, worker="me", lease_seconds=60) for _ in range(3)]
        assert [job and job.id for job in taken] == [first.id, second.id, None]
        finish_job(session, job_id=second.id, token=1, state="done")  # the later one is ready first
        assert claim_job(session, slots={"cpu": 9}, worker="me", lease_seconds=60) is None
    html = train_panels.watch_panel([train_runs.view(services, training)])
    assert f"Waits for data {first.id} (running)." in html
    with transaction(services.engine) as session:
        finish_job(session, job_id=first.id, token=1, state="failed", exit_reason="the disk is full")
    html = train_panels.watch_panel([train_runs.view(services, training)])
    assert f"data {first.id}, which this waits for, failed (the disk is full): resume that, then this" in html


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"mix": "world:12"}, "The data and what is mixed in are the same: choose others, or nothing"),
    ({"caption": "ai"}, "expected the caption picture, written, descriptions, got 'ai': choose one"),
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
