"""Frozen versions, people's labels and Label Studio's tasks; on both databases."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from db.engine import reading, transaction
from db.queries.concept_label_queries import labels_by_picture, set_label
from db.queries.curate_queries import add_region_by_hand
from db.queries.data_set_queries import get_image
from db.queries.label_studio_queries import (
    TaskState,
    find_task,
    keep_conflicts,
    lock_conflict,
    mark_conflict,
    open_conflicts,
    set_tasks,
    tasks_of,
)
from db.queries.version_queries import (
    create_version,
    dataset_batch,
    get_version,
    images_edited_since,
    last_edit_id,
    list_versions,
    pictures_of,
)
from tests.support.databases import BOX, edit, filled, gallery, sha, with_region


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
        pictures = dataset_batch(session, dataset_id=1, statuses=("accepted", "deleted"))
        assert [picture.image.id for picture in pictures] == list(range(1, 10))
        kept = [row for picture in pictures for row in picture.regions]
        assert {row.status for row in kept} == {"accepted", "deleted"}
        assert [row.id for row in pictures[3].regions] == sorted(row.id for row in kept if row.image_id == 4)
        batch = dataset_batch(session, dataset_id=1, statuses=("accepted", "deleted"), after=3, limit=2)
        assert batch == pictures[3:5]
        assert pictures_of(session, image_ids=[5, 4, 5], statuses=("accepted", "deleted")) == pictures[3:5]
        assert dataset_batch(session, dataset_id=9) == []


def test_what_was_edited_meanwhile_is_known(engine: Engine) -> None:
    with_region(engine, pictures=3)
    with reading(engine) as session:
        assert last_edit_id(session) == 0
    edit(engine, text="x")
    with transaction(engine) as session:
        mark = last_edit_id(session)
        for image_id in (3, 2):
            add_region_by_hand(session, image_id=image_id, who="ada", xyxy=BOX)
        assert images_edited_since(session, dataset_id=1, edit_id=mark) == [2, 3]
        assert images_edited_since(session, dataset_id=1, edit_id=0) == [1, 2, 3]
        assert images_edited_since(session, dataset_id=2, edit_id=0) == []


def test_two_people_label_a_picture_and_change_their_minds(engine: Engine) -> None:
    filled(engine, pictures=3)
    said = [(1, "ada", "zorbex"), (1, "bob", "lumen"), (2, "ada", "zorbex"), (1, "bob", "zorbex"), (3, "bob", "übung")]
    with transaction(engine) as session:
        for image_id, who, label in said:
            set_label(session, image_id=image_id, who=who, label=label)
    with reading(engine) as session:
        expected = {1: {"ada": "zorbex", "bob": "zorbex"}, 2: {"ada": "zorbex"}, 3: {"bob": "übung"}}
        assert labels_by_picture(session, dataset_id=1) == expected
        assert labels_by_picture(session, dataset_id=2) == {}
    for image_id, label in ((99, "zorbex"), (1, " ")):
        with pytest.raises(ValueError, match="expected"), transaction(engine) as session:
            set_label(session, image_id=image_id, who="ada", label=label)


def test_label_studios_tasks_are_kept_one_a_picture_and_project(engine: Engine) -> None:
    filled(engine, pictures=3)
    here, moment = "http://127.0.0.1:8080 1", datetime(2026, 11, 25, 10, tzinfo=UTC)
    with transaction(engine) as session:
        assert set_tasks(session, project=here, tasks=[TaskState(n, 100 + n, sha(n)) for n in (1, 2, 3)]) == 3
        assert set_tasks(session, project="http://127.0.0.1:8080 2", tasks=[TaskState(1, 101)]) == 1
        set_tasks(session, project=here, tasks=[TaskState(2, 102, sha(9), moment, moment, {"7": "now"})])
    with reading(engine) as session:
        tasks = tasks_of(session, project=here, image_ids=[3, 2, 1])
        assert {image_id: task.task_id for image_id, task in tasks.items()} == {1: 101, 2: 102, 3: 103}
        found = tasks_of(session, project=here, image_ids=[2, 99])
        assert list(found) == [2] and (found[2].pushed_hash, found[2].remote_updated_at) == (sha(9), moment)
        assert (found[2].taken, tasks[1].taken) == ({"7": "now"}, None)
        task = find_task(session, project=here, task_id=102)
        assert task is not None and task.image_id == 2
        assert find_task(session, project=here, task_id=1) is None


def test_a_conflict_is_kept_once_until_somebody_chooses_or_nothing_is_left_of_it(engine: Engine) -> None:
    filled(engine, pictures=2)

    def keep(**wanted: str) -> list[tuple[str, str]]:
        """What one annotator's second look leaves waiting."""
        with transaction(engine) as session:
            image = get_image(session, image_id=2)
            assert image is not None
            states = {target: (None, {target: value}) for target, value in wanted.items()}
            place = {"image": image, "project": "p", "remote_id": 7}
            keep_conflicts(session, **place, who="ann", wanted=states)  # type: ignore[arg-type]
            keep_conflicts(session, **place, who="ann", wanted=states)  # type: ignore[arg-type]
        with reading(engine) as session:
            waiting = open_conflicts(session, dataset_id=1)
            assert open_conflicts(session, dataset_id=1, image_id=2) == waiting
            assert not open_conflicts(session, dataset_id=1, image_id=1)
            assert open_conflicts(session, dataset_id=1, after=1)[:1] == [row for row in waiting if row.id > 1][:1]
        return [(row.target, row.wanted[row.target]) for row in waiting]

    assert keep(caption="a lid", brand="Acme") == [("caption", "a lid"), ("brand", "Acme")]
    assert keep(caption="a pot", brand="Acme") == [("caption", "a pot"), ("brand", "Acme")]
    assert keep(brand="Acme") == [("brand", "Acme")], "she agrees about the caption by now"
    assert len(keep(caption="a pot", brand="Acme")) == 2 and len(keep(brand="Acme")) == 1, "and does not, and does"
    with transaction(engine) as session:
        [waiting] = open_conflicts(session, dataset_id=1)
        conflict = lock_conflict(session, conflict_id=waiting.id)
        assert conflict is not None and lock_conflict(session, conflict_id=99) is None
        mark_conflict(session, conflict=conflict, choice="ours", who="dan")
    assert keep(brand="Acme") == [], "it was chosen"
    assert keep(brand="Acme Ltd") == [("brand", "Acme Ltd")], "and is another question now"
