"""Prepare the numbers of an audit for their template: rates with intervals, the judge, the auditor's counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.audit.audits import AuditChoice
from app.audit.report import AuditReport
from app.ui.html import render, thousands
from curation.audit.description_runs import AuditedDescriptionRun
from curation.audit.fit_judge import JudgeFit
from curation.audit.measure import CurvePoint, Rate
from db.queries.audit_queries import GroupCount

GROUP_NAMES = {
    "kind": "by kind of claim",
    "prompts": "by prompts",
    "stages": "by questions asked",
    "describer": "by describer",
    "subject": "by subject",
}
INTERVAL = "95 % interval"

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Heads and rows."""


def report_panel(report: AuditReport, threshold: float) -> str:
    """Render the hallucination rate by people's verdicts, and the quality of the auditor.

    Args: threshold: probability at or below which claims would be dropped.
    """
    independence = report.independence
    silent = independence is not None and not independence.can_decide
    auditor = [] if silent else [*_counts(report.counts), *_description_runs(report.description_runs)]
    judged = f"{thousands(report.judged)} of {thousands(report.drawn)} claims of the sample are judged."
    if not report.drawn:
        nobody = "Nobody has judged a claim yet: draw a sample and judge it."
        return _render(notes=[nobody], tables=auditor, elsewhere=report.elsewhere)
    if report.rate is None:
        return _render(notes=[judged], tables=auditor)
    rates = [
        _rates(GROUP_NAMES[group], rates) for group, rates in report.rates.items() if len(rates) > 1 or group == "kind"
    ]
    return _render(
        figures=_figures(report, report.rate),
        drop=_drop(report.curve, threshold),
        notes=[judged, _judge_note(report)],
        tables=[*([_judge(report.fitted)] if report.fitted else []), *rates, *auditor],
    )


def _render(
    *,
    notes: Sequence[str],
    tables: Sequence[Table],
    figures: Sequence[tuple[str, str, str]] = (),
    drop: str = "",
    elsewhere: AuditChoice | None = None,
) -> str:
    values = {"figures": figures, "drop": drop, "notes": notes, "tables": tables, "elsewhere": elsewhere}
    return render("audit/templates/report.html", **values)


def _figures(report: AuditReport, rate: Rate) -> list[tuple[str, str, str]]:
    quality, people = report.quality, report.agreement
    how = "" if report.unseen else ", cross-validated"
    kappa = "–" if people.kappa is None else f"{people.kappa:.2f}"
    interval = "" if people.kappa is None else f"{people.interval} of "
    return [
        ("hallucination rate, people", *_rate(rate)),
        (f"auditor's precision{how}", *_rate(quality.precision)),
        (f"auditor's recall{how}", *_rate(quality.recall)),
        ("auditor cannot tell", *_rate(quality.cannot_tell)),
        ("two people agree, κ", kappa, f"{interval}{people.pictures} claims"),
    ]


def _rate(rate: Rate | None) -> tuple[str, str]:
    if rate is None:
        return "–", "no result yet"
    return f"{rate.value:.1%}", f"[{rate.low:.1%}, {rate.high:.1%}] of {rate.claims}"


def _drop(curve: Sequence[CurvePoint], threshold: float) -> str:
    below = [point for point in curve if point.threshold <= threshold]
    if not below:
        return ""
    point = below[-1]
    return (
        f"Dropping claims at most {threshold:.0%} likely drops {point.dropped:.1%} of all: {point.precision:.0%} of "
        f"these are unsupported, and {point.recall:.0%} of all unsupported are among them."
    )


def _judge_note(report: AuditReport) -> str:
    fit = report.fitted
    if fit is None:
        return "The judge was fitted elsewhere: fit one once enough of the sample is judged."
    since = "The figures above count claims drawn since." if report.unseen else "Draw more to measure it again."
    return (
        f"Fitted on {thousands(fit.supported + fit.unsupported)} judged claims on {thousands(fit.pictures)} pictures; "
        f"on pictures that it was not fitted on, its calibration error is {fit.calibration_error:.1%} on average. "
        f"{since}"
    )


def _judge(fit: JudgeFit) -> Table:
    """Return the quality of the data set's own judge on claims that it was not fitted on."""
    rows = [
        (name, _rate(before)[0], *_rate(now))
        for name, before, now in (
            ("precision", fit.before.precision, fit.cross_validated.precision),
            ("recall", fit.before.recall, fit.cross_validated.recall),
            ("cannot tell", fit.before.cannot_tell, fit.cross_validated.cannot_tell),
        )
    ]
    return ("this data set’s own judge", "judge before", "cross-validated", INTERVAL), rows


def _rates(name: str, rates: Mapping[str, Rate]) -> Table:
    return (name, "unsupported", INTERVAL), [(value or "none", *_rate(rate)) for value, rate in rates.items()]


def _counts(counts: Sequence[GroupCount]) -> list[Table]:
    rows = [
        (each.group, thousands(each.supported), thousands(each.unsupported), thousands(each.cannot_tell))
        for each in counts
    ]
    return [(("the auditor's verdicts", "supported", "unsupported", "cannot tell"), rows)] if rows else []


def _description_runs(runs: Sequence[AuditedDescriptionRun]) -> list[Table]:
    """Compare description runs, where there are two."""
    if len(runs) < 2:
        return []
    heads = ("audited description runs, the latest first", "prompts", "claims", "auditor’s unsupported")
    rows = [
        (
            run.totals.describer,
            run.totals.prompts or "no question",
            thousands(run.totals.claims),
            "–" if run.share_unsupported is None else f"{run.share_unsupported:.1%}",
            *_rate(run.rate),
        )
        for run in runs
    ]
    return [((*heads, "rate, people", INTERVAL), rows)]
