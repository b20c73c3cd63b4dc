"""Prepare what the Audit page shows of claims, for the templates: the list, one claim to judge, what a rule rejects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.audit.claims import ClaimsPage, OpenClaim
from app.core.thumbnails import picture_name, thumbnail_address
from app.ui.claims import SIGNS, marked, span_of
from app.ui.frames import FrameBox
from app.ui.html import empty_state, history, render, render_macro, thousands
from app.ui.marks import mark_of
from curation.audit.claim_judge import reasons
from curation.audit.evidence import Evidence
from curation.audit.judges import evidence_of
from db.models import AuditedClaim, ClaimVerdict, RegionRow, Verdict
from db.queries.audit_queries import TouchedCounts

KEYS_OF: dict[Verdict, str] = {"supported": "S", "unsupported": "U", "cannot tell": "C"}
SOURCES = {
    "detector": "detector, logit",
    "likeness": "GRAIN, cosine × 10",
    "asked": "VQA model, probability of yes",
    "counted": "boxes counted, log probability",
    "placed": "place of the boxes, −1 to 1",
}
SCALES = {
    "detector": (-10.0, 5.0),
    "likeness": (-2.0, 8.0),
    "asked": (0.0, 1.0),
    "counted": (-7.0, 0.0),
    "placed": (-1.0, 1.0),
}  # of the bars

Bar = tuple[float, str] | None
"""A share of the scale, and the number beside it; None where a source has no score."""


@dataclass(frozen=True)
class ClaimLine:
    """A claim in the list. sentence: its description, its words marked. uri, picture: the thumbnail and its name."""

    claim: AuditedClaim
    sentence: str
    uri: str
    picture: str


def claims_panel(page: ClaimsPage, home: Path) -> str:
    """Render a page of claims, each marked in its sentence, under what is to be said of the sources.

    home: GRAIN_HOME, where the thumbnails are.
    """
    if not page.rows and not page.doubts:
        return empty_state("No claims here", "Change the filters, or audit the data set first.")
    rows = [
        ClaimLine(
            row.claim,
            marked(row.text, [span_of(row.claim)]),
            thumbnail_address(home, row.image.sha256),
            picture_name(row.image),
        )
        for row in page.rows
    ]
    return render("audit/templates/claims.html", rows=rows, doubts=page.doubts, signs=SIGNS)


def claim_panel(opened: OpenClaim, message: str = "", *, blind: bool = False) -> str:
    """Render one claim to judge: the picture with its region, the sentence, the evidence, people's verdicts.

    Args: blind: the auditor's verdict and the others' are not shown, so that this person's is independent of them.
    """
    claim = opened.row.claim
    evidence = evidence_of(claim)
    return render(
        "audit/templates/claim.html",
        opened=opened,
        sentence=_blind_sentence(opened.row.text, claim) if blind else _sentence(opened),
        message=message,
        signs=SIGNS,
        verdicts=[(verdict, sign, KEYS_OF[verdict]) for verdict, sign in SIGNS.items()],
        boxes=[_box(region) for region in opened.regions],
        seen={str(region.id): region.version for region in opened.regions},
        blind=blind,
        evidence=[_evidence_row(each) for each in evidence],
        reasons=reasons(evidence) if evidence else (),
        history=_history(opened.verdicts),
        curate=f"/curate?image={claim.image_id}",
    )


def _sentence(opened: OpenClaim) -> str:
    return marked(opened.row.text, [span_of(row.claim, opened.row.claim.id) for row in opened.siblings])


def _blind_sentence(text: str, claim: AuditedClaim) -> str:
    start, end = claim.span_start, claim.span_end
    return render("audit/templates/blind_sentence.html", before=text[:start], words=text[start:end], after=text[end:])


def _box(region: RegionRow) -> FrameBox:
    mark = mark_of(0)
    return FrameBox.of((region.x1, region.y1, region.x2, region.y2), mark.color, dash=mark.dash, text=region.text)


def _evidence_row(one: Evidence) -> tuple[str, Bar, Bar, str]:
    words = one.counter_text or ("the denial" if one.source == "asked" else "–")
    return SOURCES[one.source], _bar(one.source, one.score), _bar(one.source, one.counter), words


def _bar(source: str, value: float | None) -> Bar:
    if value is None:
        return None
    low, high = SCALES[source]
    return min(max((value - low) / (high - low), 0.0), 1.0), f"{value:.2f}"


def _history(verdicts: Sequence[ClaimVerdict]) -> str:
    return history((each.who, f"{each.verdict} {each.note}".strip(), each.at) for each in verdicts) if verdicts else ""


def matches_panel(found: TouchedCounts) -> str:
    """Render what a rule would reject."""
    if not found.claims:
        return render_macro("note", "No claim matches the filters.")
    matches = f"{thousands(found.claims)} claims match, in {thousands(found.descriptions)} descriptions"
    return render_macro("finding", f"{matches}; {thousands(found.regions)} regions of these are not yet rejected.")
