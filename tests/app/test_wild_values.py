"""Whatever a program sends to the API, it gets an answer or one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

from app.core.settings import Settings
from app.main import build_app
from tests.support.curated import curated
from tests.support.fake_app import fake_services, running
from tests.support.still_services import StillServices
from tests.support.waiting import PATIENCE_S

WILD: list[Any] = [None, -1, 1e308, "\0", [[1]], {"a": {"b": [None]}}]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("wild")
    services = fake_services(folder)
    curated(services.engine, folder / "pictures", 3)
    with running(services) as address, httpx.Client(base_url=address, timeout=PATIENCE_S) as client:
        yield client


def answer(program: httpx.Client, endpoint: str, data: list[Any]) -> tuple[str, Any]:
    """The kind of the last message, and what it holds."""
    began = program.post(f"gradio_api/call{endpoint}", json={"data": data})
    assert began.status_code == 200, began.text
    *_, kind, held, _, _ = program.get(f"gradio_api/call{endpoint}/{began.json()['event_id']}").text.split("\n")
    return kind.removeprefix("event: "), json.loads(held.removeprefix("data: "))


@pytest.mark.slow
def test_every_value_of_every_endpoint_may_be_of_any_type(program: httpx.Client) -> None:
    endpoints = program.get("gradio_api/info").json()["named_endpoints"]
    asked, refused = 0, 0
    for name, endpoint in endpoints.items():
        usual = [
            each["parameter_default"] if each["parameter_has_default"] else each["example_input"]
            for each in endpoint["parameters"]
        ]
        for place in range(len(usual)):
            for wild in WILD:
                kind, held = answer(program, name, [*usual[:place], wild, *usual[place + 1 :]])
                asked, refused = asked + 1, refused + (kind == "error")
                if kind == "error":
                    sentence = held["error"]
                    assert isinstance(sentence, str) and sentence.endswith(".") and "\n" not in sentence, (name, wild)
                    assert len(sentence) < 400 and "Traceback" not in sentence, (name, wild)
                else:
                    assert kind == "complete", (name, wild, kind)
    assert len(endpoints) >= 14 and asked > 150 and refused > 50


@pytest.mark.parametrize(
    ("endpoint", "data", "sentence"),
    [
        ("/job", ["seven"], "number: expected a valid integer, got 'seven': correct it."),
        (
            "/regions",
            [["lids"], "", "pending", "", "newest", ""],
            "dataset: expected a valid string, got ['lids']: correct it.",
        ),
        (
            "/ground",
            [None, [["a lid"]], "", "sample", 0, 1],
            "descriptions: expected a valid string, got [['a lid']]: correct it.",
        ),
        (
            "/ground",
            [None, "a lid", [["plim"]], "sample", 0, 1],
            "classes: expected a valid string, got [['plim']]: correct it.",
        ),
        ("/ground", [None, "a lid", "", "sample", "x", 1], "threshold: expected a valid number, got 'x': correct it."),
        (
            "/train",
            [{"name": "t", "feilds": {"images": 8}}],
            "Expected settings among name, data, start, open_clip, where, processes, priority, caption, unreviewed, "
            "held_out, mix, mix_weight, zero_shot, zero_shot_folder, fields, partition, account, hours, cpus, "
            "memory_gb, got 'feilds': correct its name.",
        ),
        ("/freeze", ["lid", "v1", "accepted", ""], "There is no data set 'lid': choose another."),
        (
            "/audit",
            ["lids", "owl", "", "none"],
            "Expected the detector owlv2, photo, sample, none, got 'owl': choose one.",
        ),
        (
            "/audit",
            ["lids", "sample", "", "lava"],
            "Expected the asked model llava, server, sample, none, got 'lava': choose one.",
        ),
    ],
)
def test_a_wrong_type_is_named_with_what_was_expected(
    program: httpx.Client, endpoint: str, data: list[Any], sentence: str
) -> None:
    kind, held = answer(program, endpoint, data)
    assert (kind, held["error"]) == ("error", sentence)


def test_a_verdict_that_is_named_twice_lists_a_region_once(program: httpx.Client) -> None:
    for named in ("accepted", "accepted, accepted"):
        kind, held = answer(program, "/regions", ["lids", "", named, "", "newest", ""])
        ids = [row["id"] for row in held[0]["regions"]]
        assert (kind, len(ids)) == ("complete", len(set(ids))) and ids


def test_no_field_lets_gradio_refuse_a_number_which_does_not_say_of_what_field(tmp_path: Path) -> None:
    app = build_app(StillServices(Settings(home=tmp_path)))
    numbers = [each for each in app.blocks.values() if isinstance(each, gr.Number)]
    assert len(numbers) >= 9
    assert [each.label for each in numbers if (each.minimum, each.maximum) != (None, None)] == []
