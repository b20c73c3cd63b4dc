"""Do one act on many regions, with one undo: what it would change is counted first, and nothing else is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from db.engine import Engine, Session, reading, retrying, transaction
from db.models import ActKind, ReviewAct, Status
from db.queries.bulk import IN_LIST, batches
from db.queries.bulk_edit_queries import ManyEdited, edit_many, restore_many, undo_many
from db.queries.edit_records import EditAction
from db.queries.review_queries import (
    RegionSelection,
    SelectedRegion,
    add_tag,
    check_tag,
    fingerprint,
    get_act,
    lock_act,
    redo_tags,
    remove_tag,
    selected_regions,
    tagged_regions,
    undo_tags,
)
from db.queries.trash_queries import count_deleted, deleted_versions, remove_deleted
from db.queries.values import storable
from grain.texts import one_line
from user_errors import UserError

MOST_AT_ONCE = 20_000  # regions of one act: about four seconds of one writer, which others wait for
VERDICTS: Mapping[ActKind, Status] = {
    "accept": "accepted",
    "reject": "rejected",
    "keep one": "rejected",
    "reopen": "pending",
    "delete": "deleted",
}
WITH_TEXT: tuple[ActKind, ...] = ("relabel", "tag", "untag")


@dataclass(frozen=True)
class ActRequest:
    """An act to do. kind: what. text: the new words or the tag; "" for others. reason: for the history."""

    kind: ActKind
    text: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        """Tidy the text.

        Raises: UserError: a text is missing or too long, or there is no such act.
        """
        if self.kind not in (*VERDICTS, *WITH_TEXT, "restore"):
            raise UserError(
                f"expected accept, reject, relabel, tag, delete or restore, got {self.kind!r}: reload the page"
            )
        if self.kind not in WITH_TEXT:
            return
        tidy = one_line(storable(self.text)) if self.kind == "relabel" else check_tag(self.text)
        object.__setattr__(self, "text", tidy)

    def changes(self, row: SelectedRegion) -> bool:
        """Return whether the act may change a region. Only what is not deleted is judged, only what is, is restored."""
        if self.kind == "restore" or row.status == "deleted":
            return self.kind == "restore" and row.status == "deleted"
        return row.text != self.text if self.kind == "relabel" else VERDICTS.get(self.kind) != row.status


@dataclass(frozen=True)
class ActCount:
    """The reach of an act. regions: that it changes, of `selected`. seen: stands for them as they are now."""

    regions: int
    pictures: int
    selected: int
    seen: str


def count_act(engine: Engine, selection: RegionSelection, act: ActRequest) -> ActCount:
    """Count what an act would change.

    Raises: UserError: it is more than MOST_AT_ONCE, or the filter has no meaning.
    """
    with reading(engine) as session:
        rows = _rows(session, selection)
        changed = _changed_by(session, act, rows)
    return ActCount(len(changed), len({row.image_id for row in changed}), len(rows), fingerprint(changed))


def do_act(
    engine: Engine, selection: RegionSelection, act: ActRequest, *, who: str, action: str, seen: str
) -> ReviewAct:
    """Do an act whole or not at all; twice under one action counts once.

    Args:   action: its name in the history. seen: `ActCount.seen`, as the person saw it.
    Raises: UserError: the regions are others by now, or none.
    """

    def write(session: Session) -> ReviewAct:
        known = get_act(session, action=action)
        if known is not None:
            return known
        rows = _changed_by(session, act, _rows(session, selection))
        if not rows:
            raise UserError("expected regions that this would change, got none: choose others")
        if fingerprint(rows) != seen:
            raise UserError(
                f"expected the regions as they were counted; they changed meanwhile and are {len(rows):,} now: "
                "nothing was done, press again"
            )
        edit = EditAction(who, "edited", reason=act.reason, action=action)
        done = _changed(session, selection.dataset_id, rows, act=act, edit=edit)
        mine: dict[str, Any] = {"action": action, "dataset_id": selection.dataset_id, "who": who}
        made = ReviewAct(**mine, kind=act.kind, text=act.text, regions=done.regions, pictures=len(done.pictures))
        session.add(made)
        return made

    return retrying(engine, write)


def _rows(session: Session, selection: RegionSelection) -> list[SelectedRegion]:
    rows = selected_regions(session, selection, limit=MOST_AT_ONCE + 1)
    if len(rows) > MOST_AT_ONCE:
        raise UserError(f"expected at most {MOST_AT_ONCE:,} regions at once, got more: narrow the filter")
    return rows


def _changed_by(session: Session, act: ActRequest, rows: list[SelectedRegion]) -> list[SelectedRegion]:
    rows = [row for row in rows if act.changes(row)]
    if act.kind not in ("tag", "untag"):
        return rows
    tagged = set(tagged_regions(session, ids=[row.id for row in rows], tag=act.text))
    return [row for row in rows if (row.id in tagged) == (act.kind == "untag")]


def _changed(
    session: Session, dataset_id: int, rows: list[SelectedRegion], *, act: ActRequest, edit: EditAction
) -> ManyEdited:
    """Write what an act does to its regions; return what changed."""
    ids = [row.id for row in rows]
    if act.kind == "restore":
        return restore_many(session, ids=ids, edit=edit)
    if act.kind in ("tag", "untag"):
        name: dict[str, Any] = {"ids": ids, "tag": act.text, "action": edit.action}
        tagged = add_tag(session, dataset_id=dataset_id, **name) if act.kind == "tag" else remove_tag(session, **name)
        return ManyEdited(len(tagged), frozenset(row.image_id for row in rows if row.id in tagged))
    values = {"text": act.text} if act.kind == "relabel" else {"status": VERDICTS[act.kind]}
    return edit_many(session, ids=ids, edit=edit, values=values)


def undo_act(engine: Engine, *, undone: str, who: str, action: str) -> ManyEdited:
    """Take back a person's act, but for what somebody changed since.

    Args:   undone: the act's action. action: the undo's own.
    Raises: UserError: there is no such act of this person, or it cannot be undone.
    """
    return retrying(engine, partial(_take_back, undone=undone, who=who, action=action, redo=False))


def redo_act(engine: Engine, *, undone: str, who: str, action: str) -> ManyEdited:
    """Do an act again that was taken back, as `undo_act`."""
    return retrying(engine, partial(_take_back, undone=undone, who=who, action=action, redo=True))


def _take_back(session: Session, *, undone: str, who: str, action: str, redo: bool) -> ManyEdited:
    act = check_own_act(session, action=undone, who=who)
    if bool(act.undone_by) != redo:
        return ManyEdited()
    back = act.undone_by if redo else act.action
    edit = EditAction(who, "undone", undoes=back, action=action)
    done = undo_many(session, undone=back, edit=edit, redo=redo)
    tags = redo_tags(session, undo=back, action=act.action) if redo else undo_tags(session, undone=back, action=action)
    act.undone_by = "" if redo else action
    session.add(act)
    return done + ManyEdited(tags)


def check_own_act(session: Session, *, action: str, who: str) -> ReviewAct:
    """Lock and return a person's act, if it can be undone.

    Raises: UserError: it is somebody else's, cannot be undone, or there is none.
    """
    act = lock_act(session, action=action)
    if act.who != who or act.kind == "empty trash":
        raise UserError(f"expected an act of {who} that can be undone, got “{act.kind}” of {act.who}: ask them")
    return act


def count_trash(engine: Engine, dataset_id: int) -> tuple[int, int]:
    """Return the number of deleted regions of a data set, and of their pictures."""
    with reading(engine) as session:
        return count_deleted(session, dataset_id=dataset_id)


def empty_trash(
    engine: Engine, dataset_id: int, *, who: str, action: str, on_part: Callable[[int], object] = lambda removed: None
) -> int:
    """Remove the deleted regions of a data set for good, a part at a time; return how many.

    What others delete meanwhile stays in the trash.

    Args: on_part: hears how many are removed so far.
    """
    with reading(engine) as session:
        _, pictures = count_deleted(session, dataset_id=dataset_id)
        there = deleted_versions(session, dataset_id=dataset_id)
    removed = 0
    for part in batches(there, IN_LIST):
        removed += retrying(engine, partial(remove_deleted, versions=part))
        on_part(removed)
    with transaction(engine) as session:
        if removed and get_act(session, action=action) is None:
            mine: dict[str, Any] = {"action": action, "dataset_id": dataset_id, "who": who, "kind": "empty trash"}
            session.add(ReviewAct(**mine, regions=removed, pictures=pictures))
    return removed
