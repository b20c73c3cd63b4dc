"""Count and empty the trash: deleted regions, which until then can be restored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import delete, func, update
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from db.models import LabelConflict, RegionEdit, RegionRow, RegionTag, Status
from db.queries.region_index_queries import tally
from db.queries.selectivity import on_postgresql


def count_deleted(session: Session, *, dataset_id: int) -> tuple[int, int]:
    """Return how many regions the trash of a data set has, and of how many pictures."""
    counted = select_rows(func.count(), func.count(func.distinct(RegionRow.image_id)))
    mine = (col(RegionRow.dataset_id) == dataset_id, col(RegionRow.status) == "deleted")
    regions, pictures = session.connection().execute(counted.where(*mine)).one()
    return int(regions), int(pictures)


def deleted_versions(session: Session, *, dataset_id: int) -> list[tuple[int, int]]:
    """Return the id and the version of each region in the trash of a data set."""
    asked = select(RegionRow.id, RegionRow.version)
    asked = asked.where(RegionRow.dataset_id == dataset_id, RegionRow.status == "deleted")
    return [(number, version) for number, version in session.exec(asked.order_by(col(RegionRow.id)))]


def remove_deleted(session: Session, *, versions: Sequence[tuple[int, int]]) -> int:
    """Remove deleted regions for good, with their history; return how many.

    A box whose first description goes takes the next one as its first.

    Args: versions: their ids, at most `bulk.IN_LIST`, each with its version; a region with another one by now stays.
    """
    known = dict(versions)
    asked = select(RegionRow).where(col(RegionRow.id).in_(known), RegionRow.status == "deleted")
    rows = session.exec(asked.order_by(col(RegionRow.id)).with_for_update()).all()
    rows = [row for row in rows if row.version == known[row.id]]
    ids = [row.id for row in rows]
    if not ids:
        return 0
    _name_new_firsts(session, ids)
    run = session.connection().execute
    for model in (RegionTag, LabelConflict, RegionEdit):
        run(delete(model).where(col(model.region_id).in_(ids)))
    indexed = [row for row in rows if row.indexed]
    if indexed and not on_postgresql(session):
        texts = [(row.id,) for row in indexed]
        session.connection().exec_driver_sql("DELETE FROM region_text WHERE rowid = ?", texts)
    gone: Counter[tuple[int, str, Status]] = Counter()
    for row in indexed:
        gone[row.dataset_id, row.source, row.status] -= 1
    tally(session, gone)
    session.expunge_all()
    run(delete(RegionRow).where(col(RegionRow.id).in_(ids)))
    return len(ids)


def _name_new_firsts(session: Session, ids: Sequence[int]) -> None:
    """Give boxes whose first description is about to go another first one; nobody else may point at these rows."""
    run, going = session.connection().execute, set(ids)
    rest: dict[int, list[int]] = {}
    followers = select_rows(col(RegionRow.box_id), col(RegionRow.id)).where(col(RegionRow.box_id).in_(ids))
    for first, number in run(followers.order_by(col(RegionRow.id))):
        if first is not None and number not in going:
            rest.setdefault(first, []).append(number)
    for new, *others in rest.values():
        run(update(RegionRow).where(col(RegionRow.id) == new).values(box_id=None))
        if others:
            run(update(RegionRow).where(col(RegionRow.id).in_(others)).values(box_id=new))
    run(update(RegionRow).where(col(RegionRow.id).in_(ids), col(RegionRow.box_id).is_not(None)).values(box_id=None))
