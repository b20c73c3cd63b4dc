"""Query annotation runs: their state, what they came to, and why images failed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select, update

from db.models import AnnotationRun, RunState, RunTally, Stage, StageResult, StageState, now
from db.queries.values import must_be_sha256


@dataclass(frozen=True)
class StageCounts:
    """The number of images of a data set that have a result of one recipe, by the result's state."""

    done: int = 0
    quarantined: int = 0
    failed: int = 0


@dataclass(frozen=True)
class StageTally:
    """The counts of a run at one stage: images that it worked on, now in one state; seconds and tokens of all tries.

    Images whose result was copied from equal work are not among them: they would thin out what an image takes.
    """

    stage: Stage
    state: StageState
    pictures: int
    seconds: float
    tokens: int


@dataclass(frozen=True)
class FailureGroup:
    """Images of a run that failed for one reason; example_image_id: the first of them."""

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


def run_of_job(session: Session, *, job_id: int) -> AnnotationRun | None:
    """Return the run that a job made, the latest of several."""
    asked = select(AnnotationRun).where(AnnotationRun.job_id == job_id)
    return session.exec(asked.order_by(col(AnnotationRun.id).desc())).first()


def get_run(session: Session, *, run_id: int) -> AnnotationRun | None:
    """Return one run; None when there is none of that number."""
    return session.get(AnnotationRun, run_id)


def list_runs(session: Session, *, dataset_id: int, limit: int = 50) -> Sequence[AnnotationRun]:
    """Return the latest runs over a data set, newest first."""
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
    """Return images, seconds and tokens of a run by stage and state; from a few rows, at any size."""
    group = (col(RunTally.stage), col(RunTally.state))
    sums = (func.sum(col(RunTally.pictures)), func.sum(col(RunTally.seconds)), func.sum(col(RunTally.tokens)))
    asked = select_rows(*group, *sums).where(col(RunTally.run_id) == run_id).group_by(*group).order_by(*group)
    return [
        StageTally(stage, state, int(pictures), float(seconds), int(tokens))
        for stage, state, pictures, seconds, tokens in session.connection().execute(asked)
    ]


def failures_by_reason(session: Session, *, run_id: int, limit: int = 50) -> list[FailureGroup]:
    """Return why images of a run failed or are quarantined, the commonest reason first."""
    return _failures(session, col(StageResult.run_id) == run_id, limit=limit)


def failures_of_work(
    session: Session, *, dataset_id: int, recipes: Collection[str], limit: int = 50
) -> list[FailureGroup]:
    """Return why images failed or are quarantined at some recipes, in all runs, the commonest reason first."""
    mine = (col(StageResult.dataset_id) == dataset_id, col(StageResult.recipe).in_(recipes))
    return _failures(session, *mine, limit=limit)


def _failures(session: Session, *mine: ColumnElement[bool], limit: int) -> list[FailureGroup]:
    pictures, example = func.count(), func.min(StageResult.image_id)
    group = (col(StageResult.stage), col(StageResult.state), col(StageResult.reason))
    asked = select_rows(*group, pictures, example).where(*mine, col(StageResult.state).in_(("quarantined", "failed")))
    asked = asked.group_by(*group).order_by(pictures.desc(), example).limit(limit)
    return [FailureGroup(*row) for row in session.connection().execute(asked)]


def try_again(session: Session, *, dataset_id: int, recipes: Collection[str]) -> int:
    """Reset the attempts of failed images, so that a run is taken up again; return how many."""
    tried = update(StageResult).where(
        col(StageResult.dataset_id) == dataset_id,
        col(StageResult.recipe).in_(recipes),
        col(StageResult.state) == "failed",
    )
    return session.exec(tried.values(attempts=0)).rowcount


def plan_counts(session: Session, *, dataset_id: int, recipes: Collection[str]) -> dict[str, StageCounts]:
    """Return a data set's progress at each recipe: recipe -> counts, zeros where nothing was done."""
    counts: dict[str, dict[str, int]] = {recipe: {} for recipe in recipes}
    asked = (
        select(StageResult.recipe, StageResult.state, func.count())
        .where(StageResult.dataset_id == dataset_id, col(StageResult.recipe).in_(counts))
        .group_by(StageResult.recipe, StageResult.state)
    )
    for recipe, state, pictures in session.exec(asked):
        counts[recipe][state] = pictures
    return {recipe: StageCounts(**found) for recipe, found in counts.items()}
