"""Phrases with another word in one place, and words that nobody has."""

from __future__ import annotations

import numpy as np
import pytest

from grain.dense.changed_words import KIND_OF, change_word, last_words, strange_word


@pytest.mark.parametrize(
    ("phrase", "kept"), [("a red ball", ("a {} ball", "a red {}")), ("two dogs", ("{} dogs", "two {}"))]
)
def test_one_word_is_exchanged_for_one_of_its_kind_or_the_noun_for_another(phrase: str, kept: tuple[str, str]) -> None:
    nouns, word, found = ["kite", "lid"], phrase.split()[-2], set()
    for seed in range(60):
        found.add(change_word(phrase, nouns, np.random.default_rng(seed)))
    by_kind = {kept[0].format(other) for other in KIND_OF[word] if other != word}
    by_noun = {kept[1].format(noun) for noun in nouns}
    assert by_noun < found <= by_kind | by_noun
    assert len(found & by_kind) > 3


def test_nouns_are_last_words_without_articles() -> None:
    assert last_words(["a red ball", "the ball", "some of the", "two dogs", ""]) == ["ball", "dogs"]


def test_strange_words_repeat_with_their_seed() -> None:
    words = [strange_word(np.random.default_rng(seed)) for seed in range(50)]
    assert words == [strange_word(np.random.default_rng(seed)) for seed in range(50)]
    assert len(set(words)) > 40 and all(word.startswith("a ") and " " not in word[2:] for word in words)
