"""The gallery's pages, counts and text search, and the migration that brought them; on both databases."""

import re
from collections import defaultdict
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from sqlalchemy import URL, Engine, text
from sqlmodel import Session, select

import db.queries.gallery_queries
import db.queries.selectivity
from db.engine import connect_to, open_engine, reading, transaction, upgrade
from db.models import Image, RegionRow
from db.queries.curate_filter import ChosenRegions, CurateFilter, Sort
from db.queries.data_set_queries import get_image
from db.queries.edit_conflicts import EditConflictError
from db.queries.filter_clauses import RegionQuery
from db.queries.gallery_queries import PageKey, curate_page, listed_page
from db.queries.region_index_queries import Similarity, SourceCount, count_by_status, index_regions, set_similarities
from db.queries.region_queries import NewRegion, add_regions
from db.queries.text_search import TSVECTOR
from tests.support.databases import (
    BOX,
    ELSEWHERE,
    OWL,
    draw,
    edit,
    filled,
    gallery,
    order,
    sha,
    some_regions,
    text_of,
    with_region,
)

STEP = 29  # of 3,456 filters with sorts; a prime, so that each meets each


def says(said: str, words: str) -> bool:
    mine = re.findall(r"[^\W_]+", said.lower())
    return all(
        any(word.startswith(asked[:-1]) if asked.endswith("*") else word == asked for word in mine)
        for asked in words.lower().split()
    )


def matches(row: RegionRow, filters: CurateFilter, phash: dict[int, str]) -> bool:
    scored = filters.min_score is None and filters.max_score is None
    low, high = filters.min_score or 0, 1 if filters.max_score is None else filters.max_score
    apart = filters.min_disagreement
    return (
        row.dataset_id == 1
        and row.status in filters.statuses
        and filters.source in ("", row.source)
        and filters.run_id in (None, row.run_id)
        and (scored or (row.score is not None and low <= row.score <= high))
        and says(row.text, filters.words)
        and filters.phash in ("", phash[row.image_id])
        and (apart is None or (row.disagreement is not None and row.disagreement >= apart))
    )


ANY_HASH: dict[int, str] = defaultdict(str)


def in_order(rows: list[RegionRow], sort: Sort) -> list[int]:
    if sort == "newest":
        rows.sort(key=lambda row: -row.id)
    if sort == "lowest_score":
        rows.sort(key=lambda row: (row.score is None, row.score or 0, row.id))
    if sort == "disagreement":
        rows = [row for row in rows if row.disagreement is not None]
        rows.sort(key=lambda row: (row.disagreement, row.id), reverse=True)
    return [row.id for row in rows]


def all_pages(session: Session, filters: CurateFilter, sort: Sort, limit: int) -> list[int]:
    ids: list[int] = []
    after, pages = "", 0
    while pages == 0 or after:
        page = curate_page(session, dataset_id=1, filters=filters, sort=sort, after=after, limit=limit)
        ids += [row.id for row in page.regions]
        after, pages = page.after, pages + 1
        assert len(page.regions) == limit or not after
    return ids


VALUES: dict[str, tuple[Any, ...]] = {
    "statuses": (("pending", "accepted", "rejected"), ("pending",), ("rejected", "deleted")),
    "source": ("", "human:ada"),
    "run_id": (None, 1),
    "min_score": (None, 0.25),
    "max_score": (None, 0.5),
    "words": ("", "red", "lid*", "RED lid", "naïve", "holder"),
    "phash": ("", "ffff"),
    "min_disagreement": (None, 0.5),
}
FILTERS = [CurateFilter(**dict(zip(VALUES, values, strict=True))) for values in product(*VALUES.values())]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("narrow", "common", "first"),  # filters are looked up whole, or in part, or hardly ever; words listed, or asked
    [(5000, 50_000, 0), (30, 50_000, 1), (30, 1, 2), (2, 50_000, 3), (2, 1, 4)],
)
def test_pages_are_a_sorted_full_scan_cut_in_pieces(
    engine: Engine, narrow: int, common: int, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db.queries.selectivity, "NARROW", narrow)
    monkeypatch.setattr(db.queries.selectivity, "COMMON", common)
    gallery(engine)
    asked = found = 0
    with reading(engine) as session:
        rows = list(session.exec(select(RegionRow)).all())
        phash = {image.id: image.phash for image in session.exec(select(Image))}
        for filters, sort in list(product(FILTERS, get_args(Sort)))[first::STEP]:
            expected = in_order([row for row in rows if matches(row, filters, phash)], sort)
            assert all_pages(session, filters, sort, limit=7) == expected, (filters, sort)
            asked, found = asked + 1, found + len(expected)
    assert asked > 100 and found > 300


def test_a_beginning_that_most_share_is_found_as_its_index_finds_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(engine, pictures=40)
    with transaction(engine) as session:
        rows = [replace(row, text=f"a {row.text}".replace("naïve", "Lid")) for row in some_regions(40)]
        add_regions(session, dataset_id=1, rows=rows)
        while index_regions(session):
            pass
        set_similarities(session, rows=[Similarity(n, 0.1, 0.25 * (n % 4)) for n in range(1, 300)])
    asked: list[tuple[CurateFilter, Sort]] = list(
        product((CurateFilter(words="LI*"), CurateFilter(words="lid* re*", source="human:ada")), get_args(Sort))
    )
    with reading(engine) as session:
        quick = [all_pages(session, filters, sort, limit=7) for filters, sort in asked]
        query = RegionQuery(session, 1, CurateFilter(words="li*"), "newest")
        assert len(db.queries.gallery_queries._scan_texts(query, PageKey("newest"), 7) or ()) == 7
        monkeypatch.setattr(db.queries.gallery_queries, "SCANNED", 0)
        assert [all_pages(session, filters, sort, limit=7) for filters, sort in asked] == quick
    assert min(map(len, quick)) > 7


@pytest.mark.parametrize("sort", ["newest", "lowest_score", "disagreement"])
def test_regions_chosen_one_by_one_or_by_their_pictures_are_paged_like_all(engine: Engine, sort: Sort) -> None:
    gallery(engine)
    with reading(engine) as session:
        rows = list(session.exec(select(RegionRow)).all())
        some = tuple(row.id for row in rows if row.id % 2)
        for chosen, mine in (
            (ChosenRegions(some), lambda row: row.id in some),
            (ChosenRegions((2, 5), of="pictures"), lambda row: row.image_id in (2, 5)),
            (ChosenRegions(()), lambda row: False),
        ):
            filters = CurateFilter(words="lid*", chosen=chosen)
            expected = [row for row in rows if mine(row) and matches(row, filters, ANY_HASH)]  # type: ignore[no-untyped-call]
            assert all_pages(session, filters, sort, limit=7) == in_order(expected, sort)


@pytest.mark.slow
def test_an_order_of_the_callers_own_is_kept_and_filtered(engine: Engine) -> None:
    gallery(engine)
    with reading(engine) as session:
        rows = {row.id: row for row in session.exec(select(RegionRow))}
        ids = sorted(rows, key=lambda number: number * 7919 % 101)
        filters = CurateFilter(statuses=("pending", "rejected"), chosen=ChosenRegions(tuple(ids[::2])))
        found, after = list[int](), ""
        while not found or after:
            page = listed_page(session, dataset_id=1, ids=ids, filters=filters, after=after, limit=5)
            found += [row.id for row in page.regions]
            after = page.after
        assert listed_page(session, dataset_id=1, ids=[], filters=filters).regions == ()
        with pytest.raises(ValueError, match="expected the place where a page ended"):
            listed_page(session, dataset_id=1, ids=ids, after="x")
    assert found == [number for number in ids[::2] if matches(rows[number], filters, ANY_HASH)] and len(found) > 10


def test_a_page_that_cannot_be_is_refused(engine: Engine) -> None:
    gallery(engine)
    with reading(engine) as session:
        with pytest.raises(ValueError, match="expected the place where a page ended, got 'x; DROP TABLE image'"):
            curate_page(session, dataset_id=1, after="x; DROP TABLE image")
        with pytest.raises(ValueError, match="expected a word to look for, got '-- %'"):
            curate_page(session, dataset_id=1, filters=CurateFilter(words="-- %"))
        with pytest.raises(ValueError, match="expected the order newest, lowest_score, disagreement, got 'best'"):
            curate_page(session, dataset_id=1, sort="best")  # type: ignore[arg-type]
        assert curate_page(session, dataset_id=1, filters=CurateFilter(statuses=())).regions == ()
        odd = curate_page(session, dataset_id=1, filters=CurateFilter(words="red'); \" NEAR(lid) \0\ud800 or -lid"))
        assert odd.regions == ()


def test_an_edited_text_is_found_by_its_new_words_only(engine: Engine) -> None:
    with_region(engine)
    edit(engine, text="a green kettle")
    draw(engine, xyxy=BOX, text="a kettle's lid")
    with reading(engine) as session:
        found = {
            words: {row.id for row in curate_page(session, dataset_id=1, filters=CurateFilter(words=words)).regions}
            for words in ("red", "green", "kettle", "lid")
        }
    assert found == {"red": set(), "green": {1}, "kettle": {1, 2}, "lid": {2}}


def test_words_are_found_wherever_signs_and_marks_stand_around_them(engine: Engine) -> None:
    with_region(engine)
    signs = ["a <red lid>", "rock~red", "+5 degrees", "&red;", "x=[red]\\{lid}", "-5|5"]
    texts = [*signs, "हिन्दी lid", "cafe\u0301", "caf\u00e9"]
    for said in texts:
        draw(engine, xyxy=BOX, text=said)
    with reading(engine) as session:

        def found(words: str) -> list[str]:
            rows = curate_page(session, dataset_id=1, filters=CurateFilter(words=words)).regions
            return sorted(row.text for row in rows if row.text in texts)

        assert found("red") == sorted(["a <red lid>", "rock~red", "&red;", "x=[red]\\{lid}"])
        assert found("<red lid>") == found("red li*") == sorted(["a <red lid>", "x=[red]\\{lid}"])
        assert found("5") == ["+5 degrees", "-5|5"] and found("+5 deg*") == ["+5 degrees"]
        assert found("हिन्दी") == found("हिन्*") == ["हिन्दी lid"]
        assert found("cafe\u0301") == found("CAF\u00c9") == sorted(texts[-2:])
        assert found("cafe") == []


def test_postgresql_searches_words_by_its_index(postgres_engine: Engine) -> None:
    with reading(postgres_engine) as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        asked = f"EXPLAIN SELECT id FROM region WHERE {TSVECTOR} @@ to_tsquery('simple', 'red')"
        plan = [row[0] for row in session.execute(text(asked))]
    assert any("ix_region_text" in line for line in plan), "query and index have one expression"


def test_the_queue_gives_pending_regions_one_by_one(engine: Engine) -> None:
    with_region(engine)
    with transaction(engine) as session:
        add_regions(session, dataset_id=1, rows=[NewRegion(1, ELSEWHERE, "dim", OWL, 0.2)])
        index_regions(session)
    with reading(engine) as session:
        queue = partial(
            curate_page,
            session,
            dataset_id=1,
            filters=CurateFilter(statuses=("pending",)),
            sort="lowest_score",
            limit=1,
        )
        first = queue()
        then = queue(after=first.after)
        assert [page.regions[0].text for page in (first, then)] == ["dim", "a red lid"]
        assert queue(after=then.after).regions == ()


def counted(session: Session) -> list[SourceCount]:
    rows = session.connection().execute(
        text("SELECT source, status, count(*) FROM region WHERE dataset_id = 1 GROUP BY source, status")
    )
    return sorted((SourceCount(*row) for row in rows), key=lambda count: (count.source, count.status))


def test_counts_are_right_before_and_after_indexing_and_after_edits(engine: Engine) -> None:
    filled(engine, pictures=9)
    with transaction(engine) as session:
        add_regions(session, dataset_id=1, rows=some_regions(9))
        before = counted(session)
        assert len(before) == 8 and count_by_status(session, dataset_id=1) == before
        assert index_regions(session, limit=50) == 50
        assert count_by_status(session, dataset_id=1) == before
    for id_, status in ((1, "accepted"), (50, "rejected"), (51, "accepted"), (108, "deleted")):  # indexed and not
        edit(engine, region_id=id_, status=status)
    draw(engine, xyxy=BOX)
    with transaction(engine) as session:
        assert count_by_status(session, dataset_id=1) == counted(session) != before
        assert index_regions(session) == 108 - 50
        assert index_regions(session) == 0
        assert count_by_status(session, dataset_id=1) == counted(session)
        assert count_by_status(session, dataset_id=2) == []


def test_a_database_of_0002_keeps_its_rows_and_gains_the_gallery(tmp_path: Path, postgres: URL) -> None:
    order(postgres, "CREATE DATABASE before_curation")
    for url in (f"sqlite:///{tmp_path / 'old.sqlite'}", text_of(postgres.set(database="before_curation"))):
        engine = connect_to(url)
        with engine.begin() as connection:
            upgrade(connection, to="0002")
            for statement in OLD_ROWS:
                connection.execute(text(statement), {"sha": sha(1), "now": "2026-11-25 10:00:00.000000+00:00"})
        engine.dispose()
        engine = open_engine(url)
        with transaction(engine) as session:
            image = get_image(session, image_id=1)
            assert image is not None and (image.review, image.facts, image.version) == ("open", None, 1)
            [row] = curate_page(session, dataset_id=1).regions
            assert (row.text, row.version, row.indexed, row.run_id, row.box_id) == (
                "a red lid",
                4,
                False,
                None,
                None,
            )
            assert count_by_status(session, dataset_id=1) == [SourceCount("owl@1", "accepted", 1)]
            assert index_regions(session) == 1
            filters = CurateFilter(words="lid", run_id=1, min_score=0.5, max_score=0.5)
            assert len(curate_page(session, dataset_id=1, filters=filters, sort="lowest_score").regions) == 1
        with pytest.raises(EditConflictError) as refusal:
            edit(engine, version=3, text="x")
        assert refusal.value.started_from is None and refusal.value.by == ""
        edit(engine, version=4, text="x")
        with engine.begin() as connection:
            assert connection.execute(text("SELECT count(*) FROM region_edit")).scalar_one() == 1
        engine.dispose()


OLD_ROWS = (
    "INSERT INTO dataset (id, name, source, created_at) VALUES (1, 'lids', '', :now)",
    "INSERT INTO annotation_run (id, dataset_id, config, recipes, state, created_at)"
    " VALUES (1, 1, '{}', '{}', 'done', :now)",
    "INSERT INTO image (id, dataset_id, sha256, phash, width, height, location, member, caption, has_thumbnail,"
    " created_at) VALUES (1, 1, :sha, '', 1, 1, 'x', '', 'tin', false, :now)",
    "INSERT INTO stage_result (id, dataset_id, image_id, run_id, key, recipe, stage, source, state, reason, raw,"
    " subject, caption, seconds, tokens, attempts, lease_token, created_at)"
    " VALUES (1, 1, 1, 1, :sha, :sha, 'localize', 'owl@1', 'done', '', '[]', '', '', 0, 0, 1, '', :now)",
    "INSERT INTO annotation (id, dataset_id, image_id, stage_result_id, x1, y1, x2, y2, text, score, source, status,"
    " version, content_key) VALUES (1, 1, 1, 1, 0.1, 0.1, 0.9, 0.9, 'a red lid', 0.5, 'owl@1', 'accepted', 4, 17)",
)
