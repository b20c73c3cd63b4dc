"""Judges of data sets, kept under GRAIN_HOME; and claims judged anew on the evidence that is kept.

An audit is named by its basis (what is described, by which sources of evidence) and its judge. With another judge its
claims move under the other name, with people's verdicts and the sample, so that there is one set of them for a basis.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curation.annotators import Work, digest_of
from curation.claims import Claim
from curation.combine import Judge, JudgeError
from curation.evidence import Evidence
from curation.sample_world import write_whole
from db.audit_queries import audit_runs, claims_of_results, hashes_of, set_judgements
from db.engine import Engine, Session, reading, retrying
from db.models import AuditedClaim, Verdict
from db.run_queries import stage_result_page, stage_results_of

VERSION = 1  # grows when equal settings begin to mean other work
AT_ONCE = 500  # pictures whose claims are judged anew in one transaction
BASIS, FITTED = "basis", "fitted"  # keys in a run's settings, and in a kept judge
Changes = Counter[tuple[Verdict, Verdict]]
"""Verdict before and now -> claims."""


@dataclass(frozen=True)
class Basis:
    """What an audit rests on. source: all sources of evidence. needs: the recipe of the describing."""

    source: str
    needs: str

    def work(self, judge: Judge) -> Work:
        """The stage with a judge."""
        facts = {"version": VERSION, "source": self.source, "judge": digest_of(judge.to_json()), "needs": self.needs}
        return Work("audit", self.source, digest_of({"stage": "audit", **facts}), self.needs)

    def noted(self) -> dict[str, Any]:
        """For a run's settings, so that it is found again whatever judged."""
        return {BASIS: {"version": VERSION} | asdict(self)}

    @classmethod
    def of_run(cls, config: Mapping[str, Any]) -> Basis | None:
        """The inverse; None where a run notes none, or one that meant other work."""
        noted = dict(config.get(BASIS, {}))
        return cls(**noted) if noted.pop("version", None) == VERSION else None


def judge_path(home: Path, dataset: str) -> Path:
    """Where the judge of a data set is kept, whatever its name is made of."""
    return home / "judges" / f"{hashlib.sha256(dataset.encode()).hexdigest()[:16]}.json"


def keep_judge(home: Path, dataset: str, judge: Judge, fitted: Mapping[str, Any]) -> Path:
    """Keep the judge of a data set, in place of the one before, with what is known of it; the file."""
    path = judge_path(home, dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = judge.to_json() | {"dataset": dataset, FITTED: fitted}
    write_whole(path, lambda file: file.write((json.dumps(plain, indent=1) + "\n").encode()))
    return path


def kept_judge(home: Path, dataset: str) -> Judge | None:
    """The judge of a data set; None where none was fitted.

    Raises: JudgeError: its file cannot be read.
    """
    path = judge_path(home, dataset)
    return Judge.load(path) if path.exists() else None


def known_of_judge(home: Path, dataset: str) -> Mapping[str, Any]:
    """What was kept beside the judge of a data set; nothing where there is none.

    Raises: JudgeError: its file cannot be read.
    """
    path = judge_path(home, dataset)
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))[FITTED]) if path.exists() else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JudgeError(f"{path} cannot be read as a judge ({error}): fit it again") from error


def take_over(engine: Engine, dataset_id: int, basis: Basis, judge: Judge) -> Changes:
    """Judge anew what audits of the same basis by other judges have left; how the verdicts changed."""
    work, changes = basis.work(judge), Changes()
    with reading(engine) as session:
        runs = audit_runs(session, dataset_id=dataset_id)
    for recipe in dict.fromkeys(run.recipes["audit"] for run in runs if Basis.of_run(run.config) == basis):
        if recipe != work.recipe:
            changes += rejudge(engine, dataset_id=dataset_id, recipe=recipe, judge=judge, into=work)
    return changes


def rejudge(engine: Engine, *, dataset_id: int, recipe: str, judge: Judge, into: Work) -> Changes:
    """Judge an audit's claims anew on the evidence that is kept; they are the other work's from then on.

    A picture that the other work has done already is left. Stopped anywhere, the same call goes on; memory does not
    grow with the data set.
    """
    after, changes = 0, Changes()

    def step(session: Session) -> tuple[int, Changes]:
        page = stage_result_page(
            session, dataset_id=dataset_id, recipe=recipe, state="done", after=after, limit=AT_ONCE
        )
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
    """What is kept of a claim's evidence."""
    return tuple(Evidence(**each) for each in row.evidence)
