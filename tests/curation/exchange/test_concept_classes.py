"""Class lists as people write and paste them; what is none is refused in one sentence."""

from __future__ import annotations

import json

import pytest

from curation.exchange.concept_classes import (
    ConceptClass,
    class_texts,
    from_plain,
    is_settled,
    parse,
    to_plain,
    to_text,
    with_facts_of,
)
from user_errors import UserError

VISION = ConceptClass("Visio", ("a white visor", "a grey band"), "headset", "Acme", "2024-02")


def test_lines_dclips_json_and_ours_say_the_same() -> None:
    bare = [ConceptClass("Visio", ("a white visor", "a grey band")), ConceptClass("Pin", ())]
    assert parse("Visio: a white visor; a grey band\nPin") == bare
    assert parse(json.dumps({"Visio": ["a white visor", "a grey band"], "Pin": []})) == bare
    assert parse('{"Visio": ["a white visor", "a grey band"], "Pin": "a round pin"}') == [
        bare[0],
        ConceptClass("Pin", ("a round pin",)),
    ]
    rich = {"Visio": {"descriptions": ["a white visor", "a grey band"], "product class": "headset", "brand": "Acme"}}
    rich["Visio"]["release date"] = "2024-02"  # type: ignore[assignment]
    assert parse(json.dumps(rich)) == [VISION]
    assert parse("  \n") == []


def test_what_is_kept_comes_back() -> None:
    classes = [VISION, ConceptClass("Пин", ("a | b",))]
    assert from_plain(to_plain(classes)) == classes
    assert from_plain(json.loads(json.dumps(to_plain(classes)))) == classes
    assert to_text(classes).startswith("Visio: a white visor; a grey band\n")
    assert with_facts_of(parse(to_text(classes)), classes) == classes, "facts outlive an edit of the lines"


@pytest.mark.parametrize(
    ("name", "description"),
    [("Zelda: Tears", "a box"), ("Zelda", "a box; red"), ("{Zelda}", "a box"), ("[Zelda", "a box"), ('a "lid"', "a;b")],
)
def test_what_lines_would_cut_is_written_as_json_a_class_a_line(name: str, description: str) -> None:
    classes = [ConceptClass(name, (description,), brand="N"), ConceptClass("beta", ("y", "z"))]
    text = to_text(classes)
    assert with_facts_of(parse(text), classes) == classes
    assert json.loads(text) == {name: [description], "beta": ["y", "z"]} and len(text.splitlines()) == 4
    assert to_text([]) == ""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lid: a\nLID: b", "expected each class once, got 'lid' twice"),
        (": a", "has no name"),
        ('{"a": 3}', "must look like"),
        ('{"a": ["b"', "start like JSON but cannot be read"),
        ('{"a": {"colour": "red"}}', "expected descriptions, product class, brand, release date of the class 'a', got"),
        ('{"a": {"descriptions": "red"}}', "as a list of texts"),
        ('{"a": {"brand": 4}}', "expected the brand of the class 'a' as text"),
        ('{"a": {"release date": "May 2023"}}', "as 2023-09-12, 2023-09 or 2023, got 'May 2023'"),
        ('{"a": {"release date": "2023-13"}}', "got '2023-13'"),
        ("x" * 81, "expected a class's name of 1 to 80 characters"),
    ],
)
def test_a_broken_list_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        parse(text)
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_a_picture_is_settled_by_a_class_of_the_list_unless_it_is_left_out() -> None:
    classes = class_texts({"classes": to_plain([VISION])})
    assert classes == {"Visio": ["a white visor", "a grey band"]}
    assert is_settled({"class": "Visio"}, classes)
    assert not is_settled({"class": "Visio", "left out": "lies in training data"}, classes)
    assert not is_settled({"class": "Other"}, classes) and not is_settled({}, classes)
    assert class_texts({}) == {}
