"""Data sets, pictures, files left out and regions, on both databases."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from db.engine import reading, retrying, transaction
from db.models import RegionRow
from db.queries.bulk import Added
from db.queries.curate_filter import CurateFilter
from db.queries.data_set_queries import (
    NewImage,
    NewRefusal,
    add_images,
    add_refusals,
    count_images,
    create_dataset,
    find_images,
    get_dataset,
    get_image,
    image_page,
    list_datasets,
    lookalike_page,
)
from db.queries.gallery_queries import curate_page
from db.queries.region_index_queries import index_regions
from db.queries.region_queries import NewRegion, add_regions, regions_of
from db.queries.values import storable
from tests.support.databases import count_refusals, filled, refusal_page, sha, some_images

OWL = "google/owlv2-base-patch16-ensemble@abc123"
BOX = (0.1, 0.2, 0.5, 0.75)
REGION = NewRegion(image_id=1, xyxy=BOX, text="a red round lid", source=OWL, score=0.5)


def test_data_sets_are_listed_by_name_and_found_by_it(engine: Engine) -> None:
    with transaction(engine) as session:
        for name in ("lids", "handles"):
            create_dataset(session, name=name, source=f"/pictures/{name}")
    with reading(engine) as session:
        assert [dataset.name for dataset in list_datasets(session)] == ["handles", "lids"]
        found = get_dataset(session, name="lids")
        assert found is not None and found.source == "/pictures/lids"
        assert get_dataset(session, name="nobody's") is None
        assert get_dataset(session, name="nobody\0s\ud800") is None


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (" ", "give it one"),
        ("two\nlines", "one printable line"),
        ("nul\0", "one printable line"),
        ("lids", "choose another or add to that one"),
    ],
)
def test_a_data_set_without_a_name_of_its_own_is_refused(engine: Engine, name: str, sentence: str) -> None:
    filled(engine, pictures=0)
    with pytest.raises(ValueError, match=sentence), transaction(engine) as session:
        create_dataset(session, name=name)


def test_a_picture_comes_back_as_it_was_added(engine: Engine) -> None:
    given_image = NewImage(
        sha256=sha(7),
        width=3,
        height=2,
        location="shards/00000.tar",
        member="übung.jpg",
        origin_row=17,
        caption="a lid & a handle",
        phash="00ff00ff00ff00ff",
        has_thumbnail=True,
    )
    dataset_id = filled(engine, pictures=0)
    with transaction(engine) as session:
        assert add_images(session, dataset_id=dataset_id, images=[given_image]) == Added(new=1, known=0)
    with reading(engine) as session:
        [found] = image_page(session, dataset_id=dataset_id)
        assert {name: getattr(found, name) for name in NewImage.__slots__} == {
            name: getattr(given_image, name) for name in NewImage.__slots__
        }
        assert get_image(session, image_id=found.id) == found
        assert found.created_at.utcoffset() is not None


def test_a_content_is_added_once_a_data_set(engine: Engine) -> None:
    dataset_id = filled(engine, pictures=5)
    with transaction(engine) as session:
        other = create_dataset(session, name="handles").id
        assert add_images(session, dataset_id=dataset_id, images=some_images(range(3, 8))) == Added(new=3, known=2)
        assert add_images(session, dataset_id=other, images=some_images(range(5))) == Added(new=5, known=0)
        assert add_images(session, dataset_id=other, images=[*some_images(range(5, 6))] * 2) == Added(new=1, known=1)
        assert add_images(session, dataset_id=other, images=[]) == Added(new=0, known=0)
    with reading(engine) as session:
        assert [count_images(session, dataset_id=id_) for id_ in (dataset_id, other, 99)] == [8, 6, 0]
        found = find_images(session, dataset_id=dataset_id, sha256s=[sha(4), sha(7), sha(99)])
        assert {sha256: image.location for sha256, image in found.items()} == {sha(4): "4.jpg", sha(7): "7.jpg"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sha256": "../../etc/passwd"}, "64 lower-case hex digits"),
        ({"width": 0}, "at least 1 x 1, got 0 x 480"),
    ],
)
def test_a_picture_that_cannot_be_is_refused(engine: Engine, change: dict[str, Any], sentence: str) -> None:
    dataset_id = filled(engine, pictures=0)
    [image] = some_images(range(1))
    with pytest.raises(ValueError, match=sentence), transaction(engine) as session:
        add_images(session, dataset_id=dataset_id, images=[replace(image, **change)])


def test_pictures_of_no_data_set_are_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match="a row for image breaks a rule"), transaction(engine) as session:
        add_images(session, dataset_id=99, images=some_images(range(1)))


def test_pages_by_key_show_every_picture_once_in_order(engine: Engine) -> None:
    dataset_id = filled(engine, pictures=11)
    with transaction(engine) as session:
        other = create_dataset(session, name="handles").id
        add_images(session, dataset_id=other, images=some_images(range(3)))
        add_images(session, dataset_id=dataset_id, images=some_images(range(11, 13)))
    seen: list[str] = []
    with reading(engine) as session:
        after = 0
        while page := image_page(session, dataset_id=dataset_id, after=after, limit=4):
            seen += [image.location for image in page]
            after = page[-1].id
    assert seen == [f"{n}.jpg" for n in range(13)]


def test_lookalikes_are_groups_of_two_or_more_within_a_data_set(engine: Engine) -> None:
    dataset_id = filled(engine, pictures=0)
    hashes = ["bb", "aa", "", "cc", "aa", "bb", "", "bb"]
    images = [replace(image, phash=phash) for image, phash in zip(some_images(range(8)), hashes, strict=True)]
    with transaction(engine) as session:
        add_images(session, dataset_id=dataset_id, images=images)
        other = create_dataset(session, name="handles").id
        add_images(session, dataset_id=other, images=images[3:4])
    with reading(engine) as session:
        first = lookalike_page(session, dataset_id=dataset_id, limit=1)
        rest = lookalike_page(session, dataset_id=dataset_id, after=first[-1][-1].phash)
        assert [[image.location for image in group] for group in first + rest] == [
            ["1.jpg", "4.jpg"],
            ["0.jpg", "5.jpg", "7.jpg"],
        ]
        assert lookalike_page(session, dataset_id=other) == []


def test_files_left_out_are_listed_by_import_each_once(engine: Engine) -> None:
    dataset_id = filled(engine, pictures=0)
    files = [NewRefusal("a.zip", "not a picture", member=f"{n}.txt") for n in range(3)]
    files.append(NewRefusal("caf\udce9.jpg", "cut short"))  # a file name that is no UTF-8, as Python reads it
    with transaction(engine) as session:
        for _ in range(2):
            add_refusals(session, dataset_id=dataset_id, import_id="first", files=files)
        add_refusals(session, dataset_id=dataset_id, import_id="second", files=files[:1])
    with reading(engine) as session:
        first = refusal_page(session, dataset_id=dataset_id, import_id="first", limit=3)
        rest = refusal_page(session, dataset_id=dataset_id, import_id="first", after=first[-1].id)
        counts = count_refusals(session, dataset_id=dataset_id, import_id="first")
    assert [file.member for file in first] == ["0.txt", "1.txt", "2.txt"]
    assert [file.location for file in rest] == ["caf\\udce9.jpg"]
    assert counts == {"not a picture": 3, "cut short": 1}


@given(st.text(st.characters(codec=None, categories=None)))
def test_storable_text_is_utf_8_without_nul_and_good_text_stays(text: str) -> None:
    stored = storable(text)
    assert "\0" not in stored and stored.encode().decode() == stored
    assert storable(stored) == stored


def test_a_region_comes_back_as_it_was_added(engine: Engine) -> None:
    dataset_id = filled(engine, pictures=1)
    by_hand = NewRegion(image_id=1, xyxy=(0, 0, 1, 1), text="=cmd()", source="human:ada", status="accepted")
    with transaction(engine) as session:
        add_regions(session, dataset_id=dataset_id, rows=[REGION, by_hand])
    with reading(engine) as session:
        drawn, found = curate_page(session, dataset_id=dataset_id).regions
    assert (found.x1, found.y1, found.x2, found.y2) == BOX
    assert (found.text, found.score, found.source, found.status, found.version) == (REGION.text, 0.5, OWL, "pending", 1)
    assert (drawn.text, drawn.score, drawn.source, drawn.status) == ("=cmd()", None, "human:ada", "accepted")


def test_what_no_database_takes_is_written_in_another_way(engine: Engine) -> None:
    dataset_id = filled(engine, pictures=1)
    odd = replace(REGION, text="<img onerror>\0\ud800\n=cmd()")
    with transaction(engine) as session:
        for _ in range(2):
            add_regions(session, dataset_id=dataset_id, rows=[odd])
        [found] = curate_page(session, dataset_id=dataset_id).regions
    assert found.text == "<img onerror>\ufffd\\ud800\n=cmd()"


def test_importing_regions_again_adds_none(engine: Engine) -> None:
    dataset_id = filled(engine, pictures=40)
    rows = [
        replace(REGION, image_id=image_id, xyxy=(0.0, n / 10, 1.0, 1.0)) for image_id in range(1, 41) for n in range(5)
    ]
    with transaction(engine) as session:
        assert add_regions(session, dataset_id=dataset_id, rows=rows) == Added(new=200, known=0)
    assert retrying(engine, lambda session: add_regions(session, dataset_id=dataset_id, rows=rows)) == Added(0, 200)
    with reading(engine) as session:
        assert len(curate_page(session, dataset_id=dataset_id, limit=1000).regions) == 200


def test_regions_that_differ_in_anything_are_kept_apart(engine: Engine) -> None:
    dataset_id = filled(engine, pictures=2)
    others: list[dict[str, Any]] = [
        {"image_id": 2},
        {"xyxy": (0.1, 0.2, 0.5, 0.7500000001)},
        {"text": "a red round lid "},
        {"source": "human:ada"},
    ]
    with transaction(engine) as session:
        rows = [REGION, *(replace(REGION, **other) for other in others), replace(REGION, score=0.9, status="rejected")]
        assert add_regions(session, dataset_id=dataset_id, rows=rows) == Added(new=5, known=1)
        assert add_regions(session, dataset_id=dataset_id, rows=[REGION], recipe=sha(1)) == Added(new=1, known=0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"xyxy": (0.5, 0.2, 0.5, 0.75)}, "a box with an area"),  # no width
        ({"xyxy": (0.1, 0.75, 0.5, 0.2)}, "a box with an area"),  # upside down
        ({"xyxy": (-0.01, 0.2, 0.5, 0.75)}, "0 to 1"),
        ({"xyxy": (0.1, 0.2, 1.01, 0.75)}, "0 to 1"),
        ({"xyxy": (64.0, 96.0, 320.0, 360.0)}, "divide pixels by the picture's size"),
        ({"xyxy": (float("nan"), 0.2, 0.5, 0.75)}, "got .nan, 0.2, 0.5, 0.75. for picture 1"),
        ({"status": "maybe"}, "expected the status pending, accepted, rejected, deleted, got 'maybe'"),
        ({"image_id": 99}, "a row for region breaks a rule"),
    ],
    ids=str,
)
def test_a_region_that_cannot_be_is_refused_with_all_that_came_with_it(
    engine: Engine, change: dict[str, Any], sentence: str
) -> None:
    dataset_id = filled(engine, pictures=1)
    with pytest.raises(ValueError, match=sentence), transaction(engine) as session:
        add_regions(session, dataset_id=dataset_id, rows=[REGION, replace(REGION, **change)])
    with reading(engine) as session:
        assert curate_page(session, dataset_id=dataset_id).regions == ()


def fits(region: RegionRow, filters: CurateFilter) -> bool:
    """The filter's meaning, in plain words."""
    score = region.score
    return (
        region.status in filters.statuses
        and filters.source in ("", region.source)
        and (filters.min_score is None or (score is not None and score >= filters.min_score))
        and (filters.max_score is None or (score is not None and score <= filters.max_score))
    )


FILTERS = [
    CurateFilter(),
    CurateFilter(statuses=("accepted",)),
    CurateFilter(statuses=("accepted", "rejected"), source=OWL),
    CurateFilter(source="human:ada"),
    CurateFilter(min_score=0.4),
    CurateFilter(min_score=0.2, max_score=0.6, statuses=("pending",)),
    CurateFilter(source="nobody"),
    CurateFilter(statuses=()),
]


def test_pages_of_regions_are_the_filtered_whole_in_order(engine: Engine) -> None:
    dataset_id = filled(engine, pictures=30)
    rows = [
        replace(
            REGION,
            image_id=1 + n // 2,
            text=f"part {n}",
            source=OWL if n % 3 else "human:ada",
            score=n % 10 / 10 if n % 3 else None,
            status=("pending", "accepted", "rejected")[n * n % 7 % 3],
        )
        for n in range(60)
    ]
    with transaction(engine) as session:
        other = create_dataset(session, name="handles").id
        add_images(session, dataset_id=other, images=some_images(range(1)))
        add_regions(session, dataset_id=dataset_id, rows=rows[:30])
        add_regions(session, dataset_id=other, rows=[replace(REGION, image_id=31)])
        add_regions(session, dataset_id=dataset_id, rows=rows[30:])
        index_regions(session)
    with reading(engine) as session:
        everything = [a for pictures in regions_of(session, image_ids=range(1, 31)).values() for a in pictures]
        assert [region.text for region in everything] == [f"part {n}" for n in range(60)]
        for filters in FILTERS:
            page = curate_page(session, dataset_id=dataset_id, filters=filters, limit=7)
            seen = [*page.regions]
            while page.after:
                page = curate_page(session, dataset_id=dataset_id, filters=filters, after=page.after, limit=7)
                seen += page.regions
            assert seen == [region for region in reversed(everything) if fits(region, filters)]
    assert 0 < sum(fits(region, FILTERS[5]) for region in everything) < 60


def test_a_page_by_key_reads_an_index_from_where_it_starts(sqlite_engine: Engine) -> None:
    plans: list[str] = []
    with reading(sqlite_engine) as session:
        connection = session.connection()
        driver = connection.connection.driver_connection
        assert driver is not None
        asked: list[str] = []
        driver.set_trace_callback(asked.append)
        for filters in FILTERS[:4]:
            curate_page(session, dataset_id=1, filters=filters, after="500")
        image_page(session, dataset_id=1, after=500)
        driver.set_trace_callback(None)
        for statement in asked:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all()
            plans += [row[3] for row in rows if row[3].startswith(("SEARCH region", "SEARCH image", "SCAN"))]
    searched = [plan for plan in plans if "dataset_id=? AND" in plan]
    assert len(asked) == 5 and len(searched) == 3 + 1 + 2 + 3 + 1
    assert all(re.search("(row)?id[<>][?]", plan) for plan in searched)
    assert [plan for plan in plans if plan.startswith(("SCAN region", "SCAN image"))] == []
