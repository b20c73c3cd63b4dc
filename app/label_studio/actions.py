"""Synchronize with Label Studio for the Curate page, and serve what Label Studio asks of the app.

A server that is down, slow or failing costs a sentence, never a page.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast, get_args

from app.core.page_values import chosen_dataset, whole_number
from app.core.settings import is_loopback
from app.jobs.control import NewJob
from app.jobs.devices import DATA, LIGHT
from app.label_studio.backend import Annotate
from app.services import Services
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.settings import AnnotateConfig
from curation.annotate.trial import try_picture
from curation.files.images import open_image
from curation.files.records import DescriptionRecord, PictureRecord, RegionRecord
from curation.label_studio.access import APP_VARIABLE, page_for_people, read_access, task_page
from curation.label_studio.client import HEALTH_S, LabelStudio
from curation.label_studio.conflicts import Conflict, pending_conflicts, resolve_conflict
from curation.label_studio.convert import LabelStudioError, Template
from curation.label_studio.dataset_sync import Sync
from curation.label_studio.projects import list_projects, project_name
from curation.label_studio.sync import SyncConfig, command_line
from curation.versions.state import name_of
from db.engine import reading, retrying
from db.models import Image, LabelLeftover
from db.queries.data_set_queries import find_images, get_dataset, list_datasets
from db.queries.label_studio_queries import (
    ProjectCount,
    count_leftovers,
    leftovers_of,
    projects_of,
    tasks_of_image,
)
from db.queries.review_queries import count_tags
from user_errors import UserError

log = logging.getLogger(__name__)

KINDS = ("label-studio",)  # of jobs that the panel shows
START = "Label Studio is not connected: start it with make label-studio."
MOST_CONFLICTS, MOST_LEFTOVERS = 20, 20  # shown at a time
ANNOTATORS = AnnotateConfig("", DescriberChoice("photo"), LocalizerChoice("photo"))  # need no weights


@dataclass(frozen=True)
class Connection:
    """A data set's state in Label Studio. problem: "" where the server is up and lets us in."""

    url: str
    problem: str
    projects: tuple[ProjectCount, ...]


def connection(services: Services, dataset: str, within: int = HEALTH_S) -> Connection:
    """Check whether the server is up, and which pictures of a data set are there.

    Args:   within: seconds; the server is asked once.
    """
    with reading(services.engine) as session:
        found = get_dataset(session, name=dataset) if dataset else None
        known = projects_of(session, dataset_id=found.id) if found else []
    projects = tuple(replace(each, project=page_for_people(each.project)) for each in known)
    try:
        access = read_access(services.settings.home)
        if access is None:
            return Connection("", START, projects)
        with closing(LabelStudio(access)) as label_studio:
            return Connection(page_for_people(label_studio.url), label_studio.health(within), projects)
    except LabelStudioError as error:
        return Connection("", str(error), projects)


def tags(services: Services, dataset: str) -> dict[str, int]:
    """Return the tags of a data set, by name, each with the number of its regions."""
    with reading(services.engine) as session:
        found = get_dataset(session, name=dataset) if dataset else None
        return count_tags(session, dataset_id=found.id) if found else {}


def queue_sync(services: Services, dataset: str, *, template: str, do: str, owner: str, tag: str = "") -> int:
    """Queue a push or a pull; return the id of its job. The project is connected with this app on the way.

    Args:   tag: push only pictures with a region of this tag; "" for all.
    Raises: UserError: there is no such data set, template, tag or server.
    """
    chosen_dataset(dataset)
    if template not in get_args(Template) or do not in ("push", "pull"):
        raise UserError(f"Expected a template and push or pull, got {template!r} and {do!r}: reload the page.")
    if tag and tag not in tags(services, dataset):
        raise UserError(f"No region has the tag {tag[:40]!r} any more: choose another one, or all pictures.")
    if read_access(services.settings.home) is None:
        raise UserError(START)
    config = SyncConfig(dataset, cast(Template, template), do=do, tag=tag, app=address(services))  # type: ignore[arg-type]
    device = LIGHT if do == "pull" else DATA  # a push copies pictures
    job = NewJob(kind=KINDS[0], owner=owner, config=config, argv=command_line(config), device=device)
    return services.jobs.submit(job)


@dataclass(frozen=True)
class NotTaken:
    """Leftovers of a data set's annotations that could not be taken: the latest, each with its image, and how many."""

    latest: Sequence[tuple[LabelLeftover, Image]]
    annotations: int


def not_taken(services: Services, dataset: str) -> NotTaken:
    """Return what could not be taken of a data set's annotations, by pull or webhook."""
    with reading(services.engine) as session:
        found = get_dataset(session, name=dataset) if dataset else None
        if found is None:
            return NotTaken((), 0)
        latest = leftovers_of(session, dataset_id=found.id, limit=MOST_LEFTOVERS)
        return NotTaken(latest, count_leftovers(session, dataset_id=found.id))


def waiting_conflicts(services: Services, dataset: str) -> list[Conflict]:
    """Return the first conflicts of a data set that wait for a person's choice."""
    with reading(services.engine) as session:
        found = get_dataset(session, name=dataset) if dataset else None
        return list(islice(pending_conflicts(session, dataset_id=found.id), MOST_CONFLICTS)) if found else []


def settle_conflict(services: Services, ask: Mapping[str, Any], who: str) -> None:
    """Settle a conflict by one of its buttons.

    Args:   ask: the conflict's id, the version that was shown, take: ours or theirs.
    Raises: UserError: it cannot be done.
    """
    try:
        number, version = whole_number("conflict", ask["conflict"]), whole_number("version", ask["version"])
        take = ask["take"]
    except (KeyError, TypeError) as error:
        raise UserError(f"The page asked for something incomplete ({error}): reload it.") from error
    try:
        retrying(
            services.engine,
            lambda session: resolve_conflict(session, conflict_id=number, version=version, take=take, who=who),
        )
    except ValueError as error:  # as a picture with nothing to mark, which has accepted regions
        raise UserError(str(error)) from error


def address(services: Services) -> str:
    """Return the address at which Label Studio finds the app: on this machine unless the environment says otherwise."""
    if elsewhere := os.environ.get(APP_VARIABLE):
        return elsewhere
    host = services.settings.host
    host = host if is_loopback(host) else "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{services.settings.port}"


def task_links(services: Services, image_id: int) -> list[str]:
    """Return the pages of Label Studio that show a picture, without asking the server."""
    with reading(services.engine) as session:
        return [task_page(task.project, task.task_id) for task in tasks_of_image(session, image_id=image_id)]


def annotator_version() -> str:
    """Return model@revision of the annotators that the backend runs."""
    return ANNOTATORS.works()[-1].source


def annotator_of(services: Services) -> Annotate:
    """Return the function that the backend calls for a picture."""
    source = annotator_version()

    def annotate(sha256: str) -> PictureRecord | None:
        row = _image(services, sha256)
        if row is None:
            return None
        try:
            image = open_image(row)
            with services.model_turn:
                trial = try_picture(ANNOTATORS, services.annotators(ANNOTATORS), image)
        except ValueError:
            return None
        regions = tuple(
            RegionRecord(region.xyxy, (DescriptionRecord(region.text, score=region.score, source=source),))
            for region in (trial.regions.kept if trial.regions else ())
        )
        return PictureRecord(row.sha256, row.width, row.height, name_of(row), row.caption, regions=regions, id=row.id)

    return annotate


def pull_all(services: Services) -> None:
    """Pull the decisions of people in any project of ours; log those that cannot be taken.

    Raises: LabelStudioError: the server does not answer. DatabaseError.
    """
    access = read_access(services.settings.home)
    if access is None:
        return
    with reading(services.engine) as session:
        datasets = {each.project: each.dataset_id for each in projects_of(session)}
    with closing(LabelStudio(access)) as label_studio:
        for project in list_projects(label_studio):
            if (number := datasets.get(project_name(label_studio, project))) is not None:
                home = services.settings.home
                pulled = Sync(services.engine, label_studio, project, dataset_id=number, home=home).pull()
                for problem in pulled.problems:
                    log.warning(problem)


def secret_of(services: Services) -> str:
    """Return the secret that Label Studio shows when it calls; "" where there is none, which nobody can show.

    It lies in GRAIN_HOME/label-studio/access.json, for this user's eyes only.
    """
    try:
        access = read_access(services.settings.home)
    except LabelStudioError:
        return ""
    return access.secret if access else ""


def _image(services: Services, sha256: str) -> Image | None:
    with reading(services.engine) as session:
        found = (find_images(session, dataset_id=each.id, sha256s=[sha256]) for each in list_datasets(session))
        return next((images[sha256] for images in found if sha256 in images), None)
