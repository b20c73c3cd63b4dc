"""Take from a caption what it says of its subject beyond the phrase itself: "a man" in "a man in a green shirt".

A caption's first phrase is its subject: with the words up to the next one or two phrases it is a longer description of
the same box. "his face", later in the caption, is "the face of the man". Where the caption goes on to somebody else
("and", "while", a comma), nothing is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MOST_WORDS = 12
MOST_BETWEEN = 5  # words between two phrases of one description
MOST_PHRASES = 2  # that follow the subject

_ELSEWHERE = re.compile(r",|\b(?:and|or|but|while|as)\b|^ ?to\b")
_AUXILIARY = re.compile(r"^(?:is|are|was|were) ")
_POSSESSIVE = re.compile(r"^(?:his|her|its|their) (?=.)", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:a|an|the) ", re.IGNORECASE)


class CaptionPhrase(NamedTuple):
    """An entity's phrase in a caption without markup: where it begins and ends."""

    entity: str
    start: int
    end: int


def longer_phrases(caption: str, phrases: Sequence[CaptionPhrase]) -> Iterator[tuple[str, str]]:
    """Give each entity's further descriptions, as its id and the words. phrases: in the caption's order."""
    if not phrases or phrases[0].start:
        return
    subject, *others = phrases
    subject_words = caption[subject.start : subject.end]
    end = subject.end
    for other in others[:MOST_PHRASES]:
        between = caption[end : other.start]
        if _ELSEWHERE.search(between) or len(between.split()) > MOST_BETWEEN:
            break
        end = other.end
        longer = f"{subject_words} {_AUXILIARY.sub('', caption[subject.end : end].strip())}"
        if len(longer.split()) <= MOST_WORDS:
            yield subject.entity, longer
    for other in others:
        part = caption[other.start : other.end]
        if other.entity != subject.entity and _POSSESSIVE.match(part):
            part, owner = _POSSESSIVE.sub("", part), _ARTICLE.sub("the ", subject_words)
            yield other.entity, f"the {part} of {owner}"
            yield other.entity, f"{owner}'s {part}"
