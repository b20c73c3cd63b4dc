"""python -m curation.reject: a rule on audited claims -> rejected regions, each with its history.

Run again, it goes on: what is rejected already does not match any more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal

import tyro

from curation.annotate import AnnotateError, find_dataset, flags_of
from curation.home import database_url, home_folder, report_progress
from db.audit_queries import ClaimFilter, Touched, latest_audit, regions_touched, touched
from db.curate_queries import EditConflictError, set_status
from db.engine import DatabaseError, Engine, Session, open_engine, reading, retrying
from db.models import ClaimKind, Verdict

AT_ONCE = 200  # regions of one transaction
REASON = "audit"
Judged = Literal["anybody", "nobody", "people"]
SETTLED: dict[Judged, bool | None] = {"anybody": None, "nobody": False, "people": True}


@dataclass(frozen=True)
class RejectConfig:
    """Reject the regions whose description holds a claim that a rule names; a rule without a condition is refused."""

    dataset: str
    """Its name; its latest audit counts."""
    who: str = "rule"
    """In whose name."""
    kinds: tuple[ClaimKind, ...] = ()
    """Kinds of claims; left out: all."""
    verdicts: tuple[Verdict, ...] = ()
    """People's where they said anything, else the auditor's; left out: all."""
    at_most: float = 1.0
    """The largest probability of supported."""
    words: str = ""
    """A part of the claim's words."""
    judged: Judged = "anybody"
    """Who has spoken of the claim."""

    def __post_init__(self) -> None:
        """Refuse what names everything."""
        if not self.verdicts and self.at_most >= 1 and not self.words:
            raise ValueError("a rule needs a verdict, a probability or words: it would reject everything")

    @property
    def rule(self) -> ClaimFilter:
        """Which claims."""
        at_most = self.at_most if self.at_most < 1 else None
        return ClaimFilter(self.kinds, self.verdicts, at_most, self.words, (), SETTLED[self.judged])


def touched_by(engine: Engine, *, dataset_id: int, recipe: str, wanted: ClaimFilter) -> Touched:
    """How many claims, descriptions and regions a rule is about; nothing is changed."""
    with reading(engine) as session:
        return touched(session, dataset_id=dataset_id, recipe=recipe, wanted=wanted)


def reject(
    engine: Engine,
    *,
    dataset_id: int,
    recipe: str,
    wanted: ClaimFilter,
    who: str,
    on_progress: Callable[[int], object] = lambda rejected: None,
) -> int:
    """Reject the regions whose description holds a claim that matches; how many. Each stands in the history.

    One that somebody edits at that moment stays as they leave it. Stopped midway, the same call goes on.
    """
    after = rejected = 0
    while True:
        with reading(engine) as session:
            some = regions_touched(
                session, dataset_id=dataset_id, recipe=recipe, wanted=wanted, after=after, limit=AT_ONCE
            )
            known = [(row.id, row.version) for row in some]
        if not known:
            return rejected
        after = known[-1][0]
        rejected += retrying(engine, partial(_reject, known=known, who=who))
        on_progress(rejected)


def _reject(session: Session, *, known: list[tuple[int, int]], who: str) -> int:
    done = 0
    for annotation_id, version in known:
        with suppress(EditConflictError):
            set_status(
                session,
                annotation_id=annotation_id,
                expected_version=version,
                who=who,
                status="rejected",
                reason=REASON,
            )
            done += 1
    return done


def command_line(config: RejectConfig) -> list[str]:
    """The words that run it from a terminal, after the name of Python."""
    default = asdict(RejectConfig(config.dataset, words="any")) | {"words": ""}
    return ["-m", "curation.reject", *flags_of(asdict(config), default)]


def main(config: RejectConfig) -> None:
    """The command line."""
    engine = open_engine(database_url(home_folder()))
    dataset = find_dataset(engine, config.dataset)
    with reading(engine) as session:
        recipe = latest_audit(session, dataset_id=dataset.id)
    if not recipe:
        raise AnnotateError(f"{config.dataset[:60]!r} was not audited yet: run `python -m curation.audit` first.")
    todo = touched_by(engine, dataset_id=dataset.id, recipe=recipe, wanted=config.rule).regions

    def said(rejected: int) -> None:
        report_progress(rejected, todo, f"{rejected:,} of {todo:,} regions rejected")

    rejected = reject(
        engine, dataset_id=dataset.id, recipe=recipe, wanted=config.rule, who=config.who, on_progress=said
    )
    print(f"{config.dataset}: {rejected:,} regions rejected")


if __name__ == "__main__":
    try:
        main(tyro.cli(RejectConfig, description=__doc__))
    except (AnnotateError, DatabaseError, ValueError) as error:
        sys.exit(f"curation.reject: {error}")
