"""Find data sets by name, begin their runs again or where a job left off, and end them as they went."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from curation.annotate.describe import DescriberError
from curation.annotate.registry import StageWork
from curation.annotate.stage_run import StageConfig, StageContext
from curation.files.images import PictureReader
from db.engine import LONG_PAUSES_S, Engine, Session, reading, retrying, transaction
from db.models import Dataset, RunState
from db.queries.data_set_queries import get_dataset, list_datasets
from db.queries.lease_queries import release_worker
from db.queries.run_queries import run_of_job, set_run_state, start_run, try_again
from user_errors import UserError


@dataclass
class OpenRun:
    """A run that is worked on. state: how it ends; "failed" unless the worker says otherwise."""

    engine: Engine
    config: StageConfig
    reader: PictureReader
    dataset_id: int
    run_id: int
    worker: str
    state: RunState = "failed"

    def context(self, work: StageWork) -> StageContext:
        """Return what one stage of the run needs to know."""
        return StageContext(
            engine=self.engine,
            config=self.config,
            reader=self.reader,
            dataset_id=self.dataset_id,
            run_id=self.run_id,
            worker=self.worker,
            work=work,
        )


def find_dataset(engine: Engine, name: str) -> Dataset:
    """Return a data set by its name.

    Raises: UserError: there is none.
    """
    with reading(engine) as session:
        dataset = get_dataset(session, name=name)
        if dataset is not None:
            return dataset
        names = ", ".join(each.name for each in list_datasets(session)) or "none yet"
    raise UserError(
        f"There is no data set {name[:60]!r} (there is {names}): make it with `python -m curation.ingest SOURCE "
        "--dataset NAME`."
    )


def begin_run(
    engine: Engine,
    dataset: Dataset,
    config: Mapping[str, Any],
    *,
    works: Sequence[StageWork],
    worker: str,
    job_id: int | None,
) -> int:
    """Release what a worker of this name held, and return the id of the run: a job's own, or a new one.

    A job's run that ended as failed tries its pictures again: somebody asked for it.
    """
    with transaction(engine) as session:
        release_worker(session, worker=worker)
        run = run_of_job(session, job_id=job_id) if job_id is not None else None
        if run is None:
            recipes: dict[str, str] = {work.stage: work.recipe for work in works}
            run = start_run(session, dataset_id=dataset.id, config=config, recipes=recipes, job_id=job_id)
        elif run.state == "failed":
            try_again(session, dataset_id=dataset.id, recipes=list(run.recipes.values()))
        set_run_state(session, run_id=run.id, state="running")
        return run.id


@contextmanager
def open_run(
    engine: Engine,
    dataset: Dataset,
    config: StageConfig,
    *,
    settings: Mapping[str, Any],
    works: Sequence[StageWork],
    worker: str,
    job_id: int | None,
) -> Iterator[OpenRun]:
    """Begin a run as begin_run does, and end it in its state, its pictures released, whatever happened inside.

    Args:   settings: what is kept of the run.
    Raises: UserError: an annotator cannot work now.
    """
    run_id = begin_run(engine, dataset, settings, works=works, worker=worker, job_id=job_id)
    state: RunState = "failed"
    try:
        with PictureReader() as reader:
            run = OpenRun(engine, config, reader, dataset_id=dataset.id, run_id=run_id, worker=worker)
            yield run
        state = run.state
    except DescriberError as error:
        raise UserError(str(error)) from error
    finally:

        def end(session: Session) -> None:
            release_worker(session, worker=worker)
            set_run_state(session, run_id=run_id, state=state)

        retrying(engine, end, pauses_s=LONG_PAUSES_S)


def worker_name(job: int | None) -> str:
    """Name this process among the workers; one that runs a job takes up what the job's last process held."""
    return f"job {job}" if job is not None else f"{socket.gethostname()} {os.getpid()}"


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set from now on, to end a run between two batches."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped
