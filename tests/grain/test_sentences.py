import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.sample.products import novel_classes
from curation.sample.words import descriptions_of
from grain.sentences import join_phrases, split_phrases


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("a red jar with a blue lid and a star", ["a red jar", "a blue lid", "a star"]),
        ("It has a red lid, a star and a belt with blue stripes.", ["a red lid", "a star", "a belt with blue stripes"]),
        ("A jar is a small, round pot which has two handles.", ["a small, round pot", "two handles"]),
        ("yellow beak, long legs, webbed feet", ["yellow beak", "long legs", "webbed feet"]),
        ("There is a dog. It has a long tail!", ["a dog", "a long tail"]),
        ("the jar has a lid; and the jar also has a lid", ["a lid"]),
        ("a man in a green shirt and blue jeans", ["a man in a green shirt and blue jeans"]),
        ("black and white stripes", ["black and white stripes"]),
        ("a jar with no lid", ["a jar with no lid"]),
        ("The lid is red.", ["The lid is red."]),
        ("jar", ["jar"]),
        ("a jar", ["a jar"]),
        ("", [""]),
    ],
)
def test_a_sentence_is_split_where_a_new_thing_begins(text: str, phrases: list[str]) -> None:
    assert split_phrases(text, class_name="jar") == phrases


def test_every_description_of_the_sample_world_is_one_phrase() -> None:
    parts = [part for product in novel_classes(3, 40).values() for part in product.parts]
    texts = [text for part in parts for side in (None, "left") for text in descriptions_of(part, side=side)]
    assert len(texts) > 400
    assert [text for text in texts if split_phrases(text) != [text]] == []


@given(st.text(alphabet="ab ,.;andwith has", max_size=40), st.text(max_size=5))
def test_nothing_is_lost_to_an_empty_answer_and_nothing_stands_there_twice(text: str, name: str) -> None:
    phrases = split_phrases(text, class_name=name)
    assert phrases and len(set(phrases)) == len(phrases)
    assert phrases == [text] or all(phrases)


@pytest.mark.parametrize(
    ("phrases", "sentence"),
    [
        ([], ""),
        (["a box"], "a box"),
        (["a box", "a lid"], "a box with a lid"),
        (["a box", "a lid", "two wings", "a star"], "a box with a lid, two wings and a star"),
    ],
)
def test_phrases_join_to_a_sentence_that_splits_into_them(phrases: list[str], sentence: str) -> None:
    assert join_phrases(phrases) == sentence
    assert split_phrases(sentence) == (phrases or [""])
