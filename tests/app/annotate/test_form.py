"""The Annotate page's form, as people and programs fill it in: names and types are checked, no field is idle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar, cast

import gradio as gr
import pytest
from PIL import Image

from app.access.accounts import Person
from app.annotate.actions import config_of
from app.annotate.form import DEFAULTS, AnnotateForm
from app.annotate.layout import lay_out
from app.annotate.page import LEVERS, AnnotatePage
from app.data.actions import freeze_config
from app.jobs.imports import queue_import
from app.services import Services
from benchmarks.random_vlms import write_random_vlm
from curation.annotate.describe import DescriberResult
from curation.annotate.registry import DESCRIBERS, LOCALIZERS
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory, command_line
from curation.annotate.trial import try_picture
from curation.ingest.ingest import ingest
from db.engine import reading
from db.queries.job_queries import job_page
from tests.support.fake_app import fake_services
from tests.support.still_services import StillServices
from user_errors import UserError

ADMIN = Person("ada", "admin")
ADDRESS = "http://127.0.0.1:8000/v1"


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return fake_services(tmp_path)


def config(services: Services, **named: Any) -> AnnotateConfig:
    return config_of(services, AnnotateForm.read({"dataset": "set", **named}), ADMIN)


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"describr": "photo"}, "Expected settings among describer, .*picture_side, got 'describr': correct its name"),
        ({"batch": "8"}, "Expected a number for batch, got '8'"),
        ({"batch": True}, "Expected a number for batch, got 'True'"),
        ({"server": 8000}, "Expected a text for server, got '8000'"),
        ({"describer": "lava"}, "expected one of photo, sample, llava, .*, got 'lava'"),
        ({"localizer": "owl"}, "expected one of photo, .*, got 'owl'"),
        ({"prompts": "three"}, "prompts must be one of"),
        ({"describer": "server", "server": ADDRESS, "concurrency": 0}, "concurrency must be at least 1"),
        ({"describer": "server", "server": ADDRESS, "picture_side": 9}, "picture_side must lie from 56 to 8192"),
        (
            {"describer": "server", "server": ADDRESS, "timeout_seconds": float("nan")},
            "timeout_seconds must be above 0",
        ),
        ({"tokens": float("nan")}, "Expected a whole number for tokens, got nan"),
        ({"tokens": float("inf")}, "Expected a whole number for tokens, got inf"),
        ({"dataset": ""}, "There is no data set yet"),
        ({"localizer": "vlm-server", "server": ADDRESS}, "need its model's name"),
    ],
)
def test_names_and_values_that_cannot_be_are_one_sentence(
    services: Services, named: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        config(services, **named)


def test_a_checkpoint_of_ones_own_is_named_as_ground_lists_it(services: Services) -> None:
    named = config(services, localizer="checkpoint", localizer_model="photo")
    assert named.localizer.model == str(services.registry.find("photo").folder)
    with pytest.raises(UserError, match="There is no checkpoint 'mine': choose one of"):
        config(services, localizer="checkpoint", localizer_model="mine")


def test_every_lever_reaches_the_command_line_of_who_uses_it(services: Services, tmp_path: Path) -> None:
    weights = str(write_random_vlm("qwen3-vl", tmp_path / "weights"))
    local = config(
        services,
        describer="qwen3-vl",
        describer_model=weights,
        localizer="vlm-server",
        localizer_model="Qwen2.5-VL-7B",
        server=ADDRESS,
        convention="resized",
        precision="bf16",
        attention="sdpa",
        batch=32,
        concurrency=3,
        timeout_seconds=9,
        tokens=99,
        picture_side=640,
    )
    words = " ".join(command_line(local))
    for flag in (
        "--batch=32",
        f"--describer.model={weights}",
        "--describer.precision=bf16",
        "--describer.attention=sdpa",
        "--describer.batch=32",
        "--describer.picture-side=640",
        "--describer.ask.stage2-tokens=99",
        f"--localizer.server={ADDRESS}",
        "--localizer.convention=resized",
        "--localizer.concurrency=3",
        "--localizer.timeout-seconds=9.0",
        "--localizer.picture-side=640",
    ):
        assert flag in words, flag
    assert "--describer.concurrency" not in words and "--localizer.batch" not in words


def test_a_field_that_nobody_uses_changes_nothing(services: Services) -> None:
    assert config(services, precision="bf16", batch=64, server=ADDRESS, concurrency=2) == config(services)


def test_4bit_is_the_describers_alone(services: Services, tmp_path: Path) -> None:
    weights = str(write_random_vlm("smolvlm", tmp_path / "weights"))
    found = config(services, describer="smolvlm", describer_model=weights, localizer="owlv2", precision="4bit")
    assert (found.describer.precision, found.localizer.precision) == ("4bit", "auto")


def test_empty_components_are_their_defaults() -> None:
    read = AnnotateForm.of((None,) * len(AnnotateForm._fields))
    texts = ("describer", "prompts", "localizer", "convention", "precision", "attention", "device_map")
    assert read == DEFAULTS._replace(**dict.fromkeys(texts, ""))


def test_the_page_shows_the_fields_that_the_chosen_annotators_use(services: Services) -> None:
    with gr.Blocks():
        parts = lay_out(gr.Dropdown([]))
    assert [each for each in parts.form if each is None] == []
    page = AnnotatePage(services)
    checked = 0
    for describer in DESCRIBERS:
        for localizer in LOCALIZERS:
            shown = [each["visible"] for each in page.show_fields(describer, localizer, None)]
            used = DESCRIBERS[describer].uses | LOCALIZERS[localizer].uses
            assert shown[7:-1] == [name in used for name in LEVERS]
            assert (shown[1], shown[-1]) == ("server" in used, "ask" in used)
            checked += 1
    assert checked == len(DESCRIBERS) * len(LOCALIZERS)
    info = page.show_fields("qwen3-vl", "owlv2", None)
    assert "Qwen/Qwen3-VL-8B-Instruct · Apache-2.0 · 8.8 B" in info[0]["info"] and "155 M" in info[4]["info"]
    own = page.show_fields("photo", "checkpoint", None)[4]
    assert "as Ground lists it" in own["info"] and own["placeholder"] == "run-1" and own["visible"]


def test_the_time_of_a_trial_leaves_out_the_loading_of_models(services: Services) -> None:
    loads: list[str] = []

    class Quick:
        name = "quick"

        def describe(self, images: Any) -> list[DescriberResult]:
            assert loads == ["describer"], "loaded before, and nothing else"
            return [DescriberResult(("- a lid",), "a jar", ("a lid",)) for _ in images]

        def too_long(self, texts: Any) -> tuple[str, ...]:
            assert loads == ["describer", "localizer"]
            return ()

        def localize(self, pictures: Any, descriptions: Any) -> list[tuple[()]]:
            return [() for _ in pictures]

    def load(kind: str) -> Any:
        loads.append(kind)
        spin(LOADING_S)
        return Quick()

    factory = AnnotatorFactory(lambda: load("describer"), lambda: load("localizer"))
    trial = try_picture(config(services), factory, Image.new("RGB", (9, 9)))
    assert set(trial.seconds) == {"describe", "localize"} and sum(trial.seconds.values()) < LOADING_S


def test_what_imports_left_out_is_listed_by_reason_without_folders(services: Services, tmp_path: Path) -> None:
    files = tmp_path / "secret-folder"
    files.mkdir()
    Image.new("RGB", (40, 30)).save(files / "a.png")
    for name in ("<b>cut.jpg", "broken.jpg"):
        (files / name).write_bytes(b"no picture")
    ingest(services.engine, files, dataset="set", home=services.settings.home, processes=1)
    page = AnnotatePage(services)
    shown = page.show_left_out("set")[0]
    assert "2 files were left out" in shown and "&lt;b&gt;cut.jpg" in shown and "broken.jpg" in shown
    assert "secret-folder" not in shown and "<b>" not in shown
    assert page.show_left_out(None)[0] == page.show_left_out("nope")[0] == ""


def test_an_import_asks_what_to_do_with_annotations_beside_the_pictures(tmp_path: Path) -> None:
    class Request:
        scope: ClassVar[dict[str, Person]] = {"grain_person": ADMIN}

    class Asked:
        request = Request()

    services, asked = fake_services(tmp_path, StillServices), cast("gr.Request", Asked())
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (40, 20)).save(folder / "a.png")
    page = AnnotatePage(services)

    def queued() -> list[tuple[str, str]]:
        with reading(services.engine) as session:
            return [(job.config["annotations"], job.config["who"]) for job in job_page(session)]

    _, _, question = page.import_pictures(str(folder), "bare", None, asked)
    assert not question["visible"] and queued() == [("leave", "ada")], "no question without annotations"
    (folder / "instances.json").write_text('{"images": [], "annotations": []}')
    note, _, question = page.import_pictures(str(folder), "boxed", None, asked)
    assert "instances.json has annotations of these pictures. Bring them too?" in note
    assert question["visible"] and len(queued()) == 1, "nothing is imported before it is answered"
    note, _, question = page.import_pictures(str(folder), "boxed", "accept", asked)
    assert (note, question["visible"], queued()[0]) == ("", False, ("accept", "ada"))


@pytest.mark.parametrize("name", ["x" * 300, "two\nlines", "nul\0"])
def test_a_name_that_would_break_a_page_is_refused_where_it_is_typed(services: Services, name: str) -> None:
    with pytest.raises(UserError, match=r"a name for the data set(, one printable line| of at most 100 characters)"):
        queue_import(services.jobs, name=name, owner="ada", source="/data")
    with pytest.raises(UserError, match=r"a name for the version(, one printable line| of at most 100 characters)"):
        freeze_config("set", name, "", statuses=["accepted"], who="ada")


LOADING_S = 0.5  # of a processor's time, so that a busy machine makes it longer and never shorter


def spin(seconds: float) -> None:
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass
