"""Define the tables of regions, their tallies and their history."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, Index, String, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from db.models.columns import BIG, NEVER_AGAIN, UtcDateTime, now, one_of, partial_index

Status = Literal["pending", "accepted", "rejected", "deleted"]
"""deleted: gone from sight, whole in the table, so that it can be restored."""

EditKind = Literal["created", "edited", "accepted", "rejected", "reopened", "deleted", "restored", "undone"]
"""What an edit did. reopened: a verdict was taken back. undone: an earlier edit was taken back."""


class RegionRow(SQLModel, table=True):
    """A region: a box and its description, normalized xyxy of the upright picture.

    Rows come by the million: `add_regions` checks them, in a tenth of the time that constraints take. What orders,
    searches and counts them is made later, a batch at a time (`index_regions`): it would halve an import's speed.
    """

    __tablename__ = "region"
    __table_args__ = (
        # 64 bits within one picture: equal content is found by a small index that grows where the picture's rows are
        UniqueConstraint("image_id", "content_key"),
        Index("ix_region_status", "dataset_id", "status", "id"),
        Index("ix_region_source", "dataset_id", "source", "status", "id"),
        partial_index("ix_region_new", "id", where="indexed IS false"),
        partial_index("ix_region_score", "dataset_id", "status", "score", "id", where="indexed IS true"),
        partial_index(
            "ix_region_disagreement",
            # the last two are asked of many of them: a walk in its order reads no row but those of the page
            *("dataset_id", "status", "disagreement", "id", "score", "indexed"),
            where="disagreement IS NOT NULL",
        ),
        partial_index("ix_region_run", "run_id", "status", "id", where="run_id IS NOT NULL"),
        # with each row that is deleted the database looks for rows that point at it
        partial_index("ix_region_box", "box_id", where="box_id IS NOT NULL"),
        partial_index("ix_region_description", "description_id", where="description_id IS NOT NULL"),
        partial_index("ix_region_stage_result", "stage_result_id", where="stage_result_id IS NOT NULL"),
        NEVER_AGAIN,
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    dataset_id: int = Field(foreign_key="dataset.id")
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    stage_result_id: int | None = Field(default=None, foreign_key="stage_result.id", sa_type=BIG)
    """None where a person drew it or a file brought it."""
    description_id: int | None = Field(default=None, foreign_key="description.id", sa_type=BIG)
    """The description that the box was looked for with."""
    x1: float
    y1: float
    x2: float
    y2: float
    text: str
    score: float | None = None
    """The localizer's; None from a person."""
    source: str
    """model@revision or human:name"""
    status: Status = Field(default="pending", sa_type=String)
    version: int = 1
    """Grows with every edit, so that the second of two editors learns of the first."""
    content_key: int = Field(sa_type=BigInteger)
    """Hash of box, text, source and recipe as it came; an edit leaves it, so that the same work again adds nothing."""
    box_id: int | None = Field(default=None, foreign_key="region.id", sa_type=BIG)
    """Several descriptions of one box: the id of the first of them. None: its own is the first."""
    similarity: float | None = None
    """GRAIN's cosine of box and text; None where nobody asked."""
    disagreement: float | None = None
    """How far score and similarity are apart, on the scale of the program that wrote both; None where nobody asked."""
    run_id: int | None = Field(default=None, foreign_key="annotation_run.id")
    """The stage result's, once the row is indexed."""
    indexed: bool = Field(default=False, sa_column_kwargs={"server_default": sql("false")})
    """Whether score order, text search, run and tallies know it."""


class ImportRecord(SQLModel, table=True):
    """An import of annotations, and what it brought, so that it can be undone whole."""

    __tablename__ = "annotation_import"
    __table_args__ = (UniqueConstraint("action"), Index("ix_annotation_import_page", "dataset_id", "id"))

    id: int = Field(default=None, primary_key=True)
    dataset_id: int = Field(foreign_key="dataset.id")
    action: str
    """Of the edits in the history that it made of what was there."""
    file: str
    format: str
    who: str
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    regions: int = Field(default=0, sa_type=BIG)
    """That it added."""
    ranges: list[list[int]] = Field(default_factory=list, sa_type=JSON)
    """The first and the last id of each row of regions that it added."""


class RegionTally(SQLModel, table=True):
    """The number of indexed regions with one data set, source and status, so that nobody counts millions."""

    __tablename__ = "region_tally"

    dataset_id: int = Field(foreign_key="dataset.id", primary_key=True)
    source: str = Field(primary_key=True)
    status: Status = Field(sa_type=String, primary_key=True)
    regions: int = Field(default=0, sa_type=BIG)


class RegionEdit(SQLModel, table=True):
    """One edit of a region or, where region_id is None, of an image as a whole. Rows are only ever added."""

    __tablename__ = "region_edit"
    __table_args__ = (
        one_of("what", EditKind),
        Index("ix_region_edit_image", "image_id", "id"),
        Index("ix_region_edit_region", "region_id", "version"),
        Index("ix_region_edit_at", "dataset_id", "at"),
        Index("ix_region_edit_undoes", "undoes"),
        Index("ix_region_edit_action", "action", "id"),
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    action: str
    """Shared by the rows of one action, as when a box moves that has several descriptions: they are undone together."""
    dataset_id: int = Field(foreign_key="dataset.id")
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    region_id: int | None = Field(default=None, foreign_key="region.id", sa_type=BIG)
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    who: str
    what: EditKind = Field(sa_type=String)
    version: int
    """After the edit."""
    before: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    """Box, text, status, source, score, similarity, region; or caption, facts, review. None: there was nothing."""
    after: dict[str, Any] = Field(sa_type=JSON)
    from_model: str = ""
    """model@revision that proposed it, where one did."""
    reason: str = ""
    undoes: str | None = None
    """The action that this one took back."""
