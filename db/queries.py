"""Every question to the database, by name. The caller owns the transaction; nothing here commits."""

from __future__ import annotations

import re

from sqlmodel import Session

from db.models import GroundQuery

SHA256 = re.compile(r"[0-9a-f]{64}")


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
    """Keep one look; its `id` is the link.

    Args:   picture_sha256: 64 hex digits, the stored picture's file name. descriptions, classes: as typed.
            threshold: cosine. alpha: share of the global score, 0..1. versus: the checkpoint beside the first, if any.
    Raises: ValueError: picture_sha256 is not a hash, and so must never become a path.
    """
    if not SHA256.fullmatch(picture_sha256):
        raise ValueError(f"picture_sha256 must be 64 lower-case hex digits, got {picture_sha256!r}")
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
    """The look behind a link; None when there is no such link."""
    return session.get(GroundQuery, query_id)
