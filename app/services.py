"""Everything the pages need, built once and only when first needed; tests hand in fakes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.registry import LoadModel, Model, Registry, UnknownCheckpointError
from app.settings import Settings
from app.watching import RunLogs
from grain.checkpoint import EMBEDDED

if TYPE_CHECKING:
    from app.accounts import People
    from app.jobs.control import Jobs
    from app.shown import Pictures
    from curation.annotate import AnnotateConfig, Annotators
    from db.engine import Engine

DEFAULT_CHECKPOINT = "photo"  # needs no torch: the first picture is answered in seconds


def load_predictor(folder: Path) -> Model:
    """A checkpoint folder as a model. What it needs is imported here, never before: the page is up without it."""
    from grain.predict import Predictor

    return Predictor.from_pretrained(folder)


def open_database(url: str) -> Engine:
    """An engine with its tables up to date. SQLAlchemy is imported here: it would keep the first page waiting."""
    from db.engine import open_engine

    return open_engine(url)


class Services:
    """What handlers call.

    settings: as read at the start. registry: checkpoints and models. model_turn: held while a model computes, so that
    two requests do not slow each other down. engine: the database. people: who may sign in. jobs: the queue of long
    work. run_logs: what trainings have written so far.
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
        self.model_turn = threading.Lock()
        self._connect = connect
        self._jobs: Jobs | None = None
        self._made: dict[str, tuple[object, Any]] = {}  # annotators
        self._engine: Engine | None = None
        self._opening = threading.Lock()
        self.run_logs = RunLogs()

    @property
    def engine(self) -> Engine:
        """The database, opened at the first question to it.

        Raises: DatabaseError.
        """
        with self._opening:
            if self._engine is None:
                self._engine = self._connect(self.settings.database)
            return self._engine

    @cached_property
    def people(self) -> People:
        """Who may sign in. The database is asked when somebody does."""
        from app.accounts import People

        return People(lambda: self.engine, required=self.settings.needs_accounts)

    @cached_property
    def pictures(self) -> Pictures:
        """Pictures as pages show them to whoever works on one; none is read before it is asked for."""
        from app.shown import Pictures

        return Pictures()

    @property
    def jobs(self) -> Jobs:
        """The queue of long work and its runners, reconciled with the processes there are at the first question.

        Raises: DatabaseError.
        """
        engine = self.engine
        with self._opening:
            if self._jobs is None:
                from app.jobs.control import Jobs
                from app.jobs.devices import slots_here

                settings = self.settings
                self._jobs = Jobs(engine, settings.home, slots_here(gpu=settings.gpu_jobs) | settings.clusters)
            return self._jobs

    def annotators(self, config: AnnotateConfig) -> Annotators:
        """What tries one picture; the last of each kind stays in memory. Use it in a model_turn."""
        from curation.annotate import Annotators

        made = Annotators.of(config)
        return Annotators(
            lambda: self._latest("describer", (config.describer, config.sample), made.describer),
            lambda: self._latest("localizer", (config.localizer, config.sample), made.localizer),
        )

    def _latest(self, kind: str, settings: object, make: Callable[[], Any]) -> Any:
        if self._made.get(kind, (None, None))[0] != settings:
            self._made.pop(kind, None)  # two large models would not fit
            self._made[kind] = settings, make()
        return self._made[kind][1]

    def warm(self) -> threading.Thread:
        """Load the default checkpoint in the background, so that the first look does not wait for it."""
        thread = threading.Thread(target=self._load_default, name="warm", daemon=True)
        thread.start()
        return thread

    def _load_default(self) -> None:
        with suppress(UnknownCheckpointError), self.model_turn:  # the page says what is wrong with it
            self.registry.load(DEFAULT_CHECKPOINT)
