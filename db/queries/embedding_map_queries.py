"""Query many points of a map at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select as select_rows
from sqlmodel import Session, col

from db.models import Image, RegionRow
from db.queries.bulk import IN_LIST, batches

CLASS = "class"  # of a picture's facts


@dataclass(frozen=True)
class PointFacts:
    """The facts that colour a point. status: a region's, or an image's review. source: "" for images."""

    status: str
    source: str
    name: str
    """The picture's class, "" where it has none."""


def region_facts(session: Session, *, ids: Sequence[int]) -> dict[int, PointFacts]:
    """Return the facts of regions, by region."""
    found: dict[int, PointFacts] = {}
    for some in batches(ids, IN_LIST):
        asked = select_rows(col(RegionRow.id), col(RegionRow.status), col(RegionRow.source), col(Image.facts))
        asked = asked.join(Image, col(Image.id) == RegionRow.image_id).where(col(RegionRow.id).in_(some))
        for number, status, source, facts in session.connection().execute(asked):
            found[number] = PointFacts(status, source, (facts or {}).get(CLASS, ""))
    return found


def picture_facts(session: Session, *, ids: Sequence[int]) -> dict[int, PointFacts]:
    """Return the facts of images, by image."""
    found: dict[int, PointFacts] = {}
    for some in batches(ids, IN_LIST):
        asked = select_rows(col(Image.id), col(Image.review), col(Image.facts)).where(col(Image.id).in_(some))
        for number, review, facts in session.connection().execute(asked):
            found[number] = PointFacts(review, "", (facts or {}).get(CLASS, ""))
    return found
