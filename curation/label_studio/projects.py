"""Make and find GRAIN's projects in Label Studio, and connect them with the app: webhooks and annotators."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from curation.files.records import PictureRecord
from curation.label_studio.access import BACKEND_USER, SECRET_HEADER
from curation.label_studio.client import LabelStudio
from curation.label_studio.convert import (
    MODEL_VERSION,
    MOST_SLOTS,
    SLOTS,
    LabelStudioError,
    Template,
    labeling_config,
    slots_for,
)

MARK = "GRAIN review: "  # begins the description of our projects; the template follows
TITLE_CHARACTERS = (3, 50)  # Label Studio's own bounds
EVENTS = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")


@dataclass(frozen=True, slots=True)
class Project:
    """A project there. slots: descriptions a region that its form has room for."""

    id: int
    title: str
    template: Template
    slots: int = SLOTS
    made: bool = field(default=False, compare=False)
    """Whether it was just made: what was pushed before went to another one."""


def ensure_project(
    label_studio: LabelStudio, title: str, template: Template, *, slots: int = SLOTS, pictures: Path | None = None
) -> Project:
    """Find the project of that title or make it, with room for so many descriptions a region.

    Args:   pictures: folder of them that the server shall show, strictly below its document root.
    Raises: LabelStudioError: the title does not suit, is another project's, or the server does not answer.
    """
    least, most = TITLE_CHARACTERS
    if not least <= len(title) <= most:
        raise LabelStudioError(f"The project's title must have {least} to {most} characters, got {len(title)}.")
    project = label_studio.retry(lambda: _find_or_make(label_studio, title, template, slots=slots))
    if pictures is not None:
        label_studio.retry(lambda: _show_pictures(label_studio, project, pictures))
    return project


def list_projects(label_studio: LabelStudio) -> list[Project]:
    """List the server's projects that GRAIN made.

    Raises: LabelStudioError: the server does not answer.
    """
    found = []
    for each in label_studio.retry(lambda: list(label_studio.sdk.projects.list())):
        template = (each.description or "").removeprefix(MARK)
        if (each.description or "").startswith(MARK) and template in get_args(Template):
            found.append(Project(each.id, each.title, cast(Template, template), _count_slots(each.label_config)))
    return found


def free_title(label_studio: LabelStudio, dataset: str, template: Template, *, usable: Collection[str]) -> str:
    """Return the title for a data set's project: its name, cut or added to where that does not suit or is taken.

    Args:   usable: titles of projects that the data set may have.
    Raises: LabelStudioError: the server does not answer.
    """
    least, most = TITLE_CHARACTERS
    taken = {each.title for each in label_studio.retry(lambda: list(label_studio.sdk.projects.list()))} - {*usable}
    ends = ("", f" ({template})", *(f" ({template} {number})" for number in range(2, len(taken) + 3)))
    titles = (dataset[: most - len(end)].strip() + end for end in ends)
    return next(title for title in titles if len(title) >= least and title not in taken)


def project_name(label_studio: LabelStudio, project: Project) -> str:
    """Return the name of a project in the database."""
    return f"{label_studio.url}/projects/{project.id}"


def make_room(label_studio: LabelStudio, project: Project, records: Sequence[PictureRecord]) -> Project:
    """Give the form room for the descriptions of these pictures' regions; return the project as it is then.

    Raises: LabelStudioError: the server does not answer.
    """
    slots = min(slots_for(records), MOST_SLOTS)
    if slots <= project.slots:
        return project
    return label_studio.retry(lambda: _find_or_make(label_studio, project.title, project.template, slots=slots))


def show_pushed(label_studio: LabelStudio, project: Project) -> None:
    """See that annotators are shown what was pushed, not a fresh answer of the app's annotators or of one source alone.

    Raises: LabelStudioError: the server does not answer, or nothing was pushed yet.
    """
    label_studio.retry(lambda: label_studio.sdk.projects.update(project.id, model_version=MODEL_VERSION))


def ensure_webhook(label_studio: LabelStudio, project: Project, *, url: str, secret: str) -> None:
    """See that Label Studio tells us at url when an annotation changes, and shows the secret.

    Raises: LabelStudioError: the server does not answer, or may not call that address.
    """
    webhooks = label_studio.sdk.webhooks
    wanted = {"url": url, "headers": {SECRET_HEADER: secret}, "actions": list(EVENTS), "send_payload": False}

    def step() -> None:
        hooks = [hook for hook in webhooks.list(project=str(project.id)) if hook.url == url]
        for hook in hooks[1:]:
            webhooks.delete(hook.id)
        if not hooks:
            webhooks.create(project=project.id, send_for_all_actions=False, **wanted)
        elif hooks[0].headers != wanted["headers"]:
            webhooks.delete(hooks[0].id)
            webhooks.create(project=project.id, send_for_all_actions=False, **wanted)

    label_studio.retry(step)


def ensure_backend(
    label_studio: LabelStudio, project: Project, *, url: str, secret: str, title: str = "GRAIN annotators"
) -> None:
    """See that the project asks our annotators at url for predictions; they must be there already.

    Raises: LabelStudioError: the server does not answer, or cannot reach that address.
    """

    def step() -> None:
        if not [backend for backend in label_studio.sdk.ml.list(project=project.id) if backend.url == url]:
            label_studio.sdk.ml.create(
                url=url,
                project=project.id,
                title=title,
                auth_method="BASIC_AUTH",
                basic_auth_user=BACKEND_USER,
                basic_auth_pass=secret,
            )

    label_studio.retry(step)


def _find_or_make(label_studio: LabelStudio, title: str, template: Template, *, slots: int) -> Project:
    """Find or make a project, and give its form the room."""
    projects, slots = label_studio.sdk.projects, max(slots, SLOTS)
    found = [each for each in projects.list() if each.title == title]
    ours = sorted((each for each in found if (each.description or "").startswith(MARK)), key=lambda each: each.id)
    if found and not ours:
        raise LabelStudioError(f"Label Studio has a project {title!r} that GRAIN did not make: choose another title.")
    if not ours:
        made = projects.create(
            title=title,
            description=MARK + template,
            label_config=labeling_config(template, slots),
            enable_empty_annotation=True,
            show_collab_predictions=True,
        )
        return Project(made.id, title, template, slots, made=True)
    there = (ours[0].description or "").removeprefix(MARK)
    if there != template or there not in get_args(Template):
        raise LabelStudioError(f"The project {title!r} is made for {there!r}, not {template!r}: choose another title.")
    room = _count_slots(ours[0].label_config)
    if room < slots:
        projects.update(ours[0].id, label_config=labeling_config(template, slots))
    return Project(ours[0].id, title, template, max(room, slots))


def _count_slots(config: str | None) -> int:
    return (config or "").count('name="description_')


def _show_pictures(label_studio: LabelStudio, project: Project, pictures: Path) -> None:
    storages = label_studio.sdk.import_storage.local
    if str(pictures) not in [storage.path for storage in storages.list(project=project.id)]:
        storages.create(project=project.id, title="pictures", path=str(pictures), use_blob_urls=True)
