"""Define the tables of audited claims, the verdicts of people on them, and the random sample."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, Index, String, UniqueConstraint
from sqlmodel import Field, SQLModel

from db.models.columns import BIG, UtcDateTime, now, one_of

ClaimKind = Literal["object", "attribute", "part", "count", "relation", "text"]

Verdict = Literal["supported", "unsupported", "cannot tell"]
"""What the picture does to a claim. cannot tell: the evidence does not decide, and nobody is to take it for either."""


class AuditedClaim(SQLModel, table=True):
    """One claim of a description, with the auditor's verdict and evidence."""

    __tablename__ = "audited_claim"
    __table_args__ = (
        UniqueConstraint("stage_result_id", "description_id", "position"),
        one_of("kind", ClaimKind),
        one_of("verdict", Verdict),
        Index("ix_audited_claim_worst", "dataset_id", "recipe", "probability", "id"),
        Index("ix_audited_claim_group", "dataset_id", "recipe", "kind", "verdict"),
        Index("ix_audited_claim_image", "image_id"),
        Index("ix_audited_claim_description", "description_id"),
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    dataset_id: int = Field(foreign_key="dataset.id")
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    stage_result_id: int = Field(foreign_key="stage_result.id", sa_type=BIG)
    description_id: int = Field(foreign_key="description.id", sa_type=BIG)
    recipe: str
    """The audit's."""
    position: int
    """Among the description's claims, from 0."""
    owner: int
    """The position of the object or part that it is about; its own for one of these."""
    kind: ClaimKind = Field(sa_type=String)
    span_start: int
    span_end: int
    """Its span in the description, half open."""
    words: str
    """The words of the span, for display and search."""
    verdict: Verdict = Field(sa_type=String)
    """The auditor's."""
    probability: float | None = None
    """Of supported; None where no source could say anything."""
    evidence: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    """Each source's scores beside those of its counterfactuals."""
    settled: Verdict | None = Field(default=None, sa_type=String)
    """What people say; the last one's, where they differ. None: nobody has said anything."""
    describer: str = ""
    """model@revision that wrote the description."""
    prompts: str = ""
    """The version of its questions, "" where it was asked none."""
    stages: int = 0
    """How many questions led to the description; 0 where it was asked none."""
    subject: str = ""
    """The describer's, of the picture."""


class ClaimVerdict(SQLModel, table=True):
    """One person's verdict on a claim; two people's show how far they agree."""

    __tablename__ = "claim_verdict"
    __table_args__ = (UniqueConstraint("claim_id", "who"), one_of("verdict", Verdict))

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    claim_id: int = Field(foreign_key="audited_claim.id", sa_type=BIG)
    who: str
    verdict: Verdict = Field(sa_type=String)
    note: str = ""
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class AuditSample(SQLModel, table=True):
    """A claim that was drawn at random for people."""

    __tablename__ = "audit_sample"
    __table_args__ = (Index("ix_audit_sample_page", "dataset_id", "recipe", "position"),)

    claim_id: int = Field(foreign_key="audited_claim.id", sa_type=BIG, primary_key=True)
    dataset_id: int = Field(foreign_key="dataset.id")
    recipe: str
    position: int
    """In the order of the draw, from 0."""
    stratum: str
    """kind / auditor's verdict"""
    population: int
    """Claims of the stratum when it was drawn."""
    doubled: bool = False
    """Whether two people are to judge it."""
