"""Define the table of jobs: long work, its place in the queue, and how it ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, Index, String
from sqlmodel import Field, SQLModel

from db.models.columns import BIG, UtcDateTime, freeze_columns, now, one_of

JobState = Literal["queued", "running", "paused", "done", "failed", "cancelled", "interrupted"]
"""interrupted: its process ended without a word; it is tried again by itself, or a person resumes it."""

JobRequest = Literal["", "pause", "cancel"]
"""What a running job was asked; it looks at every heartbeat."""


class Job(SQLModel, table=True):
    """One long-running job: its settings, its runner and its progress.

    Its config and argv never change, but for the name of its data set where that gets another.
    """

    __table_args__ = (
        one_of("state", JobState),
        one_of("request", JobRequest),
        Index("ix_job_queue", "state", "device", "priority", "id"),
        Index("ix_job_owner", "owner", "id"),
    )

    id: int = Field(default=None, primary_key=True)
    kind: str
    """annotate, train, evaluate, …"""
    owner: str
    config: dict[str, Any] = Field(sa_type=JSON)
    argv: list[str] = Field(sa_type=JSON)
    """What is run, word by word; no shell ever reads it."""
    state: JobState = Field(default="queued", sa_type=String)
    request: JobRequest = Field(default="", sa_type=String)
    priority: int = 0
    """The larger goes first; among equals the older."""
    device: str = "cpu"
    """What it needs a slot of."""
    slot: int | None = None
    """The first slot of its device that it has, from 0, while it runs."""
    width: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    """How many slots in a row it takes."""
    attempts: int = 0
    """How often it was taken up."""
    retries: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """How often it was tried again by itself without getting further."""
    retry_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When it is tried again by itself; None where it is not."""
    retry_done: int = Field(default=0, sa_type=BIG, sa_column_kwargs={"server_default": "0"})
    """How far it was when the count of retries began."""
    worker: str = ""
    """Who took it up last."""
    token: int = 0
    """Fencing: grows every time the job is taken up; a write under an older one is refused."""
    heartbeat_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    process_group: int | None = None
    process_started: float | None = None
    """Seconds since 1970, as the system tells it: with the number it names one process, however numbers are reused."""
    backend: str = "local"
    external_id: str = ""
    """The cluster's name for its work while that may go on: the next runner asks for it before it submits any."""
    done: int = Field(default=0, sa_type=BIG)
    total: int = Field(default=0, sa_type=BIG)
    """0 while unknown."""
    message: str = ""
    """Where it is, for people."""
    exit_reason: str = ""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The last time it was taken up."""
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


freeze_columns(Job, "config", "argv")


class JobWait(SQLModel, table=True):
    """A job that must be done before another one begins: what makes its data."""

    __tablename__ = "job_wait"
    __table_args__ = (Index("ix_job_wait_before", "before_id"),)

    job_id: int = Field(foreign_key="job.id", primary_key=True)
    before_id: int = Field(foreign_key="job.id", primary_key=True)
