"""Restored versions, and runs and imports that are undone whole: one act with one undo, on both databases."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from curation.exchange.import_annotations import AnnotationImport, import_records
from curation.files.records import DescriptionRecord, PictureRecord, RegionRecord
from curation.review.acts import ActRequest, count_act, do_act, undo_act
from curation.review.restore import RestoreConfig
from curation.review.restore_version import count_restore, restore_version
from curation.review.undo import UndoConfig
from curation.review.wide_acts import count_work, import_work, run_work, take_back_wide, undo_work
from curation.versions.versions import freeze
from db.engine import Engine, Session, reading, transaction
from db.models import Image, RegionRow, ReviewAct
from db.queries.curate_filter import CurateFilter
from db.queries.curate_queries import add_region_by_hand, edit_image, edit_region, set_status, undo_last
from db.queries.edit_values import ImageChange, RegionChange
from db.queries.lease_queries import lease_images
from db.queries.region_index_queries import index_regions
from db.queries.region_queries import NewRegion
from db.queries.review_queries import RegionSelection, latest_acts
from db.queries.run_queries import start_run
from db.queries.stage_result_queries import NewStageResult, save_stage_result
from db.queries.trash_queries import deleted_versions, remove_deleted
from db.queries.wide_act_queries import BroughtCount, list_imports
from tests.support.curated import curated
from user_errors import UserError

RECIPE = "f" * 64
BOX = (0.25, 0.25, 0.5, 0.5)
ANA: dict[str, Any] = {"dataset": "lids", "version": "first", "who": "ana", "action": "back"}


@pytest.fixture
def lids(engine: Engine, tmp_path: Path) -> Engine:
    """The data set "lids" with its version "first"."""
    curated(engine, tmp_path / "pictures")
    with transaction(engine) as session:
        while index_regions(session):
            pass
    freeze(engine, tmp_path, dataset="lids", name="first", who="ana")
    return engine


def every(engine: Engine) -> list[RegionRow]:
    """All regions, deleted ones too, in the order in which they came."""
    with reading(engine) as session:
        return list(session.exec(select(RegionRow).order_by(col(RegionRow.id))).all())


def states(engine: Engine) -> list[tuple[object, ...]]:
    """All that a version holds of regions and pictures, but for versions."""
    rows = every(engine)
    with reading(engine) as session:
        images = session.exec(select(Image).order_by(col(Image.id))).all()
    return [(row.id, row.status, row.text, row.source, row.x1, row.y2) for row in rows] + [
        (image.id, image.caption, image.facts or {}, image.review) for image in images
    ]


def edited(session: Session, rows: list[RegionRow]) -> None:
    """Change words, a box, verdicts, a caption and a fact, and draw a new region."""
    lid, other, third, *_ = [row for row in rows if row.status == "accepted" and row.box_id is None]
    edit_region(session, region_id=lid.id, expected_version=lid.version, who="bo", change=RegionChange(text="a pot"))
    edit_region(session, region_id=other.id, expected_version=other.version, who="bo", change=RegionChange(xyxy=BOX))
    set_status(session, region_id=third.id, expected_version=third.version, who="bo", status="rejected")
    add_region_by_hand(session, image_id=third.image_id, who="bo", xyxy=BOX, text="a spoon")
    image = session.get_one(Image, third.image_id)
    change = ImageChange(caption="another", facts={"class": "pot"}, review="open")
    edit_image(session, image_id=image.id, expected_version=image.version, who="bo", change=change)


def test_a_version_is_restored_as_one_act_with_one_undo(lids: Engine, tmp_path: Path) -> None:
    before = states(lids)
    with transaction(lids) as session:
        edited(session, every(lids))
    changed = states(lids)
    count = count_restore(lids, tmp_path, dataset="lids", version="first")
    assert (count.newer, count.gone, count.gone_pictures) == (1, 0, 0), "the spoon is no part of it"
    act = restore_version(lids, tmp_path, **ANA)
    assert (act.kind, act.text, act.regions, act.pictures) == (
        "restore version",
        "first",
        count.regions,
        count.pictures,
    )
    now = {row[0]: row for row in states(lids) if len(row) == 6}
    spoon = every(lids)[-1]
    assert now.pop(spoon.id)[1:3] == ("pending", "a spoon"), "it waits for a verdict again"
    assert [*now.values()] == [row for row in before if len(row) == 6]
    assert [row for row in states(lids) if len(row) == 4] == [row for row in before if len(row) == 4]
    assert count_restore(lids, tmp_path, dataset="lids", version="first").regions == 0
    again = restore_version(lids, tmp_path, **ANA)
    assert (again.id, again.regions) == (act.id, act.regions), "the same act again changes nothing"
    done = take_back_wide(lids, undone="back", who="ana", action="undo")
    assert (done.regions, done.skipped) == (count.regions, 0)
    assert states(lids) == changed
    assert take_back_wide(lids, undone="back", who="ana", action="redo", redo=True).regions == count.regions
    assert count_restore(lids, tmp_path, dataset="lids", version="first").regions == 0


def test_a_box_with_descriptions_that_the_version_does_not_hold_is_restored_whole(lids: Engine, tmp_path: Path) -> None:
    with transaction(lids) as session:
        lid = next(row for row in every(lids) if row.status == "accepted" and row.box_id is None)
        named: dict[str, Any] = {"image_id": lid.image_id, "who": "bo", "box_id": lid.id}
        waiting = add_region_by_hand(session, **named, text="a cover", status="pending")
        deleted = add_region_by_hand(session, **named, text="a hat", status="deleted")
        edit_region(session, region_id=lid.id, expected_version=lid.version, who="bo", change=RegionChange(xyxy=BOX))
    before = states(lids)
    count = count_restore(lids, tmp_path, dataset="lids", version="first")
    assert (count.regions, count.newer) == (4, 0), "no verdict is lost"
    restore_version(lids, tmp_path, **ANA)
    there = {row.id: row for row in every(lids)}
    assert {(there[each].x1, there[each].y2) for each in (lid.id, waiting.id, deleted.id)} == {(lid.x1, lid.y2)}
    assert [there[each].status for each in (waiting.id, deleted.id)] == ["pending", "deleted"]
    take_back_wide(lids, undone="back", who="ana", action="undo")
    assert states(lids) == before
    take_back_wide(lids, undone="back", who="ana", action="redo", redo=True)
    with transaction(lids) as session:
        version = session.get_one(RegionRow, waiting.id).version
        set_status(session, region_id=waiting.id, expected_version=version, who="bo", status="accepted")
        late = add_region_by_hand(session, **named, text="a late one")
    assert take_back_wide(lids, undone="back", who="ana", action="undo 2").skipped == 1
    there = {row.id: row for row in every(lids)}
    mates = [there[each] for each in (lid.id, waiting.id, deleted.id, late.id)]
    assert {(row.x1, row.y2) for row in mates} == {(BOX[0], BOX[3])}
    assert there[waiting.id].status == "accepted", "what somebody judged since stays, in the one box"


def test_what_was_removed_for_good_and_what_a_version_does_not_hold_are_told(lids: Engine, tmp_path: Path) -> None:
    freeze(lids, tmp_path, dataset="lids", name="all", who="ana", statuses=("pending", "accepted", "rejected"))
    with transaction(lids) as session:
        lid = next(row for row in every(lids) if row.status == "accepted" and row.box_id)
        set_status(session, region_id=lid.id, expected_version=lid.version, who="bo", status="deleted")
        assert remove_deleted(session, versions=deleted_versions(session, dataset_id=1)) == 1
        add_region_by_hand(session, image_id=1, who="bo", xyxy=BOX, text="a spoon", status="pending")
    first = count_restore(lids, tmp_path, dataset="lids", version="first")
    assert (first.regions, first.gone) == (0, 1), "a version of accepted ones says nothing of pending ones"
    whole = count_restore(lids, tmp_path, dataset="lids", version="all")
    assert (whole.regions, whole.newer, whole.gone) == (1, 1, 1)
    restore_version(lids, tmp_path, **ANA | {"version": "all"})
    spoon = every(lids)[-1]
    assert (spoon.text, spoon.status) == ("a spoon", "deleted"), "that version held all that there was"
    with pytest.raises(UserError, match="none has"):
        count_restore(lids, tmp_path, dataset="lids", version="third")


def test_a_region_never_gets_the_number_of_one_that_was_removed_for_good(lids: Engine, tmp_path: Path) -> None:
    last = every(lids)[-1]
    freeze(lids, tmp_path, dataset="lids", name="all", who="ana", statuses=("pending", "accepted", "rejected"))
    with transaction(lids) as session:
        set_status(session, region_id=last.id, expected_version=last.version, who="bo", status="deleted")
        assert remove_deleted(session, versions=deleted_versions(session, dataset_id=1)) == 1
        add_region_by_hand(session, image_id=last.image_id, who="bo", xyxy=BOX, text="a spoon")
    assert every(lids)[-1].id > last.id, "versions, maps and Label Studio's tasks know regions by their numbers"
    restore_version(lids, tmp_path, **ANA | {"version": "all"})
    assert every(lids)[-1].text == "a spoon"


def test_an_undo_leaves_what_somebody_changed_since_and_belongs_to_its_person(lids: Engine, tmp_path: Path) -> None:
    with transaction(lids) as session:
        edited(session, every(lids))
    regions = restore_version(lids, tmp_path, **ANA).regions
    with transaction(lids) as session:
        spoon = every(lids)[-1]
        set_status(session, region_id=spoon.id, expected_version=spoon.version, who="cy", status="rejected")
    with pytest.raises(UserError, match="ask them"):
        take_back_wide(lids, undone="back", who="bo", action="undo")
    done = take_back_wide(lids, undone="back", who="ana", action="undo")
    assert (done.regions, done.skipped) == (regions - 1, 1)
    assert every(lids)[-1].status == "rejected"
    assert take_back_wide(lids, undone="back", who="ana", action="other").regions == 0, "once"


def test_a_redo_that_was_stopped_goes_on(lids: Engine, tmp_path: Path) -> None:
    with transaction(lids) as session:
        edited(session, every(lids))
    restore_version(lids, tmp_path, **ANA)
    restored, redo = states(lids), partial(take_back_wide, lids, undone="back", who="ana", action="redo", redo=True)
    take_back_wide(lids, undone="back", who="ana", action="undo")

    def stop(_regions: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        redo(on_progress=stop)
    with reading(lids) as session:
        assert latest_acts(session, dataset_id=1)[0].undone_by == "undo", "it is not done again before its end"
    redo()
    assert states(lids) == restored
    with reading(lids) as session:
        assert latest_acts(session, dataset_id=1)[0].undone_by == ""


def test_an_act_on_tags_is_not_undone_by_halves(lids: Engine) -> None:
    selection, tag = RegionSelection(1, CurateFilter()), ActRequest("tag", "odd")
    do_act(lids, selection, tag, who="ana", action="act", seen=count_act(lids, selection, tag).seen)
    with pytest.raises(UserError, match="undo it on Curate"):
        take_back_wide(lids, undone="act", who="ana", action="undo")
    assert undo_act(lids, undone="act", who="ana", action="undo").regions == count_act(lids, selection, tag).regions


def run(engine: Engine) -> int:
    """Return the number of a run that found two regions on each of two pictures."""
    with transaction(engine) as session:
        number = start_run(session, dataset_id=1, config={}, recipes={}).id
        claim = lease_images(session, dataset_id=1, recipe=RECIPE, worker="w", count=2, lease_seconds=60)
        for image in claim.images:
            found: dict[str, Any] = {"dataset_id": 1, "image_id": image.id, "run_id": number, "stage": "localize"}
            boxes = [(0.1 * n, 0, 0.1 * n + 0.1, 1) for n in range(2)]
            regions = tuple(NewRegion(image.id, box, f"run {n}", "owl@1") for n, box in enumerate(boxes))
            result = NewStageResult(key=RECIPE, recipe=RECIPE, source="owl@1", state="done", regions=regions, **found)
            save_stage_result(session, result=result, token=claim.token)
    return number


def test_a_run_is_undone_whole_but_for_what_people_decided(lids: Engine) -> None:
    before, number = states(lids), run(lids)
    work = run_work(lids, number)
    with transaction(lids) as session:
        judged = next(row for row in every(lids) if row.text == "run 1" and row.image_id == 2)
        set_status(session, region_id=judged.id, expected_version=1, who="bo", status="accepted")
    count = count_work(lids, work)
    assert (count.regions, count.pictures, count.decided) == (4, 2, 1)
    act = undo_work(lids, work, who="ana", action="away")
    assert (act.kind, act.regions, act.pictures) == ("undo run", 3, 2)
    of_run = [row.status for row in every(lids) if row.text.startswith("run ")]
    assert sorted(of_run) == ["accepted", "deleted", "deleted", "deleted"]
    assert undo_work(lids, work, who="ana", action="all", everything=True).regions == 1
    assert [row for row in states(lids) if row[1] != "deleted"][: len(before)] == before
    for action in ("all", "away"):
        take_back_wide(lids, undone=action, who="ana", action=f"undo {action}")
    assert sorted(row.status for row in every(lids) if row.text.startswith("run ")) == [
        "accepted",
        "pending",
        "pending",
        "pending",
    ]
    with pytest.raises(UserError, match="number of a run"):
        run_work(lids, 99)


def brought(engine: Engine) -> AnnotationImport:
    """An import of two descriptions of one box, a caption where there is none, and a verdict on a pending region."""
    lid, rim = DescriptionRecord("an oven", "pending"), DescriptionRecord("its door", "pending")
    pending = next(row for row in every(engine) if row.status == "pending" and row.version == 1)
    box = (pending.x1, pending.y1, pending.x2, pending.y2)
    known = RegionRecord(box, (DescriptionRecord(pending.text, "accepted", source=pending.source),))
    new = RegionRecord(BOX, (lid, rim))
    with reading(engine) as session:
        image = session.get_one(Image, pending.image_id)
    record = PictureRecord(image.sha256, image.width, image.height, "x.jpg", facts={"shelf": "2"}, regions=(known, new))
    return import_records(engine, "lids", [record], who="cy", accept=True, file="ovens.json", format="coco")


def test_an_import_is_undone_whole_with_what_it_changed(lids: Engine) -> None:
    before = states(lids)
    result = brought(lids)
    assert (result.added, result.accepted, result.edited_pictures) == (2, 1, 1)
    with reading(lids) as session:
        [record] = list_imports(session, dataset_id=1)
        assert (record.id, record.file, record.format, record.regions) == (result.number, "ovens.json", "coco", 2)
        assert len(record.ranges) == 1, "rows in a row are one range"
    with transaction(lids) as session:
        image = next(row.image_id for row in every(lids) if row.text == "an oven")
        assert undo_last(session, image_id=image, who="cy") == [], "one key never takes back a part of it"
    after = states(lids)
    count = count_work(lids, import_work(lids, result.number))
    assert (count.regions, count.decided, count.changes) == (2, 0, 2), "a verdict and the facts of a picture"
    act = undo_work(lids, import_work(lids, result.number), who="ana", action="away")
    assert (act.kind, act.text, act.regions) == ("undo import", f"import {result.number}, ovens.json", 3)
    left = {row[0]: row for row in states(lids) if row[1] != "deleted"}
    assert [row for row in states(lids) if row[1] != "deleted"] == before and left
    assert count_work(lids, import_work(lids, result.number)) == BroughtCount()
    take_back_wide(lids, undone="away", who="ana", action="undo")
    assert states(lids) == after
    with reading(lids) as session:
        assert [each.kind for each in latest_acts(session, dataset_id=1)] == ["undo import"]


def test_the_undo_of_an_import_marks_a_picture_empty_again_that_it_reopened(lids: Engine) -> None:
    with transaction(lids) as session:
        rows = every(lids)
        full = {row.image_id for row in rows if row.status == "accepted"}
        bare = next(row for row in rows if row.status == "pending" and row.version == 1)
        for row in rows:
            if row.image_id == bare.image_id and row.image_id in full and row.status == "accepted":
                set_status(session, region_id=row.id, expected_version=row.version, who="bo", status="rejected")
        image = session.get_one(Image, bare.image_id)
        edit_image(
            session, image_id=image.id, expected_version=image.version, who="bo", change=ImageChange(review="empty")
        )
    before = states(lids)
    result = brought(lids)
    after = states(lids)
    assert (image.id, "open") in [(row[0], row[3]) for row in after if len(row) == 4]
    undo_work(lids, import_work(lids, result.number), who="ana", action="away")
    assert [row for row in states(lids) if row[1] != "deleted"] == before
    take_back_wide(lids, undone="away", who="ana", action="undo")
    assert states(lids) == after


def test_wide_acts_and_others_share_one_list_of_acts(lids: Engine, tmp_path: Path) -> None:
    selection, accept = RegionSelection(1, CurateFilter()), ActRequest("reject")
    seen = count_act(lids, selection, accept).seen
    do_act(lids, selection, accept, who="ana", action="act", seen=seen)
    restore_version(lids, tmp_path, **ANA)
    with reading(lids) as session:
        acts: list[ReviewAct] = list(latest_acts(session, dataset_id=1))
    assert [each.kind for each in acts] == ["restore version", "reject"]
    assert acts[0].regions == 12, "what the version holds is accepted again"


def test_commands_name_one_thing_to_undo() -> None:
    for given in ({}, {"run": 1, "act": "x"}):
        with pytest.raises(ValueError, match="name what to undo"):
            UndoConfig(**given)  # type: ignore[arg-type]
    assert UndoConfig(run=1).action != UndoConfig(run=1).action and RestoreConfig("lids", "first").who
