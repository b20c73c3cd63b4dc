"""List the published models that can be brought into the checkpoint menu, and queue what fetches one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.access.accounts import Person
from app.access.rules import Role, allows
from app.jobs.control import NewJob
from app.services import Services
from app.ui.html import render
from db.engine import reading
from db.queries.job_queries import UNFINISHED, job_page
from grain.command import flags_of
from grain.hub.published_models import OFFLINE, PUBLISHED_MODELS, ImportModelConfig, PublishedModel, is_offline
from user_errors import UserError

KIND = "bring"  # of jobs
MOST_JOBS = 50  # looked through


@dataclass(frozen=True)
class ModelRow:
    """A published model, and whether it is in the menu or on its way. command: that brings it without the page."""

    model: PublishedModel
    here: bool
    coming: bool
    command: str


def model_rows(services: Services) -> list[ModelRow]:
    """Return all published models with their state."""
    here = {each.name for each in services.registry.checkpoints()}
    with reading(services.engine) as session:
        jobs = job_page(session, kind=KIND, states=UNFINISHED, limit=MOST_JOBS)
    coming = {str(job.config.get("model")) for job in jobs}
    return [
        ModelRow(each, each.name in here, each.name in coming, shlex.join(["python", *_words(services, each.name)]))
        for each in PUBLISHED_MODELS.values()
    ]


def fetch_problem(role: Role) -> str:
    """Return why a person of that role cannot fetch here; "" if nothing is in the way."""
    if is_offline():
        return f"This app keeps away from the hub ({OFFLINE} is set): run the command where the hub can be reached."
    return "" if allows(role, "admin") else "An admin can fetch these, or run the command."


def fetch(services: Services, name: str, person: Person) -> int:
    """Queue the fetching of a model; return the id of its job.

    Raises: UserError: there is no such model, it is here or on its way, or this app keeps away from the hub.
    """
    row = next((each for each in model_rows(services) if each.model.name == name), None)
    if row is None:
        raise UserError(f"There is no model {name[:40]!r} to fetch: choose one of {', '.join(PUBLISHED_MODELS)}.")
    if row.here or row.coming:
        raise UserError(f"{name} is {'in the menu' if row.here else 'being fetched'} already.")
    if problem := fetch_problem(person.role):
        raise UserError(problem)
    config = {"model": name, "repository": row.model.repository}
    return services.jobs.submit(NewJob(kind=KIND, owner=person.name, config=config, argv=_words(services, name)))


def models_panel(rows: Sequence[ModelRow], problem: str) -> str:
    """Render the models. problem: why none can be fetched from here, or ""."""
    return render("ground/templates/more_models.html", rows=rows, problem=problem)


def _words(services: Services, name: str) -> list[str]:
    folder = Path(services.settings.checkpoints).absolute() / name
    return ["-m", "grain.hub.import_model", *flags_of(ImportModelConfig(name, folder, fetch=True))]
