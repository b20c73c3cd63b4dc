"""Read the history of regions and images: states, edits, and who decided how much."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, func
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from db.models import EditKind, Image, RegionEdit, RegionRow, StageResult
from db.queries.bulk import IN_LIST, batches
from db.queries.region_queries import NewRegion

BOX_SIDES = ("x1", "y1", "x2", "y2")
PAUSE_SECONDS = 300  # without an edit: a person who made none for longer did something else


@dataclass(frozen=True)
class Throughput:
    """The number of edits of one kind that a person made on a day (UTC, as 2026-11-25), and the time they took.

    seconds: from the person's edit before to each of these, pauses longer than PAUSE_SECONDS not counted.
    """

    who: str
    day: str
    what: EditKind
    edits: int
    seconds: float


def region_state(region: RegionRow) -> dict[str, Any]:
    """Return a region as the history keeps it: plain JSON."""
    kept = ("text", "status", "score", "source", "similarity", "disagreement", "box_id")
    return {"xyxy": [getattr(region, side) for side in BOX_SIDES]} | {name: getattr(region, name) for name in kept}


def image_state(image: Image) -> dict[str, Any]:
    """Return an image as the history keeps it: plain JSON."""
    return {"caption": image.caption, "facts": dict(image.facts or {}), "review": image.review}


def state_of(row: RegionRow | Image) -> dict[str, Any]:
    """Return a region or an image as the history keeps it: plain JSON."""
    return region_state(row) if isinstance(row, RegionRow) else image_state(row)


def regions_as_made(session: Session, *, image_ids: Collection[int], recipe: str) -> dict[int, list[NewRegion] | None]:
    """Return what a recipe found in some images, by image: as it came, before any edit.

    None: a region was changed and its history does not know from what.
    """
    found: dict[int, list[NewRegion] | None] = {image_id: [] for image_id in image_ids}
    for some in batches(image_ids, IN_LIST):
        asked = select(RegionRow).join(StageResult, col(StageResult.id) == RegionRow.stage_result_id)
        asked = asked.where(col(RegionRow.image_id).in_(some), StageResult.recipe == recipe)
        rows = session.exec(asked.order_by(col(RegionRow.id))).all()
        first = _first_states(session, [row.id for row in rows if row.version > 1])
        for row in rows:
            made = region_state(row) if row.version == 1 else first.get(row.id)
            regions = found[row.image_id]
            if made is None or regions is None:
                found[row.image_id] = None
                continue
            content = (made["text"], made["source"], made["score"])
            regions.append(NewRegion(row.image_id, tuple(made["xyxy"]), *content, description_id=row.description_id))
    return found


def edits_of_action(session: Session, *, image_id: int, action: str) -> Sequence[RegionEdit]:
    """Return the edits that one action made to an image and its regions, oldest first."""
    asked = select(RegionEdit).where(RegionEdit.image_id == image_id, RegionEdit.action == action)
    return session.exec(asked.order_by(col(RegionEdit.id))).all()


def history_page(
    session: Session, *, image_id: int, region_id: int | None = None, before: int | None = None, limit: int = 50
) -> Sequence[RegionEdit]:
    """Return edits of an image and its regions, or of one region, newest first.

    Args: before: id of the last edit of the page before.
    """
    asked = select(RegionEdit).where(RegionEdit.image_id == image_id)
    if region_id is not None:
        asked = asked.where(RegionEdit.region_id == region_id)
    if before is not None:
        asked = asked.where(RegionEdit.id < before)
    return session.exec(asked.order_by(col(RegionEdit.id).desc()).limit(limit)).all()


def edits_until(session: Session, *, image_id: int, region_id: int | None, until: datetime) -> Sequence[RegionEdit]:
    """Return the edits of a region, or of an image itself for None, up to a moment, newest first."""
    mine = col(RegionEdit.region_id) == region_id if region_id else col(RegionEdit.region_id).is_(None)
    asked = select(RegionEdit).where(RegionEdit.image_id == image_id, mine, RegionEdit.at <= until)
    return session.exec(asked.order_by(col(RegionEdit.id).desc())).all()


def last_editors(session: Session, *, image_ids: Collection[int], reason: str) -> dict[int, str]:
    """Return who edited images for a reason last, by image; those that nobody did are left out."""
    found: dict[int, str] = {}
    for some in batches(sorted(image_ids), IN_LIST):
        mine = (col(RegionEdit.image_id).in_(some), col(RegionEdit.region_id).is_(None), RegionEdit.reason == reason)
        for edit in session.exec(select(RegionEdit).where(*mine).order_by(col(RegionEdit.id))):
            found[edit.image_id] = edit.who
    return found


def throughput(session: Session, *, dataset_id: int, since: datetime) -> list[Throughput]:
    """Return edits by person, day and kind since a moment, the latest day first."""
    at = col(RegionEdit.at)
    sqlite = session.get_bind().dialect.name == "sqlite"
    day: Any = func.date(at) if sqlite else func.to_char(func.timezone("UTC", at), "YYYY-MM-DD")
    before: Any = func.lag(at).over(partition_by=col(RegionEdit.who), order_by=(at, col(RegionEdit.id)))
    took = 86_400 * (func.julianday(at) - func.julianday(before)) if sqlite else func.extract("epoch", at - before)
    edits = select_rows(
        col(RegionEdit.who).label("who"),
        day.label("day"),
        col(RegionEdit.what).label("what"),
        took.label("took"),
    )
    edits = edits.where(col(RegionEdit.dataset_id) == dataset_id, at >= since)
    each = edits.subquery()
    counted: Any = func.sum(case((each.c.took <= PAUSE_SECONDS, each.c.took), else_=0.0))
    asked = select_rows(each.c.who, each.c.day, each.c.what, func.count(), counted)
    asked = asked.group_by(each.c.who, each.c.day, each.c.what).order_by(each.c.day.desc(), each.c.who, each.c.what)
    rows = session.connection().execute(asked)
    return [Throughput(who, day, what, count, float(seconds)) for who, day, what, count, seconds in rows]


def _edits_of(row: RegionRow | Image) -> tuple[Any, ...]:
    if isinstance(row, RegionRow):
        return (col(RegionEdit.region_id) == row.id,)
    return col(RegionEdit.image_id) == row.id, col(RegionEdit.region_id).is_(None)


def last_edit(session: Session, row: RegionRow | Image) -> RegionEdit | None:
    """Return the edit that made the row's present version; None where it has never been edited."""
    asked = select(RegionEdit).where(*_edits_of(row), RegionEdit.version == row.version)
    return session.exec(asked.order_by(col(RegionEdit.id).desc()).limit(1)).first()


def state_at(session: Session, row: RegionRow | Image, version: int) -> dict[str, Any] | None:
    """Return the state at a version, from the history; None where it is not known."""
    asked = select(RegionEdit).where(*_edits_of(row))
    left = session.exec(asked.where(RegionEdit.version == version).limit(1)).first()
    if left is not None:
        return left.after
    found = session.exec(asked.where(RegionEdit.version == version + 1).limit(1)).first()
    return found.before if found else None


def _first_states(session: Session, region_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return the states of regions before their first edit, where the history has them."""
    found: dict[int, dict[str, Any]] = {}
    for some in batches(region_ids, IN_LIST):
        asked = select(RegionEdit).where(col(RegionEdit.region_id).in_(some), RegionEdit.version == 2)
        for edit in session.exec(asked):
            if edit.region_id is not None and edit.before is not None:
                found[edit.region_id] = edit.before
    return found
