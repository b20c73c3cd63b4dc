"""Define column types, constraints and rules that several tables share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Dialect, Index, Integer, event, inspect
from sqlalchemy import text as sql
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel

BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only under the name INTEGER
NEVER_AGAIN = {"sqlite_autoincrement": True}
"""For a table whose ids other places keep: SQLite would give the largest again after its row is gone."""


def one_of(column: str, words: Any) -> CheckConstraint:
    """Return the constraint that a column holds one of a Literal's words."""
    allowed = ", ".join(f"'{word}'" for word in get_args(words))
    return CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_is_known")


def partial_index(name: str, *columns: str, where: str) -> Index:
    """Return an index of some rows only; a query must state the condition in these words to use it."""
    return Index(name, *columns, sqlite_where=sql(where), postgresql_where=sql(where))


def is_declared(name: str | None, _kind: str, _parents: Any) -> bool:
    """Return, for alembic, whether tables and indexes of that name are declared here; text search is not."""
    return name is None or not name.startswith(("region_text", "ix_region_text"))


class UtcDateTime(TypeDecorator[datetime]):
    """A moment with its zone, UTC at rest. SQLite drops zones: they are taken off and put on here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a moment without a zone: nobody could say later which moment it was."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"expected a time with its zone, got {value.isoformat()}: use datetime.now(UTC)")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment with its zone."""
        return value and (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


def now() -> datetime:
    """Return this moment, UTC."""
    return datetime.now(UTC)


def freeze_columns(table: type[SQLModel], *names: str) -> None:
    """Refuse updates of columns that never change once a row is written."""

    def refuse(_mapper: Any, _connection: Any, row: Any) -> None:
        changed = [name for name in names if inspect(row).attrs[name].history.has_changes()]
        if changed:
            raise ValueError(f"{', '.join(changed)} of {table.__name__} {row.id} cannot change: make a new one")

    event.listen(table, "before_update", refuse)
