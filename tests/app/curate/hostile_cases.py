"""The templates of the Curate page, with hostile text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.curate import bulk_panels, map_panels, panels
from app.curate.actions import GalleryPage, GalleryTile, OpenedPicture
from app.curate.bulk_actions import ReviewLibrary
from app.curate.map_actions import SimilarPictures
from app.ui.html import render
from curation.review.acts import ActCount, ActRequest
from db.models import Image, RegionEdit, RegionRow, ReviewAct, SavedFilter
from db.queries.edit_conflicts import EditConflictError
from db.queries.history_queries import Throughput
from db.queries.region_index_queries import SourceCount
from tests.support.hostile import HOSTILE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOME = Path("/nowhere")
FACTS = {"class": HOSTILE, HOSTILE: HOSTILE}
IMAGE = Image(id=1, dataset_id=1, sha256=HOSTILE, width=4, height=3, location=HOSTILE, caption=HOSTILE, facts=FACTS)


def row(number: int, status: Any = "pending") -> RegionRow:
    places: dict[str, Any] = {"x1": 0.1, "y1": 0.1, "x2": 0.5, "y2": 0.5, "score": 0.5, "similarity": 0.3}
    return RegionRow(id=number, image_id=1, text=HOSTILE, status=status, source=HOSTILE, version=1, **places)


def edit(number: int, what: Any, before: dict[str, object] | None) -> RegionEdit:
    after = {"text": HOSTILE, "source": HOSTILE, "xyxy": [0, 0, 1, 1], HOSTILE: HOSTILE}
    ids: dict[str, Any] = {"id": number, "image_id": 1, "region_id": 1}
    return RegionEdit(who=HOSTILE, what=what, before=before, after=after, at=NOW, from_model=HOSTILE, **ids)


def opened(problem: str = "") -> OpenedPicture:
    edits = (edit(1, "edited", {"text": HOSTILE + "!", HOSTILE: ""}), edit(2, "created", None))
    return OpenedPicture(IMAGE, ((row(1), row(2, "accepted")), (row(3),)), 2, edits, "data:,", problem)


def conflict() -> EditConflictError:
    now, mine = {"text": HOSTILE, "xyxy": [0, 0, 1, 1]}, {"text": HOSTILE + "!", "xyxy": [0, 0, 1, 0.5]}
    return EditConflictError(image_id=1, region_id=1, present=now, version=2, by=HOSTILE, started_from=now, wanted=mine)


def many(kind: Any, **values: Any) -> ReviewAct:
    about: dict[str, Any] = {"at": NOW, "who": HOSTILE, "text": HOSTILE, "action": HOSTILE} | values
    return ReviewAct(kind=kind, regions=2, pictures=1, **about)


def library(who: str) -> ReviewLibrary:
    acts = (many("tag"), many("reject", undone_by=HOSTILE), many("empty trash"), many("accept", who="ana"))
    filters = (SavedFilter(dataset_id=1, name=HOSTILE, address=HOSTILE, who=HOSTILE),)
    return ReviewLibrary(HOSTILE, filters, {HOSTILE: 2}, (3, 2), acts, who)


CASES: Mapping[str, Sequence[Callable[[], str]]] = {
    "curate/templates/gallery.html": (
        lambda: panels.gallery_panel(GalleryPage((GalleryTile(row(1), IMAGE, (HOSTILE,)),), ""), HOME),
        lambda: panels.gallery_panel(GalleryPage((GalleryTile(row(1, HOSTILE), IMAGE),), ""), HOME),
    ),
    "curate/templates/counts.html": (lambda: panels.counts_panel([SourceCount(HOSTILE, "accepted", 2)]),),
    "curate/templates/curators.html": (lambda: panels.curators_panel([Throughput(HOSTILE, HOSTILE, "edited", 3, 90)]),),
    "curate/templates/editor.html": (
        lambda: panels.editor_panel(opened()),
        lambda: panels.editor_panel(opened(HOSTILE)),
        lambda: panels.editor_panel(OpenedPicture(IMAGE, (), None, (), "data:,")),
    ),
    "curate/templates/bulk_bar.html": (
        lambda: render("curate/templates/bulk_bar.html", acts=((HOSTILE, HOSTILE, HOSTILE), ("accept", "accept", ""))),
    ),
    "curate/templates/bulk_question.html": (
        lambda: bulk_panels.question_panel(ActRequest("relabel", HOSTILE), ActCount(2, 1, 3, HOSTILE)),
        lambda: bulk_panels.question_panel(ActRequest("relabel", HOSTILE), ActCount(0, 0, 3, HOSTILE)),
    ),
    "curate/templates/bulk_done.html": (lambda: bulk_panels.done_panel(many("relabel")),),
    "curate/templates/library.html": (lambda: bulk_panels.library_panel(library(HOSTILE)),),
    "curate/templates/keep_question.html": (lambda: map_panels.keep_question(ActCount(2, 1, 3, HOSTILE), 1),),
    "curate/templates/stage.html": (
        lambda: render("curate/templates/stage.html", states=[("empty", HOSTILE, HOSTILE)]),
    ),
    "curate/templates/conflict.html": (lambda: panels.conflict_panel(conflict()),),
    "curate/templates/selection.html": (
        lambda: render("curate/templates/selection.html", count=1, what=HOSTILE, alike=True, words=HOSTILE),
    ),
    "curate/templates/peek.html": (lambda: map_panels.peek_panel(IMAGE, row(1), HOME),),
    "curate/templates/similar_groups.html": (
        lambda: map_panels.similar_groups_panel([SimilarPictures((IMAGE, IMAGE), (1, 2), (1, 1))], HOSTILE, HOME),
        lambda: map_panels.similar_groups_panel([SimilarPictures((IMAGE,), (1,), (0,))], HOSTILE, HOME),
    ),
}
