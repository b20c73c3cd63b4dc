"""Find the claims that the Audit page shows: worst first by its filters, one with its evidence, those of the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args

from app.core.page_values import chosen_dataset
from app.services import Services
from curation.audit.data_set_audits import DataSetAudit, find_audit
from curation.audit.independence import Independence
from curation.audit.reject import SETTLED, JudgedBy
from curation.files.decode import RefusedError
from db.engine import Session, reading
from db.models import AuditedClaim, ClaimKind, ClaimVerdict, RegionRow, Verdict
from db.queries.audit_queries import (
    ClaimFilter,
    ClaimKey,
    ClaimRow,
    TouchedCounts,
    claim_page,
    claims_of,
    get_claim,
    regions_of_descriptions,
    touched_counts,
    verdicts_on,
)
from db.queries.audit_sample_queries import next_to_judge, sample_size
from db.queries.data_set_queries import existing_dataset
from user_errors import UserError

PAGE = 40  # claims of a page


@dataclass(frozen=True)
class AuditFilter:
    """The filter fields of the page. at_most: the largest probability of supported. judged: as reject.JudgedBy.

    audit: its id; 0: the latest.
    """

    dataset: str
    audit: int = 0
    kinds: Sequence[str] = ()
    verdicts: Sequence[str] = ()
    at_most: float = 1.0
    words: str = ""
    judged: str = "anybody"

    def query(self) -> ClaimFilter:
        """Return the filter of the database's query."""
        return ClaimFilter(
            kinds=cast(tuple[ClaimKind, ...], tuple(each for each in self.kinds if each in get_args(ClaimKind))),
            verdicts=cast(tuple[Verdict, ...], tuple(each for each in self.verdicts if each in get_args(Verdict))),
            at_most=self.at_most if self.at_most < 1 else None,
            words=self.words.strip(),
            settled=SETTLED.get(cast(JudgedBy, self.judged)),
        )


@dataclass(frozen=True)
class ClaimsPage:
    """A page of claims, worst first. after: the key of the next page; "" when there is none.

    doubts: sentences on sources of the audit that do not count.
    """

    rows: tuple[ClaimRow, ...]
    after: str
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpenClaim:
    """A claim to judge. siblings: all claims of its description, itself among them. verdicts: of people.

    uri: "" where the picture cannot be shown; problem says why. sample: its position where it was drawn for people.
    """

    row: ClaimRow
    siblings: tuple[ClaimRow, ...]
    regions: tuple[RegionRow, ...]
    verdicts: tuple[ClaimVerdict, ...]
    uri: str
    problem: str = ""
    sample: int | None = None


def find_claims(services: Services, claim_filter: AuditFilter, after: str = "") -> ClaimsPage:
    """Return a page of claims, worst first. after: the key of a page.

    Raises: UserError: no such data set or audit, it was not audited, or a filter has no meaning.
    """
    with reading(services.engine) as session:
        audit = audit_of(session, claim_filter.dataset, claim_filter.audit)
        at, query = _place(after), claim_filter.query()
        rows = claim_page(session, **audit.key, filters=query, after=at, limit=PAGE)
        independence = Independence.of_run(audit.run.config)
    last = rows[-1].claim if len(rows) == PAGE else None
    scored = "" if last is None or last.probability is None else repr(last.probability)
    doubts = () if independence is None else independence.sentences()
    return ClaimsPage(tuple(rows), f"{scored}/{last.id}" if last else "", doubts)


def next_claim(services: Services, claim_filter: AuditFilter, claim_id: int) -> int | None:
    """Return the claim after one in the order of the list; None at its end.

    Raises: UserError: as of find_claims.
    """
    with reading(services.engine) as session:
        audit = audit_of(session, claim_filter.dataset, claim_filter.audit)
        claim = get_claim(session, claim_id=claim_id)
        at = ClaimKey(claim.probability, claim.id) if claim else None
        rows = claim_page(session, **audit.key, filters=claim_filter.query(), after=at, limit=1)
    return rows[0].claim.id if rows else None


def count_matches(services: Services, claim_filter: AuditFilter) -> TouchedCounts:
    """Count what rejecting everything that matches would change.

    Raises: UserError: as of find_claims.
    """
    with reading(services.engine) as session:
        audit = audit_of(session, claim_filter.dataset, claim_filter.audit)
        return touched_counts(session, **audit.key, filters=claim_filter.query())


def open_claim(services: Services, claim_id: int, sample: int | None = None) -> OpenClaim:
    """Return a claim with its description, its regions, and people's verdicts. sample: its position in the sample.

    Raises: UserError: there is none of that id.
    """
    with reading(services.engine) as session:
        claim = existing_claim(session, claim_id)
        rows = claims_of(session, image_ids=[claim.image_id], recipe=claim.recipe)[claim.image_id]
        siblings = tuple(row for row in rows if row.claim.description_id == claim.description_id)
        found = regions_of_descriptions(session, description_ids=[claim.description_id])
        verdicts = tuple(verdicts_on(session, claim_id=claim_id))
    row = next(each for each in siblings if each.claim.id == claim_id)
    uri, problem = "", ""
    try:
        uri = services.pictures.get(row.image)[1]
    except RefusedError as error:
        problem = error.sentence
    regions = tuple(found[claim.description_id])
    return OpenClaim(row, siblings, regions, verdicts, uri, problem, sample)


def next_in_sample(services: Services, dataset: str, *, audit: int = 0, who: str, after: int = -1) -> OpenClaim | None:
    """Return the next claim of an audit's sample that this person has not judged; None when there is none.

    Raises: UserError: no such data set or audit, or it was not audited.
    """
    with reading(services.engine) as session:
        found = next_to_judge(session, **audit_of(session, dataset, audit).key, who=who, after=after)
    return None if found is None else open_claim(services, found[1].claim.id, found[0])


def has_sample(services: Services, dataset: str, *, audit: int = 0) -> bool:
    """Return whether a sample was drawn in an audit.

    Raises: UserError: as of next_in_sample.
    """
    with reading(services.engine) as session:
        return sample_size(session, **audit_of(session, dataset, audit).key) > 0


def audit_of(session: Session, name: str, audit: int) -> DataSetAudit:
    """Return an audit of a data set by its id; 0: the latest.

    Raises: UserError: no such data set or audit, or it was not audited.
    """
    return find_audit(session, dataset=existing_dataset(session, name=chosen_dataset(name)), audit=audit)


def existing_claim(session: Session, claim_id: int) -> AuditedClaim:
    """Return a claim.

    Raises: UserError: there is none of that id.
    """
    claim = get_claim(session, claim_id=claim_id)
    if claim is None:
        raise UserError(f"There is no claim {claim_id}: the audit was run again meanwhile.")
    return claim


def _place(after: str) -> ClaimKey | None:
    probability, _, last = after.partition("/")
    return ClaimKey(float(probability) if probability else None, int(last)) if last else None
