"""Define the tables of novel concepts: labels of people, and leaks from training data."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, Index, String, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from db.models.columns import BIG, UtcDateTime, now, one_of

Likeness = Literal["content", "look", "embedding"]
"""content: the same bytes. look: perceptual hashes a few bits apart. embedding: a cosine above a threshold."""


class ConceptLabel(SQLModel, table=True):
    """One person's label for an image; two people's show how far they agree."""

    __tablename__ = "concept_label"
    __table_args__ = (UniqueConstraint("image_id", "who"), Index("ix_concept_label_page", "dataset_id", "image_id"))

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    dataset_id: int = Field(foreign_key="dataset.id")
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    who: str
    label: str
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    before: str = Field(default="", sa_column_kwargs={"server_default": sql("''")})
    """What the same person said before, for one undo; "" where that was nothing."""
    before_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When that was."""


class ConceptSet(SQLModel, table=True):
    """The classes, licence and intended use of a data set of novel concepts."""

    __tablename__ = "concept_set"

    dataset_id: int = Field(foreign_key="dataset.id", primary_key=True)
    classes: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    """In their order, as curation/exchange/concept_classes.py writes them."""
    licence: str = ""
    intended_use: str = ""
    version: int = 1
    """Grows with every edit, so that the second of two editors learns of the first."""
    updated_by: str
    updated_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class LeakCheck(SQLModel, table=True):
    """The last comparison of a data set with one set of training data."""

    __tablename__ = "leak_check"
    __table_args__ = (UniqueConstraint("dataset_id", "against"),)

    id: int = Field(default=None, primary_key=True)
    dataset_id: int = Field(foreign_key="dataset.id")
    against: str
    """The training data, in words that name it: the data set, the version or the folder of shards."""
    settings: dict[str, Any] = Field(sa_type=JSON)
    """Thresholds and model."""
    compared: int = Field(sa_type=BIG)
    """Training pictures."""
    skipped: int = Field(default=0, sa_type=BIG)
    """Training pictures that could not be read, so that only their contents were compared."""
    checked: int
    """Pictures of the data set."""
    checked_to: int = Field(sa_type=BIG)
    """The largest of their ids: what came later was not compared."""
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class LeakSuspect(SQLModel, table=True):
    """An image that may be in the training data, beside the training image that it is like."""

    __tablename__ = "leak_suspect"
    __table_args__ = (
        UniqueConstraint("image_id", "against", "match_sha256"),
        one_of("how", Likeness),
        Index("ix_leak_suspect_page", "dataset_id", "id"),
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    dataset_id: int = Field(foreign_key="dataset.id")
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    against: str
    how: Likeness = Field(sa_type=String)
    """By the strongest of the ways in which the two are alike."""
    value: float
    """0 for equal contents, bits that differ for looks, the cosine for embeddings."""
    match_sha256: str
    """Of the training picture's file; its thumbnail lies below GRAIN_HOME/thumbnails."""
    match_name: str
    """For people."""
    decision: str = ""
    """keep, drop, or "" while nobody has decided."""
    decided_by: str = ""
    decided_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
