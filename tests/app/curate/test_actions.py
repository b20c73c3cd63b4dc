"""Edits as the Curate page asks for them: nothing that comes from the page is trusted, and no score stops an edit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest

from app.core.settings import Settings
from app.curate import bulk_actions
from app.curate.actions import CurateQuery, next_pictures, open_picture
from app.curate.editor import EditResult, apply_edit
from app.curate.filter_controls import CONTROLS, address_of
from app.curate.panels import editor_panel
from app.services import Services
from curation.review.wide_acts import WideAct, do_wide_act
from db.engine import Session, reading, transaction
from db.models import RegionRow
from db.queries.bulk_edit_queries import ManyEdited, edit_many
from db.queries.curate_filter import CurateFilter
from db.queries.curate_queries import edit_image
from db.queries.data_set_queries import get_image, lock_image
from db.queries.edit_records import EditAction
from db.queries.edit_values import ImageChange
from db.queries.history_queries import history_page
from db.queries.region_index_queries import Similarity, set_similarities
from db.queries.region_queries import get_region
from grain.texts import MOST_TEXT_CHARACTERS
from tests.support.curated import all_regions, curated
from tests.support.paths import ROOT
from user_errors import UserError


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """An app with the embedded models and a curated data set."""
    folder = tmp_path_factory.mktemp("curating")
    services = Services(Settings(home=folder / "home"))
    curated(services.engine, folder / "pictures")
    return services


@pytest.fixture
def row(services: Services) -> RegionRow:
    """A region with one description, as it is now."""
    return next(each for each in all_regions(services.engine, 1) if (each.status, each.x2) == ("pending", 0.5))


def act(services: Services, ask: Mapping[str, Any], checkpoint: str = "") -> EditResult:
    return apply_edit(services, ask, who="ana", checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"id": "abc"}, "Expected a whole number as the page's id, got 'abc': reload the page"),
        ({"id": 10**30}, "Expected a whole number as the page's id"),
        ({"version": -1}, "Expected a whole number as the page's version"),
        ({"box": [0, 0, 1]}, "Expected a box of four numbers, got"),
        ({"box": "whole"}, "Expected a box of four numbers, got whole"),
        ({"box": None}, "Expected a box of four numbers, got None"),
    ],
)
def test_what_a_page_could_not_mean_is_told_in_a_sentence(
    services: Services, row: RegionRow, wrong: dict[str, Any], sentence: str
) -> None:
    ask = {"do": "box", "id": row.id, "version": row.version, "box": [0, 0, 1, 1]} | wrong
    with pytest.raises(UserError, match=sentence):
        act(services, ask)


def test_a_new_score_stands_beside_the_same_models_score_before(services: Services, row: RegionRow) -> None:
    with transaction(services.engine) as session:
        set_similarities(session, rows=[Similarity(row.id, 0.99, None)])  # of another model
    box = [row.x1, row.y1, row.x2, row.y2]
    done = act(services, {"do": "text", "id": row.id, "version": row.version, "text": "red"}, "sample")
    first = done.message.removeprefix("GRAIN ").split(" → ")[1].removesuffix(" (sample)")
    again = act(
        services, {"do": "box", "id": row.id, "version": row.version + 1, "box": [*box[:3], box[3] / 2]}, "sample"
    )
    assert again.message.startswith(f"GRAIN {first} → ") and "0.99" not in done.message + again.message


def test_an_edit_is_kept_where_its_score_cannot_be_had(services: Services, row: RegionRow) -> None:
    ask = {"do": "draw", "image": row.image_id, "box": [0.1, 0.1, 0.3, 0.3], "text": "a knob", "key": "k1"}
    drawn = act(services, ask, "gone")
    assert drawn.message.startswith("Saved. Not scored: There is no checkpoint 'gone'")
    again = act(services, ask, "gone")
    assert again.chosen == drawn.chosen, "the same key draws once"
    ask = {"do": "text", "id": drawn.chosen, "version": 1, "text": "a red knob"}
    assert act(services, ask, "gone").message.startswith("Saved. Not scored")
    with reading(services.engine) as session:
        kept = get_region(session, region_id=drawn.chosen or 0)
    assert kept is not None and (kept.text, kept.version) == ("a red knob", 2)


def test_an_act_that_is_sent_again_counts_once(services: Services, row: RegionRow) -> None:
    accept = {"do": "verdict", "image": row.image_id, "id": row.id, "version": row.version, "status": "accepted"}
    done = act(services, accept | {"act": "first"})
    assert done.wrote == ((row.id, row.version + 1),)
    reject = accept | {"status": "rejected", "version": row.version + 1, "act": "second"}
    assert act(services, reject).wrote == ((row.id, row.version + 2),)
    assert act(services, accept | {"act": "first"}).wrote == done.wrote, (
        "its answer was lost: told again, not done again"
    )
    undo = {"do": "undo", "image": row.image_id, "act": "third", "undoes": "second"}
    assert act(services, undo).wrote == act(services, undo).wrote == ((row.id, row.version + 3),)
    with reading(services.engine) as session:
        kept = get_region(session, region_id=row.id)
        edits = [edit.what for edit in history_page(session, image_id=row.image_id, region_id=row.id, limit=3)]
    assert kept is not None and (kept.status, edits) == ("accepted", ["undone", "rejected", "accepted"])
    theirs = apply_edit(services, accept | {"act": "first", "version": kept.version, "status": "pending"}, who="bo")
    assert theirs.wrote == ((row.id, row.version + 4),), "a name is its person's own"
    with pytest.raises(UserError, match="a name of at most 64 characters"):
        act(services, accept | {"act": "x" * 65})


def test_the_queue_ahead_names_each_picture_once_and_none_that_is_known(services: Services) -> None:
    rows = all_regions(services.engine, 1)
    images = {each.image_id for each in rows if each.status == "pending"}
    found = next_pictures(services, CurateQuery(dataset="lids"), "", count=len(images) + 1)
    assert set(found.pictures) == images and found.end
    known = next(iter(found.pictures))
    few = next_pictures(services, CurateQuery(dataset="lids"), "", skip={known}, count=1)
    assert known not in few.pictures and len(few.pictures) == min(1, len(images) - 1)
    with pytest.raises(UserError, match="There is no data set"):
        next_pictures(services, CurateQuery(dataset="gone"), "")


def test_every_filter_has_its_control() -> None:
    asked = {each.name for each in fields(CurateFilter)} | {each.name for each in fields(CurateQuery)}
    assert {control.name for control in CONTROLS} == asked - {"filters", "chosen"} and len(CONTROLS) >= 11


def test_a_wide_act_that_was_stopped_is_too_large_for_the_page_too(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [(row.id, row.status) for row in all_regions(services.engine, 1)]
    ids = [number for number, status in before if status == "accepted"][:2]

    def part(session: Session, edit: EditAction) -> ManyEdited:
        return edit_many(session, ids=ids, edit=edit, values={"status": "rejected"})

    def stop(_regions: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do_wide_act(services.engine, WideAct(1, "undo run", "run 1", "ana", "stopped"), [part], on_progress=stop)
    with monkeypatch.context() as few:
        few.setattr(bulk_actions, "MOST_AT_ONCE", 1)
        with pytest.raises(UserError, match="has 2 regions: undo it on the Data page"):
            bulk_actions.take_back(services, {"do": "undo", "action": "stopped"}, who="ana")
    bulk_actions.take_back(services, {"do": "undo", "action": "stopped"}, who="ana")
    assert [(row.id, row.status) for row in all_regions(services.engine, 1)] == before


def test_links_of_other_pages_name_what_the_page_reads() -> None:
    read = {"image", "region", *(control.name for control in CONTROLS)}
    sources = [path for kind in ("*.py", "*.html") for path in (ROOT / "app").rglob(kind)]
    asked = {name for path in sources for name in re.findall(r"/curate\?(\w+)=", path.read_text(encoding="utf-8"))}
    assert asked and asked <= read


def test_one_fact_is_changed_and_the_others_stay_as_they_came(services: Services, row: RegionRow) -> None:
    note = "in the market hall,\nsecond floor " + "x" * MOST_TEXT_CHARACTERS
    with transaction(services.engine) as session:
        image = lock_image(session, image_id=row.image_id)
        facts = ImageChange(facts={"class": "lid", "brand": "none", "note": note})
        version = edit_image(session, image_id=image.id, expected_version=image.version, who="bo", change=facts).version
    ask = {"do": "facts", "image": row.image_id, "version": version, "facts": {"class": "kettle", "brand": " "}}
    act(services, ask)
    with reading(services.engine) as session:
        kept = get_image(session, image_id=row.image_id)
    assert kept is not None and kept.facts == {"class": "kettle", "note": note}
    with pytest.raises(UserError, match="at most 500 characters"):
        act(services, ask | {"version": version + 1, "facts": {"class": "k" * (MOST_TEXT_CHARACTERS + 1)}})


def test_a_score_of_words_that_changed_meanwhile_is_not_kept(services: Services, row: RegionRow) -> None:
    seen = row.version
    act(services, {"do": "text", "id": row.id, "version": seen, "text": "quite another"})
    with transaction(services.engine) as session:
        assert set_similarities(session, rows=[Similarity(row.id, 0.125, None, seen)]) == 0
        assert set_similarities(session, rows=[Similarity(row.id, 0.25, None, seen + 1)]) == 1
    with reading(services.engine) as session:
        kept = get_region(session, region_id=row.id)
    assert kept is not None and kept.similarity == 0.25


def test_review_heeds_a_filter_that_leaves_no_pending_ones(services: Services) -> None:
    rejected = CurateQuery(dataset="lids", filters=CurateFilter(statuses=("rejected",)))
    found = next_pictures(services, rejected, "", count=5)
    assert (dict(found.pictures), found.end) == ({}, True)
    both = CurateQuery(dataset="lids", filters=CurateFilter(statuses=("rejected", "pending")))
    assert next_pictures(services, both, "", count=5).pictures


def test_a_picture_names_its_data_set_for_its_removal(services: Services, row: RegionRow) -> None:
    assert f"/data?dataset=lids&amp;remove={row.image_id}" in editor_panel(open_picture(services, row.image_id))


def test_filters_are_saved_as_the_controls_have_them() -> None:
    values = ["lids", ["rejected"], "newest", "red lid", *[control.neutral for control in CONTROLS[4:]]]
    assert address_of(values, with_dataset=False) == "statuses=rejected&words=red+lid"
