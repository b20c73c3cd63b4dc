"""Questions about audited claims, by name: pages worst first, people's verdicts, the sample, counts."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, bindparam, case, exists, func, or_, tuple_
from sqlalchemy import select as select_rows
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select, update

from db.models import (
    Annotation,
    AnnotationRun,
    AuditedClaim,
    AuditSample,
    ClaimKind,
    ClaimVerdict,
    Description,
    Image,
    StageResult,
    Verdict,
    now,
)
from db.queries import IN_LIST, batches, insert_into, must_be_sha256, storable

Group = Literal["kind", "prompts", "stages", "describer", "subject"]
OPEN: Verdict = "cannot tell"
MOST_GROUPS = 100
SPREAD: dict[Verdict, float] = {"supported": 0.22, "unsupported": 0.3, OPEN: 0.5}  # of the truth, as expected
LEAST_OF_STRATUM = 10  # claims


@dataclass(frozen=True)
class ClaimFilter:
    """Which claims; empty: all. verdicts: of people where they said anything, else the auditor's.

    at_most: the auditor's probability of supported. words: a part of the claim's words. settled: True: people have
    spoken; False: nobody has.
    """

    kinds: tuple[ClaimKind, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    at_most: float | None = None
    words: str = ""
    describers: tuple[str, ...] = ()
    settled: bool | None = None


@dataclass(frozen=True)
class Place:
    """Where a page ended: the last claim's probability and id."""

    probability: float
    id: int


@dataclass(frozen=True)
class ClaimRow:
    """A claim with its description and its picture."""

    claim: AuditedClaim
    text: str
    image: Image


@dataclass(frozen=True)
class GroupCount:
    """Claims of a group by the auditor's verdict."""

    group: str
    supported: int
    unsupported: int
    cannot_tell: int


@dataclass(frozen=True)
class AuditTotals:
    """An audit in one line. claims: in all; unsupported: of these, as the auditor says. stages: questions asked."""

    describer: str
    prompts: str
    stages: int
    claims: int
    unsupported: int

    @property
    def share_unsupported(self) -> float:
        """Of all claims."""
        return self.unsupported / self.claims


@dataclass(frozen=True)
class Judgement:
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
class Touched:
    """What a rule would do: claims that match, descriptions that hold one, regions of these that can be rejected."""

    claims: int
    descriptions: int
    regions: int


def audit_runs(session: Session, *, dataset_id: int) -> list[AnnotationRun]:
    """The audits of a data set, the latest first."""
    asked = select(AnnotationRun).where(AnnotationRun.dataset_id == dataset_id)
    runs = session.exec(asked.order_by(col(AnnotationRun.id).desc()).limit(IN_LIST)).all()
    return [run for run in runs if "audit" in run.recipes]


def latest_audit(session: Session, *, dataset_id: int) -> str:
    """The recipe of the latest audit of a data set; "" where there is none."""
    return next((run.recipes["audit"] for run in audit_runs(session, dataset_id=dataset_id)), "")


def get_claim(session: Session, *, claim_id: int) -> AuditedClaim | None:
    """One claim; None when there is none of that id."""
    return session.get(AuditedClaim, claim_id)


def claim_page(
    session: Session,
    *,
    dataset_id: int,
    recipe: str,
    wanted: ClaimFilter | None = None,
    after: Place | None = None,
    limit: int = 50,
) -> list[ClaimRow]:
    """Claims worst first, by the auditor's probability; those that no source could judge are left out.

    Args: after: of the last claim of the page before.
    """
    asked = _with_text(_clauses(dataset_id, recipe, wanted or ClaimFilter()))
    asked = asked.where(col(AuditedClaim.probability).is_not(None))
    if after is not None:
        here = tuple_(col(AuditedClaim.probability), col(AuditedClaim.id))
        asked = asked.where(here > tuple_(after.probability, after.id))
    asked = asked.order_by(col(AuditedClaim.probability), col(AuditedClaim.id)).limit(limit)
    return [ClaimRow(*row) for row in session.execute(asked)]


def claims_of(session: Session, *, image_ids: Collection[int], recipe: str) -> dict[int, list[ClaimRow]]:
    """All claims about some pictures, by picture, in the order of their descriptions and spans."""
    found: dict[int, list[ClaimRow]] = {image_id: [] for image_id in image_ids}
    for some in batches(image_ids, IN_LIST):
        asked = _with_text([col(AuditedClaim.image_id).in_(some), AuditedClaim.recipe == recipe])
        asked = asked.order_by(col(AuditedClaim.image_id), col(AuditedClaim.description_id), col(AuditedClaim.position))
        for row in session.execute(asked):
            found[row[0].image_id].append(ClaimRow(*row))
    return found


def regions_of(session: Session, *, description_ids: Collection[int]) -> dict[int, list[Annotation]]:
    """The regions in which descriptions were found, the best first, deleted ones left out."""
    found: dict[int, list[Annotation]] = {description_id: [] for description_id in description_ids}
    for some in batches(description_ids, IN_LIST):
        images = select(Description.image_id).where(col(Description.id).in_(some))
        asked = select(Annotation).where(col(Annotation.image_id).in_(images), Annotation.status != "deleted")
        asked = asked.where(col(Annotation.description_id).in_(some)).order_by(
            col(Annotation.score).desc(), col(Annotation.id)
        )
        for row in session.exec(asked):
            assert row.description_id is not None, "asked for by it"
            found[row.description_id].append(row)
    return found


def verdicts_on(session: Session, *, claim_id: int) -> Sequence[ClaimVerdict]:
    """What people say of a claim, the first one first."""
    asked = select(ClaimVerdict).where(ClaimVerdict.claim_id == claim_id)
    return session.exec(asked.order_by(col(ClaimVerdict.at), col(ClaimVerdict.id))).all()


def set_claim_verdict(session: Session, *, claim_id: int, who: str, verdict: Verdict, note: str = "") -> AuditedClaim:
    """What a person says of a claim, over what they said before; the claim with what it now counts as.

    Raises: ValueError: no such claim, or no name.
    """
    claim = session.get(AuditedClaim, claim_id)
    if claim is None:
        raise ValueError(f"expected the id of a claim, got {claim_id}: claim_page has them")
    if not who.strip() or not who.isprintable():
        raise ValueError(f"expected the name of whoever judges, one printable line, got {who!r}")
    values = {"claim_id": claim_id, "who": who, "verdict": verdict, "note": storable(note), "at": now()}
    made = insert_into(session, ClaimVerdict).values(**values)
    session.execute(
        made.on_conflict_do_update(
            index_elements=["claim_id", "who"], set_={name: values[name] for name in ("verdict", "note", "at")}
        )
    )
    claim.settled = verdict
    session.flush()
    return claim


def take_back_verdict(session: Session, *, claim_id: int, who: str) -> AuditedClaim | None:
    """Forget what a person said of a claim; it counts as the latest of the others says, or as nobody's."""
    mine = select(ClaimVerdict).where(ClaimVerdict.claim_id == claim_id, ClaimVerdict.who == who)
    said, claim = session.exec(mine).first(), session.get(AuditedClaim, claim_id)
    if said is not None:
        session.delete(said)
        session.flush()
    if claim is not None:
        others = select(ClaimVerdict).where(ClaimVerdict.claim_id == claim_id)
        last = session.exec(others.order_by(col(ClaimVerdict.at).desc(), col(ClaimVerdict.id).desc())).first()
        claim.settled = last.verdict if last else None
        session.flush()
    return claim


def counts_by(session: Session, *, dataset_id: int, recipe: str, group: Group) -> list[GroupCount]:
    """The auditor's own verdicts by group, the largest group first."""
    column = col(getattr(AuditedClaim, group))
    sums = [
        func.sum(case((col(AuditedClaim.verdict) == verdict, 1), else_=0))
        for verdict in ("supported", "unsupported", OPEN)
    ]
    asked = select_rows(column, *sums).where(*_clauses(dataset_id, recipe, ClaimFilter())).group_by(column)
    rows = session.execute(asked.order_by(func.count().desc(), column).limit(MOST_GROUPS))
    return [GroupCount(str(name), *(int(each) for each in counts)) for name, *counts in rows]


def audit_totals(session: Session, *, dataset_id: int, recipe: str) -> AuditTotals | None:
    """An audit in one line; None where it has no claim."""
    told = (col(AuditedClaim.describer), col(AuditedClaim.prompts), col(AuditedClaim.stages))
    wrong = func.sum(case((col(AuditedClaim.verdict) == "unsupported", 1), else_=0))
    asked = select_rows(*told, func.count(), wrong).where(*_clauses(dataset_id, recipe, ClaimFilter())).group_by(*told)
    row = session.execute(asked.order_by(func.count().desc()).limit(1)).first()
    return None if row is None else AuditTotals(row[0], row[1], row[2], int(row[3]), int(row[4]))


def draw_sample(
    session: Session, *, dataset_id: int, recipe: str, count: int, doubled: float = 0.25, seed: int = 0
) -> int:
    """Draw claims for people at random within kind and auditor's verdict (`shares_of`).

    A sample that is there stays, and is added to; how many were added. What was drawn before another judge came is no
    part of what the new ones stand for.

    Args:   count: claims in all. doubled: the share that two people are to judge.
    Raises: ValueError: count below 1, or doubled outside [0, 1].
    """
    if count < 1 or not 0 <= doubled <= 1:
        raise ValueError(f"expected a sample of 1 or more and a share from 0 to 1, got {count} and {doubled}")
    chance, before = random.Random(f"{seed}/{recipe}"), sample_size(session, dataset_id=dataset_id, recipe=recipe)
    asked = select_rows(col(AuditedClaim.kind), col(AuditedClaim.verdict), func.count())
    asked = asked.where(*_clauses(dataset_id, recipe, ClaimFilter()))
    strata = {(kind, verdict): int(n) for kind, verdict, n in session.execute(asked.group_by("kind", "verdict"))}
    for key, many in _drawn_before(session, dataset_id, recipe).items():
        strata[key] -= many
    drawn: list[dict[str, Any]] = []
    for (kind, verdict), many in shares_of(strata, max(0, count - before)).items():
        mine = select(AuditedClaim.id).where(
            *_clauses(dataset_id, recipe, ClaimFilter()), AuditedClaim.kind == kind, AuditedClaim.verdict == verdict
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
    """Claims that were drawn."""
    asked = select(func.count()).select_from(AuditSample)
    return int(session.exec(_of_sample(asked, dataset_id, recipe)).one())


def next_to_judge(
    session: Session, *, dataset_id: int, recipe: str, who: str, after: int = -1
) -> tuple[int, ClaimRow] | None:
    """The next claim of the sample for a person, with its position: one that lacks a first or a wanted second verdict.

    Args: after: the position of the last one.
    """
    said = select_rows(func.count()).where(col(ClaimVerdict.claim_id) == AuditSample.claim_id).scalar_subquery()
    mine = exists().where(col(ClaimVerdict.claim_id) == AuditSample.claim_id, col(ClaimVerdict.who) == who)
    asked = _of_sample(select(AuditSample), dataset_id, recipe).where(AuditSample.position > after, ~mine)
    asked = asked.where(or_(said == 0, (said == 1) & col(AuditSample.doubled)))
    found = session.exec(asked.order_by(col(AuditSample.position)).limit(1)).first()
    if found is None:
        return None
    row = session.execute(_with_text([AuditedClaim.id == found.claim_id])).one()
    return found.position, ClaimRow(*row)


def sample_judgements(session: Session, *, dataset_id: int, recipe: str) -> list[Judgement]:
    """The claims of the sample that anybody has judged."""
    asked = _of_sample(select(AuditSample, AuditedClaim), dataset_id, recipe)
    rows = session.exec(asked.where(col(AuditedClaim.settled).is_not(None)).order_by(col(AuditSample.position))).all()
    alone = _standing_alone(session, dataset_id, recipe)
    people: dict[int, dict[str, Verdict]] = {}
    for some in batches((claim.id for _, claim in rows), IN_LIST):
        said = select(ClaimVerdict).where(col(ClaimVerdict.claim_id).in_(some))
        for one in session.exec(said.order_by(col(ClaimVerdict.at), col(ClaimVerdict.id))):
            people.setdefault(one.claim_id, {})[one.who] = one.verdict
    groups: tuple[Group, ...] = ("kind", "prompts", "stages", "describer", "subject")
    found = []
    for drawn, claim in rows:
        if claim.id in people:
            stratum, population = alone.get((drawn.recipe, drawn.stratum), (drawn.stratum, drawn.population))
            values: dict[Group, str] = {group: str(getattr(claim, group)) for group in groups}
            found.append(
                Judgement(
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


def touched(session: Session, *, dataset_id: int, recipe: str, wanted: ClaimFilter) -> Touched:
    """What a rule would touch, before it does."""
    clauses = _clauses(dataset_id, recipe, wanted)
    counts = select_rows(func.count(), func.count(func.distinct(col(AuditedClaim.description_id)))).where(*clauses)
    claims, descriptions = session.execute(counts).one()
    regions = select(func.count()).select_from(Annotation).where(*_rejectable(dataset_id, clauses))
    return Touched(int(claims), int(descriptions), int(session.exec(regions).one()))


def regions_touched(
    session: Session, *, dataset_id: int, recipe: str, wanted: ClaimFilter, after: int = 0, limit: int = 200
) -> Sequence[Annotation]:
    """Regions that nobody has rejected and whose description holds a claim that matches, by id."""
    clauses = _rejectable(dataset_id, _clauses(dataset_id, recipe, wanted))
    asked = select(Annotation).where(*clauses, Annotation.id > after)
    return session.exec(asked.order_by(col(Annotation.id)).limit(limit)).all()


def things_of(session: Session, *, claim_ids: Collection[int]) -> dict[int, AuditedClaim]:
    """Of some claims the claim of the object or part that each is about; its own for one of these."""
    found: dict[int, AuditedClaim] = {}
    thing = aliased(AuditedClaim)
    same = (col(thing.stage_result_id) == AuditedClaim.stage_result_id) & (
        col(thing.description_id) == AuditedClaim.description_id
    )
    for some in batches(claim_ids, IN_LIST):
        asked = select_rows(col(AuditedClaim.id), thing).join(thing, same & (col(thing.position) == AuditedClaim.owner))
        found |= {row[0]: row[1] for row in session.execute(asked.where(col(AuditedClaim.id).in_(some)))}
    return found


def claims_of_results(session: Session, *, result_ids: Collection[int]) -> list[AuditedClaim]:
    """The claims that some audited pictures have, whole descriptions together."""
    found: list[AuditedClaim] = []
    for some in batches(result_ids, IN_LIST):
        asked = select(AuditedClaim).where(col(AuditedClaim.stage_result_id).in_(some))
        found += session.exec(asked.order_by(col(AuditedClaim.description_id), col(AuditedClaim.position))).all()
    return found


def hashes_of(session: Session, *, image_ids: Collection[int]) -> dict[int, str]:
    """The sha256 of some pictures, by picture."""
    found: dict[int, str] = {}
    for some in batches(image_ids, IN_LIST):
        found |= dict(session.exec(select(Image.id, Image.sha256).where(col(Image.id).in_(some))).all())
    return found


def set_judgements(
    session: Session,
    *,
    recipe: str,
    results: Collection[tuple[int, str]],
    claims: Collection[tuple[int, Verdict, float | None]],
) -> None:
    """Other verdicts and probabilities of the auditor on the same evidence, under the recipe of the new judge.

    Args: results: (id, key under that recipe) of each audited picture. claims: (id, verdict, probability) of all its
          claims. People's verdicts and the sample stay with them.
    """
    must_be_sha256(recipe=recipe, **{f"key of {result}": key for result, key in results})
    changes: tuple[tuple[Any, tuple[str, ...], Collection[tuple[Any, ...]]], ...] = (
        (StageResult, ("key",), results),
        (AuditedClaim, ("verdict", "probability"), claims),
    )
    for model, names, rows in changes:
        if rows:
            table = model.__table__
            statement = update(table).where(table.c.id == bindparam("row"))
            statement = statement.values(recipe=recipe, **{name: bindparam(f"new_{name}") for name in names})
            asked = ("row", *(f"new_{name}" for name in names))
            session.connection().execute(statement, [dict(zip(asked, row, strict=True)) for row in rows])


def things_said(session: Session, *, dataset_id: int, recipe: str, limit: int) -> list[str]:
    """Short descriptions of a describing, the first of a data set: what a vocabulary is made of."""
    asked = select(Description.text).join(StageResult, col(StageResult.id) == Description.stage_result_id)
    asked = asked.where(StageResult.dataset_id == dataset_id, StageResult.recipe == recipe)
    return list(session.exec(asked.order_by(col(StageResult.image_id), col(Description.position)).limit(limit)))


def shares_of(strata: Mapping[tuple[ClaimKind, Verdict], int], count: int) -> dict[tuple[ClaimKind, Verdict], int]:
    """How many claims of each stratum to draw: by its size and how mixed it will be (Neyman), a few of each at least.

    Returns: count in all, a few more where there are many small strata; never more than a stratum has.
    """
    weights = {key: size * SPREAD[key[1]] for key, size in strata.items()}
    whole = sum(weights.values())
    return {
        key: min(size, max(LEAST_OF_STRATUM, round(count * weights[key] / whole))) if count and size else 0
        for key, size in strata.items()
    }


def _of_sample(asked: Any, dataset_id: int, recipe: str) -> Any:
    """Of the drawn claims those of an audit, whatever judge they were drawn under."""
    asked = asked.join(AuditedClaim, col(AuditedClaim.id) == AuditSample.claim_id)
    return asked.where(AuditSample.dataset_id == dataset_id, AuditedClaim.recipe == recipe)


def _drawn_before(session: Session, dataset_id: int, recipe: str) -> dict[tuple[ClaimKind, Verdict], int]:
    """Claims that were drawn under another judge, by kind and present verdict."""
    asked = select_rows(col(AuditedClaim.kind), col(AuditedClaim.verdict), func.count()).select_from(AuditSample)
    asked = _of_sample(asked, dataset_id, recipe).where(AuditSample.recipe != recipe)
    return {(kind, verdict): int(n) for kind, verdict, n in session.execute(asked.group_by("kind", "verdict"))}


def _standing_alone(session: Session, dataset_id: int, recipe: str) -> dict[tuple[str, str], tuple[str, int]]:
    """Of all draws but the last judge's: recipe and stratum -> a name of its own, and how many were drawn of it."""
    last: Any = _of_sample(select(AuditSample.recipe), dataset_id, recipe).order_by(col(AuditSample.position).desc())
    drawn = (col(AuditSample.recipe), col(AuditSample.stratum))
    asked = _of_sample(select_rows(*drawn, func.count()).select_from(AuditSample), dataset_id, recipe)
    rows = session.execute(asked.where(AuditSample.recipe != session.exec(last.limit(1)).first()).group_by(*drawn))
    return {(under, stratum): (f"{stratum} / {under[:8]}", int(many)) for under, stratum, many in rows}


def _with_text(clauses: Sequence[Any]) -> Any:
    asked: Any = select_rows(AuditedClaim, col(Description.text), Image).where(*clauses)
    asked = asked.join(Description, col(Description.id) == AuditedClaim.description_id)
    return asked.join(Image, col(Image.id) == AuditedClaim.image_id)


def _clauses(dataset_id: int, recipe: str, wanted: ClaimFilter) -> list[ColumnElement[bool]]:
    found: list[Any] = [AuditedClaim.dataset_id == dataset_id, AuditedClaim.recipe == recipe]
    if wanted.kinds:
        found.append(col(AuditedClaim.kind).in_(wanted.kinds))
    if wanted.verdicts:
        found.append(func.coalesce(col(AuditedClaim.settled), col(AuditedClaim.verdict)).in_(wanted.verdicts))
    if wanted.at_most is not None:
        found.append(col(AuditedClaim.probability) <= wanted.at_most)
    if wanted.words:
        found.append(func.lower(col(AuditedClaim.words)).contains(wanted.words.lower(), autoescape=True))
    if wanted.describers:
        found.append(col(AuditedClaim.describer).in_(wanted.describers))
    if wanted.settled is not None:
        said = col(AuditedClaim.settled)
        found.append(said.is_not(None) if wanted.settled else said.is_(None))
    return found


def _rejectable(dataset_id: int, clauses: Sequence[Any]) -> list[Any]:
    said = select_rows(col(AuditedClaim.description_id)).where(*clauses)
    return [
        Annotation.dataset_id == dataset_id,
        col(Annotation.status).in_(("pending", "accepted")),
        col(Annotation.description_id).in_(said),
    ]
