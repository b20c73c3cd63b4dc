"""Index regions that came in bulk, keep their tallies, and store what GRAIN says of them.

Regions come by the million and are indexed afterwards (`index_regions`). Pages by status and source know them at
once; score order, scores, words, runs and look-alikes know the indexed ones only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import func, text
from sqlalchemy import select as select_rows
from sqlmodel import Session, col

from db.models import RegionRow, RegionTally, Status
from db.queries.bulk import batches
from db.queries.selectivity import on_postgresql

INDEX_ROWS = 10_000  # a transaction: others wait for a writer no longer than a fraction of a second
TAKE_NEXT = (
    "UPDATE region SET indexed = true,"
    " run_id = (SELECT run_id FROM stage_result WHERE stage_result.id = region.stage_result_id)"
    " WHERE id IN (SELECT id FROM region WHERE indexed IS false ORDER BY id LIMIT :limit{locking})"
    " RETURNING id, dataset_id, source, status, text"
)
ADD_TALLY = text(
    "INSERT INTO region_tally (dataset_id, source, status, regions)"
    " VALUES (:dataset_id, :source, :status, :more) ON CONFLICT (dataset_id, source, status)"
    " DO UPDATE SET regions = region_tally.regions + excluded.regions"
)


@dataclass(frozen=True)
class SourceCount:
    """The number of regions with one source and one status."""

    source: str
    status: Status
    regions: int


@dataclass(frozen=True)
class Similarity:
    """The score that GRAIN gives a region, and how far it is from the localizer's, as the caller measures.

    version: of the region that was scored; None for any.
    """

    region_id: int
    similarity: float
    disagreement: float | None
    version: int | None = None


def index_regions(session: Session, *, limit: int = INDEX_ROWS) -> int:
    """Index the next regions that came in bulk for score order, words, runs and tallies; return how many.

    What adds in bulk calls it afterwards until it returns 0, in a transaction each; so does a page before it opens.
    """
    postgresql = on_postgresql(session)
    take = TAKE_NEXT.format(locking=" FOR UPDATE SKIP LOCKED" if postgresql else "")
    rows = session.connection().execute(text(take), {"limit": limit}).all()
    if not postgresql:
        for some in batches(((row.id, row.text) for row in rows), INDEX_ROWS):
            session.connection().exec_driver_sql("INSERT INTO region_text (rowid, text) VALUES (?, ?)", some)
    tally(session, Counter((row.dataset_id, row.source, row.status) for row in rows))
    return len(rows)


def tally(session: Session, more: Mapping[tuple[int, str, Status], int]) -> None:
    """Add to the counts of (data set, source, status); in one order, so that two writers never wait for each other."""
    for (dataset_id, source, status), count in sorted(more.items()):
        if count:
            values = {"dataset_id": dataset_id, "source": source, "status": status, "more": count}
            session.connection().execute(ADD_TALLY, values)


def count_by_status(session: Session, *, dataset_id: int) -> list[SourceCount]:
    """Return the regions of a data set by source and status: tallies of the indexed ones, and the others counted."""
    kept = select_rows(col(RegionTally.source), col(RegionTally.status), col(RegionTally.regions))
    counts: Counter[tuple[str, Status]] = Counter()
    for source, status, count in session.connection().execute(kept.where(col(RegionTally.dataset_id) == dataset_id)):
        counts[source, status] += count
    fresh = select_rows(col(RegionRow.source), col(RegionRow.status), func.count()).where(text("indexed IS false"))
    fresh = fresh.where(func.coalesce(RegionRow.dataset_id, 0) == dataset_id)
    for source, status, count in session.connection().execute(
        fresh.group_by(col(RegionRow.source), col(RegionRow.status))
    ):
        counts[source, status] += count
    return [SourceCount(*key, count) for key, count in sorted(counts.items()) if count]


def set_similarities(session: Session, *, rows: Iterable[Similarity]) -> int:
    """Store what GRAIN says of regions, in bulk; return how many there were. Versions and history stay.

    A region that somebody edited since it was read keeps what it has: its score is of other words, or of another box.
    """
    mark = "?" if not on_postgresql(session) else "%s"
    statement = f"UPDATE region SET similarity = {mark}, disagreement = {mark} WHERE id = {mark}"
    statement += f" AND version = COALESCE({mark}, version)"
    kept = 0
    for some in batches(((row.similarity, row.disagreement, row.region_id, row.version) for row in rows), INDEX_ROWS):
        kept += session.connection().exec_driver_sql(statement, some).rowcount
    return kept
