"""The templates of the Audit page, with hostile text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.audit import panels
from app.audit.audits import AuditChoice
from app.audit.claims import ClaimsPage, OpenClaim
from app.audit.report import AuditReport
from app.audit.report_panel import report_panel
from curation.audit.agreement import Agreement
from curation.audit.data_set_audits import DataSetAudit
from curation.audit.description_runs import AuditedDescriptionRun
from curation.audit.independence import NOBODY, Independence
from curation.audit.measure import AuditorQuality, CurvePoint, Rate
from db.models import AnnotationRun, AuditedClaim, ClaimVerdict, Image, RegionRow
from db.queries.audit_queries import AuditTotals, ClaimRow, GroupCount
from db.queries.audit_sample_queries import AuditCounts
from tests.support.hostile import HOSTILE

HOME = Path("/nowhere")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RATE = Rate(0.5, 0.4, 0.6, 9)
SOURCE = {"source": "detector", "score": 0.5, "counter_text": HOSTILE, "counter": None, "mean": 0.1}


def claim_row(number: int = 1, **facts: Any) -> ClaimRow:
    own: dict[str, Any] = {"kind": HOSTILE, "words": HOSTILE, "verdict": "unsupported", "probability": 0.5}
    evidence = [SOURCE, SOURCE | {"source": "asked"}]
    spans = {"span_start": 0, "span_end": len(HOSTILE)}
    claim = AuditedClaim(id=number, description_id=1, image_id=1, evidence=evidence, **(own | spans | facts))
    return ClaimRow(
        claim, HOSTILE + HOSTILE, Image(id=1, dataset_id=1, sha256="0" * 64, location=HOSTILE, width=2, height=1)
    )


def opened(problem: str = "", sample: int | None = None) -> OpenClaim:
    row = claim_row()
    verdict = ClaimVerdict(claim_id=1, who=HOSTILE, verdict="supported", note=HOSTILE, at=NOW)
    keys: dict[str, Any] = {"id": 1, "dataset_id": 1, "image_id": 1, "content_key": 1}
    region = RegionRow(text=HOSTILE, source=HOSTILE, x1=0, y1=0, x2=1, y2=1, **keys)
    other = claim_row(2, settled="supported", span_start=len(HOSTILE), span_end=2 * len(HOSTILE))
    return OpenClaim(row, (row, other), (region, region), (verdict,), "data:,", problem, sample)


def report(**changes: Any) -> str:
    totals = AuditTotals(HOSTILE, HOSTILE, 1, 9, 3)
    found = AuditReport(
        counts=(GroupCount(HOSTILE, 1, 2, 3),),
        drawn=9,
        judged=9,
        rate=RATE,
        rates={"describer": {HOSTILE: RATE, "": RATE}},
        quality=AuditorQuality(RATE, None, RATE),
        agreement=Agreement(HOSTILE, HOSTILE, 9, 8, None, None, None),
        curve=(CurvePoint(0.5, 0.5, 0.5, 0.5),),
        description_runs=(AuditedDescriptionRun(totals, RATE), AuditedDescriptionRun(totals, None)),
    )
    return report_panel(replace(found, **changes), 0.5)


def report_without_sample() -> str:
    run = AnnotationRun(id=1, dataset_id=1, config={}, recipes={})
    return report(drawn=0, elsewhere=AuditChoice(HOSTILE, DataSetAudit(1, run), AuditCounts(9, 9, 9)))


CASES: Mapping[str, Sequence[Callable[[], str]]] = {
    "audit/templates/claims.html": (
        lambda: panels.claims_panel(ClaimsPage((claim_row(),), "", Independence(HOSTILE, NOBODY).sentences()), HOME),
        lambda: panels.claims_panel(ClaimsPage((), "", Independence(HOSTILE, "x@1", (HOSTILE,)).sentences()), HOME),
    ),
    "audit/templates/parts.html": (lambda: panels.claims_panel(ClaimsPage((claim_row(),), ""), HOME),),
    "audit/templates/claim.html": (
        lambda: panels.claim_panel(opened(), HOSTILE),
        lambda: panels.claim_panel(opened(problem=HOSTILE)),
        lambda: panels.claim_panel(opened(sample=3), blind=True),
    ),
    "audit/templates/blind_sentence.html": (lambda: panels.claim_panel(opened(sample=3), blind=True),),
    "audit/templates/report.html": (report, report_without_sample),
}
