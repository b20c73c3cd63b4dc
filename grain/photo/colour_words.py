"""Bring the ways in which people write colours to one: "red-and-white", "purple-coloured", "red, white and blue"."""

from __future__ import annotations

import re
from collections.abc import Collection

from grain.photo.word_lists import COLOURS, HEAD_ENDS

LONGEST_NAME = 60  # characters, of a known name with a colour
_SAME = {"gray": "grey"}
_SHADES = frozenset("light dark bright deep pale".split())
_JOINS = frozenset(("and", "or"))
_COLOUR = rf"(?:{'|'.join((*COLOURS, *_SAME))})"
_SHADE = rf"(?:(?:{'|'.join(sorted(_SHADES))}) )?"
_LIST = rf"{_SHADE}{_COLOUR}(?: (?:and|or) {_SHADE}{_COLOUR}){{0,4}}"
_NUMBER = r"(?:an?|the|some|another|one|two|three|four|five|six|\d+)"
_ENDS = rf"(?=$|,| (?:{'|'.join(sorted(HEAD_ENDS))})\b)"
_HYPHENED = re.compile(r"[a-z]+(?:-[a-z]+)+")
_REWRITES = [
    (re.compile(pattern), to)
    for pattern, to in (
        (rf"\b({_COLOUR})(?:/| ?& ?)(?={_COLOUR}\b)", r"\1 and "),
        (rf"\b({_COLOUR}) (?:colou?red|in colou?r)\b", r"\1"),
        (rf"\b({_COLOUR}) ?, ?(?:(?:and|or) )?(?={_SHADE}{_COLOUR}\b)", r"\1 and "),
        (rf"\b((?!orange){_COLOUR} (?:and|or)) {_NUMBER} (?={_SHADE}{_COLOUR} )", r"\1 "),  # "a red and a blue car"
        (rf" of (?:an? )?({_LIST}) colou?rs?\b", r" that is \1"),
        (rf" (?:colou?red|painted) ({_LIST}){_ENDS}", r" that is \1"),
        (rf", ({_LIST})$", r" that is \1"),
    )
]
_PREDICATE = re.compile(
    r"^(?:(?:that|which|who) )?(?:is|are|was|were|looks?) (?:(?:all|mostly|very|completely|entirely|partly) )?"
    rf"({_LIST}){_ENDS}"
)


def plain_colours(text: str, known: Collection[str] = ()) -> str:
    """Return a lower-case description with its colours as single words: "a red and white car", "a dog that is red".

    Args: known: lower-case names that stay as they are ("black-and-white colobus").
    """

    def split(match: re.Match[str]) -> str:
        words = text[match.start() : match.start() + LONGEST_NAME].split()
        named = any(" ".join(words[:count]) in known for count in range(1, len(words) + 1))
        return match[0] if named else _split_hyphens(match[0])

    text = _HYPHENED.sub(split, text)
    for pattern, to in _REWRITES:
        text = pattern.sub(to, text)
    return text


def colour_of(word: str) -> str:
    """Return which of COLOURS a word is; "" for none."""
    word = word.rstrip(",")
    word = _SAME.get(word, word)
    return word if word in COLOURS else ""


def predicate_colours(rest: str) -> tuple[list[str], str]:
    """Take the colours that the words after a noun say of it ("that is purple", "is red and white") off these words."""
    match = _PREDICATE.match(rest)
    if not match:
        return [], rest
    return [colour for word in match[1].split() if (colour := colour_of(word))], rest[match.end() :]


def colour_goes_on(colour: str, after: str) -> bool:
    """Tell whether "and" or "or" between a colour and a word goes on with the same thing: "a red and shiny car".

    An orange is a fruit, too: "an orange and broccoli" are two things.
    """
    return bool(colour_of(after)) or not (colour == "orange" or re.fullmatch(_NUMBER, after))


def _split_hyphens(word: str) -> str:
    """Return "dark-blue" as two words, "sky-blue" and "blue-coloured" as "blue"; others stay."""
    parts = word.split("-")
    if parts[-1] in ("coloured", "colored"):
        parts = parts[:-1]
    if not colour_of(parts[-1]):
        return word
    plain = all(colour_of(part) or part in _SHADES or part in _JOINS for part in parts)
    return " ".join(parts) if plain else parts[-1]
