"""Edit many regions in one transaction, with the history that single edits have, and take all of it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, col, select

from db.models import EditKind, Image, RegionEdit, RegionRow, Status, now
from db.queries.bulk import IN_LIST, batches
from db.queries.data_set_queries import lock_image
from db.queries.edit_conflicts import state_with
from db.queries.edit_records import DECIDED, EditAction, edit_kind, write_edit
from db.queries.history_queries import BOX_SIDES, region_state, state_of
from db.queries.region_index_queries import tally
from db.queries.selectivity import on_postgresql

WRITTEN = (*BOX_SIDES, "text", "status", "source", "similarity", "disagreement")


@dataclass(frozen=True)
class ManyEdited:
    """The regions and pictures that an act changed. skipped: regions that somebody changed since, and that stay so."""

    regions: int = 0
    pictures: frozenset[int] = frozenset()
    skipped: int = 0

    def __add__(self, other: ManyEdited) -> ManyEdited:
        """Return both together."""
        return ManyEdited(self.regions + other.regions, self.pictures | other.pictures, self.skipped + other.skipped)


def edit_many(session: Session, *, ids: Collection[int], edit: EditAction, values: Mapping[str, Any]) -> ManyEdited:
    """Set the same columns of many regions, as `edit_region` sets them for one. edit.what is found for each."""
    done = ManyEdited()
    for some in batches(sorted(ids), IN_LIST):
        rows = _locked(session, some)
        done += _write(session, [(row, values, edit_kind(row, values)) for row in rows], edit)
    return done


def restore_many(session: Session, *, ids: Collection[int], edit: EditAction) -> ManyEdited:
    """Bring deleted regions back with the verdicts that they had before."""
    done = ManyEdited()
    for some in batches(sorted(ids), IN_LIST):
        rows = [row for row in _locked(session, some) if row.status == "deleted"]
        asked = select(RegionEdit).where(col(RegionEdit.region_id).in_([row.id for row in rows]))
        kept: dict[int, Status] = {  # later edits of a deleted one moved its box
            each.region_id: each.before["status"]
            for each in session.exec(asked.order_by(col(RegionEdit.version)))
            if each.region_id is not None and each.before and each.before["status"] != "deleted"
        }
        done += _write(session, [(row, {"status": kept.get(row.id, "pending")}, "restored") for row in rows], edit)
    return done


def undo_many(session: Session, *, undone: str, edit: EditAction, redo: bool = False) -> ManyEdited:
    """Write back the states before an action's edits, where they are still as the action left them.

    Args: undone: the action. edit: the one that undoes it. redo: whether the action is an undo itself, so that the
          history says again what was done first.
    """
    done, last = ManyEdited(), 0
    while part := undo_part(session, undone=undone, edit=edit, redo=redo, after=last):
        done, last = done + part.done, part.last
    return done


@dataclass(frozen=True)
class UndonePart:
    """A part of an action that was taken back, and the id of its last edit."""

    done: ManyEdited
    last: int


def undo_part(
    session: Session, *, undone: str, edit: EditAction, redo: bool = False, after: int = 0
) -> UndonePart | None:
    """Take back the next edits of an action, as `undo_many`; None where there are no more. after: `UndonePart.last`."""
    asked = select(RegionEdit).where(RegionEdit.action == undone, RegionEdit.id > after)
    edits = session.exec(asked.order_by(col(RegionEdit.id)).limit(IN_LIST)).all()
    if not edits:
        return None
    of_regions = {each.region_id: each for each in edits if each.region_id is not None}
    changes: list[tuple[RegionRow, Mapping[str, Any]]] = []
    rows = _locked(session, sorted(of_regions))
    for row in rows:
        each = of_regions[row.id]
        if not _was_changed(row, each):
            kept = each.before if each.before is not None else each.after | {"status": "deleted"}
            changes.append((row, _columns(kept)))
    skipped = len(rows) - len(changes)
    changes += _moved_along(session, changes)
    kinds = [(row, values, edit_kind(row, values) if redo else edit.what) for row, values in changes]
    done = _write(session, kinds, edit) + ManyEdited(skipped=skipped)
    for each in edits:
        if each.region_id is None:
            _undo_image(session, each, edit)
    return UndonePart(done, edits[-1].id)


def _was_changed(row: RegionRow, edit: RegionEdit) -> bool:
    """Return whether somebody changed a region since an edit, but for a box that went back with another description."""
    present = region_state(row)
    moved_back = edit.before is not None and present["xyxy"] == edit.before["xyxy"]
    return any(present[name] != edit.after[name] for name in DECIDED if name != "xyxy" or not moved_back)


def _moved_along(
    session: Session, changes: Sequence[tuple[RegionRow, Mapping[str, Any]]]
) -> list[tuple[RegionRow, Mapping[str, Any]]]:
    """Return what moves the other descriptions of boxes that move: a box is one for all, judged since or not."""
    boxes = {}
    for row, values in changes:
        box = {side: values[side] for side in BOX_SIDES}
        if any(getattr(row, side) != value for side, value in box.items()):
            boxes[row.box_id or row.id] = box
    mates = {*boxes}
    for some in batches(sorted(boxes), IN_LIST):
        mates.update(session.exec(select(RegionRow.id).where(col(RegionRow.box_id).in_(some))))
    mates -= {row.id for row, _ in changes}
    return [
        (row, boxes[row.box_id or row.id]) for some in batches(sorted(mates), IN_LIST) for row in _locked(session, some)
    ]


def set_each(session: Session, *, values: Mapping[int, Mapping[str, Any]], edit: EditAction) -> ManyEdited:
    """Set columns of regions, others for each, by id; what would change nothing is left out."""
    done = ManyEdited()
    for some in batches(sorted(values), IN_LIST):
        rows = _locked(session, some)
        done += _write(session, [(row, values[row.id], edit_kind(row, values[row.id])) for row in rows], edit)
    return done


def _columns(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a kept state."""
    kept = {name: value for name, value in state.items() if name in WRITTEN}
    return kept | dict(zip(BOX_SIDES, state["xyxy"], strict=True))


def _locked(session: Session, ids: Sequence[int]) -> list[RegionRow]:
    asked = select(RegionRow).where(col(RegionRow.id).in_(ids)).order_by(col(RegionRow.id)).with_for_update()
    return list(session.exec(asked.execution_options(populate_existing=True)).all())


def _write(
    session: Session, changes: Sequence[tuple[RegionRow, Mapping[str, Any], EditKind]], edit: EditAction
) -> ManyEdited:
    """Write changes of locked regions with their history, tallies and words; what would change nothing is left out."""
    at, rows, history, accepted = now(), list[RegionRow](), list[dict[str, Any]](), set[int]()
    more: Counter[tuple[int, str, Status]] = Counter()
    for row, wanted, what in changes:
        before = region_state(row)
        after = state_with(before, wanted)
        if (after["xyxy"], after["text"]) != (before["xyxy"], before["text"]):
            after |= {"similarity": wanted.get("similarity"), "disagreement": wanted.get("disagreement")}
        if after == before:
            continue
        rows.append(row)
        history.append(_history(row, edit, {"at": at, "what": what, "before": before, "after": after}))
        if row.indexed:
            more[row.dataset_id, after["source"], after["status"]] += 1
            more[row.dataset_id, before["source"], before["status"]] -= 1
        if after["status"] == "accepted" != before["status"]:
            accepted.add(row.image_id)
    _update(session, rows, history)
    if history:
        session.connection().execute(insert(RegionEdit), history)
    tally(session, more)
    _reopen(session, accepted, edit)
    return ManyEdited(len(rows), frozenset(row.image_id for row in rows))


def _history(row: RegionRow, edit: EditAction, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {"action": edit.action, "who": edit.who, "from_model": edit.from_model, "reason": edit.reason}
    place = {"dataset_id": row.dataset_id, "image_id": row.image_id, "region_id": row.id, "version": row.version + 1}
    return {**names, **place, **values, "undoes": edit.undoes}


def _update(session: Session, rows: Sequence[RegionRow], history: Sequence[Mapping[str, Any]]) -> None:
    """Write the states after the edits, straight to the driver: thousands of rows at a time."""
    if not rows:
        return
    mark = "%s" if on_postgresql(session) else "?"
    columns = ", ".join(f"{name} = {mark}" for name in WRITTEN)
    values = []
    for row, each in zip(rows, history, strict=True):
        after = _columns(each["after"])
        values.append((*(after[name] for name in WRITTEN), row.id))
    run = session.connection().exec_driver_sql
    run(f"UPDATE region SET {columns}, version = version + 1 WHERE id = {mark}", values)
    worded = [
        (row.id, each["after"]["text"])
        for row, each in zip(rows, history, strict=True)
        if row.indexed and each["after"]["text"] != each["before"]["text"]
    ]
    if worded and not on_postgresql(session):
        run("DELETE FROM region_text WHERE rowid = ?", [(number,) for number, _ in worded])
        run("INSERT INTO region_text (rowid, text) VALUES (?, ?)", worded)
    for row in rows:
        session.expunge(row)  # it is as it was before


def _reopen(session: Session, image_ids: Collection[int], edit: EditAction) -> None:
    """Reopen pictures that were marked empty and have an accepted region now."""
    for some in batches(sorted(image_ids), IN_LIST):
        empty = select(Image.id).where(col(Image.id).in_(some), Image.review == "empty")
        for number in session.exec(empty.order_by(col(Image.id))).all():
            reopened = EditAction(edit.who, "edited", reason=edit.reason, undoes=edit.undoes, action=edit.action)
            write_edit(session, lock_image(session, image_id=number), reopened, values={"review": "open"})


def _undo_image(session: Session, each: RegionEdit, edit: EditAction) -> None:
    """Undo an edit of a picture, field by field where nobody has changed it since.

    It is not marked empty again while it has an accepted region still.
    """
    image = lock_image(session, image_id=each.image_id)
    accepted = (RegionRow.image_id == image.id, RegionRow.status == "accepted")
    taken = session.exec(select(RegionRow.id).where(*accepted).limit(1)).first()
    state, before = state_of(image), each.before or {}
    values = {name: value for name, value in before.items() if state[name] == each.after[name] != value}
    if taken and values.get("review") == "empty":
        del values["review"]
    write_edit(session, image, edit, values=values)
