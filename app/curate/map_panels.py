"""Prepare what the map section of the Curate page shows: the map as a plot, and groups of similar pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.core.thumbnails import picture_name, thumbnail_address
from app.curate.map_actions import MOST_POINTS, OTHERS, MapPoints, SimilarPictures
from app.ui.html import empty_state, render, things
from app.ui.marks import PALETTE
from app.ui.plots import empty_figure, scatter
from app.ui.regions import boxed_thumbnail
from curation.review.acts import ActCount
from curation.versions.state import name_of
from db.models import Image, RegionRow

STATUS_COLOURS = {"accepted": "#009E73", "rejected": "#D55E00", "pending": "#0072B2"}
REVIEW_COLOURS = {"reviewed": "#009E73", "empty": "#E69F00", "open": "#0072B2"}
KNOWN_COLOURS = STATUS_COLOURS | REVIEW_COLOURS
PLAIN = "#999999"


def map_figure(points: MapPoints | None) -> Any:
    """Draw the map, or say why there is none."""
    if points is None:
        return empty_figure("No map yet: press “Draw the map”")
    names = [name for name in points.groups if name not in KNOWN_COLOURS and name != OTHERS]
    colours = dict(zip(names, (PALETTE * 2)[: len(names)], strict=False))
    colours = {name: KNOWN_COLOURS.get(name, colours.get(name, PLAIN)) for name in points.groups}
    return scatter(points.xy, points.ids, groups=points.groups, colours=colours, title=_title(points))


def _title(points: MapPoints) -> str:
    if points.total > MOST_POINTS:
        return f"{MOST_POINTS:,} of {points.total:,} {points.what}, drawn by chance; a selection takes all"
    shown = sum(map(len, points.groups.values()))
    return f"{shown:,} {points.what}; near means similar to {points.model.partition('@')[0]}"


def similar_groups_panel(groups: Sequence[SimilarPictures], by: str, home: Path, *, question: str = "") -> str:
    """Render similar pictures, a row a group; of copies one can be kept. question: what was asked or done last."""
    if not groups:
        return empty_state("No similar pictures", f"Searched by {by}.")
    rows = [_group(group, home) for group in groups]
    return render("curate/templates/similar_groups.html", groups=rows, by=by, question=question)


def peek_panel(image: Image, region: RegionRow | None, home: Path) -> str:
    """Render the thumbnail of the point under the pointer, with its box and words."""
    boxes = [((region.x1, region.y1, region.x2, region.y2), "line")] if region else []
    words = region.text if region else name_of(image)
    return render("curate/templates/peek.html", picture=boxed_thumbnail(image, home, boxes), words=words)


def keep_question(count: ActCount, keep: int) -> str:
    """Render how many regions of copies would be rejected, and the buttons that do it or not."""
    return render(
        "curate/templates/keep_question.html",
        regions=things(count.regions, "region"),
        pictures=things(count.pictures, "copy", "copies"),
        ask={"do": "keep", "keep": keep, "seen": count.seen},
        any=bool(count.regions),
    )


def _group(group: SimilarPictures, home: Path) -> list[tuple[str, str, int, bool, dict[str, Any] | None]]:
    left = [image.id for image, count in zip(group.images, group.regions, strict=True) if count]
    return [
        (
            thumbnail_address(home, image.sha256),
            picture_name(image),
            count,
            left == [image.id],
            {"do": "ask", "keep": image.id} if copies and count else None,
        )
        for image, count, copies in zip(group.images, group.regions, group.copies, strict=True)
    ]
