"""Edits of regions and pictures, by name: with their history, undone one by one. Habits as in db/queries.py.

Every edit names the version that its editor saw. The second of two gets both states to choose from; what was
acknowledged stands in the history, which nothing ever changes.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import case, exists, func, or_
from sqlalchemy import select as select_rows
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select, update

from db.gallery_queries import tally
from db.models import Annotation, AnnotationEdit, Image, Review, StageResult, Status, What
from db.queries import IN_LIST, STATUSES, NewAnnotation, bad_box, batches, storable

BOX = ("x1", "y1", "x2", "y2")
DECIDED = ("xyxy", "text", "status", "source")  # what an undo puts back, and so must find as it was left
PAUSE_SECONDS = 300  # without an edit: whoever made none for longer did something else
VERDICTS: dict[Status, What] = {
    "pending": "reopened",
    "accepted": "accepted",
    "rejected": "rejected",
    "deleted": "deleted",
}


class EditConflictError(RuntimeError):
    """Somebody else was quicker: nothing is written, and the editor may choose between the versions.

    annotation_id: None where it is about a picture as a whole. present, version, by: how it is now, and whose last edit
    that is ("" where it has none). started_from: the state that the editor saw, None where the history does not know
    it. wanted: that state with the editor's change.
    """

    def __init__(
        self,
        *,
        image_id: int,
        annotation_id: int | None,
        present: dict[str, Any],
        version: int,
        by: str,
        started_from: dict[str, Any] | None,
        wanted: dict[str, Any],
    ) -> None:
        what = f"picture {image_id}" if annotation_id is None else f"region {annotation_id}"
        super().__init__(f"{what} was changed by {by or 'somebody'} meanwhile: look at both versions and choose")
        self.image_id, self.annotation_id = image_id, annotation_id
        self.present, self.version, self.by = present, version, by
        self.started_from, self.wanted = started_from, wanted


@dataclass(frozen=True)
class AnnotationChange:
    """What an edit sets; None leaves as it is. xyxy: normalized to the upright picture.

    similarity, disagreement: GRAIN's of the new box or text. When either changes and they are not given, they are
    forgotten, since they were said of another region.
    """

    xyxy: tuple[float, float, float, float] | None = None
    text: str | None = None
    status: Status | None = None
    source: str | None = None
    similarity: float | None = None
    disagreement: float | None = None


@dataclass(frozen=True)
class ImageChange:
    """What an edit of a picture as a whole sets; None leaves as it is. facts: all of them, by name."""

    caption: str | None = None
    facts: Mapping[str, str] | None = None
    review: Review | None = None


@dataclass(frozen=True)
class Throughput:
    """How many edits of one kind a person made on a day, UTC, as 2026-11-25, and the time they took.

    seconds: from the person's edit before to each of these, pauses longer than PAUSE_SECONDS not counted.
    """

    who: str
    day: str
    what: What
    edits: int
    seconds: float


def annotation_state(annotation: Annotation) -> dict[str, Any]:
    """A region as the history keeps it: plain JSON."""
    kept = ("text", "status", "score", "source", "similarity", "disagreement", "region_id")
    return {"xyxy": [getattr(annotation, side) for side in BOX]} | {name: getattr(annotation, name) for name in kept}


def image_state(image: Image) -> dict[str, Any]:
    """A picture as the history keeps it: plain JSON."""
    return {"caption": image.caption, "facts": dict(image.facts or {}), "review": image.review}


def get_annotation(session: Session, *, annotation_id: int) -> Annotation | None:
    """One region, deleted or not; None when there is none of that id."""
    return session.get(Annotation, annotation_id)


def region_of(session: Session, *, annotation_id: int) -> list[Annotation]:
    """All descriptions of a region's box, deleted or not, the first one first; empty when there is no such region."""
    return _region(session, annotation_id, lock=False)


def regions_as_made(
    session: Session, *, image_ids: Collection[int], recipe: str
) -> dict[int, list[NewAnnotation] | None]:
    """What a recipe found in some pictures, by picture: as it came, whatever people made of it since.

    None: a region was changed and its history does not know from what.
    """
    found: dict[int, list[NewAnnotation] | None] = {image_id: [] for image_id in image_ids}
    for some in batches(image_ids, IN_LIST):
        asked = select(Annotation).join(StageResult, col(StageResult.id) == Annotation.stage_result_id)
        asked = asked.where(col(Annotation.image_id).in_(some), StageResult.recipe == recipe)
        rows = session.exec(asked.order_by(col(Annotation.id))).all()
        first = _first_states(session, [row.id for row in rows if row.version > 1])
        for row in rows:
            made = annotation_state(row) if row.version == 1 else first.get(row.id)
            regions = found[row.image_id]
            if made is None or regions is None:
                found[row.image_id] = None
                continue
            said = (made["text"], made["source"], made["score"])
            regions.append(NewAnnotation(row.image_id, tuple(made["xyxy"]), *said, description_id=row.description_id))
    return found


def add_annotation_by_hand(
    session: Session,
    *,
    image_id: int,
    who: str,
    xyxy: tuple[float, float, float, float] | None = None,
    text: str = "",
    region_id: int | None = None,
    status: Status = "accepted",
    source: str = "",
    score: float | None = None,
    from_model: str = "",
    reason: str = "",
    key: str = "",
) -> Annotation:
    """Add a region that a person drew, or a further description of one.

    Args:   region_id: any description of the box that it is about; then no xyxy. source: human:<who> where none is
            given. key: adding again under the same key adds nothing, so that `retrying` may repeat it.
    Raises: ValueError: no such picture, region or status, or a box without an area.
    """
    image = session.get(Image, image_id)
    if image is None:
        raise ValueError(f"expected the id of a picture, got {image_id}")
    content_key = _content_key(key or secrets.token_hex(16))
    if key:
        mine = (Annotation.image_id == image_id, Annotation.content_key == content_key)
        known = session.exec(select(Annotation).where(*mine)).first()
        if known is not None:
            return known
    if region_id is not None:
        region = _region(session, region_id, lock=True)
        if xyxy is not None or not region or region[0].image_id != image_id:
            raise ValueError(f"expected a region of picture {image_id} and no box of its own, got {region_id}, {xyxy}")
        region_id, xyxy = region[0].id, _box(region[0])
    change = AnnotationChange(xyxy=xyxy, text=text, status=status, source=source or f"human:{_name(who)}")
    row = Annotation(
        dataset_id=image.dataset_id,
        image_id=image_id,
        region_id=region_id,
        score=score,
        content_key=content_key,
        indexed=True,
        **_values(change, image_id),
    )
    session.add(row)
    session.flush()
    _keep_up(session, row, None)
    edit = _note(session, row, _Deed(who, "created", from_model=from_model, reason=reason), before=None)
    _reopen_if_empty(session, row, edit)
    return row


def edit_annotation(
    session: Session,
    *,
    annotation_id: int,
    expected_version: int,
    who: str,
    change: AnnotationChange,
    from_model: str = "",
    reason: str = "",
) -> Annotation:
    """Change a region; its new state, with a new version where anything changed.

    A box that has several descriptions moves for all of them. Asking again for what oneself has just done is no
    conflict, so that `retrying` may repeat it.

    Args:   expected_version: of the region that the editor saw. from_model: model@revision that proposed the change.
    Raises: EditConflictError: it has another version by now.
            ValueError: no such region or status, or a box without an area.
    """
    region = _region(session, annotation_id, lock=True)
    row = _must_have(region, annotation_id)
    values = _values(change, row.image_id)
    if row.version != expected_version:
        if _is_ours(session, row, expected_version, who, values):
            return row
        raise _conflict(session, row, expected_version, values)
    deed = _Deed(who, _what(row, values), from_model=from_model, reason=reason)
    moves = change.xyxy is not None and change.xyxy != _box(row)
    box = {side: values[side] for side in BOX} if moves else {}
    for other in region:
        if other.id == annotation_id:
            _write(session, other, values, deed)
        elif moves:
            _write(session, other, box, deed)
    return row


def set_status(
    session: Session, *, annotation_id: int, expected_version: int, who: str, status: Status, reason: str = ""
) -> Annotation:
    """Accept, reject or reopen one description of a region; as `edit_annotation`."""
    change = AnnotationChange(status=status)
    return edit_annotation(
        session, annotation_id=annotation_id, expected_version=expected_version, who=who, change=change, reason=reason
    )


def delete_annotation(
    session: Session,
    *,
    annotation_id: int,
    expected_version: int,
    who: str,
    whole_region: bool = False,
    reason: str = "",
) -> Annotation:
    """Take a description out of sight, or all of its box; nothing of it is lost. As `edit_annotation`."""
    row = set_status(
        session,
        annotation_id=annotation_id,
        expected_version=expected_version,
        who=who,
        status="deleted",
        reason=reason,
    )
    if whole_region:
        last = _last_edit(session, row)
        deed = _Deed(who, "deleted", reason=reason, action=last.action if last else secrets.token_hex(8))
        for other in _region(session, annotation_id, lock=True):
            if other.status != "deleted":
                _write(session, other, {"status": "deleted"}, deed)
    return row


def restore_annotation(session: Session, *, annotation_id: int, expected_version: int, who: str) -> Annotation:
    """Bring back a deleted description with the verdict that it had. As `edit_annotation`."""
    gone = AnnotationEdit.annotation_id == annotation_id, AnnotationEdit.what == "deleted"
    last = session.exec(select(AnnotationEdit).where(*gone).order_by(col(AnnotationEdit.id).desc()).limit(1)).first()
    status: Status = last.before["status"] if last and last.before else "pending"
    return set_status(session, annotation_id=annotation_id, expected_version=expected_version, who=who, status=status)


def edit_image(
    session: Session, *, image_id: int, expected_version: int, who: str, change: ImageChange, reason: str = ""
) -> Image:
    """Change a picture's caption, facts or review state; as `edit_annotation`.

    Raises: EditConflictError: it has another version by now.
            ValueError: no such picture, a fact that is no text, or "empty" while regions of it are accepted.
    """
    image = _locked_image(session, image_id)
    values = _image_values(session, image, change)
    if image.version != expected_version:
        if _is_ours(session, image, expected_version, who, values):
            return image
        raise _conflict(session, image, expected_version, values)
    _write(session, image, values, _Deed(who, "edited", reason=reason))
    return image


def undo_last(session: Session, *, image_id: int, who: str) -> list[AnnotationEdit]:
    """Take back the last action of a person on a picture that is not taken back yet; the edits that did it.

    An undo is an edit like others and stays in the history; what was drawn is deleted by it, and can be restored.

    Returns: none when there is nothing left to undo.
    Raises:  EditConflictError: somebody changed the same since; nothing is undone.
    """
    image = _locked_image(session, image_id)  # two presses at once: the second finds the first one's undo
    later = aliased(AnnotationEdit)
    mine = (AnnotationEdit.image_id == image_id, AnnotationEdit.who == _name(who), AnnotationEdit.what != "undone")
    asked = select(AnnotationEdit).where(*mine, ~exists().where(col(later.undoes) == AnnotationEdit.action))
    last = session.exec(asked.order_by(col(AnnotationEdit.id).desc()).limit(1)).first()
    if last is None:
        return []
    same = select(AnnotationEdit).where(AnnotationEdit.image_id == image_id, AnnotationEdit.action == last.action)
    edits = session.exec(same.order_by(col(AnnotationEdit.annotation_id))).all()
    deed = _Deed(who, "undone", undoes=last.action)
    return [_undo(session, image, edit, deed) for edit in edits]


def history_page(
    session: Session, *, image_id: int, annotation_id: int | None = None, before: int | None = None, limit: int = 50
) -> Sequence[AnnotationEdit]:
    """Edits of a picture and its regions, or of one region, newest first. before: id of the last of the page before."""
    asked = select(AnnotationEdit).where(AnnotationEdit.image_id == image_id)
    if annotation_id is not None:
        asked = asked.where(AnnotationEdit.annotation_id == annotation_id)
    if before is not None:
        asked = asked.where(AnnotationEdit.id < before)
    return session.exec(asked.order_by(col(AnnotationEdit.id).desc()).limit(limit)).all()


def throughput(session: Session, *, dataset_id: int, since: datetime) -> list[Throughput]:
    """Edits by person, day and kind since a moment, the latest day first."""
    at = col(AnnotationEdit.at)
    sqlite = session.get_bind().dialect.name == "sqlite"
    day: Any = func.date(at) if sqlite else func.to_char(func.timezone("UTC", at), "YYYY-MM-DD")
    before: Any = func.lag(at).over(partition_by=col(AnnotationEdit.who), order_by=(at, col(AnnotationEdit.id)))
    took = 86_400 * (func.julianday(at) - func.julianday(before)) if sqlite else func.extract("epoch", at - before)
    edits = select_rows(
        col(AnnotationEdit.who).label("who"),
        day.label("day"),
        col(AnnotationEdit.what).label("what"),
        took.label("took"),
    )
    edits = edits.where(col(AnnotationEdit.dataset_id) == dataset_id, at >= since)
    each = edits.subquery()
    counted: Any = func.sum(case((each.c.took <= PAUSE_SECONDS, each.c.took), else_=0.0))
    asked = select_rows(each.c.who, each.c.day, each.c.what, func.count(), counted)
    asked = asked.group_by(each.c.who, each.c.day, each.c.what).order_by(each.c.day.desc(), each.c.who, each.c.what)
    rows = session.connection().execute(asked)
    return [Throughput(who, day, what, count, float(seconds)) for who, day, what, count, seconds in rows]


class _Deed:
    """What the rows of one action share."""

    def __init__(
        self,
        who: str,
        what: What,
        *,
        from_model: str = "",
        reason: str = "",
        undoes: str | None = None,
        action: str = "",
    ) -> None:
        self.who, self.what, self.undoes = _name(who), what, undoes
        self.from_model, self.reason = storable(from_model), storable(reason)
        self.action = action or secrets.token_hex(8)


def _name(who: str) -> str:
    if not who.strip() or not who.isprintable():
        raise ValueError(f"expected the name of whoever edits, one printable line, got {who!r}")
    return who


def _box(row: Annotation) -> tuple[float, float, float, float]:
    return row.x1, row.y1, row.x2, row.y2


def _content_key(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"by hand\0{key}".encode(), digest_size=8).digest(), "little", signed=True)


def _values(change: AnnotationChange, image_id: int) -> dict[str, Any]:
    """The columns that a change sets, checked.

    Raises: ValueError: a box without an area, or an unknown status.
    """
    values: dict[str, Any] = {}
    if change.xyxy is not None:
        x1, y1, x2, y2 = change.xyxy
        if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
            raise bad_box(change.xyxy, image_id)
        values |= dict(zip(BOX, map(float, change.xyxy), strict=True))
    if change.status is not None:
        if change.status not in STATUSES:
            raise ValueError(f"expected the status {', '.join(STATUSES)}, got {change.status!r}")
        values["status"] = change.status
    for name in ("text", "source"):
        if getattr(change, name) is not None:
            values[name] = storable(getattr(change, name))
    for name in ("similarity", "disagreement"):
        if getattr(change, name) is not None:
            values[name] = float(getattr(change, name))
    return values


def _image_values(session: Session, image: Image, change: ImageChange) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if change.caption is not None:
        values["caption"] = storable(change.caption)
    if change.facts is not None:
        if not all(isinstance(word, str) for fact in change.facts.items() for word in fact):
            raise ValueError(f"expected facts as text by name, got {dict(change.facts)!r}: spell numbers and dates out")
        values["facts"] = {storable(name): storable(fact) for name, fact in change.facts.items()}
    if change.review is not None:
        if change.review not in get_args(Review):
            raise ValueError(f"expected the review state {', '.join(get_args(Review))}, got {change.review!r}")
        accepted = (Annotation.image_id == image.id, Annotation.status == "accepted")
        if change.review == "empty" and session.exec(select(Annotation.id).where(*accepted).limit(1)).first():
            raise ValueError(
                f"picture {image.id} has accepted regions, so it is not one with nothing to mark: "
                "reject or delete them, or call it reviewed"
            )
        values["review"] = change.review
    return values


def _region(session: Session, annotation_id: int, *, lock: bool) -> list[Annotation]:
    """All descriptions of the box that a description belongs to, by id; locked in that order, so that nobody waits in
    a circle.
    """
    found = session.exec(
        select(Annotation.image_id, Annotation.region_id).where(Annotation.id == annotation_id)
    ).first()
    if found is None:
        return []
    image_id, first = found[0], found[1] or annotation_id
    asked = select(Annotation).where(
        Annotation.image_id == image_id, or_(col(Annotation.id) == first, col(Annotation.region_id) == first)
    )
    asked = asked.order_by(col(Annotation.id)).execution_options(populate_existing=True)
    return list(session.exec(asked.with_for_update() if lock else asked).all())


def _must_have(region: Sequence[Annotation], annotation_id: int) -> Annotation:
    for row in region:
        if row.id == annotation_id:
            return row
    raise ValueError(f"expected the id of a region, got {annotation_id}")


def _locked_image(session: Session, image_id: int) -> Image:
    asked = select(Image).where(Image.id == image_id).with_for_update().execution_options(populate_existing=True)
    image = session.exec(asked).first()
    if image is None:
        raise ValueError(f"expected the id of a picture, got {image_id}")
    return image


def _state(row: Annotation | Image) -> dict[str, Any]:
    return annotation_state(row) if isinstance(row, Annotation) else image_state(row)


def _with(state: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A state after some columns are set."""
    changed = {name: value for name, value in values.items() if name not in BOX}
    if "x1" in values:
        changed["xyxy"] = [values[side] for side in BOX]
    return state | changed


def _what(row: Annotation, values: Mapping[str, Any]) -> What:
    before, after = annotation_state(row), _with(annotation_state(row), values)
    changed = {name for name in DECIDED if before[name] != after[name]}
    if changed != {"status"}:
        return "edited"
    return "restored" if before["status"] == "deleted" else VERDICTS[after["status"]]


def _edits_of(row: Annotation | Image) -> tuple[Any, ...]:
    if isinstance(row, Annotation):
        return (col(AnnotationEdit.annotation_id) == row.id,)
    return col(AnnotationEdit.image_id) == row.id, col(AnnotationEdit.annotation_id).is_(None)


def _last_edit(session: Session, row: Annotation | Image) -> AnnotationEdit | None:
    asked = select(AnnotationEdit).where(*_edits_of(row), AnnotationEdit.version == row.version)
    return session.exec(asked.order_by(col(AnnotationEdit.id).desc()).limit(1)).first()


def _state_at(session: Session, row: Annotation | Image, version: int) -> dict[str, Any] | None:
    """How something was at a version, from its history; None where that does not know."""
    asked = select(AnnotationEdit).where(*_edits_of(row))
    left = session.exec(asked.where(AnnotationEdit.version == version).limit(1)).first()
    if left is not None:
        return left.after
    found = session.exec(asked.where(AnnotationEdit.version == version + 1).limit(1)).first()
    return found.before if found else None


def _first_states(session: Session, annotation_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """How regions were before their first edit; those are left out of which the history does not know it."""
    found: dict[int, dict[str, Any]] = {}
    for some in batches(annotation_ids, IN_LIST):
        asked = select(AnnotationEdit).where(col(AnnotationEdit.annotation_id).in_(some), AnnotationEdit.version == 2)
        for edit in session.exec(asked):
            if edit.annotation_id is not None and edit.before is not None:
                found[edit.annotation_id] = edit.before
    return found


def _is_ours(
    session: Session, row: Annotation | Image, expected_version: int, who: str, values: Mapping[str, Any]
) -> bool:
    """Whether the very edit stands already: its acknowledgement was lost and it is asked for again."""
    if row.version != expected_version + 1:
        return False
    last = _last_edit(session, row)
    return last is not None and last.who == who and _with(_state(row), values) == _state(row)


def _conflict(
    session: Session, row: Annotation | Image, expected_version: int, values: Mapping[str, Any]
) -> EditConflictError:
    last, started_from = _last_edit(session, row), _state_at(session, row, expected_version)
    return EditConflictError(
        image_id=row.image_id if isinstance(row, Annotation) else row.id,
        annotation_id=row.id if isinstance(row, Annotation) else None,
        present=_state(row),
        version=row.version,
        by=last.who if last else "",
        started_from=started_from,
        wanted=_with(started_from or _state(row), values),
    )


def _write(session: Session, row: Annotation | Image, values: Mapping[str, Any], deed: _Deed) -> AnnotationEdit | None:
    """Set columns under the row's version and note it; None where nothing would change."""
    before = _state(row)
    after = _with(before, values)
    if isinstance(row, Annotation) and (after["xyxy"], after["text"]) != (before["xyxy"], before["text"]):
        # said of another box or text: kept only where the edit says them anew
        values = {"similarity": None, "disagreement": None} | dict(values)
        after = _with(before, values)
    if after == before:
        return None
    model: Any = type(row)
    mine = (model.id == row.id, model.version == row.version)
    written = update(model).where(*mine).values(**values, version=row.version + 1)
    if session.exec(written.execution_options(synchronize_session=False)).rowcount != 1:
        raise _conflict(session, row, row.version, values)
    session.refresh(row)
    if isinstance(row, Annotation):
        _keep_up(session, row, before)
    edit = _note(session, row, deed, before)
    if isinstance(row, Annotation):
        _reopen_if_empty(session, row, edit)
    return edit


def _reopen_if_empty(session: Session, row: Annotation, edit: AnnotationEdit) -> None:
    """A picture with an accepted region is not one with nothing to mark: somebody must look again."""
    if row.status != "accepted" or (edit.before or {}).get("status") == "accepted":
        return
    image = _locked_image(session, row.image_id)
    if image.review == "empty":
        deed = _Deed(edit.who, "edited", reason=edit.reason, undoes=edit.undoes, action=edit.action)
        _write(session, image, {"review": "open"}, deed)


def _note(session: Session, row: Annotation | Image, deed: _Deed, before: dict[str, Any] | None) -> AnnotationEdit:
    edit = AnnotationEdit(
        action=deed.action,
        dataset_id=row.dataset_id,
        image_id=row.image_id if isinstance(row, Annotation) else row.id,
        annotation_id=row.id if isinstance(row, Annotation) else None,
        who=deed.who,
        what=deed.what,
        version=row.version,
        before=before,
        after=_state(row),
        from_model=deed.from_model,
        reason=deed.reason,
        undoes=deed.undoes,
    )
    session.add(edit)
    session.flush()
    return edit


def _keep_up(session: Session, row: Annotation, before: dict[str, Any] | None) -> None:
    """Let tallies and text search know an indexed region's edit; one that is not yet is read when it is."""
    if not row.indexed:
        return
    more = Counter({(row.dataset_id, row.source, row.status): 1})
    if before is not None:
        more.subtract({(row.dataset_id, before["source"], before["status"]): 1})
    tally(session, more)
    said_before = None if before is None else before["text"]
    if row.text != said_before and session.get_bind().dialect.name == "sqlite":
        connection = session.connection()
        if said_before is not None:
            connection.exec_driver_sql("DELETE FROM annotation_text WHERE rowid = ?", (row.id,))
        connection.exec_driver_sql("INSERT INTO annotation_text (rowid, text) VALUES (?, ?)", (row.id, row.text))


def _undo(session: Session, image: Image, edit: AnnotationEdit, deed: _Deed) -> AnnotationEdit:
    row: Annotation | Image = image
    decided: tuple[str, ...] = ("caption", "facts", "review")
    if edit.annotation_id is not None:
        row, decided = _must_have(_region(session, edit.annotation_id, lock=True), edit.annotation_id), DECIDED
    wanted = edit.before if edit.before is not None else edit.after | {"status": "deleted"}
    present = _state(row)
    values = {name: value for name, value in wanted.items() if name not in ("xyxy", "score", "region_id")}
    if "xyxy" in wanted:
        values |= dict(zip(BOX, wanted["xyxy"], strict=True))
    if any(present[name] != edit.after[name] for name in decided):
        raise _conflict(session, row, edit.version, values)
    undone = _write(session, row, values, deed)
    # an undo that changes nothing, as of two equal states, is noted all the same: else it would be offered for ever
    return undone or _note(session, row, deed, before=present)
