"""Push pictures to a Label Studio project: each becomes a task with its regions as a prediction, none twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from curation.files.records import PictureRecord
from curation.label_studio.client import LabelStudio, TaskRefusedError
from curation.label_studio.convert import OURS, LabelStudioError, digest, to_data, to_prediction
from curation.label_studio.projects import Project, make_room, show_pushed
from db.models import now

BATCH = 100  # tasks an import: its SQLite locks under larger ones


@dataclass(slots=True)
class PushSummary:
    """The result of a push, by content hash. refused: one sentence a picture."""

    added: int = 0
    changed: int = 0
    same: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, int] = field(default_factory=dict)
    """Their tasks' ids."""
    deleted: dict[str, int] = field(default_factory=dict)
    """Tasks that were pushed before and that somebody deleted there: these stay deleted."""


@dataclass(frozen=True, slots=True)
class PushedTask:
    """The part of a task that a push must know."""

    id: int
    digest: str
    annotations: int


def push_pictures(
    label_studio: LabelStudio,
    project: Project,
    records: Iterable[PictureRecord],
    *,
    address: Callable[[PictureRecord], str],
    batch: int = BATCH,
    known: Mapping[str, int] | None = None,
) -> PushSummary:
    """See that each picture has a task, as the record has it now; decisions there are not touched.

    Args:   records: taken as they are needed. address: where the editor finds a picture, as in
            /data/local-files/?d=pictures/1.jpg. batch: tasks an import. known: tasks of earlier pushes, by content;
            those that are there no longer were deleted by a person.
    Raises: LabelStudioError: the server does not answer; what has arrived stays, and the next push does the rest.
    """
    push = _Push(label_studio, project, address)
    there = push.find_tasks()
    wanted: set[str] = set()
    new: dict[str, PictureRecord] = {}
    for record in records:
        wanted.add(record.sha256)
        old = there.get(record.sha256)
        if old is None and record.sha256 in (known or {}):
            push.summary.deleted[record.sha256] = (known or {})[record.sha256]
        elif old is None:
            new[record.sha256] = record
        elif old.digest == digest(record):
            push.summary.same += 1
        else:
            push.change_task(old.id, record)
        if len(new) >= batch:
            push.add_tasks(new)
            new = {}
    push.add_tasks(new)
    if push.summary.added:
        there = push.find_tasks()
    push.summary.tasks = {sha256: there[sha256].id for sha256 in wanted if sha256 in there}
    if push.summary.tasks:
        show_pushed(label_studio, push.project)
    return push.summary


class _Push:
    """One push under way. project: grows where a picture needs more room in its form."""

    def __init__(self, label_studio: LabelStudio, project: Project, address: Callable[[PictureRecord], str]) -> None:
        self.label_studio, self.project, self.address = label_studio, project, address
        self.summary = PushSummary()

    def find_tasks(self) -> dict[str, PushedTask]:
        """Return the tasks there by content hash; remove a second one of a picture, left by a lost answer."""
        there: dict[str, PushedTask] = {}
        for each in self.label_studio.tasks(self.project.id, {}):
            mine = each["data"].get(OURS)
            if not isinstance(mine, dict) or "picture" not in mine:
                continue
            task = PushedTask(each["id"], str(mine.get("digest")), each["total_annotations"] or 0)
            first = there.setdefault(str(mine["picture"].get("sha256")), task)
            if first is task:
                continue
            kept, other = (task, first) if task.annotations > first.annotations else (first, task)
            there[str(mine["picture"].get("sha256"))] = kept
            if not other.annotations:
                self.label_studio.retry(partial(self.label_studio.sdk.tasks.delete, str(other.id)))
        return there

    def add_tasks(self, records: Mapping[str, PictureRecord]) -> None:
        """Make tasks of pictures that have none."""
        self.project = make_room(self.label_studio, self.project, list(records.values()))
        tasks = {}
        for sha256, record in records.items():
            try:
                tasks[sha256] = self._task(record, None)
            except LabelStudioError as error:
                self.summary.refused[sha256] = str(error)
        if tasks:
            self.summary.added += self._import(tasks)

    def change_task(self, task_id: int, record: PictureRecord) -> None:
        """Bring a task up to date. Its data come last: until they are there, the next push does all of it again."""
        self.project = make_room(self.label_studio, self.project, [record])
        sdk = self.label_studio.sdk

        def step() -> None:
            there = sdk.tasks.get(str(task_id)).model_dump()
            task = self._task(record, there["data"])
            [prediction] = task["predictions"]
            if known := [each["id"] for each in there["predictions"] or []]:
                # the first came with the task; later ones are of the project's annotators
                sdk.predictions.update(min(known), **{"score": None, **prediction})
            else:
                sdk.predictions.create(task=task_id, **prediction)
            sdk.tasks.update(str(task_id), data=task["data"])

        try:
            self.label_studio.retry(step)
        except TaskRefusedError as error:
            self.summary.refused[record.sha256] = str(error)
        else:
            self.summary.changed += 1

    def _import(self, tasks: dict[str, dict[str, Any]]) -> int:
        """Make tasks, none twice: where an answer was lost, what has arrived is looked up before the next try."""
        left, asked = dict(tasks), False

        def step() -> None:
            nonlocal asked
            if asked:
                for sha256 in self.find_tasks():
                    left.pop(sha256, None)
            asked = True
            if left:
                self.label_studio.sdk.projects.import_tasks(self.project.id, request=list(left.values()))

        try:
            self.label_studio.retry(step)
        except TaskRefusedError as error:  # all or nothing: find the one
            if len(tasks) == 1:
                self.summary.refused[next(iter(tasks))] = str(error)
                return 0
            halves = _parts(list(tasks), (len(tasks) + 1) // 2)
            return sum(self._import({sha256: tasks[sha256] for sha256 in half}) for half in halves)
        return len(tasks)

    def _task(self, record: PictureRecord, before: Mapping[str, Any] | None) -> dict[str, Any]:
        """Make a picture's task as the server takes it. before: its data there, if it has any.

        Raises: TaskRefusedError: no form has room for it.
        """
        try:
            data = to_data(record, self.address(record), before, at=now())
        except LabelStudioError as error:
            raise TaskRefusedError(str(error)) from error
        prediction = to_prediction(record, template=self.project.template, push=data[OURS]["push"])
        return {"data": data, "predictions": [prediction]}


def _parts(items: list[str], size: int) -> list[list[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
