"""Split a description into claims that can each be true or false, every one with its span.

Pure; texts stay as they are.

"a red lid on the left with two handles" claims an object (lid), an attribute (red), a relation (on the left), a part
(handles) and a count (two). Rules and word lists in plain sight: a claim that they miss is not audited. What it denies
("without wheels") is one claim, that no source is asked about: a picture of what is not there looks like any other.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from db.models import ClaimKind
from grain.photo.denials import split_denial

MOST_CLAIMS = 24  # of one description: a longer one is a model that has lost its way
COLOURS = tuple("red orange yellow green blue purple pink brown black white grey".split())
FAMILIES: dict[str, tuple[str, ...]] = {
    "colour": (*COLOURS, "gray", "beige", "golden", "silver", "turquoise", "maroon"),
    "size": ("small", "large", "big", "tiny", "huge", "long", "short", "tall", "wide", "narrow", "thick", "thin"),
    "shape": ("round", "square", "rectangular", "triangular", "oval", "curved", "straight", "pointed", "flat"),
    "material": ("wooden", "metal", "metallic", "plastic", "glass", "leather", "ceramic", "stone", "woollen", "paper"),
    "pattern": ("striped", "spotted", "checked", "plain", "floral", "dotted"),
    "surface": ("smooth", "rough", "shiny", "matte", "furry", "fluffy", "glossy", "wet", "dry"),
}
COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
DETERMINERS = frozenset("a an the this that these those some its his her their".split())
UNSURE_COUNTS = frozenset("several many few multiple couple pair".split())
OPPOSITES: tuple[tuple[str, str], ...] = (
    ("on the left", "on the right"),
    ("at the top", "at the bottom"),
    ("on top", "at the bottom"),
    ("in front of", "behind"),
    ("above", "below"),
    ("over", "under"),
    ("inside", "outside"),
    ("left of", "right of"),
)
PLACES = frozenset(
    "left right top bottom middle center centre front back side it background foreground corner edge".split()
)
WITH = frozenset("with having featuring bearing has".split())
RELATIONS = frozenset(
    "on in at under above below behind beside near next around over inside outside between against across along from"
    " to by beneath holding wearing carrying riding eating facing atop through left right".split()
)
SIDES = frozenset(("left", "right"))  # adjectives, too
SAYING = frozenset("saying reading says reads labelled labeled".split())
WORD = re.compile(r"\d+|[^\W\d_]+(?:['’-][^\W\d_]+)*")
QUOTED = re.compile(r"[\"“]([^\"”]{1,60})[\"”]|(?<!\w)['‘]([^'’]{1,60})['’](?!\w)")
CLAUSE_END = re.compile(r"[.;!?\n]+|(?<=\s)(?=but\b)", re.IGNORECASE)  # what is denied ends with its clause
ADJECTIVE_ENDINGS = ("ish", "ed", "ous", "ful", "less", "ic", "al", "ive", "shaped", "like", "coloured", "colored")
ATTRIBUTES = frozenset(word for words in FAMILIES.values() for word in words)


@dataclass(frozen=True)
class Claim:
    """One thing that a description says.

    start, end: its span in the description, half open. owner: the row of the object or part that it is about, among
    the description's claims; its own row for an object or a part. denied: it says what is not there, and nothing can be
    asked about it.
    """

    kind: ClaimKind
    start: int
    end: int
    owner: int
    denied: bool = False

    def words(self, text: str) -> str:
        """Return the words that carry the claim."""
        return text[self.start : self.end]


@dataclass(frozen=True)
class _Word:
    text: str  # lower case
    start: int
    end: int


@lru_cache(maxsize=20_000)
def split_claims(text: str) -> tuple[Claim, ...]:
    """Return the claims of one description in the order of their spans; none where nothing can be seen."""
    quoted = [(match.start(), match.end()) for match in QUOTED.finditer(text)]
    denied = _denials(text, quoted)
    quoted = [(low, high) for low, high in quoted if not _holds(denied, low)]
    apart = sorted((*quoted, *denied))  # no two overlap
    words = [
        _Word(match[0].lower(), match.start(), match.end())
        for match in WORD.finditer(text)
        if not _holds(apart, match.start())
    ]
    found = list(_read(_parted(words, denied)))
    nouns = [claim for claim in found if claim.kind in ("object", "part")]
    places = [noun.start for noun in nouns]  # rising
    if nouns or not found:
        found += [Claim("text", low, high, max(0, bisect_left(places, low) - 1)) for low, high in quoted]
    for low, high in denied:
        found.append(Claim("part" if bisect_left(places, low) else "object", low, high, len(nouns), denied=True))
    return _numbered(found, nouns)


def _denials(text: str, quoted: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the spans of what a description says is not there, up to the end of the clause."""
    plain, found, low = list(text), [], 0
    for start, end in quoted:
        plain[start:end] = "_" * (end - start)  # a sign that says "no parking" denies nothing
    words = "".join(plain).replace("’", "'")
    for high, after in [*(match.span() for match in CLAUSE_END.finditer(words)), (len(words), len(words))]:
        clause = words[low:high].rstrip()
        if denied := split_denial(clause)[1]:
            written = re.search(r"\s+".join(map(re.escape, denied.replace("’", "'").split())), clause, re.IGNORECASE)
            start, end = written.span() if written else (0, len(clause))  # its reader may have changed other signs
            found.append((low + start, low + end))
        low = after
    return found


def _holds(spans: Sequence[tuple[int, int]], place: int) -> bool:
    """Return whether one of some spans, rising and apart, holds a place."""
    before = bisect_right(spans, place, key=lambda span: span[0])
    return bool(before) and place < spans[before - 1][1]


def _parted(words: Sequence[_Word], denied: Sequence[tuple[int, int]]) -> list[_Word]:
    """Put an "and" where something is denied, so that no phrase goes on behind it; "but" is one, too."""
    joined = [replace(word, text="and") if word.text == "but" else word for word in words]
    return sorted((*joined, *(_Word("and", low, low) for low, _ in denied)), key=lambda word: word.start)


def _numbered(found: Sequence[Claim], nouns: Sequence[Claim]) -> tuple[Claim, ...]:
    """Order claims by span, and turn an owner from the row of a noun into the row of a claim."""
    ordered = sorted(found, key=lambda claim: (claim.start, claim.end))[:MOST_CLAIMS]
    rows = {(claim.start, claim.end, claim.kind): row for row, claim in enumerate(ordered)}
    numbered = []
    for row, claim in enumerate(ordered):
        owner = nouns[claim.owner] if claim.owner < len(nouns) else claim
        numbered.append(replace(claim, owner=rows.get((owner.start, owner.end, owner.kind), row)))
    return tuple(numbered)


@dataclass
class _Phrase:
    """A noun phrase that is being read."""

    modifiers: list[_Word]
    nouns: list[_Word]


def _read(words: Sequence[_Word]) -> Iterator[Claim]:
    """Yield claims whose owner is the row of its noun among the nouns."""
    nouns, place, kind = 0, 0, "object"
    while place < len(words):
        word = words[place]
        if word.text in WITH or (word.text == "of" and nouns) or (word.text == "and" and nouns):
            kind = "part" if word.text != "and" or kind == "part" else "object"
            place += 1
            continue
        if word.text in SAYING:
            place += 1
            continue
        if nouns and word.text in ("in", "painted") and place + 1 < len(words) and _is_colour_end(words, place + 1):
            colour = words[place + 1]
            yield Claim("attribute", colour.start, colour.end, nouns - 1)
            place += 2
            continue
        if nouns and word.text in RELATIONS:
            end, target = _relation(words, place)
            yield Claim("relation", word.start, words[end - 1].end, nouns - 1)
            if target.nouns:
                yield from _claims_of(target, "object", nouns)
                nouns += 1
            place, kind = end, "object"
            continue
        phrase, place = _phrase(words, place)
        if phrase.nouns:
            yield from _claims_of(phrase, "part" if kind == "part" and nouns else "object", nouns)
            nouns += 1


def _claims_of(phrase: _Phrase, kind: ClaimKind, row: int) -> Iterator[Claim]:
    for word in phrase.modifiers:
        count = word.text in COUNTS or word.text.isdigit()
        yield Claim("count" if count else "attribute", word.start, word.end, row)
    yield Claim(kind, phrase.nouns[0].start, phrase.nouns[-1].end, row)


def _phrase(words: Sequence[_Word], place: int) -> tuple[_Phrase, int]:
    """Return the noun phrase that begins here and where it ends, at least one word on."""
    phrase = _Phrase([], [])
    began = place
    while place < len(words):
        word = words[place]
        if place > began and (word.text in WITH or word.text in SAYING or word.text == "of"):
            break
        if phrase.nouns and (word.text in RELATIONS or word.text == "painted" or word.text in DETERMINERS):
            break
        if phrase.modifiers and word.text in RELATIONS - SIDES:  # "an orange on a table", but "a red left shoe"
            break
        if word.text == "and":
            if phrase.nouns or not phrase.modifiers:
                break
        elif word.text in DETERMINERS or word.text in UNSURE_COUNTS:
            pass
        elif _modifies(words, place):
            phrase.modifiers.append(word)
        else:
            phrase.nouns.append(word)
        place += 1
    if not phrase.nouns and phrase.modifiers and phrase.modifiers[-1].text not in COUNTS:
        phrase.nouns.append(phrase.modifiers.pop())  # "an orange": the last word is the thing
    return phrase, max(place, began + 1)


def _modifies(words: Sequence[_Word], place: int) -> bool:
    """Return whether a word describes a thing instead of naming it; the last word of a phrase names it."""
    word = words[place].text
    last = place + 1 == len(words) or words[place + 1].text in (WITH | RELATIONS | SAYING | DETERMINERS | {"and", "of"})
    if word in COUNTS or word.isdigit():
        return True
    if word in ATTRIBUTES:
        return not last or place + 1 < len(words)  # "red and blue dots"
    return not last and len(word) > 4 and (word.endswith(ADJECTIVE_ENDINGS) or "-" in word)


def _is_colour_end(words: Sequence[_Word], place: int) -> bool:
    """Return whether a colour is here that no thing follows: "a star in red", not "in red paper"."""
    if words[place].text not in FAMILIES["colour"]:
        return False
    return place + 1 == len(words) or words[place + 1].text in (WITH | RELATIONS | {"and"})


def _relation(words: Sequence[_Word], place: int) -> tuple[int, _Phrase]:
    """Return where a relation ends and the thing that it names, empty for a mere place such as "the left"."""
    end = place + 1
    while end < len(words) and words[end].text in (RELATIONS | DETERMINERS | {"of", "front"}):
        end += 1
    nothing = _Phrase([], [])
    if end < len(words) and words[end].text in PLACES:
        while end < len(words) and words[end].text in PLACES | {"of", "the"}:
            end += 1
        if words[end - 1].text in PLACES:
            return end, nothing
    phrase, after = _phrase(words, end) if end < len(words) else (nothing, end)
    return (after, phrase) if phrase.nouns else (end, nothing)
