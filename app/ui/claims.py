"""Render descriptions with the words of their claims marked by verdict; Audit and Ground both show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.ui.html import render_macro
from db.models import AuditedClaim, Verdict

SIGNS: dict[Verdict, str] = {"supported": "✓", "unsupported": "✗", "cannot tell": "?"}


@dataclass(frozen=True)
class ClaimSpan:
    """Words of a description that carry a claim, half open. chosen: the claim that is open on the page."""

    start: int
    end: int
    kind: str
    verdict: Verdict
    chosen: bool = False


def span_of(claim: AuditedClaim, chosen: int | None = None) -> ClaimSpan:
    """Return where the words of an audited claim are. chosen: id of the claim that is open."""
    verdict = claim.settled or claim.verdict
    return ClaimSpan(claim.span_start, claim.span_end, claim.kind, verdict, claim.id == chosen)


def marked(text: str, spans: Sequence[ClaimSpan]) -> str:
    """Render a description with the words of its claims marked. Overlapping spans are cut at the one before."""
    pieces: list[tuple[str, ClaimSpan | None]] = []
    at = 0
    for span in sorted(spans, key=lambda each: (each.start, each.end)):
        start, end = max(at, span.start), max(at, span.end)
        if start < end:
            pieces += [(text[at:start], None), (text[start:end], span)]
            at = end
    return render_macro("marked", [*pieces, (text[at:], None)], SIGNS)
