"""Estimate how many regions a filter matches before a query chooses its plan.

A narrow filter is looked up as a list of ids; a common one is left to the walk along the order's index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, union_all
from sqlalchemy import select as select_rows
from sqlmodel import Session, col

from db.models import RegionRow, Status
from db.queries.bulk import IN_LIST

NARROW = IN_LIST  # regions of a filter that are looked up one by one
COMMON = 50_000  # regions of a word or a range from which walking is quicker than listing them


def is_narrow(session: Session, ids: Select[Any]) -> bool:
    """Return whether a query of ids gives at most NARROW rows."""
    return _count_up_to(session, ids, NARROW) <= NARROW


def is_common(session: Session, ids: Select[Any]) -> bool:
    """Return whether a query of ids gives more than COMMON rows."""
    return _count_up_to(session, ids, COMMON) > COMMON


def _count_up_to(session: Session, ids: Select[Any], limit: int) -> int:
    """Count rows; limit + 1 stands for more."""
    counted = select_rows(func.count()).select_from(ids.limit(limit + 1).subquery())
    return session.connection().execute(counted).scalar_one()


def ids_by_status(statuses: Sequence[Status], *clauses: Any) -> Select[Any]:
    """Return a query of the ids of regions that match, one part a status, as the indexes are partitioned."""
    limit = max(NARROW, COMMON) + 1  # nobody counts further
    parts = (
        select_rows(col(RegionRow.id)).where(*clauses, col(RegionRow.status) == status).limit(limit).subquery()
        for status in statuses
    )
    return select_rows(union_all(*map(select_rows, parts)).subquery())


def on_postgresql(session: Session) -> bool:
    """Return whether the database is PostgreSQL; else it is SQLite."""
    return session.get_bind().dialect.name == "postgresql"
