"""Fit a data set's own judge on people's verdicts on its sample: `python -m curation.audit.fit_judge`.

It is fitted on the claims that people judged on the Audit page, each weighed by how many it stands for, with the stored
evidence. Its quality is measured by cross-validation over pictures, beside the present judge on the same claims. The
audit is then rejudged without running any model, and `curation.audit` uses the judge for this data set from then on.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from curation.annotate.runs import begin_run, find_dataset
from curation.audit.claim_judge import Judge, JudgeExample, cross_validated, fit
from curation.audit.data_set_audits import find_audit
from curation.audit.evidence import Evidence
from curation.audit.judges import Basis, Changes, evidence_of, judge_path, rejudge_audits, save_judge, saved_judge
from curation.audit.measure import AuditorQuality, Rate, quality, verdict_of, weights_of
from curation.files.home import database_url, home_folder
from db.engine import Engine, open_engine, reading, transaction
from db.models import AnnotationRun, Dataset
from db.queries.audit_queries import things_of
from db.queries.audit_sample_queries import SampleJudgement, sample_judgements
from db.queries.run_queries import set_run_state
from grain.command import flags_of, run_command
from job_progress import job_id, report_progress
from user_errors import UserError

LEAST = 30  # claims that hold, and as many that do not: fewer leave a fold without what a fit needs
BINS = 5  # of the calibration


@dataclass(frozen=True)
class FitConfig:
    """Fit a data set's judge on people's verdicts, and rejudge an audit by it."""

    dataset: str
    """Its name."""
    keep: bool = True
    """Off: measure such a judge without saving it."""
    audit_run: int = 0
    """Id of the audit, as in the Audit page's address; left out: the latest."""


@dataclass(frozen=True)
class CalibrationBin:
    """A calibration bin: claims of about one probability.

    predicted: mean probability of supported. observed: share that people call supported. claims: how many.
    """

    predicted: float
    observed: float
    claims: int


@dataclass(frozen=True)
class JudgeFit:
    """The quality of a fitted judge on pictures that it was not fitted on.

    supported, unsupported: claims of either that it was fitted on. before: quality of the previous judge on the same
    claims. bins: the calibration. calibration_error: mean distance of predicted from observed, each claim by its
    weight. scored: of each claim the probability of supported by a judge that has not seen its picture, whether people
    call it unsupported, and its weight.
    """

    supported: int
    unsupported: int
    pictures: int
    before: AuditorQuality
    cross_validated: AuditorQuality
    bins: tuple[CalibrationBin, ...]
    calibration_error: float
    scored: tuple[tuple[float, bool, float], ...]

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> JudgeFit:
        """Return the fit of plain JSON values, the inverse of asdict.

        Raises: UserError: something else.
        """
        try:
            known = dict(plain)
            before, cross_validated = (_quality(known.pop(name)) for name in ("before", "cross_validated"))
            bins = tuple(CalibrationBin(**each) for each in known.pop("bins"))
            scored = tuple((float(p), bool(wrong), float(weight)) for p, wrong, weight in known.pop("scored"))
            return cls(**known, before=before, cross_validated=cross_validated, bins=bins, scored=scored)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"expected the quality of a judge, got something else ({error}): fit it again") from error


@dataclass(frozen=True)
class FitOutcome:
    """A fitted judge, its quality, and how the audit's verdicts changed."""

    judge: Judge
    fitted: JudgeFit
    changes: Changes


@dataclass(frozen=True)
class JudgedSample:
    """The claims that people judged: a row a claim with its draw, its example and its picture's id.

    undecided: those on which people cannot tell. They are no examples, and stand for others all the same.
    """

    judged: tuple[SampleJudgement, ...]
    examples: tuple[JudgeExample, ...]
    pictures: tuple[int, ...]
    undecided: tuple[SampleJudgement, ...] = ()


def fit_judge(engine: Engine, config: FitConfig, *, home: Path, worker: str, job_id: int | None = None) -> FitOutcome:
    """Fit and measure a judge; if `config.keep`, save it and rejudge the audit. A killed run may be repeated.

    Raises: UserError: no such data set, or it is not audited yet. UserError: too few claims were judged.
    """
    dataset = find_dataset(engine, config.dataset)
    run, basis = _audited(engine, dataset, config.audit_run)
    mine = saved_judge(home, dataset.name)
    if mine and basis.work(mine).recipe == run.recipes["audit"]:
        rejudge_audits(engine, dataset.id, basis=basis, judge=mine)  # finish after a kill
    elif run.state == "running":
        raise UserError(
            f"{dataset.name[:60]!r} is being audited: let that end, or run `python -m curation.audit` again if it "
            "was killed."
        )
    sample = judged_by_people(engine, dataset_id=dataset.id, recipe=run.recipes["audit"])
    check_sample_size(sample)
    judge = fit(sample.examples, name=f"people's verdicts on {len(sample.examples)} claims of {dataset.name}")
    fitted = measure_fit(sample)
    if not config.keep:
        return FitOutcome(judge, fitted, Changes())
    save_judge(home, dataset.name, judge, quality=asdict(fitted))
    settings, work = run.config | {"judge": ""}, basis.work(judge)
    run_id = begin_run(engine, dataset, settings, works=(work,), worker=worker, job_id=job_id)
    changes = rejudge_audits(engine, dataset.id, basis=basis, judge=judge)
    with transaction(engine) as session:
        set_run_state(session, run_id=run_id, state="done")
    return FitOutcome(judge, fitted, changes)


def judged_by_people(engine: Engine, *, dataset_id: int, recipe: str) -> JudgedSample:
    """Return the sample's claims that people call supported or unsupported, with their evidence."""
    with reading(engine) as session:
        drawn = sample_judgements(session, dataset_id=dataset_id, recipe=recipe)
        judged = [each for each in drawn if verdict_of(each) != "cannot tell"]
        things = things_of(session, claim_ids=[each.claim_id for each in judged])
    weights = weights_of(drawn)
    undecided = tuple(each for each in drawn if verdict_of(each) == "cannot tell")
    examples = []
    for each in judged:
        thing = things[each.claim_id]
        itself = thing.id == each.claim_id
        there = None if thing.settled in (None, "cannot tell") else thing.settled == "supported"
        examples.append(
            JudgeExample(
                each.kind,
                tuple(Evidence(**one) for one in each.evidence),
                verdict_of(each) == "supported",
                there,
                None if itself else (thing.kind, evidence_of(thing)),
                weights[each.stratum],
            )
        )
    pictures = tuple(things[each.claim_id].image_id for each in judged)
    return JudgedSample(tuple(judged), tuple(examples), pictures, undecided)


def check_sample_size(sample: JudgedSample) -> None:
    """Refuse a sample that is too small.

    Raises: UserError: one sentence says how many more.
    """
    held = sum(each.supported for each in sample.examples)
    wrong = len(sample.examples) - held
    lacking = {"that hold": LEAST - held, "that do not": LEAST - wrong}
    if more := " and ".join(f"{many} more {which}" for which, many in lacking.items() if many > 0):
        raise UserError(
            f"A judge is fitted on at least {LEAST} claims that people call supported and {LEAST} unsupported, and the "
            f"sample has {held} and {wrong}: judge on until there are {more}."
        )


def measure_fit(sample: JudgedSample) -> JudgeFit:
    """Measure by cross-validation over pictures how good a judge of these claims is.

    Raises: UserError: a fold lacks what a fit needs.
    """
    verdicts = cross_validated(sample.examples, sample.pictures)
    rejudged = [
        replace(each, verdict=word, probability=p) for each, (word, p) in zip(sample.judged, verdicts, strict=True)
    ]
    scored = tuple(
        (p, not each.supported, each.weight)
        for each, (_, p) in zip(sample.examples, verdicts, strict=True)
        if p is not None
    )
    bins, off = calibration(scored)
    held = sum(each.supported for each in sample.examples)
    wrong, pictures = len(sample.examples) - held, len(set(sample.pictures))
    before, now = (quality((*some, *sample.undecided)) for some in (sample.judged, rejudged))
    return JudgeFit(held, wrong, pictures, before, now, bins, off, scored)


def calibration(scored: Sequence[tuple[float, bool, float]]) -> tuple[tuple[CalibrationBin, ...], float]:
    """Return the calibration bins, and the mean calibration error over claims.

    Args: scored: see JudgeFit.
    """
    bins, error, total_weight = [], 0.0, sum(weight for *_, weight in scored)
    for row in range(BINS):
        some = [each for each in scored if row == min(int(each[0] * BINS), BINS - 1)]
        if some:
            bin_weight = sum(weight for *_, weight in some)
            predicted = sum(p * weight for p, _, weight in some) / bin_weight
            observed = sum(weight for _, wrong, weight in some if not wrong) / bin_weight
            bins.append(CalibrationBin(predicted, observed, len(some)))
            error += bin_weight / total_weight * abs(predicted - observed)
    return tuple(bins), error


def summary_lines(outcome: FitOutcome) -> list[str]:
    """Return the outcome, line by line."""
    fitted, changes = outcome.fitted, outcome.changes
    changed = {pair: many for pair, many in changes.most_common() if pair[0] != pair[1]}
    moves = ", ".join(f"{before} → {now} {many:,}" for (before, now), many in changed.items())
    before, now = fitted.before, fitted.cross_validated
    rows = [
        f"{name}: {_rate(getattr(before, part))} before, {_rate(getattr(now, part))} cross-validated"
        for name, part in (("precision", "precision"), ("recall", "recall"), ("cannot tell", "cannot_tell"))
    ]
    bins = ", ".join(
        f"{each.predicted:.0%} predicted, {each.observed:.0%} observed ({each.claims})" for each in fitted.bins
    )
    return [
        f"fitted: {fitted.supported} claims hold and {fitted.unsupported} do not, on {fitted.pictures} pictures",
        *rows,
        f"calibration error {fitted.calibration_error:.1%} on average: {bins}",
        f"{sum(changed.values()):,} of {changes.total():,} verdicts changed{': ' if moves else ''}{moves}",
    ]


def command_line(config: FitConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    return ["-m", "curation.audit.fit_judge", *flags_of(config)]


def _audited(engine: Engine, dataset: Dataset, audit: int) -> tuple[AnnotationRun, Basis]:
    """Return the latest run of an audit, and its basis."""
    with reading(engine) as session:
        run = find_audit(session, dataset=dataset, audit=audit).run
    basis = Basis.of_run(run.config)
    if basis is None:
        raise UserError(
            f"This audit of {dataset.name[:60]!r} is by an older version: run `python -m curation.audit` first."
        )
    return run, basis


def _quality(plain: Mapping[str, Any]) -> AuditorQuality:
    return AuditorQuality(**{name: Rate(**each) if each else None for name, each in plain.items()})


def _rate(rate: Rate | None) -> str:
    return "no data" if rate is None else f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}]"


def main(config: FitConfig) -> None:
    """Run the command line."""
    job, home = job_id(), home_folder()
    worker = f"job {job}" if job is not None else f"{socket.gethostname()} {os.getpid()}"
    report_progress(0, 1, "fitting on people's verdicts on the sample")
    outcome = fit_judge(open_engine(database_url(home)), config, home=home, worker=worker, job_id=job)
    lines = summary_lines(outcome)
    report_progress(1, 1, "; ".join((lines[1], lines[2], lines[-1])))
    print("\n".join(lines))
    if config.keep:
        print(f"saved as {judge_path(home, config.dataset)}")


if __name__ == "__main__":
    run_command(main, FitConfig, module="curation.audit.fit_judge", description=__doc__)
