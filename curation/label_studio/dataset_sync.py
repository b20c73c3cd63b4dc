"""Push a data set's pictures to its Label Studio project, and pull people's decisions back as edits."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path

from atomic_files import write_atomically
from curation.files.decode import Limits
from curation.files.images import PictureReader
from curation.files.records import PictureRecord
from curation.label_studio.access import FILES, FOLDER
from curation.label_studio.apply_decisions import PullSummary, apply_decisions, keep_unread
from curation.label_studio.client import LabelStudio
from curation.label_studio.convert import digest
from curation.label_studio.decisions import Decision, list_annotations, read_decisions
from curation.label_studio.projects import Project, project_name
from curation.label_studio.push import PushSummary, push_pictures
from curation.versions.state import state_of
from db.engine import Engine, Session, reading, retrying
from db.queries.data_set_queries import get_image
from db.queries.label_studio_queries import (
    TaskState,
    forget_tasks,
    mark_deleted,
    set_tasks,
    task_contents,
    tasks_of,
    tasks_with_leftovers,
)

PICTURES = "pictures"  # folder of what the editor shows, below the server's document root
SIDE = 2048  # pixels of the longer side there; boxes are in percent
JPEG_QUALITY = 92
CHUNK = 100  # pictures made ready at a time


class Sync:
    """A data set and its project; `pull` is what a Follower polls."""

    def __init__(
        self, engine: Engine, label_studio: LabelStudio, project: Project, *, dataset_id: int, home: Path
    ) -> None:
        """home: GRAIN_HOME; reduced copies of the pictures lie below it."""
        self.label_studio, self.project = label_studio, project
        self.name = project_name(label_studio, project)
        self.engine, self.dataset_id = engine, dataset_id
        self._pictures = pictures_folder(home)
        self._state_file = home / FOLDER / f"step-{project.id}.json"

    def push(
        self,
        limits: Limits | None = None,
        *,
        only: Collection[int] | None = None,
        on_progress: Callable[[int], object] = lambda done: None,
    ) -> PushSummary:
        """See that each picture has an up-to-date task; one whose task somebody deleted there gets none again.

        Args:   only: ids of the pictures to push, also those whose tasks were deleted; None for all others.
                on_progress: told how many pictures have been looked at.
        Raises: LabelStudioError: the server does not answer; the next push does the rest.
        """
        refused: dict[str, str] = {}
        digests: dict[str, tuple[int, str]] = {}

        def records() -> Iterator[PictureRecord]:
            every = state_of(self.engine, self.dataset_id, statuses=("pending", "accepted", "rejected"))
            visible = (record for record in every if only is None or record.id in only)
            with PictureReader(limits, side=SIDE) as reader:
                while chunk := list(islice(visible, CHUNK)):
                    refused.update(self._copy_pictures(reader, chunk))
                    for record in chunk:
                        on_progress(len(digests) + len(refused))
                        if record.sha256 not in refused:
                            digests[record.sha256] = record.id, digest(record)
                            yield record

        if self.project.made:  # a server that was set up again gives old numbers to new projects
            retrying(self.engine, lambda session: forget_tasks(session, project=self.name))
        with reading(self.engine) as session:
            known = task_contents(session, project=self.name) if only is None else {}
        pushed = push_pictures(self.label_studio, self.project, records(), address=picture_address, known=known)
        pushed.refused |= refused
        self.project = replace(self.project, made=False)  # from now on, what is gone there was deleted
        retrying(self.engine, lambda session: self._save_tasks(session, pushed, digests))
        return pushed

    def pull(self) -> PullSummary:
        """Make what people decided since the last pull into edits.

        Raises: LabelStudioError: the server does not answer; the next pull does all of it.
        """
        pulled = read_decisions(self.label_studio, self.project, self._last_pull())
        with reading(self.engine) as session:
            left = set(tasks_with_leftovers(session, project=self.name)) - pulled.annotations.keys()
        # a task without annotations is not among those that were decided, and one that was deleted is nowhere
        there = list_annotations(self.label_studio, self.project, left) | dict(pulled.annotations)
        pulled = replace(pulled, annotations=there)
        total = retrying(self.engine, lambda session: keep_unread(session, pulled, project=self.name))
        by_task: dict[int, list[Decision]] = {}
        for decision in pulled.decisions:
            by_task.setdefault(decision.task, []).append(decision)
        for decisions in by_task.values():
            summary = retrying(self.engine, partial(self._apply, decisions))
            total.decisions += summary.decisions
            total.edits += summary.edits
            total.conflicts += summary.conflicts
            total.problems += summary.problems
        write_atomically(self._state_file, json.dumps({"until": pulled.until.isoformat()}))
        return total

    def _apply(self, decisions: Sequence[Decision], session: Session) -> PullSummary:
        return apply_decisions(session, decisions, project=self.name, template=self.project.template)

    def _last_pull(self) -> datetime | None:
        """Return where the last pull ended; None asks for everything, which costs time and nothing else."""
        try:
            return datetime.fromisoformat(json.loads(self._state_file.read_text())["until"])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def _copy_pictures(self, reader: PictureReader, records: Sequence[PictureRecord]) -> dict[str, str]:
        """Make the copies that the editor shows; return one sentence for each picture that cannot be had."""
        missing = [record.id for record in records if not (self._pictures / _copy_name(record.sha256)).exists()]
        with reading(self.engine) as session:
            rows = [row for row in (get_image(session, image_id=image_id) for image_id in missing) if row]
        refused = {}
        for row, picture in reader.open_images(rows):
            if isinstance(picture, str):
                refused[row.sha256] = picture
                continue
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
            write_atomically(self._pictures / _copy_name(row.sha256), buffer.getvalue(), sync="content")
        return refused

    def _save_tasks(self, session: Session, pushed: PushSummary, digests: Mapping[str, tuple[int, str]]) -> None:
        """Save the tasks, and leave what is known of decisions."""
        known = tasks_of(session, project=self.name, image_ids=[image_id for image_id, _ in digests.values()])
        states = []
        for sha256, task_id in pushed.tasks.items():
            image_id, pushed_hash = digests[sha256]
            old = known.get(image_id)
            same = old if old and old.task_id == task_id else None
            pulled = (same.pulled_at, same.remote_updated_at, same.taken) if same else ()
            states.append(TaskState(image_id, task_id, pushed_hash, *pulled))
        set_tasks(session, project=self.name, tasks=states)
        for sha256 in pushed.deleted:
            mark_deleted(session, project=self.name, task_id=pushed.deleted[sha256])


def pictures_folder(home: Path) -> Path:
    """Return the folder of pictures that `ensure_project` is to show."""
    return home / FOLDER / FILES / PICTURES


def picture_address(record: PictureRecord) -> str:
    """Return where the editor finds a picture: no name of a person's is in it."""
    return f"/data/local-files/?d={PICTURES}/{_copy_name(record.sha256)}"


def _copy_name(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}.jpg"
