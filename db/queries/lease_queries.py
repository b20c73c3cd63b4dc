"""Lease images to workers, so that no two work on the same one."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, exists, literal
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, delete, select, update

from db.models import AnnotationRun, Image, ImageLease, StageResult, StageState, UtcDateTime, now
from db.queries.bulk import IN_LIST, insert_into
from db.queries.values import must_be_sha256


class LeaseLostError(RuntimeError):
    """The writer's lease has run out or went to another: its result must not be written."""


FINISHED: tuple[StageState, ...] = ("done", "quarantined")  # nobody need look at the picture again


@dataclass(frozen=True)
class LeasedImages:
    """Images that one worker may work on until expires_at; none when nothing is left to take."""

    token: str
    expires_at: datetime
    images: tuple[Image, ...]


def lease_images(
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
) -> LeasedImages:
    """Lease up to `count` images that lack a done or quarantined result of a recipe to one worker.

    Args:
        after: look at later pictures only. A worker passes the id of its last picture, so that a claim never walks over
            what is done; when nothing comes, and at its start, it asks `first_unfinished` where to go on.
        needs: only pictures with a done result of this recipe (boxes need descriptions).
        run_id, max_attempts: pictures that failed so often since this run began, in whatever run, are left; a later
            run tries them again.
        moment: what counts as now.
    """
    must_be_sha256(recipe=recipe)
    moment = moment or now()
    claim = LeasedImages(secrets.token_hex(16), moment + timedelta(seconds=lease_seconds), ())
    lacks = _lacks(recipe, needs=needs, run_id=run_id, max_attempts=max_attempts)
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
        taken = _lease(session, claim, ids, recipe=recipe, worker=worker, moment=moment)
        # Another may have finished one of them between the two statements; nobody can once the lease is ours.
        asked = select(Image).where(col(Image.id).in_(taken), *lacks)
        images = session.exec(asked.order_by(col(Image.id))).all()
        _give_back(session, recipe, set(taken) - {image.id for image in images})
        if images:
            return LeasedImages(claim.token, claim.expires_at, tuple(images))
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
    """Return the first image that `lease_images` could take, were none leased; None: nothing is left to do.

    Ask it in a `reading` session: over millions of finished pictures it walks for seconds, and others write meanwhile.
    """
    asked = select(Image.id).where(Image.dataset_id == dataset_id, Image.id > after)
    asked = asked.where(*_lacks(recipe, needs=needs, run_id=run_id, max_attempts=max_attempts))
    return session.exec(asked.order_by(col(Image.id)).limit(1)).first()


def renew_lease(session: Session, *, token: str, lease_seconds: float, moment: datetime | None = None) -> int:
    """Extend a worker's lease on its unfinished images; return how many are still held.

    A lease that has run out stays lost, since another may have the picture.
    """
    moment = moment or now()
    held = update(ImageLease).where(col(ImageLease.token) == token, col(ImageLease.expires_at) > moment)
    return session.exec(held.values(expires_at=moment + timedelta(seconds=lease_seconds))).rowcount


def release_lease(session: Session, *, token: str) -> int:
    """Release the unfinished images of a lease; return how many."""
    return session.exec(delete(ImageLease).where(col(ImageLease.token) == token)).rowcount


def release_worker(session: Session, *, worker: str) -> int:
    """Release all images that a worker of this name holds, as after it was killed; return how many."""
    return session.exec(delete(ImageLease).where(col(ImageLease.worker) == worker)).rowcount


def _lacks(recipe: str, *, needs: str, run_id: int | None, max_attempts: int) -> list[ColumnElement[bool]]:
    mine = (col(StageResult.image_id) == Image.id, col(StageResult.recipe) == recipe)
    finished = col(StageResult.state).in_(FINISHED)
    began = select(AnnotationRun.created_at).where(AnnotationRun.id == run_id).scalar_subquery()
    # by any run, not by this one alone: two runs at a time would else take each other's failures for new ones, for ever
    since = (col(StageResult.run_id) == run_id) | (col(StageResult.created_at) >= began)  # a clock may be set back
    given_up = since & (col(StageResult.attempts) >= max_attempts)
    clauses: list[ColumnElement[bool]] = [~exists().where(*mine, finished | given_up if run_id else finished)]
    if needs:
        first = (col(StageResult.image_id) == Image.id, col(StageResult.recipe) == needs)
        clauses.append(exists().where(*first, col(StageResult.state) == "done"))
    return clauses


def _leased(recipe: str) -> ColumnElement[bool]:
    return (col(ImageLease.image_id) == Image.id) & (col(ImageLease.recipe) == recipe)


def _lease(
    session: Session, claim: LeasedImages, ids: Sequence[int], *, recipe: str, worker: str, moment: datetime
) -> Sequence[int]:
    """Write leases; return the pictures that are ours now. One that somebody holds stays with them."""
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
