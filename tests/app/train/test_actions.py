"""What the Train page asks, without a browser or a training: form, preflight, roles, hostile fields, secrets."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import tyro
from starlette.requests import Request

from app.access.accounts import PERSON_KEY, Person
from app.jobs.devices import gpus, slots_here, visible_to
from app.jobs.imports import queue_import
from app.jobs.job_control import control_job
from app.jobs.run_logs import METRICS_LOG
from app.services import Services
from app.train import actions as train_actions
from app.train import panels as train_panels
from app.train import runs as train_runs
from app.train.data_checks import PreflightCheck
from app.train.form import CHOSEN_ELSEWHERE, FIRST, config_from, form_fields, values_of
from app.train.layout import NO_PLAN
from app.train.page import TrainPage
from app.train.plan import TrainRequest, plan_run
from app.train.preflight import check_plan
from app.train.run_jobs import SOONER, name_of
from db.engine import transaction
from db.models import Job
from db.queries.job_queries import JobStateError, enqueue_job, jobs_before, request_cancel, requeue_job
from db.queries.job_runner_queries import claim_job, finish_job, hand_over_job
from grain.command import flags_of
from grain.model.onnx_export import OnnxExportConfig
from grain.train.run_folder import RunHardware, keep_hardware
from grain.train_config import LossWeights, TrainConfig
from tests.support.fake_app import fake_services
from tests.support.fake_predictor import fake_predictor, write_fake_checkpoint
from tests.support.still_services import StillServices
from user_errors import UserError

ADA, BOB, EVE, ROOT = (
    *(Person(name, "curator") for name in ("ada", "bob")),
    *(Person("eve", "viewer"), Person("root", "admin")),
)
SMALL = {"images": "64", "batch_size": "4", "warmup_images": 8, "precision": "no"}


@pytest.fixture
def services(tmp_path: Path, data_folder: Path) -> Iterator[Services]:
    services = fake_services(tmp_path, StillServices)
    worlds = services.settings.home / "worlds"
    worlds.mkdir(parents=True)
    (worlds / "12").symlink_to(data_folder)
    yield services
    services.engine.dispose()


def asked(**changes: Any) -> TrainRequest:
    form = {"name": "first", "data": "world:12", "start": "scratch", "where": "cpu", "fields": SMALL}
    return TrainRequest.read(form | changes)


def enqueued(services: Services, job: int) -> Job:
    found = services.jobs.get(job)
    assert found is not None
    return found


def test_the_form_has_every_field_of_a_training_with_its_default_and_no_other() -> None:
    names = {each.name for each in form_fields()}
    plain = {each.name for each in fields(TrainConfig)} - {"losses", *CHOSEN_ELSEWHERE}
    assert names == plain | {f"losses.{each.name}" for each in fields(LossWeights)} and len(names) > 25
    config = config_from({}, data=Path("d"), out=Path("o"), init=None, name="n")
    assert config == TrainConfig(Path("d"), Path("o"), name="n")
    documented = [each.name for each in form_fields() if each.about]
    assert len(documented) > 20 and "batch_size" in documented
    shown = train_panels.form_panel({}, data=[], starts=[], places=[])
    assert all(f'data-field="{name}"' in shown for name in names)
    assert "Saved states kept. At least 1.</small>" in shown and "Loader processes.</small>" in shown


def test_every_field_that_is_not_shown_at_once_stands_in_one_titled_group() -> None:
    shown = train_panels.form_panel({}, data=[], starts=[], places=[])
    groups = re.findall(r"<fieldset[^>]*><legend>([^<]+)</legend>(.*?)</fieldset>", shown, re.DOTALL)
    fields = {title: re.findall(r'data-(?:field|own)="([^"]+)"', content) for title, content in groups}
    grouped = [name for names in fields.values() for name in names]
    own = {"mix", "mix_weight", "zero_shot", "zero_shot_folder"}
    assert len(grouped) == len(set(grouped)) > 35
    assert set(grouped) == {each.name for each in form_fields()} - set(FIRST) | own
    assert all(names for names in fields.values()) and len(fields) == 7
    assert re.findall(r'data-to="([^"]+)"', shown) == re.findall(r'data-group="([^"]+)"', shown) == [*fields]
    assert "precision" in fields["Hardware"] and "mix" in fields["Data"] and "zero_shot" in fields["Evaluation"]


def test_a_form_comes_back_as_it_was_and_is_what_the_command_line_reads() -> None:
    values = {"batch_size": "32", "losses.box": "0.5", "losses.symmetric": False, "twin": "", "lock_image": True}
    config = config_from(values, data=Path("/d"), out=Path("/o"), init=None, name="n")
    assert (
        config_from(values | {"images": "1,000,000"}, data=Path("/d"), out=Path("/o"), init=None, name="n").images
        == 10**6
    )
    assert (config.batch_size, config.losses, config.twin) == (32, LossWeights(box=0.5, symmetric=False), None)
    kept = json.loads(json.dumps({**vars(config), "losses": vars(config.losses)}, default=str))
    assert config_from(values_of(kept), data=Path("/d"), out=Path("/o"), init=None, name="n") == config
    assert tyro.cli(TrainConfig, args=flags_of(config)) == config


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("images", "many", "images: expected a whole number"),
        ("images", "1e999", "images: expected a whole number"),
        ("learning_rate", "100", "learning rate: expected at most 1, got '100': take less"),
        ("learning_rate", "1,5", "learning rate: expected a number, 0 or more, got '1,5': write 1.5 with a point"),
        ("learning_rate", "0,001", "learning rate: expected a number, 0 or more, got '0,001': write 1.5 with a point"),
        ("images", "1,00", "images: expected a whole number, 1 or more, got '1,00': write 1.5 with a point"),
        ("workers", "1000", "workers: expected at most 256, got '1000': take less"),
        ("batch_size", "-4", "batch size: expected a whole number"),
        ("batch_size", "0", "batch size: expected a whole number, 1 or more, got '0'"),
        ("pieces", "0", "pieces: expected a whole number, 1 or more"),
        ("keep", "0", "keep: expected a whole number, 1 or more"),
        ("losses.box", "-1", "loss weight: box: expected a number, 0 or more"),
        ("seed", "1000000000000", "expected seed to be at most 2,147,483,647"),
        ("pieces", "200", "pieces \\(200\\) must be at most the images of a batch \\(128\\)"),
        ("learning_rate", "nan", "learning rate: expected a number"),
        ("preset", "vit-z", "preset: expected one of vit-b-16"),
        ("precision", "$(reboot)", "precision: expected one of auto, bf16, tf32, no"),
        ("clip", "yes", "clip: expected on or off"),
        ("twin", "a\nb", "twin: expected one line"),
        ("images", "3", "images \\(3\\) must be at least one batch"),
        ("out", "/etc", "There is no field 'out'"),
        ("losses.none", "1", "There is no field"),
    ],
)
def test_a_field_that_cannot_be_used_is_named_in_one_sentence(field: str, value: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        config_from({field: value}, data=Path("d"), out=Path("o"), init=None, name="n")


@pytest.mark.parametrize(("name", "label"), [("priority", "Priority"), ("processes", "GPUs")])
@pytest.mark.parametrize("value", ["1.5", "many", [1], float("inf")])
def test_a_whole_number_beside_the_fields_is_named_too(name: str, label: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"{label}: expected a whole number, got .*: correct it"):
        asked(**{name: value})


def test_what_is_queued_is_what_is_shown(services: Services) -> None:
    wanted = asked(priority=3, fields=SMALL | {"losses.box": "2"})
    planned = plan_run(services, wanted, "admin")
    job = enqueued(services, train_actions.queue(services, ADA, wanted))
    assert (job.owner, job.kind, job.priority, job.device, job.backend, job.width) == (
        "ada",
        "train",
        3,
        "cpu",
        "local",
        1,
    )
    assert shlex.split(planned.command)[1:] == job.argv[1:]
    words = job.argv[job.argv.index("grain.train") + 1 :]
    ran = tyro.cli(TrainConfig, args=words)
    assert ran == planned.config
    shown = json.loads(json.dumps({**vars(ran), "losses": vars(ran.losses)}, default=str))
    assert shown == job.config["train"]
    assert job.argv[1:3] == ["-m", "accelerate.commands.launch"] and "--cpu" in job.argv


def test_a_check_that_arrives_after_a_newer_one_changes_nothing(services: Services) -> None:
    page = TrainPage(services)
    visit = gr.Request(Request({"type": "http", PERSON_KEY: ADA}))

    def check(values: dict[str, Any], **sent: Any) -> list[Any]:
        form = {"data": "world:12", "start": "scratch", "where": "cpu", "fields": SMALL} | sent
        return page.check(values, visit, gr.EventData(None, {"values": form}))

    values, plan, _ = check({}, name="typed-last", check=2)
    assert values["name"] == "typed-last" and "--name=typed-last" in plan
    assert check(values, name="before", check=1) == [gr.skip()] * 3
    assert check(values, name="later", check=3)[0]["name"] == "later"
    wrong = check(values, name="wrong", fields=SMALL | {"batch_size": "-3"}, check=4)
    assert wrong[1] == NO_PLAN and "1 or more, got" in wrong[2], "the command of an older form is not that of this one"


def test_an_embedded_start_is_named_so_that_every_machine_finds_its_own(services: Services) -> None:
    embedded = StillServices(services.settings, load_model=fake_predictor)
    planned = plan_run(embedded, asked(start="checkpoint:sample"), "admin")
    assert planned.config.init == "sample" and "--init=sample" in planned.argv
    elsewhere = plan_run(services, asked(start="checkpoint:sample"), "admin").config.init
    assert elsewhere == str(services.registry.find("sample").folder)
    embedded.engine.dispose()


@pytest.mark.parametrize("tracker", ["wandb", "mlflow", "trackio"])
def test_only_an_admin_sends_numbers_in_the_operators_name(services: Services, tracker: str) -> None:
    wanted = asked(fields=SMALL | {"tracker": tracker})
    with pytest.raises(UserError, match=f"Only an admin sends a run's numbers to {tracker}"):
        plan_run(services, wanted, "curator")
    assert plan_run(services, wanted, "admin").config.tracker == tracker
    assert plan_run(services, asked(fields=SMALL | {"tracker": "tensorboard"}), "curator").config.tracker


def test_gpus_and_clusters_take_what_they_are_asked_for(services: Services) -> None:
    job = enqueued(services, train_actions.queue(services, ADA, asked(where="gpu", processes=2)))
    assert (job.device, job.width, job.backend) == ("gpu", 2, "local")
    assert {"--num_processes=2", "--multi_gpu"} <= set(job.argv) and "--cpu" not in job.argv
    cluster = enqueued(services, train_actions.queue(services, ADA, asked(name="far", where="ray", processes=0)))
    assert (cluster.device, cluster.width, cluster.backend) == ("ray", 1, "ray") and "--cpu" in cluster.argv
    with pytest.raises(UserError, match="3 GPUs cannot be had at gpu: take 1 to 2"):
        plan_run(services, asked(where="gpu", processes=3), "admin")
    with pytest.raises(UserError, match="no place 'moon'"):
        plan_run(services, asked(where="moon"), "admin")


HOSTILE = ["$(touch x)", "-rf", "a\nb", "; reboot", "`id`", "../../etc", "a/b", "", "<img onerror=x>", "ü" * 70]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_are_refused_or_stay_one_word(services: Services, text: str) -> None:
    with pytest.raises(UserError, match="needs a name"):
        plan_run(services, asked(name=text), "admin")
    with pytest.raises(UserError):
        plan_run(services, asked(data=f"version:{text}"), "admin")
    if "\n" not in text and len(text) < 70 and text:
        planned = plan_run(services, asked(fields=SMALL | {"twin": text}), "admin")
        assert f"--twin={text.strip()}" in planned.argv
        assert text not in train_panels.plan_panel(planned, []) or "<" not in text
    with pytest.raises(UserError):
        plan_run(
            services, asked(start="open_clip", open_clip=f"ViT-B-16:{text};") if text else asked(start="x"), "admin"
        )


def test_data_that_are_not_there_are_made_by_a_job_that_the_training_waits_for(services: Services) -> None:
    first = enqueued(services, train_actions.queue(services, ADA, asked(data="world:700")))
    second = enqueued(services, train_actions.queue(services, ADA, asked(name="other", data="world:700")))
    with transaction(services.engine) as session:
        (made,), (again,) = (jobs_before(session, job_id=each.id) for each in (first, second))
    assert made.kind == "data" and again.id == made.id
    assert made.argv[1:] == ["-m", "curation.sample.world", f"--out={first.config['train']['data']}", "--images=700"]
    with transaction(services.engine) as session:
        claimed = [claim_job(session, slots={"cpu": 9}, worker="me", lease_seconds=60) for _ in range(2)]
        assert [job.id if job else None for job in claimed] == [made.id, None]
        finish_job(session, job_id=made.id, token=1, state="done")
        after = claim_job(session, slots={"cpu": 9}, worker="me", lease_seconds=60)
        assert after is not None and after.id == first.id


def checks_of(services: Services, wanted: TrainRequest) -> dict[str, PreflightCheck]:
    return {each.name: each for each in check_plan(services, plan_run(services, wanted, "admin"))}


def test_the_preflight_names_what_is_wrong(services: Services, tmp_path: Path) -> None:
    checks = checks_of(services, asked())
    assert (checks["data"].state, checks["name"].state, checks["memory"].state) == ("ok", "ok", "open")
    assert "12 pictures to train on, 6 held out" in checks["data"].found
    assert checks_of(services, asked(fields=SMALL | {"batch_size": 16}))["data"].state == "bad"
    with pytest.raises(UserError, match="fewer than a batch of 16"):
        train_actions.queue(services, ADA, asked(fields=SMALL | {"batch_size": 16}))
    broken = services.settings.home / "worlds" / "13"
    broken.mkdir()
    (broken / "manifest.json").write_text('{"schema_version": 9, "splits": {}}')
    assert "schema 9" in checks_of(services, asked(data="world:13"))["data"].found
    train_actions.queue(services, ADA, asked())
    assert checks_of(services, asked())["name"].state == "bad"
    huge = asked(name="huge", fields=SMALL | {"preset": "vit-l-14", "keep": "100000000"})
    assert checks_of(services, huge)["disk"].state == "bad"
    uneven = checks_of(services, asked(where="ray", processes=3))["memory"]
    assert uneven.state == "bad" and "must be a multiple of the 3 processes" in uneven.found


def test_the_memory_by_estimate_knows_what_is_computed_again(services: Services) -> None:
    plain, recomputed = (
        checks_of(services, asked(fields=SMALL | {"preset": "vit-b-16", "recompute": again}))["memory"].found
        for again in (False, True)
    )
    kept, less = (float(found.split()[1]) for found in (plain, recomputed))
    assert "GB by estimate" in plain and less < kept


def test_of_two_who_queue_a_name_at_once_one_gets_it(services: Services) -> None:
    """As when another passes between the check and the queue: its folder is there, its job is not seen yet."""
    planned = plan_run(services, asked(), "admin")
    with train_actions.reserved_folder(planned.config):
        pass
    with pytest.raises(UserError, match="a run first already"), train_actions.reserved_folder(planned.config):
        raise AssertionError("both have it")
    with (
        pytest.raises(UserError, match="the queue is away"),
        train_actions.reserved_folder(replace(planned.config, out=planned.config.out / "b")),
    ):
        raise UserError("the queue is away")
    assert planned.config.out.is_dir() and not (planned.config.out / "b").exists()


def test_dry_steps_of_the_same_settings_answer_for_memory_and_time(services: Services) -> None:
    wanted = asked(where="ray", processes=1)
    job = enqueued(services, train_actions.measure(services, ADA, wanted))
    assert job.argv[job.argv.index("-m", 3) + 1] == "grain.train.preflight" and job.priority == SOONER
    assert train_actions.measure(services, ADA, wanted) == job.id, "a button that is pressed twice"
    assert "dry steps are queued" in checks_of(services, wanted)["memory"].found
    said = {"device": "H100", "memory_bytes": 75 * 2**30, "memory_total_bytes": 80 * 2**30, "seconds_per_step": 2.0}
    said |= {"evaluation_seconds": 30.0}
    folder = services.settings.home / "jobs" / str(job.id)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text(f"--- attempt 1\n{json.dumps(said)}\n")
    with transaction(services.engine) as session:
        claim_job(session, slots={"ray": 1}, worker="me", lease_seconds=60)
        finish_job(session, job_id=job.id, token=1, state="done")
    checks = checks_of(services, replace(wanted, name="another"))
    assert checks["memory"].state == "warn" and "75.0 of 80 GB measured on H100" in checks["memory"].found
    assert checks["time"].found == (
        "16 steps of 2.00 s with their loading, 1 evaluation of 30 s: 62 s in all, but for saving states"
    )
    assert checks_of(services, asked())["memory"].state == "open"  # of another place nothing is known


def test_dry_steps_that_ran_out_of_memory_forbid_to_queue(services: Services) -> None:
    job = train_actions.measure(services, ADA, asked())
    with transaction(services.engine) as session:
        claim_job(session, slots={"cpu": 1}, worker="me", lease_seconds=60)
        finish_job(session, job_id=job, token=1, state="failed", exit_reason="memory: it ran out of memory: a hint")
    with pytest.raises(UserError, match=r"ran out of memory.*take a smaller batch"):
        train_actions.queue(services, ADA, asked())


def test_only_the_owner_or_an_admin_stops_a_run(services: Services) -> None:
    job = train_actions.queue(services, ADA, asked())
    for person in (BOB, EVE):
        for what in ("cancel", "pause", "sooner"):
            with pytest.raises(UserError, match=r"is ada's: only ada or an admin"):
                control_job(services.jobs, person, job, what=what)
    assert enqueued(services, job).state == "queued"
    control_job(services.jobs, ADA, job, what="sooner")
    assert enqueued(services, job).priority == 1
    control_job(services.jobs, ROOT, job, what="cancel")
    assert enqueued(services, job).state == "cancelled"
    control_job(services.jobs, ADA, job, what="resume")
    assert enqueued(services, job).state == "queued"
    with pytest.raises(UserError, match="A job cannot 'explode'"):
        control_job(services.jobs, ADA, job, what="explode")
    with pytest.raises(UserError, match="There is no job 99999: choose one"):
        control_job(services.jobs, ROOT, 99999, what="cancel")


def test_a_button_pressed_twice_does_as_much_as_once_and_complains_only_where_it_did_nothing(
    services: Services,
) -> None:
    job = train_actions.queue(services, ADA, asked())
    for what, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled"), ("resume", "queued")):
        for _ in range(2):
            control_job(services.jobs, ADA, job, what=what)
            assert enqueued(services, job).state == state
    control_job(services.jobs, ADA, job, what="cancel")
    with pytest.raises(UserError, match="is cancelled: only a queued or running job can be paused"):
        control_job(services.jobs, ADA, job, what="pause")
    control_job(services.jobs, ADA, job, what="resume")
    with transaction(services.engine) as session:
        assert claim_job(session, slots={"cpu": 1}, worker="me", lease_seconds=60)
    control_job(services.jobs, ADA, job, what="resume")
    control_job(services.jobs, ADA, job, what="pause")
    with pytest.raises(UserError, match="is running: only a failed"):  # it is about to stop
        control_job(services.jobs, ADA, job, what="resume")


def test_a_job_of_another_page_is_its_owners_as_well(services: Services) -> None:
    job = queue_import(services.jobs, name="world", owner="ada", sample=4)
    with pytest.raises(UserError, match=r"is ada's: only ada or an admin may cancel it"):
        control_job(services.jobs, BOB, job, what="cancel")
    control_job(services.jobs, ADA, job, what="cancel")
    assert enqueued(services, job).state == "cancelled"


def test_a_duplicate_has_the_settings_and_another_name(services: Services) -> None:
    job = train_actions.queue(services, ADA, asked(fields=SMALL | {"losses.box": "3"}))
    form = train_runs.form_of(services, job)
    other = TrainRequest.read(form)
    assert (other.name, other.fields["losses.box"]) == ("first-2", 3.0)
    second = train_actions.queue(services, BOB, other)
    jobs = [enqueued(services, each) for each in (job, second)]
    assert name_of(jobs[1]) == "first-2" and train_runs.settings_difference(jobs) == {}
    changed = train_actions.queue(services, BOB, replace(other, name="x", fields={**other.fields, "seed": 7}))
    assert train_runs.settings_difference([jobs[0], enqueued(services, changed)]) == {"seed": [0, 7]}


def test_a_duplicate_of_a_run_whose_data_are_gone_chooses_no_others(services: Services) -> None:
    job = train_actions.queue(services, ADA, asked())
    event: Any = SimpleNamespace(ask="duplicate", job=job)
    visit = gr.Request(Request({"type": "http", PERSON_KEY: ADA}))
    gone = '<option value="world:12" selected>is gone: choose another</option>'
    assert gone not in TrainPage(services).ask(visit, event)
    (services.settings.home / "worlds" / "12").unlink()
    assert gone in TrainPage(services).ask(visit, event)
    with pytest.raises(UserError):
        plan_run(services, asked(data=f"version:{'0' * 64}"), "curator")


def test_a_run_is_seen_whole_and_its_checkpoint_promoted_at_once(services: Services) -> None:
    job = enqueued(services, train_actions.queue(services, ADA, asked()))
    run = Path(job.config["train"]["out"])
    write_fake_checkpoint(run / "best")
    (run / "best" / "metrics.json").write_text('{"grounding_acc50": 0.25}')
    (run / METRICS_LOG).write_text('{"step": 1, "images": 4, "loss": 3.5, "images_per_second": 2.0}\n')
    keep_hardware(run, RunHardware("NVIDIA H100", "bf16"))
    view = train_runs.view(services, job.id)
    assert [each.metrics for each in view.kept] == [{"grounding_acc50": 0.25}] and view.log.last_step == 1
    [row] = train_runs.runs(services, 10)
    assert row.latest["loss"] == 3.5 and train_runs.seconds_left(row.latest, job.config["train"]) == 30.0
    shown = train_panels.watch_panel([view]) + train_panels.runs_panel([row], [job.id], more=False)
    assert "0.250" in shown and "step 1 of 16" in shown and "bf16 on NVIDIA H100" in shown
    other = queue_import(services.jobs, name="world", owner="ada", sample=4)
    named = [str(job.id), "x", "²", "-1", "9" * 30, str(other), "4096"]
    assert train_runs.are_runs(services, named) == [str(job.id)]
    with pytest.raises(UserError, match="no checkpoint 'final' yet"):
        train_runs.promote(services, job.id, "final")


def test_what_a_run_says_is_shown_escaped_and_holds_no_secret(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_mine")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ray_secret_of_mine")
    job = enqueued(services, train_actions.queue(services, ADA, asked(where="ray", processes=0)))
    folder = services.settings.home / "jobs" / str(job.id)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("<script>alert(1)</script>\n")
    view = train_runs.view(services, job.id)
    page = train_panels.log_panel([view]) + train_panels.watch_panel([view])
    assert "&lt;script&gt;" in page and "<script>" not in page
    kept = json.dumps([job.config, job.argv]) + page
    assert "secret_of_mine" not in kept


def test_an_export_leaves_this_machine_only_when_asked(services: Services) -> None:
    job = enqueued(services, train_actions.queue(services, ADA, asked()))
    run = Path(job.config["train"]["out"])
    write_fake_checkpoint(run / "best")
    (run / "best" / "metrics.json").write_text("{}")
    quiet = enqueued(services, train_runs.keep(services, ADA, job.id, which="best"))
    assert not [word for word in quiet.argv if "push" in word]
    assert train_runs.keep(services, ADA, job.id, which="best") == quiet.id, "a button that is pressed twice"
    with pytest.raises(UserError, match="Only an admin pushes to the hub"):
        train_runs.keep(services, ADA, job.id, which="best", push_to="ada/model")
    admin = replace(ADA, role="admin")
    pushed = enqueued(services, train_runs.keep(services, admin, job.id, which="best", push_to="ada/model"))
    assert "--push-to=ada/model" in pushed.argv
    with pytest.raises(UserError, match="OWNER/NAME"):
        train_runs.keep(services, admin, job.id, which="best", push_to="../x; rm")
    graphs = enqueued(services, train_runs.keep_onnx(services, ADA, job.id, which="best"))
    assert train_runs.keep_onnx(services, ADA, job.id, which="best") == graphs.id != quiet.id != pushed.id
    words = graphs.argv[graphs.argv.index("grain.model.onnx_export") + 1 :]
    out = services.settings.home / "exports" / f"{run.name}-best-onnx"
    assert tyro.cli(OnnxExportConfig, args=words) == OnnxExportConfig(run / "best", out)


# devices, wide jobs, jobs elsewhere


def test_gpus_are_found_and_shared_out(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert gpus({}, tmp_path) == ("0", "2", "10")
    assert gpus({"CUDA_VISIBLE_DEVICES": "3,1"}, tmp_path) == ("3", "1")
    assert gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == () == gpus({"CUDA_VISIBLE_DEVICES": "-1"}, tmp_path)
    assert visible_to("gpu", 1, width=2, all_gpus=("0", "2", "10")) == {"CUDA_VISIBLE_DEVICES": "2,10"}
    assert visible_to("gpu", 3, width=1, all_gpus=("0", "2", "10")) == {"CUDA_VISIBLE_DEVICES": "0"}
    assert visible_to("cpu", 0, width=1, all_gpus=("0",)) == {} == visible_to("ray", 0, width=1, all_gpus=())
    assert slots_here()["cpu"] == 1


def queued(services: Services, **options: Any) -> int:
    with transaction(services.engine) as session:
        defaults = {"kind": "train", "owner": "ada", "config": {}, "argv": ["true"], "device": "gpu"}
        return enqueue_job(session, **(defaults | options)).id


def claim(services: Services) -> Job | None:
    with transaction(services.engine) as session:
        return claim_job(session, slots={"gpu": 4, "ray": 1}, worker="me", lease_seconds=60)


def test_wide_jobs_get_slots_in_a_row_and_are_not_overtaken(services: Services) -> None:
    first, wide, narrow = (queued(services, width=width) for width in (2, 3, 1))
    one = claim(services)
    assert one is not None and (one.id, one.slot) == (first, 0)
    assert claim(services) is None  # three do not fit, and the narrow one behind waits its turn
    with transaction(services.engine) as session:
        finish_job(session, job_id=first, token=1, state="done")
    two, three = claim(services), claim(services)
    assert two is not None and (two.id, two.slot) == (wide, 0)
    assert three is not None and (three.id, three.slot) == (narrow, 3)
    with pytest.raises(ValueError, match="one slot or more, got 0"):
        queued(services, width=0)


def test_a_job_that_goes_on_elsewhere_is_handed_over_with_what_was_asked_of_it(services: Services) -> None:
    job = queued(services, device="ray", backend="ray")
    claimed = claim(services)
    assert claimed is not None
    with transaction(services.engine) as session:
        held = session.get(Job, job)
        assert held is not None
        held.external_id = "grain-1"
        request_cancel(session, job_id=job)
        assert hand_over_job(session, job_id=job, token=1) and not hand_over_job(session, job_id=job, token=1)
    again = claim(services)
    assert again is not None and (again.external_id, again.request, again.token) == ("grain-1", "cancel", 2)
    with transaction(services.engine) as session:
        finish_job(session, job_id=job, token=2, state="cancelled")
        assert requeue_job(session, job_id=job).external_id == ""
    with pytest.raises(JobStateError), transaction(services.engine) as session:
        requeue_job(session, job_id=job)
