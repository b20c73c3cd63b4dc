"""Offer the audits of a data set for a choice, each in words."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from app.services import Services
from app.ui.html import things, utc
from curation.audit.data_set_audits import DataSetAudit, audits_of
from db.engine import reading
from db.queries.audit_sample_queries import AuditCounts, counts_by_audit
from db.queries.data_set_queries import get_dataset


@dataclass(frozen=True)
class AuditChoice:
    """An audit to choose, with the name of its data set and the counts of its claims."""

    dataset: str
    audit: DataSetAudit
    counts: AuditCounts

    @property
    def id(self) -> str:
        """Return its id as the page's field and its address have it."""
        return str(self.audit.id)

    @property
    def label(self) -> str:
        """Return when it was run, how much is in it, and its sources."""
        claims = f"{things(self.counts.claims, 'claim')}, {self.counts.judged:,} judged"
        return " · ".join(filter(None, (utc(self.audit.run.created_at), claims, self.audit.sources)))

    @property
    def address(self) -> str:
        """Return the address of the page that shows it."""
        return f"/audit?{urlencode({'dataset': self.dataset, 'audit': self.id})}"


def audit_choices(services: Services, name: str | None) -> list[AuditChoice]:
    """Return the audits of a data set, the newest first; none where there is no such data set."""
    with reading(services.engine) as session:
        dataset = get_dataset(session, name=name or "")
        if dataset is None:
            return []
        counts = counts_by_audit(session, dataset_id=dataset.id)
        found = audits_of(session, dataset_id=dataset.id)
    return [AuditChoice(dataset.name, each, counts.get(each.key["recipe"], AuditCounts())) for each in found]


def runner_of(services: Services, choice: AuditChoice) -> str:
    """Return the name of the person whose job ran an audit last; "" where that was done from a terminal."""
    job = services.jobs.get(choice.audit.run.job_id or 0)
    return job.owner if job else ""
