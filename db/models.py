"""The tables. A change here needs a migration beside it (CONTRIBUTING.md); tests/test_db.py compares the two."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

ID_BYTES = 12  # 16 url-safe characters: nobody guesses another person's link


class UtcDateTime(TypeDecorator[datetime]):
    """A moment with its zone, UTC at rest. SQLite forgets zones, so they are put on and taken off here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a moment without a zone: nobody could say later which moment it was."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"expected a time with its zone, got {value.isoformat()}: use datetime.now(UTC)")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        return value and (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


class GroundQuery(SQLModel, table=True):
    """One look at a picture on the Ground page, as it was asked, so that its link restores it."""

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
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC), sa_type=UtcDateTime)
