"""Edit regions and pictures as the Curate page asks; nothing that its script sends is trusted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from app.core.page_values import whole_number
from app.services import Services
from app.ui.frames import Box
from curation.files.decode import RefusedError
from db.engine import Session, reading, retrying, transaction
from db.models import Image, RegionRow, Review, Status
from db.queries.curate_queries import (
    add_region_by_hand,
    delete_region,
    edit_image,
    edit_region,
    redo_undone,
    set_status,
    undo_last,
)
from db.queries.data_set_queries import get_image, lock_image
from db.queries.edit_conflicts import EditConflictError
from db.queries.edit_values import ImageChange, RegionChange
from db.queries.history_queries import edits_of_action
from db.queries.region_index_queries import Similarity, set_similarities
from db.queries.region_queries import get_region, region_of
from grain.texts import one_line
from user_errors import UserError, sentence

MOST_NAME = 64  # characters of the name that the page gives an act


@dataclass(frozen=True)
class EditResult:
    """The result of an edit.

    message: about it, for people. conflict: somebody was quicker; nothing was written. wrote: the descriptions that it
    wrote, None for the picture, each with its new version.
    """

    image_id: int
    chosen: int | None
    message: str = ""
    conflict: EditConflictError | None = None
    wrote: tuple[tuple[int | None, int], ...] = ()


class ActKnownError(Exception):
    """The page sent an act again that is in the history already: its answer was lost on the way."""


def apply_edit(services: Services, ask: Mapping[str, Any], *, who: str, checkpoint: str = "") -> EditResult:
    """Do what the editor asks: a verdict, another text or box, a new or deleted region, a fact, an undo.

    Args:   ask: `do` and what that needs, as the page's script sends it; nothing in it is trusted. `act`, with the
            `image`, names it: of two that are called the same, the second writes nothing. checkpoint: scores changed
            boxes and texts; "" for none.
    Raises: UserError: it cannot be done.
    """
    try:
        return EditCommand(services, ask, who=who, checkpoint=checkpoint).run()
    except EditConflictError as conflict:
        if (doing := ask.get("do")) in ("undo", "redo"):
            return EditResult(conflict.image_id, None, f"Not {doing}ne: {conflict.sentence}")
        return EditResult(conflict.image_id, conflict.region_id, conflict=conflict)
    except (KeyError, TypeError) as error:
        raise UserError(f"The page sent something incomplete ({error}): reload it.") from error
    except UserError:
        raise
    except ValueError as error:  # of a query: the script sent a status or a fact that there is not
        raise UserError(sentence(error)) from error


class EditCommand:
    """One edit that the editor asks for."""

    def __init__(self, services: Services, ask: Mapping[str, Any], *, who: str, checkpoint: str) -> None:
        """ask: `do` and what that needs. checkpoint: scores changed boxes and texts; "" for none."""
        self.services, self.ask = services, ask
        self.who, self.checkpoint = who, checkpoint
        self.unscored = ""  # why GRAIN gave no score; what was edited is kept all the same
        self.action = action_of(who, ask.get("act"))

    def run(self) -> EditResult:
        """Do it, unless it is done already, and return what came of it."""
        try:
            done = self._edit()
        except ActKnownError:
            done = EditResult(self._number("image"), None, "Saved.")
        with reading(self.services.engine) as session:
            edits = edits_of_action(session, image_id=done.image_id, action=self.action)
        chosen = next((edit.region_id for edit in edits if edit.region_id), None)
        wrote = tuple((edit.region_id, edit.version) for edit in edits)
        if self.action:  # else what is so already is this very edit, whose answer was lost
            done = replace(done, wrote=wrote)
        return replace(done, chosen=done.chosen or chosen)

    def _edit(self) -> EditResult:
        edits = {
            "verdict": self._verdict,
            "text": self._text,
            "box": self._box,
            "draw": self._draw,
            "describe": self._describe,
            "delete": self._delete,
            "caption": self._caption,
            "facts": self._facts,
            "review": self._review,
            "undo": self._undo,
            "redo": self._redo,
        }
        return edits[str(self.ask["do"])]()

    def _verdict(self) -> EditResult:
        status: Status = self.ask["status"]
        row = self._write(partial(set_status, status=status, **self._seen()))
        return EditResult(row.image_id, row.id, wrote=_wrote(row))

    def _text(self) -> EditResult:
        row, text = self._row(), one_line(str(self.ask["text"]))
        before, after = self._score(row.image_id, [(_xyxy(row), row.text), (_xyxy(row), text)])
        change = RegionChange(text=text, similarity=after)
        edited = self._write(partial(edit_region, change=change, **self._seen()))
        return EditResult(edited.image_id, edited.id, self._difference(before, after), wrote=_wrote(edited))

    def _box(self) -> EditResult:
        row, box = self._row(), box_of(self.ask["box"])
        with reading(self.services.engine) as session:
            others = [each for each in region_of(session, region_id=row.id) if each.id != row.id]
        pairs = [(_xyxy(row), row.text), (box, row.text), *((box, other.text) for other in others)]
        before, after, *rest = self._score(row.image_id, pairs)
        change = RegionChange(xyxy=box, similarity=after)
        edited = self._write(partial(edit_region, change=change, **self._seen()))
        scores = [
            Similarity(other.id, score, None) for other, score in zip(others, rest, strict=True) if score is not None
        ]
        with transaction(self.services.engine) as session:
            set_similarities(session, rows=scores)
        return EditResult(edited.image_id, edited.id, self._difference(before, after), wrote=_wrote(edited))

    def _draw(self) -> EditResult:
        image_id, box, text = self._number("image"), box_of(self.ask["box"]), one_line(str(self.ask["text"]))
        return self._scored(
            self._write(partial(add_region_by_hand, image_id=image_id, xyxy=box, text=text, **self._new()))
        )

    def _describe(self) -> EditResult:
        image_id, region, text = self._number("image"), self._number("region"), one_line(str(self.ask["text"]))
        return self._scored(
            self._write(partial(add_region_by_hand, image_id=image_id, box_id=region, text=text, **self._new()))
        )

    def _delete(self) -> EditResult:
        whole_region = bool(self.ask.get("whole"))
        row = self._write(partial(delete_region, whole_region=whole_region, **self._seen()))
        return EditResult(row.image_id, None, "Deleted. Undo restores it.")

    def _caption(self) -> EditResult:
        change = ImageChange(caption=one_line(str(self.ask["text"]), empty=True))
        return self._edit_image(lambda image: change)

    def _facts(self) -> EditResult:
        changed = {name: one_line(str(value), empty=True) for name, value in dict(self.ask["facts"]).items()}

        def change(image: Image) -> ImageChange:  # the others stay as they came, however long and of how many lines
            facts = {**(image.facts or {}), **changed}
            return ImageChange(facts={name: value for name, value in facts.items() if value})

        return self._edit_image(change)

    def _review(self) -> EditResult:
        review: Review = self.ask["review"]
        return self._edit_image(lambda image: ImageChange(review=review))

    def _undo(self) -> EditResult:
        image_id = self._number("image")
        only = action_of(self.who, self.ask.get("undoes"))
        undone = self._write(partial(undo_last, image_id=image_id, who=self.who, action=self.action, only=only))
        if not undone:
            return EditResult(image_id, None, "There is nothing of yours to undo on this picture.")
        return EditResult(image_id, undone[0].region_id, "Undone.")

    def _redo(self) -> EditResult:
        image_id, undo = self._number("image"), action_of(self.who, self.ask["redoes"])
        done = self._write(partial(redo_undone, image_id=image_id, who=self.who, undo=undo, action=self.action))
        return EditResult(image_id, done[0].region_id if done else None, "Done again." if done else "Nothing to redo.")

    def _edit_image(self, change_of: Callable[[Image], ImageChange]) -> EditResult:
        image_id, version = self._number("image"), self._number("version")
        seen: dict[str, Any] = {"image_id": image_id, "expected_version": version, "who": self.who}

        def write(session: Session) -> Image:
            change = change_of(lock_image(session, image_id=image_id))
            return edit_image(session, change=change, action=self.action, **seen)

        row = self._write(write)
        return EditResult(image_id, None, wrote=((None, row.version),))

    def _seen(self) -> dict[str, Any]:
        """Return the region and the version of it that the page showed."""
        seen = {"region_id": self._number("id"), "expected_version": self._number("version")}
        return seen | {"who": self.who, "action": self.action}

    def _new(self) -> dict[str, Any]:
        """Return what every new description gets."""
        return {"who": self.who, "key": str(self.ask["key"]), "action": self.action}

    def _row(self) -> RegionRow:
        with reading(self.services.engine) as session:
            row = get_region(session, region_id=self._number("id"))
        if row is None:
            raise UserError(f"There is no region {self.ask['id']}: it was removed meanwhile.")
        return row

    def _number(self, name: str) -> int:
        return whole_number(name, self.ask[name])

    def _write(self, question: Callable[[Session], Any]) -> Any:
        """Write in a transaction of its own, once for each name of an act."""

        def write(session: Session) -> Any:
            if self.action:
                image = self._number("image")
                lock_image(
                    session, image_id=image
                )  # the same act twice at once: the second finds the first one's edits
                if edits_of_action(session, image_id=image, action=self.action):
                    raise ActKnownError
            return question(session)

        return retrying(self.services.engine, write)

    def _score(self, image_id: int, pairs: Sequence[tuple[Box, str]]) -> list[float | None]:
        """Return GRAIN's cosine of each box and text; None without a checkpoint, or where the picture is gone."""
        if not self.checkpoint:
            return [None] * len(pairs)
        with reading(self.services.engine) as session:
            row = get_image(session, image_id=image_id)
        if row is None:
            return [None] * len(pairs)
        try:
            image, _ = self.services.pictures.get(row)
        except RefusedError:
            return [None] * len(pairs)
        try:
            with self.services.model_turn:
                model = self.services.registry.load(self.checkpoint)
                scores = model.crop_scores(image, [box for box, _ in pairs], [text for _, text in pairs])
        except UserError as error:
            self.unscored = f"Saved. Not scored: {error.sentence}"
            return [None] * len(pairs)
        return [float(score) for score in scores]

    def _scored(self, row: RegionRow) -> EditResult:
        [score] = self._score(row.image_id, [(_xyxy(row), row.text)])
        if score is not None:
            with transaction(self.services.engine) as session:
                set_similarities(session, rows=[Similarity(row.id, score, None, row.version)])
        return EditResult(row.image_id, row.id, self._difference(None, score))

    def _difference(self, before: float | None, after: float | None) -> str:
        if after is None:
            return self.unscored
        first = "" if before is None else f"{before:.2f} → "
        return f"GRAIN {first}{after:.2f} ({self.checkpoint})"


def action_of(who: str, act: Any) -> str:
    """Return the name of a person's act in the history: nobody can take the name of somebody else's. "" without one."""
    if not act:
        return ""
    if not isinstance(act, str) or len(act) > MOST_NAME:
        raise UserError(f"Expected a name of at most {MOST_NAME} characters for what was done: reload the page.")
    return hashlib.blake2b(f"{who}\0{act}".encode(), digest_size=8).hexdigest()


def _wrote(row: RegionRow) -> tuple[tuple[int | None, int], ...]:
    """Return the row's version, for an edit that found itself written already."""
    return ((row.id, row.version),)


def _xyxy(row: RegionRow) -> Box:
    return row.x1, row.y1, row.x2, row.y2


def box_of(numbers: Any) -> Box:
    """Read a box that the page's script sends.

    Raises: UserError: it has not four numbers.
    """
    try:
        x0, y0, x1, y1 = (float(number) for number in numbers)
    except (TypeError, ValueError) as error:
        wrong = f"Expected a box of four numbers, got {str(numbers)[:80]}: reload the page."
        raise UserError(wrong) from error
    return x0, y0, x1, y1
