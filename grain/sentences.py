"""Split a sentence into the phrases that name one thing each, by plain rules, and join phrases to a sentence.

"It has a red lid, a star and a belt with blue stripes." is "a red lid", "a star" and "a belt with blue stripes": a new
phrase begins where a joining word or a comma is followed by an article, a possessive or a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_BEGINS = r"(?=(?:an?|the|its|their|his|her|one|two|three|four|five|six|several|some|many)\s)"
_VERB = r"(?:has|have|having|is|are|features?)"
_JOINT = re.compile(
    rf"\s*[.;!?]\s+|,?\s+(?:and\s+)?(?:(?:which|that|who)\s+)?(?:also\s+)?(?:and|with|plus|{_VERB})\s+{_BEGINS}"
    rf"|,\s*{_BEGINS}",
    re.IGNORECASE,
)
_LEAD = re.compile(rf"^(?:and|with|(?:it|this|that|they|there|he|she)\s+(?:also\s+)?{_VERB})\s+(?=\S)", re.IGNORECASE)
_PRONOUNS = ("", "it", "this", "that", "they", "there", "he", "she")
_ARTICLE = re.compile(r"^(?:an?|the)\s+", re.IGNORECASE)
_SIDE = re.compile(r"(?<!\ball )\b(left|right)(?=(?:most|wards?)?\b)(?! angle| away| now)", re.IGNORECASE)
_SIDES = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
_COLOURS = (
    "black white gr[ae]y red orange yellow green blue purple pink brown violet beige tan gold golden silver turquoise"
    " teal navy maroon cream crimson scarlet lilac magenta cyan"
    " olive bronze copper ivory khaki indigo rosy ginger blonde? dark light bright pale shiny colou?rful colou?red"
).replace(" ", "|")
_COLOUR = re.compile(rf"\b(?:{_COLOURS})(?:d?ish|er|est|s)?\b", re.IGNORECASE)
_COMMA = re.compile(r",\s*(?:and\s+)?")


def split_phrases(text: str, *, class_name: str = "") -> list[str]:
    """Return the phrases of a text, each once and in order; a text without a joint comes back as it is.

    Args: class_name: a phrase that is only this name, with or without an article, is left out.
    """
    pieces = [part for piece in _JOINT.split(text) for part in _listed(piece)]
    phrases = [_LEAD.sub("", piece.strip(" .,;!?")) for piece in pieces]
    nothing = {*_PRONOUNS, class_name.casefold()}
    kept = [phrase for phrase in phrases if _ARTICLE.sub("", phrase).casefold() not in nothing]
    return list(dict.fromkeys(kept)) if len(phrases) > 1 and kept else [text]


def join_phrases(phrases: Sequence[str]) -> str:
    """Put phrases into one sentence: the first with all the others; "" for none."""
    if len(phrases) < 2:
        return "".join(phrases)
    first, *others, last = phrases
    return f"{first} with {', '.join(others)}{' and ' if others else ''}{last}"


def mirror_words(text: str) -> str:
    """Exchange left and right, as a mirrored picture does."""
    return _SIDE.sub(lambda word: _SIDES.get(word[0], word[0]), text)


def colour_in(text: str) -> str:
    """Return the first word for a colour, or for how light something is; "" for none."""
    found = _COLOUR.search(text)
    return found[0] if found else ""


def names_colour(texts: Iterable[str]) -> bool:
    """Return whether a text names a colour, or how light something is: changed colours would make it untrue."""
    return any(map(colour_in, texts))


def _listed(piece: str) -> list[str]:
    """Split at commas where every part is more than one word: "a small, round lid" is one thing."""
    parts = _COMMA.split(piece)
    several = all(len(_ARTICLE.sub("", part).split()) > 1 for part in parts)
    return parts if several else [piece]
