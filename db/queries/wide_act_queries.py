"""Find what runs and imports brought, and keep what an import brings, so that either can be undone whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, distinct, func, or_
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from db.models import Image, ImportRecord, RegionEdit, RegionRow
from db.queries.bulk import IN_LIST
from user_errors import UserError

MOST_RANGES = 400  # in one question; an import that other writers never interrupted has one
LISTED = 20  # imports


@dataclass(frozen=True)
class BroughtRegions:
    """The regions of a run or an import. ranges: ids, first and last."""

    dataset_id: int
    run_id: int | None = None
    ranges: tuple[tuple[int, int], ...] = ()

    def clauses(self) -> list[tuple[Any, ...]]:
        """Return the conditions of a question, for as many questions as it takes."""
        mine = (col(RegionRow.dataset_id) == self.dataset_id, col(RegionRow.status) != "deleted")
        if self.run_id is not None:
            return [(*mine, col(RegionRow.run_id) == self.run_id)]
        some = [self.ranges[at : at + MOST_RANGES] for at in range(0, len(self.ranges), MOST_RANGES)]
        return [(*mine, or_(*(col(RegionRow.id).between(*each) for each in ranges))) for ranges in some]


@dataclass(frozen=True)
class BroughtCount:
    """The regions that are left of a run or an import. decided: of them, those that somebody edited.

    changes: of what was there before, the regions and pictures that it changed and nobody has changed since.
    """

    regions: int = 0
    pictures: int = 0
    decided: int = 0
    changes: int = 0


def count_brought(session: Session, brought: BroughtRegions) -> BroughtCount:
    """Count what is left of a run or an import."""
    regions = pictures = decided = 0
    edited = func.sum(case((col(RegionRow.version) > 1, 1), else_=0))
    for clauses in brought.clauses():
        asked = select_rows(func.count(), func.count(distinct(col(RegionRow.image_id))), edited).where(*clauses)
        more, of_pictures, by_people = session.connection().execute(asked).one()
        regions, pictures, decided = regions + more, pictures + of_pictures, decided + int(by_people or 0)
    return BroughtCount(regions, pictures, decided)


def next_brought(session: Session, brought: BroughtRegions, *, everything: bool, limit: int = IN_LIST) -> list[int]:
    """Return ids of regions that are left of a run or an import. everything: also those that somebody edited."""
    for clauses in brought.clauses():
        asked = select(RegionRow.id).where(*clauses)
        if not everything:
            asked = asked.where(RegionRow.version == 1)
        if found := session.exec(asked.order_by(col(RegionRow.id)).limit(limit)).all():
            return list(found)
    return []


def count_action(session: Session, *, action: str) -> tuple[int, int]:
    """Return how many regions an action edited, and on how many pictures."""
    regions = func.count(distinct(col(RegionEdit.region_id)))
    asked = select_rows(regions, func.count(distinct(col(RegionEdit.image_id)))).where(col(RegionEdit.action) == action)
    found = session.connection().execute(asked).one()
    return int(found[0]), int(found[1])


def count_changes(session: Session, *, action: str) -> int:
    """Count the edits of an action, of regions that were there before it and of pictures, that nobody changed since."""
    mine = select(func.count()).select_from(RegionEdit).where(RegionEdit.action == action, RegionEdit.what != "created")
    regions = mine.join(RegionRow, col(RegionRow.id) == RegionEdit.region_id)
    pictures = mine.join(Image, col(Image.id) == RegionEdit.image_id).where(col(RegionEdit.region_id).is_(None))
    standing = (
        regions.where(RegionRow.version == RegionEdit.version),
        pictures.where(Image.version == RegionEdit.version),
    )
    return sum(session.exec(asked).one() for asked in standing)


# ---------------------------------------------------------------- imports


def start_import(session: Session, *, dataset_id: int, action: str, file: str, format: str, who: str) -> ImportRecord:
    """Note that an import of annotations begins."""
    found = ImportRecord(dataset_id=dataset_id, action=action, file=file, format=format, who=who)
    session.add(found)
    session.flush()
    return found


def note_brought(session: Session, *, import_id: int, ids: Iterable[int]) -> None:
    """Note regions that an import added.

    Raises: UserError: there is no such import.
    """
    record = get_import(session, import_id=import_id)
    ranges = [list(each) for each in record.ranges]
    for number in sorted(ids):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
        record.regions += 1
    record.ranges = ranges
    session.add(record)


def get_import(session: Session, *, import_id: int) -> ImportRecord:
    """Return an import.

    Raises: UserError: there is none of that id.
    """
    found = session.get(ImportRecord, import_id)
    if found is None:
        raise UserError(f"expected the number of an import, got {import_id}: look at the list on the Data page")
    return found


def list_imports(session: Session, *, dataset_id: int, limit: int = LISTED) -> Sequence[ImportRecord]:
    """Return the latest imports of annotations into a data set, newest first."""
    asked = select(ImportRecord).where(ImportRecord.dataset_id == dataset_id)
    return session.exec(asked.order_by(col(ImportRecord.id).desc()).limit(limit)).all()
