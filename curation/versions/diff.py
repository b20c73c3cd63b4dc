"""Compare two versions of a data set, picture by picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from curation.files.records import PictureRecord, shown
from curation.versions.state import HISTORY
from db.engine import Engine, reading
from db.queries.history_queries import history_page

ChangeKind = Literal["added", "changed", "removed"]


@dataclass(frozen=True)
class VersionChange:
    """A difference between two versions.

    what: the picture as a whole, or one description. id: of the region, 0 for a picture. fields: name -> before and
    after, of what changed; of an addition or removal everything. who: the editor; "" where unknown.
    """

    kind: ChangeKind
    what: Literal["picture", "description"]
    file_name: str
    sha256: str
    id: int = 0
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    who: str = ""

    def sentence(self) -> str:
        """Return the change on one line, for people."""
        subject = f"{self.what} {self.id} of {self.file_name}" if self.id else f"picture {self.file_name}"
        changes = "; ".join(
            f"{name}: {shown(before)} → {shown(after)}" for name, (before, after) in self.fields.items()
        )
        return (
            f"{self.kind} {subject}" + f" by {self.who}" * bool(self.who) + f" ({changes})" * (self.kind == "changed")
        )


def last_editor(engine: Engine) -> Callable[[int, int], str]:
    """Return a function that finds the last editor in the history, for `diff`.

    Its arguments: a picture's id, and a region's or 0.
    """

    def last(image_id: int, region_id: int) -> str:
        with reading(engine) as session:
            page = history_page(
                session, image_id=image_id, region_id=region_id or None, limit=1 if region_id else HISTORY
            )
        return next((edit.who for edit in page if region_id or edit.region_id is None), "")

    return last


def diff(
    before: Iterable[PictureRecord],
    after: Iterable[PictureRecord],
    *,
    last_editor: Callable[[int, int], str] = lambda image_id, region_id: "",
) -> Iterator[VersionChange]:
    """Yield what happened between two versions of one data set, picture by picture; neither is whole in memory.

    Args: last_editor: who took an annotation away or changed a picture, which no version holds: see `last_editor`.
    """
    old_ones, new_ones = iter(before), iter(after)
    old, new = next(old_ones, None), next(new_ones, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.id < new.id):
            assert old is not None
            yield from _between(old, None, last_editor)
            old = next(old_ones, None)
        elif old is None or new.id < old.id:
            yield from _between(None, new, last_editor)
            new = next(new_ones, None)
        else:
            yield from _between(old, new, last_editor)
            old, new = next(old_ones, None), next(new_ones, None)


PICTURE_FIELDS = ("sha256", "width", "height", "file_name", "caption", "review")


def _between(
    old: PictureRecord | None, new: PictureRecord | None, last_editor: Callable[[int, int], str]
) -> Iterator[VersionChange]:
    any_one = new or old
    assert any_one is not None
    name, sha256 = any_one.file_name, any_one.sha256
    if fields := _changed(_picture_fields(old), _picture_fields(new)):
        yield VersionChange(_kind(old, new), "picture", name, sha256, fields=fields, who=last_editor(any_one.id, 0))
    olds, news = _by_id(old), _by_id(new)
    for number in sorted(olds.keys() | news.keys()):
        was, now = olds.get(number), news.get(number)
        if fields := _changed(was or {}, now or {}):
            who = last_editor(any_one.id, number) if now is None else now["editor"] or now["source"]
            yield VersionChange(_kind(was, now), "description", name, sha256, number, fields, who)


def _kind(old: object, new: object) -> ChangeKind:
    return "added" if old is None else "removed" if new is None else "changed"


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*old, *new])
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def _picture_fields(record: PictureRecord | None) -> dict[str, Any]:
    if record is None:
        return {}
    facts = {f"fact {name}": value for name, value in record.facts.items()}
    return {name: getattr(record, name) for name in PICTURE_FIELDS} | facts


def _by_id(record: PictureRecord | None) -> dict[int, dict[str, Any]]:
    found = {}
    for region in record.regions if record else ():
        for one in region.descriptions:
            found[one.id] = {"xyxy": region.xyxy, "region": region.id} | {
                name: getattr(one, name) for name in ("text", "status", "score", "source", "version", "editor")
            }
    return found
