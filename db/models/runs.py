"""Define the tables of annotation runs: stage results, descriptions, and the leases of workers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, Index, String, UniqueConstraint
from sqlmodel import Field, SQLModel

from db.models.columns import BIG, UtcDateTime, freeze_columns, now, one_of

Stage = Literal["describe", "localize", "audit"]

StageState = Literal["done", "quarantined", "failed"]
"""done: parsed. quarantined: answered, but not in a form that can be used. failed: no answer."""

RunState = Literal["running", "paused", "done", "failed", "cancelled", "interrupted"]


class AnnotationRun(SQLModel, table=True):
    """One pass of the annotators over a data set. Its config never changes."""

    __tablename__ = "annotation_run"
    __table_args__ = (one_of("state", RunState), Index("ix_annotation_run_page", "dataset_id", "id"))

    id: int = Field(default=None, primary_key=True)
    dataset_id: int = Field(foreign_key="dataset.id")
    job_id: int | None = Field(default=None, foreign_key="job.id")
    """None where it was started from a terminal."""
    config: dict[str, Any] = Field(sa_type=JSON)
    recipes: dict[str, str] = Field(sa_type=JSON)
    """Stage -> recipe."""
    state: RunState = Field(default="running", sa_type=String)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class RunTally(SQLModel, table=True):
    """The counts of one worker of a run at one stage; updated with every image, so that nobody counts millions.

    Results that were copied from equal work are not counted: they take no time.

    A row a worker: those of PostgreSQL would queue up for a shared one. Only sums over them mean something, since a
    picture that one worker failed at and another did is taken off in the other's row.
    """

    __tablename__ = "run_tally"

    run_id: int = Field(foreign_key="annotation_run.id", primary_key=True)
    worker: str = Field(primary_key=True)
    stage: Stage = Field(sa_type=String, primary_key=True)
    state: StageState = Field(sa_type=String, primary_key=True)
    pictures: int = 0
    seconds: float = 0.0
    """Spent on them, tries that failed included."""
    tokens: int = Field(default=0, sa_type=BIG)


class StageResult(SQLModel, table=True):
    """The result of one stage on one image.

    key: sha256 of image hash + stage + model@revision + prompt version + parameters: equal work has an equal key, in
    whatever data set. recipe: the same without the image, so that a plan is one COUNT.
    """

    __tablename__ = "stage_result"
    __table_args__ = (
        UniqueConstraint("image_id", "recipe"),
        one_of("stage", Stage),
        one_of("state", StageState),
        Index("ix_stage_result_key", "key"),
        Index("ix_stage_result_page", "dataset_id", "recipe", "state", "image_id"),
        Index("ix_stage_result_run", "run_id", "state"),
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    dataset_id: int = Field(foreign_key="dataset.id")
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    run_id: int | None = Field(default=None, foreign_key="annotation_run.id")
    key: str
    recipe: str
    stage: Stage = Field(sa_type=String)
    source: str
    """model@revision"""
    state: StageState = Field(sa_type=String)
    reason: str = ""
    """Why it is quarantined or failed, in a sentence that many pictures can share."""
    raw: list[str] = Field(default_factory=list, sa_type=JSON)
    """The model's texts as they came, in order."""
    subject: str = ""
    """What the describer takes for the primary visual subject."""
    caption: str = ""
    """The describer's, of the whole picture."""
    seconds: float = 0.0
    tokens: int = 0
    attempts: int = 1
    """Tries since the run began that tried last, those of runs beside it included."""
    lease_token: str = ""
    """The lease it was written under, so that a writer that asks again learns that it had succeeded."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Description(SQLModel, table=True):
    """One short text about an image, not yet localized."""

    __table_args__ = (UniqueConstraint("stage_result_id", "position"), Index("ix_description_image", "image_id"))

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    stage_result_id: int = Field(foreign_key="stage_result.id", sa_type=BIG)
    position: int
    """From 0, in the order of the text it was parsed from."""
    text: str


class ImageLease(SQLModel, table=True):
    """A worker's right to write one image's result until it expires; the row goes when the result is written."""

    __tablename__ = "image_lease"
    __table_args__ = (Index("ix_image_lease_expiry", "recipe", "expires_at"), Index("ix_image_lease_token", "token"))

    image_id: int = Field(foreign_key="image.id", sa_type=BIG, primary_key=True)
    recipe: str = Field(primary_key=True)
    worker: str = Field(index=True)
    token: str
    """Fencing: never used twice, and only its present holder's write is taken."""
    expires_at: datetime = Field(sa_type=UtcDateTime)


freeze_columns(AnnotationRun, "config", "recipes")
