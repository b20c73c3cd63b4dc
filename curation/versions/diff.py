"""Compare two versions of a data set, picture by picture."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from curation.files.records import PictureRecord
from db.engine import Engine, reading
from db.models import RegionEdit
from db.queries.history_queries import edits_until

ChangeKind = Literal["added", "changed", "removed"]
FACT = "fact "  # before a fact's name, as the name of a field


@dataclass(frozen=True)
class VersionChange:
    """A difference between two versions.

    what: the picture as a whole, or one description. id: of the region, 0 for a picture. fields: name -> before and
    after, of what changed; of an addition or removal everything. who: the editor; "" where unknown.
    """

    kind: ChangeKind
    what: Literal["picture", "description"]
    id: int = 0
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    who: str = ""


FindEditor = Callable[[int, int, Collection[str]], str]
"""(a picture's id, a region's or 0, names of fields) -> whose edit changed one of them last, "" where unknown."""


def last_editor(engine: Engine, *, until: datetime) -> FindEditor:
    """Return a function that finds the last editor in the history, for `picture_differences`.

    Args: until: when the later version was frozen; what was edited after that is in neither.
    """

    def last(image_id: int, region_id: int, fields: Collection[str]) -> str:
        with reading(engine) as session:
            edits = edits_until(session, image_id=image_id, region_id=region_id or None, until=until)
        return next((edit.who for edit in edits if any(_differs(edit, name) for name in fields)), "")

    return last


def _differs(edit: RegionEdit, field_name: str) -> bool:
    """Return whether an edit changed a field of `VersionChange`; what it made first is no change."""
    before, after = edit.before, edit.after
    if before is not None and field_name.startswith(FACT):
        before, after, field_name = before["facts"], after["facts"], field_name.removeprefix(FACT)
    return before is not None and before.get(field_name) != after.get(field_name)


@dataclass(frozen=True)
class PictureDifference:
    """A picture that two versions do not have alike. before, after: None where a version does not have it."""

    before: PictureRecord | None
    after: PictureRecord | None
    changes: tuple[VersionChange, ...]


def picture_differences(
    before: Iterable[PictureRecord],
    after: Iterable[PictureRecord],
    *,
    last_editor: FindEditor = lambda image_id, region_id, fields: "",
) -> Iterator[PictureDifference]:
    """Yield the pictures that differ between two versions of one data set, by id; neither is whole in memory.

    Args: last_editor: who took an annotation away or changed a picture, which no version holds: see `last_editor`.
    """
    for old, new in _pairs(before, after):
        if changes := tuple(_between(old, new, last_editor)):
            yield PictureDifference(old, new, changes)


def _pairs(
    before: Iterable[PictureRecord], after: Iterable[PictureRecord]
) -> Iterator[tuple[PictureRecord | None, PictureRecord | None]]:
    """Yield each picture as both have it, in the order of the ids."""
    old_ones, new_ones = iter(before), iter(after)
    old, new = next(old_ones, None), next(new_ones, None)
    while old is not None or new is not None:
        first = min(each.id for each in (old, new) if each is not None)
        there = tuple(each if each is not None and each.id == first else None for each in (old, new))
        yield there[0], there[1]
        old = next(old_ones, None) if there[0] is not None else old
        new = next(new_ones, None) if there[1] is not None else new


PICTURE_FIELDS = ("sha256", "width", "height", "file_name", "caption", "review")


def _between(old: PictureRecord | None, new: PictureRecord | None, last_editor: FindEditor) -> Iterator[VersionChange]:
    any_one = new or old
    assert any_one is not None
    if fields := _changed(_picture_fields(old), _picture_fields(new)):
        yield VersionChange(_kind(old, new), "picture", fields=fields, who=last_editor(any_one.id, 0, fields))
    olds, news = _by_id(old), _by_id(new)
    for number in sorted(olds.keys() | news.keys()):
        was, now = olds.get(number), news.get(number)
        if fields := _changed(was or {}, now or {}):
            who = last_editor(any_one.id, number, ["status"]) if now is None else now["editor"] or now["source"]
            yield VersionChange(_kind(was, now), "description", number, fields, who)


def _kind(old: object, new: object) -> ChangeKind:
    return "added" if old is None else "removed" if new is None else "changed"


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*old, *new])
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def _picture_fields(record: PictureRecord | None) -> dict[str, Any]:
    if record is None:
        return {}
    facts = {f"{FACT}{name}": value for name, value in record.facts.items()}
    return {name: getattr(record, name) for name in PICTURE_FIELDS} | facts


def _by_id(record: PictureRecord | None) -> dict[int, dict[str, Any]]:
    found = {}
    for region in record.regions if record else ():
        for one in region.descriptions:
            found[one.id] = {"xyxy": region.xyxy, "region": region.id} | {
                name: getattr(one, name) for name in ("text", "status", "score", "source", "version", "editor")
            }
    return found
