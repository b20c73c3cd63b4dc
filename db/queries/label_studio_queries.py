"""Query the tasks, conflicts and leftovers of the sync with Label Studio."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, delete, func, update
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from db.models import TASK_DELETED, ConflictChoice, Image, LabelConflict, LabelLeftover, LabelTask, now
from db.queries.bulk import IN_LIST, batches, insert_into
from db.queries.values import storable

_IS_THERE = col(LabelTask.pushed_hash) != TASK_DELETED


@dataclass(frozen=True, slots=True)
class TaskState:
    """The state of an image's task; fields as in `db.models.LabelTask`."""

    image_id: int
    task_id: int
    pushed_hash: str = ""
    pulled_at: datetime | None = None
    remote_updated_at: datetime | None = None
    taken: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ProjectCount:
    """The images of one data set in a project of Label Studio.

    pushed: those with a task. decided: those with an imported decision. deleted: those whose task was deleted there.
    """

    project: str
    dataset_id: int
    pushed: int
    decided: int
    deleted: int = 0


def set_tasks(session: Session, *, project: str, tasks: Iterable[TaskState]) -> int:
    """Keep what is known of pictures' tasks in a project, over what was known; how many.

    Args: project: the server's address and the project's id there, always in the same words.
    """
    kept = 0
    table = insert_into(session, LabelTask)
    changed = ("task_id", "pushed_hash", "pulled_at", "remote_updated_at", "taken")
    statement = table.on_conflict_do_update(
        index_elements=["project", "image_id"], set_={name: table.excluded[name] for name in changed}
    )
    for some in batches(tasks, IN_LIST):
        rows = [
            {"project": project, "image_id": task.image_id} | {name: getattr(task, name) for name in changed}
            for task in some
        ]
        session.connection().execute(statement, rows)
        kept += len(rows)
    return kept


def mark_deleted(session: Session, *, project: str, task_id: int) -> None:
    """Note that a person deleted a task there, and forget what was left of its annotations."""
    mine = (col(LabelTask.project) == project, col(LabelTask.task_id) == task_id)
    session.connection().execute(update(LabelTask).where(*mine).values(pushed_hash=TASK_DELETED))
    drop_leftovers(session, project=project, task_id=task_id)


def forget_tasks(session: Session, *, project: str) -> None:
    """Forget the tasks of a project that is no longer there."""
    session.connection().execute(delete(LabelTask).where(col(LabelTask.project) == project))


def tasks_of(session: Session, *, project: str, image_ids: Collection[int]) -> dict[int, LabelTask]:
    """Return the tasks that some images have in a project, by image."""
    found: list[LabelTask] = []
    for some in batches(image_ids, IN_LIST):
        mine = (LabelTask.project == project, col(LabelTask.image_id).in_(some))
        found += session.exec(select(LabelTask).where(*mine)).all()
    return {task.image_id: task for task in found}


def find_task(session: Session, *, project: str, task_id: int) -> LabelTask | None:
    """Return the task of that id in a project; None when it is not one of ours."""
    return session.exec(select(LabelTask).where(LabelTask.project == project, LabelTask.task_id == task_id)).first()


def projects_of(session: Session, *, dataset_id: int | None = None) -> list[ProjectCount]:
    """Return Label Studio's projects that hold images of a data set, or of any, with counts."""
    group = (col(LabelTask.project), col(Image.dataset_id))
    decided = func.count(col(LabelTask.pulled_at))
    there, deleted = (func.count(case((is_it, 1))) for is_it in (_IS_THERE, ~_IS_THERE))
    asked = select_rows(*group, there, decided, deleted).join(Image, col(Image.id) == LabelTask.image_id)
    if dataset_id is not None:
        asked = asked.where(col(Image.dataset_id) == dataset_id)
    return [ProjectCount(*row) for row in session.connection().execute(asked.group_by(*group).order_by(*group))]


def tasks_of_image(session: Session, *, image_id: int) -> Sequence[LabelTask]:
    """Return an image's tasks, in all projects, but for those that were deleted there."""
    mine = select(LabelTask).where(LabelTask.image_id == image_id, _IS_THERE)
    return session.exec(mine.order_by(col(LabelTask.project))).all()


def keep_conflicts(
    session: Session,
    *,
    image: Image,
    project: str,
    remote_id: int,
    who: str,
    wanted: Mapping[str, tuple[int | None, Mapping[str, Any]]],
) -> None:
    """Keep what could not be taken of one annotation in Label Studio; the same again changes nothing.

    One that waited and is no longer among them has become agreed; one whose annotator now wants something else waits
    again.

    Args: wanted: target, as in `db.models.LabelConflict`, -> the region's id, None for the picture, and its state.
    """
    mine = (
        LabelConflict.project == project,
        LabelConflict.remote_id == remote_id,
        LabelConflict.image_id == image.id,
    )
    before = {row.target: row for row in session.exec(select(LabelConflict).where(*mine).with_for_update())}
    for target, row in before.items():
        if target not in wanted:
            if row.choice == "":
                mark_conflict(session, conflict=row, choice="agreed", who=who)
        elif row.choice == "agreed" or row.wanted != wanted[target][1]:
            row.wanted, row.who, row.at = dict(wanted[target][1]), who, now()
            row.choice, row.chosen_by, row.chosen_at = "", "", None
    for target, (region_id, state) in wanted.items():
        if target not in before:
            row = LabelConflict(
                dataset_id=image.dataset_id,
                image_id=image.id,
                region_id=region_id,
                target=target,
                project=project,
                remote_id=remote_id,
                who=who,
                wanted=dict(state),
            )
            session.add(row)
    session.flush()


def keep_leftovers(
    session: Session,
    *,
    image: Image,
    project: str,
    task_id: int,
    remote_id: int,
    who: str,
    reasons: Sequence[str],
) -> bool:
    """Keep what could not be taken of one annotation, in place of what was left of it before; nothing for none.

    Returns: whether there is something that was not left of it before.
    """
    mine = (LabelLeftover.project == project, LabelLeftover.remote_id == remote_id)
    known = session.exec(select(LabelLeftover).where(*mine)).first()
    if not reasons:
        if known is not None:
            session.delete(known)
    elif known is None:
        named: dict[str, Any] = {"dataset_id": image.dataset_id, "image_id": image.id, "project": project}
        session.add(
            LabelLeftover(**named, task_id=task_id, remote_id=remote_id, who=storable(who), reasons=_stored(reasons))
        )
    elif known.reasons != _stored(reasons):
        known.reasons, known.who, known.at = _stored(reasons), storable(who), now()
        session.add(known)
    else:
        return False
    session.flush()
    return bool(reasons)


def has_leftovers(session: Session, *, image_id: int) -> bool:
    """Return whether something could not be taken of an annotation of an image."""
    return session.exec(select(LabelLeftover.id).where(LabelLeftover.image_id == image_id).limit(1)).first() is not None


def _stored(reasons: Sequence[str]) -> list[str]:
    return [storable(reason) for reason in reasons]


def drop_leftovers(session: Session, *, project: str, task_id: int, but: Collection[int] = ()) -> None:
    """Forget what was left of a task's annotations that are gone. but: annotations that are still there."""
    mine = (col(LabelLeftover.project) == project, col(LabelLeftover.task_id) == task_id)
    session.connection().execute(delete(LabelLeftover).where(*mine, col(LabelLeftover.remote_id).not_in(but)))


def tasks_with_leftovers(session: Session, *, project: str) -> Sequence[int]:
    """Return the tasks of a project of which something could not be taken."""
    mine = select(LabelLeftover.task_id).where(LabelLeftover.project == project).distinct()
    return session.exec(mine.order_by(col(LabelLeftover.task_id))).all()


def leftovers_of(session: Session, *, dataset_id: int, limit: int = 50) -> Sequence[tuple[LabelLeftover, Image]]:
    """Return what could not be taken of annotations of a data set, the latest first, each with its image."""
    asked = select(LabelLeftover, Image).join(Image, col(Image.id) == LabelLeftover.image_id)
    mine = asked.where(LabelLeftover.dataset_id == dataset_id).order_by(col(LabelLeftover.id).desc())
    return session.exec(mine.limit(limit)).all()


def count_leftovers(session: Session, *, dataset_id: int) -> int:
    """Return of how many annotations of a data set something could not be taken."""
    asked = select(func.count()).select_from(LabelLeftover).where(LabelLeftover.dataset_id == dataset_id)
    return session.exec(asked).one()


def task_contents(session: Session, *, project: str) -> dict[str, int]:
    """Return the tasks that were pushed to a project, by the content of their images."""
    asked = select(Image.sha256, LabelTask.task_id).join(Image, col(Image.id) == LabelTask.image_id)
    return dict(session.exec(asked.where(LabelTask.project == project)).all())


def open_conflicts(
    session: Session, *, dataset_id: int, image_id: int | None = None, after: int = 0, limit: int = 50
) -> Sequence[LabelConflict]:
    """Return open conflicts of a data set, or of one image of it, the oldest first.

    Args: after: id of the last one of the page before.
    """
    asked = select(LabelConflict).where(LabelConflict.dataset_id == dataset_id, LabelConflict.choice == "")
    if image_id is not None:
        asked = asked.where(LabelConflict.image_id == image_id)
    return session.exec(asked.where(LabelConflict.id > after).order_by(col(LabelConflict.id)).limit(limit)).all()


def lock_conflict(session: Session, *, conflict_id: int) -> LabelConflict | None:
    """Lock and return one conflict; None when there is none of that id."""
    asked = select(LabelConflict).where(LabelConflict.id == conflict_id).with_for_update()
    return session.exec(asked.execution_options(populate_existing=True)).first()


def mark_conflict(session: Session, *, conflict: LabelConflict, choice: ConflictChoice, who: str) -> None:
    """Note what became of a conflict."""
    conflict.choice, conflict.chosen_by, conflict.chosen_at = choice, storable(who), now()
    session.flush()
