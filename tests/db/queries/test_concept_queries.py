"""Classes, labels, suspects: conflicts, undo and what is decided, on both databases."""

from __future__ import annotations

import pytest
from sqlmodel import select

from db.engine import Engine, Session, transaction
from db.models import ConceptLabel
from db.queries.concept_label_queries import UndoneLabel, labels_by_picture, set_label, undo_label
from db.queries.concept_queries import (
    ConceptConflictError,
    NewSuspect,
    changed_at,
    decide_suspect,
    get_concept_set,
    leak_checks,
    list_concept_sets,
    save_concept_set,
    save_leak_check,
    suspects_of,
)
from tests.support.databases import filled, sha


def checked(session: Session, dataset_id: int, *suspects: NewSuspect) -> None:
    """A check of pictures 1 to 3 that found these."""
    save_leak_check(
        session,
        dataset_id=dataset_id,
        against="the data set seen",
        settings={"distance": 8},
        compared=100,
        skipped=1,
        checked=3,
        checked_to=3,
        suspects=suspects,
    )


def test_a_set_begins_once_and_of_two_editors_the_second_is_told(engine: Engine) -> None:
    dataset_id = filled(engine, 3)
    with transaction(engine) as session:
        assert (
            get_concept_set(session, dataset_id=dataset_id) is None
            and changed_at(session, dataset_id=dataset_id) is None
        )
        save_concept_set(session, dataset_id=dataset_id, who="ana", expected_version=0)
        assert save_concept_set(session, dataset_id=dataset_id, who="bo", expected_version=0).updated_by == "ana"
        assert list_concept_sets(session) == ["lids"]
    classes = [{"name": "лид", "descriptions": ["a\0lid"]}]
    with transaction(engine) as session:
        saved = save_concept_set(session, dataset_id=dataset_id, who="bo", expected_version=1, classes=classes)
        assert (saved.version, saved.updated_by, saved.classes[0]["name"]) == (2, "bo", "лид")
    with pytest.raises(ConceptConflictError, match="bo changed the classes"), transaction(engine) as session:
        save_concept_set(session, dataset_id=dataset_id, who="ana", expected_version=1, licence="CC0")
    with transaction(engine) as session:
        again = save_concept_set(session, dataset_id=dataset_id, who="ana", expected_version=1, classes=classes)
        assert again.version == 2, "what changes nothing is no conflict"
        assert changed_at(session, dataset_id=dataset_id) == again.updated_at


def test_labels_stand_side_by_side_and_each_person_undoes_their_own(engine: Engine) -> None:
    dataset_id = filled(engine, 3)
    for image_id, who, label in ((1, "ana", "lid"), (1, "bo", "pot"), (2, "ana", "lid"), (1, "ana", "cup")):
        with transaction(engine) as session:
            set_label(session, image_id=image_id, who=who, label=label)
    undone = []
    for _ in range(4):
        with transaction(engine) as session:
            one = undo_label(session, dataset_id=dataset_id, who="ana")
            undone.append((one and one.image_id, labels_by_picture(session, dataset_id=1)))
    assert undone == [
        (1, {1: {"ana": "lid", "bo": "pot"}, 2: {"ana": "lid"}}),
        (2, {1: {"ana": "lid", "bo": "pot"}}),
        (1, {1: {"bo": "pot"}}),
        (None, {1: {"bo": "pot"}}),
    ]


def test_labels_are_undone_in_the_order_in_which_they_were_given_relabelled_pictures_too(engine: Engine) -> None:
    dataset_id = filled(engine, 3)
    for image_id, label in ((1, "lid"), (2, "lid"), (1, "cup"), (3, "lid"), (2, "cup")):
        with transaction(engine) as session:
            set_label(session, image_id=image_id, who="ana", label=label)
    undone = []
    for _ in range(6):
        with transaction(engine) as session:
            one = undo_label(session, dataset_id=dataset_id, who="ana")
            undone.append(
                (
                    one and one.image_id,
                    {number: by["ana"] for number, by in labels_by_picture(session, dataset_id=1).items()},
                )
            )
    assert undone == [
        (2, {1: "cup", 2: "lid", 3: "lid"}),
        (3, {1: "cup", 2: "lid"}),
        (1, {1: "lid", 2: "lid"}),
        (2, {1: "lid"}),
        (1, {}),
        (None, {}),
    ]


def test_a_label_kept_before_labels_had_a_time_comes_back_as_the_latest(engine: Engine) -> None:
    dataset_id = filled(engine, 3)
    for image_id in (1, 2):
        with transaction(engine) as session:
            set_label(session, image_id=image_id, who="ana", label="lid")
            row = session.exec(select(ConceptLabel).where(ConceptLabel.image_id == image_id)).one()
            row.before = "cup"
            session.add(row)
    with transaction(engine) as session:
        assert undo_label(session, dataset_id=dataset_id, who="ana") == UndoneLabel(2, label="cup")
        assert labels_by_picture(session, dataset_id=dataset_id) == {1: {"ana": "lid"}, 2: {"ana": "cup"}}


def test_another_check_keeps_decisions_and_forgets_what_nobody_decided(engine: Engine) -> None:
    dataset_id = filled(engine, 3)
    with transaction(engine) as session:
        found = [NewSuspect(n, "look", 3.0, sha(7), "seven.jpg") for n in (1, 2)]
        checked(session, dataset_id, *found)
        first, _ = suspects_of(session, dataset_id=dataset_id)
        decide_suspect(session, suspect_id=first.id, seen=[""], decision="drop", who="ana")
    with transaction(engine) as session:
        checked(
            session, dataset_id, NewSuspect(1, "content", 0.0, sha(7), "7.jpg"), NewSuspect(3, "look", 1.0, sha(8), "8")
        )
        rows = [
            (one.image_id, one.how, one.match_name, one.decision) for one in suspects_of(session, dataset_id=dataset_id)
        ]
        assert rows == [(1, "content", "7.jpg", "drop"), (3, "look", "8", "")]
        checked(session, dataset_id)
        assert [one.image_id for one in suspects_of(session, dataset_id=dataset_id)] == [1]
        [check] = leak_checks(session, dataset_id=dataset_id)
        assert (check.compared, check.skipped, check.checked_to) == (100, 1, 3)


def test_of_two_who_decide_otherwise_the_second_is_told(engine: Engine) -> None:
    dataset_id = filled(engine, 3)
    with transaction(engine) as session:
        checked(session, dataset_id, NewSuspect(1, "look", 3.0, sha(7), "7.jpg"))
        [one] = suspects_of(session, dataset_id=dataset_id)
        decide_suspect(session, suspect_id=one.id, seen=[""], decision="keep", who="ana")
        assert decide_suspect(session, suspect_id=one.id, seen=[""], decision="keep", who="bo").decision == "keep"
        with pytest.raises(ConceptConflictError, match="has decided to keep this picture meanwhile"):
            decide_suspect(session, suspect_id=one.id, seen=[""], decision="drop", who="bo")
        with pytest.raises(ValueError, match="expected the id of a suspect, got 99"):
            decide_suspect(session, suspect_id=99, seen=[""], decision="drop", who="bo")
        with pytest.raises(ValueError, match="expected keep, drop or nothing"):
            decide_suspect(session, suspect_id=one.id, seen=["keep"], decision="burn", who="bo")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="match_sha256 must be 64"):
            checked(session, dataset_id, NewSuspect(1, "look", 3.0, "../x", "7.jpg"))
        with pytest.raises(ValueError, match="expected a likeness of"):
            checked(session, dataset_id, NewSuspect(1, "smell", 3.0, sha(7), "7.jpg"))  # type: ignore[arg-type]
