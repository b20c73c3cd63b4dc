"""Change one word of a phrase, so that it is said of another picture: a colour, a person, a number, or the last noun.

Such a phrase is nearly right, and teaches more of presence than one about something else; words that nobody has
teach that a strange word is not found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grain.dense.features import ARTICLES

KINDS = tuple(
    tuple(words.split())
    for words in (
        "black white grey gray red orange yellow green blue purple pink brown tan silver gold blond",
        "man woman boy girl baby child lady guy toddler",
        "men women boys girls children ladies kids people",
        "one two three four five six several",
        "young old little elderly small large big tall tiny",
        "left right front back top bottom",
    )
)
KIND_OF = {word: kind for kind in KINDS for word in kind}
SYLLABLES = "ba bex dro fi gor hul jen ka lim mo nuv or pli qua rex sti tor ul vash wen xi yor zor zan".split()
MOST_SYLLABLES = 3
BY_KIND = 0.7  # share of phrases with a word of a kind in which that word changes, and not the noun


def change_word(phrase: str, nouns: Sequence[str], order: np.random.Generator) -> str:
    """Return a phrase with another word in one place.

    Args:    nouns: last words of phrases; one of them replaces the last word where none of a kind changes.
    Returns: the same phrase, rarely: where the noun that is drawn is its own.
    """
    words = phrase.split()
    places = [place for place, word in enumerate(words) if word in KIND_OF]
    if places and order.random() < BY_KIND:
        place = places[int(order.integers(len(places)))]
        others = [word for word in KIND_OF[words[place]] if word != words[place]]
        words[place] = others[int(order.integers(len(others)))]
    else:
        words[-1] = nouns[int(order.integers(len(nouns)))]
    return " ".join(words)


def last_words(phrases: Sequence[str]) -> list[str]:
    """Return the last words of phrases, each once and in order."""
    return sorted({words[-1] for phrase in phrases if (words := phrase.split())} - ARTICLES)


def strange_word(order: np.random.Generator) -> str:
    """Make up a word, with an article."""
    count = int(order.integers(2, MOST_SYLLABLES + 1))
    return "a " + "".join(SYLLABLES[int(row)] for row in order.integers(len(SYLLABLES), size=count))
