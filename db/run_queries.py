"""Questions about the annotators' work, by name: runs, leases, stage results. Habits as in db/queries.py."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, ColumnElement, bindparam, exists, func, literal, text
from sqlalchemy import select as select_rows  # SQLModel's own is typed up to four columns
from sqlmodel import Session, col, delete, select, update

from db.models import (
    AnnotationRun,
    AuditedClaim,
    ClaimKind,
    Description,
    Image,
    ImageLease,
    RunState,
    RunTally,
    Stage,
    StageResult,
    StageState,
    UtcDateTime,
    Verdict,
    now,
)
from db.queries import (
    IN_LIST,
    NewAnnotation,
    add_annotations,
    batches,
    insert_into,
    insert_new,
    must_be_sha256,
    storable,
)

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
FINISHED: tuple[StageState, ...] = ("done", "quarantined")  # nobody need look at the picture again


class LeaseLostError(RuntimeError):
    """The writer's lease has run out or went to another: its result must not be written."""


@dataclass(frozen=True)
class Claim:
    """Pictures that one worker may work on until expires_at; none when nothing is left to take."""

    token: str
    expires_at: datetime
    images: tuple[Image, ...]


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
    """What a stage made of a picture; fields as in `db.models.StageResult`.

    descriptions: what a describer said, parsed. regions: what a localizer found. claims: what an auditor judged.
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
    descriptions: tuple[str, ...] = ()
    regions: tuple[NewAnnotation, ...] = ()
    claims: tuple[NewClaim, ...] = ()


@dataclass(frozen=True)
class StageCounts:
    """How many pictures of a data set have a result of one recipe, by the result's state."""

    done: int = 0
    quarantined: int = 0
    failed: int = 0


@dataclass(frozen=True)
class StageTally:
    """What a run has come to at one stage: pictures now in one state; seconds and tokens of all tries that ended so."""

    stage: Stage
    state: StageState
    pictures: int
    seconds: float
    tokens: int


@dataclass(frozen=True)
class FailureGroup:
    """Pictures of a run that came to nothing for one reason; example_image_id: the first of them."""

    stage: Stage
    state: StageState
    reason: str
    pictures: int
    example_image_id: int


def start_run(
    session: Session,
    *,
    dataset_id: int,
    config: Mapping[str, Any],
    recipes: Mapping[str, str],
    job_id: int | None = None,
) -> AnnotationRun:
    """Note that a run begins.

    Args:   config: plain JSON, kept as it is now. recipes: stage -> its recipe, 64 hex digits.
    Raises: ValueError: a recipe is not a hash.
    """
    must_be_sha256(**recipes)
    run = AnnotationRun(dataset_id=dataset_id, config=dict(config), recipes=dict(recipes), job_id=job_id)
    session.add(run)
    session.flush()
    return run


def get_run(session: Session, *, run_id: int) -> AnnotationRun | None:
    """One run; None when there is none of that id."""
    return session.get(AnnotationRun, run_id)


def run_of_job(session: Session, *, job_id: int) -> AnnotationRun | None:
    """The run that a job made, the latest of several."""
    asked = select(AnnotationRun).where(AnnotationRun.job_id == job_id)
    return session.exec(asked.order_by(col(AnnotationRun.id).desc())).first()


def list_runs(session: Session, *, dataset_id: int, limit: int = 50) -> Sequence[AnnotationRun]:
    """The latest runs over a data set, newest first."""
    asked = select(AnnotationRun).where(AnnotationRun.dataset_id == dataset_id)
    return session.exec(asked.order_by(col(AnnotationRun.id).desc()).limit(limit)).all()


def set_run_state(session: Session, *, run_id: int, state: RunState) -> None:
    """Note that a run stopped, ended or goes on.

    Raises: ValueError: no such run.
    """
    run = session.get(AnnotationRun, run_id)
    if run is None:
        raise ValueError(f"expected the id of a run, got {run_id}: list_runs has them")
    run.state = state
    run.ended_at = None if state in ("running", "paused") else now()
    session.flush()


def run_tallies(session: Session, *, run_id: int) -> list[StageTally]:
    """Pictures, seconds and tokens of a run by stage and state; from a few rows, whatever the data set's size."""
    group = (col(RunTally.stage), col(RunTally.state))
    sums = (func.sum(col(RunTally.pictures)), func.sum(col(RunTally.seconds)), func.sum(col(RunTally.tokens)))
    asked = select_rows(*group, *sums).where(col(RunTally.run_id) == run_id).group_by(*group).order_by(*group)
    return [
        StageTally(stage, state, int(pictures), float(seconds), int(tokens))
        for stage, state, pictures, seconds, tokens in session.connection().execute(asked)
    ]


def failures_by_reason(session: Session, *, run_id: int, limit: int = 50) -> list[FailureGroup]:
    """Why pictures of a run failed or are quarantined, the commonest reason first."""
    return _failures(session, col(StageResult.run_id) == run_id, limit=limit)


def failures_of_work(
    session: Session, *, dataset_id: int, recipes: Collection[str], limit: int = 50
) -> list[FailureGroup]:
    """The same of all that some recipes made of a data set, in whatever runs."""
    mine = (col(StageResult.dataset_id) == dataset_id, col(StageResult.recipe).in_(recipes))
    return _failures(session, *mine, limit=limit)


def try_again(session: Session, *, dataset_id: int, recipes: Collection[str]) -> int:
    """Forget how often pictures were tried that failed: a run that ended so is taken up again; how many."""
    tried = update(StageResult).where(
        col(StageResult.dataset_id) == dataset_id,
        col(StageResult.recipe).in_(recipes),
        col(StageResult.state) == "failed",
    )
    return session.exec(tried.values(attempts=0)).rowcount


def plan_counts(session: Session, *, dataset_id: int, recipes: Collection[str]) -> dict[str, StageCounts]:
    """How far a data set is at each recipe: recipe -> counts, zeros where nothing was done."""
    counts: dict[str, dict[str, int]] = {recipe: {} for recipe in recipes}
    asked = (
        select(StageResult.recipe, StageResult.state, func.count())
        .where(StageResult.dataset_id == dataset_id, col(StageResult.recipe).in_(counts))
        .group_by(StageResult.recipe, StageResult.state)
    )
    for recipe, state, pictures in session.exec(asked):
        counts[recipe][state] = pictures
    return {recipe: StageCounts(**found) for recipe, found in counts.items()}


def claim_images(
    session: Session,
    *,
    dataset_id: int,
    recipe: str,
    worker: str,
    count: int,
    lease_seconds: float,
    after: int = 0,
    needs: str = "",
    run_id: int | None = None,
    max_attempts: int = 1,
    moment: datetime | None = None,
) -> Claim:
    """Take up to `count` pictures that lack a done or quarantined result of a recipe, for one worker alone.

    Args:
        after: look at later pictures only. A worker passes the id of its last picture, so that a claim never walks over
            what is done; when nothing comes, and at its start, it asks `first_unfinished` where to go on.
        needs: only pictures with a done result of this recipe (boxes need descriptions).
        run_id, max_attempts: pictures that failed so often since this run began, in whatever run, are left; a later
            run tries them anew.
        moment: what counts as now.
    """
    must_be_sha256(recipe=recipe)
    moment = moment or now()
    claim = Claim(secrets.token_hex(16), moment + timedelta(seconds=lease_seconds), ())
    lacks = _lacks(recipe, needs, run_id, max_attempts)
    lacking = (
        select(Image.id)
        .where(Image.dataset_id == dataset_id, Image.id > after, *lacks)
        .where(~exists().where(_leased(recipe), col(ImageLease.expires_at) > moment))
        .order_by(col(Image.id))
        .limit(min(count, IN_LIST))
        # several workers on PostgreSQL: each steps over the rows that another is taking
        .with_for_update(skip_locked=True, key_share=True, of=Image)
    )
    while ids := session.exec(lacking).all():
        taken = _lease(session, claim, ids, recipe, worker, moment)
        # Another may have finished one of them between the two statements; nobody can once the lease is ours.
        asked = select(Image).where(col(Image.id).in_(taken), *lacks)
        images = session.exec(asked.order_by(col(Image.id))).all()
        _give_back(session, recipe, set(taken) - {image.id for image in images})
        if images:
            return Claim(claim.token, claim.expires_at, tuple(images))
    return claim


def first_unfinished(
    session: Session,
    *,
    dataset_id: int,
    recipe: str,
    after: int = 0,
    needs: str = "",
    run_id: int | None = None,
    max_attempts: int = 1,
) -> int | None:
    """The first picture that `claim_images` could take, were none leased; None: nothing is left to do.

    Ask it in a `reading` session: over millions of finished pictures it walks for seconds, and others write meanwhile.
    """
    asked = select(Image.id).where(Image.dataset_id == dataset_id, Image.id > after)
    asked = asked.where(*_lacks(recipe, needs, run_id, max_attempts))
    return session.exec(asked.order_by(col(Image.id)).limit(1)).first()


def renew_lease(session: Session, *, token: str, lease_seconds: float, moment: datetime | None = None) -> int:
    """Hold a claim's unfinished pictures for longer; how many are still held.

    A lease that has run out stays lost, since another may have the picture.
    """
    moment = moment or now()
    held = update(ImageLease).where(col(ImageLease.token) == token, col(ImageLease.expires_at) > moment)
    return session.exec(held.values(expires_at=moment + timedelta(seconds=lease_seconds))).rowcount


def release_lease(session: Session, *, token: str) -> int:
    """Give back what a claim has not finished; how many pictures."""
    return session.exec(delete(ImageLease).where(col(ImageLease.token) == token)).rowcount


def release_worker(session: Session, *, worker: str) -> int:
    """Give back all that a worker of this name holds: what it asks first, having been killed in a former life."""
    return session.exec(delete(ImageLease).where(col(ImageLease.worker) == worker)).rowcount


def last_expiry(session: Session, *, dataset_id: int, recipe: str, moment: datetime | None = None) -> datetime | None:
    """Until when others may still hold pictures; None when nobody does, and an empty claim means the end."""
    held = select(func.max(ImageLease.expires_at)).join(Image, col(Image.id) == ImageLease.image_id)
    mine = (Image.dataset_id == dataset_id, ImageLease.recipe == recipe, ImageLease.expires_at > (moment or now()))
    return session.exec(held.where(*mine)).one()


def save_stage_result(session: Session, *, result: NewStageResult, token: str, moment: datetime | None = None) -> None:
    """Keep what a stage made of one picture, with its descriptions and regions, and end the picture's lease.

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
    saved_id = _keep(session, result, token, worker)
    said = [(result.image_id, saved_id, place, storable(text)) for place, text in enumerate(result.descriptions)]
    columns = ("image_id", "stage_result_id", "position", "text")
    insert_new(session, Description, columns, said, unique=columns[1:3])
    add_annotations(
        session, dataset_id=result.dataset_id, rows=result.regions, recipe=result.recipe, stage_result_id=saved_id
    )
    insert_new(
        session, AuditedClaim, CLAIM, (_claim_row(result, saved_id, each) for each in result.claims), unique=CLAIM_KEY
    )


def stage_result(session: Session, *, image_id: int, recipe: str) -> StageResult | None:
    """What a recipe made of a picture; None when it has not been there."""
    return session.exec(
        select(StageResult).where(StageResult.image_id == image_id, StageResult.recipe == recipe)
    ).first()


def stage_results_of(session: Session, *, image_ids: Collection[int], recipe: str) -> dict[int, StageResult]:
    """What a recipe made of some pictures, by picture."""
    found: list[StageResult] = []
    for some in batches(image_ids, IN_LIST):
        asked = select(StageResult).where(col(StageResult.image_id).in_(some), StageResult.recipe == recipe)
        found += session.exec(asked).all()
    return {result.image_id: result for result in found}


def stage_result_page(
    session: Session, *, dataset_id: int, recipe: str, state: StageState, after: int = 0, limit: int = 50
) -> Sequence[StageResult]:
    """Results of a recipe in one state, in the order of their pictures: a gallery, or all that failed.

    Args: after: `image_id` of the last result of the page before.
    """
    mine = (StageResult.dataset_id == dataset_id, StageResult.recipe == recipe, StageResult.state == state)
    asked = select(StageResult).where(*mine, StageResult.image_id > after)
    return session.exec(asked.order_by(col(StageResult.image_id)).limit(limit)).all()


def equal_work(session: Session, *, keys: Collection[str]) -> dict[str, StageResult]:
    """Done results of the same work on the same content, perhaps in other data sets: key -> the first of several."""
    found: list[StageResult] = []
    for some in batches(keys, IN_LIST):
        asked = select(StageResult).where(col(StageResult.key).in_(some), StageResult.state == "done")
        found += session.exec(asked.order_by(col(StageResult.id).desc())).all()
    return {result.key: result for result in found}


def descriptions_of(session: Session, *, image_ids: Collection[int], recipe: str) -> dict[int, list[Description]]:
    """The descriptions that a recipe gave to some pictures, by picture, in order; none where it gave none."""
    found: dict[int, list[Description]] = {image_id: [] for image_id in image_ids}
    for some in batches(image_ids, IN_LIST):
        asked = select(Description).join(StageResult, col(StageResult.id) == Description.stage_result_id)
        asked = asked.where(col(Description.image_id).in_(some), StageResult.recipe == recipe)
        for description in session.exec(asked.order_by(col(Description.image_id), col(Description.position))):
            found[description.image_id].append(description)
    return found


def written_captions(session: Session, *, image_ids: Collection[int]) -> dict[int, str]:
    """The latest caption that a describer wrote of each picture, where one did."""
    found: dict[int, str] = {}
    for some in batches(image_ids, IN_LIST):
        asked = select(StageResult.image_id, StageResult.caption).where(
            col(StageResult.image_id).in_(some), StageResult.state == "done", StageResult.caption != ""
        )
        found |= dict(session.exec(asked.order_by(col(StageResult.id))).all())  # a later one replaces an earlier
    return found


def _failures(session: Session, *mine: ColumnElement[bool], limit: int) -> list[FailureGroup]:
    pictures, example = func.count(), func.min(StageResult.image_id)
    group = (col(StageResult.stage), col(StageResult.state), col(StageResult.reason))
    asked = select_rows(*group, pictures, example).where(*mine, col(StageResult.state).in_(("quarantined", "failed")))
    asked = asked.group_by(*group).order_by(pictures.desc(), example).limit(limit)
    return [FailureGroup(*row) for row in session.connection().execute(asked)]


def _claim_row(result: NewStageResult, saved_id: int, claim: NewClaim) -> tuple[Any, ...]:
    place = (result.dataset_id, result.image_id, saved_id, result.recipe)
    plain = asdict(claim) | {"words": storable(claim.words), "subject": storable(claim.subject)}
    evidence = json.dumps([dict(each) for each in claim.evidence])
    return (*place, *((plain | {"evidence": evidence})[name] for name in CLAIM[len(place) :]))


def _lacks(recipe: str, needs: str, run_id: int | None, max_attempts: int) -> list[ColumnElement[bool]]:
    mine = (col(StageResult.image_id) == Image.id, col(StageResult.recipe) == recipe)
    finished = col(StageResult.state).in_(FINISHED)
    began = select(AnnotationRun.created_at).where(AnnotationRun.id == run_id).scalar_subquery()
    # whoever tried last: two runs at a time would else take each other's failures for new ones, for ever
    given_up = (col(StageResult.created_at) >= began) & (col(StageResult.attempts) >= max_attempts)
    clauses: list[ColumnElement[bool]] = [~exists().where(*mine, finished | given_up if run_id else finished)]
    if needs:
        first = (col(StageResult.image_id) == Image.id, col(StageResult.recipe) == needs)
        clauses.append(exists().where(*first, col(StageResult.state) == "done"))
    return clauses


def _leased(recipe: str) -> ColumnElement[bool]:
    return (col(ImageLease.image_id) == Image.id) & (col(ImageLease.recipe) == recipe)


def _lease(
    session: Session, claim: Claim, ids: Sequence[int], recipe: str, worker: str, moment: datetime
) -> Sequence[int]:
    """Write leases; the pictures that are ours now. One that somebody holds stays with them."""
    given = (literal(recipe), literal(worker), literal(claim.token), literal(claim.expires_at, UtcDateTime))
    columns = ["image_id", "recipe", "worker", "token", "expires_at"]
    made = insert_into(session, ImageLease)
    made = made.from_select(columns, select_rows(col(Image.id), *given).where(col(Image.id).in_(ids)))
    made = made.on_conflict_do_update(
        index_elements=["image_id", "recipe"],
        set_={name: made.excluded[name] for name in ("worker", "token", "expires_at")},
        where=col(ImageLease.expires_at) <= moment,
    )
    return session.exec(made.returning(col(ImageLease.image_id))).scalars().all()


def _give_back(session: Session, recipe: str, image_ids: Collection[int]) -> None:
    if image_ids:
        session.exec(
            delete(ImageLease).where(col(ImageLease.image_id).in_(image_ids), col(ImageLease.recipe) == recipe)
        )


def _keep(session: Session, result: NewStageResult, token: str, worker: str) -> int:
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
            _count(session, replace(result, run_id=before.run_id), worker, before.state, pictures=-1)
        for name, value in values.items():
            setattr(before, name, value)
        session.flush()
        saved_id = before.id
    _count(session, result, worker, result.state, pictures=1, seconds=result.seconds, tokens=result.tokens)
    return int(saved_id)


def _count(
    session: Session,
    result: NewStageResult,
    worker: str,
    state: StageState,
    *,
    pictures: int,
    seconds: float = 0.0,
    tokens: int = 0,
) -> None:
    if result.run_id is not None:
        row = {"run_id": result.run_id, "worker": worker, "stage": result.stage, "state": state}
        session.connection().execute(COUNT, row | {"pictures": pictures, "seconds": seconds, "tokens": tokens})
