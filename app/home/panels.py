"""Render the road of a data set, and the ways in for who has none yet."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from app.core.example_data import EXAMPLES
from app.core.thumbnails import thumbnail_address
from app.ui.html import render

if TYPE_CHECKING:
    from app.home.actions import DatasetRoad

MARKS = {"done": "✓", "going": "◐", "open": "○", "bad": "✕"}


def road_panel(found: DatasetRoad, home: Path) -> str:
    """Render the steps with their counts and states, the next one as a button, and the first pictures."""
    pictures = [
        (thumbnail_address(home, image.sha256), "/curate?" + urlencode({"dataset": found.dataset, "image": image.id}))
        for image in found.pictures
    ]
    steps = [(step, MARKS[step.state], place == found.next_step) for place, step in enumerate(found.steps)]
    return render("home/templates/road.html", steps=steps, pictures=pictures)


def ways_in_panel(known: Collection[str], *, edits: bool) -> str:
    """Render the ways in. known: the names of the data sets that there are. edits: the person may import."""
    examples = [each for name, each in EXAMPLES.items() if edits and name not in known]
    return render("home/templates/ways_in.html", first=not known, examples=examples, edits=edits)
