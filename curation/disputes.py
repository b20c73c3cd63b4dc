"""Decisions of Label Studio that met another edit: both versions, and one person's choice between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from curation.label_studio import FACTS
from db.curate_queries import (
    AnnotationChange,
    ImageChange,
    annotation_state,
    edit_annotation,
    edit_image,
    get_annotation,
    history_page,
)
from db.engine import Session
from db.models import Image, LabelConflict
from db.queries import get_image
from db.version_queries import locked_conflict, mark_conflict, open_conflicts

Take = Literal["ours", "theirs"]
DECIDED = ("xyxy", "text", "status")  # of a region; the rest follows from them
PAGE = 50


class DisputeError(ValueError):
    """The choice cannot be taken now; one sentence says why."""


@dataclass(frozen=True)
class Dispute:
    """A conflict as it stands now. present, wanted: what differs, by name. version: of what is here. by: its editor."""

    conflict: LabelConflict
    image: Image
    present: Mapping[str, Any]
    wanted: Mapping[str, Any]
    version: int
    by: str


def disputes(session: Session, *, dataset_id: int) -> Iterator[Dispute]:
    """Conflicts that wait for a choice, the oldest first; those are left out whose versions have become equal."""
    after = 0
    while page := open_conflicts(session, dataset_id=dataset_id, after=after, limit=PAGE):
        for conflict in page:
            if (dispute := _dispute(session, conflict)).wanted:
                yield dispute
        after = page[-1].id


def choose(session: Session, *, conflict_id: int, version: int, take: Take, who: str) -> None:
    """Keep what is here, or take what the annotator wanted as an edit of whoever chooses; the same again does nothing.

    Args:   version: of what is here, as the person saw it.
    Raises: DisputeError: there is no such conflict, somebody chose otherwise, or what is here was changed meanwhile.
            ValueError: the picture cannot be as the annotator wanted it, as one with nothing to mark.
    """
    if take not in get_args(Take):
        raise DisputeError(f"expected ours or theirs, got {take!r}: reload the page")
    conflict = locked_conflict(session, conflict_id=conflict_id)
    if conflict is None:
        raise DisputeError(f"there is no conflict {conflict_id}: look again")
    if conflict.choice:
        if conflict.choice != take:
            raise DisputeError(f"this was settled by {conflict.chosen_by} meanwhile ({conflict.choice}): look again")
        return
    dispute = _dispute(session, conflict)
    if dispute.version != version:
        raise DisputeError(f"this was changed by {dispute.by or 'somebody'} meanwhile: look at both versions again")
    if take == "theirs":
        _take(session, dispute, who)
    mark_conflict(session, conflict=conflict, choice=take, who=who)
    mine = open_conflicts(session, dataset_id=conflict.dataset_id, image_id=conflict.image_id)
    for other in mine:
        if not _dispute(session, other).wanted:  # a box that moved has moved for all its descriptions
            mark_conflict(session, conflict=other, choice=take, who=who)


def _dispute(session: Session, conflict: LabelConflict) -> Dispute:
    image = get_image(session, image_id=conflict.image_id)
    assert image is not None, "pictures are never removed"
    state, names, version = _flat(image), tuple(conflict.wanted), image.version
    if conflict.annotation_id is not None:
        row = get_annotation(session, annotation_id=conflict.annotation_id)
        assert row is not None, "regions are never removed"
        state, names, version = annotation_state(row), DECIDED, row.version
    edits = history_page(session, image_id=image.id, annotation_id=conflict.annotation_id)
    by = [edit.who for edit in edits if edit.annotation_id == conflict.annotation_id]
    differ = [name for name in names if state[name] != conflict.wanted[name]]
    present, wanted = ({name: each[name] for name in differ} for each in (state, conflict.wanted))
    return Dispute(conflict, image, present, wanted, version, next(iter(by), ""))


def _flat(image: Image) -> dict[str, Any]:
    """A picture's fields as a conflict names them."""
    facts = image.facts or {}
    whole = {"caption": image.caption, "review": image.review}
    return whole | {name: facts.get(name, "") for name in FACTS}


def _take(session: Session, dispute: Dispute, who: str) -> None:
    conflict, wanted = dispute.conflict, dict(dispute.wanted)
    deed: dict[str, Any] = {
        "expected_version": dispute.version,
        "who": who,
        "reason": f"chosen: Label Studio annotation {conflict.remote_id} by {conflict.who}",
    }
    if conflict.annotation_id is not None:
        if "xyxy" in wanted:
            wanted["xyxy"] = tuple(wanted["xyxy"])
        edit_annotation(session, annotation_id=conflict.annotation_id, change=AnnotationChange(**wanted), **deed)
        return
    facts = dict(dispute.image.facts or {})
    for name in FACTS:
        if (said := wanted.pop(name, None)) is not None:
            facts = {key: text for key, text in facts.items() if key != name} | ({name: said} if said else {})
            wanted["facts"] = facts
    edit_image(session, image_id=conflict.image_id, change=ImageChange(**wanted), **deed)
