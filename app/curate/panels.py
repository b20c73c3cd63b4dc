"""Prepare what the Curate page shows: the gallery, counts, the work of people, and the editor of a picture."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from app.core.thumbnails import thumbnail_address
from app.curate.actions import FACTS, GalleryPage, OpenedPicture
from app.ui.html import empty_state, render
from app.ui.marks import mark_of
from app.ui.regions import versions_table
from db.models import RegionEdit, RegionRow
from db.queries.edit_conflicts import COMPUTED, EditConflictError
from db.queries.history_queries import Throughput
from db.queries.region_index_queries import SourceCount

VERDICTS = {"accepted": "✓", "rejected": "✗", "pending": "○"}
NO_SIGN = "–"
DECISIONS = ("accepted", "rejected", "edited", "created")
LEAST_SECONDS = 60  # of work, below which a pace would be made up
REVIEWS = {"open": "not finished", "reviewed": "reviewed", "empty": "reviewed, nothing to mark"}


def gallery_panel(found: GalleryPage, home: Path) -> str:
    """Render a page of regions: each on its picture, with its text, scores and verdict."""
    if not found.tiles:
        return empty_state("No regions here", "Change the filters, or annotate the data set first.")
    tiles = [
        (
            row.id,
            image.id,
            thumbnail_address(home, image.sha256),
            image.width,
            image.height,
            (row.x1, row.y1, row.x2 - row.x1, row.y2 - row.y1, "line"),
            row.text,
            (row.status, VERDICTS.get(row.status, NO_SIGN)),
            _scores(row),
            tags,
        )
        for row, image, tags in ((tile.region, tile.image, tile.tags) for tile in found.tiles)
    ]
    return render("curate/templates/gallery.html", tiles=tiles)


def gone_sentence(dataset: str, gone: Sequence[str]) -> str:
    """Say that a data set does not have what the filters name; "" where it has all."""
    return f"“{dataset}” has no {' and no '.join(gone)}: choose another, or “any”, under More filters." if gone else ""


def _scores(row: RegionRow) -> str:
    scores = {"score": row.score, "GRAIN": row.similarity}
    return " · ".join(f"{name} {value:.2f}" for name, value in scores.items() if value is not None)


def counts_panel(counts: Sequence[SourceCount]) -> str:
    """Render the number of regions by verdict, and by source."""
    by_status: Counter[str] = Counter()
    by_source: Counter[str] = Counter()
    for each in counts:
        if each.status != "deleted":
            by_status[each.status] += each.regions
            by_source[each.source] += each.regions
    if not by_status.total():
        return empty_state("No regions yet", "Annotate the data set, or draw some.")
    return render(
        "curate/templates/counts.html",
        verdicts=[(status, by_status[status]) for status in VERDICTS],
        total=by_status.total(),
        sources=sorted(by_source.items()),
    )


def curators_panel(rows: Sequence[Throughput]) -> str:
    """Render who decided how much and how quickly, by day. A decision: accepted, rejected, edited or drawn."""
    decisions: Counter[tuple[str, str]] = Counter()
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for row in rows:
        decisions[row.day, row.who] += row.edits if row.what in DECISIONS else 0
        seconds[row.day, row.who] += row.seconds
    cells = [(day, who, f"{count:,}", _pace(count, seconds[day, who])) for (day, who), count in decisions.items()]
    return render("curate/templates/curators.html", rows=cells)


def _pace(count: int, seconds: float) -> str:
    return f"{3600 * count / seconds:,.0f}" if seconds >= LEAST_SECONDS else "–"


def editor_panel(opened: OpenedPicture) -> str:
    """Render a picture to work on: its boxes, their descriptions with verdicts, caption, facts, history."""
    image, facts = opened.image, opened.image.facts or {}
    names = [*FACTS, *(name for name in facts if name not in FACTS)]
    return render(
        "curate/templates/editor.html",
        seen={"image": image.id, "version": image.version, "chosen": opened.chosen},
        problem=opened.problem,
        uri=opened.uri,
        ratio=f"{image.width / image.height:.5f}",
        boxes=[_box(index, rows, opened.chosen) for index, rows in enumerate(opened.regions)],
        caption=image.caption,
        reviews=[(review, words, image.review == review) for review, words in REVIEWS.items()],
        facts=[(name, facts.get(name, "")) for name in names],
        filled=len(facts),
        edits=[_edit(edit) for edit in opened.edits],
        removal=f"/data?{urlencode({'dataset': opened.dataset, 'remove': image.id})}",
    )


def _box(index: int, rows: Sequence[RegionRow], chosen: int | None) -> dict[str, Any]:
    """Return a box of the picture. rows: its descriptions; the chosen one, or the first, gives its place."""
    row = next((each for each in rows if each.id == chosen), rows[0])
    return {
        "id": row.id,
        "index": index,
        "chosen": row.id == chosen,
        "x": row.x1,
        "y": row.y1,
        "width": row.x2 - row.x1,
        "height": row.y2 - row.y1,
        "mark": mark_of(index),
        "text": "; ".join(each.text for each in rows),
        "first": rows[0].id,
        "descriptions": [_description(each, chosen) for each in rows],
    }


def _description(row: RegionRow, chosen: int | None) -> dict[str, Any]:
    verdicts = [(status, sign, row.status == status) for status, sign in VERDICTS.items() if status != "pending"]
    return {
        "id": row.id,
        "version": row.version,
        "status": row.status,
        "chosen": row.id == chosen,
        "text": row.text,
        "source": row.source,
        "scores": _scores(row),
        "verdicts": verdicts,
    }


def _edit(edit: RegionEdit) -> tuple[str, str, datetime]:
    """Return who did what, and when."""
    before, after = edit.before or {}, edit.after
    target = "the picture" if edit.region_id is None else f"“{after.get('text', '')}”{_origin(edit)}"
    if edit.what != "edited":
        return edit.who, f"{edit.what} {target}", edit.at
    changed = [name for name in after if before.get(name) != after[name] and name not in COMPUTED]
    changes = ", ".join(_change(name, before, after) for name in changed)
    return edit.who, f"{edit.what} {target}: {changes}", edit.at


def _origin(edit: RegionEdit) -> str:
    """Return the source of an edited region, and the model that proposed it."""
    source = (edit.before or edit.after).get("source", "")
    return f" of {source}" * bool(source) + f", proposed by {edit.from_model}" * bool(edit.from_model)


def _change(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return "box moved" if name == "xyxy" else f"{name} {before.get(name) or '–'} → {after[name] or '–'}"


def conflict_panel(conflict: EditConflictError) -> str:
    """Render both versions, for the second of two editors to choose from."""
    by = conflict.by or "Somebody"
    versions = versions_table(conflict.present, conflict.wanted, left=by, right="you")
    what = conflict.present.get("text", "")
    return render("curate/templates/conflict.html", by=by, what=what, versions=versions)
