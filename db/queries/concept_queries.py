"""Query data sets of novel concepts: classes, licence, suspected leaks.

Such a set is labelled by hand, image by image, so that all of its images and labels fit into memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import func
from sqlmodel import Session, col, delete, select

from db.models import ConceptSet, Dataset, LeakCheck, LeakSuspect, Likeness, RegionEdit, now
from db.queries.values import must_be_sha256, storable
from user_errors import UserError

Decision = Literal["keep", "drop", ""]


class ConceptConflictError(UserError):
    """A conflict with somebody who was quicker: nothing is written. by: who that was."""

    def __init__(self, sentence: str, by: str) -> None:
        super().__init__(sentence)
        self.by = by


@dataclass(frozen=True, slots=True)
class NewSuspect:
    """A picture that is like a training picture; fields as in `db.models.LeakSuspect`."""

    image_id: int
    how: Likeness
    value: float
    match_sha256: str
    match_name: str


def get_concept_set(session: Session, *, dataset_id: int, lock: bool = False) -> ConceptSet | None:
    """Return a data set's novel concepts; None where nobody began any.

    Args: lock: nobody else changes them, or gives pictures a class of them, before this transaction ends.
    """
    return session.get(ConceptSet, dataset_id, with_for_update=lock, populate_existing=lock)


def list_concept_sets(session: Session) -> Sequence[str]:
    """Return the names of the data sets of novel concepts."""
    asked = select(Dataset.name).join(ConceptSet, col(ConceptSet.dataset_id) == Dataset.id)
    return session.exec(asked.order_by(Dataset.name)).all()


def class_lists(session: Session) -> dict[str, Sequence[dict[str, Any]]]:
    """Return the classes of every data set that has some, by its name; a class as in `db.models.ConceptSet`."""
    asked = select(Dataset.name, ConceptSet.classes).join(ConceptSet, col(ConceptSet.dataset_id) == Dataset.id)
    return {name: classes for name, classes in session.exec(asked.order_by(Dataset.name)) if classes}


def save_concept_set(
    session: Session,
    *,
    dataset_id: int,
    who: str,
    expected_version: int,
    classes: Sequence[dict[str, Any]] | None = None,
    licence: str | None = None,
    intended_use: str | None = None,
) -> ConceptSet:
    """Begin a set of novel concepts, or change its classes, licence or use; None leaves as it is.

    Args:   expected_version: of the set that the editor saw; 0 for none yet. No conflict where nothing changes.
    Raises: ConceptConflictError: it has another version by now.
    """
    found = session.exec(
        select(ConceptSet)
        .where(ConceptSet.dataset_id == dataset_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).first()
    values: dict[str, Any] = {
        name: value
        for name, value in (("classes", classes), ("licence", licence), ("intended_use", intended_use))
        if value is not None
    }
    if found is None:
        found = ConceptSet(dataset_id=dataset_id, updated_by=who, **values)
        session.add(found)
        session.flush()
        return found
    if all(getattr(found, name) == value for name, value in values.items()):
        return found
    if found.version != expected_version:
        raise ConceptConflictError(
            f"{found.updated_by} changed the classes or the licence meanwhile: look at them and save yours again",
            found.updated_by,
        )
    for name, value in values.items():
        setattr(found, name, storable(value) if isinstance(value, str) else list(value))
    found.version += 1
    found.updated_by, found.updated_at = who, now()
    session.add(found)
    session.flush()
    return found


def save_leak_check(
    session: Session,
    *,
    dataset_id: int,
    against: str,
    settings: dict[str, Any],
    compared: int,
    skipped: int,
    checked: int,
    checked_to: int,
    suspects: Sequence[NewSuspect],
) -> LeakCheck:
    """Keep what a comparison found, over what the last one with the same training data did.

    What somebody has decided on stays, though it may be found no more; suspects without a decision that are found no
    more go.

    Raises: ValueError: a match has no hash, or a likeness is unknown.
    """
    known = select(LeakCheck).where(LeakCheck.dataset_id == dataset_id, LeakCheck.against == storable(against))
    values: dict[str, Any] = {"settings": settings, "compared": compared, "skipped": skipped, "checked": checked}
    values |= {"checked_to": checked_to, "at": now()}
    check = session.exec(known).first() or LeakCheck(dataset_id=dataset_id, against=storable(against), **values)
    for name, value in values.items():
        setattr(check, name, value)
    session.add(check)
    mine = (col(LeakSuspect.dataset_id) == dataset_id, col(LeakSuspect.against) == check.against)
    session.exec(delete(LeakSuspect).where(*mine, col(LeakSuspect.decision) == ""))
    decided = {(row.image_id, row.match_sha256): row for row in session.exec(select(LeakSuspect).where(*mine))}
    for new in suspects:
        must_be_sha256(match_sha256=new.match_sha256)
        if new.how not in get_args(Likeness):
            raise ValueError(f"expected a likeness of {', '.join(get_args(Likeness))}, got {new.how!r}")
        row = decided.get((new.image_id, new.match_sha256)) or LeakSuspect(
            dataset_id=dataset_id,
            image_id=new.image_id,
            against=check.against,
            how=new.how,
            value=new.value,
            match_sha256=new.match_sha256,
            match_name="",
        )
        row.how, row.value, row.match_name = new.how, new.value, storable(new.match_name)
        session.add(row)
    session.flush()
    return check


def leak_checks(session: Session, *, dataset_id: int) -> Sequence[LeakCheck]:
    """Return the last comparison with each set of training data, in the order in which these were first named."""
    return session.exec(select(LeakCheck).where(LeakCheck.dataset_id == dataset_id).order_by(col(LeakCheck.id))).all()


def suspects_of(session: Session, *, dataset_id: int) -> Sequence[LeakSuspect]:
    """Return all suspects of a set, image by image."""
    asked = select(LeakSuspect).where(LeakSuspect.dataset_id == dataset_id)
    return session.exec(asked.order_by(col(LeakSuspect.image_id), col(LeakSuspect.id))).all()


def dropped_suspects(session: Session, *, image_id: int) -> Sequence[LeakSuspect]:
    """Return the suspects for which an image is to be dropped."""
    asked = select(LeakSuspect).where(LeakSuspect.image_id == image_id, LeakSuspect.decision == "drop")
    return session.exec(asked.order_by(col(LeakSuspect.id))).all()


def decide_suspect(
    session: Session, *, suspect_id: int, seen: Collection[str], decision: Decision, who: str
) -> LeakSuspect:
    """Keep a suspect, drop it, or open the question again.

    Args:   seen: the decision that the person saw, and those that they made since.
    Raises: ConceptConflictError: somebody has decided otherwise meanwhile. UserError: no such suspect or decision.
    """
    asked = select(LeakSuspect).where(LeakSuspect.id == suspect_id).with_for_update()
    row = session.exec(asked.execution_options(populate_existing=True)).first()
    if row is None:
        raise UserError(f"expected the id of a suspect, got {suspect_id}: it is suspected no more")
    if decision not in get_args(Decision):
        raise UserError(f"expected keep, drop or nothing, got {decision!r}: choose one")
    if row.decision not in (*seen, decision):
        raise ConceptConflictError(
            f"{row.decided_by} has decided to {row.decision or 'think again about'} this picture meanwhile: look again",
            row.decided_by,
        )
    row.decision, row.decided_by, row.decided_at = decision, who, now()
    session.add(row)
    session.flush()
    return row


def changed_at(session: Session, *, dataset_id: int) -> datetime | None:
    """Return when images, regions, classes or licence of a set were edited last; None where nobody has."""
    edited = session.exec(select(func.max(RegionEdit.at)).where(RegionEdit.dataset_id == dataset_id)).one()
    found = session.get(ConceptSet, dataset_id)
    moments = [moment for moment in (edited, found.updated_at if found else None) if moment is not None]
    return max(moments, default=None)
