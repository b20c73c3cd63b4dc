"""List decisions of Label Studio that met another edit, with both versions, and take one person's choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from curation.label_studio.convert import FACTS
from db.engine import Session
from db.models import Image, LabelConflict
from db.queries.curate_queries import edit_image, edit_region
from db.queries.data_set_queries import get_image
from db.queries.edit_values import ImageChange, RegionChange
from db.queries.history_queries import history_page, region_state
from db.queries.label_studio_queries import lock_conflict, mark_conflict, open_conflicts
from db.queries.region_queries import get_region
from user_errors import UserError

Take = Literal["ours", "theirs"]
DECIDED = ("xyxy", "text", "status")  # of a region; the rest follows from them
PAGE = 50


@dataclass(frozen=True)
class Conflict:
    """A conflict as it stands now. present, wanted: what differs, by name. version: of what is here. by: its editor."""

    row: LabelConflict
    image: Image
    present: Mapping[str, Any]
    wanted: Mapping[str, Any]
    version: int
    by: str


def pending_conflicts(session: Session, *, dataset_id: int) -> Iterator[Conflict]:
    """Yield conflicts that wait for a choice, the oldest first; leave out those whose versions have become equal."""
    after = 0
    while page := open_conflicts(session, dataset_id=dataset_id, after=after, limit=PAGE):
        for conflict in page:
            if (found := _compare(session, conflict)).wanted:
                yield found
        after = page[-1].id


def resolve_conflict(session: Session, *, conflict_id: int, version: int, take: Take, who: str) -> None:
    """Keep what is here, or take what the annotator wanted as an edit by `who`; the same again does nothing.

    Args:   version: of what is here, as the person saw it.
    Raises: UserError: there is no such conflict, somebody chose otherwise, or what is here was changed meanwhile.
            ValueError: the picture cannot be as the annotator wanted it, as one with nothing to mark.
    """
    if take not in get_args(Take):
        raise UserError(f"expected ours or theirs, got {take!r}: reload the page")
    conflict = lock_conflict(session, conflict_id=conflict_id)
    if conflict is None:
        raise UserError(f"there is no conflict {conflict_id}: look again")
    if conflict.choice:
        if conflict.choice != take:
            raise UserError(f"this was settled by {conflict.chosen_by} meanwhile ({conflict.choice}): look again")
        return
    found = _compare(session, conflict)
    if found.version != version:
        raise UserError(f"this was changed by {found.by or 'somebody'} meanwhile: look at both versions again")
    if take == "theirs":
        _take_theirs(session, found, who)
    mark_conflict(session, conflict=conflict, choice=take, who=who)
    mine = open_conflicts(session, dataset_id=conflict.dataset_id, image_id=conflict.image_id)
    for other in mine:
        if not _compare(session, other).wanted:  # a box that moved has moved for all its descriptions
            mark_conflict(session, conflict=other, choice=take, who=who)


def _compare(session: Session, conflict: LabelConflict) -> Conflict:
    """Compare what is here now with what the annotator wanted."""
    image = get_image(session, image_id=conflict.image_id)
    assert image is not None, "pictures are never removed"
    state, names, version = _flat(image), tuple(conflict.wanted), image.version
    if conflict.region_id is not None:
        row = get_region(session, region_id=conflict.region_id)
        assert row is not None, "regions are never removed"
        state, names, version = region_state(row), DECIDED, row.version
    edits = history_page(session, image_id=image.id, region_id=conflict.region_id)
    by = [edit.who for edit in edits if edit.region_id == conflict.region_id]
    differ = [name for name in names if state[name] != conflict.wanted[name]]
    present, wanted = ({name: each[name] for name in differ} for each in (state, conflict.wanted))
    return Conflict(conflict, image, present, wanted, version, next(iter(by), ""))


def _flat(image: Image) -> dict[str, Any]:
    """Return a picture's fields as a conflict names them."""
    facts = image.facts or {}
    image_fields = {"caption": image.caption, "review": image.review}
    return image_fields | {name: facts.get(name, "") for name in FACTS}


def _take_theirs(session: Session, found: Conflict, who: str) -> None:
    """Edit the region or picture to be as the annotator wanted it."""
    conflict, wanted = found.row, dict(found.wanted)
    edit: dict[str, Any] = {
        "expected_version": found.version,
        "who": who,
        "reason": f"chosen: Label Studio annotation {conflict.remote_id} by {conflict.who}",
    }
    if conflict.region_id is not None:
        if "xyxy" in wanted:
            wanted["xyxy"] = tuple(wanted["xyxy"])
        edit_region(session, region_id=conflict.region_id, change=RegionChange(**wanted), **edit)
        return
    facts = dict(found.image.facts or {})
    for name in FACTS:
        if (value := wanted.pop(name, None)) is not None:
            facts = {key: text for key, text in facts.items() if key != name} | ({name: value} if value else {})
            wanted["facts"] = facts
    edit_image(session, image_id=conflict.image_id, change=ImageChange(**wanted), **edit)
