"""Define the tables of reviewing many regions at once: acts with one undo each, tags, saved filters."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sqlalchemy import Index, String, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from db.models.columns import BIG, UtcDateTime, now, one_of, partial_index

ActKind = Literal[
    "accept",
    "reject",
    "reopen",
    "relabel",
    "tag",
    "untag",
    "delete",
    "restore",
    "keep one",
    "empty trash",
    "restore version",
    "undo run",
    "undo import",
]
"""What an act does to all of its regions."""


class ReviewAct(SQLModel, table=True):
    """One act of a person on many regions; its edits in the history have its action."""

    __tablename__ = "review_act"
    __table_args__ = (
        UniqueConstraint("action"),
        one_of("kind", ActKind),
        Index("ix_review_act_latest", "dataset_id", "id"),
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    action: str
    dataset_id: int = Field(foreign_key="dataset.id")
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    who: str
    kind: ActKind = Field(sa_type=String)
    text: str = ""
    """The new words, the tag, the version, the run or the import."""
    regions: int
    """That it changed."""
    pictures: int
    undone_by: str = ""
    """The action that took it back; "" while it holds."""


class RegionTag(SQLModel, table=True):
    """A tag of a region. What an act removed stays here, so that an undo finds it."""

    __tablename__ = "region_tag"
    __table_args__ = (
        partial_index("ix_region_tag_there", "dataset_id", "tag", "region_id", where="removed_by = ''"),
        Index("ix_region_tag_added", "added_by"),
        partial_index("ix_region_tag_removed", "removed_by", where="removed_by <> ''"),
        partial_index("ix_region_tag_returned", "returned_by", where="returned_by <> ''"),
    )

    region_id: int = Field(foreign_key="region.id", primary_key=True, sa_type=BIG)
    tag: str = Field(primary_key=True)
    dataset_id: int = Field(foreign_key="dataset.id")
    added_by: str
    """The action that added it last."""
    removed_by: str = Field(default="", sa_column_kwargs={"server_default": sql("''")})
    """The action that removed it; "" while it is there."""
    returned_by: str = Field(default="", sa_column_kwargs={"server_default": sql("''")})
    """The undo that brought it back last, so that this can be redone; "" for none."""


class SavedFilter(SQLModel, table=True):
    """Filters of the Curate page under a name, for everybody who works on the data set."""

    __tablename__ = "saved_filter"
    __table_args__ = (UniqueConstraint("dataset_id", "name"),)

    id: int = Field(default=None, primary_key=True)
    dataset_id: int = Field(foreign_key="dataset.id")
    name: str
    address: str
    """The parameters of the page's address."""
    who: str
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
