"""What an export does with claims that the picture does not support: by policy, and never in silence. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from curation.claims import WITH, Claim
from curation.evidence import articles_right
from curation.records import DescriptionRecord, PictureRecord
from db.models import AuditedClaim, Verdict

Policy = Literal["keep", "drop-claim", "drop-description", "down-weight"]
"""drop-claim: its words are cut out, the description too where its object goes. down-weight: the score, by which
training takes regions, is multiplied by the probability that all of the description is supported."""
LEADS = (*WITH, "of", "and", "in", "painted", ",")  # words that lead to a part or a colour and go with it
SURE = 1.0  # the score of a description that has none


@dataclass(frozen=True)
class Told:
    """A claim with what it counts as: people's word where there is one, else the auditor's."""

    claim: Claim
    verdict: Verdict
    probability: float | None


def told(rows: Iterable[AuditedClaim]) -> tuple[Told, ...]:
    """The claims of one description as the database keeps them."""
    return tuple(
        Told(
            Claim(row.kind, row.span_start, row.span_end, row.owner),
            row.settled or row.verdict,
            _probability(row.settled, row.probability),
        )
        for row in rows
    )


def under(record: PictureRecord, claims: Mapping[str, Sequence[Told]], policy: Policy) -> PictureRecord:
    """A picture as a policy wants it.

    Args: claims: description -> its claims; one that was not audited, or was edited since, stays as it is.
    """
    if policy == "keep" or not claims:
        return record
    regions = []
    for region in record.regions:
        kept = (description_under(one, claims.get(one.text, ()), policy) for one in region.descriptions)
        if descriptions := tuple(one for one in kept if one is not None):
            regions.append(replace(region, descriptions=descriptions))
    return replace(record, regions=tuple(regions))


def without(text: str, claims: Sequence[Claim], dropped: Sequence[Claim]) -> str:
    """A description without some of its claims; empty where an object that it is about goes, or nothing is left."""
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
    return articles_right(re.sub(r"\s+", " ", left)).strip(" ,")


def description_under(one: DescriptionRecord, claims: Sequence[Told], policy: Policy) -> DescriptionRecord | None:
    """A description as a policy wants it; None where it goes. One without claims was not audited, and stays."""
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
    text = without(one.text, [each.claim for each in claims], wrong)
    return replace(one, text=text) if text else None


def _leads(word: str, rest: str, *, claim_at_end: bool) -> bool:
    """Whether a word before what was cut led to it alone: "with" of "with a tail", the article before nothing."""
    if word in ("a", "an", "the"):
        return claim_at_end or not rest.strip()
    return word in LEADS and not rest.strip()


def _probability(settled: Verdict | None, probability: float | None) -> float | None:
    """What people say is certain."""
    return {"supported": 1.0, "unsupported": 0.0}.get(settled or "", probability)
