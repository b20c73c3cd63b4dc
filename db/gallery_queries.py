"""Questions of the gallery, by name: pages of regions and pictures, text search, counts. Habits as in db/queries.py.

Regions come by the million and are indexed afterwards (`index_annotations`). Pages by status and source know them at
once; score order, scores, words, runs and look-alikes know the indexed ones only.

A page is quick at any depth when one index knows what it asks for. Where several filters meet, the rarest that names
at most NARROW regions is looked up whole; if none is so rare, the page is found by walking in its order.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Integer, Select, column, func, text, tuple_, union_all
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from db.models import Annotation, AnnotationTally, Image, Review, Status
from db.queries import IN_LIST, VISIBLE, batches, storable

Sort = Literal["newest", "lowest_score", "disagreement"]
"""disagreement: the largest first, and only regions that have one. lowest_score: those without a score come last."""

INDEX_ROWS = 10_000  # a transaction: others wait for a writer no longer than a fraction of a second
NARROW = IN_LIST  # regions of a filter that are looked up one by one
COMMON = 50_000  # regions of a word or a span from which walking is quicker than listing them
REVIEWS: tuple[Review, ...] = get_args(Review)
INDEXED = text("annotation.indexed IS true")  # as the partial indexes say it
SEARCHED = "to_tsvector('simple', translate(annotation.text, '-./_@:&''', '        '))"
SCANNED = 1_000  # texts looked at before a beginning is gathered
WORD = re.compile(r"[^\W_]+\*?")
PLAIN_WORD = re.compile(r"[a-z0-9]+")

TAKE = (
    "UPDATE annotation SET indexed = true,"
    " run_id = (SELECT run_id FROM stage_result WHERE stage_result.id = annotation.stage_result_id)"
    " WHERE id IN (SELECT id FROM annotation WHERE indexed IS false ORDER BY id LIMIT :limit{locking})"
    " RETURNING id, dataset_id, source, status, text"
)
SAYING = "SELECT rowid FROM annotation_text WHERE annotation_text MATCH :said AND rowid BETWEEN :first AND :last"
ADD_TALLY = text(
    "INSERT INTO annotation_tally (dataset_id, source, status, annotations)"
    " VALUES (:dataset_id, :source, :status, :more) ON CONFLICT (dataset_id, source, status)"
    " DO UPDATE SET annotations = annotation_tally.annotations + excluded.annotations"
)


@dataclass(frozen=True)
class Chosen:
    """Regions named one by one: by their own ids, or by those of their pictures."""

    ids: tuple[int, ...]
    of: Literal["regions", "pictures"] = "regions"


@dataclass(frozen=True)
class CurateFilter:
    """Which regions a page is about; an empty field asks for nothing.

    statuses: any of these. source: model@revision or human:name. run_id: found by this run. min_score, max_score: both
    ends belong to it; regions without a score are then left out. words: all of them stand in the text, whole, in any
    case; `lid*` is a beginning. phash: of pictures with this perceptual hash. min_disagreement: at least so far apart.
    chosen: only these.
    """

    statuses: tuple[Status, ...] = VISIBLE
    source: str = ""
    run_id: int | None = None
    min_score: float | None = None
    max_score: float | None = None
    words: str = ""
    phash: str = ""
    min_disagreement: float | None = None
    chosen: Chosen | None = None


@dataclass(frozen=True)
class CuratePage:
    """Regions in their order. after: what to ask the next page with; "" when nothing can follow."""

    annotations: tuple[Annotation, ...]
    after: str


@dataclass(frozen=True)
class SourceCount:
    """How many regions have a source and a status."""

    source: str
    status: Status
    annotations: int


@dataclass(frozen=True)
class Similarity:
    """What GRAIN says of a region. disagreement: how far that is from the localizer's score, as the caller measures."""

    annotation_id: int
    similarity: float
    disagreement: float | None


@dataclass(frozen=True)
class Picture:
    """A picture and how many of its regions have each status."""

    image: Image
    counts: Mapping[Status, int]


def index_annotations(session: Session, *, limit: int = INDEX_ROWS) -> int:
    """Let score order, words, runs and tallies know the next regions that came in bulk; how many, 0 when all are known.

    Whoever adds in bulk calls it afterwards until it says 0, in a transaction each; so does a page before it opens.
    """
    postgresql = _on_postgresql(session)
    take = TAKE.format(locking=" FOR UPDATE SKIP LOCKED" if postgresql else "")
    rows = session.connection().execute(text(take), {"limit": limit}).all()
    if not postgresql:
        for some in batches(((row.id, row.text) for row in rows), INDEX_ROWS):
            session.connection().exec_driver_sql("INSERT INTO annotation_text (rowid, text) VALUES (?, ?)", some)
    tally(session, Counter((row.dataset_id, row.source, row.status) for row in rows))
    return len(rows)


def tally(session: Session, more: Mapping[tuple[int, str, Status], int]) -> None:
    """Add to the counts of (data set, source, status); in one order, so that two writers never wait for each other."""
    for (dataset_id, source, status), count in sorted(more.items()):
        if count:
            values = {"dataset_id": dataset_id, "source": source, "status": status, "more": count}
            session.connection().execute(ADD_TALLY, values)


def count_by_status(session: Session, *, dataset_id: int) -> list[SourceCount]:
    """Regions of a data set by source and status: tallies of the indexed ones, and the others counted."""
    kept = select_rows(col(AnnotationTally.source), col(AnnotationTally.status), col(AnnotationTally.annotations))
    counts: Counter[tuple[str, Status]] = Counter()
    for source, status, count in session.connection().execute(
        kept.where(col(AnnotationTally.dataset_id) == dataset_id)
    ):
        counts[source, status] += count
    fresh = select_rows(col(Annotation.source), col(Annotation.status), func.count()).where(text("indexed IS false"))
    fresh = fresh.where(func.coalesce(Annotation.dataset_id, 0) == dataset_id)
    for source, status, count in session.connection().execute(
        fresh.group_by(col(Annotation.source), col(Annotation.status))
    ):
        counts[source, status] += count
    return [SourceCount(*key, count) for key, count in sorted(counts.items()) if count]


def set_similarities(session: Session, *, rows: Iterable[Similarity]) -> int:
    """Keep what GRAIN says of regions, in bulk; how many there were. It is no edit: versions and history stay."""
    mark = "?" if not _on_postgresql(session) else "%s"
    statement = f"UPDATE annotation SET similarity = {mark}, disagreement = {mark} WHERE id = {mark}"
    kept = 0
    for some in batches(((row.similarity, row.disagreement, row.annotation_id) for row in rows), INDEX_ROWS):
        kept += session.connection().exec_driver_sql(statement, some).rowcount
    return kept


def curate_page(
    session: Session,
    *,
    dataset_id: int,
    wanted: CurateFilter | None = None,
    sort: Sort = "newest",
    after: str = "",
    limit: int = 50,
) -> CuratePage:
    """A page of regions.

    Args:   after: `after` of the page before; "" for the first.
    Raises: ValueError: after is not one, or words has none.
    """
    wanted = wanted or CurateFilter()
    if not wanted.statuses:
        return CuratePage((), "")
    place = _Place.read(sort, after)
    if not _on_postgresql(session) and (few := _scan_words(session, dataset_id, wanted, sort, place, limit)):
        return CuratePage(few, _Place.of(sort, few[-1]).written())
    found: list[Annotation] = []
    span = _span(wanted) if sort == "newest" else None
    rare = None if span else _rare(session, dataset_id, wanted, sort)
    if span and _count(session, _of_each(wanted, dataset_id, span), COMMON) <= COMMON:
        found = _newest_within(session, dataset_id, wanted, span, place, limit)
    elif rare is None and wanted.words and sort == "newest" and not _on_postgresql(session):
        found = _walk_words(session, dataset_id, wanted, place, limit)
    else:
        for stretch in _stretches(sort, place, wanted):
            if len(found) < limit:
                found += _head(session, dataset_id, wanted, stretch, rare, limit - len(found))
    last = found[-1] if len(found) == limit else None
    return CuratePage(tuple(found), _Place.of(sort, last).written() if last else "")


def listed_page(
    session: Session,
    *,
    dataset_id: int,
    ids: Sequence[int],
    wanted: CurateFilter | None = None,
    after: str = "",
    limit: int = 50,
) -> CuratePage:
    """A page of regions in an order that the caller made, as by how far they stand apart.

    Args:   ids: all regions in that order; those that do not fit are passed over. after: as of curate_page.
    Raises: ValueError: after is not one, or words has none.
    """
    wanted = wanted or CurateFilter()
    first = 0 if not after else _Place.read("newest", after).id or 0
    if not wanted.statuses:
        return CuratePage((), "")
    clauses = [*_clauses(session, dataset_id, wanted, by=""), func.coalesce(Annotation.status, "").in_(wanted.statuses)]
    if wanted.chosen is not None:
        clauses.append(_chosen(session, wanted.chosen))
    found: list[Annotation] = []
    size = limit
    while first < len(ids) and len(found) < limit:
        some = ids[first : first + size]
        asked = select(Annotation).where(text(f"annotation.id IN ({', '.join(map(str, map(int, some)))})"), *clauses)
        rows = {row.id: row for row in session.exec(asked)}
        for number in some:
            first += 1
            if (row := rows.get(int(number))) is not None:
                found.append(row)
            if len(found) == limit:
                break
        size = min(4 * size, IN_LIST)
    return CuratePage(tuple(found), str(first) if first < len(ids) else "")


def next_to_review(
    session: Session,
    *,
    dataset_id: int,
    wanted: CurateFilter | None = None,
    sort: Sort = "newest",
    after: str = "",
) -> CuratePage:
    """The next pending region, as a page of one; its `after` asks for the one behind it."""
    wanted = replace(wanted or CurateFilter(), statuses=("pending",))
    return curate_page(session, dataset_id=dataset_id, wanted=wanted, sort=sort, after=after, limit=1)


def picture_page(
    session: Session, *, dataset_id: int, reviews: Sequence[Review] = REVIEWS, after: int = 0, limit: int = 50
) -> list[Picture]:
    """Pictures in any of some review states, in the order they came. after: id of the last one of the page before."""
    if not reviews:
        return []
    mine = (col(Image.dataset_id) == dataset_id, col(Image.id) > after)
    heads = [
        select(Image.id).where(*mine, Image.review == review).order_by(col(Image.id)).limit(limit).subquery()
        for review in reviews
    ]
    ids = union_all(*(select(head) for head in heads)).subquery()
    asked = select(Image).join(ids, ids.c.id == Image.id).order_by(col(Image.id)).limit(limit)
    images = session.exec(asked).all()
    counts: dict[int, dict[Status, int]] = {image.id: {} for image in images}
    grouped = select_rows(col(Annotation.image_id), col(Annotation.status), func.count())
    grouped = grouped.where(col(Annotation.image_id).in_(counts)).group_by(
        col(Annotation.image_id), col(Annotation.status)
    )
    for image_id, status, count in session.connection().execute(grouped):
        counts[image_id][status] = count
    return [Picture(image, counts[image.id]) for image in images]


@dataclass(frozen=True)
class _Place:
    """Behind which region of a sort's order to go on. value: its score or disagreement; None: it has none."""

    sort: Sort
    id: int | None = None
    value: float | None = None

    @classmethod
    def of(cls, sort: Sort, annotation: Annotation) -> _Place:
        values = {"newest": None, "lowest_score": annotation.score, "disagreement": annotation.disagreement}
        return cls(sort, annotation.id, values[sort])

    @classmethod
    def read(cls, sort: Sort, after: str) -> _Place:
        if sort not in get_args(Sort):
            raise ValueError(f"expected the sort {', '.join(get_args(Sort))}, got {sort!r}")
        if not after:
            return cls(sort)
        number, _, value = after.partition(":")
        try:
            return cls(sort, int(number), float(value) if value else None)
        except ValueError as error:
            raise ValueError(
                f"expected the place where a page ended, got {after!r}: start at the first page"
            ) from error

    def written(self) -> str:
        return f"{self.id}" if self.value is None else f"{self.id}:{self.value!r}"


@dataclass(frozen=True)
class _Stretch:
    """A part of a sort's order that one index has: its rows behind a place, and its columns in order."""

    sort: Sort
    behind: tuple[ColumnElement[bool], ...]
    order: tuple[Any, ...]


def _stretches(sort: Sort, place: _Place, wanted: CurateFilter) -> list[_Stretch]:
    number, score, apart = col(Annotation.id), col(Annotation.score), col(Annotation.disagreement)
    if sort == "newest":
        return [_Stretch(sort, () if place.id is None else (number < place.id,), (number.desc(),))]
    if sort == "disagreement":
        there = apart.is_not(None)
        behind = (there,) if place.id is None else (there, tuple_(apart, number) < (place.value, place.id))
        return [_Stretch(sort, behind, (apart.desc(), number.desc()))]
    stretches = []
    if place.id is None or place.value is not None:
        scored = (score.is_not(None),) if place.id is None else (tuple_(score, number) > (place.value, place.id),)
        stretches.append(_Stretch(sort, scored, (score, number)))
    if wanted.min_score is None and wanted.max_score is None:
        passed = () if place.id is None or place.value is not None else (number > place.id,)
        stretches.append(_Stretch(sort, (score.is_(None), *passed), (number,)))
    return stretches


def _head(
    session: Session, dataset_id: int, wanted: CurateFilter, stretch: _Stretch, rare: Any, limit: int
) -> list[Annotation]:
    """The first regions of a stretch: of the rare ones, or the head of the merger of each status's own stretch."""
    asked = select(Annotation).order_by(*stretch.order).limit(limit)
    if rare is not None:
        clauses = _clauses(session, dataset_id, wanted, by="")
        status = func.coalesce(Annotation.status, "").in_(wanted.statuses)
        return list(session.exec(asked.where(rare, status, *clauses, *stretch.behind)).all())
    clauses = _clauses(session, dataset_id, wanted, by=stretch.sort)
    parts = [
        select(Annotation.id)
        .where(*clauses, Annotation.status == status, *stretch.behind)
        .order_by(*stretch.order)
        .limit(limit)
        .subquery()
        for status in wanted.statuses
    ]
    ids = union_all(*(select(part) for part in parts)).subquery()
    return list(session.exec(asked.join(ids, ids.c.id == Annotation.id)).all())


def _clauses(session: Session, dataset_id: int, wanted: CurateFilter, *, by: Sort | Literal[""]) -> list[Any]:
    """All filters but status.

    Args: by: the order whose index is to be used; "" for none. What the other indexes know is said so that no planner
          takes them: they have the rows, but in another order.
    """
    plain = by == "newest"
    clauses: list[Any] = [
        col(Annotation.dataset_id) == dataset_id if by else func.coalesce(Annotation.dataset_id, 0) == dataset_id
    ]
    known_at_once = CurateFilter(
        wanted.statuses, wanted.source, min_disagreement=wanted.min_disagreement, chosen=wanted.chosen
    )
    if by == "lowest_score" or wanted != known_at_once:
        clauses.append(INDEXED)
    if wanted.source:
        source: Any = col(Annotation.source) if plain else func.coalesce(Annotation.source, "")
        clauses.append(source == wanted.source)
    if wanted.run_id is not None:
        run: Any = col(Annotation.run_id) if plain else func.coalesce(Annotation.run_id, 0)
        clauses.append(run == wanted.run_id)
    score: Any = col(Annotation.score) if by == "lowest_score" else col(Annotation.score) + 0.0
    if wanted.min_score is not None:
        clauses.append(score >= wanted.min_score)
    if wanted.max_score is not None:
        clauses.append(score <= wanted.max_score)
    if wanted.min_disagreement is not None:
        apart: Any = col(Annotation.disagreement) if by == "disagreement" else col(Annotation.disagreement) + 0.0
        clauses.append(apart >= wanted.min_disagreement)
    if wanted.phash:
        alike = select(Image.id).where(Image.dataset_id == dataset_id, Image.phash == wanted.phash)
        clauses.append(func.coalesce(Annotation.image_id, 0).in_(alike))
    if wanted.words:
        clauses.append(_says(session, wanted.words))
    return clauses


def _rare(session: Session, dataset_id: int, wanted: CurateFilter, sort: Sort) -> Any:
    """The clause of the first filter that names at most NARROW regions; None when none does, or the order has it.

    Those chosen one by one are looked up whole, however many they are.
    """
    if wanted.chosen is not None:
        return _chosen(session, wanted.chosen)
    probes: list[Any] = []
    if wanted.phash:
        alike = select(Image.id).where(Image.dataset_id == dataset_id, Image.phash == wanted.phash)
        probes.append(select_rows(col(Annotation.id)).where(col(Annotation.image_id).in_(alike)))
    if sort != "lowest_score" and (scores := _scores(wanted)):
        probes.append(_of_each(wanted, dataset_id, (INDEXED, *scores)))
    if sort != "disagreement" and wanted.min_disagreement is not None:
        probes.append(_of_each(wanted, dataset_id, (col(Annotation.disagreement) >= wanted.min_disagreement,)))
    if sort != "newest" and wanted.run_id is not None:
        probes.append(_of_each(wanted, None, (col(Annotation.run_id) == wanted.run_id,)))
    if sort != "newest" and wanted.source:
        probes.append(_of_each(wanted, dataset_id, (col(Annotation.source) == wanted.source,)))
    if wanted.words and (sort != "newest" or _on_postgresql(session)):  # else they are walked through at once
        probes.append(_saying(session, dataset_id, wanted))
    for probe in probes:
        if _count(session, probe, NARROW) <= NARROW:
            return col(Annotation.id).in_(probe)
    return None


def _chosen(session: Session, chosen: Chosen) -> Any:
    """The clause that a region is one of those chosen: one list of numbers, of any length."""
    name = "id" if chosen.of == "regions" else "image_id"
    numbers = json.dumps(chosen.ids)
    if _on_postgresql(session):
        listed = "SELECT value::bigint FROM json_array_elements_text(CAST(:chosen AS json))"
    else:
        listed = "SELECT value FROM json_each(:chosen)"
    return text(f"annotation.{name} IN ({listed})").bindparams(chosen=numbers)


def _count(session: Session, probe: Any, most: int) -> int:
    """How many rows there are; most + 1 when more."""
    return (
        session.connection()
        .execute(select_rows(func.count()).select_from(probe.limit(most + 1).subquery()))
        .scalar_one()
    )


def _of_each(wanted: CurateFilter, dataset_id: int | None, clauses: tuple[Any, ...]) -> Select[Any]:
    """Regions of each wanted status, as its index has them."""
    mine = () if dataset_id is None else (col(Annotation.dataset_id) == dataset_id,)
    most = max(NARROW, COMMON) + 1  # nobody counts further
    parts = (
        select_rows(col(Annotation.id)).where(*mine, *clauses, col(Annotation.status) == status).limit(most).subquery()
        for status in wanted.statuses
    )
    return select_rows(union_all(*map(select_rows, parts)).subquery())


def _scores(wanted: CurateFilter) -> tuple[Any, ...]:
    low = () if wanted.min_score is None else (col(Annotation.score) >= wanted.min_score,)
    return low if wanted.max_score is None else (*low, col(Annotation.score) <= wanted.max_score)


def _span(wanted: CurateFilter) -> tuple[Any, ...] | None:
    """The clauses of a filter that asks for nothing but one span, of scores or of disagreement, and statuses."""
    scores = _scores(wanted)
    if scores and wanted == CurateFilter(wanted.statuses, min_score=wanted.min_score, max_score=wanted.max_score):
        return (INDEXED, *scores)
    if (
        wanted
        == CurateFilter(wanted.statuses, min_disagreement=wanted.min_disagreement)
        != CurateFilter(wanted.statuses)
    ):
        return (col(Annotation.disagreement) >= wanted.min_disagreement,)
    return None


def _newest_within(
    session: Session, dataset_id: int, wanted: CurateFilter, span: tuple[Any, ...], place: _Place, limit: int
) -> list[Annotation]:
    """The newest of a span: all of it is read from the index that has it, and no row but those of the page."""
    number = col(Annotation.id) + 0  # so that no planner takes the index that has them in order, and misses the span
    behind = () if place.id is None else (number < place.id,)
    parts = [
        select_rows(col(Annotation.id))
        .where(col(Annotation.dataset_id) == dataset_id, col(Annotation.status) == status, *span, *behind)
        .order_by(number.desc())
        .limit(limit)
        .subquery()
        for status in wanted.statuses
    ]
    ids = union_all(*map(select_rows, parts)).subquery()
    asked = select(Annotation).join(ids, ids.c.id == Annotation.id)
    return list(session.exec(asked.order_by(col(Annotation.id).desc()).limit(limit)).all())


def _on_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def _said_as(session: Session, words: str) -> str:
    """A search as the database wants it: only letters, digits and our own signs are left of what a person typed."""
    found = [word.lower() for word in WORD.findall(storable(words))]
    if not found:
        raise ValueError(f"expected a word to look for, got {words!r}: type letters or digits")
    if _on_postgresql(session):
        return " & ".join(f"'{word.rstrip('*')}'" + (":*" if word.endswith("*") else "") for word in found)
    return " AND ".join(f'"{word.rstrip("*")}"' + (" *" if word.endswith("*") else "") for word in found)


def _says(session: Session, words: str) -> Any:
    """The clause that a region's text has all words."""
    said = _said_as(session, words)
    if _on_postgresql(session):
        return text(f"{SEARCHED} @@ to_tsquery('simple', :said)").bindparams(said=said)
    listed = "SELECT rowid FROM annotation_text WHERE annotation_text MATCH :said"
    # a beginning is gathered from all words that have it, each time it is asked
    if "*" in said or _count(session, _listed(listed, said=said), COMMON) <= COMMON:
        return text(f"annotation.id IN ({listed})").bindparams(said=said)
    return text(f"EXISTS ({listed} AND rowid = annotation.id)").bindparams(said=said)


def _listed(statement: str, **values: Any) -> Select[Any]:
    """Row ids of a statement, to be asked on."""
    found = text(statement).bindparams(**values).columns(column("rowid", Integer)).subquery()
    return select_rows(found.c.rowid)


def _saying(session: Session, dataset_id: int, wanted: CurateFilter) -> Select[Any]:
    """Ids of regions whose text has all words.

    On SQLite they are of all statuses, and of other data sets that came between the regions of this one.
    """
    if _on_postgresql(session):
        clauses = (col(Annotation.dataset_id) == dataset_id, INDEXED, _says(session, wanted.words))
        return select_rows(col(Annotation.id)).where(*clauses)
    first, last = _ends(session, dataset_id, wanted)
    return _listed(SAYING, said=_said_as(session, wanted.words), first=first, last=last)


def _ends(session: Session, dataset_id: int, wanted: CurateFilter) -> tuple[int, int]:
    """The first and last id that a wanted region of the data set can have."""
    ends: list[int] = []
    for status in wanted.statuses:
        mine = select(Annotation.id).where(Annotation.dataset_id == dataset_id, Annotation.status == status)
        for order in (col(Annotation.id), col(Annotation.id).desc()):
            ends += session.exec(mine.order_by(order).limit(1)).all()
    return (min(ends), max(ends)) if ends else (1, 0)


def _scan_words(
    session: Session, dataset_id: int, wanted: CurateFilter, sort: Sort, place: _Place, limit: int
) -> tuple[Annotation, ...]:
    """The page, where the next SCANNED regions of the order fill it; else nothing, and the whole index must be asked.

    FTS5 gathers all rows of a beginning before it gives the first one, and most texts may share it; but then looking at
    a few hundred of them fills a page. Only plain texts are judged here: what a word is in others FTS5 decides.
    """
    alone = CurateFilter(wanted.statuses, wanted.source if sort == "newest" else "", words=wanted.words)
    if "*" not in wanted.words or not wanted.words.isascii() or wanted != alone:
        return ()
    said = [(word.rstrip("*").lower(), word.endswith("*")) for word in WORD.findall(wanted.words)]
    stretch = _stretches(sort, place, wanted)[0]
    clauses = (*_clauses(session, dataset_id, replace(wanted, words=""), by=sort), INDEXED)
    parts = [
        select_rows(col(Annotation.id))
        .where(*clauses, col(Annotation.status) == status, *stretch.behind)
        .order_by(*stretch.order)
        .limit(SCANNED)
        .subquery()
        for status in wanted.statuses
    ]
    ids = union_all(*map(select_rows, parts)).subquery()
    asked = select_rows(col(Annotation.id), col(Annotation.text)).join(ids, ids.c.id == Annotation.id)
    rows = session.connection().execute(asked.order_by(*stretch.order).limit(SCANNED)).all()
    found: list[int] = []
    for number, each in rows:
        if not each.isascii():
            return ()
        found += [number] if _plainly_says(each, said) else []
        if len(found) == limit:
            break
    else:
        return ()
    return tuple(session.exec(select(Annotation).where(col(Annotation.id).in_(found)).order_by(*stretch.order)).all())


def _plainly_says(line: str, said: Sequence[tuple[str, bool]]) -> bool:
    """Whether an ASCII text has all words, each whole or as a beginning, as FTS5 takes it apart."""
    words = PLAIN_WORD.findall(line.lower())
    return all(any(each == word or (begins and each.startswith(word)) for each in words) for word, begins in said)


def _walk_words(session: Session, dataset_id: int, wanted: CurateFilter, place: _Place, limit: int) -> list[Annotation]:
    """Newest first through all regions that say the words, handful by handful, until enough of them are wanted."""
    found: list[Annotation] = []
    first, last = _ends(session, dataset_id, wanted)
    last = last if place.id is None else min(last, place.id - 1)
    asked: dict[str, Any] = {"said": _said_as(session, wanted.words), "first": first, "last": last, "limit": 4 * limit}
    stretch = _Stretch("newest", (), (col(Annotation.id).desc(),))
    while len(found) < limit:
        statement = text(f"{SAYING} ORDER BY rowid DESC LIMIT :limit")
        ids = session.connection().execute(statement, asked).scalars().all()
        if not ids:
            break
        named = text(f"annotation.id IN ({', '.join(map(str, ids))})")  # numbers of ours, too many to be bound
        found += _head(session, dataset_id, replace(wanted, words=""), stretch, named, limit - len(found))
        asked |= {"last": ids[-1] - 1, "limit": min(4 * asked["limit"], IN_LIST)}
    return found
