"""Query audited claims: pages worst first, verdicts of people, counts, and what a rule would touch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, bindparam, case, func, tuple_
from sqlalchemy import select as select_rows
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select, update

from db.models import (
    AnnotationRun,
    AuditedClaim,
    ClaimKind,
    ClaimVerdict,
    Description,
    Image,
    RegionRow,
    StageResult,
    Verdict,
    now,
)
from db.queries.bulk import IN_LIST, batches, insert_into
from db.queries.values import check_line, must_be_sha256, storable
from user_errors import UserError

Group = Literal["kind", "prompts", "stages", "describer", "subject"]
OPEN: Verdict = "cannot tell"
MOST_GROUPS = 100


@dataclass(frozen=True)
class ClaimFilter:
    """A filter on claims; empty fields filter nothing. verdicts: of people where there is one, else the auditor's.

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
class ClaimKey:
    """The last claim of a page, worst first: its probability, None where no source gave a score, and id."""

    probability: float | None
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
    """An audit in one line. claims: in all; unsupported: by the auditor. stages: questions asked."""

    describer: str
    prompts: str
    stages: int
    claims: int
    unsupported: int

    @property
    def share_unsupported(self) -> float:
        """Return the share of all claims that the auditor finds unsupported."""
        return self.unsupported / self.claims


@dataclass(frozen=True)
class TouchedCounts:
    """The effect of a rule: claims that match, descriptions that hold one, regions of these that can be rejected."""

    claims: int
    descriptions: int
    regions: int


def audit_runs(session: Session, *, dataset_id: int) -> list[AnnotationRun]:
    """Return the audit runs of a data set, the latest first."""
    asked = select(AnnotationRun).where(AnnotationRun.dataset_id == dataset_id)
    runs = session.exec(asked.order_by(col(AnnotationRun.id).desc()).limit(IN_LIST)).all()
    return [run for run in runs if "audit" in run.recipes]


def get_claim(session: Session, *, claim_id: int) -> AuditedClaim | None:
    """Return one claim; None when there is none of that id."""
    return session.get(AuditedClaim, claim_id)


def claim_page(
    session: Session,
    *,
    dataset_id: int,
    recipe: str,
    filters: ClaimFilter | None = None,
    after: ClaimKey | None = None,
    limit: int = 50,
) -> list[ClaimRow]:
    """Return claims worst first, by the auditor's probability; behind them those that no source gave a score.

    Args: after: of the last claim of the page before.
    """
    matching = claims_with_text(claim_clauses(dataset_id, recipe, filters or ClaimFilter()))
    probability, number = col(AuditedClaim.probability), col(AuditedClaim.id)
    found: list[ClaimRow] = []
    if after is None or after.probability is not None:  # two steps: each follows the index
        scored = matching.where(probability.is_not(None)).order_by(probability, number).limit(limit)
        if after is not None:
            scored = scored.where(tuple_(probability, number) > tuple_(after.probability, after.id))
        found, after = [ClaimRow(*row) for row in session.execute(scored)], None
    if len(found) < limit:
        rest = matching.where(probability.is_(None)).order_by(number).limit(limit - len(found))
        if after is not None:
            rest = rest.where(number > after.id)
        found += [ClaimRow(*row) for row in session.execute(rest)]
    return found


def claims_of(session: Session, *, image_ids: Collection[int], recipe: str) -> dict[int, list[ClaimRow]]:
    """Return all claims about some images, by image, in the order of their descriptions and spans."""
    found: dict[int, list[ClaimRow]] = {image_id: [] for image_id in image_ids}
    for some in batches(image_ids, IN_LIST):
        asked = claims_with_text([col(AuditedClaim.image_id).in_(some), AuditedClaim.recipe == recipe])
        asked = asked.order_by(col(AuditedClaim.image_id), col(AuditedClaim.description_id), col(AuditedClaim.position))
        for row in session.execute(asked):
            found[row[0].image_id].append(ClaimRow(*row))
    return found


def regions_of_descriptions(session: Session, *, description_ids: Collection[int]) -> dict[int, list[RegionRow]]:
    """Return the regions that descriptions were localized to, the best first, without deleted ones."""
    found: dict[int, list[RegionRow]] = {description_id: [] for description_id in description_ids}
    for some in batches(description_ids, IN_LIST):
        images = select(Description.image_id).where(col(Description.id).in_(some))
        asked = select(RegionRow).where(col(RegionRow.image_id).in_(images), RegionRow.status != "deleted")
        asked = asked.where(col(RegionRow.description_id).in_(some)).order_by(
            col(RegionRow.score).desc(), col(RegionRow.id)
        )
        for row in session.exec(asked):
            assert row.description_id is not None, "asked for by it"
            found[row.description_id].append(row)
    return found


def verdicts_on(session: Session, *, claim_id: int) -> Sequence[ClaimVerdict]:
    """Return people's verdicts on a claim, the first one first."""
    asked = select(ClaimVerdict).where(ClaimVerdict.claim_id == claim_id)
    return session.exec(asked.order_by(col(ClaimVerdict.at), col(ClaimVerdict.id))).all()


def set_claim_verdict(session: Session, *, claim_id: int, who: str, verdict: Verdict, note: str = "") -> AuditedClaim:
    """Store a person's verdict on a claim, over their earlier one; return the claim.

    Raises: UserError: no such claim, or no name.
    """
    claim = session.get(AuditedClaim, claim_id)
    if claim is None:
        raise UserError(f"expected the id of a claim, got {claim_id}: it was removed meanwhile")
    check_line(who, "the name of the person who judges")
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
    """Delete a person's verdict on a claim; the latest of the others' counts then, or none. Return the claim."""
    mine = select(ClaimVerdict).where(ClaimVerdict.claim_id == claim_id, ClaimVerdict.who == who)
    verdict, claim = session.exec(mine).first(), session.get(AuditedClaim, claim_id)
    if verdict is not None:
        session.delete(verdict)
        session.flush()
    if claim is not None:
        others = select(ClaimVerdict).where(ClaimVerdict.claim_id == claim_id)
        last = session.exec(others.order_by(col(ClaimVerdict.at).desc(), col(ClaimVerdict.id).desc())).first()
        claim.settled = last.verdict if last else None
        session.flush()
    return claim


def counts_by(session: Session, *, dataset_id: int, recipe: str, group: Group) -> list[GroupCount]:
    """Return the auditor's own verdicts by group, the largest group first."""
    column = col(getattr(AuditedClaim, group))
    sums = [
        func.sum(case((col(AuditedClaim.verdict) == verdict, 1), else_=0))
        for verdict in ("supported", "unsupported", OPEN)
    ]
    asked = select_rows(column, *sums).where(*claim_clauses(dataset_id, recipe, ClaimFilter())).group_by(column)
    rows = session.execute(asked.order_by(func.count().desc(), column).limit(MOST_GROUPS))
    return [GroupCount(str(name), *(int(each) for each in counts)) for name, *counts in rows]


def audit_totals(session: Session, *, dataset_id: int, recipe: str) -> AuditTotals | None:
    """Return an audit in one line; None where it has no claim."""
    columns = (col(AuditedClaim.describer), col(AuditedClaim.prompts), col(AuditedClaim.stages))
    wrong = func.sum(case((col(AuditedClaim.verdict) == "unsupported", 1), else_=0))
    asked = (
        select_rows(*columns, func.count(), wrong)
        .where(*claim_clauses(dataset_id, recipe, ClaimFilter()))
        .group_by(*columns)
    )
    row = session.execute(asked.order_by(func.count().desc()).limit(1)).first()
    return None if row is None else AuditTotals(row[0], row[1], row[2], int(row[3]), int(row[4]))


def touched_counts(session: Session, *, dataset_id: int, recipe: str, filters: ClaimFilter) -> TouchedCounts:
    """Count what a rule would touch, before it is applied."""
    clauses = claim_clauses(dataset_id, recipe, filters)
    counts = select_rows(func.count(), func.count(func.distinct(col(AuditedClaim.description_id)))).where(*clauses)
    claims, descriptions = session.execute(counts).one()
    regions = select(func.count()).select_from(RegionRow).where(*_rejectable(dataset_id, clauses))
    return TouchedCounts(int(claims), int(descriptions), int(session.exec(regions).one()))


def regions_touched(
    session: Session, *, dataset_id: int, recipe: str, filters: ClaimFilter, after: int = 0, limit: int = 200
) -> Sequence[RegionRow]:
    """Return regions that nobody has rejected and whose description holds a claim that matches, by id."""
    clauses = _rejectable(dataset_id, claim_clauses(dataset_id, recipe, filters))
    asked = select(RegionRow).where(*clauses, RegionRow.id > after)
    return session.exec(asked.order_by(col(RegionRow.id)).limit(limit)).all()


def things_of(session: Session, *, claim_ids: Collection[int]) -> dict[int, AuditedClaim]:
    """Return for each claim the claim of the object or part that it is about; itself for one of these."""
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
    """Return the claims of some audited images, whole descriptions together."""
    found: list[AuditedClaim] = []
    for some in batches(result_ids, IN_LIST):
        asked = select(AuditedClaim).where(col(AuditedClaim.stage_result_id).in_(some))
        found += session.exec(asked.order_by(col(AuditedClaim.description_id), col(AuditedClaim.position))).all()
    return found


def hashes_of(session: Session, *, image_ids: Collection[int]) -> dict[int, str]:
    """Return the sha256 of some images, by image."""
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
    """Write a new judge's verdicts and probabilities on the same evidence, under its recipe.

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


def descriptions_for_vocabulary(session: Session, *, dataset_id: int, recipe: str, limit: int) -> list[str]:
    """Return the first descriptions that a recipe gave to a data set, to make a vocabulary of."""
    asked = select(Description.text).join(StageResult, col(StageResult.id) == Description.stage_result_id)
    asked = asked.where(StageResult.dataset_id == dataset_id, StageResult.recipe == recipe)
    return list(session.exec(asked.order_by(col(StageResult.image_id), col(Description.position)).limit(limit)))


def claims_with_text(clauses: Sequence[Any]) -> Any:
    """Return the query of claims that match, each with its description and its image."""
    asked: Any = select_rows(AuditedClaim, col(Description.text), Image).where(*clauses)
    asked = asked.join(Description, col(Description.id) == AuditedClaim.description_id)
    return asked.join(Image, col(Image.id) == AuditedClaim.image_id)


def claim_clauses(dataset_id: int, recipe: str, filters: ClaimFilter) -> list[ColumnElement[bool]]:
    """Return the clauses of a filter on the claims of one audit."""
    found: list[Any] = [AuditedClaim.dataset_id == dataset_id, AuditedClaim.recipe == recipe]
    if filters.kinds:
        found.append(col(AuditedClaim.kind).in_(filters.kinds))
    if filters.verdicts:
        found.append(func.coalesce(col(AuditedClaim.settled), col(AuditedClaim.verdict)).in_(filters.verdicts))
    if filters.at_most is not None:
        found.append(col(AuditedClaim.probability) <= filters.at_most)
    if filters.words:
        found.append(func.lower(col(AuditedClaim.words)).contains(filters.words.lower(), autoescape=True))
    if filters.describers:
        found.append(col(AuditedClaim.describer).in_(filters.describers))
    if filters.settled is not None:
        settled = col(AuditedClaim.settled)
        found.append(settled.is_not(None) if filters.settled else settled.is_(None))
    return found


def _rejectable(dataset_id: int, clauses: Sequence[Any]) -> list[Any]:
    description_ids = select_rows(col(AuditedClaim.description_id)).where(*clauses)
    return [
        RegionRow.dataset_id == dataset_id,
        col(RegionRow.status).in_(("pending", "accepted")),
        col(RegionRow.description_id).in_(description_ids),
    ]
