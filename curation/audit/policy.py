"""Apply a policy to claims that the picture does not support when exporting. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from curation.audit.claims import WITH, Claim
from curation.audit.evidence import fix_articles
from curation.files.records import DescriptionRecord, PictureRecord
from db.models import AuditedClaim, Verdict

Policy = Literal["keep", "drop-claim", "drop-description", "down-weight"]
"""drop-claim: its words are cut out, the description too where its object goes. down-weight: the score, by which
training takes regions, is multiplied by the probability that all of the description is supported."""
LEADS = (*WITH, "of", "and", "in", "painted", ",")  # words that lead to a part or a colour and are cut with it
SURE = 1.0  # the score of a description that has none


@dataclass(frozen=True)
class PolicyVerdict:
    """A claim with the verdict that counts: people's where there is one, else the auditor's."""

    claim: Claim
    verdict: Verdict
    probability: float | None


def claim_verdicts(rows: Iterable[AuditedClaim]) -> tuple[PolicyVerdict, ...]:
    """Return the claims of one description, as the database keeps them, with the verdicts that count."""
    return tuple(
        PolicyVerdict(
            Claim(row.kind, row.span_start, row.span_end, row.owner),
            row.settled or row.verdict,
            _probability(row.settled, row.probability),
        )
        for row in rows
    )


def apply_policy(record: PictureRecord, claims: Mapping[str, Sequence[PolicyVerdict]], policy: Policy) -> PictureRecord:
    """Return a picture's record after applying a policy.

    Args: claims: description -> its claims; one that was not audited, or was edited since, stays as it is.
    """
    if policy == "keep" or not claims:
        return record
    regions = []
    for region in record.regions:
        kept = (apply_to_description(one, claims.get(one.text, ()), policy) for one in region.descriptions)
        if descriptions := tuple(one for one in kept if one is not None):
            regions.append(replace(region, descriptions=descriptions))
    return replace(record, regions=tuple(regions))


def without_claims(text: str, claims: Sequence[Claim], dropped: Sequence[Claim]) -> str:
    """Return a description without the dropped claims; empty where its object goes or nothing is left."""
    cut: list[tuple[int, int]] = []
    for claim in dropped:
        if claim.kind == "object":
            return ""
        mine = [each for each in claims if claims[each.owner] == claim] if claim.kind == "part" else [claim]
        cut.append((min(each.start for each in mine), max(each.end for each in mine)))
    left = text
    for start, end in sorted(cut, reverse=True):
        head = left[:start].rstrip()
        while (last := head.rsplit(" ", 1)[-1].lower()) and _leads(last, left[end:], claim_at_end=end >= len(left)):
            head = head[: len(head) - len(last)].rstrip()
        left = f"{head} {left[end:].lstrip()}".strip()
    return fix_articles(re.sub(r"\s+", " ", left)).strip(" ,")


def apply_to_description(
    one: DescriptionRecord, claims: Sequence[PolicyVerdict], policy: Policy
) -> DescriptionRecord | None:
    """Apply a policy to one description; None where it is dropped. One that was not audited stays."""
    if policy == "keep":
        return one
    wrong = [each.claim for each in claims if each.verdict == "unsupported"]
    if policy == "down-weight":
        likely = min((each.probability for each in claims if each.probability is not None), default=1.0)
        return replace(one, score=(SURE if one.score is None else one.score) * likely) if claims else one
    if not wrong:
        return one
    if policy == "drop-description":
        return None
    text = without_claims(one.text, [each.claim for each in claims], wrong)
    return replace(one, text=text) if text else None


def _leads(word: str, rest: str, *, claim_at_end: bool) -> bool:
    """Return whether a word led only to what was cut: "with" of "with a tail", the article before nothing."""
    if word in ("a", "an", "the"):
        return claim_at_end or not rest.strip()
    return word in LEADS and not rest.strip()


def _probability(settled: Verdict | None, probability: float | None) -> float | None:
    """Return the probability of a claim, which is certain where people decided."""
    return {"supported": 1.0, "unsupported": 0.0}.get(settled or "", probability)
