"""Draw a random sample of audited claims for people, and read their judgements."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, func, or_
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from db.models import AuditedClaim, AuditSample, ClaimKind, ClaimVerdict, Verdict
from db.queries.audit_queries import OPEN, ClaimFilter, ClaimRow, Group, claim_clauses, claims_with_text
from db.queries.bulk import IN_LIST, batches
from user_errors import UserError

SPREAD: dict[Verdict, float] = {"supported": 0.22, "unsupported": 0.3, OPEN: 0.5}  # of the truth, as expected
LEAST_OF_STRATUM = 10  # claims


@dataclass(frozen=True)
class SampleJudgement:
    """A claim of the sample that people judged.

    verdict: the auditor's. people: who said what. population: claims of its stratum when it was drawn. groups: the
    values by which rates are told apart. fresh: whether it was drawn since the present judge judges. Claims that were
    drawn before others were drawn under another judge stand for themselves alone.
    """

    claim_id: int
    kind: ClaimKind
    verdict: Verdict
    probability: float | None
    evidence: list[dict[str, Any]]
    stratum: str
    population: int
    people: Mapping[str, Verdict]
    groups: Mapping[Group, str]
    fresh: bool = True


@dataclass(frozen=True)
class AuditCounts:
    """The claims of an audit. drawn: of these, for people. judged: those that anybody has judged, drawn or not."""

    claims: int = 0
    drawn: int = 0
    judged: int = 0


def counts_by_audit(session: Session, *, dataset_id: int) -> dict[str, AuditCounts]:
    """Return the counts of every audit of a data set that has claims, by recipe."""
    recipe, claim_id = col(AuditedClaim.recipe), col(AuditedClaim.id)
    mine = col(AuditedClaim.dataset_id) == dataset_id
    claims: Any = select_rows(recipe, func.count()).where(mine).group_by(recipe)
    drawn = claims.join(AuditSample, col(AuditSample.claim_id) == claim_id)
    judged = claims.where(claim_id.in_(select_rows(col(ClaimVerdict.claim_id))))
    many, of_sample, by_people = (dict(session.execute(asked).all()) for asked in (claims, drawn, judged))
    return {each: AuditCounts(many[each], of_sample.get(each, 0), by_people.get(each, 0)) for each in many}


def draw_sample(
    session: Session, *, dataset_id: int, recipe: str, count: int, doubled: float = 0.25, seed: int = 0
) -> int:
    """Draw claims for people at random within kind and auditor's verdict (`shares_of`).

    A sample that is there stays, and is added to; how many were added. What was drawn before another judge came is no
    part of what the new ones stand for.

    Args:   count: claims in all. doubled: the share that two people are to judge.
    Raises: UserError: count below 1, or doubled outside [0, 1].
    """
    if count < 1 or not 0 <= doubled <= 1:
        raise UserError(f"expected a sample of 1 or more, a share from 0 to 1, got {count} and {doubled}: correct it")
    chance, before = random.Random(f"{seed}/{recipe}"), sample_size(session, dataset_id=dataset_id, recipe=recipe)
    asked = select_rows(col(AuditedClaim.kind), col(AuditedClaim.verdict), func.count())
    asked = asked.where(*claim_clauses(dataset_id, recipe, ClaimFilter()))
    strata = {(kind, verdict): int(n) for kind, verdict, n in session.execute(asked.group_by("kind", "verdict"))}
    for key, many in _drawn_before(session, dataset_id, recipe).items():
        strata[key] -= many
    drawn: list[dict[str, Any]] = []
    for (kind, verdict), many in shares_of(strata, max(0, count - before)).items():
        mine = select(AuditedClaim.id).where(
            *claim_clauses(dataset_id, recipe, ClaimFilter()),
            AuditedClaim.kind == kind,
            AuditedClaim.verdict == verdict,
        )
        fresh = session.exec(mine.where(~exists().where(col(AuditSample.claim_id) == AuditedClaim.id))).all()
        for claim_id in chance.sample(sorted(fresh), min(many, len(fresh))):
            stratum = f"{kind} / {verdict}"
            drawn.append({"claim_id": claim_id, "stratum": stratum, "population": strata[kind, verdict]})
    chance.shuffle(drawn)
    for place, row in enumerate(drawn):
        twice = chance.random() < doubled
        session.add(AuditSample(**row, dataset_id=dataset_id, recipe=recipe, position=before + place, doubled=twice))
    session.flush()
    return len(drawn)


def sample_size(session: Session, *, dataset_id: int, recipe: str) -> int:
    """Return how many claims were drawn."""
    asked = select(func.count()).select_from(AuditSample)
    return int(session.exec(_of_sample(asked, dataset_id, recipe)).one())


def next_to_judge(
    session: Session, *, dataset_id: int, recipe: str, who: str, after: int = -1
) -> tuple[int, ClaimRow] | None:
    """Return a person's next claim of the sample and its position: one that lacks a verdict, or its wanted second.

    Args: after: the position of the last one.
    """
    verdicts = select_rows(func.count()).where(col(ClaimVerdict.claim_id) == AuditSample.claim_id).scalar_subquery()
    mine = exists().where(col(ClaimVerdict.claim_id) == AuditSample.claim_id, col(ClaimVerdict.who) == who)
    asked = _of_sample(select(AuditSample), dataset_id, recipe).where(AuditSample.position > after, ~mine)
    asked = asked.where(or_(verdicts == 0, (verdicts == 1) & col(AuditSample.doubled)))
    found = session.exec(asked.order_by(col(AuditSample.position)).limit(1)).first()
    if found is None:
        return None
    row = session.execute(claims_with_text([AuditedClaim.id == found.claim_id])).one()
    return found.position, ClaimRow(*row)


def sample_judgements(session: Session, *, dataset_id: int, recipe: str) -> list[SampleJudgement]:
    """Return the claims of the sample that anybody has judged."""
    asked = _of_sample(select(AuditSample, AuditedClaim), dataset_id, recipe)
    rows = session.exec(asked.where(col(AuditedClaim.settled).is_not(None)).order_by(col(AuditSample.position))).all()
    alone = _standing_alone(session, dataset_id, recipe)
    people: dict[int, dict[str, Verdict]] = {}
    for some in batches((claim.id for _, claim in rows), IN_LIST):
        verdicts = select(ClaimVerdict).where(col(ClaimVerdict.claim_id).in_(some))
        for one in session.exec(verdicts.order_by(col(ClaimVerdict.at), col(ClaimVerdict.id))):
            people.setdefault(one.claim_id, {})[one.who] = one.verdict
    groups: tuple[Group, ...] = ("kind", "prompts", "stages", "describer", "subject")
    found = []
    for drawn, claim in rows:
        if claim.id in people:
            stratum, population = alone.get((drawn.recipe, drawn.stratum), (drawn.stratum, drawn.population))
            values: dict[Group, str] = {group: str(getattr(claim, group)) for group in groups}
            found.append(
                SampleJudgement(
                    claim.id,
                    claim.kind,
                    claim.verdict,
                    claim.probability,
                    claim.evidence,
                    stratum,
                    population,
                    people[claim.id],
                    values,
                    drawn.recipe == recipe,
                )
            )
    return found


def shares_of(strata: Mapping[tuple[ClaimKind, Verdict], int], count: int) -> dict[tuple[ClaimKind, Verdict], int]:
    """Return how many claims of each stratum to draw: by size and expected mix (Neyman), a few of each at least.

    Returns: count in all, a few more where there are many small strata; never more than a stratum has.
    """
    weights = {key: size * SPREAD[key[1]] for key, size in strata.items()}
    total = sum(weights.values())
    return {
        key: min(size, max(LEAST_OF_STRATUM, round(count * weights[key] / total))) if count and size else 0
        for key, size in strata.items()
    }


def _of_sample(asked: Any, dataset_id: int, recipe: str) -> Any:
    """Restrict a query to the drawn claims of an audit, whatever judge they were drawn under."""
    asked = asked.join(AuditedClaim, col(AuditedClaim.id) == AuditSample.claim_id)
    return asked.where(AuditSample.dataset_id == dataset_id, AuditedClaim.recipe == recipe)


def _drawn_before(session: Session, dataset_id: int, recipe: str) -> dict[tuple[ClaimKind, Verdict], int]:
    """Count the claims that were drawn under another judge, by kind and present verdict."""
    asked = select_rows(col(AuditedClaim.kind), col(AuditedClaim.verdict), func.count()).select_from(AuditSample)
    asked = _of_sample(asked, dataset_id, recipe).where(AuditSample.recipe != recipe)
    return {(kind, verdict): int(n) for kind, verdict, n in session.execute(asked.group_by("kind", "verdict"))}


def _standing_alone(session: Session, dataset_id: int, recipe: str) -> dict[tuple[str, str], tuple[str, int]]:
    """Return, for draws under earlier judges, recipe and stratum -> a stratum of its own, and its size."""
    last: Any = _of_sample(select(AuditSample.recipe), dataset_id, recipe).order_by(col(AuditSample.position).desc())
    drawn = (col(AuditSample.recipe), col(AuditSample.stratum))
    asked = _of_sample(select_rows(*drawn, func.count()).select_from(AuditSample), dataset_id, recipe)
    rows = session.execute(asked.where(AuditSample.recipe != session.exec(last.limit(1)).first()).group_by(*drawn))
    return {(under, stratum): (f"{stratum} / {under[:8]}", int(many)) for under, stratum, many in rows}
