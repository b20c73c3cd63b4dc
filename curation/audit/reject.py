"""Reject the regions whose claims match a rule, each with its history: `python -m curation.audit.reject`.

Run again, it resumes: regions that are already rejected do not match any more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

from curation.annotate.runs import find_dataset
from curation.audit.data_set_audits import find_audit
from curation.files.home import database_url, home_folder
from db.engine import Engine, Session, open_engine, reading, retrying
from db.models import ClaimKind, Verdict
from db.queries.audit_queries import ClaimFilter, TouchedCounts, regions_touched, touched_counts
from db.queries.curate_queries import set_status
from db.queries.edit_conflicts import EditConflictError
from grain.command import flags_of, run_command
from job_progress import report_progress
from user_errors import UserError

BATCH = 200  # regions in one transaction
REASON = "audit"
JudgedBy = Literal["anybody", "nobody", "people"]
SETTLED: dict[JudgedBy, bool | None] = {"anybody": None, "nobody": False, "people": True}


@dataclass(frozen=True)
class RejectConfig:
    """Reject the regions whose description holds a claim that matches a rule; a rule without a condition is refused."""

    dataset: str
    """Its name."""
    who: str = "rule"
    """Author of the edits in the history."""
    kinds: tuple[ClaimKind, ...] = ()
    """Kinds of claims; left out: all."""
    verdicts: tuple[Verdict, ...] = ()
    """People's where there are any, else the auditor's; left out: all."""
    at_most: float = 1.0
    """The largest probability of supported."""
    words: str = ""
    """A part of the claim's words."""
    judged: JudgedBy = "anybody"
    """Whose verdict the claim must have."""
    audit_run: int = 0
    """Id of the audit, as in the Audit page's address; left out: the latest."""

    def __post_init__(self) -> None:
        """Refuse a rule that matches everything."""
        if not self.verdicts and self.at_most >= 1 and not self.words:
            raise UserError("a rule needs a verdict, a probability or words: it would reject everything")

    @property
    def rule(self) -> ClaimFilter:
        """Return the filter of claims."""
        at_most = self.at_most if self.at_most < 1 else None
        return ClaimFilter(self.kinds, self.verdicts, at_most, self.words, (), SETTLED[self.judged])


def count_touched(engine: Engine, *, dataset_id: int, recipe: str, wanted: ClaimFilter) -> TouchedCounts:
    """Count the claims, descriptions and regions that a filter matches, without changing anything."""
    with reading(engine) as session:
        return touched_counts(session, dataset_id=dataset_id, recipe=recipe, filters=wanted)


def reject(
    engine: Engine,
    *,
    dataset_id: int,
    recipe: str,
    wanted: ClaimFilter,
    who: str,
    on_progress: Callable[[int], object] = lambda rejected: None,
) -> int:
    """Reject the regions whose description holds a matching claim, and return how many.

    Each is in the history. A region that is edited at that moment stays as it is. Stopped midway, the same call
    resumes.
    """
    after = rejected = 0
    while True:
        with reading(engine) as session:
            some = regions_touched(
                session, dataset_id=dataset_id, recipe=recipe, filters=wanted, after=after, limit=BATCH
            )
            known = [(row.id, row.version) for row in some]
        if not known:
            return rejected
        after = known[-1][0]
        rejected += retrying(engine, partial(_reject, known=known, who=who))
        on_progress(rejected)


def _reject(session: Session, *, known: list[tuple[int, int]], who: str) -> int:
    done = 0
    for region_id, version in known:
        with suppress(EditConflictError):
            set_status(
                session,
                region_id=region_id,
                expected_version=version,
                who=who,
                status="rejected",
                reason=REASON,
            )
            done += 1
    return done


def command_line(config: RejectConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    return ["-m", "curation.audit.reject", *flags_of(config)]


def main(config: RejectConfig) -> None:
    """Run the command line."""
    engine = open_engine(database_url(home_folder()))
    dataset = find_dataset(engine, config.dataset)
    with reading(engine) as session:
        recipe = find_audit(session, dataset=dataset, audit=config.audit_run).key["recipe"]
    total = count_touched(engine, dataset_id=dataset.id, recipe=recipe, wanted=config.rule).regions

    def report(rejected: int) -> None:
        report_progress(rejected, total, f"{rejected:,} of {total:,} regions rejected")

    rejected = reject(
        engine, dataset_id=dataset.id, recipe=recipe, wanted=config.rule, who=config.who, on_progress=report
    )
    print(f"{config.dataset}: {rejected:,} regions rejected")


if __name__ == "__main__":
    run_command(main, RejectConfig, module="curation.audit.reject", description=__doc__)
