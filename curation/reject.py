"""A rule on audited claims -> rejected regions, with their history: what it touches first, then the deed."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from db.audit_queries import ClaimFilter, Touched, regions_touched, touched
from db.curate_queries import EditConflictError, set_status
from db.engine import Engine, Session, reading, retrying

AT_ONCE = 200  # regions of one transaction
REASON = "audit"


def touched_by(engine: Engine, *, dataset_id: int, recipe: str, wanted: ClaimFilter) -> Touched:
    """How many claims, descriptions and regions a rule is about; nothing is changed."""
    with reading(engine) as session:
        return touched(session, dataset_id=dataset_id, recipe=recipe, wanted=wanted)


def reject(engine: Engine, *, dataset_id: int, recipe: str, wanted: ClaimFilter, who: str) -> int:
    """Reject the regions whose description holds a claim that matches; how many. Each stands in the history.

    One that somebody edits at that moment stays as they leave it. Stopped midway, the same call goes on.
    """
    after = rejected = 0
    while True:
        with reading(engine) as session:
            some = regions_touched(
                session, dataset_id=dataset_id, recipe=recipe, wanted=wanted, after=after, limit=AT_ONCE
            )
            known = [(row.id, row.version) for row in some]
        if not known:
            return rejected
        after = known[-1][0]
        rejected += retrying(engine, partial(_reject, known=known, who=who))


def _reject(session: Session, *, known: list[tuple[int, int]], who: str) -> int:
    done = 0
    for annotation_id, version in known:
        with suppress(EditConflictError):
            set_status(
                session,
                annotation_id=annotation_id,
                expected_version=version,
                who=who,
                status="rejected",
                reason=REASON,
            )
            done += 1
    return done
