"""Hold everything that the pages need, built once and when first needed; tests pass fakes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.checkpoints import LoadModel, Model, Registry
from app.core.model_turn import ModelTurn
from app.core.settings import Settings
from app.jobs.run_logs import RunLogs
from grain.checkpoint import EMBEDDED
from user_errors import UserError

if TYPE_CHECKING:
    from app.access.accounts import People
    from app.core.image_cache import Pictures
    from app.jobs.control import Jobs
    from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
    from db.engine import Engine

WATCH_SECONDS = 2.0  # between two looks at whether a watchdog lives
DEFAULT_CHECKPOINT = "photo"  # needs no torch: the first picture is answered in seconds


def load_predictor(folder: Path) -> Model:
    """Load a checkpoint folder. Its libraries are imported here, so that the first page does not wait for them."""
    from grain.predict import Predictor

    return Predictor.from_pretrained(folder)


def open_database(url: str) -> Engine:
    """Open a database with its tables up to date. SQLAlchemy is imported here: the first page would wait for it."""
    from db.engine import open_engine

    return open_engine(url)


class Services:
    """The services that handlers call.

    settings: as read at the start. registry: checkpoints and models. model_turn: held while a model computes, so that
    two requests do not slow each other down, and by each for a bounded time. engine: the database. people: who may
    sign in. jobs: the queue of long work. run_logs: what trainings have written so far.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        load_model: LoadModel = load_predictor,
        embedded: Path = EMBEDDED,
        connect: Callable[[str], Engine] = open_database,
    ) -> None:
        """load_model, embedded, connect: replaced by tests."""
        self.settings = settings
        self.registry = Registry((embedded, settings.checkpoints), load_model)
        self.model_turn = ModelTurn(settings.model_seconds)
        self._connect = connect
        self._jobs: Jobs | None = None
        self._made: dict[str, tuple[object, Any]] = {}  # annotators
        self._engine: Engine | None = None
        self._opening = threading.Lock()
        self.run_logs = RunLogs()

    @property
    def engine(self) -> Engine:
        """Return the database, opened at its first use.

        Raises: DatabaseError.
        """
        with self._opening:
            if self._engine is None:
                self._engine = self._connect(self.settings.database)
            return self._engine

    def check_database(self) -> None:
        """Check that the database answers.

        Raises: DatabaseError, and what the driver raises.
        """
        from db.engine import check_answers

        check_answers(self.engine)

    @cached_property
    def people(self) -> People:
        """Return the accounts. The database is opened when somebody signs in."""
        from app.access.accounts import People

        return People(lambda: self.engine, required=self.settings.needs_accounts)

    @cached_property
    def pictures(self) -> Pictures:
        """Return the cache of images that pages show; none is read before it is asked for."""
        from app.core.image_cache import Pictures

        return Pictures()

    @property
    def jobs(self) -> Jobs:
        """Return the job queue, reconciled with the running processes at its first use.

        Raises: DatabaseError.
        """
        engine = self.engine
        with self._opening:
            if self._jobs is None:
                from app.jobs.control import Jobs
                from app.jobs.devices import slots_here
                from app.jobs.launch import Pace

                settings = self.settings
                slots = slots_here(gpu=settings.gpu_jobs) | settings.clusters
                self._jobs = Jobs(engine, settings.home, slots, pace=Pace(retries=settings.job_retries))
            return self._jobs

    def annotators(self, config: AnnotateConfig) -> AnnotatorFactory:
        """Return the annotators that try one image; the last of each kind stays loaded. Use them in a model_turn."""
        from curation.annotate.settings import AnnotatorFactory

        describer = replace(config.describer, patience_seconds=0.0)  # nobody waits here for a server that is gone
        localizer = replace(config.localizer, patience_seconds=0.0)
        made = AnnotatorFactory.of(replace(config, describer=describer, localizer=localizer))
        return AnnotatorFactory(
            lambda: self._latest("describer", (config.describer, config.sample), made.describer),
            lambda: self._latest("localizer", (config.localizer, config.sample), made.localizer),
        )

    def _latest(self, kind: str, settings: object, make: Callable[[], Any]) -> Any:
        if self._made.get(kind, (None, None))[0] != settings:
            self._made.pop(kind, None)  # two large models would not fit
            self._made[kind] = settings, make()
        return self._made[kind][1]

    def watch_jobs(self) -> threading.Thread:
        """See from now on that jobs are looked after without a page: what is queued begins, what died is tried again.

        The watchdog is a process that outlives the app; this thread sees that it lives.
        """
        thread = threading.Thread(target=self._keep_watched, name="watchdog", daemon=True)
        thread.start()
        return thread

    def _keep_watched(self) -> None:
        while True:
            with suppress(Exception):  # whatever the database or the disk has, the next look tries again
                self.jobs.keep_watched()
            time.sleep(WATCH_SECONDS)

    def warm(self) -> threading.Thread:
        """Load the default checkpoint in the background, so that the first run does not wait for it."""
        thread = threading.Thread(target=self._load_default, name="warm", daemon=True)
        thread.start()
        return thread

    def _load_default(self) -> None:
        with suppress(UserError), self.model_turn:  # the page says what is wrong with it
            self.registry.load(DEFAULT_CHECKPOINT)
