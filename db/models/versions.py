"""Define the table of frozen versions."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel

from db.models.columns import UtcDateTime, now


class DatasetVersion(SQLModel, table=True):
    """A frozen state of a data set: a file that never changes, known by its hash."""

    __tablename__ = "dataset_version"
    __table_args__ = (UniqueConstraint("dataset_id", "name"),)

    id: int = Field(default=None, primary_key=True)
    dataset_id: int = Field(foreign_key="dataset.id")
    name: str
    sha256: str
    """Of the file's lines, unpacked."""
    file_name: str
    """Below GRAIN_HOME/versions."""
    pictures: int
    regions: int
    created_by: str
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    note: str = ""
