"""Return pages of regions, filtered and sorted.

A page is quick at any depth when one index has what it needs. Where several filters meet, the first that is narrow is
looked up by id; if none is, the page is found by walking an index in its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from sqlalchemy import ColumnElement, Select, text, tuple_, union_all
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from db.models import RegionRow
from db.queries.bulk import IN_LIST, batches
from db.queries.curate_filter import NO_FILTER, CurateFilter, Sort
from db.queries.filter_clauses import (
    RegionQuery,
    chosen_clause,
    narrow_clause,
    range_clauses,
    status_clause,
    where_clauses,
)
from db.queries.selectivity import ids_by_status, is_common, on_postgresql
from db.queries.text_search import INDEXED, MATCHING_BETWEEN, id_range, plain_text_matches, search_terms, search_words
from user_errors import UserError

SCANNED = 1_000  # texts that are read before the index of words is asked for a beginning


@dataclass(frozen=True)
class RegionPage:
    """Regions in their order. after: the key of the next page; "" when nothing can follow."""

    regions: tuple[RegionRow, ...]
    after: str


EMPTY_PAGE = RegionPage((), "")


def curate_page(
    session: Session,
    *,
    dataset_id: int,
    filters: CurateFilter = NO_FILTER,
    sort: Sort = "newest",
    after: str = "",
    limit: int = 50,
) -> RegionPage:
    """Return a page of regions.

    Args:   after: `after` of the page before; "" for the first.
    Raises: UserError: after is no key of a page, or the filter has no meaning.
    """
    filters.check()
    key = PageKey.parse(sort, after)
    if not filters.statuses:
        return EMPTY_PAGE
    query = RegionQuery(session, dataset_id, filters, sort)
    plans = (_newest_in_range, _walk) if on_postgresql(session) else (_scan_texts, _newest_in_range, _walk)
    found = next(rows for plan in plans if (rows := plan(query, key, limit)) is not None)
    last = found[-1] if len(found) == limit else None
    return RegionPage(tuple(found), PageKey.of(sort, last).written() if last else "")


def listed_page(
    session: Session,
    *,
    dataset_id: int,
    ids: Sequence[int],
    filters: CurateFilter = NO_FILTER,
    after: str = "",
    limit: int = 50,
) -> RegionPage:
    """Return a page of regions in an order that the caller made, as by distance from their neighbours.

    Args:   ids: all regions in that order; those that the filter leaves out are skipped. after: as of curate_page.
    Raises: UserError: after is no key of a page, or the filter has no meaning.
    """
    filters.check()
    start = 0 if not after else PageKey.parse("newest", after).id or 0
    if not filters.statuses:
        return EMPTY_PAGE
    clauses = [*where_clauses(RegionQuery(session, dataset_id, filters, None)), status_clause(filters)]
    if filters.chosen is not None:
        clauses.append(chosen_clause(session, filters.chosen))
    found: list[RegionRow] = []
    size = limit
    while start < len(ids) and len(found) < limit:
        some = ids[start : start + size]
        rows = {row.id: row for row in session.exec(select(RegionRow).where(_numbered(some), *clauses))}
        for number in some:
            start += 1
            if (row := rows.get(int(number))) is not None:
                found.append(row)
            if len(found) == limit:
                break
        size = min(4 * size, IN_LIST)
    return RegionPage(tuple(found), str(start) if start < len(ids) else "")


def ids_by_picture(session: Session, *, image_ids: Sequence[int]) -> list[int]:
    """Return the regions of a few images, picture by picture in the order given."""
    rank = {image_id: place for place, image_id in enumerate(image_ids)}
    found: list[tuple[int, int]] = []
    for some in batches(image_ids, IN_LIST):
        rows = session.exec(select(RegionRow.image_id, RegionRow.id).where(col(RegionRow.image_id).in_(some)))
        found += [(rank[image_id], number) for image_id, number in rows]
    return [number for _, number in sorted(found)]


@dataclass(frozen=True)
class PageKey:
    """The last region of a page in its order. value: its score or disagreement; None: it has none."""

    sort: Sort
    id: int | None = None
    value: float | None = None

    @classmethod
    def of(cls, sort: Sort, region: RegionRow) -> PageKey:
        """Return the key of the page that ends with a region."""
        values = {"newest": None, "lowest_score": region.score, "disagreement": region.disagreement}
        return cls(sort, region.id, values[sort])

    @classmethod
    def parse(cls, sort: Sort, after: str) -> PageKey:
        """Return the key that `written` gave; "" stands for the start of the order.

        Raises: UserError: it is none, or there is no such order.
        """
        if sort not in get_args(Sort):
            raise UserError(f"expected the order {', '.join(get_args(Sort))}, got {sort!r}: choose one")
        if not after:
            return cls(sort)
        number, _, value = after.partition(":")
        try:
            return cls(sort, int(number), float(value) if value else None)
        except ValueError as error:
            raise UserError(f"expected the place where a page ended, got {after!r}: start at the first page") from error

    def written(self) -> str:
        """Return the key as text."""
        return f"{self.id}" if self.value is None else f"{self.id}:{self.value!r}"


@dataclass(frozen=True)
class IndexRange:
    """A part of an order that one index has: the clauses of its rows behind a key, and its columns in order."""

    behind: tuple[ColumnElement[bool], ...]
    order: tuple[Any, ...]


def _index_ranges(query: RegionQuery, key: PageKey) -> list[IndexRange]:
    """Return the parts of an order, first to last."""
    number, score, apart = col(RegionRow.id), col(RegionRow.score), col(RegionRow.disagreement)
    if key.sort == "newest":
        return [IndexRange(() if key.id is None else (number < key.id,), (number.desc(),))]
    if key.sort == "disagreement":
        known = apart.is_not(None)
        behind = (known,) if key.id is None else (known, tuple_(apart, number) < (key.value, key.id))
        return [IndexRange(behind, (apart.desc(), number.desc()))]
    ranges = []
    if key.id is None or key.value is not None:
        scored = (score.is_not(None),) if key.id is None else (tuple_(score, number) > (key.value, key.id),)
        ranges.append(IndexRange(scored, (score, number)))
    if query.filters.min_score is None and query.filters.max_score is None:
        passed = () if key.id is None or key.value is not None else (number > key.id,)
        ranges.append(IndexRange((score.is_(None), *passed), (number,)))
    return ranges


def _walk(query: RegionQuery, key: PageKey, limit: int) -> list[RegionRow]:
    """Return the page by a list of ids where a filter is narrow, else along the index of its order or of its words."""
    narrow = narrow_clause(query)
    if narrow is None and query.filters.words and query.walk == "newest" and not on_postgresql(query.session):
        return _walk_words(query, key, limit)
    found: list[RegionRow] = []
    for part in _index_ranges(query, key):
        if len(found) < limit:
            found += _first_rows(query, part, narrow=narrow, limit=limit - len(found))
    return found


def _first_rows(query: RegionQuery, part: IndexRange, *, narrow: Any, limit: int) -> list[RegionRow]:
    """Return the first regions of a part: of a list of ids, or merged from the walks of each status."""
    rows = select(RegionRow).order_by(*part.order).limit(limit)
    if narrow is None:
        ids = _ids_in_order(query, part, limit, *where_clauses(query))
        return list(query.session.exec(rows.join(ids, ids.c.id == RegionRow.id)).all())
    clauses = (narrow, status_clause(query.filters), *where_clauses(replace(query, walk=None)), *part.behind)
    return list(query.session.exec(rows.where(*clauses)).all())


def _ids_in_order(query: RegionQuery, part: IndexRange, limit: int, *clauses: Any) -> Any:
    """Return a subquery of the first ids of a part, up to limit of each status: its index is walked by status."""
    heads: list[Select[Any]] = [
        select_rows(col(RegionRow.id))
        .where(*clauses, col(RegionRow.status) == status, *part.behind)
        .order_by(*part.order)
        .limit(limit)
        for status in query.filters.statuses
    ]
    return union_all(*(select_rows(head.subquery()) for head in heads)).subquery()


def _newest_in_range(query: RegionQuery, key: PageKey, limit: int) -> list[RegionRow] | None:
    """Return the newest of a range of scores or disagreement that is not common; None for all other filters.

    The whole range is read from the index that has it, and no rows but those of the page.
    """
    clauses = range_clauses(query.filters) if query.walk == "newest" else ()
    mine = col(RegionRow.dataset_id) == query.dataset_id
    if not clauses or is_common(query.session, ids_by_status(query.filters.statuses, mine, *clauses)):
        return None
    number = col(RegionRow.id) + 0  # so that no planner takes the index that has them in order, and misses the range
    part = IndexRange(() if key.id is None else (number < key.id,), (number.desc(),))
    ids = _ids_in_order(query, part, limit, mine, *clauses)
    rows = select(RegionRow).join(ids, ids.c.id == RegionRow.id)
    return list(query.session.exec(rows.order_by(col(RegionRow.id).desc()).limit(limit)).all())


def _scan_texts(query: RegionQuery, key: PageKey, limit: int) -> list[RegionRow] | None:
    """Return the page where the next SCANNED regions of the order fill it; else None: the index must be asked.

    FTS5 gathers all rows of a beginning before it gives the first one, and most texts may share it; but then reading
    a few hundred of them fills a page. Only ASCII texts are judged here: what a word is in others FTS5 decides.
    """
    words = query.filters.words
    alone = query.filters.active <= ({"words", "source"} if query.walk == "newest" else {"words"})
    if "*" not in words or not words.isascii() or not alone:
        return None
    part = _index_ranges(query, key)[0]
    ids = _ids_in_order(query, part, SCANNED, *where_clauses(query.without_words(walk=query.walk)), INDEXED)
    texts = select_rows(col(RegionRow.id), col(RegionRow.text)).join(ids, ids.c.id == RegionRow.id)
    found: list[int] = []
    for number, line in query.session.connection().execute(texts.order_by(*part.order).limit(SCANNED)).all():
        if not line.isascii():
            return None
        found += [number] if plain_text_matches(line, search_words(words)) else []
        if len(found) == limit:
            rows = select(RegionRow).where(col(RegionRow.id).in_(found)).order_by(*part.order)
            return list(query.session.exec(rows).all())
    return None


def _walk_words(query: RegionQuery, key: PageKey, limit: int) -> list[RegionRow]:
    """Return the newest of all regions that have the words, read in batches until the other filters leave enough."""
    filters = query.filters
    first, last = id_range(query.session, dataset_id=query.dataset_id, statuses=filters.statuses)
    last = last if key.id is None else min(last, key.id - 1)
    values: dict[str, Any] = {"terms": search_terms(query.session, filters.words), "first": first, "last": last}
    size, part = 4 * limit, IndexRange((), (col(RegionRow.id).desc(),))
    others = query.without_words(walk=None)
    found: list[RegionRow] = []
    while len(found) < limit:
        batch = text(f"{MATCHING_BETWEEN} ORDER BY rowid DESC LIMIT :limit")
        ids = query.session.connection().execute(batch, values | {"limit": size}).scalars().all()
        if not ids:
            break
        found += _first_rows(others, part, narrow=_numbered(ids), limit=limit - len(found))
        values["last"], size = ids[-1] - 1, min(4 * size, IN_LIST)
    return found


def _numbered(ids: Sequence[int]) -> Any:
    """Return the clause that a region has one of the ids: numbers of ours, too many to be bound."""
    return text(f"region.id IN ({', '.join(map(str, map(int, ids)))})")
