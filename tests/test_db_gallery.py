"""The gallery's pages, counts and text search, and the migration that brought them; on both databases."""

import re
from collections import defaultdict
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import URL, Engine, text
from sqlmodel import Session, select

import db.gallery_queries
from db.curate_queries import (
    EditConflictError,
    ImageChange,
    edit_image,
)
from db.engine import connect_to, open_engine, reading, transaction, upgrade
from db.gallery_queries import (
    Chosen,
    CurateFilter,
    Picture,
    Similarity,
    Sort,
    SourceCount,
    count_by_status,
    curate_page,
    index_annotations,
    listed_page,
    next_to_review,
    picture_page,
    set_similarities,
)
from db.models import Annotation, Image
from db.queries import (
    NewAnnotation,
    add_annotations,
    get_image,
)
from tests.databases import (
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


def wanted_by(row: Annotation, wanted: CurateFilter, phash: dict[int, str]) -> bool:
    scored = wanted.min_score is None and wanted.max_score is None
    low, high = wanted.min_score or 0, 1 if wanted.max_score is None else wanted.max_score
    apart = wanted.min_disagreement
    return (
        row.dataset_id == 1
        and row.status in wanted.statuses
        and wanted.source in ("", row.source)
        and wanted.run_id in (None, row.run_id)
        and (scored or (row.score is not None and low <= row.score <= high))
        and says(row.text, wanted.words)
        and wanted.phash in ("", phash[row.image_id])
        and (apart is None or (row.disagreement is not None and row.disagreement >= apart))
    )


ANY_HASH: dict[int, str] = defaultdict(str)


def in_order(rows: list[Annotation], sort: Sort) -> list[int]:
    if sort == "newest":
        rows.sort(key=lambda row: -row.id)
    if sort == "lowest_score":
        rows.sort(key=lambda row: (row.score is None, row.score or 0, row.id))
    if sort == "disagreement":
        rows = [row for row in rows if row.disagreement is not None]
        rows.sort(key=lambda row: (row.disagreement, row.id), reverse=True)
    return [row.id for row in rows]


def all_pages(session: Session, wanted: CurateFilter, sort: Sort, limit: int) -> list[int]:
    ids: list[int] = []
    after, pages = "", 0
    while pages == 0 or after:
        page = curate_page(session, dataset_id=1, wanted=wanted, sort=sort, after=after, limit=limit)
        ids += [row.id for row in page.annotations]
        after, pages = page.after, pages + 1
        assert len(page.annotations) == limit or not after
    return ids


FILTERS = [
    CurateFilter(*fields)
    for fields in product(
        (("pending", "accepted", "rejected"), ("pending",), ("rejected", "deleted")),
        ("", "human:ada"),
        (None, 1),
        (None, 0.25),
        (None, 0.5),
        ("", "red", "lid*", "RED lid", "naïve", "holder"),
        ("", "ffff"),
        (None, 0.5),
    )
]


@pytest.mark.parametrize(
    ("narrow", "common", "first"),  # filters are looked up whole, or in part, or hardly ever; words listed, or asked
    [(5000, 50_000, 0), (30, 50_000, 1), (30, 1, 2), (2, 50_000, 3), (2, 1, 4)],
)
def test_pages_are_a_sorted_full_scan_cut_in_pieces(
    engine: Engine, narrow: int, common: int, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db.gallery_queries, "NARROW", narrow)
    monkeypatch.setattr(db.gallery_queries, "COMMON", common)
    gallery(engine)
    asked = found = 0
    with reading(engine) as session:
        rows = list(session.exec(select(Annotation)).all())
        phash = {image.id: image.phash for image in session.exec(select(Image))}
        for wanted, sort in list(product(FILTERS, ("newest", "lowest_score", "disagreement")))[first::STEP]:
            expected = in_order([row for row in rows if wanted_by(row, wanted, phash)], sort)
            assert all_pages(session, wanted, sort, limit=7) == expected, (wanted, sort)
            asked, found = asked + 1, found + len(expected)
    assert asked > 100 and found > 300


def test_a_beginning_that_most_share_is_found_as_its_index_finds_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(engine, pictures=40)
    with transaction(engine) as session:
        rows = [replace(row, text=f"a {row.text}".replace("naïve", "Lid")) for row in some_regions(40)]
        add_annotations(session, dataset_id=1, rows=rows)
        while index_annotations(session):
            pass
        set_similarities(session, rows=[Similarity(n, 0.1, 0.25 * (n % 4)) for n in range(1, 300)])
    asked: list[tuple[CurateFilter, Sort]] = list(
        product((CurateFilter(words="LI*"), CurateFilter(words="lid* re*", source="human:ada")), get_args(Sort))
    )
    with reading(engine) as session:
        quick = [all_pages(session, wanted, sort, limit=7) for wanted, sort in asked]
        assert db.gallery_queries._scan_words(
            session, 1, CurateFilter(words="li*"), "newest", db.gallery_queries._Place("newest"), 7
        )
        monkeypatch.setattr(db.gallery_queries, "SCANNED", 0)
        assert [all_pages(session, wanted, sort, limit=7) for wanted, sort in asked] == quick
    assert min(map(len, quick)) > 7


@pytest.mark.parametrize("sort", ["newest", "lowest_score", "disagreement"])
def test_regions_chosen_one_by_one_or_by_their_pictures_are_paged_like_all(engine: Engine, sort: Sort) -> None:
    gallery(engine)
    with reading(engine) as session:
        rows = list(session.exec(select(Annotation)).all())
        some = tuple(row.id for row in rows if row.id % 2)
        for chosen, mine in (
            (Chosen(some), lambda row: row.id in some),
            (Chosen((2, 5), of="pictures"), lambda row: row.image_id in (2, 5)),
            (Chosen(()), lambda row: False),
        ):
            wanted = CurateFilter(words="lid*", chosen=chosen)
            expected = [row for row in rows if mine(row) and wanted_by(row, wanted, ANY_HASH)]  # type: ignore[no-untyped-call]
            assert all_pages(session, wanted, sort, limit=7) == in_order(expected, sort)


def test_an_order_of_the_callers_own_is_kept_and_filtered(engine: Engine) -> None:
    gallery(engine)
    with reading(engine) as session:
        rows = {row.id: row for row in session.exec(select(Annotation))}
        ids = sorted(rows, key=lambda number: number * 7919 % 101)
        wanted = CurateFilter(statuses=("pending", "rejected"), chosen=Chosen(tuple(ids[::2])))
        found, after = list[int](), ""
        while not found or after:
            page = listed_page(session, dataset_id=1, ids=ids, wanted=wanted, after=after, limit=5)
            found += [row.id for row in page.annotations]
            after = page.after
        assert listed_page(session, dataset_id=1, ids=[], wanted=wanted).annotations == ()
        with pytest.raises(ValueError, match="expected the place where a page ended"):
            listed_page(session, dataset_id=1, ids=ids, after="x")
    assert found == [number for number in ids[::2] if wanted_by(rows[number], wanted, ANY_HASH)] and len(found) > 10


def test_a_page_that_cannot_be_is_refused(engine: Engine) -> None:
    gallery(engine)
    with reading(engine) as session:
        with pytest.raises(ValueError, match="expected the place where a page ended, got 'x; DROP TABLE image'"):
            curate_page(session, dataset_id=1, after="x; DROP TABLE image")
        with pytest.raises(ValueError, match="expected a word to look for, got '-- %'"):
            curate_page(session, dataset_id=1, wanted=CurateFilter(words="-- %"))
        with pytest.raises(ValueError, match="expected the sort newest, lowest_score, disagreement, got 'best'"):
            curate_page(session, dataset_id=1, sort="best")  # type: ignore[arg-type]
        assert curate_page(session, dataset_id=1, wanted=CurateFilter(statuses=())).annotations == ()
        odd = curate_page(session, dataset_id=1, wanted=CurateFilter(words="red'); \" NEAR(lid) \0\ud800 or -lid"))
        assert odd.annotations == ()


def test_an_edited_text_is_found_by_its_new_words_only(engine: Engine) -> None:
    with_region(engine)
    edit(engine, text="a green kettle")
    draw(engine, xyxy=BOX, text="a kettle's lid")
    with reading(engine) as session:
        found = {
            words: {row.id for row in curate_page(session, dataset_id=1, wanted=CurateFilter(words=words)).annotations}
            for words in ("red", "green", "kettle", "lid")
        }
    assert found == {"red": set(), "green": {1}, "kettle": {1, 2}, "lid": {2}}


def test_the_queue_gives_pending_regions_one_by_one(engine: Engine) -> None:
    with_region(engine)
    with transaction(engine) as session:
        add_annotations(session, dataset_id=1, rows=[NewAnnotation(1, ELSEWHERE, "dim", OWL, 0.2)])
        index_annotations(session)
    with reading(engine) as session:
        first = next_to_review(session, dataset_id=1, sort="lowest_score")
        then = next_to_review(session, dataset_id=1, sort="lowest_score", after=first.after)
        assert [page.annotations[0].text for page in (first, then)] == ["dim", "a red lid"]
        assert next_to_review(session, dataset_id=1, sort="lowest_score", after=then.after).annotations == ()


def counted(session: Session) -> list[SourceCount]:
    rows = session.connection().execute(
        text("SELECT source, status, count(*) FROM annotation WHERE dataset_id = 1 GROUP BY source, status")
    )
    return sorted((SourceCount(*row) for row in rows), key=lambda count: (count.source, count.status))


def test_counts_are_right_before_and_after_indexing_and_after_edits(engine: Engine) -> None:
    filled(engine, pictures=9)
    with transaction(engine) as session:
        add_annotations(session, dataset_id=1, rows=some_regions(9))
        before = counted(session)
        assert len(before) == 8 and count_by_status(session, dataset_id=1) == before
        assert index_annotations(session, limit=50) == 50
        assert count_by_status(session, dataset_id=1) == before
    for id_, status in ((1, "accepted"), (50, "rejected"), (51, "accepted"), (108, "deleted")):  # indexed and not
        edit(engine, annotation_id=id_, status=status)
    draw(engine, xyxy=BOX)
    with transaction(engine) as session:
        assert count_by_status(session, dataset_id=1) == counted(session) != before
        assert index_annotations(session) == 108 - 50
        assert index_annotations(session) == 0
        assert count_by_status(session, dataset_id=1) == counted(session)
        assert count_by_status(session, dataset_id=2) == []


def test_pictures_come_by_review_state_with_counts(engine: Engine) -> None:
    with_region(engine, pictures=5)
    with transaction(engine) as session:
        for image_id, review in ((2, "reviewed"), (3, "empty"), (5, "reviewed")):
            change = ImageChange(review=review)  # type: ignore[arg-type]
            edit_image(session, image_id=image_id, expected_version=1, who="ada", change=change)
    with reading(engine) as session:

        def ids(pictures: list[Picture]) -> list[int]:
            return [picture.image.id for picture in pictures]

        assert ids(picture_page(session, dataset_id=1)) == [1, 2, 3, 4, 5]
        assert picture_page(session, dataset_id=1)[0].counts == {"pending": 1}
        assert ids(picture_page(session, dataset_id=1, reviews=("reviewed", "empty"), limit=2)) == [2, 3]
        assert ids(picture_page(session, dataset_id=1, reviews=("reviewed", "empty"), after=3)) == [5]
        assert picture_page(session, dataset_id=1, reviews=()) == []


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
            [row] = curate_page(session, dataset_id=1).annotations
            assert (row.text, row.version, row.indexed, row.run_id, row.region_id) == (
                "a red lid",
                4,
                False,
                None,
                None,
            )
            assert count_by_status(session, dataset_id=1) == [SourceCount("owl@1", "accepted", 1)]
            assert index_annotations(session) == 1
            wanted = CurateFilter(words="lid", run_id=1, min_score=0.5, max_score=0.5)
            assert len(curate_page(session, dataset_id=1, wanted=wanted, sort="lowest_score").annotations) == 1
        with pytest.raises(EditConflictError) as refusal:
            edit(engine, version=3, text="x")
        assert refusal.value.started_from is None and refusal.value.by == ""
        edit(engine, version=4, text="x")
        with engine.begin() as connection:
            assert connection.execute(text("SELECT count(*) FROM annotation_edit")).scalar_one() == 1
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
