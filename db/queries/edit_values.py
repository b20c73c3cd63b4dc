"""Check what an edit sets before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from sqlmodel import Session, select

from db.models import Image, RegionRow, Review, Status
from db.queries.history_queries import BOX_SIDES
from db.queries.region_queries import STATUSES
from db.queries.values import check_box, check_known, storable
from user_errors import UserError


@dataclass(frozen=True)
class RegionChange:
    """A change of a region; None leaves as it is. xyxy: normalized to the upright picture.

    similarity, disagreement: GRAIN's of the new box or text. When either changes and they are not given, they are
    forgotten, since they were said of another region.
    """

    xyxy: tuple[float, float, float, float] | None = None
    text: str | None = None
    status: Status | None = None
    source: str | None = None
    similarity: float | None = None
    disagreement: float | None = None


@dataclass(frozen=True)
class ImageChange:
    """A change of an image as a whole; None leaves as it is. facts: all of them, by name."""

    caption: str | None = None
    facts: Mapping[str, str] | None = None
    review: Review | None = None


def region_values(change: RegionChange, image_id: int) -> dict[str, Any]:
    """Return the columns that a change sets, checked.

    Raises: UserError: a box without an area, or an unknown status.
    """
    values: dict[str, Any] = {}
    if change.xyxy is not None:
        check_box(change.xyxy, image_id=image_id)
        values |= dict(zip(BOX_SIDES, map(float, change.xyxy), strict=True))
    if change.status is not None:
        check_known(change.status, STATUSES, "the status")
        values["status"] = change.status
    for name in ("text", "source"):
        if getattr(change, name) is not None:
            values[name] = storable(getattr(change, name))
    for name in ("similarity", "disagreement"):
        if getattr(change, name) is not None:
            values[name] = float(getattr(change, name))
    return values


def image_values(session: Session, image: Image, change: ImageChange) -> dict[str, Any]:
    """Return the columns that a change sets, checked.

    Raises: UserError: a fact that is no text, or "empty" while regions of it are accepted.
    """
    values: dict[str, Any] = {}
    if change.caption is not None:
        values["caption"] = storable(change.caption)
    if change.facts is not None:
        if not all(isinstance(word, str) for fact in change.facts.items() for word in fact):
            raise UserError(f"expected facts as text by name, got {dict(change.facts)!r}: spell numbers and dates out")
        values["facts"] = {storable(name): storable(fact) for name, fact in change.facts.items()}
    if change.review is not None:
        check_known(change.review, get_args(Review), "the review state")
        accepted = (RegionRow.image_id == image.id, RegionRow.status == "accepted")
        if change.review == "empty" and session.exec(select(RegionRow.id).where(*accepted).limit(1)).first():
            raise UserError(
                f"picture {image.id} has accepted regions, so it is not one with nothing to mark: "
                "reject or delete them, or call it reviewed"
            )
        values["review"] = change.review
    return values
