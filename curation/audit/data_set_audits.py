"""Tell the audits of a data set apart, and find the one that is meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from curation.audit.independence import JOINED
from curation.audit.judges import Basis
from db.engine import Session
from db.models import AnnotationRun, Dataset
from db.queries.audit_queries import audit_runs
from user_errors import UserError


class AuditKey(TypedDict):
    """The arguments by which queries find the claims of an audit."""

    dataset_id: int
    recipe: str


@dataclass(frozen=True)
class DataSetAudit:
    """An audit of a data set: all runs with the same descriptions and sources, which share one set of claims.

    id: of its first run; it stays when the audit is run again or judged by another judge. run: the latest one.
    """

    id: int
    run: AnnotationRun

    @property
    def key(self) -> AuditKey:
        """Return the arguments by which queries find its claims now."""
        return {"dataset_id": self.run.dataset_id, "recipe": self.run.recipes["audit"]}

    @property
    def sources(self) -> str:
        """Return the names of its sources without owner and revision; "" of an audit by an earlier version."""
        basis = Basis.of_run(self.run.config)
        names = basis.source.split(JOINED) if basis else ()
        return JOINED.join(name.partition("@")[0].rpartition("/")[2] for name in names)


def audits_of(session: Session, *, dataset_id: int) -> list[DataSetAudit]:
    """Return the audits of a data set, the one that was run last first."""
    found: dict[Basis | str, DataSetAudit] = {}
    for run in audit_runs(session, dataset_id=dataset_id):
        key = Basis.of_run(run.config) or run.recipes["audit"]
        found[key] = DataSetAudit(run.id, found[key].run if key in found else run)
    return list(found.values())


def find_audit(session: Session, *, dataset: Dataset, audit: int = 0) -> DataSetAudit:
    """Return an audit by its id; 0: the latest.

    Raises: UserError: the data set was not audited, or has no audit of that id.
    """
    audits = audits_of(session, dataset_id=dataset.id)
    if not audits:
        raise UserError(
            f"The data set {dataset.name[:60]!r} was not audited yet: press Audit on the Audit page, under “Audit this "
            "data set”, or run `python -m curation.audit`."
        )
    for each in audits:
        if audit in (0, each.id):
            return each
    raise UserError(f"There is no audit {audit} of {dataset.name[:60]!r}: choose one of those on the Audit page.")
