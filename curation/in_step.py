"""Keeps a data set and its Label Studio project in step: pictures there, decisions back as edits of their annotators.

    python -m curation.in_step --dataset lids --template novel --follow

A decision names what its annotator was shown. Where somebody else changed the same thing since, that change stays and
the conflict is kept (curation/disputes.py) until a person chooses on the Curate page.
"""

from __future__ import annotations

import io
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import tyro

from curation.decode import Limits
from curation.home import database_url, home_folder, report_progress
from curation.images import PictureReader
from curation.label_studio import FACTS, LabelStudioError, Template, digest
from curation.pictures import write_atomic
from curation.records import DescriptionRecord, PictureRecord, RegionRecord
from curation.review import FILES, FOLDER, OVERLAP, Decision, Follower, LabelStudio, Project, Pushed, read_access
from curation.versions import state_of
from db.curate_queries import (
    AnnotationChange,
    EditConflictError,
    ImageChange,
    add_annotation_by_hand,
    annotation_state,
    edit_annotation,
    edit_image,
    get_annotation,
    history_page,
    image_state,
)
from db.engine import DatabaseError, Engine, Session, open_engine, reading, retrying
from db.models import AnnotationEdit, Image, now
from db.queries import count_images, get_dataset, get_image, storable
from db.version_queries import TaskState, find_task, keep_conflicts, last_ids, set_label, set_tasks, tasks_of

PICTURES = "pictures"  # folder of what the editor shows, below the server's document root
SIDE = 2048  # pixels of the longer side there; boxes are in percent
JPEG_QUALITY = 92
CHUNK = 100  # pictures made ready at a time
HISTORY = 200  # edits a page


@dataclass(frozen=True, slots=True)
class Conflict:
    """A decision that was not taken since somebody else changed the same. annotation_id: None for a whole picture."""

    image_id: int
    annotation_id: int | None
    who: str
    present: Mapping[str, Any]
    wanted: Mapping[str, Any]
    sentence: str

    @property
    def target(self) -> str:
        """What it is about, within its picture."""
        return next(iter(self.wanted)) if self.annotation_id is None else str(self.annotation_id)


@dataclass(slots=True)
class Settled:
    """What decisions came to. problems: one sentence each about what could not be taken."""

    decisions: int = 0
    edits: int = 0
    conflicts: list[Conflict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def project_name(label_studio: LabelStudio, project: Project) -> str:
    """What the database calls a project."""
    return f"{label_studio.url}/projects/{project.id}"


def settle(session: Session, decisions: Sequence[Decision], *, project: str, template: Template) -> Settled:
    """Make all decisions on one task into edits by their annotators. Doing it again changes nothing.

    Args: decisions: oldest first. project: as `project_name` has it.
    """
    settled, first = Settled(), decisions[0]
    seen = first.reading.seen
    image = get_image(session, image_id=seen.id)
    if image is None or image.sha256 != seen.sha256:
        settled.problems.append(f"{seen.file_name} is not in this database: task {first.task} was left alone.")
        return settled
    task = find_task(session, project=project, task_id=first.task)
    known = task.remote_updated_at if task else None
    if known is not None and known >= first.task_updated_at:
        return settled
    for decision in decisions:
        if known is None or decision.updated_at > known - OVERLAP:
            settled.decisions += 1
            _Settling(session, decision, image, project, template, settled).all()
    state = TaskState(
        image_id=image.id,
        task_id=first.task,
        pushed_hash=task.pushed_hash if task else "",
        pulled_at=now(),
        remote_updated_at=first.task_updated_at,
    )
    set_tasks(session, project=project, tasks=[state])
    return settled


class _Settling:
    """One decision being settled."""

    def __init__(
        self,
        session: Session,
        decision: Decision,
        image: Image,
        project: str,
        template: Template,
        settled: Settled,
    ) -> None:
        self.session, self.decision, self.image, self.template = session, decision, image, template
        self.settled, self.project, self.who = settled, project, decision.who
        self.before = {name: _field(image, name) for name in ("caption", "review", *FACTS)}
        self.mark = f"Label Studio annotation {decision.annotation}"
        self.history = _history(session, image.id)
        self.made = {  # by an earlier form of this decision: what was new then
            edit.reason: edit.annotation_id
            for edit in self.history
            if edit.what == "created" and edit.who == self.who and edit.reason.startswith(f"{self.mark}, ")
        }

    def all(self) -> None:
        """Regions first: a picture with accepted ones cannot be empty. What conflicts is kept, to be chosen from."""
        known = len(self.settled.conflicts)
        reading = self.decision.reading
        seen = dict(zip(reading.seen_keys, reading.seen.regions, strict=True))
        said = dict(zip(reading.said_keys, reading.said.regions, strict=True))
        gone = dict(self.made)
        for key in [*said, *(key for key in seen if key not in said)]:
            before, after = seen.get(key), said.get(key)
            if before is not None and before.id:
                self.known(before, after)
            for reason in self.new(key, before, after):
                gone.pop(reason, None)
        for annotation_id in gone.values():
            if annotation_id is not None:
                self.change(annotation_id, 1, {}, {"status": "deleted"})
        self.picture()
        keep_conflicts(
            self.session,
            image=self.image,
            project=self.project,
            remote_id=self.decision.annotation,
            who=self.who,
            wanted={each.target: (each.annotation_id, each.wanted) for each in self.settled.conflicts[known:]},
        )

    def known(self, before: RegionRecord, after: RegionRecord | None) -> None:
        """Descriptions that the database has."""
        now_said = {one.id: one for one in after.descriptions if one.id} if after else {}
        for was in before.descriptions:
            one = now_said.get(was.id)
            shown = {"xyxy": list(before.xyxy), "text": was.text, "status": was.status}
            wanted: dict[str, Any] = {"status": "deleted"}
            if after is not None and one is not None:
                wanted = {"xyxy": list(after.xyxy), "text": storable(one.text), "status": one.status}
            self.change(was.id, was.version, shown, wanted)

    def new(self, key: str, before: RegionRecord | None, after: RegionRecord | None) -> Iterator[str]:
        """Descriptions that it does not have yet, or has from this annotation; their marks."""
        if after is None:
            return
        region_id = before.id if before else 0
        descriptions = [one for one in after.descriptions if not one.id]
        if not after.descriptions and not region_id:
            facts = self.decision.reading.said.facts
            if not (text := facts.get("name") or facts.get("class")):
                name = self.decision.reading.said.file_name
                self.settled.problems.append(f"A new box of {name} has no description: write one in Label Studio.")
                return
            descriptions = [DescriptionRecord(text, source=f"human:{self.who}")]
        for number, one in enumerate(descriptions):
            reason = f"{self.mark}, region {storable(key)}, description {number + 1}"
            row_id = self.add(one, after, region_id, reason)
            region_id = region_id or row_id
            yield reason

    def add(self, one: DescriptionRecord, region: RegionRecord, region_id: int, reason: str) -> int:
        """A description that a person wrote, and so accepts, or one that our annotators proposed to the editor."""
        by_hand = not one.source or one.source.startswith("human:")
        status = "accepted" if by_hand and one.status == "pending" else one.status
        row = add_annotation_by_hand(
            self.session,
            image_id=self.image.id,
            who=self.who,
            xyxy=None if region_id else region.xyxy,
            text=one.text,
            region_id=region_id or None,
            status=status,
            source=one.source or f"human:{self.who}",
            score=one.score,
            reason=reason,
            key=f"{self.project} {reason}",
        )
        if reason in self.made:
            wanted = {"xyxy": list(region.xyxy), "text": storable(one.text), "status": status}
            self.change(row.id, 1, {}, wanted)
        else:
            self.settled.edits += 1
        return row.id

    def change(self, annotation_id: int, version: int, shown: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        """See that a description is as wanted; where others changed it since, only what its annotator changed."""
        row = get_annotation(self.session, annotation_id=annotation_id)
        if row is None or row.image_id != self.image.id:
            self.settled.problems.append(f"Region {annotation_id} is not one of picture {self.image.id}: left alone.")
            return
        ours = self.only_ours(annotation_id, version, row.version)
        present = annotation_state(row)
        todo = {
            name: value
            for name, value in wanted.items()
            if value != present[name] and (ours or name not in shown or value != shown[name])
        }
        if not todo:
            return
        if "xyxy" in todo:
            todo["xyxy"] = tuple(todo["xyxy"])
        try:
            edit_annotation(
                self.session,
                annotation_id=annotation_id,
                expected_version=row.version if ours else version,
                who=self.who,
                change=AnnotationChange(**todo),
                reason=self.mark,
            )
        except EditConflictError as conflict:
            self.conflict(annotation_id, conflict.present, conflict.wanted, str(conflict))
        else:
            self.settled.edits += 1

    def only_ours(self, annotation_id: int, version: int, present: int) -> bool:
        """Whether nobody but the annotator changed it since that version."""
        edits = history_page(self.session, image_id=self.image.id, annotation_id=annotation_id, limit=HISTORY)
        since = [edit for edit in edits if edit.version > version]
        return len(since) >= present - version and all(edit.who == self.who for edit in since)

    def picture(self) -> None:
        """Caption, review and facts; each is decided alone, since the editor knows no version of the whole picture."""
        seen, said = self.decision.reading.seen, self.decision.reading.said
        facts = FACTS if self.template == "novel" else ()
        change: dict[str, Any] = {}
        for name in ("caption", "review", *facts):
            was, wanted, is_now = _field(seen, name), storable(_field(said, name)), _field(self.image, name)
            ours = self.wrote(name)
            if wanted == is_now or (wanted == was and not ours):
                continue
            if self.before[name] != was and not ours:  # what our own regions reopened is nobody else's change
                words = f"the {name} of {said.file_name} was changed meanwhile: look at both versions and choose"
                self.conflict(None, {name: is_now}, {name: wanted}, words)
            elif name in FACTS:
                facts_now = change.get("facts", image_state(self.image)["facts"])
                kept = {key: text for key, text in facts_now.items() if key != name}
                change["facts"] = {**kept, name: wanted} if wanted else kept
            else:
                change[name] = wanted
        self.edit_picture(change)
        if facts and said.facts.get("class", "").strip():
            set_label(self.session, image_id=self.image.id, who=self.who, label=said.facts["class"])

    def wrote(self, name: str) -> bool:
        """Whether it was the annotator who last changed a field of the picture."""
        for edit in self.history:
            if edit.annotation_id is None and edit.before is not None:
                before, after = (
                    (state.get("facts") or {}).get(name, "") if name in FACTS else state[name]
                    for state in (edit.before, edit.after)
                )
                if before != after:
                    return edit.who == self.who
        return False

    def edit_picture(self, change: Mapping[str, Any]) -> None:
        """Edit it, without its review where that contradicts its regions."""
        if not change:
            return
        try:
            edit_image(
                self.session,
                image_id=self.image.id,
                expected_version=self.image.version,
                who=self.who,
                change=ImageChange(**change),
                reason=self.mark,
            )
            self.settled.edits += 1
        except ValueError as error:
            self.settled.problems.append(str(error))
            self.edit_picture({name: value for name, value in change.items() if name != "review"})

    def conflict(
        self, annotation_id: int | None, present: Mapping[str, Any], wanted: Mapping[str, Any], words: str
    ) -> None:
        """Keep what is there, and report."""
        self.settled.conflicts.append(Conflict(self.image.id, annotation_id, self.who, present, wanted, words))


def _history(session: Session, image_id: int) -> list[AnnotationEdit]:
    """All edits of a picture and its regions, newest first."""
    found: list[AnnotationEdit] = []
    while page := history_page(session, image_id=image_id, before=found[-1].id if found else None, limit=HISTORY):
        found += page
    return found


def _field(picture: PictureRecord | Image, name: str) -> str:
    return (picture.facts or {}).get(name, "") if name in FACTS else str(getattr(picture, name))


def address(record: PictureRecord) -> str:
    """Where the editor finds a picture: no name of a person's is in it."""
    return f"/data/local-files/?d={PICTURES}/{_shown(record.sha256)}"


def _shown(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}.jpg"


class InStep:
    """A data set and its project; `pull` is what a Follower polls."""

    def __init__(
        self, engine: Engine, label_studio: LabelStudio, project: Project, *, dataset_id: int, home: Path
    ) -> None:
        """home: GRAIN_HOME; reduced copies of the pictures lie below it."""
        self.label_studio, self.project = label_studio, project
        self.name = project_name(label_studio, project)
        self.engine, self.dataset_id = engine, dataset_id
        self._pictures = pictures_folder(home)
        self._step = home / FOLDER / f"step-{project.id}.json"

    def push(self, limits: Limits | None = None, *, on_progress: Callable[[int], object] = lambda done: None) -> Pushed:
        """See that each picture has an up-to-date task.

        Args:   on_progress: told how many pictures have been looked at.
        Raises: LabelStudioError: the server does not answer; the next push does the rest.
        """
        refused: dict[str, str] = {}
        digests: dict[str, tuple[int, str]] = {}

        def records() -> Iterator[PictureRecord]:
            visible = state_of(self.engine, self.dataset_id, statuses=("pending", "accepted", "rejected"))
            with PictureReader(limits, side=SIDE) as reader:
                while chunk := list(islice(visible, CHUNK)):
                    refused.update(self._copy(reader, chunk))
                    for record in chunk:
                        on_progress(len(digests) + len(refused))
                        if record.sha256 not in refused:
                            digests[record.sha256] = record.id, digest(record)
                            yield record

        pushed = self.label_studio.push(self.project, records(), address)
        pushed.refused |= refused
        retrying(self.engine, lambda session: self._keep(session, pushed, digests))
        return pushed

    def pull(self) -> Settled:
        """Make what people decided since the last pull into edits.

        Raises: LabelStudioError: the server does not answer; the next pull does all of it.
        """
        pulled = self.label_studio.pull(self.project, self._since())
        total = Settled(problems=list(pulled.problems.values()))
        by_task: dict[int, list[Decision]] = {}
        for decision in pulled.decisions:
            by_task.setdefault(decision.task, []).append(decision)
        for decisions in by_task.values():
            settled = retrying(self.engine, partial(self._settle, decisions))
            total.decisions += settled.decisions
            total.edits += settled.edits
            total.conflicts += settled.conflicts
            total.problems += settled.problems
        write_atomic(self._step, json.dumps({"until": pulled.until.isoformat()}).encode())
        return total

    def _settle(self, decisions: Sequence[Decision], session: Session) -> Settled:
        return settle(session, decisions, project=self.name, template=self.project.template)

    def _since(self) -> datetime | None:
        """Where the last pull ended; None asks for everything, which costs time and nothing else."""
        try:
            return datetime.fromisoformat(json.loads(self._step.read_text())["until"])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def _copy(self, reader: PictureReader, records: Sequence[PictureRecord]) -> dict[str, str]:
        """Make the copies that the editor shows; one sentence for each picture that cannot be had."""
        missing = [record.id for record in records if not (self._pictures / _shown(record.sha256)).exists()]
        with reading(self.engine) as session:
            rows = [row for row in (get_image(session, image_id=image_id) for image_id in missing) if row]
        refused = {}
        for row, picture in reader.open_images(rows):
            if isinstance(picture, str):
                refused[row.sha256] = picture
                continue
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
            write_atomic(self._pictures / _shown(row.sha256), buffer.getvalue(), lasting=False)
        return refused

    def _keep(self, session: Session, pushed: Pushed, digests: Mapping[str, tuple[int, str]]) -> None:
        """Note the tasks, and leave what is known of decisions."""
        known = tasks_of(session, project=self.name, image_ids=[image_id for image_id, _ in digests.values()])
        states = []
        for sha256, task_id in pushed.tasks.items():
            image_id, pushed_hash = digests[sha256]
            old = known.get(image_id)
            same = old if old and old.task_id == task_id else None
            moments = (same.pulled_at, same.remote_updated_at) if same else (None, None)
            states.append(TaskState(image_id, task_id, pushed_hash, *moments))
        set_tasks(session, project=self.name, tasks=states)


def pictures_folder(home: Path) -> Path:
    """What `LabelStudio.ensure_project` is to show."""
    return home / FOLDER / FILES / PICTURES


@dataclass(frozen=True)
class InStepConfig:
    """What can be chosen."""

    dataset: str
    """Name of the data set."""
    template: Template = "regions"
    """regions: judge boxes and their descriptions. novel: also say what product a picture shows."""
    title: str = ""
    """Of the project in Label Studio; "" for the data set's name."""
    do: Literal["both", "push", "pull"] = "both"
    """push: pictures there. pull: decisions back."""
    follow: bool = False
    """Go on until interrupted."""
    app: str = ""
    """Address of the running app, as http://127.0.0.1:7860, whose annotators Label Studio then asks."""


def command_line(config: InStepConfig) -> list[str]:
    """The words that run it from a terminal, after the name of Python."""
    values = {"dataset": config.dataset, "template": config.template, "title": config.title, "do": config.do}
    words = [f"--{name}={value}" for name, value in (values | {"app": config.app}).items() if value]
    return ["-m", "curation.in_step", *words, *["--follow"] * config.follow]


def connect(label_studio: LabelStudio, project: Project, app: str, secret: str) -> str:
    """Let a project ask the app's annotators and tell it of edits; one sentence where it cannot, for both can wait."""
    try:
        label_studio.ensure_webhook(project, f"{app}/label-studio/webhook", secret)
        label_studio.ensure_backend(project, f"{app}/label-studio", secret)
    except LabelStudioError as error:
        return f"The app's annotators are not connected: {error}"
    return ""


def open_step(config: InStepConfig, home: Path, engine: Engine) -> InStep:
    """The data set with its project, made where there is none.

    Raises: LabelStudioError: no server, no such data set, or a title that does not suit.
    """
    access = read_access(home)
    if access is None:
        raise LabelStudioError("There is no Label Studio: start it with make label-studio.")
    with reading(engine) as session:
        dataset = get_dataset(session, name=config.dataset)
    if dataset is None:
        raise LabelStudioError(f"There is no data set {config.dataset!r}: import it first.")
    pictures = pictures_folder(home)
    pictures.mkdir(parents=True, exist_ok=True)
    label_studio = LabelStudio(access)
    title = config.title or config.dataset
    project = label_studio.ensure_project(title, config.template, pictures=pictures)
    if config.app and (problem := connect(label_studio, project, config.app.rstrip("/"), access.secret)):
        print(problem, file=sys.stderr)
    return InStep(engine, label_studio, project, dataset_id=dataset.id, home=home)


@dataclass
class Keeping:
    """One round after the other: pictures there where anything changed here, decisions back; each says what it did."""

    step: InStep
    config: InStepConfig
    _pushed: tuple[int, int, int] | None = None  # the newest of each thing here when the last push began

    def __call__(self) -> None:
        """A round.

        Raises: LabelStudioError: the server does not answer; the next round does all of it.
        """
        with reading(self.step.engine) as session:
            newest = last_ids(session)
        if self.config.do != "pull" and newest != self._pushed:
            self._push()
            self._pushed = newest
        if self.config.do != "push":
            self._pull()

    def _push(self) -> None:
        with reading(self.step.engine) as session:
            total = count_images(session, dataset_id=self.step.dataset_id)
        pushed = self.step.push(on_progress=lambda done: report_progress(done, total, "pictures to Label Studio"))
        if pushed.added or pushed.changed or not self.config.follow:
            said = f"{pushed.added:,} new, {pushed.changed:,} changed, {pushed.same:,} as they were"
            print(f"pictures: {said}", flush=True)
            report_progress(total, total, f"pictures: {said}")
        for name, sentence in pushed.refused.items():
            print(f"{name[:12]}: {sentence}", file=sys.stderr)

    def _pull(self) -> None:
        settled = self.step.pull()
        if settled.decisions or not self.config.follow:
            said = f"{settled.decisions:,} decisions, {settled.edits:,} edits, {len(settled.conflicts):,} conflicts"
            print(said, flush=True)
            report_progress(1, 1, said)
        for sentence in [*settled.problems, *(conflict.sentence for conflict in settled.conflicts)]:
            print(sentence, file=sys.stderr)
        if settled.conflicts:
            print("Both versions stand under Label Studio on the Curate page: choose there.", file=sys.stderr)


def main(config: InStepConfig) -> None:
    """The command line."""
    home = home_folder()
    engine = open_engine(database_url(home))
    step = open_step(config, home, engine)
    keeping = Keeping(step, config)
    if not config.follow:
        keeping()
        return
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    follower = Follower(keeping)
    follower.start()
    ended.wait()
    follower.stop()


if __name__ == "__main__":
    try:
        main(tyro.cli(InStepConfig, description=__doc__))
    except (LabelStudioError, DatabaseError) as error:
        sys.exit(f"curation.in_step: {error}")
