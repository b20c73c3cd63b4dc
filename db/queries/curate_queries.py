"""Edit regions and images, with their history; undo edits one by one.

Every edit names the version that its editor saw. The second of two gets both states to choose from; what was
acknowledged stands in the history, which nothing ever changes.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from sqlalchemy import exists
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from db.models import Image, ImportRecord, RegionEdit, RegionRow, ReviewAct, Status
from db.queries.data_set_queries import lock_image
from db.queries.edit_conflicts import edit_conflict, is_so_already
from db.queries.edit_records import DECIDED, EditAction, edit_kind, note_edit, reopen_if_empty, update_index, write_edit
from db.queries.edit_values import ImageChange, RegionChange, image_values, region_values
from db.queries.history_queries import BOX_SIDES, state_of
from db.queries.region_queries import lock_region, pick_region
from db.queries.values import check_line
from user_errors import UserError


def add_region_by_hand(
    session: Session,
    *,
    image_id: int,
    who: str,
    xyxy: tuple[float, float, float, float] | None = None,
    text: str = "",
    box_id: int | None = None,
    status: Status = "accepted",
    source: str = "",
    score: float | None = None,
    from_model: str = "",
    reason: str = "",
    key: str = "",
    action: str = "",
) -> RegionRow:
    """Add a region that a person drew, or a further description of one.

    Args:   box_id: any description of the box that it is about; then no xyxy. source: human:<who> where none is
            given. key: adding again under the same key adds nothing, so that `retrying` may repeat it. action: as of
            `edit_region`.
    Raises: UserError: no such picture, region or status, or a box without an area.
    """
    edit = EditAction(who, "created", from_model=from_model, reason=reason, action=action)
    image = session.get(Image, image_id)
    if image is None:
        raise UserError(f"expected the id of a picture, got {image_id}: it was removed meanwhile")
    content_key = _content_key(key or secrets.token_hex(16))
    if key:
        mine = (RegionRow.image_id == image_id, RegionRow.content_key == content_key)
        known = session.exec(select(RegionRow).where(*mine)).first()
        if known is not None:
            return known
    if box_id is not None:
        region = lock_region(session, region_id=box_id)
        if xyxy is not None or not region or region[0].image_id != image_id:
            raise UserError(
                f"expected a region of picture {image_id} and no box, got {box_id}, {xyxy}: reload the page"
            )
        box_id, xyxy = region[0].id, _box(region[0])
    change = RegionChange(xyxy=xyxy, text=text, status=status, source=source or f"human:{who}")
    row = RegionRow(
        dataset_id=image.dataset_id,
        image_id=image_id,
        box_id=box_id,
        score=score,
        content_key=content_key,
        indexed=True,
        **region_values(change, image_id),
    )
    session.add(row)
    session.flush()
    update_index(session, row, None)
    reopen_if_empty(session, row, note_edit(session, row, edit, before=None))
    return row


def edit_region(
    session: Session,
    *,
    region_id: int,
    expected_version: int,
    who: str,
    change: RegionChange,
    from_model: str = "",
    reason: str = "",
    action: str = "",
) -> RegionRow:
    """Change a region and return it, with a new version where anything changed.

    A box that has several descriptions moves for all of them. Asking for what is so already is no conflict, so that
    `retrying` may repeat it and two people may agree.

    Args:   expected_version: of the region that the editor saw. from_model: model@revision that proposed the change.
            action: the name of this act in the history; "" for a random one.
    Raises: EditConflictError: it has another version by now.
            UserError: no such region or status, or a box without an area.
    """
    region = lock_region(session, region_id=region_id)
    row = pick_region(region, region_id=region_id)
    values = region_values(change, row.image_id)
    if row.version != expected_version:
        if is_so_already(row, values):
            return row
        raise edit_conflict(session, row, expected_version=expected_version, values=values)
    edit = EditAction(who, edit_kind(row, values), from_model=from_model, reason=reason, action=action)
    moves = change.xyxy is not None and change.xyxy != _box(row)
    box = {side: values[side] for side in BOX_SIDES} if moves else {}
    for other in region:
        if other.id == region_id:
            write_edit(session, other, edit, values=values)
        elif moves:
            write_edit(session, other, edit, values=box)
    return row


def set_status(
    session: Session,
    *,
    region_id: int,
    expected_version: int,
    who: str,
    status: Status,
    reason: str = "",
    action: str = "",
) -> RegionRow:
    """Accept, reject or reopen one description of a region; as `edit_region`."""
    return edit_region(
        session,
        region_id=region_id,
        expected_version=expected_version,
        who=who,
        change=RegionChange(status=status),
        reason=reason,
        action=action,
    )


def delete_region(
    session: Session,
    *,
    region_id: int,
    expected_version: int,
    who: str,
    whole_region: bool = False,
    reason: str = "",
    action: str = "",
) -> RegionRow:
    """Take a description out of sight, or all of its box; nothing of it is lost. As `edit_region`."""
    action = action or secrets.token_hex(8)
    row = set_status(
        session,
        region_id=region_id,
        expected_version=expected_version,
        who=who,
        status="deleted",
        reason=reason,
        action=action,
    )
    if whole_region:
        edit = EditAction(who, "deleted", reason=reason, action=action)
        for other in lock_region(session, region_id=region_id):
            if other.status != "deleted":
                write_edit(session, other, edit, values={"status": "deleted"})
    return row


def edit_image(
    session: Session,
    *,
    image_id: int,
    expected_version: int,
    who: str,
    change: ImageChange,
    reason: str = "",
    action: str = "",
) -> Image:
    """Change a picture's caption, facts or review state; as `edit_region`.

    Raises: EditConflictError: it has another version by now.
            UserError: no such picture, a fact that is no text, or "empty" while regions of it are accepted.
    """
    image = lock_image(session, image_id=image_id)
    values = image_values(session, image, change)
    if image.version != expected_version:
        if is_so_already(image, values):
            return image
        raise edit_conflict(session, image, expected_version=expected_version, values=values)
    write_edit(session, image, EditAction(who, "edited", reason=reason, action=action), values=values)
    return image


def undo_last(session: Session, *, image_id: int, who: str, action: str = "", only: str = "") -> list[RegionEdit]:
    """Take back a person's last action on an image that is not taken back yet; return the edits that did it.

    An undo is an edit like others and stays in the history; what was drawn is deleted by it, and keeps its row.

    Args:    action: as of `edit_region`. only: the name of the action to take back; "" for the last one, but for acts
             on many regions and imports, done or redone, which are undone whole (curation/review/).
    Returns: [] when there is nothing left to undo.
    Raises:  EditConflictError: somebody changed the same since; nothing is undone.
    """
    check_line(who, "the name of the person who edits")
    image = lock_image(session, image_id=image_id)  # two presses at once: the second finds the first one's undo
    later = aliased(RegionEdit)
    mine = (RegionEdit.image_id == image_id, RegionEdit.who == who, RegionEdit.what != "undone")
    asked = select(RegionEdit).where(*mine, ~exists().where(col(later.undoes) == RegionEdit.action))
    if only:
        asked = asked.where(RegionEdit.action == only)
    else:
        undo = aliased(RegionEdit)
        for table in (ReviewAct, ImportRecord):
            redone = exists().where(col(undo.action) == RegionEdit.undoes, col(table.action) == undo.undoes)
            asked = asked.where(~exists().where(col(table.action) == RegionEdit.action), ~redone)
    last = session.exec(asked.order_by(col(RegionEdit.id).desc()).limit(1)).first()
    if last is None:
        return []
    same = select(RegionEdit).where(RegionEdit.image_id == image_id, RegionEdit.action == last.action)
    # the picture first, as every database must sort it: a redo that accepts finds it as it was then
    edits = session.exec(same.order_by(col(RegionEdit.region_id).nulls_first())).all()
    undoing = EditAction(who, "undone", undoes=last.action, action=action)
    done = [_undo(session, image, edit, action=undoing) for edit in edits]
    return [*done, *_moved_along(session, done, action=undoing)]


def redo_undone(session: Session, *, image_id: int, who: str, undo: str, action: str = "") -> list[RegionEdit]:
    """Do again what a person's undo took back, once; return the edits that did it.

    Args:   undo: the name of the undo's action. action: as of `edit_region`.
    Raises: EditConflictError: somebody changed the same since; nothing is redone.
    """
    image = lock_image(session, image_id=image_id)
    asked = select(RegionEdit).where(RegionEdit.image_id == image_id, RegionEdit.action == undo)
    asked = asked.where(RegionEdit.who == who, RegionEdit.what == "undone")
    edits = session.exec(asked.order_by(col(RegionEdit.region_id).nulls_first())).all()
    if session.exec(select(RegionEdit.id).where(RegionEdit.undoes == undo).limit(1)).first():
        return []
    name, done = action or secrets.token_hex(8), []
    for edit in edits:
        first = select(RegionEdit).where(RegionEdit.action == edit.undoes, RegionEdit.region_id == edit.region_id)
        known = session.exec(first.limit(1)).first()  # none where its box moved along with another description's
        again = EditAction(who, known.what if known else "edited", undoes=undo, action=name)
        done.append(_undo(session, image, edit, action=again))
    return [*done, *_moved_along(session, done, action=again)] if done else []


def _undo(session: Session, image: Image, edit: RegionEdit, *, action: EditAction) -> RegionEdit:
    """Write the state before an edit back, where it is still as the edit left it."""
    row: RegionRow | Image = image
    decided: tuple[str, ...] = ("caption", "facts", "review")
    if edit.region_id is not None:
        row, decided = pick_region(lock_region(session, region_id=edit.region_id), region_id=edit.region_id), DECIDED
    wanted = edit.before if edit.before is not None else edit.after | {"status": "deleted"}
    present = state_of(row)
    values = {name: value for name, value in wanted.items() if name not in ("xyxy", "score", "box_id")}
    if "xyxy" in wanted:
        values |= dict(zip(BOX_SIDES, wanted["xyxy"], strict=True))
    if any(present[name] != edit.after[name] for name in decided):
        raise edit_conflict(session, row, expected_version=edit.version, values=values)
    undone = write_edit(session, row, action, values=values)
    # an undo that changes nothing, as of two equal states, is noted all the same: else it would be offered for ever
    return undone or note_edit(session, row, action, before=present)


def _moved_along(session: Session, done: Sequence[RegionEdit], *, action: EditAction) -> list[RegionEdit]:
    """Move the descriptions that boxes got since they were drawn or moved: a box is one for all of them."""
    moved = {
        each.region_id: each
        for each in done
        if each.region_id and (each.before or {}).get("xyxy") != each.after["xyxy"]
    }
    found = []
    for number, edit in moved.items():
        box = dict(zip(BOX_SIDES, edit.after["xyxy"], strict=True))
        for other in lock_region(session, region_id=number):
            if other.id not in moved and (further := write_edit(session, other, action, values=box)):
                found.append(further)
    return found


def _content_key(key: str) -> int:
    """Return the key under which adding again adds nothing."""
    return int.from_bytes(hashlib.blake2b(f"by hand\0{key}".encode(), digest_size=8).digest(), "little", signed=True)


def _box(row: RegionRow) -> tuple[float, float, float, float]:
    return row.x1, row.y1, row.x2, row.y2
