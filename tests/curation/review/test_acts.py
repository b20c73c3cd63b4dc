"""One act on many regions: counted first, done whole, undone whole, on both databases."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from unicodedata import normalize

import pytest
from sqlmodel import col, select

from curation.review.acts import ActRequest, count_act, count_trash, do_act, empty_trash, redo_act, undo_act
from db.engine import Engine, Session, reading, retrying, transaction
from db.models import Image, RegionEdit, RegionRow, ReviewAct, Status
from db.queries.curate_filter import ChosenRegions, CurateFilter
from db.queries.curate_queries import add_region_by_hand, edit_image, edit_region, set_status, undo_last
from db.queries.data_set_queries import add_images, create_dataset
from db.queries.edit_values import ImageChange, RegionChange
from db.queries.gallery_queries import curate_page
from db.queries.region_index_queries import count_by_status, index_regions
from db.queries.region_queries import NewRegion, add_regions
from db.queries.review_queries import (
    RegionSelection,
    count_tags,
    drop_filter,
    save_filter,
    saved_filters,
    tags_of,
)
from db.queries.trash_queries import deleted_versions, remove_deleted
from tests.support.databases import some_images
from user_errors import UserError

PICTURES, EACH = 6, 4
ALL = RegionSelection(1, CurateFilter())


@pytest.fixture
def regions(engine: Engine) -> list[int]:
    """The ids of regions of six pictures, four each, all pending; the last picture is marked empty."""
    with transaction(engine) as session:
        create_dataset(session, name="lids")
        add_images(session, dataset_id=1, images=some_images(range(PICTURES)))
        new = [
            NewRegion(image + 1, (0.1 * n, 0, 0.1 * n + 0.1, 1), f"lid {n}", "owl@1", 0.2 * n)
            for image in range(PICTURES)
            for n in range(EACH)
        ]
        add_regions(session, dataset_id=1, rows=new)
        index_regions(session)
        edit_image(session, image_id=PICTURES, expected_version=1, who="ada", change=ImageChange(review="empty"))
        return list(session.exec(select(RegionRow.id).order_by(col(RegionRow.id))).all())


def states(session: Session) -> list[tuple[object, ...]]:
    """All that an act may change and an undo must bring back, but for versions."""
    rows = session.exec(select(RegionRow).order_by(col(RegionRow.id))).all()
    images = session.exec(select(Image).order_by(col(Image.id))).all()
    return [(row.id, row.status, row.text, row.similarity, row.x1) for row in rows] + [
        (image.id, image.review) for image in images
    ]


def tallies(session: Session) -> Counter[Status]:
    found: Counter[Status] = Counter()
    for each in count_by_status(session, dataset_id=1):
        found[each.status] += each.regions
    return found


def done(engine: Engine, selection: RegionSelection, act: ActRequest, action: str = "act") -> ReviewAct:
    seen = count_act(engine, selection, act).seen
    return do_act(engine, selection, act, who="ada", action=action, seen=seen)


@pytest.mark.parametrize(
    ("act", "status"), [("accept", "accepted"), ("reject", "rejected"), ("delete", "deleted"), ("keep one", "rejected")]
)
def test_a_verdict_on_all_of_a_filter_is_one_act_with_one_undo(
    engine: Engine, regions: list[int], act: str, status: Status
) -> None:
    selection, wanted = RegionSelection(1, CurateFilter(words="lid 2")), ActRequest(act)  # type: ignore[arg-type]
    with reading(engine) as session:
        before = states(session)
    count = count_act(engine, selection, wanted)
    assert (count.regions, count.pictures, count.selected) == (PICTURES, PICTURES, PICTURES)
    made = done(engine, selection, wanted)
    assert (made.regions, made.pictures, made.who) == (PICTURES, PICTURES, "ada")
    with reading(engine) as session:
        rows = session.exec(select(RegionRow)).all()
        history = session.exec(select(RegionEdit).where(RegionEdit.action == "act")).all()
        reviews = session.exec(select(Image.review).order_by(col(Image.id))).all()
        assert tallies(session) == {status: PICTURES, "pending": PICTURES * (EACH - 1)}
    assert {row.status for row in rows if row.text == "lid 2"} == {status}
    assert {row.status for row in rows if row.text != "lid 2"} == {"pending"}
    assert {edit.what for edit in history if edit.region_id} == {status}
    assert reviews[-1] == ("open" if status == "accepted" else "empty"), "what is marked in it must be looked at again"
    undone = undo_act(engine, undone="act", who="ada", action="undo")
    assert (undone.regions, undone.skipped) == (PICTURES, 0)
    with reading(engine) as session:
        assert states(session) == before and tallies(session) == {"pending": PICTURES * EACH}
    assert undo_act(engine, undone="act", who="ada", action="again").regions == 0, "once"
    redo_act(engine, undone="act", who="ada", action="redo")
    with transaction(engine) as session:
        assert undo_last(session, image_id=1, who="ada") == [], "a redone act is still one of many regions"
    assert undo_act(engine, undone="act", who="ada", action="undo 2").regions == PICTURES


def test_it_can_be_redone_and_undone_again(engine: Engine, regions: list[int]) -> None:
    done(engine, ALL, ActRequest("relabel", " a  red lid "))
    with reading(engine) as session:
        after = states(session)
        assert {row[2] for row in after[: len(regions)]} == {"a red lid"}
        assert len(curate_page(session, dataset_id=1, filters=CurateFilter(words="red")).regions) == len(regions)
    for turn in range(2):
        assert undo_act(engine, undone="act", who="ada", action=f"undo{turn}").regions == len(regions)
        with reading(engine) as session:
            assert curate_page(session, dataset_id=1, filters=CurateFilter(words="red")).regions == ()
            assert len(curate_page(session, dataset_id=1, filters=CurateFilter(words="lid 3")).regions) == PICTURES
        assert redo_act(engine, undone="act", who="ada", action=f"redo{turn}").regions == len(regions)
        with reading(engine) as session:
            assert states(session) == after
    with reading(engine) as session:
        last = session.exec(select(RegionEdit).where(RegionEdit.action == "redo1")).all()
    assert {edit.what for edit in last} == {"edited"}


def test_what_somebody_changed_since_stays_as_they_left_it(engine: Engine, regions: list[int]) -> None:
    done(engine, RegionSelection(1, CurateFilter(), ids=tuple(regions[:3])), ActRequest("reject"))
    with transaction(engine) as session:
        set_status(session, region_id=regions[1], expected_version=2, who="bo", status="accepted")
    undone = undo_act(engine, undone="act", who="ada", action="undo")
    assert (undone.regions, undone.skipped) == (2, 1)
    with reading(engine) as session:
        found = [session.get_one(RegionRow, number).status for number in regions[:3]]
    assert found == ["pending", "accepted", "pending"]


def test_nothing_is_done_to_regions_that_changed_after_they_were_counted(engine: Engine, regions: list[int]) -> None:
    count = count_act(engine, ALL, ActRequest("accept"))
    with transaction(engine) as session:
        change = RegionChange(text="another thing")
        edit_region(session, region_id=regions[0], expected_version=1, who="bo", change=change)
    with pytest.raises(UserError, match="changed meanwhile and are 24 now: nothing was done"):
        do_act(engine, ALL, ActRequest("accept"), who="ada", action="act", seen=count.seen)
    with reading(engine) as session:
        assert tallies(session) == {"pending": len(regions)}
        assert session.exec(select(ReviewAct)).all() == []


def test_the_same_act_sent_twice_counts_once(engine: Engine, regions: list[int]) -> None:
    seen = count_act(engine, ALL, ActRequest("accept")).seen
    for _ in range(2):
        made = do_act(engine, ALL, ActRequest("accept"), who="ada", action="act", seen=seen)
        assert made.regions == len(regions)
    with reading(engine) as session:
        assert len(session.exec(select(RegionEdit).where(RegionEdit.what == "accepted")).all()) == len(regions)


def test_only_its_own_person_undoes_an_act_and_not_a_part_of_it(engine: Engine, regions: list[int]) -> None:
    done(engine, ALL, ActRequest("accept"))
    with pytest.raises(UserError, match="ask them"):
        undo_act(engine, undone="act", who="bo", action="undo")
    with pytest.raises(UserError, match="expected an act"):
        undo_act(engine, undone="no such", who="ada", action="undo")
    with transaction(engine) as session:
        assert undo_last(session, image_id=1, who="ada") == [], (
            "Z on one of its pictures does not take a part of it back"
        )


@pytest.mark.parametrize(
    ("kind", "text"),
    [("relabel", " "), ("relabel", "x" * 5_000), ("tag", ""), ("tag", "x" * 61), ("tag", "</b>"), ("burn", "")],
)
def test_an_act_without_meaning_is_refused(kind: str, text: str) -> None:
    with pytest.raises(UserError, match="expected"):
        ActRequest(kind, text)  # type: ignore[arg-type]


def test_an_act_that_would_change_nothing_is_refused(engine: Engine, regions: list[int]) -> None:
    nobody = RegionSelection(1, CurateFilter(), ids=())
    assert count_act(engine, nobody, ActRequest("accept")).regions == 0
    with pytest.raises(UserError, match="got none"):
        done(engine, nobody, ActRequest("accept"))


def test_a_selection_is_what_the_gallery_shows(engine: Engine, regions: list[int]) -> None:
    filters = CurateFilter(min_score=0.3, chosen=ChosenRegions((1, 2), of="pictures"))
    chosen = RegionSelection(1, filters)
    with reading(engine) as session:
        shown = len(curate_page(session, dataset_id=1, filters=filters).regions)
    assert count_act(engine, chosen, ActRequest("accept")).selected == shown == 4
    listed = replace(chosen, also=(ChosenRegions(tuple(regions[:3])),))
    assert count_act(engine, listed, ActRequest("accept")).selected == 1
    assert count_act(engine, replace(chosen, scored=True), ActRequest("accept")).selected == 0
    assert count_act(engine, RegionSelection(2, CurateFilter(), ids=tuple(regions)), ActRequest("accept")).selected == 0


# tags


@pytest.mark.parametrize(
    ("written", "tag"),
    [("Größe: Stück", "Größe: Stück"), ("cafe\u0301", "caf\u00e9"), ("मेज़ के नीचे", "मेज़ के नीचे"), ("ที่", "ที่")],
)
def test_a_tag_is_written_in_any_script(written: str, tag: str) -> None:
    assert ActRequest("tag", written).text == normalize("NFC", tag)


def test_tags_are_a_filter_and_an_act_like_others(engine: Engine, regions: list[int]) -> None:
    few = RegionSelection(1, CurateFilter(), ids=tuple(regions[:5]))
    assert done(engine, few, ActRequest("tag", " look  again ")).regions == 5
    counts = [count_act(engine, ALL, ActRequest(kind, "look again")).regions for kind in ("tag", "untag")]
    assert counts == [len(regions) - 5, 5], "what is said first is what is done"
    assert done(engine, ALL, ActRequest("tag", "look again"), "more").regions == len(regions) - 5
    tagged = RegionSelection(1, CurateFilter(tag="look again"))
    assert count_act(engine, tagged, ActRequest("accept")).selected == len(regions)
    undo_act(engine, undone="more", who="ada", action="undo")
    assert count_act(engine, tagged, ActRequest("accept")).selected == 5
    assert done(engine, tagged, ActRequest("untag", "look again"), "off").regions == 5
    with reading(engine) as session:
        assert count_tags(session, dataset_id=1) == {}
    undo_act(engine, undone="off", who="ada", action="undo off")
    with reading(engine) as session:
        assert count_tags(session, dataset_id=1) == {"look again": 5}
        assert tags_of(session, ids=regions[4:6]) == {regions[4]: ["look again"]}
        page = curate_page(session, dataset_id=1, filters=CurateFilter(tag="look again", words="lid"))
        assert [row.id for row in page.regions] == regions[:5][::-1]
    for turn in range(2):
        assert redo_act(engine, undone="off", who="ada", action=f"redo {turn}").regions == 5
        with reading(engine) as session:
            assert count_tags(session, dataset_id=1) == {}
        assert undo_act(engine, undone="off", who="ada", action=f"undo {turn}").regions == 5
    assert undo_act(engine, undone="act", who="ada", action="undo first").regions == 5, (
        "what came back is its own again"
    )
    assert redo_act(engine, undone="act", who="ada", action="redo first").regions == 5
    with reading(engine) as session:
        assert count_tags(session, dataset_id=1) == {"look again": 5}


# the trash


def test_what_is_deleted_comes_back_with_its_verdict_or_goes_for_good(engine: Engine, regions: list[int]) -> None:
    first, second = regions[0], regions[1]
    with transaction(engine) as session:
        set_status(session, region_id=first, expected_version=1, who="ada", status="accepted")
        more = add_region_by_hand(session, image_id=1, who="ada", box_id=second, text="of the same box").id
    some = RegionSelection(1, CurateFilter(), ids=(first, second))
    done(engine, some, ActRequest("delete"))
    assert count_trash(engine, 1) == (2, 1)
    assert done(engine, some, ActRequest("restore"), "back").regions == 2
    with reading(engine) as session:
        assert [session.get_one(RegionRow, each).status for each in (first, second)] == ["accepted", "pending"]
    undo_act(engine, undone="back", who="ada", action="undo")
    done(engine, RegionSelection(1, CurateFilter(), ids=(regions[5],)), ActRequest("tag", "x"), "tag")
    done(engine, RegionSelection(1, CurateFilter(), ids=(regions[5],)), ActRequest("delete"), "third")
    assert empty_trash(engine, 1, who="ada", action="empty") == 3
    assert count_trash(engine, 1) == (0, 0) and empty_trash(engine, 1, who="ada", action="again") == 0
    with reading(engine) as session:
        assert session.get(RegionRow, first) is None and session.get_one(RegionRow, more).box_id is None
        assert tallies(session) == {"pending": len(regions) - 3, "accepted": 1}
        assert session.exec(select(RegionEdit).where(RegionEdit.region_id == first)).all() == []
        [said] = session.exec(select(ReviewAct).where(ReviewAct.kind == "empty trash")).all()
        assert (said.who, said.regions, said.pictures) == ("ada", 3, 2)
        assert curate_page(session, dataset_id=1, filters=CurateFilter(words="lid 0")).regions[-1].id != first
    with pytest.raises(UserError, match="can be undone"):
        undo_act(engine, undone="empty", who="ada", action="no")
    assert undo_act(engine, undone="act", who="ada", action="late").regions == 0, "nothing is left to bring back"


def test_what_is_deleted_while_the_trash_is_emptied_stays_in_it(engine: Engine, regions: list[int]) -> None:
    first, second, third = (RegionSelection(1, CurateFilter(), ids=(each,)) for each in regions[:3])
    done(engine, first, ActRequest("delete"), "early")
    emptied = empty_trash(
        engine, 1, who="bo", action="empty", on_part=lambda removed: done(engine, second, ActRequest("delete"), "late")
    )
    assert emptied == 1 and count_trash(engine, 1) == (1, 1)
    with reading(engine) as session:
        seen = deleted_versions(session, dataset_id=1)
    undo_act(engine, undone="late", who="ada", action="back")
    for selection, action in ((second, "again"), (third, "another")):
        done(engine, selection, ActRequest("delete"), action)
    assert retrying(engine, partial(remove_deleted, versions=seen)) == 0, "it came back and was deleted by another act"
    assert undo_act(engine, undone="again", who="ada", action="undo").regions == 1


def test_a_box_that_moved_meanwhile_keeps_the_verdict_of_a_description_in_the_trash(
    engine: Engine, regions: list[int]
) -> None:
    first = regions[0]
    with transaction(engine) as session:
        more = add_region_by_hand(session, image_id=1, who="ada", box_id=first, text="of the same box").id
    both = RegionSelection(1, CurateFilter(), ids=(more,))
    done(engine, both, ActRequest("delete"))
    with transaction(engine) as session:
        moved = RegionChange(xyxy=(0.5, 0.5, 0.75, 0.75))
        edit_region(session, region_id=first, expected_version=1, who="bob", change=moved)
    assert done(engine, both, ActRequest("restore"), "back").regions == 1
    with reading(engine) as session:
        row = session.get_one(RegionRow, more)
        assert (row.status, row.x1) == ("accepted", 0.5)


def test_filters_are_kept_under_a_name_for_everybody(engine: Engine, regions: list[int]) -> None:
    for address in ("words=lid", "words=lid&min_score=0.5"):
        with transaction(engine) as session:
            save_filter(session, dataset_id=1, name="unsure", address=address, who="ada")
    with reading(engine) as session:
        assert [(each.name, each.address, each.who) for each in saved_filters(session, dataset_id=1)] == [
            ("unsure", "words=lid&min_score=0.5", "ada")
        ]
    for name, address in (("", "x"), ("a\nb\0" * 99, "x"), ("long", "x" * 3_000)):
        with transaction(engine) as session, pytest.raises(UserError, match="expected"):
            save_filter(session, dataset_id=1, name=name, address=address, who="ada")
    with transaction(engine) as session:
        drop_filter(session, dataset_id=1, name="unsure")
        assert list(saved_filters(session, dataset_id=1)) == []
