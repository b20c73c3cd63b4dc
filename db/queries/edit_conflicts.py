"""Find out whether somebody else edited the same region or image meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session

from db.models import Image, RegionRow
from db.queries.history_queries import BOX_SIDES, last_edit, state_at, state_of
from user_errors import UserError

COMPUTED = ("similarity", "disagreement")  # of a region's state: nobody edits them


class EditConflictError(UserError):
    """A conflict with somebody who was quicker: nothing is written, and the editor may choose between the versions.

    region_id: None where it is about an image as a whole. present, version, by: how it is now, and whose last edit
    that is ("" where it has none). started_from: the state that the editor saw, None where the history does not know
    it. wanted: that state with the editor's change.
    """

    def __init__(
        self,
        *,
        image_id: int,
        region_id: int | None,
        present: dict[str, Any],
        version: int,
        by: str,
        started_from: dict[str, Any] | None,
        wanted: dict[str, Any],
    ) -> None:
        what = f"picture {image_id}" if region_id is None else f"region {region_id}"
        super().__init__(f"{what} was changed by {by or 'somebody'} meanwhile: look at both versions and choose")
        self.image_id, self.region_id = image_id, region_id
        self.present, self.version, self.by = present, version, by
        self.started_from, self.wanted = started_from, wanted


def state_with(state: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state after some columns are set."""
    changed = {name: value for name, value in values.items() if name not in BOX_SIDES}
    if "x1" in values:
        changed["xyxy"] = [values[side] for side in BOX_SIDES]
    return state | changed


def is_so_already(row: RegionRow | Image, values: Mapping[str, Any]) -> bool:
    """Return whether a row is as an edit would make it: its answer was lost, or somebody else did the same."""
    present = state_of(row)
    return state_with(present, {name: value for name, value in values.items() if name not in COMPUTED}) == present


def edit_conflict(
    session: Session, row: RegionRow | Image, *, expected_version: int, values: Mapping[str, Any]
) -> EditConflictError:
    """Return the conflict with the person who edited the row since the expected version."""
    last, started_from = last_edit(session, row), state_at(session, row, expected_version)
    return EditConflictError(
        image_id=row.image_id if isinstance(row, RegionRow) else row.id,
        region_id=row.id if isinstance(row, RegionRow) else None,
        present=state_of(row),
        version=row.version,
        by=last.who if last else "",
        started_from=started_from,
        wanted=state_with(started_from or state_of(row), values),
    )
