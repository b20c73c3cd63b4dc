"""The tables. A change here needs a migration beside it (CONTRIBUTING.md); tests/test_db.py compares the two."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Index,
    Integer,
    String,
    UniqueConstraint,
    event,
    inspect,
)
from sqlalchemy import text as sql
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

ID_BYTES = 12  # 16 url-safe characters: nobody guesses another person's link
BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only under the name INTEGER

Stage = Literal["describe", "localize", "audit"]
StageState = Literal["done", "quarantined", "failed"]
"""done: parsed. quarantined: answered, but not in a form that can be used. failed: no answer."""
Status = Literal["pending", "accepted", "rejected", "deleted"]
"""deleted: gone from sight, whole in the table, so that it can be restored."""
Review = Literal["open", "reviewed", "empty"]
"""open: nobody has finished the picture. reviewed: somebody has. empty: somebody has, and there is nothing to mark."""
What = Literal["created", "edited", "accepted", "rejected", "reopened", "deleted", "restored", "undone"]
"""What an edit did. reopened: a verdict was taken back. undone: an earlier edit was taken back."""
ClaimKind = Literal["object", "attribute", "part", "count", "relation", "text"]
Verdict = Literal["supported", "unsupported", "cannot tell"]
"""What the picture does to a claim. cannot tell: the evidence does not decide, and nobody is to take it for either."""
Likeness = Literal["content", "look", "embedding"]
"""content: the same bytes. look: perceptual hashes a few bits apart. embedding: a cosine above a threshold."""
Role = Literal["viewer", "curator", "admin"]
RunState = Literal["running", "paused", "done", "failed", "cancelled", "interrupted"]
Choice = Literal["", "ours", "theirs", "agreed"]
"""What became of a conflict. "": nobody has chosen. agreed: the decision was changed, so that none is left."""
JobState = Literal["queued", "running", "paused", "done", "failed", "cancelled", "interrupted"]
"""interrupted: its process ended without a word; it can be queued again."""
Request = Literal["", "pause", "cancel"]
"""What a running job was asked; it looks at every heartbeat."""


def one_of(column: str, words: Any) -> CheckConstraint:
    """A column that holds one of a Literal's words."""
    allowed = ", ".join(f"'{word}'" for word in get_args(words))
    return CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_is_known")


def partial(name: str, *columns: str, where: str) -> Index:
    """An index of some rows only; a question must say the condition in these words to use it."""
    return Index(name, *columns, sqlite_where=sql(where), postgresql_where=sql(where))


def described_here(name: str | None, _kind: str, _parents: Any) -> bool:
    """For alembic: whether this file describes tables and indexes of that name; text search's are the migrations'."""
    return name is None or not name.startswith(("annotation_text", "ix_annotation_text"))


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


def now() -> datetime:
    """This moment, UTC."""
    return datetime.now(UTC)


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
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


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
    """What one worker of a run has come to at one stage; kept up with every picture, so that nobody counts millions.

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
    """What one stage made of one picture.

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
    """One short text about a picture, before anybody looked where it holds."""

    __table_args__ = (UniqueConstraint("stage_result_id", "position"), Index("ix_description_image", "image_id"))

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    stage_result_id: int = Field(foreign_key="stage_result.id", sa_type=BIG)
    position: int
    """From 0, in the order of the text it was parsed from."""
    text: str


class AuditedClaim(SQLModel, table=True):
    """One claim of a description, and what the auditor makes of it."""

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
    """What one person says of a claim; two people's show how far they agree."""

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


class Annotation(SQLModel, table=True):
    """A region: a box and its description, normalized xyxy of the upright picture.

    Rows come by the million: `add_annotations` checks them, in a tenth of the time that constraints take. What orders,
    searches and counts them is made later, a batch at a time (`index_annotations`): it would halve an import's speed.
    """

    __table_args__ = (
        # 64 bits within one picture: equal content is found by a small index that grows where the picture's rows are
        UniqueConstraint("image_id", "content_key"),
        Index("ix_annotation_status", "dataset_id", "status", "id"),
        Index("ix_annotation_source", "dataset_id", "source", "status", "id"),
        partial("ix_annotation_new", "id", where="indexed IS false"),
        partial("ix_annotation_score", "dataset_id", "status", "score", "id", where="indexed IS true"),
        partial(
            "ix_annotation_disagreement",
            # the last two are asked of many of them: a walk in its order reads no row but those of the page
            *("dataset_id", "status", "disagreement", "id", "score", "indexed"),
            where="disagreement IS NOT NULL",
        ),
        partial("ix_annotation_run", "run_id", "status", "id", where="run_id IS NOT NULL"),
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
    region_id: int | None = Field(default=None, foreign_key="annotation.id", sa_type=BIG)
    """Several descriptions of one box: the id of the first of them. None: its own is the first."""
    similarity: float | None = None
    """GRAIN's cosine of box and text; None where nobody asked."""
    disagreement: float | None = None
    """How far score and similarity are apart, on the scale of whoever wrote both; None where nobody asked."""
    run_id: int | None = Field(default=None, foreign_key="annotation_run.id")
    """The stage result's, once the row is indexed."""
    indexed: bool = Field(default=False, sa_column_kwargs={"server_default": sql("false")})
    """Whether score order, text search, run and tallies know it."""


class AnnotationTally(SQLModel, table=True):
    """How many indexed regions of a data set have a source and a status, so that nobody counts millions."""

    __tablename__ = "annotation_tally"

    dataset_id: int = Field(foreign_key="dataset.id", primary_key=True)
    source: str = Field(primary_key=True)
    status: Status = Field(sa_type=String, primary_key=True)
    annotations: int = Field(default=0, sa_type=BIG)


class AnnotationEdit(SQLModel, table=True):
    """One change of one region or, where annotation_id is None, of a picture as a whole. Rows are only ever added."""

    __tablename__ = "annotation_edit"
    __table_args__ = (
        one_of("what", What),
        Index("ix_annotation_edit_image", "image_id", "id"),
        Index("ix_annotation_edit_annotation", "annotation_id", "version"),
        Index("ix_annotation_edit_at", "dataset_id", "at"),
        Index("ix_annotation_edit_undoes", "undoes"),
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    action: str
    """Shared by the rows of one action, as when a box moves that has several descriptions: they are undone together."""
    dataset_id: int = Field(foreign_key="dataset.id")
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    annotation_id: int | None = Field(default=None, foreign_key="annotation.id", sa_type=BIG)
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    who: str
    what: What = Field(sa_type=String)
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


class ConceptLabel(SQLModel, table=True):
    """What one person takes a picture for; two people's show how far they agree."""

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


class ConceptSet(SQLModel, table=True):
    """What makes a data set one of novel concepts: its classes and what people say of the whole."""

    __tablename__ = "concept_set"

    dataset_id: int = Field(foreign_key="dataset.id", primary_key=True)
    classes: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    """In their order, as curation/concept_classes.py writes them."""
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
    """A picture that may be in the training data, beside the training picture that it is like."""

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


class LabelTask(SQLModel, table=True):
    """A picture's task in Label Studio, and how far both sides are in step."""

    __tablename__ = "label_task"
    __table_args__ = (UniqueConstraint("project", "image_id"), UniqueConstraint("project", "task_id"))

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    project: str
    """The server's address and the project's id there."""
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    task_id: int = Field(sa_type=BIG)
    """Label Studio's."""
    pushed_hash: str = ""
    """sha256 of what was pushed last: equal content is not pushed again."""
    pulled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    remote_updated_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """`updated_at` of the task as it was pulled last."""


class LabelConflict(SQLModel, table=True):
    """A decision of Label Studio that was not taken since somebody else changed the same here; a person chooses."""

    __tablename__ = "label_conflict"
    __table_args__ = (
        UniqueConstraint("project", "remote_id", "image_id", "target"),
        one_of("choice", Choice),
        Index("ix_label_conflict_open", "dataset_id", "choice", "id"),
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG)
    dataset_id: int = Field(foreign_key="dataset.id")
    image_id: int = Field(foreign_key="image.id", sa_type=BIG)
    annotation_id: int | None = Field(default=None, foreign_key="annotation.id", sa_type=BIG)
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
    choice: Choice = Field(default="", sa_type=String)
    chosen_by: str = ""
    chosen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Account(SQLModel, table=True):
    """A person who may sign in."""

    __table_args__ = (one_of("role", Role),)

    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    password_hash: str
    """Made and checked by the app; never shown."""
    role: Role = Field(sa_type=String)
    active: bool = True
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class LoginSession(SQLModel, table=True):
    """A signed-in browser, known by the hash of its token, until a moment."""

    __tablename__ = "login_session"

    token_sha256: str = Field(primary_key=True)
    account_id: int = Field(foreign_key="account.id", index=True)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class ImageLease(SQLModel, table=True):
    """A worker's right to write one picture's result, until a moment; the row goes when the result is written."""

    __tablename__ = "image_lease"
    __table_args__ = (Index("ix_image_lease_expiry", "recipe", "expires_at"), Index("ix_image_lease_token", "token"))

    image_id: int = Field(foreign_key="image.id", sa_type=BIG, primary_key=True)
    recipe: str = Field(primary_key=True)
    worker: str = Field(index=True)
    token: str
    """Fencing: never used twice, and only its present holder's write is taken."""
    expires_at: datetime = Field(sa_type=UtcDateTime)


class Job(SQLModel, table=True):
    """One long work: what was asked, who runs it, how far it is. Its config and argv never change."""

    __table_args__ = (
        one_of("state", JobState),
        one_of("request", Request),
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
    request: Request = Field(default="", sa_type=String)
    priority: int = 0
    """The larger goes first; among equals the older."""
    device: str = "cpu"
    """What it needs a slot of."""
    slot: int | None = None
    """The first slot of its device that it has, from 0, while it runs."""
    width: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    """How many slots in a row it takes."""
    after_id: int | None = Field(default=None, foreign_key="job.id")
    """The job that must be done before this one begins: what makes its data."""
    attempts: int = 0
    """How often it was taken up."""
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
    """The backend's own name for it."""
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


SNAPSHOTS: dict[type, tuple[str, ...]] = {AnnotationRun: ("config", "recipes"), Job: ("config", "argv")}


def _keep_snapshots(_mapper: Any, _connection: Any, row: Any) -> None:
    changed = [name for name in SNAPSHOTS[type(row)] if inspect(row).attrs[name].history.has_changes()]
    if changed:
        raise ValueError(f"{', '.join(changed)} of {type(row).__name__} {row.id} cannot change: make a new one")


for _table in SNAPSHOTS:
    event.listen(_table, "before_update", _keep_snapshots)
