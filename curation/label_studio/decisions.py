"""Read what people decided in a Label Studio project since the last time.

The truth is a poll on `updated_at`; webhooks only say that one is due.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from curation.label_studio.client import LabelStudio
from curation.label_studio.convert import LabelStudioError, Reading, from_results
from curation.label_studio.projects import Project

OVERLAP = timedelta(seconds=10)  # asked for again: a task is stamped a little before it can be seen
ALL_TIME = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Decision:
    """What one person says of one picture; with an equal annotation and moment it is the same decision."""

    task: int
    annotation: int
    who: str
    updated_at: datetime
    """Of the annotation."""
    task_updated_at: datetime
    """Moves whenever anything about the picture does."""
    reading: Reading


@dataclass(frozen=True, slots=True)
class DecisionBatch:
    """decisions: oldest first. problems: task -> one sentence why its annotation cannot be taken; it stays there.

    until: ask from here the next time.
    """

    decisions: tuple[Decision, ...]
    problems: Mapping[int, str]
    until: datetime


def read_decisions(label_studio: LabelStudio, project: Project, since: datetime | None = None) -> DecisionBatch:
    """Read what people submitted since then, each annotation as it is now; some that came before come again.

    Raises: LabelStudioError: the server does not answer.
    """
    since = since or ALL_TIME
    newest = label_studio.task_page(project.id, 1, size=1, query={"ordering": ["-tasks:updated_at"]})
    until = max([since, *(_moment(task["updated_at"]) - OVERLAP for task in newest)])
    decisions: dict[int, Decision] = {}
    problems: dict[int, str] = {}
    for task in label_studio.tasks(project.id, _annotated_since(since), fields="all"):
        for annotation in task["annotations"]:
            if annotation.get("was_cancelled"):
                continue
            try:
                decision = _decision(label_studio, project, task=task, annotation=annotation)
            except LabelStudioError as error:
                problems[task["id"]] = str(error)
            else:
                decisions[decision.annotation] = decision
    ordered = sorted(decisions.values(), key=lambda decision: (decision.updated_at, decision.annotation))
    return DecisionBatch(tuple(ordered), problems, until)


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
    who = label_studio.person_name(annotation.get("updated_by") or annotation.get("completed_by"))
    reading = from_results(annotation["result"] or [], task["data"], template=project.template, who=who)
    moments = _moment(annotation["updated_at"]), _moment(task["updated_at"])
    return Decision(task["id"], annotation["id"], who, *moments, reading)


def _moment(value: datetime | str) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
