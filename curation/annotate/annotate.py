"""Describe every picture of a data set and find where the descriptions hold: `python -m curation.annotate`.

Each picture is worked on under a lease and its result is found by what made it: asking again does nothing, another
threshold runs the boxes again, another prompt the descriptions and what follows. A stop, a kill or a power cut loses no
result and doubles none; several workers may share a data set.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection
from dataclasses import asdict

from tqdm import tqdm

from curation.annotate.annotate_stage import AnnotateStage
from curation.annotate.plan import all_failed, outcome, works_in
from curation.annotate.runs import find_dataset, open_run, stop_on_signals, worker_name
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
from curation.annotate.stage_run import StageProgress
from curation.files.home import database_url, home_folder
from db.engine import Engine, open_engine, retrying
from db.models import RunState, Stage
from db.queries.region_index_queries import index_regions
from grain.command import run_command
from job_progress import job_id, report_progress
from user_errors import UserError


def annotate(
    engine: Engine,
    config: AnnotateConfig,
    annotators: AnnotatorFactory,
    *,
    worker: str,
    job_id: int | None = None,
    only: Collection[Stage] = ("describe", "localize"),
    report: Callable[[StageProgress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunState:
    """Work until nothing is left or `stop` returns True, and return the run's final state.

    That is "failed" where pictures of the data set failed at a stage and none came to anything.

    Args:   worker: names this process among others; one that was killed and starts again under its name gets its
            pictures back at once. job_id: the run of a job is taken up again. only: the stages that are worked on.
    Raises: UserError: no such data set, weights are missing, or no picture can be described now.
    """
    dataset = find_dataset(engine, config.dataset)
    works = [work for work in works_in(engine, dataset.id, config) if work.stage in only]
    with open_run(engine, dataset, config, settings=asdict(config), works=works, worker=worker, job_id=job_id) as run:
        stages = (AnnotateStage(run.context(work), config=config, annotators=annotators) for work in works)
        if all(stage.run(report, stop) for stage in stages):
            run.state = "failed" if all_failed(engine, dataset.id, works) else "done"
        else:
            run.state = "paused"
    return run.state


def main(config: AnnotateConfig) -> None:
    """Run the command line."""
    gc.freeze()  # what was imported stays: going through it at every full collection and at the end takes 0.3 s
    job, stopped = job_id(), stop_on_signals()
    engine = open_engine(database_url(home_folder()))
    bar = tqdm(unit="picture", dynamic_ncols=True)

    def report(progress: StageProgress) -> None:
        if progress.stage != bar.desc:
            bar.reset(progress.total)
            bar.desc = progress.stage
        bar.update(progress.pictures - bar.n)
        stages: list[str] = [work.stage for work in config.works()]
        done = progress.total * stages.index(progress.stage) + progress.pictures
        left = (progress.total - progress.pictures) / progress.rate if progress.rate else 0.0
        pace = f", {progress.rate:.1f} pictures/s, {tqdm.format_interval(left)} left" if progress.rate else ""
        message = f"{progress.stage}: {progress.pictures:,} of {progress.total:,}{pace}"
        report_progress(done, progress.total * len(stages), message)

    annotators = AnnotatorFactory.of(config)
    state = annotate(
        engine, config, annotators, worker=worker_name(job), job_id=job, report=report, stop=stopped.is_set
    )
    bar.close()
    while retrying(engine, index_regions):  # for the Curate page
        continue
    print(f"{config.dataset}: {state}", *outcome(engine, config), sep="\n")
    if state == "failed":
        raise UserError(
            f"No picture of {config.dataset!r} could be annotated: see to the reasons above and run the same again."
        )


def command() -> None:
    """Run `python -m curation.annotate`."""
    run_command(main, AnnotateConfig, module="curation.annotate", description=__doc__)
