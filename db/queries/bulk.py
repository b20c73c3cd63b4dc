"""Insert many rows at once, and name many values in one statement; on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError
from sqlmodel import Session

from db.models import UtcDateTime

BATCH_ROWS = 20_000  # of a bulk insert: a few megabytes
IN_LIST = 5_000  # values named in one statement; SQLite takes 32,766, PostgreSQL 65,535
Insert = sqlite.Insert | postgresql.Insert


@dataclass(frozen=True)
class Added:
    """The number of rows of a bulk insert that were new, and that were there already."""

    new: int
    known: int


def insert_into(session: Session, model: Any) -> Insert:
    """Return an INSERT that knows ON CONFLICT, in the dialect at hand."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(model.__table__)
    return postgresql.insert(model.__table__)


def insert_new(
    session: Session, model: Any, *, columns: Sequence[str], rows: Iterable[tuple[Any, ...]], unique: Sequence[str]
) -> Added:
    """Insert rows in bulk, leaving out those whose unique columns are there already.

    Straight to the driver: SQLAlchemy's own way to many rows is twice as slow on SQLite. Moments must be `bound`.

    Raises: ValueError: a row breaks a rule of its table (db/models/) or names a row that does not exist.
    """
    table: Table = model.__table__
    place = "?" if session.get_bind().dialect.paramstyle == "qmark" else "%s"
    places = ", ".join([place] * len(columns))
    statement = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})"
    statement += f" ON CONFLICT ({', '.join(unique)}) DO NOTHING"
    given = new = 0
    for some in batches(rows, BATCH_ROWS):
        try:
            new += session.connection().exec_driver_sql(statement, some).rowcount
        except (IntegrityError, DataError) as error:
            raise ValueError(f"a row for {table.name} breaks a rule: {' '.join(str(error.orig).split())}") from error
        given += len(some)
    return Added(new=new, known=given - new)


def bound(session: Session, moment: Any) -> Any:
    """Return a moment as the driver takes it, for `insert_new`."""
    dialect = session.get_bind().dialect
    processor = UtcDateTime().dialect_impl(dialect).bind_processor(dialect)
    return processor(moment) if processor else moment


def batches(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    """Yield lists of at most `size` items, in order; none is empty."""
    rest = iter(items)
    return iter(lambda: list(islice(rest, size)), [])
