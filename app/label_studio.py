"""What the Curate page asks of Label Studio, and what Label Studio asks of the app: its annotators, and to look again.

A server that is down, slow or failing costs a sentence, never a page.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, cast, get_args

from app.curating import whole_number
from app.label_studio_backend import Annotate
from app.looking import sentence
from app.services import Services
from app.settings import is_loopback
from curation.annotate import AnnotateConfig, try_picture
from curation.annotators import DescriberChoice, LocalizerChoice
from curation.decode import RefusedError
from curation.disputes import Dispute, choose, disputes
from curation.images import open_image
from curation.in_step import InStep, InStepConfig, command_line, project_name
from curation.label_studio import LabelStudioError, Template
from curation.records import DescriptionRecord, PictureRecord, RegionRecord
from curation.review import HEALTH_S, LabelStudio, read_access
from curation.versions import name_of
from db.curate_queries import EditConflictError
from db.engine import DatabaseError, reading, retrying
from db.models import Image
from db.queries import find_images, get_dataset, list_datasets
from db.version_queries import ProjectCount, projects_of, tasks_of_image

KINDS = ("label-studio",)  # of jobs that the panel shows
START = "Label Studio is not connected: start it with make label-studio."
MOST_DISPUTES = 20  # shown at a time
ANNOTATORS = AnnotateConfig("", DescriberChoice("photo"), LocalizerChoice("photo"))  # need no weights


class ReviewingError(ValueError):
    """What was asked cannot be done; the message is one sentence for the person."""


@dataclass(frozen=True)
class Connection:
    """How a data set stands with Label Studio. problem: "" where the server is up and lets us in."""

    url: str
    problem: str
    projects: tuple[ProjectCount, ...]


def connection(services: Services, dataset: str, within: int = HEALTH_S) -> Connection:
    """Whether the server is up, and what of a data set is there. Asks the server once, for so many seconds at most."""
    with reading(services.engine) as session:
        found = get_dataset(session, name=dataset) if dataset else None
        projects = tuple(projects_of(session, dataset_id=found.id)) if found else ()
    try:
        access = read_access(services.settings.home)
        if access is None:
            return Connection("", START, projects)
        with closing(LabelStudio(access)) as label_studio:
            return Connection(label_studio.url, label_studio.health(within), projects)
    except LabelStudioError as error:
        return Connection("", str(error), projects)


def keep_in_step(services: Services, dataset: str, template: str, do: str, who: str) -> int:
    """Queue a push or a pull; the id of its job. The project is connected with this app on the way.

    Raises: ReviewingError: there is no such data set, template or server.
    """
    if not dataset:
        raise ReviewingError("There is no data set yet: import one on the Annotate page.")
    if template not in get_args(Template) or do not in ("push", "pull"):
        raise ReviewingError(f"Expected a template and push or pull, got {template!r} and {do!r}: reload the page.")
    try:
        if read_access(services.settings.home) is None:
            raise ReviewingError(START)
        config = InStepConfig(dataset, cast(Template, template), do=do, app=address(services))  # type: ignore[arg-type]
        argv = [sys.executable, *command_line(config)]
        return services.jobs.enqueue(kind=KINDS[0], owner=who, config=asdict(config), argv=argv)
    except (LabelStudioError, DatabaseError) as error:
        raise ReviewingError(sentence(error)) from error


def open_disputes(services: Services, dataset: str) -> list[Dispute]:
    """The first conflicts of a data set that wait for a person's choice."""
    with reading(services.engine) as session:
        found = get_dataset(session, name=dataset) if dataset else None
        return list(islice(disputes(session, dataset_id=found.id), MOST_DISPUTES)) if found else []


def settle_dispute(services: Services, ask: Mapping[str, Any], who: str) -> None:
    """Do what a button of a conflict asks. ask: its id, the version that was shown, take: ours or theirs.

    Raises: ReviewingError: it cannot be done.
    """
    try:
        wanted: dict[str, Any] = {
            "conflict_id": whole_number("conflict", ask["conflict"]),
            "version": whole_number("version", ask["version"]),
        }
        retrying(services.engine, lambda session: choose(session, take=ask["take"], who=who, **wanted))
    except (KeyError, TypeError) as error:
        raise ReviewingError(f"The page asked for something incomplete ({error}): reload it.") from error
    except (ValueError, EditConflictError, DatabaseError) as error:
        raise ReviewingError(sentence(error)) from error


def address(services: Services) -> str:
    """Where Label Studio, on this machine, finds the app."""
    host = services.settings.host
    host = host if is_loopback(host) else "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{services.settings.port}"


def task_links(services: Services, image_id: int) -> list[str]:
    """The pages of Label Studio that show a picture; no question to the server."""
    with reading(services.engine) as session:
        return [f"{task.project}/data?task={task.task_id}" for task in tasks_of_image(session, image_id=image_id)]


def version() -> str:
    """Of the annotators that the backend asks."""
    return ANNOTATORS.works()[-1].source


def annotates(services: Services) -> Annotate:
    """What the backend calls: content hash -> the picture with what the annotators find; None where it is not ours."""
    source = version()

    def annotate(sha256: str) -> PictureRecord | None:
        row = _image(services, sha256)
        if row is None:
            return None
        try:
            image = open_image(row)
            with services.model_turn:
                trial = try_picture(ANNOTATORS, services.annotators(ANNOTATORS), image)
        except (RefusedError, ValueError):
            return None
        found = trial.regions.kept if trial.regions else ()
        regions = tuple(
            RegionRecord(region.xyxy, (DescriptionRecord(region.text, score=region.score, source=source),))
            for region in found
        )
        return PictureRecord(row.sha256, row.width, row.height, name_of(row), row.caption, regions=regions, id=row.id)

    return annotate


def pull_all(services: Services) -> None:
    """Take over what people decided in any project of ours; what cannot be taken is said on standard error.

    Raises: LabelStudioError: the server does not answer. DatabaseError.
    """
    access = read_access(services.settings.home)
    if access is None:
        return
    with reading(services.engine) as session:
        datasets = {each.project: each.dataset_id for each in projects_of(session)}
    with closing(LabelStudio(access)) as label_studio:
        for project in label_studio.projects():
            if (number := datasets.get(project_name(label_studio, project))) is not None:
                home = services.settings.home
                settled = InStep(services.engine, label_studio, project, dataset_id=number, home=home).pull()
                for problem in settled.problems:
                    print(problem, file=sys.stderr)


def secret_of(services: Services) -> str:
    """What Label Studio shows when it calls; "" where there is none, which nobody can show.

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
