"""Define the table of looks on the Ground page."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlmodel import Field, SQLModel

from db.models.columns import UtcDateTime, now

ID_BYTES = 12  # 16 url-safe characters: nobody guesses another person's link


class GroundQuery(SQLModel, table=True):
    """One query of the Ground page, as it was sent, so that its link restores it."""

    __tablename__ = "ground_query"

    id: str = Field(default_factory=lambda: secrets.token_urlsafe(ID_BYTES), primary_key=True)
    picture_sha256: str
    """Names the file: GRAIN_HOME/pictures/<sha256>.png."""
    picture_name: str
    """What the person called it; for display only, never a path."""
    descriptions: str
    """As typed, one a line."""
    classes: str
    """As typed."""
    checkpoint: str
    versus: str = ""
    """The checkpoint beside it, or "" for none."""
    threshold: float
    """Cosine."""
    alpha: float
    """Share of the global score, 0..1."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
