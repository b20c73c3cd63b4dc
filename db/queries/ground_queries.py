"""Store and find the looks of the Ground page."""

from __future__ import annotations

from sqlmodel import Session

from db.models import GroundQuery
from db.queries.values import must_be_sha256


def save_ground_query(
    session: Session,
    *,
    picture_sha256: str,
    picture_name: str,
    descriptions: str,
    classes: str,
    checkpoint: str,
    threshold: float,
    alpha: float,
    versus: str = "",
) -> GroundQuery:
    """Store one query of the Ground page; its `id` is the link.

    Args:   picture_sha256: 64 hex digits, the stored picture's file name. descriptions, classes: as typed.
            threshold: cosine. alpha: share of the global score, 0..1. versus: the checkpoint beside the first, if any.
    Raises: ValueError: picture_sha256 is not a hash, and so must never become a path.
    """
    must_be_sha256(picture_sha256=picture_sha256)
    query = GroundQuery(
        picture_sha256=picture_sha256,
        picture_name=picture_name,
        descriptions=descriptions,
        classes=classes,
        checkpoint=checkpoint,
        threshold=threshold,
        alpha=alpha,
        versus=versus,
    )
    session.add(query)
    session.flush()
    return query


def get_ground_query(session: Session, *, query_id: str) -> GroundQuery | None:
    """Return the query behind a link; None when there is no such link."""
    return session.get(GroundQuery, query_id)
