"""A link of the Ground page restores the whole question."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image
from starlette.requests import Request

from app.access.accounts import LOCAL_PERSON, PERSON_KEY
from app.core.ground_links import GroundQuestion, find_question, image_question, save_question
from app.ground.actions import read_texts
from app.ground.examples import load_examples
from app.ground.layout import GroundForm
from app.ground.page import GroundPage
from app.services import Services
from db.engine import transaction
from db.queries.curate_queries import add_region_by_hand
from db.queries.data_set_queries import NewImage, add_images, create_dataset
from tests.support.curated import all_regions, curated, sha256_of
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


def test_a_single_description_with_commas_stays_one_through_links(services: Services, tmp_path: Path) -> None:
    path, text = tmp_path / "a.jpg", "a man in a blue, striped shirt"
    Image.new("RGB", (60, 40), "red").save(path)
    with transaction(services.engine) as session:
        dataset = create_dataset(session, name="photos").id
        image = NewImage(sha256_of(path.read_bytes()), 60, 40, str(path), caption="A man, holding a dog, waits.")
        add_images(session, dataset_id=dataset, images=[image])
    asked = image_question(services.settings, services.engine, 1, checkpoint="photo")
    assert read_texts(asked)[0] == ["A man, holding a dog, waits."]
    with transaction(services.engine) as session:
        add_region_by_hand(session, image_id=1, who="ana", xyxy=(0.1, 0.1, 0.9, 0.9), text=text, key="k")
    asked = image_question(services.settings, services.engine, 1, checkpoint="photo")
    assert read_texts(asked)[0] == [text]
    query = save_question(services.settings, services.engine, asked)
    assert read_texts(find_question(services.settings, services.engine, query))[0] == [text]


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


def test_an_address_names_a_picture_of_a_data_set_and_asks_for_what_is_described_on_it(
    services: Services, tmp_path: Path
) -> None:
    dataset = curated(services.engine, tmp_path / "lids")
    told = [row for row in all_regions(services.engine, dataset) if row.status != "rejected"]
    form = opened(services, f"image={told[0].image_id}&checkpoint=sample")
    assert form.picture and Image.open(form.picture).size == (40, 30) and form.checkpoint.value == "sample"
    expected = dict.fromkeys(row.text for row in told if row.image_id == told[0].image_id)
    assert form.descriptions.splitlines() == list(expected)[:6] and expected
    bare = curated(services.engine, tmp_path / "bare", 1, name="bare", described=False)
    assert bare
    first = load_examples()[0]
    for address in ("image=999999", "image=nonsense", "image=%27%3B--"):
        assert opened(services, address).picture == str(first.path), "as without"
