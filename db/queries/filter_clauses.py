"""Turn a CurateFilter into SQL: one row of FILTER_CLAUSES a field.

A page walks one index in its order. Clauses on columns that other indexes have are written so that no planner takes
those: they have the rows, but in another order.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import ge, le
from typing import Any

from sqlalchemy import Select, bindparam, func, text
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from db.models import Image, RegionRow, RegionTag
from db.queries.curate_filter import ChosenRegions, CurateFilter, Sort
from db.queries.selectivity import ids_by_status, is_narrow, on_postgresql
from db.queries.text_search import INDEXED, matching_ids, text_clause


@dataclass(frozen=True)
class RegionQuery:
    """A filter on the regions of one data set, in one order.

    walk: the order whose index is walked; None when the regions are looked up by id.
    """

    session: Session
    dataset_id: int
    filters: CurateFilter
    walk: Sort | None

    def without_words(self, *, walk: Sort | None) -> RegionQuery:
        """Return this query without its words, which the caller has matched."""
        return replace(self, filters=replace(self.filters, words=""), walk=walk)


@dataclass(frozen=True)
class FilterClause:
    """The SQL of one field.

    clause: (query, value) -> the clause. indexed_only: it knows only regions that `index_regions` has passed.
    probe: query -> the ids that the field's own index gives, to be looked up if they are few; None: not here.
    walked_by: the order whose index has the field, so that no probe is needed.
    """

    clause: Callable[[RegionQuery, Any], Any]
    indexed_only: bool = True
    probe: Callable[[RegionQuery], Select[Any] | None] | None = None
    walked_by: Sort | None = None


def where_clauses(query: RegionQuery) -> list[Any]:
    """Return the clauses of all fields but statuses and chosen."""
    mine: Any = col(RegionRow.dataset_id) if query.walk else func.coalesce(RegionRow.dataset_id, 0)
    active = [(row, name) for name, row in FILTER_CLAUSES.items() if name in query.filters.active]
    clauses = [mine == query.dataset_id]
    if query.walk == "lowest_score" or any(row.indexed_only for row, _ in active):
        clauses.append(INDEXED)
    return clauses + [row.clause(query, getattr(query.filters, name)) for row, name in active]


def narrow_clause(query: RegionQuery) -> Any:
    """Return the clause that lists the ids of the first narrow filter; None when none is narrow.

    Regions chosen one by one are looked up whole, however many they are.
    """
    if query.filters.chosen is not None:
        return chosen_clause(query.session, query.filters.chosen)
    for name, row in FILTER_CLAUSES.items():
        if name in query.filters.active and row.probe and row.walked_by != query.walk:
            ids = row.probe(query)
            if ids is not None and is_narrow(query.session, ids):
                return col(RegionRow.id).in_(ids)
    return None


def range_clauses(filters: CurateFilter) -> tuple[Any, ...]:
    """Return the clauses of a filter on nothing but one range, of scores or of disagreement; else ()."""
    if filters.active == {"min_disagreement"}:
        return (col(RegionRow.disagreement) >= filters.min_disagreement,)
    return _scores(filters) if filters.active <= {"min_score", "max_score"} else ()


def status_clause(filters: CurateFilter) -> Any:
    """Return the clause of statuses for regions that are looked up by id."""
    return func.coalesce(RegionRow.status, "").in_(filters.statuses)


def chosen_clause(session: Session, chosen: ChosenRegions) -> Any:
    """Return the clause that a region is one of those chosen: one list of numbers, of any length."""
    name = "id" if chosen.of == "regions" else "image_id"
    numbers = json.dumps(chosen.ids)
    if on_postgresql(session):
        listed = "SELECT value::bigint FROM json_array_elements_text(CAST(:chosen AS json))"
    else:
        listed = "SELECT value FROM json_each(:chosen)"
    # unique: two such lists may meet in one query
    return text(f"region.{name} IN ({listed})").bindparams(bindparam("chosen", numbers, unique=True))


def _equals(column: Any, absent: Any) -> Callable[[RegionQuery, Any], Any]:
    return lambda query, value: (column if query.walk == "newest" else func.coalesce(column, absent)) == value


def _compares(compare: Callable[[Any, Any], Any], column: Any, walked_by: Sort) -> Callable[[RegionQuery, Any], Any]:
    return lambda query, value: compare(column if query.walk == walked_by else column + 0.0, value)


def _of_lookalikes(column: Any, query: RegionQuery) -> Any:
    alike = select(Image.id).where(Image.dataset_id == query.dataset_id, Image.phash == query.filters.phash)
    return column.in_(alike)


def _scores(filters: CurateFilter) -> tuple[Any, ...]:
    """Return the clauses of the range of scores; () for all."""
    low = () if filters.min_score is None else (INDEXED, col(RegionRow.score) >= filters.min_score)
    return low if filters.max_score is None else (*(low or (INDEXED,)), col(RegionRow.score) <= filters.max_score)


def _ids(query: RegionQuery, *clauses: Any) -> Select[Any]:
    return ids_by_status(query.filters.statuses, col(RegionRow.dataset_id) == query.dataset_id, *clauses)


def _ids_by_score(query: RegionQuery) -> Select[Any]:
    return _ids(query, *_scores(query.filters))


def _ids_by_words(query: RegionQuery) -> Select[Any] | None:
    if query.walk == "newest" and not on_postgresql(query.session):
        return None  # the words' own index is walked, newest first
    filters = query.filters
    return matching_ids(query.session, dataset_id=query.dataset_id, statuses=filters.statuses, words=filters.words)


def _tagged(column: Any, query: RegionQuery) -> Any:
    there = (col(RegionTag.dataset_id) == query.dataset_id, col(RegionTag.tag) == query.filters.tag)
    return column.in_(select_rows(col(RegionTag.region_id)).where(*there, text("region_tag.removed_by = ''")))


FILTER_CLAUSES: dict[str, FilterClause] = {
    "phash": FilterClause(
        lambda query, _: _of_lookalikes(func.coalesce(RegionRow.image_id, 0), query),
        probe=lambda query: select_rows(col(RegionRow.id)).where(_of_lookalikes(col(RegionRow.image_id), query)),
    ),
    "tag": FilterClause(
        lambda query, _: _tagged(col(RegionRow.id) + 0, query),
        indexed_only=False,
        probe=lambda query: select_rows(col(RegionRow.id)).where(_tagged(col(RegionRow.id), query)),
    ),
    "min_score": FilterClause(
        _compares(ge, col(RegionRow.score), "lowest_score"), probe=_ids_by_score, walked_by="lowest_score"
    ),
    "max_score": FilterClause(
        _compares(le, col(RegionRow.score), "lowest_score"),
        probe=lambda query: _ids_by_score(query) if query.filters.min_score is None else None,  # else it is known
        walked_by="lowest_score",
    ),
    "min_disagreement": FilterClause(
        _compares(ge, col(RegionRow.disagreement), "disagreement"),
        indexed_only=False,
        probe=lambda query: _ids(query, col(RegionRow.disagreement) >= query.filters.min_disagreement),
        walked_by="disagreement",
    ),
    "run_id": FilterClause(
        _equals(col(RegionRow.run_id), 0),
        probe=lambda query: ids_by_status(query.filters.statuses, col(RegionRow.run_id) == query.filters.run_id),
        walked_by="newest",
    ),
    "source": FilterClause(
        _equals(col(RegionRow.source), ""),
        indexed_only=False,
        probe=lambda query: _ids(query, col(RegionRow.source) == query.filters.source),
        walked_by="newest",
    ),
    "words": FilterClause(lambda query, words: text_clause(query.session, words), probe=_ids_by_words),
}
"""In the order in which probes are tried."""
