"""Sum up an audit: the hallucination rate by people's verdicts, and the quality of the auditor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
from db.engine import Session, reading
from db.queries.audit_queries import Group, GroupCount, audit_runs, counts_by
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
    latest audit's sources; None of an audit by an earlier version.
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


def audit_report(services: Services, dataset: str) -> AuditReport:
    """Measure rates and the auditor's quality by what people judged so far.

    Raises: UserError: no such data set, it was not audited, or its judge's file is damaged.
    """
    with reading(services.engine) as session:
        dataset_id, recipe = audit_of(session, dataset)
        fitted = _judge_fit(session, services, dataset_id=dataset_id, dataset=dataset)
        counts = counts_by(session, dataset_id=dataset_id, recipe=recipe, group="kind")
        drawn = sample_size(session, dataset_id=dataset_id, recipe=recipe)
        judged = sample_judgements(session, dataset_id=dataset_id, recipe=recipe)
        independence = Independence.of_run(audit_runs(session, dataset_id=dataset_id)[0].config)
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
        description_runs=tuple(audited_description_runs(services.engine, dataset_id=dataset_id)),
        independence=independence,
    )


def _most_judged(rates: Mapping[str, Rate]) -> dict[str, Rate]:
    """Return the rates of most claims, in that order."""
    return dict(sorted(rates.items(), key=lambda pair: -pair[1].claims)[:MOST_RATES])


def _judge_fit(session: Session, services: Services, *, dataset_id: int, dataset: str) -> JudgeFit | None:
    """Return the quality of the latest audit's judge, where it was fitted on people's verdicts."""
    judge = saved_judge(services.settings.home, dataset)
    run = audit_runs(session, dataset_id=dataset_id)[0]
    basis = Basis.of_run(run.config)
    if judge is None or basis is None or basis.work(judge).recipe != run.recipes["audit"]:
        return None
    return JudgeFit.from_json(saved_judge_quality(services.settings.home, dataset))
