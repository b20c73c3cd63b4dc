"""Save and read what a stage of annotation made of each image."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, bindparam, text
from sqlmodel import Session, col, select

from db.models import (
    AnnotationRun,
    AuditedClaim,
    ClaimKind,
    Description,
    Stage,
    StageResult,
    StageState,
    UtcDateTime,
    Verdict,
    now,
)
from db.queries.bulk import IN_LIST, batches, insert_new
from db.queries.lease_queries import LeaseLostError
from db.queries.region_queries import NewRegion, add_regions
from db.queries.values import must_be_sha256, storable

COPIED = ("dataset_id", "image_id", "run_id", "key", "recipe", "stage", "source", "state", "seconds", "tokens")
KEPT = (*COPIED, "raw", "reason", "subject", "caption", "attempts", "lease_token", "created_at")
# Once a picture: written out, since building a statement takes SQLAlchemy longer than doing it takes the database.
END_LEASE = text(
    "DELETE FROM image_lease"
    " WHERE image_id = :image_id AND recipe = :recipe AND token = :token AND expires_at > :moment RETURNING worker"
).bindparams(bindparam("moment", type_=UtcDateTime))
KEEP_RESULT = text(
    f"INSERT INTO stage_result ({', '.join(KEPT)}) VALUES ({', '.join(f':{name}' for name in KEPT)})"
    " ON CONFLICT (image_id, recipe) DO NOTHING RETURNING id"
).bindparams(bindparam("raw", type_=JSON), bindparam("created_at", type_=UtcDateTime))
COUNT = text(
    "INSERT INTO run_tally (run_id, worker, stage, state, pictures, seconds, tokens)"
    " VALUES (:run_id, :worker, :stage, :state, :pictures, :seconds, :tokens)"
    " ON CONFLICT (run_id, worker, stage, state) DO UPDATE SET pictures = run_tally.pictures + excluded.pictures,"
    " seconds = run_tally.seconds + excluded.seconds, tokens = run_tally.tokens + excluded.tokens"
)
CLAIM = (
    "dataset_id image_id stage_result_id recipe description_id position owner kind span_start span_end words verdict"
    " probability evidence describer prompts stages subject"
).split()
CLAIM_KEY = ("stage_result_id", "description_id", "position")


@dataclass(frozen=True)
class NewClaim:
    """One claim of a description; fields as in `db.models.AuditedClaim`."""

    description_id: int
    position: int
    owner: int
    kind: ClaimKind
    span_start: int
    span_end: int
    words: str
    verdict: Verdict
    probability: float | None
    evidence: tuple[Mapping[str, Any], ...] = ()
    describer: str = ""
    prompts: str = ""
    stages: int = 0
    subject: str = ""


@dataclass(frozen=True)
class NewStageResult:
    """The result of a stage on an image; fields as in `db.models.StageResult`.

    copied: of equal work, so that the run's tallies leave it out. descriptions: what a describer said, parsed.
    regions: what a localizer found. claims: what an auditor judged.
    """

    dataset_id: int
    image_id: int
    key: str
    recipe: str
    stage: Stage
    source: str
    state: StageState
    reason: str = ""
    raw: tuple[str, ...] = ()
    subject: str = ""
    caption: str = ""
    seconds: float = 0.0
    tokens: int = 0
    run_id: int | None = None
    copied: bool = False
    descriptions: tuple[str, ...] = ()
    regions: tuple[NewRegion, ...] = ()
    claims: tuple[NewClaim, ...] = ()


def save_stage_result(session: Session, *, result: NewStageResult, token: str, moment: datetime | None = None) -> None:
    """Save a stage's result on one image, with its descriptions and regions, and end the image's lease.

    Saving the same again under the same token does nothing, so that `retrying` may repeat it. Several pictures may
    share a transaction, and a lost one leaves the others whole: a commit costs four disk flushes on SQLite.

    Args:   token: of the claim that the picture was taken with.
    Raises: LeaseLostError: the lease has run out or is another's; nothing is written.
            ValueError: a hash is not one, or a box is not normalized xyxy with an area.
    """
    must_be_sha256(key=result.key, recipe=result.recipe)
    moment = moment or now()
    lease = {"image_id": result.image_id, "recipe": result.recipe, "token": token, "moment": moment}
    worker = session.connection().execute(END_LEASE, lease).scalar()
    if worker is None:
        before = stage_result(session, image_id=result.image_id, recipe=result.recipe)
        if before is not None and before.lease_token == token:
            return
        raise LeaseLostError(
            f"the lease on picture {result.image_id} has run out or went to another worker: claim it again"
        )
    saved_id = _keep(session, result, token=token, worker=worker)
    descriptions = [
        (result.image_id, saved_id, place, storable(text)) for place, text in enumerate(result.descriptions)
    ]
    columns = ("image_id", "stage_result_id", "position", "text")
    insert_new(session, Description, columns=columns, rows=descriptions, unique=columns[1:3])
    add_regions(
        session, dataset_id=result.dataset_id, rows=result.regions, recipe=result.recipe, stage_result_id=saved_id
    )
    claims = (_claim_row(result, saved_id, each) for each in result.claims)
    insert_new(session, AuditedClaim, columns=CLAIM, rows=claims, unique=CLAIM_KEY)


def stage_result(session: Session, *, image_id: int, recipe: str) -> StageResult | None:
    """Return a recipe's result on an image; None where there is none."""
    return session.exec(
        select(StageResult).where(StageResult.image_id == image_id, StageResult.recipe == recipe)
    ).first()


def stage_results_of(session: Session, *, image_ids: Collection[int], recipe: str) -> dict[int, StageResult]:
    """Return a recipe's results on some images, by image."""
    found: list[StageResult] = []
    for some in batches(image_ids, IN_LIST):
        asked = select(StageResult).where(col(StageResult.image_id).in_(some), StageResult.recipe == recipe)
        found += session.exec(asked).all()
    return {result.image_id: result for result in found}


def stage_result_page(
    session: Session,
    *,
    dataset_id: int,
    recipe: str,
    state: StageState,
    after: int = 0,
    backwards: bool = False,
    limit: int = 50,
) -> Sequence[StageResult]:
    """Return results of a recipe in one state, in the order of their images.

    Args: after: `image_id` of the last result of the page before. backwards: from the last image to the first.
    """
    mine = (StageResult.dataset_id == dataset_id, StageResult.recipe == recipe, StageResult.state == state)
    place = col(StageResult.image_id)
    asked = select(StageResult).where(*mine)
    if after:
        asked = asked.where(place < after if backwards else place > after)
    return session.exec(asked.order_by(place.desc() if backwards else place).limit(limit)).all()


def equal_work(session: Session, *, keys: Collection[str]) -> dict[str, StageResult]:
    """Return done results of the same work on the same content, in any data set: key -> the first of several."""
    found: list[StageResult] = []
    for some in batches(keys, IN_LIST):
        asked = select(StageResult).where(col(StageResult.key).in_(some), StageResult.state == "done")
        found += session.exec(asked.order_by(col(StageResult.id).desc())).all()
    return {result.key: result for result in found}


def descriptions_of(session: Session, *, image_ids: Collection[int], recipe: str) -> dict[int, list[Description]]:
    """Return the descriptions that a recipe gave to some images, by image, in order; [] where it gave none."""
    found: dict[int, list[Description]] = {image_id: [] for image_id in image_ids}
    for some in batches(image_ids, IN_LIST):
        asked = select(Description).join(StageResult, col(StageResult.id) == Description.stage_result_id)
        asked = asked.where(col(Description.image_id).in_(some), StageResult.recipe == recipe)
        for description in session.exec(asked.order_by(col(Description.image_id), col(Description.position))):
            found[description.image_id].append(description)
    return found


def written_captions(session: Session, *, image_ids: Collection[int]) -> dict[int, str]:
    """Return the latest caption that a describer wrote of each image, where one did."""
    found: dict[int, str] = {}
    for some in batches(image_ids, IN_LIST):
        asked = select(StageResult.image_id, StageResult.caption).where(
            col(StageResult.image_id).in_(some), StageResult.state == "done", StageResult.caption != ""
        )
        found |= dict(session.exec(asked.order_by(col(StageResult.id))).all())  # a later one replaces an earlier
    return found


def _claim_row(result: NewStageResult, saved_id: int, claim: NewClaim) -> tuple[Any, ...]:
    place = (result.dataset_id, result.image_id, saved_id, result.recipe)
    plain = asdict(claim) | {"words": storable(claim.words), "subject": storable(claim.subject)}
    evidence = json.dumps([dict(each) for each in claim.evidence])
    return (*place, *((plain | {"evidence": evidence})[name] for name in CLAIM[len(place) :]))


def _keep(session: Session, result: NewStageResult, *, token: str, worker: str) -> int:
    """Write the result, over a failed one if there is one, and count it; the row's id."""
    values = {name: getattr(result, name) for name in COPIED} | {
        "raw": list(result.raw),
        "reason": storable(result.reason),
        "subject": storable(result.subject),
        "caption": storable(result.caption),
        "attempts": 1,
        "lease_token": token,
        "created_at": now(),
    }
    saved_id = session.connection().execute(KEEP_RESULT, values).scalar()
    if saved_id is None:
        before = stage_result(session, image_id=result.image_id, recipe=result.recipe)
        assert before is not None, "the row that was in the way is gone, though the lease was ours"
        run = session.get(AnnotationRun, result.run_id) if result.run_id is not None else None
        if before.run_id == result.run_id or (run and before.created_at >= run.created_at):
            values["attempts"] = before.attempts + 1
            _count(session, replace(result, run_id=before.run_id, state=before.state), worker, pictures=-1)
        for name, value in values.items():
            setattr(before, name, value)
        session.flush()
        saved_id = before.id
    if not result.copied:
        _count(session, result, worker, pictures=1, seconds=result.seconds, tokens=result.tokens)
    return int(saved_id)


def _count(
    session: Session,
    result: NewStageResult,
    worker: str,
    *,
    pictures: int,
    seconds: float = 0.0,
    tokens: int = 0,
) -> None:
    if result.run_id is not None:
        row = {"run_id": result.run_id, "worker": worker, "stage": result.stage, "state": result.state}
        session.connection().execute(COUNT, row | {"pictures": pictures, "seconds": seconds, "tokens": tokens})
