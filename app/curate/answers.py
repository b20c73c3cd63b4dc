"""Build the answers that the editor's script reads: pictures with their versions, and what an edit wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from app.curate.actions import OpenedPicture, QueueAhead
from app.curate.editor import EditResult
from app.curate.panels import conflict_panel, editor_panel
from app.curate.suggestions import SuggestedBox
from db.queries.edit_conflicts import EditConflictError

MADE = ("draw", "describe")  # acts that add a description

Answer = dict[str, Any]


def picture_answer(opened: OpenedPicture) -> Answer:
    """Return a picture: how it is drawn, and the versions that edits of it name."""
    rows = [(index, row) for index, box in enumerate(opened.regions) for row in box]
    return {
        "image": opened.image.id,
        "version": opened.image.version,
        "review": opened.image.review,
        "caption": opened.image.caption,
        "facts": opened.image.facts or {},
        "regions": [
            {
                "id": row.id,
                "box": box,
                "xyxy": [row.x1, row.y1, row.x2, row.y2],
                "version": row.version,
                "status": row.status,
                "text": row.text,
            }
            for box, row in rows
        ],
        "uri": opened.uri,
        "panel": editor_panel(opened),
    }


def open_answer(opened: OpenedPicture, asked: str) -> Answer:
    """Return a picture to go to. asked: the name of the question that this answers."""
    place = {"image": opened.image.id, "region": opened.chosen or 0}
    return {"asked": asked, "pictures": [picture_answer(opened)], "go": place}


def ahead_answer(ahead: QueueAhead, pictures: Iterable[OpenedPicture], asked: str) -> Answer:
    """Return the next pictures of the queue, before their turn."""
    found = {"order": list(ahead.pictures.items()), "after": ahead.after, "end": ahead.end}
    return {"asked": asked, "pictures": [picture_answer(each) for each in pictures], "ahead": found}


def refused_answer(asked: str, sentence: str, opened: OpenedPicture | None = None) -> Answer:
    """Return why something cannot be done, and the picture as it is."""
    return {"asked": asked, "refused": sentence, "pictures": [picture_answer(opened)] if opened else []}


def edit_answer(done: EditResult, opened: OpenedPicture | None, *, asked: str, what: str) -> Answer:
    """Return what came of an edit, and its picture after it, unless another answer has it. what: the kind of edit."""
    return {
        "asked": asked,
        "pictures": [picture_answer(opened)] if opened else [],
        "wrote": [[region, version] for region, version in done.wrote],
        "made": done.chosen if what in MADE else None,
        "message": done.message,
        "conflict": _conflict(done.conflict),
    }


def suggest_answer(ask: Mapping[str, Any], found: Iterable[SuggestedBox], refused: str = "") -> Answer:
    """Return suggested boxes, or why there are none."""
    return {"asked": str(ask.get("asked", "")), "boxes": [asdict(each) for each in found], "refused": refused}


def _conflict(conflict: EditConflictError | None) -> Answer | None:
    return {"version": conflict.version, "panel": conflict_panel(conflict)} if conflict else None
