"""python -m curation.fit_judge: a judge of a data set's own, fitted on what people say of its sample.

The claims that people judged on the Audit page, each weighed by how many it stands for, and the evidence that is kept
beside them. What such a judge is worth is measured on pictures that it was not fitted on (folds over pictures, each
judged by a judge of the others), beside the present judge on the same claims. The audit is then judged anew without
asking any model, and `curation.audit` uses the judge for this data set from then on.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from curation.annotate import AnnotateError, begin_run, find_dataset, flags_of
from curation.combine import Example, Judge, JudgeError, fit, held_out
from curation.evidence import Evidence
from curation.home import database_url, home_folder, job_id, report_progress
from curation.judges import Basis, Changes, evidence_of, judge_path, keep_judge, kept_judge, take_over
from curation.measure import AuditorQuality, Rate, quality, verdict_of, weights_of
from db.audit_queries import Judgement, audit_runs, sample_judgements, things_of
from db.engine import DatabaseError, Engine, open_engine, reading, transaction
from db.models import AnnotationRun, Dataset
from db.run_queries import set_run_state

LEAST = 30  # claims that hold, and as many that do not: fewer leave a fold without what a fit needs
BINS = 5  # of the calibration


@dataclass(frozen=True)
class FitConfig:
    """Fit a data set's judge on people's verdicts, and judge its latest audit anew by it."""

    dataset: str
    """Its name."""
    keep: bool = True
    """Off: only say what such a judge would be worth."""


@dataclass(frozen=True)
class Bin:
    """Claims of about one probability. said: their mean probability of supported. held: the share that holds.

    claims: how many were judged.
    """

    said: float
    held: float
    claims: int


@dataclass(frozen=True)
class Fitted:
    """What a judge was fitted on, and what it is worth on pictures that it was not fitted on.

    supported, unsupported: claims of either. before: of the judge that was there, on the same claims. bins: of the
    calibration. off: the mean distance of said from held, each claim by how many it stands for. scored: of each claim
    the probability of supported by a judge that has not seen its picture, whether people call it unsupported, how many
    it stands for.
    """

    supported: int
    unsupported: int
    pictures: int
    before: AuditorQuality
    held_out: AuditorQuality
    bins: tuple[Bin, ...]
    off: float
    scored: tuple[tuple[float, bool, float], ...]

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Fitted:
        """The inverse of asdict.

        Raises: JudgeError: something else.
        """
        try:
            known = dict(plain)
            before, held_out = (_quality(known.pop(name)) for name in ("before", "held_out"))
            bins = tuple(Bin(**each) for each in known.pop("bins"))
            scored = tuple((float(p), bool(wrong), float(weight)) for p, wrong, weight in known.pop("scored"))
            return cls(**known, before=before, held_out=held_out, bins=bins, scored=scored)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise JudgeError(
                f"expected what is known of a judge, got something else ({error}): fit it again"
            ) from error


@dataclass(frozen=True)
class Outcome:
    """A judge, what it is worth, and how the audit's verdicts changed."""

    judge: Judge
    fitted: Fitted
    changes: Changes


@dataclass(frozen=True)
class Sample:
    """What people judged, a row a claim: as it was drawn, as an example, and the id of its picture."""

    judged: tuple[Judgement, ...]
    examples: tuple[Example, ...]
    pictures: tuple[int, ...]


def fit_judge(engine: Engine, config: FitConfig, *, home: Path, worker: str, job_id: int | None = None) -> Outcome:
    """Fit and measure; where the settings say so, keep the judge and judge the audit anew. Killed, it may be run again.

    Raises: AnnotateError: no such data set, or it is not audited yet. JudgeError: too few claims were judged.
    """
    dataset = find_dataset(engine, config.dataset)
    run, basis = _audited(engine, dataset)
    mine = kept_judge(home, dataset.name)
    if mine and basis.work(mine).recipe == run.recipes["audit"]:
        take_over(engine, dataset.id, basis, mine)  # what a kill has left
    elif run.state == "running":
        raise AnnotateError(
            f"{dataset.name[:60]!r} is being audited: let that end, or run `python -m curation.audit` again if it "
            "was killed."
        )
    sample = judged_by_people(engine, dataset_id=dataset.id, recipe=run.recipes["audit"])
    must_suffice(sample)
    judge = fit(sample.examples, name=f"people's verdicts on {len(sample.examples)} claims of {dataset.name}")
    fitted = measured(sample)
    if not config.keep:
        return Outcome(judge, fitted, Changes())
    keep_judge(home, dataset.name, judge, asdict(fitted))
    settings, work = run.config | {"judge": ""}, basis.work(judge)
    run_id = begin_run(engine, dataset, settings, (work,), worker, job_id)
    changes = take_over(engine, dataset.id, basis, judge)
    with transaction(engine) as session:
        set_run_state(session, run_id=run_id, state="done")
    return Outcome(judge, fitted, changes)


def judged_by_people(engine: Engine, *, dataset_id: int, recipe: str) -> Sample:
    """The claims of the sample of which people say that they hold or that they do not, with the evidence there is."""
    with reading(engine) as session:
        drawn = sample_judgements(session, dataset_id=dataset_id, recipe=recipe)
        judged = [each for each in drawn if verdict_of(each) != "cannot tell"]
        things = things_of(session, claim_ids=[each.claim_id for each in judged])
    weights = weights_of(judged)
    examples = []
    for each in judged:
        thing = things[each.claim_id]
        itself = thing.id == each.claim_id
        there = None if thing.settled in (None, "cannot tell") else thing.settled == "supported"
        examples.append(
            Example(
                each.kind,
                tuple(Evidence(**one) for one in each.evidence),
                verdict_of(each) == "supported",
                there,
                None if itself else (thing.kind, evidence_of(thing)),
                weights[each.stratum],
            )
        )
    return Sample(tuple(judged), tuple(examples), tuple(things[each.claim_id].image_id for each in judged))


def must_suffice(sample: Sample) -> None:
    """Refuse too few.

    Raises: JudgeError: one sentence says how many more.
    """
    held = sum(each.supported for each in sample.examples)
    wrong = len(sample.examples) - held
    lacking = {"that hold": LEAST - held, "that do not": LEAST - wrong}
    if more := " and ".join(f"{many} more {which}" for which, many in lacking.items() if many > 0):
        raise JudgeError(
            f"A judge is fitted on at least {LEAST} claims that people call supported and {LEAST} unsupported, and the "
            f"sample has {held} and {wrong}: judge on until there are {more}."
        )


def measured(sample: Sample) -> Fitted:
    """What a judge fitted on these claims is worth on other pictures.

    Raises: JudgeError: a fold lacks what a fit needs.
    """
    told = held_out(sample.examples, sample.pictures)
    again = [replace(each, verdict=word, probability=p) for each, (word, p) in zip(sample.judged, told, strict=True)]
    scored = tuple(
        (p, not each.supported, each.weight)
        for each, (_, p) in zip(sample.examples, told, strict=True)
        if p is not None
    )
    bins, off = calibration(scored)
    held = sum(each.supported for each in sample.examples)
    wrong, pictures = len(sample.examples) - held, len(set(sample.pictures))
    return Fitted(held, wrong, pictures, quality(sample.judged), quality(again), bins, off, scored)


def calibration(scored: Sequence[tuple[float, bool, float]]) -> tuple[tuple[Bin, ...], float]:
    """What claims of about one probability come to, and by how much that is off, on average over claims.

    Args: scored: see Fitted.
    """
    bins, off, whole = [], 0.0, sum(weight for *_, weight in scored)
    for row in range(BINS):
        some = [each for each in scored if row == min(int(each[0] * BINS), BINS - 1)]
        if some:
            stands = sum(weight for *_, weight in some)
            said = sum(p * weight for p, _, weight in some) / stands
            held = sum(weight for _, wrong, weight in some if not wrong) / stands
            bins.append(Bin(said, held, len(some)))
            off += stands / whole * abs(said - held)
    return tuple(bins), off


def told(outcome: Outcome) -> list[str]:
    """The outcome, line by line."""
    fitted, changes = outcome.fitted, outcome.changes
    changed = {pair: many for pair, many in changes.most_common() if pair[0] != pair[1]}
    moves = ", ".join(f"{before} → {now} {many:,}" for (before, now), many in changed.items())
    rows = [
        f"{name}: {_rate(getattr(fitted.before, part))} before, {_rate(getattr(fitted.held_out, part))} cross-validated"
        for name, part in (("precision", "precision"), ("recall", "recall"), ("cannot tell", "cannot_tell"))
    ]
    bins = ", ".join(f"{each.said:.0%} said, {each.held:.0%} held ({each.claims})" for each in fitted.bins)
    return [
        f"fitted: {fitted.supported} claims hold and {fitted.unsupported} do not, on {fitted.pictures} pictures",
        *rows,
        f"probabilities are off by {fitted.off:.1%} on average: {bins}",
        f"{sum(changed.values()):,} of {changes.total():,} verdicts changed{': ' if moves else ''}{moves}",
    ]


def command_line(config: FitConfig) -> list[str]:
    """The words that run it from a terminal, after the name of Python."""
    return ["-m", "curation.fit_judge", *flags_of(asdict(config), asdict(FitConfig(config.dataset)))]


def _audited(engine: Engine, dataset: Dataset) -> tuple[AnnotationRun, Basis]:
    """The latest audit and what it rests on."""
    with reading(engine) as session:
        runs = audit_runs(session, dataset_id=dataset.id)
    basis = Basis.of_run(runs[0].config) if runs else None
    if basis is None:
        raise AnnotateError(
            f"{dataset.name[:60]!r} was not audited yet, or by an older version: run `python -m curation.audit` first."
        )
    return runs[0], basis


def _quality(plain: Mapping[str, Any]) -> AuditorQuality:
    return AuditorQuality(**{name: Rate(**each) if each else None for name, each in plain.items()})


def _rate(rate: Rate | None) -> str:
    return "nothing to go by" if rate is None else f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}]"


def main(config: FitConfig) -> None:
    """The command line."""
    job, home = job_id(), home_folder()
    worker = f"job {job}" if job is not None else f"{socket.gethostname()} {os.getpid()}"
    report_progress(0, 1, "fitting on what people say of the sample")
    outcome = fit_judge(open_engine(database_url(home)), config, home=home, worker=worker, job_id=job)
    lines = told(outcome)
    report_progress(1, 1, "; ".join((lines[1], lines[2], lines[-1])))
    print("\n".join(lines))
    if config.keep:
        print(f"kept as {judge_path(home, config.dataset)}")


if __name__ == "__main__":
    try:
        main(tyro.cli(FitConfig, description=__doc__))
    except (AnnotateError, DatabaseError, JudgeError, ValueError) as error:
        sys.exit(f"curation.fit_judge: {error}")
