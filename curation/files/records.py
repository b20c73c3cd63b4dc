"""Carry a picture with all that is known of its regions between the database, files and Label Studio.

Nothing is lost on the way: what a format cannot carry is listed before it is written (curation/exchange/formats.py).
`to_json` and `from_json` are exact: equal records have equal lines, no matter who writes them
(curation/versions/versions.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from user_errors import UserError

Status = Literal["pending", "accepted", "rejected"]
Review = Literal["open", "reviewed", "empty"]
"""open: nobody has finished it. reviewed: somebody has. empty: somebody has, and there is nothing to mark."""
Box = tuple[float, float, float, float]
STATUSES: tuple[Status, ...] = get_args(Status)
REVIEWS: tuple[Review, ...] = get_args(Review)
LARGEST_ID = 2**63 - 1
LARGEST_SIDE = 2**31 - 1  # pixels


@dataclass(frozen=True, slots=True)
class DescriptionRecord:
    """A description of a region, with its own verdict. id, version: of the annotation; id 0 outside a database."""

    text: str
    status: Status = "pending"
    score: float | None = None
    """The localizer's, 0..1; None from a person."""
    source: str = ""
    """model@revision or human:name"""
    id: int = 0
    version: int = 1
    editor: str = ""
    """Who made it what it is; "" where nobody has touched it since its source wrote it."""


@dataclass(frozen=True, slots=True)
class RegionRecord:
    """A box, xyxy normalized to the upright picture, and one description or more. id: of its first annotation, or 0."""

    xyxy: Box
    descriptions: tuple[DescriptionRecord, ...]
    id: int = 0


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """One picture. width, height: pixels, upright. file_name: relative, with `/`, unique within its data set."""

    sha256: str
    width: int
    height: int
    file_name: str
    caption: str = ""
    review: Review = "open"
    facts: Mapping[str, str] = field(default_factory=dict)
    """Of the whole picture, by name: class, brand, release date, where and when it was found."""
    regions: tuple[RegionRecord, ...] = ()
    id: int = 0
    """Of the picture in the database, or 0."""
    written_sha256: str = ""
    """Of the file that an export wrote, where it is another than the picture's own; "" anywhere else."""


CLASS = "class"
"""The fact with the class that a picture shows."""
WRITTEN_CAPTION = "written caption"
"""The fact under which a picture has the caption that a describer wrote; its own one stays what it came with."""


MOST_CAPTIONS = 100  # that are kept of one picture


def with_captions(caption: str, facts: Mapping[str, str], texts: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Return a picture's caption and facts with further captions, as the facts "caption 2", "caption 3", …

    A text that is there already is not added; the first one is the caption where there was none.
    """
    kept = dict(facts)
    for text in filter(None, texts):
        if not caption:
            caption = text
            continue
        mine = {number: kept.get(f"caption {number}") for number in range(2, MOST_CAPTIONS + 1)}
        free = next((number for number, there in mine.items() if there is None), None)
        if text != caption and text not in mine.values() and free is not None:
            kept[f"caption {free}"] = text
    return caption, kept


def captions_in(facts: Mapping[str, str]) -> list[str]:
    """Return the further captions that with_captions has put into facts."""
    named = (f"caption {number}" for number in range(2, MOST_CAPTIONS + 1))
    return [facts[name] for name in named if name in facts]


def to_json(record: PictureRecord) -> str:
    """Write one line: sorted keys, no spaces, floats in the shortest form that gives them back, no defaults."""
    plain = {
        **facts_of(record),
        "regions": [
            _sparse(
                {
                    "xyxy": list(region.xyxy),
                    "descriptions": [description_to_json(one) for one in region.descriptions],
                    "id": region.id,
                }
            )
            for region in record.regions
        ],
    }
    return json.dumps(_sparse(plain), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def from_json(line: str | bytes) -> PictureRecord:
    """Read what to_json wrote.

    Raises: UserError: no such line.
    """
    try:
        value = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"expected one JSON object a line, got none ({error}): write the file again") from error
    plain = an_object(value, "a picture")
    regions = tuple(
        RegionRecord(
            parse_box(entry.get("xyxy")),
            descriptions_from_json(entry.get("descriptions")),
            parse_integer(entry.get("id", 0), "id"),
        )
        for entry in (an_object(item, "a region") for item in a_list(plain.get("regions", []), "regions"))
    )
    return picture_from(plain, regions=regions)


def facts_of(record: PictureRecord) -> dict[str, Any]:
    """Return all that is known of a picture besides its regions, by the record's own names; defaults are left out."""
    return _sparse(
        {
            "sha256": record.sha256,
            "width": record.width,
            "height": record.height,
            "file_name": record.file_name,
            "caption": record.caption,
            "review": record.review,
            "facts": {name: record.facts[name] for name in sorted(record.facts)},
            "id": record.id,
            "written_sha256": record.written_sha256,
        }
    )


def picture_from(plain: Mapping[str, Any], *, regions: tuple[RegionRecord, ...]) -> PictureRecord:
    """Make a picture from what facts_of gives, or from as much of it as another program wrote.

    Raises: UserError.
    """
    sha256, written = (_parse_sha256(plain.get(name, ""), name) for name in ("sha256", "written_sha256"))
    width, height = (parse_integer(plain.get(side), side, least=1, most=LARGEST_SIDE) for side in ("width", "height"))
    file_name = text(plain.get("file_name"), "file_name")
    if not file_name:
        raise UserError("expected a file_name, got an empty one: name the picture's file")
    facts = an_object(plain.get("facts", {}), "facts")
    return PictureRecord(
        sha256,
        width,
        height,
        file_name,
        text(plain.get("caption", ""), "caption"),
        one_of(plain.get("review", "open"), REVIEWS, "review"),
        {name: text(value, f"fact {shown(name)}") for name, value in facts.items()},
        regions,
        parse_integer(plain.get("id", 0), "id"),
        written,
    )


def _parse_sha256(value: Any, name: str) -> str:
    sha256 = text(value, name)
    if sha256 and (len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef")):
        raise UserError(f"expected a {name} of 64 lower-case hex digits, got {shown(sha256)}: correct it")
    return sha256


def description_to_json(one: DescriptionRecord) -> dict[str, Any]:
    """Write a description by the record's own names; defaults are left out."""
    keys = ("status", "score", "source", "id", "version", "editor")
    plain = {"text": one.text, **{key: getattr(one, key) for key in keys}}
    return {key: value for key, value in plain.items() if key == "text" or value != DEFAULTS[key]}


def descriptions_from_json(value: Any) -> tuple[DescriptionRecord, ...]:
    """Read a list of one or more descriptions; a bare string is a description of which nothing else is known.

    Raises: UserError.
    """
    items = a_list(value, "descriptions")
    if not items:
        raise UserError("expected one description or more, got none: describe the region or leave it out")
    return tuple(
        DescriptionRecord(item) if isinstance(item, str) else _description(an_object(item, "a description"))
        for item in items
    )


def description_from(
    text_: Any,
    *,
    status: Any = "pending",
    score: Any = None,
    source: Any = "",
    id: Any = 0,
    version: Any = 1,
    editor: Any = "",
) -> DescriptionRecord:
    """Make a description of checked parts.

    Raises: UserError.
    """
    return DescriptionRecord(
        text(text_, "text"),
        one_of(status, STATUSES, "status"),
        None if score is None else number(score, "score"),
        text(source, "source"),
        parse_integer(id, "id"),
        parse_integer(version, "version", least=1),
        text(editor, "editor"),
    )


def parse_box(value: Any) -> Box:
    """Parse four numbers that are a box with an area within the picture.

    Raises: UserError.
    """
    numbers = [number(side, "a side of a box") for side in a_list(value, "a box")]
    if len(numbers) != 4:
        raise UserError(f"expected a box of 4 numbers, got {len(numbers)}: correct it")
    x1, y1, x2, y2 = numbers
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise UserError(
            f"expected a box with an area inside the picture (x1 < x2, y1 < y2, in parts of 1), got {numbers}: "
            "correct it or leave it out"
        )
    return (x1, y1, x2, y2)


def number(value: Any, name: str) -> float:
    """Check that a value is a finite number.

    Raises: UserError.
    """
    try:
        if isinstance(value, bool | str):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError, ArithmeticError):
        raise UserError(f"expected a number for {name}, got {shown(value)}: correct it") from None
    if not math.isfinite(found):
        raise UserError(f"expected a finite number for {name}, got {shown(value)}: correct it")
    return found


def parse_integer(value: Any, name: str, *, least: int = 0, most: int = LARGEST_ID) -> int:
    """Check that a value is a whole number within bounds; 640.0 is one, as some programs write it.

    Raises: UserError.
    """
    found = value if isinstance(value, int) else number(value, name)
    if isinstance(found, bool) or found != int(found) or not least <= found <= most:
        raise UserError(f"expected a whole number from {least} to {most} for {name}, got {shown(value)}: correct it")
    return int(found)


def text(value: Any, name: str) -> str:
    """Check that a value is a string that can be stored as UTF-8.

    Raises: UserError.
    """
    if not isinstance(value, str):
        raise UserError(f"expected text for {name}, got {shown(value)}: correct it")
    if not value.isprintable():  # quick, and it is not for most
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UserError(f"expected text for {name}, got half a character ({shown(value)}): correct it") from None
    return value


def one_of(value: Any, words: tuple[Any, ...], name: str) -> Any:
    """Check that a value is one of a Literal's words.

    Raises: UserError.
    """
    if value not in words:
        raise UserError(f"expected {name} to be one of {', '.join(words)}, got {shown(value)}: correct it")
    return value


def an_object(value: Any, name: str) -> dict[str, Any]:
    """Check that a value is a JSON object.

    Raises: UserError.
    """
    if not isinstance(value, dict):
        raise UserError(f"expected {name} as a JSON object, got {shown(value)}: correct it")
    return value


def a_list(value: Any, name: str) -> list[Any]:
    """Check that a value is a JSON list.

    Raises: UserError.
    """
    if not isinstance(value, list):
        raise UserError(f"expected {name} as a list, got {shown(value)}: correct it")
    return value


def shown(value: Any) -> str:
    """Show what came, short and on one line, whatever it is."""
    if value is None:
        return "nothing"
    shortened = ascii(value) if isinstance(value, str) else " ".join(str(value)[:80].split())
    return shortened if len(shortened) <= 60 else f"{shortened[:57]}..."


DEFAULTS: dict[str, Any] = {
    "caption": "",
    "review": "open",
    "facts": {},
    "id": 0,
    "status": "pending",
    "score": None,
    "source": "",
    "version": 1,
    "editor": "",
    "written_sha256": "",
}


def _sparse(plain: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plain.items() if key not in DEFAULTS or value != DEFAULTS[key]}


def _description(plain: Mapping[str, Any]) -> DescriptionRecord:
    keys = ("status", "score", "source", "id", "version", "editor")
    return description_from(plain.get("text"), **{key: plain[key] for key in keys if key in plain})


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")
