import pytest

from app.core.typed_descriptions import split_descriptions, typed_descriptions


@pytest.mark.parametrize(
    ("text", "descriptions"),
    [
        ("dog, cat, person", ["dog", "cat", "person"]),
        ("a dog. a cat. a dog.", ["a dog", "a cat"]),
        ("a bottle of 1.5 litres; a glass,", ["a bottle of 1.5 litres", "a glass"]),
        ("a red, round lid\na star", ["a red, round lid", "a star"]),
        ("  \n a lid \n", ["a lid"]),
        (" ,;. ", []),
        ('"a man in a blue, striped shirt"', ["a man in a blue, striped shirt"]),
        ('“a sign "stop", red”', ['a sign "stop", red']),
        ('"a lid", "a star"', ["a lid", "a star"]),
        ('"a red, round lid"\na star', ["a red, round lid", "a star"]),
        ('""', ['""']),
    ],
)
def test_a_line_is_a_description_and_a_single_line_holds_several(text: str, descriptions: list[str]) -> None:
    assert split_descriptions(text) == descriptions


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["a lid"],
        ["a man in a blue, striped shirt"],
        ["A dog waits. It is brown."],
        ['a sign "stop", red'],
        ["a red, round lid", "a star"],
        ['"stop"'],
        ['"stop"', "a star"],
    ],
)
def test_what_a_link_holds_is_read_as_it_was(texts: list[str]) -> None:
    assert split_descriptions(typed_descriptions(texts)) == texts


def test_a_text_of_several_lines_becomes_one() -> None:
    assert typed_descriptions(["a lid,\n red", "", "a lid"]) == "a lid, red\na lid"
    assert typed_descriptions(["a lid"]) == "a lid", "without quotes where none are needed"
    long = "a dog, " * 100
    assert typed_descriptions([long]) == long.strip(), "no run takes it as one: its parts can be looked for"
