"""What a caption says of its subject: worked by hand."""

from __future__ import annotations

import re

import pytest

from curation.exchange.longer_phrases import CaptionPhrase, longer_phrases

CAPTIONS = {
    "[man] in [a green shirt] on [a bike]": ["man: man in a green shirt", "man: man in a green shirt on a bike"],
    "[A child] is climbing [the stairs] .": ["A child: A child climbing the stairs"],
    "[A man] and [a woman] in [a park]": [],
    "[A man] , who wears [a hat]": [],
    "[A dog] runs [fast] while [a cat] sleeps": ["A dog: A dog runs fast"],
    "Behind [a dog] in [a park]": [],
    "[A boy] washes [his face]": [
        "A boy: A boy washes his face",
        "his face: the face of the boy",
        "his face: the boy's face",
    ],
    "[A dog] runs over the wet and cold grass by [a lake]": [],
    "": [],
}


@pytest.mark.parametrize("marked", CAPTIONS)
def test_only_what_a_caption_says_of_its_subject_is_taken(marked: str) -> None:
    plain, phrases = "", []
    for before, words in re.findall(r"([^\[]*)(?:\[([^\]]*)\])?", marked):
        plain += before
        if words:
            phrases.append(CaptionPhrase(words, len(plain), len(plain) + len(words)))
            plain += words
    assert [f"{entity}: {text}" for entity, text in longer_phrases(plain, phrases)] == CAPTIONS[marked]
