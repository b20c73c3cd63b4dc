"""Compare the description runs of a data set, each by its latest audit: one question against two, model by model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from curation.audit.independence import Independence
from curation.audit.judges import Basis
from curation.audit.measure import Rate, hallucination_rate
from db.engine import Engine, reading
from db.queries.audit_queries import AuditTotals, audit_runs, audit_totals
from db.queries.audit_sample_queries import sample_judgements


@dataclass(frozen=True)
class AuditedDescriptionRun:
    """A description run that was audited.

    totals: the auditor's counts. rate: hallucination rate by people's verdicts; None where nobody has judged.
    independence: of its sources; None of an audit by an earlier version.
    """

    totals: AuditTotals
    rate: Rate | None
    independence: Independence | None = None

    @property
    def share_unsupported(self) -> float | None:
        """Return the auditor's share of unsupported claims; None where it could decide nothing."""
        noted = self.independence
        return self.totals.share_unsupported if noted is None or noted.can_decide else None

    def __str__(self) -> str:
        """Return one line for a terminal."""
        questions = f"{self.totals.stages} question{'' if self.totals.stages == 1 else 's'}"
        asked = f"{self.totals.prompts}, {questions}" if self.totals.prompts else "no question"
        rate = self.rate and f"{self.rate.value:.1%} [{self.rate.low:.1%}, {self.rate.high:.1%}] of {self.rate.claims}"
        share = "not known" if self.share_unsupported is None else f"{self.share_unsupported:.1%}"
        return (
            f"{asked} ({self.totals.describer}): {self.totals.claims:,} claims, hallucination rate "
            f"{rate or 'not judged by people yet'}, auditor's unsupported {share}"
        )


def audited_description_runs(engine: Engine, *, dataset_id: int) -> list[AuditedDescriptionRun]:
    """Return the audited description runs, the latest audit first."""
    return list(_audited_runs(engine, dataset_id))


def _audited_runs(engine: Engine, dataset_id: int) -> Iterator[AuditedDescriptionRun]:
    seen: set[str] = set()
    with reading(engine) as session:
        for run in audit_runs(session, dataset_id=dataset_id):
            basis, recipe = Basis.of_run(run.config), run.recipes["audit"]
            if basis is None or basis.needs in seen:
                continue
            totals = audit_totals(session, dataset_id=dataset_id, recipe=recipe)
            if totals is not None:
                seen.add(basis.needs)
                judged = sample_judgements(session, dataset_id=dataset_id, recipe=recipe)
                yield AuditedDescriptionRun(totals, hallucination_rate(judged), Independence.of_run(run.config))
