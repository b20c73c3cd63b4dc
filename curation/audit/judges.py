"""Keep judges of data sets under GRAIN_HOME, and rejudge claims on stored evidence.

An audit is identified by its basis (which descriptions, which sources of evidence) and its judge. Under another judge
its claims move to the other identity, with people's verdicts and the sample, so that each basis has one set of claims.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atomic_files import write_atomically
from curation.annotate.registry import StageWork, digest_of
from curation.audit.claim_judge import Judge
from curation.audit.claims import Claim
from curation.audit.evidence import Evidence
from db.engine import Engine, Session, reading, retrying
from db.models import AuditedClaim, Verdict
from db.queries.audit_queries import audit_runs, claims_of_results, hashes_of, set_judgements
from db.queries.stage_result_queries import stage_result_page, stage_results_of
from user_errors import UserError

VERSION = 2  # grows when equal settings begin to mean other work
BATCH = 500  # pictures whose claims are rejudged in one transaction
BASIS, FITTED = "basis", "fitted"  # keys in a run's settings, and in a kept judge
Changes = Counter[tuple[Verdict, Verdict]]
"""Verdict before and now -> claims."""


@dataclass(frozen=True)
class Basis:
    """The basis of an audit.

    source: all sources of evidence. needs: the recipe of the description run.
    """

    source: str
    needs: str

    def work(self, judge: Judge) -> StageWork:
        """Return the work of this basis with a judge."""
        facts = {"version": VERSION, "source": self.source, "judge": digest_of(judge.to_json()), "needs": self.needs}
        return StageWork("audit", self.source, digest_of({"stage": "audit", **facts}), self.needs)

    def run_settings(self) -> dict[str, Any]:
        """Return the entry for a run's settings by which it is found again, whatever judge was used."""
        return {BASIS: {"version": VERSION} | asdict(self)}

    @classmethod
    def of_run(cls, config: Mapping[str, Any]) -> Basis | None:
        """Return the basis noted in a run's settings; None where there is none or it has another version."""
        noted = dict(config.get(BASIS, {}))
        return cls(**noted) if noted.pop("version", None) == VERSION else None


def judge_path(home: Path, dataset: str) -> Path:
    """Return the path of a data set's judge, safe for any name."""
    return home / "judges" / f"{hashlib.sha256(dataset.encode()).hexdigest()[:16]}.json"


def save_judge(home: Path, dataset: str, judge: Judge, *, quality: Mapping[str, Any]) -> Path:
    """Save the judge of a data set over the previous one, with its measured quality, and return the path."""
    path = judge_path(home, dataset)
    plain = judge.to_json() | {"dataset": dataset, FITTED: quality}
    write_atomically(path, json.dumps(plain, indent=1) + "\n")
    return path


def saved_judge(home: Path, dataset: str) -> Judge | None:
    """Load the saved judge of a data set; None where none was fitted.

    Raises: UserError: its file cannot be read.
    """
    path = judge_path(home, dataset)
    return Judge.load(path) if path.exists() else None


def saved_judge_quality(home: Path, dataset: str) -> Mapping[str, Any]:
    """Load the quality saved beside a data set's judge; empty where there is none.

    Raises: UserError: its file cannot be read.
    """
    path = judge_path(home, dataset)
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))[FITTED]) if path.exists() else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read as a judge ({error}): fit it again") from error


def rejudge_audits(engine: Engine, dataset_id: int, *, basis: Basis, judge: Judge) -> Changes:
    """Rejudge the audits of the same basis by other judges, and return how the verdicts changed."""
    work, changes = basis.work(judge), Changes()
    with reading(engine) as session:
        runs = audit_runs(session, dataset_id=dataset_id)
    for recipe in dict.fromkeys(run.recipes["audit"] for run in runs if Basis.of_run(run.config) == basis):
        if recipe != work.recipe:
            changes += rejudge(engine, dataset_id=dataset_id, recipe=recipe, judge=judge, into=work)
    return changes


def rejudge(engine: Engine, *, dataset_id: int, recipe: str, judge: Judge, into: StageWork) -> Changes:
    """Rejudge an audit's claims on stored evidence and move them under the other work.

    A picture that the other work has done already is skipped. Stopped anywhere, the same call resumes; memory does not
    grow with the data set.
    """
    after, changes = 0, Changes()

    def step(session: Session) -> tuple[int, Changes]:
        page = stage_result_page(session, dataset_id=dataset_id, recipe=recipe, state="done", after=after, limit=BATCH)
        there = stage_results_of(session, image_ids=[each.image_id for each in page], recipe=into.recipe)
        mine = [each for each in page if each.image_id not in there]
        rows = claims_of_results(session, result_ids=[each.id for each in mine])
        judged = list(_judged(rows, judge))
        hashes = hashes_of(session, image_ids=[each.image_id for each in mine])
        set_judgements(
            session,
            recipe=into.recipe,
            results=[(each.id, into.key(hashes[each.image_id])) for each in mine],
            claims=[(row.id, verdict, probability) for row, verdict, probability in judged],
        )
        return page[-1].image_id if page else 0, Changes((row.verdict, verdict) for row, verdict, _ in judged)

    while True:
        after, some = retrying(engine, step)
        changes += some
        if not after:
            return changes


def _judged(rows: Sequence[AuditedClaim], judge: Judge) -> Iterator[tuple[AuditedClaim, Verdict, float | None]]:
    grouped: dict[int, list[AuditedClaim]] = {}
    for row in rows:
        grouped.setdefault(row.description_id, []).append(row)
    for some in grouped.values():
        found = [(Claim(row.kind, row.span_start, row.span_end, row.owner), evidence_of(row)) for row in some]
        for row, one in zip(some, judge.description(found), strict=True):
            yield row, one.verdict, one.probability


def evidence_of(row: AuditedClaim) -> tuple[Evidence, ...]:
    """Return the stored evidence of a claim."""
    return tuple(Evidence(**each) for each in row.evidence)
