"""Parse the classes of a novel-concept data set: names that no model knows yet, with descriptions and facts.

They come as lines `name: description; description`, as the JSON that DCLIP and CuPL publish, as {"name": "text"}, or as
ours, which adds facts: {"name": {"descriptions": [...], "product class": "", "brand": "", "release date": ""}}.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from curation.files.records import CLASS, shown
from grain.zero_shot import parse_classes, parse_descriptions
from user_errors import UserError

FACTS = {"product class": "product_class", "brand": "brand", "release date": "release_date"}
"""As a picture's facts call them -> the field here."""
DESCRIPTIONS = "descriptions"
LEFT_OUT = "left out"  # the fact with the reason why a picture is not used: nothing is ever deleted
MOST_NAME, MOST_FACT = 80, 200  # characters
MONTH = re.compile(r"\d{4}(-\d{2})?")  # a year or a month is enough for a release


@dataclass(frozen=True)
class ConceptClass:
    """A concept.

    release_date: as 2023-09-12, 2023-09 or 2023; "" where unknown.
    """

    name: str
    descriptions: tuple[str, ...] = ()
    product_class: str = ""
    brand: str = ""
    release_date: str = ""

    def facts(self) -> dict[str, str]:
        """Return what is known besides name and descriptions, as facts of a picture."""
        return {name: value for name, field in FACTS.items() if (value := getattr(self, field))}


def parse(text: str) -> list[ConceptClass]:
    """Return the classes that a person wrote or pasted; none for an empty text.

    Raises: UserError: broken JSON, another shape, a repeated name, a date that is none.
    """
    if not text.strip():
        return []
    rich = _rich(text)
    try:
        found = (
            [_from_entry(name, entry) for name, entry in rich.items()]
            if rich is not None
            else [ConceptClass(name, tuple(texts)) for name, texts in parse_classes(text).items()]
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    return checked(found)


def checked(classes: Sequence[ConceptClass]) -> list[ConceptClass]:
    """Return the classes on one line each, after checking names and dates.

    Raises: UserError.
    """
    found = [_checked(one) for one in classes]
    names = Counter(one.name.casefold() for one in found)
    twice = [one.name for one in found if names[one.name.casefold()] > 1]
    if twice:
        raise UserError(f"expected each class once, got {shown(twice[0])} twice: put its descriptions together")
    return found


def with_facts_of(classes: Sequence[ConceptClass], before: Sequence[ConceptClass]) -> list[ConceptClass]:
    """Return the classes with their former facts where they have none: lines and DCLIP's JSON hold no facts."""
    known = {one.name: one for one in before}
    fields = tuple(FACTS.values())
    return [
        one
        if any(getattr(one, field) for field in fields) or one.name not in known
        else replace(one, **{field: getattr(known[one.name], field) for field in fields})
        for one in classes
    ]


def to_text(classes: Sequence[ConceptClass]) -> str:
    """Return names and descriptions as people type them: `name: description; description`, a class a line.

    As JSON, a class a line, where lines would be read as something else: a name with a colon, a text with a semicolon.
    """
    lines = "\n".join(f"{one.name}: {'; '.join(one.descriptions)}" for one in classes)
    try:
        found = parse(lines)
    except UserError:
        found = []
    if found == [ConceptClass(one.name, one.descriptions) for one in classes]:
        return lines
    rows = (json.dumps({one.name: one.descriptions}, ensure_ascii=False)[1:-1] for one in classes)
    return "{\n" + ",\n".join(rows) + "\n}"


def to_plain(classes: Sequence[ConceptClass]) -> list[dict[str, Any]]:
    """Return the classes as the database and frozen versions keep them."""
    return [{"name": one.name, DESCRIPTIONS: list(one.descriptions), **one.facts()} for one in classes]


def from_plain(plain: Sequence[Mapping[str, Any]]) -> list[ConceptClass]:
    """Return the classes of a list that to_plain made.

    Raises: UserError: no such list.
    """
    return checked([_from_entry(str(entry.get("name", "")), entry) for entry in plain])


def class_texts(concepts: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return name -> descriptions of a frozen version's concepts, as in classes.json; {} of another version's."""
    return {one.name: list(one.descriptions) for one in from_plain(concepts.get("classes", []))}


def is_settled(facts: Mapping[str, str], classes: Collection[str]) -> bool:
    """Return whether a picture is used and its class decided, by its facts."""
    return not facts.get(LEFT_OUT) and facts.get(CLASS, "") in classes


def _rich(text: str) -> dict[str, Any] | None:
    """Parse our JSON; None for anything else, which grain.zero_shot reads or refuses."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not data:
        return None
    if any(isinstance(entry, str) for entry in data.values()):
        lists = {name: [entry] if isinstance(entry, str) else entry for name, entry in data.items()}
        data = {name: {DESCRIPTIONS: entry} if isinstance(entry, list) else entry for name, entry in lists.items()}
    return data if all(isinstance(entry, dict) for entry in data.values()) else None


def _from_entry(name: str, entry: Mapping[str, Any]) -> ConceptClass:
    unknown = sorted(entry.keys() - {"name", DESCRIPTIONS, *FACTS})
    if unknown:
        raise UserError(
            f"expected {DESCRIPTIONS}, {', '.join(FACTS)} of the class {shown(name)}, got {shown(unknown[0])}: "
            "leave it out"
        )
    texts = entry.get(DESCRIPTIONS, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"expected {DESCRIPTIONS} of the class {shown(name)} as a list of texts, got {shown(texts)}")
    facts = {field: entry.get(fact, "") for fact, field in FACTS.items()}
    wrong = [fact for fact, field in FACTS.items() if not isinstance(facts[field], str)]
    if wrong:
        raise UserError(f"expected the {wrong[0]} of the class {shown(name)} as text: put it into quotes")
    return ConceptClass(name, tuple(texts), **facts)


def _checked(one: ConceptClass) -> ConceptClass:
    name = " ".join(one.name.split())
    if not name or len(name) > MOST_NAME or not name.isprintable():
        raise UserError(f"expected a class's name of 1 to {MOST_NAME} characters on one line, got {shown(one.name)}")
    facts = {field: " ".join(getattr(one, field).split())[:MOST_FACT] for field in FACTS.values()}
    if (released := facts["release_date"]) and not _is_date(released):
        raise UserError(
            f"expected the release date of {shown(name)} as 2023-09-12, 2023-09 or 2023, got {shown(released)}: "
            "correct it"
        )
    texts = parse_descriptions("\n".join(text.replace("\n", " ") for text in one.descriptions))
    return ConceptClass(name, tuple(texts), **facts)


def _is_date(text: str) -> bool:
    if MONTH.fullmatch(text):
        return len(text) == 4 or 1 <= int(text[5:]) <= 12
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
