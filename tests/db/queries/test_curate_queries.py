"""Edits of regions and pictures, their history and undo; on both databases."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import col, update

from db.engine import reading, transaction
from db.models import Image, RegionEdit, Status
from db.queries.curate_filter import CurateFilter
from db.queries.curate_queries import add_region_by_hand, delete_region, edit_image, redo_undone, set_status, undo_last
from db.queries.data_set_queries import get_image
from db.queries.edit_conflicts import EditConflictError
from db.queries.edit_values import ImageChange
from db.queries.gallery_queries import curate_page
from db.queries.history_queries import Throughput, history_page, image_state, region_state, throughput
from db.queries.region_index_queries import Similarity, set_similarities
from db.queries.region_queries import add_regions, get_region, region_of, regions_of
from tests.support.databases import BOX, ELSEWHERE, OWL, REGION, collide, draw, edit, text_of, with_region

ROUNDS = 500


def undo(engine: Engine, who: str = "ada") -> list[RegionEdit]:
    with transaction(engine) as session:
        return undo_last(session, image_id=1, who=who)


def state(engine: Engine, region_id: int = 1) -> dict[str, Any]:
    with reading(engine) as session:
        row = get_region(session, region_id=region_id)
        assert row is not None
        return region_state(row)


def history(engine: Engine, region_id: int | None = None) -> list[RegionEdit]:
    with reading(engine) as session:
        return list(history_page(session, image_id=1, region_id=region_id, limit=10_000))


def test_an_edit_keeps_what_it_does_not_change_and_notes_both_states(engine: Engine) -> None:
    with_region(engine)
    before = state(engine)
    row = edit(engine, xyxy=ELSEWHERE, text="a blue lid")
    assert (row.id, row.version, row.score, row.source, row.status) == (1, 2, 0.5, OWL, "pending")
    [entry] = history(engine)
    assert (entry.who, entry.what, entry.version, entry.region_id) == ("ada", "edited", 2, 1)
    assert entry.before == before and entry.after == state(engine)
    assert entry.after["xyxy"] == list(ELSEWHERE) and entry.after["text"] == "a blue lid"
    assert entry.at.utcoffset() is not None


def test_verdicts_have_names_of_their_own(engine: Engine) -> None:
    with_region(engine)
    with transaction(engine) as session:
        statuses: tuple[Status, ...] = ("accepted", "rejected", "pending", "accepted")
        for version, status in enumerate(statuses, start=1):
            set_status(session, region_id=1, expected_version=version, who="ada", status=status, reason="why")
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
    assert (conflict.version, conflict.by, conflict.region_id, conflict.image_id) == (2, "ada", 1, 1)
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


def test_two_who_agree_have_no_conflict_and_the_second_writes_nothing(engine: Engine) -> None:
    with_region(engine)
    edit(engine, who="ada", text="a blue lid", similarity=0.5)
    assert edit(engine, who="bob", text="a blue lid", similarity=0.7).version == 2, "scores are nobody's opinion"
    assert [entry.who for entry in history(engine)] == ["ada"]
    with pytest.raises(EditConflictError):
        edit(engine, who="bob", text="a blue lid", xyxy=ELSEWHERE)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"xyxy": (0.5, 0.1, 0.5, 0.2)}, "expected a box with an area"),
        ({"xyxy": (0.5, 0.1, float("nan"), 0.2)}, "expected a box with an area"),
        ({"status": "perhaps"}, "expected the status pending, accepted, rejected, deleted, got 'perhaps'"),
    ],
)
def test_an_edit_that_cannot_be_is_refused(engine: Engine, change: dict[str, Any], sentence: str) -> None:
    with_region(engine)
    with pytest.raises(ValueError, match=sentence):
        edit(engine, **change)
    assert history(engine) == []


def test_what_is_not_there_cannot_be_edited(engine: Engine) -> None:
    with_region(engine)
    with pytest.raises(ValueError, match="expected the id of a region, got 99"):
        edit(engine, region_id=99, text="x")
    with pytest.raises(ValueError, match="expected the name of the person who edits"):
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
    second = draw(engine, box_id=1, text="round")
    third = draw(engine, box_id=second.id, text="made of tin", status="pending")
    assert [second.box_id, third.box_id] == [1, 1]
    set_to = edit(engine, region_id=third.id, status="rejected")
    assert (set_to.version, state(engine)["status"], state(engine, second.id)["status"]) == (2, "pending", "accepted")
    edit(engine, region_id=second.id, xyxy=ELSEWHERE)
    with reading(engine) as session:
        region = region_of(session, region_id=third.id)
        assert [row.id for row in region] == [1, second.id, third.id]
        assert {(row.x1, row.y1, row.x2, row.y2) for row in region} == {ELSEWHERE}
        assert [row.version for row in region] == [2, 2, 3]
        assert region_of(session, region_id=99) == []
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
    for values in ({"xyxy": BOX, "box_id": 1}, {"box_id": 99}, {"xyxy": (0, 0, 2, 1)}):
        with pytest.raises(ValueError, match=r"expected a (region|box)"):
            draw(engine, **values)


def test_what_is_deleted_comes_back_with_id_text_score_and_verdict(engine: Engine) -> None:
    with_region(engine)
    edit(engine, status="accepted")
    before = state(engine)
    with transaction(engine) as session:
        delete_region(session, region_id=1, expected_version=2, who="ada")
    with reading(engine) as session:
        assert regions_of(session, image_ids=[1]) == {1: []}
        assert curate_page(session, dataset_id=1).regions == ()
        assert len(curate_page(session, dataset_id=1, filters=CurateFilter(statuses=("deleted",))).regions) == 1
    with transaction(engine) as session:
        accepted = set_status(session, region_id=1, expected_version=3, who="bob", status="accepted")
        assert accepted.version == 4
    assert state(engine) == before
    assert [entry.what for entry in history(engine)] == ["restored", "deleted", "accepted"]


def test_a_whole_region_is_deleted_and_undone_at_once(engine: Engine) -> None:
    with_region(engine)
    second = draw(engine, box_id=1, text="round")
    with transaction(engine) as session:
        delete_region(session, region_id=second.id, expected_version=1, who="ada", whole_region=True)
    assert [state(engine, id_)["status"] for id_ in (1, second.id)] == ["deleted", "deleted"]
    undo(engine)
    assert [state(engine, id_)["status"] for id_ in (1, second.id)] == ["pending", "accepted"]


def test_the_rest_of_a_region_that_somebody_else_began_to_delete_is_an_act_of_ones_own(engine: Engine) -> None:
    with_region(engine)
    second = draw(engine, box_id=1, text="round")
    for who, whole_region in (("ada", False), ("bob", True)):
        with transaction(engine) as session:
            delete_region(session, region_id=1, expected_version=1, who=who, whole_region=whole_region)
    with transaction(engine) as session:
        assert [entry.region_id for entry in undo_last(session, image_id=1, who="ada")] == [1]
    assert [state(engine, id_)["status"] for id_ in (1, second.id)] == ["pending", "deleted"]


def test_a_box_goes_back_and_forth_with_what_was_said_of_it_since(engine: Engine) -> None:
    with_region(engine)
    edit(engine, xyxy=ELSEWHERE)
    with transaction(engine) as session:
        second = add_region_by_hand(session, image_id=1, who="bob", box_id=1, text="round")
    undo(engine)
    assert [state(engine, id_)["xyxy"] for id_ in (1, second.id)] == [list(BOX)] * 2
    with transaction(engine) as session:
        redo_undone(session, image_id=1, who="ada", undo=history(engine)[0].action)
    assert [state(engine, id_)["xyxy"] for id_ in (1, second.id)] == [list(ELSEWHERE)] * 2
    undo(engine)
    assert [state(engine, id_)["xyxy"] for id_ in (1, second.id)] == [list(BOX)] * 2


def test_an_annotator_that_comes_again_does_not_bring_back_what_was_edited(engine: Engine) -> None:
    with_region(engine)
    edit(engine, text="a blue lid", xyxy=ELSEWHERE)
    with transaction(engine) as session:
        assert add_regions(session, dataset_id=1, rows=[REGION]).new == 0


def test_undo_goes_back_action_by_action_and_stops_at_the_beginning(engine: Engine) -> None:
    with_region(engine)
    states = [state(engine)]
    changes: list[dict[str, Any]] = [{"text": "one"}, {"xyxy": ELSEWHERE}, {"status": "accepted"}]
    for version, change in enumerate(changes, start=1):
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

    def edit_it(version: int, who: str = "ada", **change: Any) -> Image:
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
    assert refusal.value.region_id is None
    [entry] = undo(engine)
    assert (entry.region_id, entry.after["review"]) == (None, "open")
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


@pytest.mark.slow
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
            moved = update(RegionEdit).where(col(RegionEdit.id) == entry.id)
            session.exec(moved.values(at=noon + timedelta(minutes=minutes)))
    with reading(engine) as session:
        found = throughput(session, dataset_id=1, since=noon - timedelta(hours=1))
        assert throughput(session, dataset_id=1, since=noon + timedelta(hours=1)) == []
    # ada's third edit came 48 minutes after her second: a pause
    assert [replace(each, seconds=round(each.seconds)) for each in found] == [
        Throughput("ada", "2026-03-01", "edited", 3, 120),
        Throughput("bob", "2026-03-01", "edited", 2, 120),
    ]


def test_a_picture_with_nothing_to_mark_is_reopened_when_a_region_is_accepted(engine: Engine) -> None:
    with_region(engine)

    def review() -> str:
        with reading(engine) as session:
            image = get_image(session, image_id=1)
            assert image is not None
            return image.review

    def call_it_empty(version: int) -> None:
        with transaction(engine) as session:
            change = ImageChange(review="empty")
            edit_image(session, image_id=1, expected_version=version, who="bob", change=change)

    call_it_empty(1)
    edit(engine, version=1, status="rejected")
    assert review() == "empty"
    edit(engine, version=2, status="accepted")
    assert review() == "open" and [entry.who for entry in history(engine)[:2]] == ["ada", "ada"]
    taken_back = undo(engine)
    assert len(taken_back) == 2 and review() == "empty", "one action, both ways"
    with transaction(engine) as session:
        assert len(redo_undone(session, image_id=1, who="ada", undo=taken_back[0].action)) == 2
    assert review() == "open" and state(engine)["status"] == "accepted"
    assert len(undo(engine)) == 2 and review() == "empty"
    drawn = draw(engine, xyxy=BOX, text="a lid")
    assert review() == "open"
    edit(engine, version=1, region_id=drawn.id, status="rejected")
    call_it_empty(7)
    undo(engine)
    assert review() == "open", "an undo that accepts again reopens, too"
