import json
from pathlib import Path

import pytest

from grain import class_texts
from grain.class_texts import match_descriptions, read_descriptions, without_descriptions
from grain.config import ClassTexts
from grain.zero_shot import class_prompts
from user_errors import UserError

CLASSES = ("pink primrose", "Black-footed Albatross", "airfield")


def saved(path: Path, content: object) -> Path:
    file = path / "descriptions.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_descriptions_are_matched_in_the_order_of_the_classes_whatever_the_spelling(tmp_path: Path) -> None:
    file = saved(tmp_path, {"AIRFIELD": ["a  runway"], "black_footed albatross": ["a seabird", "dark feathers"]})
    found = read_descriptions(file, CLASSES)
    assert found.classes == {
        "pink primrose": (),
        "Black-footed Albatross": ("a seabird", "dark feathers"),
        "airfield": ("a runway",),
    }
    assert (found.texts, found.missing) == (3, ("pink primrose",))


def test_empty_and_repeated_descriptions_and_strange_classes_are_reported(tmp_path: Path) -> None:
    file = saved(tmp_path, {"airfield": ["a runway", "a runway ", " ", ""], "moon": ["craters"], "sun": []})
    found = read_descriptions(file, CLASSES)
    assert found.classes["airfield"] == ("a runway",)
    assert found.report() == [
        "1 description stood there twice and counts once.",
        "2 descriptions were empty and left out.",
        "2 classes have none and go by their name alone: pink primrose, Black-footed Albatross.",
        "2 classes of the file are none of the data set's: moon, sun.",
    ]


@pytest.mark.parametrize(
    "names", [("Galaxy S24", "Galaxy S24+"), ("C", "C++", "C#"), ("की", "का"), ("Polish", "polish")]
)
def test_names_that_differ_by_a_sign_or_by_case_keep_their_own_descriptions(names: tuple[str, ...]) -> None:
    found = match_descriptions({name: [f"that of {name}"] for name in reversed(names)}, names)
    assert found.classes == {name: (f"that of {name}",) for name in names} and found.report() == []


def test_the_descriptions_of_one_sign_are_not_those_of_another() -> None:
    with pytest.raises(UserError, match="its first is 'C', did you mean"):
        match_descriptions({"C": ["plain"]}, ["C#"])
    with pytest.raises(UserError, match="its first is 'की'"):
        match_descriptions({"की": ["k-ii"]}, ["का"])


def test_a_name_that_could_be_several_classes_is_left_out_and_reported() -> None:
    found = match_descriptions({"st-bernard": ["a dog"], "mug": ["a cup"]}, ["St. Bernard", "St Bernard", "mug"])
    assert found.classes == {"St. Bernard": (), "St Bernard": (), "mug": ("a cup",)}
    found = match_descriptions({"MUG": ["a cup"], "Mug": ["a beaker"], "lid": ["flat"]}, ["mug", "lid"])
    assert found.classes == {"mug": (), "lid": ("flat",)} and found.unknown == ()
    assert found.report()[-1] == (
        "2 classes of the file are left out, where more than one matches by case, spaces or punctuation: MUG, Mug; "
        "write them as the data set does."
    )
    exact = match_descriptions({"MUG": ["a cup"], "mug": ["a beaker"]}, ["mug"])
    assert exact.classes == {"mug": ("a beaker",)} and exact.ambiguous == ("MUG",)


def test_all_is_well_where_nothing_is_said() -> None:
    assert match_descriptions({"a": ["b"]}, ["a"]).report() == []
    assert without_descriptions(["a", "b"]).classes == {"a": (), "b": ()}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "descriptions.json is empty: expected"),
        ("{", "is no JSON .*: check commas and quotes"),
        ("[" * 100_000, "is no JSON"),
        ('{"fox": ["a tail"], "fox": []}', "the class 'fox' is there twice: put its descriptions into one list"),
        ([], "expected .* got a list: correct the file"),
        ({}, "got no class: write some"),
        ({"airfield": "a runway"}, "got a text for the class 'airfield': put it into a list"),
        ({"airfield": ["a runway", None]}, "got nothing among those of 'airfield': write texts alone"),
        ({"airfield": [{"text": "a runway"}]}, "got an object among those of 'airfield'"),
        ({"airfields": ["a runway"]}, "no class of descriptions.json is .*'airfields', did you mean 'airfield'?"),
        ({"airfield": ["x"] * 1_000_000}, "has 1,000,000 descriptions, more than the 200,000"),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_sentence(content: object, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        read_descriptions(saved(tmp_path, content), CLASSES)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_binary_or_huge_gets_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"cannot be read .*: give a description file"):
        read_descriptions(tmp_path / "nothing.json", CLASSES)
    file = tmp_path / "binary.json"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="no text in UTF-8"):
        read_descriptions(file, CLASSES)
    monkeypatch.setattr(class_texts, "MAX_BYTES", 2)
    with pytest.raises(UserError, match="split it by class"):
        read_descriptions(file, CLASSES)


def test_a_sentence_that_names_its_class_needs_no_template() -> None:
    templates = ClassTexts(names=("a {name}",), descriptions=("a {name}, which has {description}", "{description}!"))
    assert class_prompts("oak", [], templates) == [["a oak"]]
    assert class_prompts("oak", ["An oak is a tree.", "lobed leaves", "It is tall."], templates) == [
        ["An oak is a tree."],
        ["a oak, which has lobed leaves", "lobed leaves!"],
        ["a oak, which has It is tall.", "It is tall.!"],
    ]
