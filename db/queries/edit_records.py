"""Write one edit of a region or an image with its history, and find who else edited meanwhile."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, update

from db.models import EditKind, Image, RegionEdit, RegionRow, Status
from db.queries.data_set_queries import lock_image
from db.queries.edit_conflicts import edit_conflict, state_with
from db.queries.history_queries import region_state, state_of
from db.queries.region_index_queries import tally
from db.queries.values import check_line, storable

DECIDED = ("xyxy", "text", "status", "source")  # what an undo puts back, and so must find as it was left
VERDICTS: dict[Status, EditKind] = {
    "pending": "reopened",
    "accepted": "accepted",
    "rejected": "rejected",
    "deleted": "deleted",
}


class EditAction:
    """An action of a person: what its edits have in common."""

    def __init__(
        self,
        who: str,
        what: EditKind,
        *,
        from_model: str = "",
        reason: str = "",
        undoes: str | None = None,
        action: str = "",
    ) -> None:
        check_line(who, "the name of the person who edits")
        self.who, self.what, self.undoes = who, what, undoes
        self.from_model, self.reason = storable(from_model), storable(reason)
        self.action = action or secrets.token_hex(8)


def edit_kind(row: RegionRow, values: Mapping[str, Any]) -> EditKind:
    """Return what setting some columns does to a region."""
    before, after = region_state(row), state_with(region_state(row), values)
    changed = {name for name in DECIDED if before[name] != after[name]}
    if changed != {"status"}:
        return "edited"
    return "restored" if before["status"] == "deleted" else VERDICTS[after["status"]]


def write_edit(
    session: Session, row: RegionRow | Image, action: EditAction, *, values: Mapping[str, Any]
) -> RegionEdit | None:
    """Set columns under the row's version, with their history; return None where nothing would change."""
    before = state_of(row)
    after = state_with(before, values)
    if isinstance(row, RegionRow) and (after["xyxy"], after["text"]) != (before["xyxy"], before["text"]):
        # said of another box or text: kept only where the edit says them again
        values = {"similarity": None, "disagreement": None} | dict(values)
        after = state_with(before, values)
    if after == before:
        return None
    model: Any = type(row)
    mine = (model.id == row.id, model.version == row.version)
    written = update(model).where(*mine).values(**values, version=row.version + 1)
    if session.exec(written.execution_options(synchronize_session=False)).rowcount != 1:
        raise edit_conflict(session, row, expected_version=row.version, values=values)
    session.refresh(row)
    if isinstance(row, RegionRow):
        update_index(session, row, before)
    edit = note_edit(session, row, action, before=before)
    if isinstance(row, RegionRow):
        reopen_if_empty(session, row, edit)
    return edit


def reopen_if_empty(session: Session, row: RegionRow, edit: RegionEdit) -> None:
    """Reopen an image that was marked empty when one of its regions is accepted: somebody must review it again."""
    if row.status != "accepted" or (edit.before or {}).get("status") == "accepted":
        return
    image = lock_image(session, image_id=row.image_id)
    if image.review == "empty":
        action = EditAction(edit.who, "edited", reason=edit.reason, undoes=edit.undoes, action=edit.action)
        write_edit(session, image, action, values={"review": "open"})


def note_edit(
    session: Session, row: RegionRow | Image, action: EditAction, *, before: dict[str, Any] | None
) -> RegionEdit:
    """Add an edit to the history."""
    edit = RegionEdit(
        action=action.action,
        dataset_id=row.dataset_id,
        image_id=row.image_id if isinstance(row, RegionRow) else row.id,
        region_id=row.id if isinstance(row, RegionRow) else None,
        who=action.who,
        what=action.what,
        version=row.version,
        before=before,
        after=state_of(row),
        from_model=action.from_model,
        reason=action.reason,
        undoes=action.undoes,
    )
    session.add(edit)
    session.flush()
    return edit


def update_index(session: Session, row: RegionRow, before: dict[str, Any] | None) -> None:
    """Update tallies and text search after an edit of an indexed region; others are read when they are indexed."""
    if not row.indexed:
        return
    more = Counter({(row.dataset_id, row.source, row.status): 1})
    if before is not None:
        more.subtract({(row.dataset_id, before["source"], before["status"]): 1})
    tally(session, more)
    text_before = None if before is None else before["text"]
    if row.text != text_before and session.get_bind().dialect.name == "sqlite":
        connection = session.connection()
        if text_before is not None:
            connection.exec_driver_sql("DELETE FROM region_text WHERE rowid = ?", (row.id,))
        connection.exec_driver_sql("INSERT INTO region_text (rowid, text) VALUES (?, ?)", (row.id, row.text))
