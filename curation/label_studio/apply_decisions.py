"""Apply decisions of Label Studio to the database, as edits of the annotators who took them.

A decision names what its annotator was shown. Where somebody else changed the same thing since, that change stays and
the conflict is kept (curation/label_studio/conflicts.py) until a person chooses on the Curate page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any

from curation.files.records import CLASS, DescriptionRecord, PictureRecord, RegionRecord
from curation.label_studio.convert import FACTS, Template
from curation.label_studio.decisions import Decision, DecisionBatch, UnreadAnnotation
from db.engine import Session
from db.models import Image, LabelTask, RegionEdit, now
from db.queries.concept_label_queries import NONE_OF_THESE, set_label
from db.queries.concept_queries import get_concept_set
from db.queries.curate_queries import add_region_by_hand, edit_image, edit_region
from db.queries.data_set_queries import get_image
from db.queries.edit_conflicts import EditConflictError
from db.queries.edit_values import ImageChange, RegionChange
from db.queries.history_queries import history_page, image_state, region_state
from db.queries.label_studio_queries import (
    TaskState,
    drop_leftovers,
    find_task,
    has_leftovers,
    keep_conflicts,
    keep_leftovers,
    set_tasks,
)
from db.queries.region_queries import get_region
from db.queries.values import storable

HISTORY = 200  # edits a page


@dataclass(frozen=True, slots=True)
class DetectedConflict:
    """A decision that was not taken since somebody else changed the same. region_id: None for a whole picture."""

    image_id: int
    region_id: int | None
    who: str
    present: Mapping[str, Any]
    wanted: Mapping[str, Any]
    sentence: str

    @property
    def target(self) -> str:
        """Return the name of what it is about, within its picture."""
        return next(iter(self.wanted)) if self.region_id is None else str(self.region_id)


@dataclass(slots=True)
class PullSummary:
    """The result of decisions. problems: one sentence each about what could not be taken."""

    decisions: int = 0
    edits: int = 0
    conflicts: list[DetectedConflict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def apply_decisions(
    session: Session, decisions: Sequence[Decision], *, project: str, template: Template
) -> PullSummary:
    """Make all decisions on one task into edits by their annotators. Doing it again changes nothing.

    Args: decisions: oldest first. project: as `project_name` has it.
    """
    summary, first = PullSummary(), decisions[0]
    seen = first.reading.seen
    image = get_image(session, image_id=seen.id)
    if image is None or image.sha256 != seen.sha256:
        summary.problems.append(f"{seen.file_name} is not in this database: task {first.task} was left alone.")
        return summary
    task = find_task(session, project=project, task_id=first.task)
    known = task.remote_updated_at if task else None
    if known is not None and known >= first.task_updated_at:
        return summary
    for decision in decisions:
        if not _was_taken(task, decision):
            summary.decisions += 1
            _DecisionEdits(session, decision, image, project=project, template=template, summary=summary).apply()
    taken = (task.taken if task else None) or {}
    state = TaskState(
        image_id=image.id,
        task_id=first.task,
        pushed_hash=task.pushed_hash if task else "",
        pulled_at=now(),
        remote_updated_at=first.task_updated_at,
        taken=taken | {str(each.annotation): _moment(each) for each in decisions},
    )
    set_tasks(session, project=project, tasks=[state])
    return summary


def keep_unread(session: Session, batch: DecisionBatch, *, project: str) -> PullSummary:
    """Keep annotations of which nothing can be taken, and forget what was left of those that are gone."""
    summary = PullSummary(problems=[f"Task {each.task}: {' '.join(each.reasons)}" for each in batch.unread])
    for task_id, there in batch.annotations.items():
        drop_leftovers(session, project=project, task_id=task_id, but=there)
    for each in batch.unread:
        task = find_task(session, project=project, task_id=each.task)
        image = get_image(session, image_id=task.image_id) if task else None
        if image is not None:
            summary.edits += keep_left(session, image, each, project=project)
    return summary


def keep_left(session: Session, image: Image, left: UnreadAnnotation, *, project: str) -> int:
    """Keep what could not be taken of an annotation; return how many edits that took.

    An image of which something new was left is open again: the person who looks at it and reviews it is believed.
    """
    named: dict[str, Any] = {"task_id": left.task, "remote_id": left.annotation, "who": left.who}
    if not keep_leftovers(session, image=image, project=project, reasons=left.reasons, **named):
        return 0
    if image.review == "open":
        return 0
    edit_image(
        session,
        image_id=image.id,
        expected_version=image.version,
        who=left.who,
        change=ImageChange(review="open"),
        reason=_mark(left.annotation),
    )
    return 1


def _was_taken(task: LabelTask | None, decision: Decision) -> bool:
    """Return whether an annotation was taken as it is now: what people edited here since would be reverted by it."""
    if task is None or task.remote_updated_at is None:
        return False
    if task.taken is None:  # by an earlier release
        return decision.updated_at <= task.remote_updated_at
    return task.taken.get(str(decision.annotation)) == _moment(decision)


def _moment(decision: Decision) -> str:
    return decision.updated_at.astimezone(UTC).isoformat()


def _mark(annotation: int) -> str:
    return f"Label Studio annotation {annotation}"


class _DecisionEdits:
    """The edits of one decision. summary: counts them."""

    def __init__(
        self,
        session: Session,
        decision: Decision,
        image: Image,
        *,
        project: str,
        template: Template,
        summary: PullSummary,
    ) -> None:
        self.session, self.decision, self.image, self.template = session, decision, image, template
        self.summary, self.project, self.who = summary, project, decision.who
        self.before = {name: _field(image, name) for name in ("caption", "review", *FACTS)}
        self.left = list(decision.reading.left)
        self.mark = _mark(decision.annotation)
        self.history = _history(session, image.id)
        self.made = {  # by an earlier form of this decision: what was new then
            edit.reason: edit.region_id
            for edit in self.history
            if edit.what == "created" and edit.who == self.who and edit.reason.startswith(f"{self.mark}, ")
        }

    def apply(self) -> None:
        """Apply regions first: a picture with accepted ones cannot be empty. Keep conflicts, to be chosen from."""
        known = len(self.summary.conflicts)
        reading = self.decision.reading
        seen = dict(zip(reading.seen_keys, reading.seen.regions, strict=True))
        annotated = dict(zip(reading.annotated_keys, reading.annotated.regions, strict=True))
        gone = dict(self.made)
        for key in [*annotated, *(key for key in seen if key not in annotated)]:
            before, after = seen.get(key), annotated.get(key)
            if before is not None and before.id:
                self.apply_known(before, after)
            for reason in self.apply_new(key, before, after):
                gone.pop(reason, None)
        for region_id in gone.values():
            if region_id is not None:
                self.change(region_id, 1, shown={}, wanted={"status": "deleted"})
        labels_classes = self.template == "novel" and self.keep_label()
        self.keep_left()
        self.apply_image_fields(labels_classes)
        keep_conflicts(
            self.session,
            image=self.image,
            project=self.project,
            remote_id=self.decision.annotation,
            who=self.who,
            wanted={each.target: (each.region_id, each.wanted) for each in self.summary.conflicts[known:]},
        )

    def keep_left(self) -> None:
        """Keep what could not be taken, for the page, and tell it."""
        decision = self.decision
        left = UnreadAnnotation(decision.task, decision.annotation, self.who, tuple(self.left))
        self.summary.edits += keep_left(self.session, self.image, left, project=self.project)
        name = self.decision.reading.annotated.file_name
        self.summary.problems += [f"{name}, task {self.decision.task}: {sentence}" for sentence in self.left]

    def apply_known(self, before: RegionRecord, after: RegionRecord | None) -> None:
        """Change a region's descriptions that the database has."""
        after_by_id = {one.id: one for one in after.descriptions if one.id} if after else {}
        mine = set(self.made.values()) if after is None else set()  # pushed back to it: it has them by another name
        for was in before.descriptions:
            if was.id in mine:
                continue
            one = after_by_id.get(was.id)
            shown = {"xyxy": list(before.xyxy), "text": was.text, "status": was.status}
            wanted: dict[str, Any] = {"status": "deleted"}
            if after is not None and one is not None:
                wanted = {"xyxy": list(after.xyxy), "text": storable(one.text), "status": one.status}
            self.change(was.id, was.version, shown=shown, wanted=wanted)

    def apply_new(self, key: str, before: RegionRecord | None, after: RegionRecord | None) -> Iterator[str]:
        """Add descriptions that the database does not have yet, or has from this annotation; yield their marks."""
        if after is None:
            return
        box_id = before.id if before else 0
        descriptions = [one for one in after.descriptions if not one.id]
        if not after.descriptions and not box_id:
            facts = self.decision.reading.annotated.facts
            if not (text := facts.get("name") or facts.get(CLASS)):
                self.left.append("A new box has no description: write one in Label Studio.")
                return
            descriptions = [DescriptionRecord(text, source=f"human:{self.who}")]
        for number, one in enumerate(descriptions):
            reason = f"{self.mark}, region {storable(key)}, description {number + 1}"
            row_id = self.add(one, after, box_id=box_id, reason=reason)
            box_id = box_id or row_id
            yield reason

    def add(self, one: DescriptionRecord, region: RegionRecord, *, box_id: int, reason: str) -> int:
        """Add a description that a person wrote, and so accepts, or one that our annotators proposed to the editor.

        Args:    box_id: of the box that it is added to; 0 draws a new one.
        Returns: the row's id.
        """
        by_hand = not one.source or one.source.startswith("human:")
        status = "accepted" if by_hand and one.status == "pending" else one.status
        row = add_region_by_hand(
            self.session,
            image_id=self.image.id,
            who=self.who,
            xyxy=None if box_id else region.xyxy,
            text=one.text,
            box_id=box_id or None,
            status=status,
            source=one.source or f"human:{self.who}",
            score=one.score,
            reason=reason,
            key=f"{self.project} {reason}",
        )
        if reason in self.made:
            wanted = {"xyxy": list(region.xyxy), "text": storable(one.text), "status": status}
            self.change(row.id, 1, shown={}, wanted=wanted)
        else:
            self.summary.edits += 1
        return row.id

    def change(self, region_id: int, version: int, *, shown: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        """See that a description is as wanted; where others changed it since, only what its annotator changed."""
        row = get_region(self.session, region_id=region_id)
        if row is None or row.image_id != self.image.id:
            self.summary.problems.append(f"Region {region_id} is not one of picture {self.image.id}: left alone.")
            return
        ours = self.only_ours(region_id, version, row.version)
        present = region_state(row)
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
            edit_region(
                self.session,
                region_id=region_id,
                expected_version=row.version if ours else version,
                who=self.who,
                change=RegionChange(**todo),
                reason=self.mark,
            )
        except EditConflictError as conflict:
            # what others have decided alike meanwhile was no part of the edit
            self.keep_conflict(region_id, conflict.present, {**conflict.wanted, **wanted}, sentence=str(conflict))
        else:
            self.summary.edits += 1

    def only_ours(self, region_id: int, version: int, present: int) -> bool:
        """Check that nobody but the annotator changed a region since that version."""
        edits = history_page(self.session, image_id=self.image.id, region_id=region_id, limit=HISTORY)
        since = [edit for edit in edits if edit.version > version]
        return len(since) >= present - version and all(edit.who == self.who for edit in since)

    def keep_label(self) -> bool:
        """Keep the class that the annotator wrote as a label; one that was only shown is nobody's.

        Returns: whether the data set has classes: two labels decide a picture's then, and this one alone does not.
        """
        concept = get_concept_set(self.session, dataset_id=self.image.dataset_id)
        classes = [str(one["name"]) for one in concept.classes] if concept else []
        reading = self.decision.reading
        seen, written = (record.facts.get(CLASS, "").strip() for record in (reading.seen, reading.annotated))
        if not written or (classes and written == seen):
            return bool(classes)
        names = {name.casefold(): name for name in (*classes, NONE_OF_THESE)} if classes else {}
        label = names.get(written.casefold(), "" if classes else written)
        if label:
            set_label(self.session, image_id=self.image.id, who=self.who, label=label)
        else:
            self.left.append(f"“{written}” is none of the classes of this set: write the name of one, as {classes[0]}.")
        return bool(classes)

    def apply_image_fields(self, labels_classes: bool) -> None:
        """Apply caption, review and facts, each alone, since the editor knows no version of the whole picture."""
        seen, annotated = self.decision.reading.seen, self.decision.reading.annotated
        if has_leftovers(self.session, image_id=self.image.id):  # of this annotation or another: somebody must look
            annotated = replace(annotated, review="open")
        facts = [name for name in FACTS if name != CLASS or not labels_classes] if self.template == "novel" else []
        change: dict[str, Any] = {}
        for name in ("caption", "review", *facts):
            was, wanted, is_now = _field(seen, name), storable(_field(annotated, name)), _field(self.image, name)
            ours = self.wrote(name)
            if wanted == is_now or (wanted == was and not ours):
                continue
            if self.before[name] != was and not ours:  # what our own regions reopened is nobody else's change
                words = f"the {name} of {annotated.file_name} was changed meanwhile: look at both versions and choose"
                self.keep_conflict(None, {name: is_now}, {name: wanted}, sentence=words)
            elif name in FACTS:
                facts_now = change.get("facts", image_state(self.image)["facts"])
                kept = {key: text for key, text in facts_now.items() if key != name}
                change["facts"] = {**kept, name: wanted} if wanted else kept
            else:
                change[name] = wanted
        self.edit_picture(change)

    def wrote(self, name: str) -> bool:
        """Check that it was the annotator who last changed a field of the picture."""
        for edit in self.history:
            if edit.region_id is None and edit.before is not None:
                before, after = (
                    (state.get("facts") or {}).get(name, "") if name in FACTS else state[name]
                    for state in (edit.before, edit.after)
                )
                if before != after:
                    return edit.who == self.who
        return False

    def edit_picture(self, change: Mapping[str, Any]) -> None:
        """Edit the picture, without its review where that contradicts its regions."""
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
            self.summary.edits += 1
        except ValueError as error:
            self.summary.problems.append(str(error))
            self.edit_picture({name: value for name, value in change.items() if name != "review"})

    def keep_conflict(
        self, region_id: int | None, present: Mapping[str, Any], wanted: Mapping[str, Any], *, sentence: str
    ) -> None:
        """Leave what is there, and report what was wanted."""
        conflict = DetectedConflict(self.image.id, region_id, self.who, present, wanted, sentence)
        self.summary.conflicts.append(conflict)


def _history(session: Session, image_id: int) -> list[RegionEdit]:
    """Return all edits of a picture and its regions, newest first."""
    found: list[RegionEdit] = []
    while page := history_page(session, image_id=image_id, before=found[-1].id if found else None, limit=HISTORY):
        found += page
    return found


def _field(picture: PictureRecord | Image, name: str) -> str:
    return (picture.facts or {}).get(name, "") if name in FACTS else str(getattr(picture, name))
