"""The Evaluate page: its questions without a browser, and all of it in a real Chromium with a real job."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from sqlmodel import select

from app.access.accounts import LOCAL_PERSON, PERSON_KEY, Person
from app.access.rules import Role
from app.core.ground_links import find_question
from app.core.settings import Settings
from app.core.typed_descriptions import split_descriptions
from app.evaluate import actions as evaluate_actions
from app.evaluate import experiments as evaluate_experiments
from app.evaluate import job as evaluate_job
from app.evaluate import panels as evaluate_panels
from app.evaluate import picture_panels
from app.evaluate import plots as evaluate_plots
from app.evaluate.actions import link_to_ground, start
from app.evaluate.job import prepare
from app.evaluate.layout import ResultCards
from app.evaluate.page import EvaluatePage
from app.evaluate.request import (
    EvaluateRequest,
    command_line,
    data_set_choices,
    missing_data_sets,
    shown_command,
)
from app.evaluate.results import EvaluationResult, find_pair, read_file, read_result, result_names
from app.services import Services
from app.ui.jobs_list import JobView, jobs_panel
from curation.annotate.describe_classes import DraftDescription, accepted_path, save
from curation.sample.world import WorldConfig, write_world
from db.engine import transaction
from db.models import Job
from db.queries.job_queries import rename_in_jobs, request_cancel
from grain.class_texts import match_descriptions
from grain.data.layouts import open_path
from grain.data.published import PUBLISHED
from grain.evaluate.evaluate import EvaluateConfig, evaluate
from grain.evaluate.experiments import EXPERIMENTS, MAX_ARMS
from grain.model.pretrained import ModelCard, save_pretrained
from tests.support.browser_fixtures import fits, opened
from tests.support.still_services import StillServices
from tests.support.tiny import tiny_config, tiny_model
from tests.support.waiting import JOB_MS
from user_errors import UserError

RUN = "20260102-030405-abcdef"
HOSTILE = "<img src=x onerror=window.hacked=1>"
TITLED = """id => {
  const title = document.querySelector(`#${id} .gtitle`), frame = document.getElementById(id);
  return title?.textContent && title.getBoundingClientRect().top >= frame.getBoundingClientRect().top;
}"""  # whether a plot's title is not cut off: asked at one moment, since Plotly may be drawing it again


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GRAIN and its twin, which the real app lists."""
    folder, config = tmp_path_factory.mktemp("home") / "checkpoints", tiny_config()
    save_pretrained(tiny_model(config), config, folder / "tiny", card=ModelCard("tiny", "nothing", twin="tiny-clip"))
    save_pretrained(
        tiny_model(config.as_clip()), config.as_clip(), folder / "tiny-clip", card=ModelCard("tiny-clip", HOSTILE)
    )
    return folder


@pytest.fixture(scope="module")
def services(checkpoints: Path, data_folder: Path) -> Services:
    """A home with a finished evaluation."""
    home = checkpoints.parent
    evaluate(EvaluateConfig((str(checkpoints / "tiny"),), (str(data_folder),), home / "evaluations" / RUN))
    return Services(Settings(home=home))


def wanted(
    models: Sequence[str] = ("tiny",), data_sets: Sequence[str] = ("sample-world",), paths: str = ""
) -> EvaluateRequest:
    return EvaluateRequest(models, data_sets, paths=paths)


def test_the_form_becomes_the_words_of_a_command(services: Services, checkpoints: Path) -> None:
    models = ["sample", "tiny"]
    form = EvaluateRequest(models, ["sample-world"], paths="/a b\n\n/c\n", descriptions="x.json", limit=20)
    words = command_line(services, form, out="NAME", role="admin")
    home = services.settings.home
    assert words == [
        *("-m", "app.evaluate.job", "--models", "sample", str(checkpoints / "tiny")),
        *("--data-sets", "sample-world", "/a b", "/c", f"--out={home}/evaluations/NAME"),
        *(f"--cache={home}/evaluations/cache", f"--root={home}/data_sets", "--descriptions", "x.json", "--limit=20"),
    ]


def test_other_ways_and_the_authors_grammar_become_flags(services: Services) -> None:
    form = EvaluateRequest(["sample"], ["sample-world"], options=["authors", "weighted_crops", "filtered"])
    words = command_line(services, form, out="NAME", role="admin")
    assert words[-4:] == ["--other-ways", "filtered", "weighted_crops", "--grammar=authors"]


def test_a_model_may_be_a_folder_or_an_open_clip_model_too(services: Services, checkpoints: Path) -> None:
    models = [str(checkpoints / "tiny-clip"), "open_clip:ViT-B-32=b.safetensors"]
    assert command_line(services, wanted(models), out="NAME", role="admin")[3:5] == models


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        (wanted(models=()), "No model is chosen"),
        (wanted(data_sets=()), "No data set is chosen"),
        (wanted(paths="--out=/etc"), "begins with a dash"),
        (
            EvaluateRequest(["tiny"], ["sample-world"], limit=-5),
            "to 1,000,000,000 pictures of each data set, got -5",
        ),
        (EvaluateRequest(["tiny"], ["sample-world"], limit=float("inf")), "got inf"),
        (EvaluateRequest(["tiny"], ["sample-world"], descriptions="-x"), "begins with a dash"),
        (wanted(models=("nobody",)), "There is no checkpoint 'nobody'"),
    ],
)
def test_what_cannot_be_started_is_said_in_a_sentence(services: Services, form: EvaluateRequest, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        command_line(services, form, out="NAME", role="curator")


@pytest.mark.parametrize("role", ["viewer", "curator"])
def test_only_an_admin_names_what_lies_outside_the_home(
    services: Services, tmp_path: Path, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = services.settings.home
    monkeypatch.chdir(home)  # a job reads `photos` from elsewhere
    (home / "photos").mkdir(exist_ok=True)
    (home / "way-out").unlink(missing_ok=True)
    (home / "way-out").symlink_to(tmp_path)
    outside = [
        *(wanted(paths=path) for path in (str(tmp_path), f"{home}/../x", f"{home}/way-out", "photos", "version/../..")),
        *(wanted(paths=f"{home}/photos#{split}") for split in ("../..", str(tmp_path))),
        *(
            EvaluateRequest(["tiny"], ["sample-world"], descriptions=file)
            for file in ("/etc/x.json", f"sample-world={tmp_path}/x.json")
        ),
        *(wanted(models=(name,)) for name in (str(tmp_path), f"open_clip:ViT-B-32={tmp_path}/b.safetensors")),
        *(wanted(models=(name,)) for name in ("~/x", "open_clip:ViT-B-32=b.safetensors", f"{home}/way-out/x")),
        wanted(data_sets=(str(tmp_path),)),
    ]
    for form in outside:
        with pytest.raises(UserError, match="outside GRAIN_HOME, where only an admin may read"):
            shown_command(services, form, role)
        with pytest.raises(UserError, match="outside GRAIN_HOME"):
            start(services, form, Person("ana", role))
        assert shown_command(services, form, LOCAL_PERSON.role)
    with pytest.raises(UserError, match="outside GRAIN_HOME"):
        evaluate_experiments.with_arms(
            services, wanted(models=()), name="losses", checkpoints=["tiny", str(tmp_path)], role=role
        )
    asks: Any = SimpleNamespace(scope={PERSON_KEY: Person("ana", role)})
    line, said = EvaluatePage(services).plan(asks, ["tiny"], [], str(tmp_path), "", 0, [])
    assert (line, "outside GRAIN_HOME" in said) == ("", True), "the page asks in the person's name"
    arms = ["tiny", str(tmp_path), *[""] * (MAX_ARMS - 2)]
    line, said = EvaluatePage(services).plan_experiment(asks, "losses", *arms, [], ["sample-world"], "", "", 0, [])
    assert (line, "outside GRAIN_HOME" in said) == ("", True)
    inside = EvaluateRequest(
        ["tiny", "open_clip:ViT-B-32=openai"],
        ["cifar10"],
        paths=f"{home}/photos#test",
        descriptions=f"{home}/x.json",
    )
    assert shown_command(services, inside, role) == shown_command(services, inside, "admin")


def test_an_experiment_takes_the_checkpoints_that_are_here_and_has_commands_for_the_rest(
    services: Services, checkpoints: Path
) -> None:
    home = services.settings.home
    assert [name for _, name in evaluate_experiments.experiment_choices()] == list(EXPERIMENTS)
    (home / "runs" / "no-rd" / "final").mkdir(parents=True, exist_ok=True)
    view = evaluate_experiments.view_experiment(services, "losses")
    assert [each.checkpoint for each in view.arms] == ["", str(home / "runs" / "no-rd" / "final"), "", "", ""]
    shown = evaluate_panels.experiment_panel(view)
    assert "4 to train" in shown and "row <code>ablations</code> of docs/benchmarks.md" in shown
    assert "curation.sample.world --out data/world" in shown and "--out " + str(home / "runs" / "no-box") in shown
    assert "--losses.region-description" in shown
    embedded = evaluate_experiments.view_experiment(services, "no-box-head")
    assert ([each.checkpoint for each in embedded.arms], embedded.worlds) == (["sample", "sample"], ())
    assert "to train" not in evaluate_panels.experiment_panel(embedded)
    told = evaluate_experiments.view_experiment(services, "annotations")
    assert [line for line in told.worlds if "--sample.wrong 0.4" in line]


def test_an_experiment_on_chosen_checkpoints_is_a_job_like_any_other(services: Services, checkpoints: Path) -> None:
    tried = evaluate_experiments.with_arms(
        services,
        wanted(models=()),
        name="losses",
        checkpoints=["tiny", str(checkpoints / "tiny-clip")],
        role="curator",
    )
    assert command_line(services, tried, out="NAME", role="curator")[2:8] == [
        *("--experiment", "losses", "--arms", f"full={checkpoints}/tiny", f"no-rd={checkpoints}/tiny-clip"),
        "--no-twins",
    ]
    same = evaluate_experiments.with_arms(
        services, wanted(models=()), name="no-box-head", checkpoints=["sample", "sample"], role="viewer"
    )
    assert same.arms == ("with=sample", "without=sample")


@pytest.mark.parametrize(
    ("name", "arms", "sentence"),
    [
        ("losses", ["tiny", "", " "], "Two arms or more are compared"),
        ("losses", ["tiny", "tiny"], "full and no-rd have the same checkpoint"),
        ("losses", ["tiny", "nobody"], "There is no checkpoint 'nobody'"),
        ("luck", ["tiny", "tiny-clip"], "There is no such experiment"),
    ],
)
def test_an_experiment_that_cannot_start_is_a_sentence(
    name: str, arms: list[str], sentence: str, services: Services
) -> None:
    with pytest.raises(UserError, match=sentence):
        evaluate_experiments.with_arms(services, wanted(models=()), name=name, checkpoints=arms, role="admin")


def test_every_model_is_set_against_the_first_with_intervals(services: Services) -> None:
    data = read_result(services, RUN).metrics["data_sets"][0]
    shown = evaluate_panels.leads_panel(data)
    assert "ahead of <b>tiny</b>" in shown and "each by its best" in shown and shown.count("<td") == 5
    figure = evaluate_plots.leads(data["leads"], "tiny")
    assert [trace.name for trace in figure.data][:3] == ["names", "descriptions", "each by its best"]
    assert "of 1 surely behind" in figure.layout.title.text
    assert evaluate_panels.leads_panel({}) == "" and len(evaluate_plots.leads([], "").data) == 0


def test_several_data_sets_are_read_side_by_side(services: Services) -> None:
    metrics = read_result(services, RUN).metrics
    data = metrics["data_sets"][0]
    assert evaluate_panels.across_panel(metrics) == ""
    other = data | {"name": HOSTILE, "rows": data["rows"][1:]}
    shown = evaluate_panels.across_panel({"data_sets": [data, other, data | {"rows": []}]})
    assert shown.count("<tr>") == 7 and shown.count('<td class="number">') == 11 and shown.count("<td>–") == 1
    assert HOSTILE not in shown and "&lt;img" in shown


def test_retrieval_has_its_table_its_leads_and_its_plot(services: Services, data_folder: Path, tmp_path: Path) -> None:
    models = (str(services.settings.home / "checkpoints" / "tiny"),)
    metrics = evaluate(EvaluateConfig(models, (f"{data_folder}#held_out",), tmp_path / "run"))
    data = metrics["data_sets"][0]
    assert f"{data['captions']} captions" in evaluate_panels.head_panel(data)
    shown = evaluate_panels.measures_panel(data)
    assert shown.count("R@10") == 2 and shown.count('<td class="number">') >= 12
    assert "caption → picture R@1" in evaluate_panels.leads_panel(data)
    title = evaluate_plots.leads(data["leads"], "tiny").layout.title.text
    assert title.startswith("Picture → caption R@1")


def test_what_is_not_on_this_machine_is_listed_with_what_to_do(services: Services) -> None:
    lacking = missing_data_sets(services)
    assert len(lacking) == len(PUBLISHED) >= 40
    shown = evaluate_panels.missing_panel(lacking)
    assert (
        f"{len(PUBLISHED)} published data sets are not here" in shown
        and str(services.settings.home / "data_sets") in shown
    )
    (services.settings.home / "data_sets" / "dtd").mkdir(parents=True)
    assert ("DTD", "dtd") in data_set_choices(services)
    assert "DTD" not in dict(missing_data_sets(services))


def test_only_finished_evaluations_of_ours_are_listed_and_read(services: Services) -> None:
    (services.settings.home / "evaluations" / "cache").mkdir(exist_ok=True)
    assert result_names(services) == [RUN]
    assert read_result(services, RUN).data_set_names() == ["tiny"]
    for name in ("", "cache", "../checkpoints", "20260102-030405-000000"):
        with pytest.raises(UserError):
            read_result(services, name)
    with pytest.raises(UserError, match="no file"):
        read_file(read_result(services, RUN), "../../grain.sqlite")


def test_an_evaluation_that_is_asked_for_twice_is_one_job_and_no_data_sets(checkpoints: Path) -> None:
    still = StillServices(Settings(home=checkpoints.parent))
    job, again = (start(still, wanted(), LOCAL_PERSON) for _ in range(2))
    assert again == job, "a button that is pressed twice"
    assert start(still, wanted(data_sets=("sample-sketch",)), LOCAL_PERSON) != job
    with transaction(still.engine) as session:
        rename_in_jobs(session, before="tiny", made=datetime.now(UTC), name="another")  # a data set of a model's name
    queued = still.jobs.get(job)
    assert queued is not None
    assert "tiny" in jobs_panel([JobView(queued, (), ())]) and "another" not in jobs_panel([JobView(queued, (), ())])
    with transaction(still.engine) as session:
        for each in session.exec(select(Job)):
            request_cancel(session, job_id=each.id)
    assert start(still, wanted(), LOCAL_PERSON) != job, "what is over may be evaluated again"
    still.engine.dispose()


def test_a_pair_reads_the_same_from_either_side(services: Services) -> None:
    found = read_result(services, RUN)
    data, details = found.metrics["data_sets"][0], found.details["data_sets"][0]
    one, other = "tiny · names", "tiny-clip · descriptions"
    there, back = (find_pair(data["pairs"], *pair) for pair in ((one, other), (other, one)))
    assert there is not None and back is not None
    assert there["lead"] == [-back["lead"][0], -back["lead"][2], -back["lead"][1]]
    assert (there["only_one"], there["only_other"]) == (back["only_other"], back["only_one"])
    there, back = (find_pair(details["deltas"], *pair) for pair in ((one, other), (other, one)))
    assert there is not None and back is not None
    assert (there["wins"], there["losses"]) == (back["losses"], back["wins"])
    assert [row["name"] for row in there["classes"]] == [row["name"] for row in back["classes"]][::-1]
    assert find_pair(data["pairs"], one, one) is None


def test_detection_and_contrasts_have_tables_of_what_was_measured() -> None:
    data: dict[str, Any] = {"retrieval": [], "grounding": []}
    assert evaluate_panels.measures_panel(data) == ""
    data["detection"] = [
        {"model": "a", "ap": [0.5, 0.4, 0.6], "ap50": [0.7, 0.6, 0.8], "categories": 80},
        {"model": "b", "ap": [0.5, 0.4, 0.6], "ap50": [0.7, 0.6, 0.8], "ap_rare": [0.1, 0.0, 0.2], "categories": 80},
    ]
    data["contrasts"] = [{"model": "a", "text": [0.3, 0.2, 0.4], "examples": 400}]
    shown = evaluate_panels.measures_panel(data)
    assert shown.count("<table") == 2 and ">rare<" in shown and ">frequent<" not in shown and ">pictures<" not in shown
    assert shown.count("<td>–</td>") == 1 and "30.0 <i>[20.0, 40.0]</i>" in shown


@pytest.mark.parametrize(
    ("lead", "facts", "classes", "words"),
    [
        ([0.1, 0.02, 0.2], {"groups": 50, "p_value": 0.021}, 50, "(permutation test over 50 classes, p = 0.021)"),
        ([0.1, -0.02, 0.2], {"groups": 50, "p_value": 0.2}, 50, "which chance may well explain (permutation"),
        ([0.1, 0.02, 0.2], {"groups": 0, "p_value": 0.0001}, 3, "p &lt; 0.001; it is about these 3 classes alone)"),
        ([0.1, -0.02, 0.2], {"p_value": 0.0001}, 50, "[-2.0, +20.0], which chance may well explain. It alone"),
    ],
)
def test_a_lead_has_one_statement_of_its_chance(
    lead: list[float], facts: dict[str, float], classes: int, words: str
) -> None:
    pair = {"one": "a", "other": "b", "lead": lead, "only_one": 3, "only_other": 1} | facts
    shown = evaluate_panels.pair_panel({"pairs": [pair], "classes": classes}, "a", "b")
    assert words in shown.replace("&#39;", "'"), shown
    assert ("more than chance explains" in shown) == (lead[1] > 0)


def test_what_has_no_result_is_listed_with_its_reason() -> None:
    pairs = [("a", "x"), ("b", "x"), ("c", "x"), ("c", "y")]
    failures = [{"model": m, "data_set": d, "reason": "Gone." if d == "x" else "Broken."} for m, d in pairs]
    shown = evaluate_panels.failures_panel(failures)
    assert "4 pairs" in shown and shown.count("<li>") == 2
    assert "<b>a, b, c</b> on <b>x</b>: Gone." in shown and "<b>c</b> on <b>y</b>: Broken." in shown
    assert evaluate_panels.failures_panel([]) == ""


def test_a_card_is_there_while_it_has_something_to_show(services: Services, data_folder: Path, tmp_path: Path) -> None:
    page, names = EvaluatePage(services), [f"card {name}" for name in ResultCards._fields]

    def cards(*choice: Any) -> set[str]:
        shown = page.show(*choice)[-len(names) :]
        return {name.removeprefix("card ") for name, each in zip(names, shown, strict=True) if each["visible"]}

    assert cards("", 0, "", "") == {"controls"}
    assert cards(RUN, 0, "tiny · names", "tiny · regions") == set(ResultCards._fields)
    assert cards(RUN, 0, "tiny-clip · names", "tiny · regions") == set(ResultCards._fields)
    evaluate(
        EvaluateConfig(
            (str(services.settings.home / "checkpoints" / "tiny"),),
            (f"{data_folder}#held_out",),
            services.settings.home / "evaluations" / "20250102-030405-abcdef",
            twins=False,
        )
    )
    assert cards("20250102-030405-abcdef", 0, "", "") == {"controls", "files", "grounding", "costs"}
    shutil.rmtree(services.settings.home / "evaluations" / "20250102-030405-abcdef")


def test_without_classes_there_is_no_table_of_them(services: Services) -> None:
    data = read_result(services, RUN).metrics["data_sets"][0]
    assert evaluate_panels.table_panel(data) and evaluate_panels.table_panel(data | {"rows": []}) == ""


def test_what_models_and_people_wrote_is_escaped(services: Services) -> None:
    found = read_result(services, RUN)
    data = json.loads(json.dumps(found.metrics["data_sets"][0]).replace("tiny-clip", HOSTILE))
    details = json.loads(json.dumps(found.details["data_sets"][0]).replace("zorbex", HOSTILE))
    hostile = EvaluationResult(RUN, found.folder, {"data_sets": [data]}, {"data_sets": [details]})
    one, other = "tiny · names", "tiny · descriptions"
    said = [
        evaluate_panels.table_panel(data),
        evaluate_panels.costs_panel(data),
        evaluate_panels.measures_panel(data),
        evaluate_panels.head_panel(data | {"name": HOSTILE}),
        picture_panels.examples_panel(hostile, 0, one=one, other=other),
        picture_panels.confusion_panel(hostile, 0, one),
        *(picture_panels.apart_panel(hostile, 0, one=pair["one"], other=pair["other"]) for pair in details["deltas"]),
        picture_panels.effects_panel(hostile, 0, "tiny"),
        evaluate_panels.pair_panel(data, f"{HOSTILE} · names", one),
    ]
    assert sum("&lt;img" in each for each in said) >= 4
    assert [each for each in said if "<img src=x" in each] == []


def test_every_plot_says_what_was_found_and_has_axes(services: Services) -> None:
    details = read_result(services, RUN).details["data_sets"][0]
    figures = [
        evaluate_plots.deltas(details["deltas"][0]),
        evaluate_plots.leads(read_result(services, RUN).metrics["data_sets"][0]["leads"], "tiny"),
        evaluate_plots.alpha(details["sweeps"]),
        evaluate_plots.grounding(details["grounding"]),
        evaluate_plots.calibration(details["rows"], ["tiny · names"]),
    ]
    for figure in figures:
        assert len(figure.layout.title.text) > 20
        assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
    bins = [{"pictures": 4, "confidence": 0.5, "accuracy": right} for right in (0.25, 0.75)]
    calibrated = evaluate_plots.calibration({"fox · names": {"calibration": bins}}, ["fox · names"])
    assert calibrated.layout.title.text.replace("<br>", " ") == "fox · names is on average as sure as it is right"
    row = {"name": "fox", "pictures": 9, "one": 1.0, "other": 0.0, "lead": [1.0, 0.4, 1.0], "discovery_rate": 0.004}
    one_class = "1 class better, 0 worse; 1 of the differences is sure (blue)"
    title = evaluate_plots.deltas({"classes": [row]}).layout.title.text
    assert title.replace("<br>", " ") == one_class
    empty = [evaluate_plots.alpha({}), evaluate_plots.grounding({}), evaluate_plots.calibration({}, [])]
    assert [len(figure.data) for figure in empty] == [0, 0, 0]


def test_a_picture_opens_on_ground_with_its_classs_descriptions(tmp_path: Path, services: Services) -> None:

    found = read_result(services, RUN)
    pictures = found.details["data_sets"][0]["pictures"]
    row = next(row for row, one in pictures.items() if one["true"] == "zorbex")
    link = link_to_ground(services, found, data_set=0, picture=int(row), model="tiny")
    question = find_question(services.settings, services.engine, link)
    assert question.descriptions.splitlines() == ["a red lid", "a blue star"]
    assert json.loads(question.classes)["zorbex"] == ["a red lid", "a blue star"]
    assert (question.checkpoint, Path(question.picture).is_file()) == ("tiny", True)
    assert question.alpha == services.registry.default_alpha("tiny") != 1
    details = {"data_sets": [{**found.details["data_sets"][0], "descriptions": {"zorbex": ["a red, round lid"]}}]}
    link = link_to_ground(services, replace(found, details=details), data_set=0, picture=int(row), model="tiny")
    assert split_descriptions(find_question(services.settings, services.engine, link).descriptions) == [
        "a red, round lid"
    ]
    with pytest.raises(UserError, match="was not kept"):
        link_to_ground(services, found, data_set=0, picture=10**6, model="tiny")


def test_the_example_photographs_are_recognised_by_the_texts_of_their_classes(services: Services) -> None:
    assert ("photographs in grocery stores, 24 classes", "groceries") in data_set_choices(services)
    place, _, split = prepare("groceries", Path()).partition("#")
    data = open_path(Path(place), split)
    assert (data.name, data.total, len(data.class_names)) == ("groceries", 120, 24)
    assert {*data.class_names} == data.classes.keys() and "red bell pepper" in data.class_names
    found = match_descriptions(data.classes, data.class_names)
    assert found.missing == found.unknown == () and found.classes["lime"][0].startswith("The lime fruit, like lemon")


def test_data_sets_that_the_app_makes_itself_are_written_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_job, "WORLD_CLASSES", 2)
    monkeypatch.setattr(evaluate_job, "PICTURES_OF_A_CLASS", 2)
    folder = Path(prepare("sample-world", tmp_path))
    assert json.loads((folder / "manifest.json").read_text())["splits"]["novel"][0]["images"] == 4
    sketch = Path(prepare("sample-sketch", tmp_path))
    assert sketch != folder and (sketch / "novel-000000.tar").read_bytes() != (folder / "novel-000000.tar").read_bytes()
    assert prepare("cifar10", tmp_path) == "cifar10"
    with pytest.raises(Exception, match="expected a version's sha256"):
        prepare("version:../../etc", tmp_path)


def test_drafted_descriptions_wait_for_a_verdict(services: Services) -> None:
    page = EvaluatePage(services)
    assert "None yet" in page.show_review(None)
    file = services.settings.home / "class_descriptions" / "new.review.json"
    save(file, {"cup": [DraftDescription(HOSTILE, 2, "words@1"), DraftDescription("a lid", 0, "words@1")]})
    assert page.reviews().value == file.name
    shown = page.show_review(file.name)
    assert "2 wait for a verdict" in shown and HOSTILE not in shown and "&lt;img" in shown
    assert shown.count("by name</i>") == 1 and "described in 2 example pictures, by words@1" in shown
    evaluate_actions.judge_draft(services, file.name, class_name="cup", text=HOSTILE, verdict="accepted")
    assert "1 wait for a verdict" in page.show_review(file.name)
    assert json.loads(accepted_path(file).read_text()) == {"cup": [HOSTILE]}
    with pytest.raises(UserError, match="no such review"):
        evaluate_actions.judge_draft(services, "../new.review.json", class_name="cup", text="a lid", verdict="accepted")


# in a browser


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few novel classes, drawn."""
    folder = tmp_path_factory.mktemp("worlds") / "novel"
    return write_world(WorldConfig(folder, images=0, held_out_images=0, classes=4, novel_images_per_class=3, seed=901))


@pytest.fixture(scope="module")
def home(services: Services) -> Path:
    """Of the real app."""
    return services.settings.home


@pytest.fixture
def page(address: str, visitor: BrowserContext) -> Iterator[Page]:
    with opened(visitor, f"{address}evaluate?a=sample", "#table table") as page:
        yield page


@pytest.mark.slow
def test_a_job_from_the_form_to_numbers_plots_and_a_picture_on_ground(page: Page, world: Path) -> None:
    expect(page.locator("#models .token")).to_have_text(["sample"])
    page.locator("#paths textarea").fill(str(world))
    page.locator("#paths textarea").press("Tab")
    expect(page.locator("#command")).to_contain_text(f"app.evaluate.job --models sample --data-sets {world}")
    page.locator("#start").click()
    expect(page.locator("#jobs .job").first).to_have_class(re.compile("done"), timeout=JOB_MS)
    expect(page.locator("#jobs .job").first).to_contain_text("compared on novel")
    expect(page.locator("#head")).to_contain_text("12 pictures · 4 classes")
    rows = page.locator("#table tbody tr")
    expect(rows).to_have_count(6)
    expect(page.locator("#pair")).to_contain_text("McNemar's test, each picture on its own")
    expect(page.locator("#pair")).to_contain_text("about these 4 classes alone")
    for plot in ("leads-plot", "deltas", "alpha-plot", "grounding", "calibration"):
        page.wait_for_function(TITLED, arg=plot)
    expect(page.locator("#costs")).to_contain_text("5.5 M")
    with page.expect_download() as download:
        page.get_by_role("button", name="results.csv").click()
    assert Path(download.value.path()).read_text().startswith("data_set,model,way,top1,top1_low")
    page.locator("#apart summary").click()
    expect(page.locator("#apart img").first).to_be_visible()
    page.locator("#examples button").first.click()
    expect(page.locator("#stage .frame")).to_be_visible(timeout=JOB_MS)  # the first look loads the model
    assert "?q=" in page.url
    assert page.evaluate("window.hacked") is None


@pytest.mark.slow
def test_an_experiment_is_chosen_run_and_seen_with_its_leads(page: Page, world: Path) -> None:
    page.locator("#experiments .label-wrap").click()
    page.locator("#experiment input").click()
    page.get_by_role("option", name="box head switched off").click()
    expect(page.locator("#experiment-panel")).to_contain_text("Does recognition need the box head")
    expect(page.locator("#arm-1 input")).to_have_value("sample")
    expect(page.locator("#arm-2")).not_to_be_visible()
    page.locator("#paths textarea").fill(str(world))
    page.locator("#paths textarea").press("Tab")
    expect(page.locator("#command-experiment")).to_contain_text("--arms with=sample without=sample --no-twins")
    expect(page.locator("#command-experiment")).to_contain_text(f"--data-sets {world}")
    page.locator("#run-experiment").click()
    expect(page.locator("#head")).to_contain_text("without its box head switched off", timeout=JOB_MS)
    expect(page.locator("#leads")).to_contain_text("ahead of with")
    expect(page.locator("#leads")).to_contain_text("+0.0 [-")
    expect(page.locator("#leads-plot .gtitle")).to_contain_text("0 of 1 surely behind")


@pytest.mark.slow
def test_a_link_from_train_chooses_its_two_checkpoints(address: str, visitor: BrowserContext) -> None:
    page = visitor.new_page()
    page.goto(f"{address}evaluate?a=tiny&b=sample-clip")
    expect(page.locator("#note-form")).to_contain_text("No data set is chosen")
    expect(page.locator("#models .token")).to_have_text(["tiny", "sample-clip"])
    page.goto(f"{address}evaluate?a=nobody")
    expect(page.locator("#table table")).to_be_visible()
    expect(page.locator("#models .token")).to_have_count(0)
    expect(page.locator("#data-sets .token")).to_have_count(0)
    expect(page.locator("#note-form")).to_have_text("")
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_is_cut_off(page: Page, width: int) -> None:
    fits(page, width)
