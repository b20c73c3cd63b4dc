"""Sum up an audit: the hallucination rate by people's verdicts, and the quality of the auditor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.audit.audits import AuditChoice, audit_choices
from app.audit.claims import audit_of
from app.services import Services
from curation.audit.agreement import Agreement
from curation.audit.description_runs import AuditedDescriptionRun, audited_description_runs
from curation.audit.fit_judge import JudgeFit
from curation.audit.independence import Independence
from curation.audit.judges import Basis, saved_judge, saved_judge_quality
from curation.audit.measure import (
    AuditorQuality,
    CurvePoint,
    Rate,
    agreement,
    curve,
    curve_of,
    hallucination_rate,
    quality,
    rates_by,
)
from db.engine import reading
from db.models import AnnotationRun
from db.queries.audit_queries import Group, GroupCount, counts_by
from db.queries.audit_sample_queries import sample_judgements, sample_size

GROUPS: tuple[Group, ...] = ("kind", "prompts", "stages", "describer", "subject")
MOST_RATES = 8  # of one group, those with most judged claims


@dataclass(frozen=True)
class AuditReport:
    """The numbers of an audit.

    counts: the auditor's own verdicts by kind. drawn, judged: claims of the sample, and of it those that people judged.
    rate: of hallucination, by people's verdicts. rates: the same by group and value. fitted: of a judge that was fitted
    on this sample; quality and curve are then of claims that it was not fitted on: drawn since, or else cross-validated
    (unseen is False). description_runs: all that were audited of the data set, side by side. independence: of the
    audit's sources; None of an audit by an earlier version. elsewhere: another audit that has a sample, where this one
    has none.
    """

    counts: tuple[GroupCount, ...]
    drawn: int
    judged: int
    rate: Rate | None
    rates: Mapping[Group, Mapping[str, Rate]]
    quality: AuditorQuality
    agreement: Agreement
    curve: tuple[CurvePoint, ...]
    fitted: JudgeFit | None = None
    unseen: bool = True
    description_runs: tuple[AuditedDescriptionRun, ...] = ()
    independence: Independence | None = None
    elsewhere: AuditChoice | None = None


def audit_report(services: Services, dataset: str, audit: int = 0) -> AuditReport:
    """Measure rates and the auditor's quality by what people judged so far. audit: its id; 0: the latest.

    Raises: UserError: no such data set or audit, it was not audited, or its judge's file is damaged.
    """
    with reading(services.engine) as session:
        found = audit_of(session, dataset, audit)
        fitted = _judge_fit(services, dataset, found.run)
        counts = counts_by(session, **found.key, group="kind")
        drawn = sample_size(session, **found.key)
        judged = sample_judgements(session, **found.key)
    others = [] if drawn else audit_choices(services, dataset)
    fresh = [each for each in judged if each.fresh]
    unseen = fitted is None or bool(fresh)
    measured = judged if fitted is None else fresh
    cross_validated = None if unseen else fitted
    return AuditReport(
        counts=tuple(counts),
        drawn=drawn,
        judged=len(judged),
        rate=hallucination_rate(judged),
        rates={group: _most_judged(rates_by(judged, group)) for group in GROUPS} if judged else {},
        quality=cross_validated.cross_validated if cross_validated else quality(measured),
        agreement=agreement(judged),
        curve=curve(cross_validated.scored) if cross_validated else curve_of(measured),
        fitted=fitted,
        unseen=unseen,
        description_runs=tuple(audited_description_runs(services.engine, dataset_id=found.run.dataset_id)),
        independence=Independence.of_run(found.run.config),
        elsewhere=next((each for each in others if each.counts.drawn), None),
    )


def _most_judged(rates: Mapping[str, Rate]) -> dict[str, Rate]:
    """Return the rates of most claims, in that order."""
    return dict(sorted(rates.items(), key=lambda pair: -pair[1].claims)[:MOST_RATES])


def _judge_fit(services: Services, dataset: str, run: AnnotationRun) -> JudgeFit | None:
    """Return the quality of the judge of an audit's latest run, where it was fitted on people's verdicts."""
    judge = saved_judge(services.settings.home, dataset)
    basis = Basis.of_run(run.config)
    if judge is None or basis is None or basis.work(judge).recipe != run.recipes["audit"]:
        return None
    return JudgeFit.from_json(saved_judge_quality(services.settings.home, dataset))
