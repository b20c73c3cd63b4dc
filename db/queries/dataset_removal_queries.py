"""Count what belongs to a data set, and remove it a part at a time; which tables those are follows from their keys."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import ForeignKey, Select, Table, delete, func, or_, update
from sqlalchemy import select as select_rows
from sqlmodel import Session, SQLModel, col

from db.models import Dataset, Job, RegionRow
from db.queries.bulk import IN_LIST
from db.queries.data_set_queries import get_dataset
from db.queries.selectivity import on_postgresql
from db.queries.values import check_line
from user_errors import UserError

UNFINISHED = ("queued", "running", "paused", "interrupted")  # states of jobs that may go on


def tables_of_datasets() -> list[Table]:
    """Return the tables whose rows belong to one data set, those that others point at last; the data sets' own too."""
    return [table for table in reversed(SQLModel.metadata.sorted_tables) if _key(table) is not None or _is_root(table)]


def count_rows(session: Session, *, dataset_id: int) -> dict[str, int]:
    """Return how many rows of each table belong to a data set, by the table's name; without those that have none."""
    counts = {}
    for table in tables_of_datasets():
        if not _is_root(table):
            asked = select_rows(func.count()).select_from(table).where(_belongs(table, dataset_id))
            counts[table.name] = int(session.connection().execute(asked).scalar_one())
    return {name: count for name, count in counts.items() if count}


def remove_rows(session: Session, *, dataset_id: int, limit: int = IN_LIST) -> tuple[str, int] | None:
    """Remove some rows of a data set, and it with the last ones; return their table and how many, None at the end."""
    for table in tables_of_datasets():
        if table.name == RegionRow.__tablename__:
            _prepare_regions(session, dataset_id, limit)
        removed = session.connection().execute(_removal(table, dataset_id, limit)).rowcount
        if removed:
            return table.name, int(removed)
    return None


def rename_dataset(session: Session, *, dataset_id: int, name: str) -> Dataset:
    """Give a data set another name.

    Raises: UserError: the name is empty, taken or no printable line, or there is no such data set.
    """
    check_new_name(session, name=name)
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise UserError("expected a data set, got one that was removed meanwhile: reload the page")
    dataset.name = name
    session.add(dataset)
    session.flush()
    return dataset


def check_new_name(session: Session, *, name: str) -> None:
    """Refuse a name that no data set can get.

    Raises: UserError: it is empty, taken or no printable line.
    """
    check_line(name, "a name for the data set")
    if get_dataset(session, name=name) is not None:
        raise UserError(f"expected a new name, got {name!r}, which a data set has: choose another")


def jobs_of_dataset(session: Session, *, name: str) -> list[Job]:
    """Return the jobs that are not over and whose settings name a data set, anywhere in them."""
    asked = select_rows(Job).where(col(Job.state).in_(UNFINISHED)).order_by(col(Job.id))
    return [job for job in session.execute(asked).scalars() if name in _texts(job.config)]


def trainings_of_versions(session: Session, *, sha256s: Collection[str]) -> list[Job]:
    """Return the trainings, in any state, whose settings name one of some versions, anywhere in them."""
    asked = select_rows(Job).where(col(Job.kind) == "train").order_by(col(Job.id))
    names = {f"version:{sha256}" for sha256 in sha256s}
    return [job for job in session.execute(asked).scalars() if not names.isdisjoint(_texts(job.config))]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _is_root(table: Table) -> bool:
    return table.name == Dataset.__tablename__


def _key(table: Table) -> ForeignKey | None:
    """Return the key by which a table's rows belong to a data set: the most direct one; None where they do not."""
    found = []
    for key in table.foreign_keys:
        target = key.column.table
        if target is table or key.parent.nullable:
            continue
        above = None if _is_root(target) else _key(target)
        if _is_root(target) or above is not None:
            found.append((0 if _is_root(target) else 1, key.parent.name, key))
    return min(found, key=lambda each: each[:2])[2] if found else None


def _belongs(table: Table, dataset_id: int) -> Any:
    """Return the condition that a row belongs to a data set."""
    if _is_root(table):
        return table.c.id == dataset_id
    key = _key(table)
    assert key is not None
    if _is_root(key.column.table):
        return key.parent == dataset_id
    return key.parent.in_(_owned(key.column.table, dataset_id, key.column.name))


def _owned(table: Table, dataset_id: int, column: str) -> Select[Any]:
    return select_rows(table.c[column]).where(_belongs(table, dataset_id))


def _removal(table: Table, dataset_id: int, limit: int) -> Any:
    """Return the statement that removes some rows: a part of those that are numbered, else all."""
    belongs = _belongs(table, dataset_id)
    if _is_root(table) or "id" not in table.c:
        return delete(table).where(belongs)
    some = select_rows(table.c.id).where(belongs).order_by(table.c.id).limit(limit)
    return delete(table).where(table.c.id.in_(some))


def _prepare_regions(session: Session, dataset_id: int, limit: int) -> None:
    """Take the next regions out of the text search, and off the boxes that others share with them."""
    asked = select_rows(col(RegionRow.id)).where(col(RegionRow.dataset_id) == dataset_id)
    ids = [row[0] for row in session.connection().execute(asked.order_by(col(RegionRow.id)).limit(limit))]
    if not ids:
        return
    if not on_postgresql(session):
        session.connection().exec_driver_sql("DELETE FROM region_text WHERE rowid = ?", [(each,) for each in ids])
    theirs = or_(col(RegionRow.id).in_(ids), col(RegionRow.box_id).in_(ids))
    session.connection().execute(update(RegionRow).where(theirs).values(box_id=None))
