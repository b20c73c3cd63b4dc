"""Questions about many points of a map at once, by name. Habits as in db/queries.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from db.models import Annotation, Image
from db.queries import IN_LIST, batches

CLASS = "class"  # of a picture's facts


@dataclass(frozen=True)
class PointFacts:
    """What a point can be coloured by. status: a region's, or a picture's review. source: "" for pictures."""

    status: str
    source: str
    name: str
    """The picture's class, "" where it has none."""


def region_facts(session: Session, *, ids: Sequence[int]) -> dict[int, PointFacts]:
    """By region."""
    found: dict[int, PointFacts] = {}
    for some in batches(ids, IN_LIST):
        asked = select_rows(col(Annotation.id), col(Annotation.status), col(Annotation.source), col(Image.facts))
        asked = asked.join(Image, col(Image.id) == Annotation.image_id).where(col(Annotation.id).in_(some))
        for number, status, source, facts in session.connection().execute(asked):
            found[number] = PointFacts(status, source, (facts or {}).get(CLASS, ""))
    return found


def picture_facts(session: Session, *, ids: Sequence[int]) -> dict[int, PointFacts]:
    """By picture."""
    found: dict[int, PointFacts] = {}
    for some in batches(ids, IN_LIST):
        asked = select_rows(col(Image.id), col(Image.review), col(Image.facts)).where(col(Image.id).in_(some))
        for number, review, facts in session.connection().execute(asked):
            found[number] = PointFacts(review, "", (facts or {}).get(CLASS, ""))
    return found


def pictures_by_id(session: Session, *, ids: Sequence[int]) -> list[Image]:
    """In the order of the ids; those that are gone are left out."""
    found: dict[int, Image] = {}
    for some in batches(ids, IN_LIST):
        found |= {image.id: image for image in session.exec(select(Image).where(col(Image.id).in_(some)))}
    return [found[number] for number in ids if number in found]
