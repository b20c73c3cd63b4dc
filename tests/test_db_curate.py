"""Edits, their history and undo; the gallery's pages; versions, labels, tasks and accounts; on both databases."""

import multiprocessing
import re
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import URL, Engine, text
from sqlmodel import Session, col, select, update

import db.gallery_queries
from db.account_queries import (
    account_of_session,
    close_session,
    create_account,
    deactivate,
    get_account,
    list_accounts,
    open_session,
    set_password_hash,
    set_role,
)
from db.curate_queries import (
    AnnotationChange,
    EditConflictError,
    ImageChange,
    Throughput,
    add_annotation_by_hand,
    annotation_state,
    delete_annotation,
    edit_annotation,
    edit_image,
    get_annotation,
    history_page,
    image_state,
    region_of,
    restore_annotation,
    set_status,
    throughput,
    undo_last,
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
from db.models import Annotation, AnnotationEdit, Image
from db.queries import (
    NewAnnotation,
    NewImage,
    add_annotations,
    add_images,
    annotation_page,
    annotations_of,
    create_dataset,
    get_image,
)
from db.run_queries import NewStageResult, claim_images, save_stage_result, start_run
from db.version_queries import (
    TaskState,
    create_version,
    dataset_batch,
    find_task,
    get_version,
    images_edited_since,
    iterate_dataset,
    labels_of,
    last_edit_id,
    list_versions,
    pictures_of,
    set_label,
    set_tasks,
    task_page,
    tasks_of,
)
from tests.databases import collide, filled, order, sha, some_images, some_regions, text_of

OWL = "google/owlv2@abc"
BOX, ELSEWHERE = (0.1, 0.2, 0.5, 0.75), (0.3, 0.2, 0.7, 0.75)
REGION = NewAnnotation(image_id=1, xyxy=BOX, text="a red lid", source=OWL, score=0.5)
ROUNDS = 500
STEP = 29  # of 3,456 filters with sorts; a prime, so that each meets each


def with_region(engine: Engine, pictures: int = 1) -> None:
    """Data set 1, pictures, and region 1 on the first."""
    dataset_id = filled(engine, pictures)
    with transaction(engine) as session:
        add_annotations(session, dataset_id=dataset_id, rows=[REGION])
        assert index_annotations(session) == 1


def edit(engine: Engine, who: str = "ada", version: int = 1, annotation_id: int = 1, **change: object) -> Annotation:
    with transaction(engine) as session:
        return edit_annotation(
            session,
            annotation_id=annotation_id,
            expected_version=version,
            who=who,
            change=AnnotationChange(**change),  # type: ignore[arg-type]
        )


def draw(engine: Engine, **values: object) -> Annotation:
    with transaction(engine) as session:
        return add_annotation_by_hand(session, image_id=1, who="ada", **values)  # type: ignore[arg-type]


def undo(engine: Engine, who: str = "ada") -> list[AnnotationEdit]:
    with transaction(engine) as session:
        return undo_last(session, image_id=1, who=who)


def state(engine: Engine, annotation_id: int = 1) -> dict[str, object]:
    with reading(engine) as session:
        row = get_annotation(session, annotation_id=annotation_id)
        assert row is not None
        return annotation_state(row)


def history(engine: Engine, annotation_id: int | None = None) -> list[AnnotationEdit]:
    with reading(engine) as session:
        return list(history_page(session, image_id=1, annotation_id=annotation_id, limit=10_000))


def test_an_edit_keeps_what_it_does_not_change_and_notes_both_states(engine: Engine) -> None:
    with_region(engine)
    before = state(engine)
    row = edit(engine, xyxy=ELSEWHERE, text="a blue lid")
    assert (row.id, row.version, row.score, row.source, row.status) == (1, 2, 0.5, OWL, "pending")
    [entry] = history(engine)
    assert (entry.who, entry.what, entry.version, entry.annotation_id) == ("ada", "edited", 2, 1)
    assert entry.before == before and entry.after == state(engine)
    assert entry.after["xyxy"] == list(ELSEWHERE) and entry.after["text"] == "a blue lid"
    assert entry.at.utcoffset() is not None


def test_verdicts_have_names_of_their_own(engine: Engine) -> None:
    with_region(engine)
    with transaction(engine) as session:
        for version, status in enumerate(("accepted", "rejected", "pending", "accepted"), start=1):
            set_status(session, annotation_id=1, expected_version=version, who="ada", status=status, reason="why")
    assert [entry.what for entry in history(engine)][::-1] == ["accepted", "rejected", "reopened", "accepted"]
    assert {entry.reason for entry in history(engine)} == {"why"}


def test_an_edit_that_changes_nothing_is_none(engine: Engine) -> None:
    with_region(engine)
    assert edit(engine, xyxy=BOX, text="a red lid").version == 1
    assert history(engine) == []


def test_the_second_of_two_editors_gets_both_versions(engine: Engine) -> None:
    with_region(engine)
    began = state(engine)
    edit(engine, who="ada", text="a blue lid")
    with pytest.raises(EditConflictError, match=r"region 1 was changed by ada meanwhile: look at both") as refusal:
        edit(engine, who="bob", xyxy=ELSEWHERE)
    conflict = refusal.value
    assert (conflict.version, conflict.by, conflict.annotation_id, conflict.image_id) == (2, "ada", 1, 1)
    assert conflict.present == state(engine) and conflict.present["text"] == "a blue lid"
    assert conflict.started_from == began
    assert conflict.wanted == began | {"xyxy": list(ELSEWHERE)}
    assert len(history(engine)) == 1
    edit(engine, who="bob", version=conflict.version, xyxy=ELSEWHERE)
    assert (state(engine)["text"], state(engine)["xyxy"]) == ("a blue lid", list(ELSEWHERE))


def test_the_state_somebody_started_from_is_found_after_many_edits(engine: Engine) -> None:
    with_region(engine)
    for version in range(1, 6):
        edit(engine, version=version, text=f"text {version}")
    with pytest.raises(EditConflictError) as refusal:
        edit(engine, who="bob", version=3, text="mine")
    assert refusal.value.started_from is not None and refusal.value.started_from["text"] == "text 2"
    with pytest.raises(EditConflictError) as refusal:
        edit(engine, who="bob", version=99, text="mine")
    assert refusal.value.started_from is None


def test_an_edit_whose_acknowledgement_was_lost_is_done_once(engine: Engine) -> None:
    with_region(engine)
    assert edit(engine, text="a blue lid").version == edit(engine, text="a blue lid").version == 2
    assert len(history(engine)) == 1
    with pytest.raises(EditConflictError):
        edit(engine, who="bob", text="a blue lid")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"xyxy": (0.5, 0.1, 0.5, 0.2)}, "expected a box with an area"),
        ({"xyxy": (0.5, 0.1, float("nan"), 0.2)}, "expected a box with an area"),
        ({"status": "perhaps"}, "expected the status pending, accepted, rejected, deleted, got 'perhaps'"),
    ],
)
def test_an_edit_that_cannot_be_is_refused(engine: Engine, change: dict[str, object], sentence: str) -> None:
    with_region(engine)
    with pytest.raises(ValueError, match=sentence):
        edit(engine, **change)
    assert history(engine) == []


def test_what_is_not_there_cannot_be_edited(engine: Engine) -> None:
    with_region(engine)
    with pytest.raises(ValueError, match="expected the id of a region, got 99"):
        edit(engine, annotation_id=99, text="x")
    with pytest.raises(ValueError, match="expected the name of whoever edits"):
        edit(engine, who="\n", text="x")
    with pytest.raises(ValueError, match="expected the id of a picture, got 99"), transaction(engine) as session:
        undo_last(session, image_id=99, who="ada")


def test_texts_that_no_database_takes_are_spelled_out(engine: Engine) -> None:
    with_region(engine)
    assert edit(engine, text="a\0b\ud800").text == "a\ufffdb\\ud800"


def test_grains_scores_are_forgotten_with_the_box_unless_the_edit_says_them_anew(engine: Engine) -> None:
    with_region(engine)
    with transaction(engine) as session:
        assert set_similarities(session, rows=[Similarity(1, 0.3, 0.2), Similarity(99, 0.1, None)]) == 1
    assert edit(engine, status="accepted").similarity == 0.3
    row = edit(engine, version=2, xyxy=ELSEWHERE, similarity=0.4, disagreement=0.1)
    assert (row.similarity, row.disagreement) == (0.4, 0.1)
    row = edit(engine, version=3, text="a blue lid")
    assert (row.similarity, row.disagreement) == (None, None)
    undo(engine)
    assert state(engine)["similarity"] == 0.4


def test_several_descriptions_have_verdicts_of_their_own_and_one_box(engine: Engine) -> None:
    with_region(engine)
    second = draw(engine, region_id=1, text="round")
    third = draw(engine, region_id=second.id, text="made of tin", status="pending")
    assert [second.region_id, third.region_id] == [1, 1]
    set_to = edit(engine, annotation_id=third.id, status="rejected")
    assert (set_to.version, state(engine)["status"], state(engine, second.id)["status"]) == (2, "pending", "accepted")
    edit(engine, annotation_id=second.id, xyxy=ELSEWHERE)
    with reading(engine) as session:
        region = region_of(session, annotation_id=third.id)
        assert [row.id for row in region] == [1, second.id, third.id]
        assert {(row.x1, row.y1, row.x2, row.y2) for row in region} == {ELSEWHERE}
        assert [row.version for row in region] == [2, 2, 3]
        assert region_of(session, annotation_id=99) == []
    moved = [entry for entry in history(engine) if entry.what == "edited"]
    assert len(moved) == 3 and len({entry.action for entry in moved}) == 1
    assert len(undo(engine)) == 3
    assert {tuple(state(engine, id_)["xyxy"]) for id_ in (1, second.id, third.id)} == {BOX}  # type: ignore[arg-type]
    assert state(engine, third.id)["status"] == "rejected"


def test_what_a_person_draws_is_theirs_and_drawn_once_a_key(engine: Engine) -> None:
    with_region(engine)
    row = draw(engine, xyxy=BOX, text="a red lid", from_model="photo@1")
    assert (row.source, row.status, row.version, row.score) == ("human:ada", "accepted", 1, None)
    assert draw(engine, xyxy=BOX, text="a red lid").id != row.id
    first = draw(engine, xyxy=BOX, key="press 17")
    assert draw(engine, xyxy=BOX, key="press 17").id == first.id
    created = history(engine, row.id)
    assert [(entry.what, entry.before, entry.from_model) for entry in created] == [("created", None, "photo@1")]
    for values in ({"xyxy": BOX, "region_id": 1}, {"region_id": 99}, {"xyxy": (0, 0, 2, 1)}):
        with pytest.raises(ValueError, match=r"expected a (region|box)"):
            draw(engine, **values)


def test_what_is_deleted_comes_back_with_id_text_score_and_verdict(engine: Engine) -> None:
    with_region(engine)
    edit(engine, status="accepted")
    before = state(engine)
    with transaction(engine) as session:
        delete_annotation(session, annotation_id=1, expected_version=2, who="ada")
    with reading(engine) as session:
        assert annotations_of(session, image_ids=[1]) == {1: []}
        assert list(annotation_page(session, dataset_id=1)) == []
        assert curate_page(session, dataset_id=1).annotations == ()
        assert len(curate_page(session, dataset_id=1, wanted=CurateFilter(statuses=("deleted",))).annotations) == 1
    with transaction(engine) as session:
        assert restore_annotation(session, annotation_id=1, expected_version=3, who="bob").version == 4
    assert state(engine) == before
    assert [entry.what for entry in history(engine)] == ["restored", "deleted", "accepted"]


def test_a_whole_region_is_deleted_and_undone_at_once(engine: Engine) -> None:
    with_region(engine)
    second = draw(engine, region_id=1, text="round")
    with transaction(engine) as session:
        delete_annotation(session, annotation_id=second.id, expected_version=1, who="ada", whole_region=True)
    assert [state(engine, id_)["status"] for id_ in (1, second.id)] == ["deleted", "deleted"]
    undo(engine)
    assert [state(engine, id_)["status"] for id_ in (1, second.id)] == ["pending", "accepted"]


def test_an_annotator_that_comes_again_does_not_bring_back_what_was_edited(engine: Engine) -> None:
    with_region(engine)
    edit(engine, text="a blue lid", xyxy=ELSEWHERE)
    with transaction(engine) as session:
        assert add_annotations(session, dataset_id=1, rows=[REGION]).new == 0


def test_undo_goes_back_action_by_action_and_stops_at_the_beginning(engine: Engine) -> None:
    with_region(engine)
    states = [state(engine)]
    for version, change in enumerate(({"text": "one"}, {"xyxy": ELSEWHERE}, {"status": "accepted"}), start=1):
        edit(engine, version=version, **change)
        states.append(state(engine))
    for expected in states[-2::-1]:
        assert [entry.what for entry in undo(engine)] == ["undone"]
        assert state(engine) == expected
    assert undo(engine) == []
    assert len(history(engine)) == 6


def test_undo_takes_back_ones_own_last_edit_only(engine: Engine) -> None:
    with_region(engine)
    drawn = draw(engine, xyxy=ELSEWHERE, text="mine")
    edit(engine, who="bob", text="bob's")
    undo(engine)
    assert state(engine, drawn.id)["status"] == "deleted" and state(engine)["text"] == "bob's"
    assert undo(engine) == []


def test_undo_of_what_somebody_changed_since_is_a_conflict(engine: Engine) -> None:
    with_region(engine)
    began = state(engine)
    edit(engine, text="ada's")
    edit(engine, who="bob", version=2, text="bob's")
    with pytest.raises(EditConflictError) as refusal:
        undo(engine)
    conflict = refusal.value
    assert (conflict.present["text"], conflict.by) == ("bob's", "bob")
    assert conflict.started_from is not None and conflict.started_from["text"] == "ada's"
    assert conflict.wanted == began
    assert state(engine)["text"] == "bob's"
    undo(engine, who="bob")
    undo(engine)
    assert state(engine) == began


def test_caption_facts_and_review_are_edited_and_undone_like_regions(engine: Engine) -> None:
    with_region(engine)
    facts = {"class": "zorbex", "released": "2023-11"}

    def edit_it(version: int, who: str = "ada", **change: object) -> Image:
        with transaction(engine) as session:
            return edit_image(
                session,
                image_id=1,
                expected_version=version,
                who=who,
                change=ImageChange(**change),  # type: ignore[arg-type]
            )

    assert edit_it(1, caption="a tin", facts=facts).version == 2
    assert edit_it(2, review="empty").review == "empty"
    with pytest.raises(EditConflictError, match="picture 1 was changed by ada") as refusal:
        edit_it(1, who="bob", review="reviewed")
    assert refusal.value.started_from == {"caption": "", "facts": {}, "review": "open"}
    assert refusal.value.annotation_id is None
    [entry] = undo(engine)
    assert (entry.annotation_id, entry.after["review"]) == (None, "open")
    with reading(engine) as session:
        image = get_image(session, image_id=1)
        assert image is not None
        assert image_state(image) == {"caption": "a tin", "facts": facts, "review": "open"}
    with pytest.raises(ValueError, match="expected facts as text by name"):
        edit_it(4, facts={"year": 2023})
    with pytest.raises(ValueError, match="expected the review state open, reviewed, empty"):
        edit_it(4, review="perhaps")
    edit(engine, status="accepted")
    with pytest.raises(ValueError, match="picture 1 has accepted regions"):
        edit_it(4, review="empty")


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_every_acknowledged_edit_of_500_colliding_rounds_is_in_the_history(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    engine = request.getfixturevalue(f"{database}_engine")
    with_region(engine)
    url, context = text_of(engine.url), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as curators:
        kept = list(curators.map(collide, [url] * 2, ["ada", "bob"], [ROUNDS // 2] * 2))
    assert [len(edits) for edits in kept] == [ROUNDS // 2] * 2
    entries = history(engine)[::-1]
    assert [entry.version for entry in entries] == list(range(2, ROUNDS + 2))
    assert sorted((entry.version, entry.after["text"]) for entry in entries) == sorted([*kept[0], *kept[1]])
    for earlier, later in pairwise(entries):
        assert later.before == earlier.after


def test_the_history_comes_in_pages_and_throughput_by_person_and_day(engine: Engine) -> None:
    with_region(engine)
    for version in range(1, 6):
        edit(engine, who="ada" if version % 2 else "bob", version=version, text=f"{version}")
    with reading(engine) as session:
        first = history_page(session, image_id=1, limit=3)
        rest = history_page(session, image_id=1, before=first[-1].id, limit=3)
        assert [entry.version for entry in (*first, *rest)] == [6, 5, 4, 3, 2]
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    with transaction(engine) as session:
        for entry, minutes in zip(history_page(session, image_id=1)[::-1], (0, 1, 2, 3, 50), strict=True):
            moved = update(AnnotationEdit).where(col(AnnotationEdit.id) == entry.id)
            session.exec(moved.values(at=noon + timedelta(minutes=minutes)))
    with reading(engine) as session:
        found = throughput(session, dataset_id=1, since=noon - timedelta(hours=1))
        assert throughput(session, dataset_id=1, since=noon + timedelta(hours=1)) == []
    # ada's third edit came 48 minutes after her second: a pause
    assert [replace(each, seconds=round(each.seconds)) for each in found] == [
        Throughput("ada", "2026-03-01", "edited", 3, 120),
        Throughput("bob", "2026-03-01", "edited", 2, 120),
    ]


# the gallery


def gallery(engine: Engine) -> None:
    """Two data sets that lie between one another, with runs, look-alikes and similarities."""
    first = filled(engine, pictures=0)
    with transaction(engine) as session:
        images = [NewImage(sha(n), 640, 480, f"{n}.jpg", phash="ffff" if n % 3 == 0 else "") for n in range(9)]
        add_images(session, dataset_id=first, images=images)
        other = create_dataset(session, name="handles").id
        add_images(session, dataset_id=other, images=some_images(range(2)))
        run_id = start_run(session, dataset_id=first, config={}, recipes={}).id
        claim = claim_images(
            session, dataset_id=first, recipe=sha(1), worker="w", count=3, lease_seconds=60, run_id=run_id
        )
        regions = some_regions(9)
        for image in claim.images:
            mine = tuple(region for region in regions if region.image_id == image.id)
            result = NewStageResult(
                first, image.id, sha(image.id), sha(1), "localize", "owl@1", "done", run_id=run_id, regions=mine
            )
            save_stage_result(session, result=result, token=claim.token)
        add_annotations(session, dataset_id=other, rows=[NewAnnotation(10, BOX, "a red lid", "owl@1", 0.01)])
        add_annotations(session, dataset_id=first, rows=regions)
        while index_annotations(session, limit=17):
            pass
        ids = session.exec(select(Annotation.id)).all()
        set_similarities(session, rows=[Similarity(id_, 0.1 * (id_ % 5), 0.25 * (id_ % 4)) for id_ in ids if id_ % 3])


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


# versions, labels, tasks


def test_a_version_is_kept_once_a_name(engine: Engine) -> None:
    filled(engine, pictures=0)
    fields = {
        "sha256": sha(1),
        "file_name": "lids-1.jsonl",
        "pictures": 3,
        "regions": 7,
        "created_by": "ada",
        "note": "first",
    }
    with transaction(engine) as session:
        for name in ("one", "two"):
            create_version(session, dataset_id=1, name=name, **fields)  # type: ignore[arg-type]
    for change, sentence in (
        ({"name": "one"}, "which a version has"),
        ({"name": " "}, "give it one"),
        ({"sha256": "x"}, "64 lower-case"),
        ({"file_name": "../x"}, "the name of a file"),
    ):
        with pytest.raises(ValueError, match=sentence), transaction(engine) as session:
            create_version(session, **({"dataset_id": 1, "name": "three"} | fields | change))  # type: ignore[arg-type]
    with reading(engine) as session:
        assert [version.name for version in list_versions(session, dataset_id=1)] == ["two", "one"]
        version = get_version(session, dataset_id=1, name="one")
        assert version is not None and {name: getattr(version, name) for name in fields} == fields
        assert get_version(session, dataset_id=2, name="one") is None


def test_a_data_set_streams_picture_by_picture(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery(engine)
    with reading(engine) as session:
        pictures = list(iterate_dataset(session, dataset_id=1, statuses=("accepted", "deleted")))
        assert [picture.image.id for picture in pictures] == list(range(1, 10))
        kept = [row for picture in pictures for row in picture.annotations]
        assert {row.status for row in kept} == {"accepted", "deleted"}
        assert [row.id for row in pictures[3].annotations] == sorted(row.id for row in kept if row.image_id == 4)
        batch = dataset_batch(session, dataset_id=1, statuses=("accepted", "deleted"), after=3, limit=2)
        assert batch == pictures[3:5]
        assert pictures_of(session, image_ids=[5, 4, 5], statuses=("accepted", "deleted")) == pictures[3:5]
        assert list(iterate_dataset(session, dataset_id=9)) == []


def test_what_was_edited_meanwhile_is_known(engine: Engine) -> None:
    with_region(engine, pictures=3)
    with reading(engine) as session:
        assert last_edit_id(session) == 0
    edit(engine, text="x")
    with transaction(engine) as session:
        mark = last_edit_id(session)
        for image_id in (3, 2):
            add_annotation_by_hand(session, image_id=image_id, who="ada", xyxy=BOX)
        assert images_edited_since(session, dataset_id=1, edit_id=mark) == [2, 3]
        assert images_edited_since(session, dataset_id=1, edit_id=0) == [1, 2, 3]
        assert images_edited_since(session, dataset_id=2, edit_id=0) == []


def test_two_people_label_a_picture_and_change_their_minds(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(engine, pictures=3)
    said = [(1, "ada", "zorbex"), (1, "bob", "lumen"), (2, "ada", "zorbex"), (1, "bob", "zorbex"), (3, "bob", "übung")]
    with transaction(engine) as session:
        for image_id, who, label in said:
            set_label(session, image_id=image_id, who=who, label=label)
    expected = [(1, "ada", "zorbex"), (1, "bob", "zorbex"), (2, "ada", "zorbex"), (3, "bob", "übung")]
    for held in (1, 2, 5000):
        monkeypatch.setattr("db.version_queries.IN_LIST", held)
        with reading(engine) as session:
            found = [(label.image_id, label.who, label.label) for label in labels_of(session, dataset_id=1)]
            assert found == expected
            assert list(labels_of(session, dataset_id=2)) == []
    for image_id, label in ((99, "zorbex"), (1, " ")):
        with pytest.raises(ValueError, match="expected"), transaction(engine) as session:
            set_label(session, image_id=image_id, who="ada", label=label)


def test_label_studios_tasks_are_kept_one_a_picture_and_project(engine: Engine) -> None:
    filled(engine, pictures=3)
    here, moment = "http://127.0.0.1:8080 1", datetime(2026, 11, 25, 10, tzinfo=UTC)
    with transaction(engine) as session:
        assert set_tasks(session, project=here, tasks=[TaskState(n, 100 + n, sha(n)) for n in (1, 2, 3)]) == 3
        assert set_tasks(session, project="http://127.0.0.1:8080 2", tasks=[TaskState(1, 101)]) == 1
        set_tasks(session, project=here, tasks=[TaskState(2, 102, sha(9), moment, moment)])
    with reading(engine) as session:
        assert [task.task_id for task in task_page(session, project=here)] == [101, 102, 103]
        assert [task.task_id for task in task_page(session, project=here, after=1, limit=1)] == [102]
        found = tasks_of(session, project=here, image_ids=[2, 99])
        assert list(found) == [2] and (found[2].pushed_hash, found[2].remote_updated_at) == (sha(9), moment)
        task = find_task(session, project=here, task_id=102)
        assert task is not None and task.image_id == 2
        assert find_task(session, project=here, task_id=1) is None


# people


def test_a_session_lets_its_person_in_until_it_ends(engine: Engine) -> None:
    moment = datetime(2026, 11, 25, 10, tzinfo=UTC)
    later = moment + timedelta(hours=8)
    with transaction(engine) as session:
        account = create_account(session, name="ada", password_hash="$argon2id$…", role="admin")
        for token in (1, 2, 3):
            open_session(session, account_id=account.id, token_sha256=sha(token), expires_at=later, moment=moment)
        close_session(session, token_sha256=sha(3))
    with reading(engine) as session:
        for token, when, name in ((1, moment, "ada"), (1, later, None), (3, moment, None), (9, moment, None)):
            found = account_of_session(session, token_sha256=sha(token), moment=when)
            assert (found and found.name) == name
    with transaction(engine) as session:
        set_password_hash(session, name="ada", password_hash="$argon2id$another")
        assert account_of_session(session, token_sha256=sha(1), moment=moment) is None


def test_who_is_let_in_no_more_loses_their_sessions(engine: Engine) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    with transaction(engine) as session:
        create_account(session, name="ada", password_hash="x", role="admin")
        bob = create_account(session, name="bob", password_hash="x", role="viewer")
        open_session(session, account_id=bob.id, token_sha256=sha(1), expires_at=until)
        assert set_role(session, name="bob", role="curator").role == "curator"
    with transaction(engine) as session:
        assert deactivate(session, name="bob").active is False
        assert account_of_session(session, token_sha256=sha(1)) is None
        assert [account.name for account in list_accounts(session)] == ["ada", "bob"]
        assert get_account(session, name="eve") is None
        with pytest.raises(ValueError, match="active account"):
            open_session(session, account_id=bob.id, token_sha256=sha(2), expires_at=until)


def test_accounts_that_cannot_be_are_refused(engine: Engine) -> None:
    with transaction(engine) as session:
        create_account(session, name="ada", password_hash="x", role="admin")
    for fields, sentence in (
        ({"name": "ada"}, "which somebody has"),
        ({"name": ""}, "one printable line"),
        ({"password_hash": ""}, "hash of a password"),
        ({"role": "root"}, "expected the role viewer, curator, admin"),
    ):
        with pytest.raises(ValueError, match=sentence), transaction(engine) as session:
            create_account(session, **({"name": "bob", "password_hash": "x", "role": "viewer"} | fields))  # type: ignore[arg-type]
    for work in (deactivate, lambda session, name: set_role(session, name=name, role="viewer")):
        with pytest.raises(ValueError, match="'ada' is the only admin"), transaction(engine) as session:
            work(session, name="ada")
        with pytest.raises(ValueError, match="expected the name of an account"), transaction(engine) as session:
            work(session, name="eve")


# the migration


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
