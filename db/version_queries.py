"""Questions about frozen versions, people's labels and Label Studio's tasks, by name. Habits as in db/queries.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import func
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from db.models import (
    Annotation,
    AnnotationEdit,
    Choice,
    ConceptLabel,
    DatasetVersion,
    Image,
    LabelConflict,
    LabelTask,
    Review,
    Status,
    now,
)
from db.queries import IN_LIST, VISIBLE, batches, insert_into, must_be_sha256, storable

STREAM_PICTURES = 500  # held at a time


@dataclass(frozen=True)
class PictureAnnotations:
    """A picture with its regions, in the order they came."""

    image: Image
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True, slots=True)
class TaskState:
    """What is known of a picture's task; fields as in `db.models.LabelTask`."""

    image_id: int
    task_id: int
    pushed_hash: str = ""
    pulled_at: datetime | None = None
    remote_updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ProjectCount:
    """A project of Label Studio and the pictures of one data set in it. decided: those with a decision taken over."""

    project: str
    dataset_id: int
    pushed: int
    decided: int


def create_version(
    session: Session,
    *,
    dataset_id: int,
    name: str,
    sha256: str,
    file_name: str,
    pictures: int,
    regions: int,
    created_by: str,
    note: str = "",
) -> DatasetVersion:
    """Note a frozen version, whose file is there already.

    Args:   sha256: of the file. file_name: below GRAIN_HOME/versions, without folders. pictures, regions: in it.
    Raises: ValueError: the name is empty, taken in this data set or no printable line, or the file's name is a path.
    """
    must_be_sha256(sha256=sha256)
    if not name.strip() or not name.isprintable():
        raise ValueError(f"expected a name for the version, one printable line, got {name!r}: give it one")
    if not file_name or file_name.startswith(".") or "/" in file_name or "\\" in file_name:
        raise ValueError(f"expected the name of a file in the versions' folder, got {file_name!r}")
    if get_version(session, dataset_id=dataset_id, name=name) is not None:
        raise ValueError(f"expected a new name, got {name!r}, which a version has: versions never change")
    version = DatasetVersion(
        dataset_id=dataset_id,
        name=name,
        sha256=sha256,
        file_name=file_name,
        pictures=pictures,
        regions=regions,
        created_by=created_by,
        note=storable(note),
    )
    session.add(version)
    session.flush()
    return version


def get_version(session: Session, *, dataset_id: int, name: str) -> DatasetVersion | None:
    """The version of that name; None when there is none."""
    mine = (DatasetVersion.dataset_id == dataset_id, DatasetVersion.name == storable(name))
    return session.exec(select(DatasetVersion).where(*mine)).first()


def list_versions(session: Session, *, dataset_id: int) -> Sequence[DatasetVersion]:
    """The versions of a data set, newest first."""
    asked = select(DatasetVersion).where(DatasetVersion.dataset_id == dataset_id)
    return session.exec(asked.order_by(col(DatasetVersion.id).desc())).all()


def dataset_batch(
    session: Session,
    *,
    dataset_id: int,
    statuses: Collection[Status] = VISIBLE,
    after: int = 0,
    limit: int = STREAM_PICTURES,
) -> list[PictureAnnotations]:
    """The next pictures of a data set, by id, with their regions in some states.

    What takes minutes asks for batches in a transaction each, since a long reader holds up SQLite's writers, and reads
    again at the end what was edited meanwhile (`last_edit_id`, `images_edited_since`).

    Args: after: id of the last picture of the batch before.
    """
    mine = (Image.dataset_id == dataset_id, Image.id > after)
    images = session.exec(select(Image).where(*mine).order_by(col(Image.id)).limit(limit)).all()
    return _with_annotations(session, images, statuses)


def iterate_dataset(
    session: Session, *, dataset_id: int, statuses: Collection[Status] = VISIBLE, after: int = 0
) -> Iterator[PictureAnnotations]:
    """All pictures of a data set as `dataset_batch` gives them; a few hundred are held at a time."""
    while batch := dataset_batch(session, dataset_id=dataset_id, statuses=statuses, after=after):
        after = batch[-1].image.id
        yield from batch


def pictures_of(
    session: Session, *, image_ids: Collection[int], statuses: Collection[Status] = VISIBLE
) -> list[PictureAnnotations]:
    """Some pictures by id, with their regions in some states."""
    found: list[PictureAnnotations] = []
    for some in batches(sorted(set(image_ids)), STREAM_PICTURES):
        images = session.exec(select(Image).where(col(Image.id).in_(some)).order_by(col(Image.id))).all()
        found += _with_annotations(session, images, statuses)
    return found


def last_edit_id(session: Session) -> int:
    """The id of the latest edit; 0 before the first."""
    return session.exec(select(func.max(AnnotationEdit.id))).one() or 0


def images_edited_since(session: Session, *, dataset_id: int, edit_id: int) -> list[int]:
    """The pictures of a data set that were edited after an edit, by id."""
    mine = (AnnotationEdit.dataset_id == dataset_id, AnnotationEdit.id > edit_id)
    return list(
        session.exec(select(AnnotationEdit.image_id).where(*mine).distinct().order_by(col(AnnotationEdit.image_id)))
    )


def count_reviews(session: Session, *, dataset_id: int) -> dict[Review, int]:
    """How many pictures of a data set are in each review state."""
    asked = select(Image.review, func.count()).where(Image.dataset_id == dataset_id).group_by(col(Image.review))
    return cast("dict[Review, int]", dict(session.exec(asked).all()))


def last_ids(session: Session) -> tuple[int, int, int]:
    """The ids of the latest edit, region and picture of all data sets: equal while nothing came or was edited."""
    newest = (func.max(AnnotationEdit.id), func.max(Annotation.id), func.max(Image.id))
    edit, region, picture = (session.exec(select(each)).one() or 0 for each in newest)
    return edit, region, picture


def set_label(session: Session, *, image_id: int, who: str, label: str) -> None:
    """Keep what a person takes a picture for; over what the same person said before, which one undo brings back.

    Raises: ValueError: no such picture, or an empty name or label.
    """
    image = session.get(Image, image_id)
    if image is None:
        raise ValueError(f"expected the id of a picture, got {image_id}")
    if not who.strip() or not label.strip():
        raise ValueError(f"expected a person and a label, got {who!r} and {label!r}")
    said = {"label": storable(label), "at": now()}
    row = insert_into(session, ConceptLabel)
    row = row.values(dataset_id=image.dataset_id, image_id=image_id, who=storable(who), before="", **said)
    over = said | {"before": ConceptLabel.label}
    session.connection().execute(row.on_conflict_do_update(index_elements=["image_id", "who"], set_=over))


def labels_of(session: Session, *, dataset_id: int) -> Iterator[ConceptLabel]:
    """All labels of a data set, picture by picture; a few thousand are held at a time."""
    after = (0, "")
    while True:
        page = select(ConceptLabel).where(ConceptLabel.dataset_id == dataset_id, ConceptLabel.image_id > after[0])
        some = session.exec(page.order_by(col(ConceptLabel.image_id), col(ConceptLabel.who)).limit(IN_LIST)).all()
        if not some:
            return
        last = some[-1].image_id
        # the last picture may have more labels than fit: it comes whole with the next page
        whole = [label for label in some if label.image_id != last] if len(some) == IN_LIST else list(some)
        if not whole:
            rest = select(ConceptLabel).where(ConceptLabel.image_id == last)
            whole = list(session.exec(rest.order_by(col(ConceptLabel.who))).all())
        after = (whole[-1].image_id, "")
        yield from whole


def set_tasks(session: Session, *, project: str, tasks: Iterable[TaskState]) -> int:
    """Keep what is known of pictures' tasks in a project, over what was known; how many.

    Args: project: the server's address and the project's id there, always in the same words.
    """
    kept = 0
    table = insert_into(session, LabelTask)
    changed = ("task_id", "pushed_hash", "pulled_at", "remote_updated_at")
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


def tasks_of(session: Session, *, project: str, image_ids: Collection[int]) -> dict[int, LabelTask]:
    """The tasks that some pictures have in a project, by picture."""
    found: list[LabelTask] = []
    for some in batches(image_ids, IN_LIST):
        mine = (LabelTask.project == project, col(LabelTask.image_id).in_(some))
        found += session.exec(select(LabelTask).where(*mine)).all()
    return {task.image_id: task for task in found}


def find_task(session: Session, *, project: str, task_id: int) -> LabelTask | None:
    """The task of that id in a project; None when it is not one of ours."""
    return session.exec(select(LabelTask).where(LabelTask.project == project, LabelTask.task_id == task_id)).first()


def task_page(session: Session, *, project: str, after: int = 0, limit: int = 50) -> Sequence[LabelTask]:
    """The tasks of a project, by picture. after: `image_id` of the last one of the page before."""
    mine = (LabelTask.project == project, LabelTask.image_id > after)
    return session.exec(select(LabelTask).where(*mine).order_by(col(LabelTask.image_id)).limit(limit)).all()


def projects_of(session: Session, *, dataset_id: int | None = None) -> list[ProjectCount]:
    """Label Studio's projects that hold pictures of a data set, or of any, with counts."""
    group = (col(LabelTask.project), col(Image.dataset_id))
    decided = func.count(col(LabelTask.pulled_at))
    asked = select_rows(*group, func.count(), decided).join(Image, col(Image.id) == LabelTask.image_id)
    if dataset_id is not None:
        asked = asked.where(col(Image.dataset_id) == dataset_id)
    return [ProjectCount(*row) for row in session.connection().execute(asked.group_by(*group).order_by(*group))]


def tasks_of_image(session: Session, *, image_id: int) -> Sequence[LabelTask]:
    """A picture's tasks, in whatever projects."""
    return session.exec(select(LabelTask).where(LabelTask.image_id == image_id).order_by(col(LabelTask.project))).all()


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
    for target, (annotation_id, state) in wanted.items():
        if target not in before:
            row = LabelConflict(
                dataset_id=image.dataset_id,
                image_id=image.id,
                annotation_id=annotation_id,
                target=target,
                project=project,
                remote_id=remote_id,
                who=who,
                wanted=dict(state),
            )
            session.add(row)
    session.flush()


def open_conflicts(
    session: Session, *, dataset_id: int, image_id: int | None = None, after: int = 0, limit: int = 50
) -> Sequence[LabelConflict]:
    """Conflicts of a data set, or of one picture of it, for which nobody has chosen yet, the oldest first.

    Args: after: id of the last one of the page before.
    """
    asked = select(LabelConflict).where(LabelConflict.dataset_id == dataset_id, LabelConflict.choice == "")
    if image_id is not None:
        asked = asked.where(LabelConflict.image_id == image_id)
    return session.exec(asked.where(LabelConflict.id > after).order_by(col(LabelConflict.id)).limit(limit)).all()


def locked_conflict(session: Session, *, conflict_id: int) -> LabelConflict | None:
    """One conflict, for whoever chooses; None when there is none of that id."""
    asked = select(LabelConflict).where(LabelConflict.id == conflict_id).with_for_update()
    return session.exec(asked.execution_options(populate_existing=True)).first()


def mark_conflict(session: Session, *, conflict: LabelConflict, choice: Choice, who: str) -> None:
    """Note what became of a conflict."""
    conflict.choice, conflict.chosen_by, conflict.chosen_at = choice, storable(who), now()
    session.flush()


def _with_annotations(
    session: Session, images: Sequence[Image], statuses: Collection[Status]
) -> list[PictureAnnotations]:
    found: dict[int, list[Annotation]] = {image.id: [] for image in images}
    wanted = (col(Annotation.image_id).in_(found), col(Annotation.status).in_(statuses))
    for annotation in session.exec(select(Annotation).where(*wanted).order_by(col(Annotation.id))):
        found[annotation.image_id].append(annotation)
    return [PictureAnnotations(image, tuple(found[image.id])) for image in images]
