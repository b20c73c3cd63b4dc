"""Do an act of any size with one undo, a part at a time, so that others hardly wait: undo a run or an import whole.

The act is noted before its first part and counted after its last, and parts that are done change nothing when they
are done again: stopped at any moment, the same call resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from curation.review.acts import check_own_act
from db.engine import Engine, Session, reading, retrying
from db.models import ActKind, AnnotationRun, ReviewAct
from db.queries.bulk_edit_queries import ManyEdited, UndonePart, edit_many, undo_part
from db.queries.edit_records import EditAction
from db.queries.region_index_queries import index_regions
from db.queries.review_queries import get_act, lock_act
from db.queries.wide_act_queries import (
    BroughtCount,
    BroughtRegions,
    count_action,
    count_brought,
    count_changes,
    get_import,
    next_brought,
)
from user_errors import UserError

Part = Callable[[Session, EditAction], ManyEdited]
OnProgress = Callable[[int], object]
"""Called with the regions done so far."""


@dataclass(frozen=True)
class WideAct:
    """An act of any size. text: what it is about, as of `ReviewAct`. who: does it. action: its name in the history."""

    dataset_id: int
    kind: ActKind
    text: str
    who: str
    action: str


def do_wide_act(
    engine: Engine, act: WideAct, parts: Iterable[Part], *, on_progress: OnProgress = lambda regions: None
) -> ReviewAct:
    """Do an act a part at a time, each whole or not at all.

    Args:   parts: what each writes, asked for one after the other.
    """

    def begin(session: Session) -> None:
        if get_act(session, action=act.action) is None:
            session.add(ReviewAct(**_columns(act), regions=0, pictures=0))

    retrying(engine, begin)
    edit, done = EditAction(act.who, "edited", action=act.action), 0
    for part in parts:
        done += retrying(engine, partial(_do_part, part=part, edit=edit)).regions
        on_progress(done)
    return retrying(engine, partial(_counted, action=act.action))


def _columns(act: WideAct) -> dict[str, Any]:
    return {"dataset_id": act.dataset_id, "kind": act.kind, "text": act.text, "who": act.who, "action": act.action}


def _do_part(session: Session, *, part: Part, edit: EditAction) -> ManyEdited:
    return part(session, edit)


def _counted(session: Session, *, action: str) -> ReviewAct:
    """Note how much an act has changed, by the history."""
    act = lock_act(session, action=action)
    act.regions, act.pictures = count_action(session, action=action)
    session.add(act)
    session.flush()
    return act


# ---------------------------------------------------------------- runs and imports


@dataclass(frozen=True)
class UndoneWork:
    """The work to undo: a run of the annotators, or an import of annotations. edits: the import's own action."""

    kind: ActKind
    text: str
    brought: BroughtRegions
    edits: str = ""


def run_work(engine: Engine, run_id: int) -> UndoneWork:
    """Return a run, to be undone.

    Raises: UserError: there is no such run.
    """
    while retrying(engine, index_regions):  # regions know their run once they are indexed
        pass
    with reading(engine) as session:
        run = session.get(AnnotationRun, run_id)
    if run is None:
        raise UserError(f"expected the number of a run, got {run_id}: look at the list on the Data page")
    return UndoneWork("undo run", f"run {run_id}", BroughtRegions(run.dataset_id, run_id=run_id))


def import_work(engine: Engine, import_id: int) -> UndoneWork:
    """Return an import, to be undone.

    Raises: UserError: there is no such import.
    """
    with reading(engine) as session:
        found = get_import(session, import_id=import_id)
    ranges = tuple((first, last) for first, last in found.ranges)
    brought = BroughtRegions(found.dataset_id, ranges=ranges)
    return UndoneWork("undo import", f"import {import_id}, {found.file}".rstrip(", "), brought, found.action)


def count_work(engine: Engine, work: UndoneWork) -> BroughtCount:
    """Count what is left of a run or an import, and what an import changed."""
    with reading(engine) as session:
        changes = count_changes(session, action=work.edits) if work.edits else 0
        return replace(count_brought(session, work.brought), changes=changes)


def undo_work(
    engine: Engine,
    work: UndoneWork,
    *,
    who: str,
    action: str,
    everything: bool = False,
    on_progress: OnProgress = lambda regions: None,
) -> ReviewAct:
    """Put into the trash what a run or an import brought, and take back what an import changed, as one act.

    Args:   everything: also regions that somebody judged or edited since; else these stay.
    """
    act = WideAct(work.brought.dataset_id, work.kind, work.text, who, action)
    return do_wide_act(engine, act, _parts(engine, work, everything), on_progress=on_progress)


def _parts(engine: Engine, work: UndoneWork, everything: bool) -> Iterable[Part]:
    while ids := _next_brought(engine, work.brought, everything=everything):
        yield partial(_trash, ids=ids)
    taken: list[UndonePart | None] = []  # what it changed comes after: a picture with its regions cannot be empty
    while work.edits and (not taken or taken[-1]):
        after = taken[-1].last if taken and taken[-1] else 0
        yield partial(_take_back_part, undone=work.edits, after=after, into=taken)


def _next_brought(engine: Engine, brought: BroughtRegions, *, everything: bool) -> list[int]:
    with reading(engine) as session:
        return next_brought(session, brought, everything=everything)


def _take_back_part(
    session: Session, edit: EditAction, *, undone: str, after: int, into: list[UndonePart | None]
) -> ManyEdited:
    into.append(part := undo_part(session, undone=undone, edit=edit, after=after))
    return part.done if part else ManyEdited()


def _trash(session: Session, edit: EditAction, *, ids: list[int]) -> ManyEdited:
    return edit_many(session, ids=ids, edit=edit, values={"status": "deleted"})


# ---------------------------------------------------------------- undo of a wide act


def take_back_wide(
    engine: Engine,
    *,
    undone: str,
    who: str,
    action: str,
    redo: bool = False,
    on_progress: OnProgress = lambda regions: None,
) -> ManyEdited:
    """Undo an act of any size, or redo it, a part at a time; as `undo_act`.

    Raises: UserError: there is no such act of this person, or it cannot be undone.
    """

    def begin(session: Session) -> str:
        act = check_own_act(session, action=undone, who=who)
        if act.kind in ("tag", "untag"):
            raise UserError(f"expected an act that changed regions, got “{act.kind} {act.text}”: undo it on Curate")
        if act.undone_by == action and not redo:
            return act.action  # this call was stopped, and goes on
        if bool(act.undone_by) != redo:
            return ""
        back = act.undone_by if redo else act.action
        if not redo:
            act.undone_by = action
            session.add(act)
        return back

    def end(session: Session) -> None:
        act = lock_act(session, action=undone)
        if act.undone_by == back:
            act.undone_by = ""
            session.add(act)

    back, last, done = retrying(engine, begin), 0, ManyEdited()
    edit = EditAction(who, "undone", undoes=back, action=action)
    while back and (part := retrying(engine, partial(undo_part, undone=back, edit=edit, redo=redo, after=last))):
        done, last = done + part.done, part.last
        on_progress(done.regions)
    if back and redo:  # at the end, so that one that was stopped goes on
        retrying(engine, end)
    return done
