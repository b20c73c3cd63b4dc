"""Judge which claims of a data set's descriptions each picture supports: `python -m curation.audit`.

A stage like those of curation.annotate: it follows a description run, works on pictures under leases, is identified by
its recipe, and resumes. The judge, fitted on claims that people judged, is part of the recipe. Where only the judge
changed, claims are rejudged on stored evidence without running any model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image as Pictures
from tqdm import tqdm

from curation.annotate.describe import DescribeConfig
from curation.annotate.prompts import Prompts
from curation.annotate.registry import DESCRIBERS, uses_of
from curation.annotate.runs import find_dataset, open_run, stop_on_signals, worker_name
from curation.annotate.stage_run import Make, StageConfig, StageContext, StageProgress, StageRun
from curation.audit.claim_judge import Judge, JudgedClaim
from curation.audit.description_runs import audited_description_runs
from curation.audit.judges import Basis, rejudge_audits, saved_judge
from curation.audit.sources import (
    Auditor,
    SourceChoice,
    absent_things,
    auditor_of,
    independence_of,
    source_of,
)
from curation.files.home import database_url, home_folder
from db.engine import Engine, open_engine, reading
from db.models import Image, RunState
from db.queries.audit_queries import descriptions_for_vocabulary
from db.queries.run_queries import list_runs
from db.queries.stage_result_queries import (
    NewClaim,
    NewStageResult,
    descriptions_of,
    stage_result_page,
    stage_results_of,
)
from grain.command import flags_of, run_command
from job_progress import job_id, report_progress
from user_errors import UserError

DESCRIPTIONS_READ = 20_000  # for the vocabulary from which absent things are drawn
SHIPPED = "shipped"  # the judge that GRAIN ships for the sources


@dataclass(frozen=True)
class AuditConfig(StageConfig):
    """Judge every claim of a data set's descriptions; run again, it resumes."""

    dataset: str
    """Its name."""
    described: str = ""
    """Recipe of the description run; left out: the latest."""
    sources: SourceChoice = field(default_factory=SourceChoice)
    judge: str = ""
    """A judge as JSON, or shipped: the one GRAIN ships; left out: its own (curation.audit.fit_judge), if any."""


@dataclass(frozen=True)
class DescriptionRun:
    """The description run that is audited: its recipe, its source, its prompts and how many questions were asked."""

    recipe: str
    source: str
    prompts: str
    stages: int


def audit(
    engine: Engine,
    config: AuditConfig,
    *,
    worker: str,
    job_id: int | None = None,
    home: Path | None = None,
    make: Callable[[tuple[str, ...]], Auditor] | None = None,
    report: Callable[[StageProgress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunState:
    """Judge pictures until none is left or `stop` returns True, and return the run's final state.

    Args:   home: where judges of data sets are; left out: GRAIN_HOME. make: makes the auditor of a vocabulary; left
            out: by the settings.
    Raises: UserError: no such data set, nothing in it is described, or a source of evidence is missing.
    """
    dataset, judge = find_dataset(engine, config.dataset), judge_of(config, home or home_folder())
    described = find_description_run(engine, config)
    basis = basis_of(config, described)
    work = basis.work(judge)
    with reading(engine) as session:
        texts = descriptions_for_vocabulary(
            session, dataset_id=dataset.id, recipe=described.recipe, limit=DESCRIPTIONS_READ
        )
    vocabulary = absent_things(config.sources, texts)
    maker = make or (lambda things: auditor_of(config.sources, judge, things, describer=described.source))
    settings = (
        asdict(config) | basis.run_settings() | independence_of(config.sources, described.source, judge).run_settings()
    )
    with open_run(engine, dataset, config, settings=settings, works=(work,), worker=worker, job_id=job_id) as run:
        rejudge_audits(engine, dataset.id, basis=basis, judge=judge)
        stage = _AuditStage(run.context(work), load=lambda: maker(vocabulary), description_run=described)
        run.state = "done" if stage.run(report, stop) else "paused"
    return run.state


class _AuditStage(StageRun):
    """The audit as a stage that works under leases."""

    def __init__(self, context: StageContext, *, load: Callable[[], Auditor], description_run: DescriptionRun) -> None:
        """context: see StageRun. load: loads the auditor. description_run: the one that is audited."""
        super().__init__(context)
        self._load, self._description_run = load, description_run

    def _maker(self) -> Make:
        """Load the auditor and return what judges a batch (see StageRun)."""
        auditor = self._load()
        return lambda opened: self._audit(auditor, opened)

    def _audit(self, auditor: Auditor, opened: Sequence[tuple[Image, Pictures.Image]]) -> Iterator[NewStageResult]:
        ids = [row.id for row, _ in opened]
        recipe = self._description_run.recipe
        descriptions = self._asked(partial(descriptions_of, image_ids=ids, recipe=recipe))
        stage_results = self._asked(partial(stage_results_of, image_ids=ids, recipe=recipe))
        texts = [[each.text for each in descriptions[image_id]] for image_id in ids]
        audited = auditor.audit([picture for _, picture in opened], texts)
        for (row, _), judged in zip(opened, audited, strict=True):
            described_claims = zip(descriptions[row.id], judged, strict=True)
            claims = (
                new_claim(
                    one,
                    each.id,
                    each.text,
                    position=place,
                    run=self._description_run,
                    subject=stage_results[row.id].subject,
                )
                for each, some in described_claims
                for place, one in enumerate(some)
            )
            yield self._result(row, claims=tuple(claims))


def new_claim(
    judged: JudgedClaim, description_id: int, text: str, *, position: int, run: DescriptionRun, subject: str
) -> NewClaim:
    """Return a judged claim as the database keeps it."""
    claim = judged.claim
    return NewClaim(
        description_id,
        position,
        claim.owner,
        claim.kind,
        claim.start,
        claim.end,
        claim.words(text),
        judged.verdict,
        judged.probability,
        tuple(each.to_json() for each in judged.evidence),
        run.source,
        run.prompts,
        run.stages,
        subject,
    )


def find_description_run(engine: Engine, config: AuditConfig) -> DescriptionRun:
    """Return the description run that the settings name, from the latest run that had it.

    Raises: UserError: there is none.
    """
    dataset = find_dataset(engine, config.dataset)
    with reading(engine) as session:
        for run in list_runs(session, dataset_id=dataset.id):
            recipe = run.recipes.get("describe", "")
            if recipe and config.described in ("", recipe):
                done = stage_result_page(session, dataset_id=dataset.id, recipe=recipe, state="done", limit=1)
                return _description_run(recipe, done[0].source if done else "", run.config.get("describer", {}))
    raise UserError(
        f"Nothing in {config.dataset[:60]!r} is described yet: run `python -m curation.annotate --dataset NAME` first."
    )


def basis_of(config: AuditConfig, described: DescriptionRun) -> Basis:
    """Return what is audited and with which sources of evidence.

    Raises: UserError, CheckpointError: something is not on this machine.
    """
    return Basis(source_of(config.sources, described.source), described.recipe)


def judge_of(config: AuditConfig, home: Path) -> Judge:
    """Load the judge that the settings name.

    Raises: UserError: it cannot be read.
    """
    if config.judge in ("", SHIPPED):
        mine = saved_judge(home, config.dataset) if not config.judge else None
        return mine or config.sources.shipped_judge()
    return Judge.load(Path(config.judge))


def command_line(config: AuditConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    return ["-m", "curation.audit", *flags_of(config)]


def _description_run(recipe: str, source: str, describer: dict[str, Any]) -> DescriptionRun:
    """Return the description run of a recipe; `source` is the describer, "" where nothing is described yet."""
    if "ask" not in uses_of(DESCRIBERS, describer.get("kind", "")):
        return DescriptionRun(recipe, source, "", 0)
    prompts: Prompts = DescribeConfig(**describer["ask"]).words
    return DescriptionRun(
        recipe, source, prompts.version, len([stage for stage in prompts.questions if stage != "caption"])
    )


def main(config: AuditConfig) -> None:
    """Run the command line."""
    job, stopped = job_id(), stop_on_signals()
    engine = open_engine(database_url(home_folder()))
    with tqdm(unit="picture", dynamic_ncols=True) as bar:

        def report(progress: StageProgress) -> None:
            bar.total = progress.total
            bar.update(progress.pictures - bar.n)
            message = f"{progress.pictures:,} of {progress.total:,} pictures audited"
            report_progress(progress.pictures, progress.total, message)

        state = audit(engine, config, worker=worker_name(job), job_id=job, report=report, stop=stopped.is_set)
    print(f"{config.dataset}: {state}")
    runs = audited_description_runs(engine, dataset_id=find_dataset(engine, config.dataset).id)
    for doubt in runs[0].independence.sentences() if runs and runs[0].independence else ():
        print(f"  {doubt}")
    for each in runs:
        print(f"  {each}")


def command() -> None:
    """Run `python -m curation.audit`."""
    run_command(main, AuditConfig, module="curation.audit", description=__doc__)
