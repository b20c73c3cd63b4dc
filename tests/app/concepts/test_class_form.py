"""The form of the step Classes saves what was typed into it, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from starlette.requests import Request

from app.access.accounts import PERSON_KEY, Person
from app.concepts import page as page_module
from app.concepts.layout import ConceptsFields, ConceptsOutputs
from app.concepts.page import ConceptsPage, ConceptsPlace
from app.services import Services
from curation.concepts.class_list import save_classes
from curation.concepts.decisions import label_picture
from curation.concepts.metadata import create_set
from curation.concepts.status import STATED, status_of
from curation.exchange.concept_classes import ConceptClass
from db.engine import transaction
from db.models import ConceptSet
from db.queries.data_set_queries import NewImage, add_images, create_dataset
from tests.support.databases import sha
from tests.support.fake_app import fake_services
from tests.support.still_services import StillServices

REQUEST = gr.Request(Request({"type": "http", PERSON_KEY: Person("local", "admin")}))
CLASSES = [ConceptClass("Zelda: Tears", ("a box; red",), brand="N"), ConceptClass("beta", ("y",))]


class AskEvent:
    """What the page's script sends."""

    def __init__(self, ask: Mapping[str, Any]) -> None:
        self.ask = ask


class Visitor:
    """A person on the step Classes, with what is in the form."""

    classes: str
    licence: str
    use: str

    def __init__(self, services: Services, name: str) -> None:
        self.page, self.name = ConceptsPage(services), name
        self.seen: dict[str, str] = {}  # what it shows of beta's facts
        answer = self.page.enter(ConceptsPlace("classes"), "games", name, REQUEST)
        self.take(answer)
        self.fill(answer)

    def take(self, answer: list[Any]) -> None:
        self.place = answer[ConceptsOutputs._fields.index("place")]

    def fill(self, answer: list[Any]) -> None:
        fields = ConceptsFields(*answer[-len(ConceptsFields._fields) :])
        for field in ("classes", "licence", "use"):
            if (value := getattr(fields, field)) != gr.skip():
                setattr(self, field, value)

    def go(self, step: str) -> None:
        held = ConceptsFields(classes=self.classes, licence=self.licence, use=self.use)
        answer = self.page.go(self.place, "games", self.name, REQUEST, AskEvent({"step": step}), *held)  # type: ignore[arg-type]
        self.take(answer)
        self.fill(answer)

    def save(self) -> None:
        typed = (self.classes, self.licence, self.use)
        self.take(self.page.save(self.place, "games", self.name, *typed, REQUEST))

    def write_fact(self, fact: str, value: str) -> None:
        ask = {"do": "class_fact", "name": "beta", "fact": fact, "value": value, "seen": [self.seen.get(fact, "")]}
        self.seen[fact] = value
        self.take(self.page.ask(self.place, "games", self.name, REQUEST, AskEvent(ask)))  # type: ignore[arg-type]

    def kept(self) -> ConceptSet:
        found = status_of(self.page.services.engine, "games").concept
        assert found is not None
        return found


@pytest.fixture
def services(tmp_path: Path) -> Services:
    services = fake_services(tmp_path, StillServices)
    with transaction(services.engine) as session:
        dataset = create_dataset(session, name="games")
        add_images(session, dataset_id=dataset.id, images=[NewImage(sha(1), 8, 8, "/p/1.jpg")])
    create_set(services.engine, "games", "local")
    save_classes(services.engine, "games", CLASSES, who="local", expected_version=1)
    return services


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences that the page shows as toasts."""
    shown: list[str] = []
    monkeypatch.setattr(page_module, "warn", lambda error: shown.append(error.sentence))
    return shown


def test_a_saved_licence_leaves_classes_with_colons_and_semicolons_as_they_are(
    services: Services, warnings: list[str]
) -> None:
    [image] = status_of(services.engine, "games").images
    label_picture(services.engine, image.id, "Zelda: Tears", who="local")
    ann = Visitor(services, "ann")
    assert json.loads(ann.classes) == {"Zelda: Tears": ["a box; red"], "beta": ["y"]}
    ann.licence = "CC0"
    ann.save()
    assert (warnings, ann.kept().licence) == ([], "CC0")
    assert status_of(services.engine, "games").classes == CLASSES
    ann.classes = ann.classes.replace('"y"', '"y", "z"')
    ann.save()
    assert status_of(services.engine, "games").classes == [CLASSES[0], ConceptClass("beta", ("y", "z"))]


def test_the_form_is_saved_after_facts_that_one_wrote_oneself(services: Services, warnings: list[str]) -> None:
    ann = Visitor(services, "ann")
    ann.licence = "CC-BY-4.0"
    ann.write_fact("brand", "Acme")
    ann.write_fact("release date", "2023")
    ann.save()
    assert (warnings, ann.kept().licence) == ([], "CC-BY-4.0")
    assert status_of(services.engine, "games").classes[1] == ConceptClass("beta", ("y",), "", "Acme", "2023")


def test_of_two_who_change_the_form_the_second_is_warned_once_and_overwrites_only_what_was_typed(
    services: Services, warnings: list[str]
) -> None:
    ann, bo = Visitor(services, "ann"), Visitor(services, "bo")
    bo.write_fact("brand", "Acme")
    bo.classes, bo.use = bo.classes.replace('"y"', '"y", "z"'), "tests"
    bo.save()
    ann.write_fact("release date", "2023")  # in the list, which shows what Bo did: the form does not
    ann.licence = "CC0"
    ann.save()
    assert warnings == ["You changed the classes or the licence meanwhile: look at them and save yours again."]
    assert ann.kept().licence == "", "Bo's edit is not passed over in silence"
    ann.save()
    assert len(warnings) == 1 and (ann.kept().licence, ann.kept().intended_use) == ("CC0", "tests")
    assert status_of(services.engine, "games").classes[1] == ConceptClass("beta", ("y", "z"), "", "Acme", "2023")


def test_who_was_quicker_is_named_as_people_know_them(services: Services, warnings: list[str]) -> None:
    ann = Visitor(services, "ann")
    version = ann.kept().version
    save_classes(services.engine, "games", CLASSES, who=f"{STATED}bo", expected_version=version, licence="CC0")
    ann.use = "tests"
    ann.save()
    assert warnings == ["Bo changed the classes or the licence meanwhile: look at them and save yours again."]


def test_what_is_typed_and_not_saved_stays_from_step_to_step_and_what_is_saved_follows_the_others(
    services: Services, warnings: list[str]
) -> None:
    ann, bo = Visitor(services, "ann"), Visitor(services, "bo")
    ann.classes, ann.use = ann.classes.replace('"y"', '"y", "z"'), ""
    ann.go("pictures")
    ann.go("classes")
    assert '"z"' in ann.classes
    bo.licence = "CC0"
    bo.save()
    ann.go("agreement")
    assert '"z"' in ann.classes
    ann.save()
    assert warnings == ["Bo changed the classes or the licence meanwhile: look at them and save yours again."]
    ann.go("classes")
    ann.save()
    assert status_of(services.engine, "games").classes[1] == ConceptClass("beta", ("y", "z"))
    ann.go("labels")
    assert (len(warnings), ann.licence) == (1, "CC0"), "nothing is unsaved, so the form is as the set is"


def test_another_set_has_a_form_of_its_own(services: Services) -> None:
    ann = Visitor(services, "ann")
    with transaction(services.engine) as session:
        create_dataset(session, name="toys")
    ann.licence = "typed for the games"
    held = ConceptsFields(classes=ann.classes, licence=ann.licence, use=ann.use)
    ann.fill(ann.page.enter(ann.place, "toys", "ann", REQUEST, *held))
    assert (ann.classes, ann.licence) == ("", "")
