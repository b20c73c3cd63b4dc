"""A link of the Ground page restores the whole question."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image
from starlette.requests import Request

from app.access.accounts import LOCAL_PERSON, PERSON_KEY
from app.core.ground_links import GroundQuestion, find_question, save_question
from app.ground.examples import load_examples
from app.ground.layout import GroundForm
from app.ground.page import GroundPage
from app.services import Services
from tests.support.fake_app import fake_services


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return fake_services(tmp_path)


@pytest.fixture
def question(tmp_path: Path) -> GroundQuestion:
    Image.new("RGB", (8, 6), "red").save(tmp_path / "red.png")
    return GroundQuestion(str(tmp_path / "red.png"), "a lid", "one: a; b", "photo", "sample", 0.25, 0.75)


def opened(services: Services, query: str) -> GroundForm:
    """The form of a page that opens under an address."""
    request = gr.Request(
        Request({"type": "http", "query_string": query.encode(), "headers": [], PERSON_KEY: LOCAL_PERSON})
    )
    found = GroundPage(services, load_examples()).open("", request)
    return GroundForm(*found[: len(GroundForm._fields)])


@pytest.mark.parametrize("versus", ["sample", "sample-clip", ""])
def test_a_saved_link_restores_what_the_picture_was_compared_with(
    services: Services, question: GroundQuestion, versus: str
) -> None:
    asked = replace(question, versus=versus)
    query = save_question(services.settings, services.engine, asked)
    found = find_question(services.settings, services.engine, query)
    assert replace(found, picture=asked.picture) == asked, "all but the place of the picture"
    form = opened(services, f"q={query}")
    assert (form.checkpoint.value, form.versus.value) == ("photo", versus)
    assert (form.descriptions, form.classes, form.threshold, form.alpha) == ("a lid", "one: a; b", 0.25, 0.75)


def test_an_address_names_the_checkpoints(services: Services) -> None:
    form = opened(services, "checkpoint=sample")
    assert (form.checkpoint.value, form.versus.value) == ("sample", "sample-clip"), "its twin goes beside it"
    form = opened(services, "checkpoint=sample&versus=photo")
    assert (form.checkpoint.value, form.versus.value) == ("sample", "photo")
    form = opened(services, "checkpoint=nothing&versus=nothing")
    assert form.checkpoint.value == load_examples()[0].checkpoint
