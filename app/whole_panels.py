"""What "look at the whole" says, as HTML and as a plot. Everything that a person or a model wrote is escaped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from app.curate_panels import thumbnail
from app.draw import PALETTE, empty_figure, scatter
from app.panels import empty_state
from app.whole import MOST_POINTS, OTHERS, Alikes, Points

STATUS_COLOURS = {"accepted": "#009E73", "rejected": "#D55E00", "pending": "#0072B2"}
REVIEW_COLOURS = {"reviewed": "#009E73", "empty": "#E69F00", "open": "#0072B2"}
KNOWN_COLOURS = STATUS_COLOURS | REVIEW_COLOURS
PLAIN = "#999999"


def map_figure(points: Points | None) -> Any:
    """The map, or why there is none."""
    if points is None:
        return empty_figure("No map yet: press “Draw the map”")
    names = [name for name in points.groups if name not in KNOWN_COLOURS and name != OTHERS]
    colours = dict(zip(names, (PALETTE * 2)[: len(names)], strict=False))
    colours = {name: KNOWN_COLOURS.get(name, colours.get(name, PLAIN)) for name in points.groups}
    return scatter(points.xy, points.ids, points.groups, colours, _title(points))


def _title(points: Points) -> str:
    if points.whole > MOST_POINTS:
        return f"{MOST_POINTS:,} of {points.whole:,} {points.what}, drawn by chance; what you draw around takes all"
    shown = sum(map(len, points.groups.values()))
    return f"{shown:,} {points.what}; near means alike to {points.model.partition('@')[0]}"


def selection_panel(count: int, what: str) -> str:
    """How many points were drawn around, and the way back."""
    return (
        f'<p class="picked"><b>{count:,} {what}</b> chosen on the map. '
        '<button type="button" data-clear="1">show all again</button></p>'
    )


def alikes_panel(groups: Sequence[Alikes], by: str, home: Path) -> str:
    """Pictures that look alike, a row a group; keeping one rejects the regions of the others."""
    if not groups:
        return empty_state("No look-alikes", f"Looked for by {by}.")
    rows = "".join(_group(group, home) for group in groups)
    said = f"Found by {by}. To keep one rejects the regions of the others."
    return f'<p class="quiet">{said}</p><ol class="alikes">{rows}</ol>'


def _group(group: Alikes, home: Path) -> str:
    left = [image.id for image, count in zip(group.images, group.regions, strict=True) if count]
    ids = [image.id for image in group.images]
    tiles = ""
    for image, count in zip(group.images, group.regions, strict=True):
        keep = escape(json.dumps({"keep": image.id, "others": [each for each in ids if each != image.id]}))
        act = f'<button type="button" data-keep="{keep}">keep this one</button>' if len(left) > 1 else ""
        kept = " kept" if left == [image.id] else ""
        tiles += (
            f'<figure class="alike{kept}"><img src="{thumbnail(home, image)}" alt="" loading="lazy">'
            f'<figcaption class="quiet">{count} regions</figcaption>{act}</figure>'
        )
    return f"<li>{tiles}</li>"
