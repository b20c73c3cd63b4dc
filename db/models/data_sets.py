"""Define the tables of data sets, their images, and the files that an import refused."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sqlalchemy import JSON, Index, String, UniqueConstraint
from sqlmodel import Field, SQLModel

from db.models.columns import BIG, NEVER_AGAIN, UtcDateTime, now

Review = Literal["open", "reviewed", "empty"]
"""open: nobody has finished the picture. reviewed: somebody has. empty: somebody has, and there is nothing to mark."""


class Dataset(SQLModel, table=True):
    """Pictures that belong together."""

    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    source: str = ""
    """What it was made from, for display."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Image(SQLModel, table=True):
    """One picture of a data set, once per content."""

    __table_args__ = (
        UniqueConstraint("dataset_id", "sha256"),
        Index("ix_image_page", "dataset_id", "id"),
        Index("ix_image_phash", "dataset_id", "phash"),
        Index("ix_image_review", "dataset_id", "review", "id"),
        NEVER_AGAIN,
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    dataset_id: int = Field(foreign_key="dataset.id")
    sha256: str
    """Of the file's bytes."""
    phash: str = ""
    """Perceptual hash, 16 hex digits; "" where none was made."""
    width: int
    """Pixels, upright."""
    height: int
    """Pixels, upright."""
    location: str
    """The picture's file, or the archive or shard that holds it."""
    member: str = ""
    """Its name inside the archive or shard; "" for a plain file."""
    origin_row: int | None = None
    """Row of the table (CSV, TSV, parquet) that named it, from 0."""
    caption: str = ""
    """As it came with the picture, or as a curator wrote it."""
    has_thumbnail: bool = False
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    review: Review = Field(default="open", sa_type=String, sa_column_kwargs={"server_default": "open"})
    facts: dict[str, str] | None = Field(default=None, sa_type=JSON)
    """Of the whole picture, by name: class, brand, release date, where and when it was found. None: there are none."""
    version: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    """Grows with every edit of caption, facts or review."""


class RefusedFile(SQLModel, table=True):
    """A file that an import left out, and why."""

    __tablename__ = "refused_file"
    __table_args__ = (
        UniqueConstraint("dataset_id", "import_id", "location", "member"),
        Index("ix_refused_file_page", "dataset_id", "import_id", "id"),
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    dataset_id: int = Field(foreign_key="dataset.id")
    import_id: str
    """The import's own name, chosen by it, so that one import can be listed."""
    location: str
    member: str = ""
    """Name inside an archive, or "row 17" of a table."""
    reason: str
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
