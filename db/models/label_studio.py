"""Define the tables of the sync with Label Studio: tasks, conflicts, and what could not be taken."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, Index, String, UniqueConstraint
from sqlmodel import Field, SQLModel

from db.models.columns import BIG, UtcDateTime, now, one_of, partial_index

ConflictChoice = Literal["", "ours", "theirs", "agreed"]
"""What became of a conflict. "": nobody has chosen. agreed: the decision was changed, so that none is left."""


TASK_DELETED = "deleted"  # in place of the pushed_hash of a task that a person deleted there


class LabelTask(SQLModel, table=True):
    """An image's task in Label Studio, and when both sides were last synced."""

    __tablename__ = "label_task"
    __table_args__ = (
        UniqueConstraint("project", "image_id"),
        UniqueConstraint("project", "task_id"),
        Index("ix_label_task_image", "image_id"),
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    project: str
    """The server's address and the project's id there."""
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    task_id: int = Field(sa_type=BIG)
    """Label Studio's."""
    pushed_hash: str = ""
    """sha256 of what was pushed last, or TASK_DELETED: equal content is not pushed again."""
    pulled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    remote_updated_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """`updated_at` of the task as it was pulled last."""
    taken: dict[str, str] | None = Field(default=None, sa_type=JSON)
    """Annotation -> its `updated_at` as it was taken last; None where it was before this was kept."""


class LabelLeftover(SQLModel, table=True):
    """A part of an annotation in Label Studio that could not be taken, until it is mended there or its task is gone."""

    __tablename__ = "label_leftover"
    __table_args__ = (
        UniqueConstraint("project", "remote_id"),
        Index("ix_label_leftover_page", "dataset_id", "id"),
        Index("ix_label_leftover_task", "project", "task_id"),
        Index("ix_label_leftover_image", "image_id"),
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    dataset_id: int = Field(foreign_key="dataset.id")
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    project: str
    task_id: int = Field(sa_type=BIG)
    remote_id: int = Field(sa_type=BIG)
    """The annotation in Label Studio."""
    who: str
    """Its annotator."""
    reasons: list[str] = Field(sa_type=JSON)
    """A sentence each."""
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class LabelConflict(SQLModel, table=True):
    """A decision in Label Studio that met another edit here; it is not imported until a person chooses."""

    __tablename__ = "label_conflict"
    __table_args__ = (
        UniqueConstraint("project", "remote_id", "image_id", "target"),
        one_of("choice", ConflictChoice),
        Index("ix_label_conflict_open", "dataset_id", "choice", "id"),
        Index("ix_label_conflict_image", "image_id"),
        partial_index("ix_label_conflict_region", "region_id", where="region_id IS NOT NULL"),
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    dataset_id: int = Field(foreign_key="dataset.id")
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    region_id: int | None = Field(default=None, foreign_key="region.id", sa_type=BIG)
    """None where it is about the picture as a whole."""
    target: str
    """The region's id, or the name of the picture's field."""
    project: str
    remote_id: int = Field(sa_type=BIG)
    """The annotation in Label Studio."""
    who: str
    """Its annotator."""
    wanted: dict[str, Any] = Field(sa_type=JSON)
    """A region's whole state, or the one field of the picture, as the annotator left it."""
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    choice: ConflictChoice = Field(default="", sa_type=String)
    chosen_by: str = ""
    chosen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
