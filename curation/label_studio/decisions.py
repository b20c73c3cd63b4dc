"""Read what people decided in a Label Studio project since the last time.

The truth is a poll on `updated_at`; webhooks only say that one is due.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from curation.label_studio.client import LabelStudio
from curation.label_studio.convert import LabelStudioError, Reading, from_results
from curation.label_studio.projects import Project
from db.queries.bulk import batches

OVERLAP = timedelta(seconds=10)  # the server is asked again for: a task is stamped a little before it can be seen
MOST_IDS = 100  # in the address of one request
ALL_TIME = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdicts of one person on one picture; with an equal annotation and moment it is the same decision."""

    task: int
    annotation: int
    who: str
    updated_at: datetime
    """Of the annotation."""
    task_updated_at: datetime
    """Moves whenever anything about the picture does."""
    reading: Reading


@dataclass(frozen=True, slots=True)
class UnreadAnnotation:
    """An annotation of which nothing, or not all, can be taken, and why, a sentence each; it stays there."""

    task: int
    annotation: int
    who: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecisionBatch:
    """decisions: oldest first. unread: annotations of which nothing can be taken.

    annotations: task -> all of its annotations. until: ask from here the next time.
    """

    decisions: tuple[Decision, ...]
    unread: tuple[UnreadAnnotation, ...]
    annotations: Mapping[int, tuple[int, ...]]
    until: datetime


def read_decisions(label_studio: LabelStudio, project: Project, since: datetime | None = None) -> DecisionBatch:
    """Read what people submitted since then, each annotation as it is now; some that came before come again.

    Raises: LabelStudioError: the server does not answer.
    """
    since = since or ALL_TIME
    newest = label_studio.task_page(project.id, 1, size=1, query={"ordering": ["-tasks:updated_at"]})
    until = max([since, *(_moment(task["updated_at"]) - OVERLAP for task in newest)])
    decisions: dict[int, Decision] = {}
    unread: list[UnreadAnnotation] = []
    there: dict[int, tuple[int, ...]] = {}
    for task in label_studio.tasks(project.id, _annotated_since(since), fields="all"):
        submitted = _submitted(task)
        there[task["id"]] = tuple(each["id"] for each in submitted)
        for annotation in submitted:
            try:
                decision = _decision(label_studio, project, task=task, annotation=annotation)
            except LabelStudioError as error:
                who = _annotator(label_studio, annotation)
                unread.append(UnreadAnnotation(task["id"], annotation["id"], who, (str(error),)))
            else:
                decisions[decision.annotation] = decision
    ordered = sorted(decisions.values(), key=lambda decision: (decision.updated_at, decision.annotation))
    return DecisionBatch(tuple(ordered), tuple(unread), there, until)


def list_annotations(label_studio: LabelStudio, project: Project, tasks: Collection[int]) -> dict[int, tuple[int, ...]]:
    """Return the submitted annotations that some tasks have now; none of a task that is gone.

    Raises: LabelStudioError: the server does not answer.
    """
    there: dict[int, tuple[int, ...]] = dict.fromkeys(tasks, ())
    for some in batches(tasks, MOST_IDS):
        named = {"selectedItems": {"all": False, "included": some}}
        for task in label_studio.tasks(project.id, named, fields="all"):
            there[task["id"]] = tuple(each["id"] for each in _submitted(task))
    return there


def _submitted(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [each for each in task["annotations"] if not each.get("was_cancelled")]


def _annotated_since(since: datetime) -> dict[str, Any]:
    """Return the query of tasks with an annotation that changed since then."""
    moment = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    conditions = [
        {"filter": "filter:tasks:updated_at", "operator": "greater_or_equal", "type": "Datetime", "value": moment},
        {"filter": "filter:tasks:total_annotations", "operator": "greater", "type": "Number", "value": 0},
    ]
    return {"filters": {"conjunction": "and", "items": conditions}}


def _decision(
    label_studio: LabelStudio, project: Project, *, task: Mapping[str, Any], annotation: Mapping[str, Any]
) -> Decision:
    who = _annotator(label_studio, annotation)
    asked: dict[str, Any] = {"template": project.template, "who": who, "began": _began(annotation)}
    reading = from_results(annotation["result"] or [], task["data"], **asked)
    moments = _moment(annotation["updated_at"]), _moment(task["updated_at"])
    return Decision(task["id"], annotation["id"], who, *moments, reading)


def _annotator(label_studio: LabelStudio, annotation: Mapping[str, Any]) -> str:
    return label_studio.person_name(annotation.get("updated_by") or annotation.get("completed_by"))


def _began(annotation: Mapping[str, Any]) -> datetime:
    """Return when the annotator opened the task, or a little earlier: later work on it counts as time spent, too."""
    first = min(_moment(annotation[name]) for name in ("created_at", "draft_created_at") if annotation.get(name))
    return first - timedelta(seconds=annotation.get("lead_time") or 0)


def _moment(value: datetime | str) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
