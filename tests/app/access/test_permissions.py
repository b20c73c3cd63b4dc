"""Paths of this machine and model servers: every field that takes one asks who names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from sqlalchemy import make_url

from app.access.accounts import Person
from app.access.permissions import check_model, check_readable, check_server
from app.access.rules import Role
from app.annotate.form import DEFAULTS
from app.concepts import actions as concepts_actions
from app.evaluate.experiments import with_arms
from app.evaluate.request import EvaluateRequest
from app.evaluate.request import command_line as evaluate_command
from app.jobs.folder import job_folder
from app.main import build_app
from app.services import Services
from app.train.plan import TrainRequest, plan_run
from curation.annotate.servers import ADDED, add_server, known_servers
from curation.concepts.leaks import LeaksConfig
from curation.label_studio.access import ACCESS
from curation.label_studio.access import FOLDER as LABEL_STUDIO
from tests.support.curated import curated
from tests.support.fake_app import fake_services
from tests.support.fake_openai import fake_openai
from tests.support.house import House, house, picture, set_off, upload
from user_errors import UserError

__all__ = ["house", "picture"]  # fixtures

CURATOR, ADMIN = Person("carl", "curator"), Person("ada", "admin")
OUTSIDE = "lies outside GRAIN_HOME, where only an admin may read"
FORM = DEFAULTS._replace(dataset="set", describer="llava")
TRAINING = TrainRequest.read({"name": "run", "data": "world:200", "start": "open_clip"})

Field = Callable[[Services, Person, str], Any]


def annotate(services: Services, person: Person, **values: Any) -> Any:
    from app.annotate.actions import config_of

    return config_of(services, FORM._replace(**values), person)


def audit(services: Services, person: Person, **values: Any) -> Any:
    from app.audit.actions import audit_config, start

    chosen = {"detector": "photo", "checkpoint": "", "vqa": "none"} | values
    return start(services, audit_config("set", **chosen), person)


PATH_FIELDS: dict[str, Field] = {
    "Annotate: the describer's model": lambda all_, who, path: annotate(all_, who, describer_model=path),
    "Annotate: the localizer's model": lambda all_, who, path: annotate(
        all_, who, describer="photo", localizer="owlv2", localizer_model=path
    ),
    "Novel concepts: folder of pictures": lambda all_, who, path: concepts_actions.start_import(
        all_, path, "set", person=who
    ),
    "Novel concepts: folder of shards": lambda all_, who, path: concepts_actions.start_leak_check(
        all_, LeaksConfig("set", shards=Path(path)), who
    ),
    "Train: folder of the zero-shot set": lambda all_, who, path: plan_run(
        all_, replace(TRAINING, start="scratch", zero_shot="folder", zero_shot_folder=path), who.role
    ),
    "Train: open_clip weights": lambda all_, who, path: plan_run(
        all_, replace(TRAINING, open_clip=f"ViT-B-16:{path}"), who.role
    ),
    "Evaluate: a model": lambda all_, who, path: evaluate_command(
        all_, EvaluateRequest([path], ["sample-world"]), out="x", role=who.role
    ),
    "Evaluate: open_clip weights": lambda all_, who, path: evaluate_command(
        all_, EvaluateRequest([f"open_clip:ViT-B-16={path}"], ["sample-world"]), out="x", role=who.role
    ),
    "Evaluate: a data set": lambda all_, who, path: evaluate_command(
        all_, EvaluateRequest(["sample"], [], paths=path), out="x", role=who.role
    ),
    "Evaluate: descriptions": lambda all_, who, path: evaluate_command(
        all_, EvaluateRequest(["sample"], ["sample-world"], descriptions=path), out="x", role=who.role
    ),
    "Audit: the judge": lambda all_, who, path: audit(all_, who, judge=path),
    "Audit: the checkpoint": lambda all_, who, path: audit(all_, who, checkpoint=path),
}
"""Every field of a page or of the API that takes a path, but for imports on Annotate and Data, which are an admin's."""

# What else a person may write, by label; a new field stands here or above.
ADMINS_PATHS = {"folder, archive or table on the server's disk", "file or folder on this machine"}
PATH_LABELS = {
    *("the describer's model", "the localizer's model", "folder on this machine", "arm"),
    *("or a folder of shards", "checkpoints, by name or folder, or open_clip:ViT-B-16=FILE; CLIP twins are added"),
    "or paths: data folder, ImageFolder, WebDataset, file of captions; one a line",
    "descriptions of classes, JSON of DCLIP or CuPL (empty: those of the data set)",
}
SERVER_LABELS = {"model server"}
WORDS = {
    *("Descriptions: lines, or commas", "Classes: lines, commas, or JSON", "descriptions", "classes", "checkpoint"),
    *("name of the data set", "class names, one a line", "words in the description", "words of the claim"),
    *("duplicates of (perceptual hash)", "name of a new version", "why (optional)", "you label as", None),
    *("data set (empty: the chosen one)", "licence of the pictures", "intended use", "name of the version"),
    *("new name", "search runs"),
}
# The same of the API's parameters that take text, and of the fields of Train's form.
API_PATHS = {"source", "coco", "file", "picture", "checkpoint", "models", "data_sets", "settings"}
API_WORDS = {
    *("after", "order", "words", "verdict", "verdicts", "name", "note", "version", "dataset", "format", "kind", "what"),
    *("auditor", "detector", "vqa", "classes", "descriptions", "describer", "localizer"),
}
TRAIN_PATHS = {"open_clip", "zero_shot_folder"}
TRAIN_WORDS = {"name", "data", "mix", "start", "where", "caption", "held_out", "mix_weight", "zero_shot"}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    folder = tmp_path_factory.mktemp("permissions")
    made = fake_services(folder)
    curated(made.engine, folder / "home" / "pictures", 2, name="set")
    return made


def test_every_field_in_which_a_person_writes_is_known_here(tmp_path: Path) -> None:
    app = build_app(fake_services(tmp_path))
    written: list[gr.Textbox | gr.Dropdown] = [each for each in app.blocks.values() if isinstance(each, gr.Textbox)]
    written += [each for each in app.blocks.values() if isinstance(each, gr.Dropdown) and each.allow_custom_value]
    assert {each.label for each in written} == ADMINS_PATHS | PATH_LABELS | SERVER_LABELS | WORDS


def test_every_parameter_that_takes_text_is_known_here(tmp_path: Path) -> None:
    endpoints = build_app(fake_services(tmp_path)).get_api_info()["named_endpoints"].values()
    taken = [each for endpoint in endpoints for each in endpoint["parameters"]]
    texts = {each["parameter_name"] for each in taken if each["python_type"]["type"] not in ("bool", "int", "float")}
    assert texts == API_PATHS | API_WORDS
    assert {each.name for each in fields(TrainRequest) if each.type == "str"} == TRAIN_PATHS | TRAIN_WORDS


@pytest.mark.parametrize("field", PATH_FIELDS)
@pytest.mark.parametrize("where", ["/etc", "/proc", "../../etc/passwd", "~root/x", "link", "loop"])
def test_a_path_outside_home_is_refused_to_everybody_but_an_admin(
    services: Services, field: str, where: str, tmp_path: Path
) -> None:
    home = services.settings.home
    path = {"link": str(home / "way-out"), "loop": str(home / "loop")}.get(where, where)
    if not (home / "way-out").is_symlink():
        (home / "way-out").symlink_to("/etc")
        (home / "loop").symlink_to(home / "loop")
    for role in ("viewer", "curator"):
        with pytest.raises(UserError, match=OUTSIDE):
            PATH_FIELDS[field](services, Person("x", role), path)
    try:
        PATH_FIELDS[field](services, ADMIN, path)
    except UserError as error:
        assert OUTSIDE not in str(error)


@pytest.mark.parametrize("field", PATH_FIELDS)
@pytest.mark.parametrize("path", ["/\0", "/pictures/\ud800"])
def test_text_that_no_path_can_be_is_refused_to_everybody(services: Services, field: str, path: str) -> None:
    for person in (ADMIN, Person("x", "curator")):
        with pytest.raises(UserError, match="of characters that can be written"):
            PATH_FIELDS[field](services, person, path)


ELSEWHERE: dict[str, Field] = {
    "Evaluate: a model": lambda all_, who, name: evaluate_command(
        all_, EvaluateRequest([f"open_clip:{name}=openai"], ["sample-world"]), out="x", role=who.role
    ),
    "Evaluate: a model without weights": lambda all_, who, name: evaluate_command(
        all_, EvaluateRequest([f"open_clip:{name}"], ["sample-world"]), out="x", role=who.role
    ),
    "Evaluate: an arm": lambda all_, who, name: with_arms(
        all_, EvaluateRequest([], []), name="losses", checkpoints=["sample", f"open_clip:{name}"], role=who.role
    ),
    "Train: open_clip weights": lambda all_, who, name: plan_run(all_, replace(TRAINING, open_clip=name), who.role),
}


@pytest.mark.parametrize("field", ELSEWHERE)
@pytest.mark.parametrize("name", ["local-dir:/etc", "local-dir:HOME", "local-dir:x", "hf-hub:owner/x", "hf-hub:x"])
def test_only_an_admin_has_open_clip_read_a_folder_or_fetch_a_model_of_the_hub(
    services: Services, field: str, name: str
) -> None:
    name = name.replace("HOME", str(services.settings.home / "runs"))
    for role in ("viewer", "curator"):
        with pytest.raises(UserError, match="Only an admin may name a folder or a model of the hub as open_clip's"):
            ELSEWHERE[field](services, Person("x", role), name)
    ELSEWHERE[field](services, ADMIN, name)


def test_a_path_below_home_is_for_everybody(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    roles: tuple[Role, ...] = ("viewer", "curator", "admin")
    for role in roles:
        check_readable(tmp_path, role, tmp_path / "models", tmp_path / "not there yet", tmp_path / "runs" / "cache")
        check_model(tmp_path, role, str(tmp_path / "models"))
        check_model(tmp_path, role, "llava-hf/llava-v1.6-mistral-7b-hf")
    for model in ("/etc", "..", "~/x", "a/b/c", "grain/checkpoints", "a/\n"):
        with pytest.raises(UserError, match=OUTSIDE):
            check_model(tmp_path, "curator", model)


@pytest.mark.parametrize("field", PATH_FIELDS)
def test_what_the_app_keeps_for_itself_below_home_is_refused_to_everybody_but_an_admin(
    services: Services, field: str
) -> None:
    settings = services.settings
    (settings.home / "way-in").unlink(missing_ok=True)
    (settings.home / "way-in").symlink_to(settings.cache)
    private = [
        *(settings.home, settings.home / "way-in", settings.cache / "ab" / "x.png"),
        *(settings.pictures, settings.recent_pictures),
        *(settings.home / LABEL_STUDIO, settings.home / LABEL_STUDIO / ACCESS),
        *(Path(make_url(settings.database).database or ""), settings.home / "grain.sqlite-wal"),
        *(job_folder(settings.home, 1), settings.home / ADDED, settings.home / "CACHE"),
        *(settings.home / "huggingface", settings.home / "huggingface" / "token"),
    ]
    for path in private:
        for role in ("viewer", "curator"):
            with pytest.raises(UserError, match="is or holds what the app keeps for itself below GRAIN_HOME"):
                PATH_FIELDS[field](services, Person("x", role), str(path))
        check_readable(settings.home, "admin", path)


def test_only_an_admin_names_a_new_server_and_then_it_is_known_to_all(tmp_path: Path) -> None:
    address = "http://10.0.0.5:8000/v1"
    with pytest.raises(UserError, match=r"this app knows \(there is none yet\), got 'http://10.0.0.5:8000/v1'"):
        check_server(tmp_path, CURATOR, address)
    check_server(tmp_path, ADMIN, address)
    add_server(tmp_path, address)
    add_server(tmp_path, address + "/")
    assert known_servers(tmp_path, {}) == {"at_10_0_0_5_8000": address}
    check_server(tmp_path, CURATOR, "http://10.0.0.5:8000/v1/")
    for near in (
        "http://10.0.0.5:8001/v1",
        "https://10.0.0.5:8000/v1",
        "http://10.0.0.50:8000/v1",
        "http://10.0.0.5:8000",
    ):
        with pytest.raises(UserError, match="ask an admin"):
            check_server(tmp_path, CURATOR, near)


@pytest.mark.slow
def test_no_curator_sends_the_operators_key_anywhere(
    house: House, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-operator")
    monkeypatch.setenv("GRAIN_HOME", str(house.services.settings.home))
    event = house.event("GroundPage.describe")
    with fake_openai() as listener:
        for name, refused in (("carl", True), ("ada", False), ("carl", False)):  # what an admin asked is known
            visitor = house.signed_in(name)
            file = {"path": upload(visitor, picture), "meta": {"_type": "gradio.FileData"}}
            told = set_off(visitor, event, file, "server", listener.url)
            assert ("ask an admin to add it" in told) == refused
            assert bool(listener.requests) != refused
        assert [sent for sent in listener.headers if "authorization" in sent] == []


SERVER_FIELDS: dict[str, Field] = {
    "Annotate": lambda all_, who, address: annotate(all_, who, describer="server", server=address),
    "Audit": lambda all_, who, address: audit(all_, who, vqa="server", server=address),
}


@pytest.mark.parametrize("page", SERVER_FIELDS)
def test_no_curator_names_a_new_server_on_any_page(page: str, tmp_path: Path) -> None:
    services = fake_services(tmp_path)
    services.settings.home.mkdir(exist_ok=True)
    name, refused = SERVER_FIELDS[page], "ask an admin to add it"
    with fake_openai() as listener:
        with pytest.raises(UserError, match=refused):
            name(services, CURATOR, listener.url)
        for person in (ADMIN, CURATOR):
            try:  # an audit goes on to its next question: there is no data set
                name(services, person, listener.url)
            except UserError as error:
                assert refused not in str(error)
            add_server(services.settings.home, listener.url)  # as the page does once an admin's run is queued
        assert listener.requests == []
