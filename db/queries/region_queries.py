"""Add regions in bulk and read those of some images."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from sqlalchemy import or_
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from db.models import RegionRow, StageResult, Status
from db.queries.bulk import IN_LIST, Added, batches, insert_new
from db.queries.values import check_box, check_known, storable
from user_errors import UserError

BOX_BYTES = struct.Struct("<4d")
STATUSES: tuple[Status, ...] = get_args(Status)
VISIBLE: tuple[Status, ...] = tuple(status for status in STATUSES if status != "deleted")


@dataclass(frozen=True, slots=True)
class NewRegion:
    """A region to add. xyxy: normalized to the upright picture. Other fields as in `db.models.RegionRow`."""

    image_id: int
    xyxy: tuple[float, float, float, float]
    text: str
    source: str
    score: float | None = None
    status: Status = "pending"
    description_id: int | None = None


def regions_of(session: Session, *, image_ids: Collection[int], recipe: str = "") -> dict[int, list[RegionRow]]:
    """Return the regions of some images that nobody deleted, by image, in the order they came.

    Args: recipe: of this one only, not of all and by hand.
    """
    found: dict[int, list[RegionRow]] = {image_id: [] for image_id in image_ids}
    for some in batches(image_ids, IN_LIST):
        asked = select(RegionRow).where(col(RegionRow.image_id).in_(some), RegionRow.status != "deleted")
        if recipe:
            asked = asked.join(StageResult, col(StageResult.id) == RegionRow.stage_result_id)
            asked = asked.where(StageResult.recipe == recipe)
        for region in session.exec(asked.order_by(col(RegionRow.id))):
            found[region.image_id].append(region)
    return found


def add_regions(
    session: Session,
    *,
    dataset_id: int,
    rows: Iterable[NewRegion],
    recipe: str = "",
    stage_result_id: int | None = None,
) -> Added:
    """Add regions in bulk; one of equal picture, box, text, source and recipe is left out, so again adds nothing.

    Rows should come picture by picture: that is what the index is quick at.

    Args:   rows: of pictures of this data set. recipe, stage_result_id: where an annotator found them.
    Raises: UserError: a box is not normalized xyxy with an area, a status is unknown, or a picture does not exist.
    """

    def row(new: NewRegion) -> tuple[Any, ...]:
        x1, y1, x2, y2 = new.xyxy
        check_box(new.xyxy, image_id=new.image_id)
        check_known(new.status, STATUSES, "the status")
        text = storable(new.text)
        identity = f"{text}\0{new.source}\0{recipe}".encode()
        digest = hashlib.blake2b(BOX_BYTES.pack(x1, y1, x2, y2) + identity, digest_size=8).digest()
        place = (dataset_id, new.image_id, stage_result_id, new.description_id, x1, y1, x2, y2)
        key = int.from_bytes(digest, "little", signed=True)
        return *place, text, new.score, new.source, new.status, 1, key

    columns = "dataset_id image_id stage_result_id description_id x1 y1 x2 y2"
    columns += " text score source status version content_key"
    return insert_new(
        session, RegionRow, columns=columns.split(), rows=map(row, rows), unique=("image_id", "content_key")
    )


def get_region(session: Session, *, region_id: int) -> RegionRow | None:
    """Return one region, deleted or not; None when there is none of that id."""
    return session.get(RegionRow, region_id)


def region_of(session: Session, *, region_id: int) -> list[RegionRow]:
    """Return all descriptions of a region's box, deleted or not, first to last; [] when there is no such region."""
    return list(session.exec(_of_box(session, region_id)).all())


def lock_region(session: Session, *, region_id: int) -> list[RegionRow]:
    """Lock and return all descriptions of a region's box, by id: in one order, so that no two wait for each other."""
    return list(session.exec(_of_box(session, region_id).with_for_update()).all())


def _of_box(session: Session, region_id: int) -> SelectOfScalar[RegionRow]:
    """Return the query of all descriptions of the box that a description belongs to."""
    found = session.exec(select(RegionRow.image_id, RegionRow.box_id).where(RegionRow.id == region_id)).first()
    image_id, first = (found[0], found[1] or region_id) if found else (None, region_id)
    asked = select(RegionRow).where(
        RegionRow.image_id == image_id, or_(col(RegionRow.id) == first, col(RegionRow.box_id) == first)
    )
    return asked.order_by(col(RegionRow.id)).execution_options(populate_existing=True)


def pick_region(region: Sequence[RegionRow], *, region_id: int) -> RegionRow:
    """Return one description of a box.

    Raises: UserError: there is none of that id.
    """
    for row in region:
        if row.id == region_id:
            return row
    raise UserError(f"expected the id of a region, got {region_id}: it was removed meanwhile")
