"""Render what several pages show of regions: a thumbnail under its boxes, and two versions side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.core.thumbnails import thumbnail_address
from app.ui.html import render_macro
from db.models import Image
from db.queries.edit_conflicts import COMPUTED


def boxed_thumbnail(image: Image, home: Path, boxes: Iterable[tuple[Sequence[float], str]]) -> str:
    """Render a picture's thumbnail under boxes, normalized xyxy, each with the class of its line."""
    return placed_thumbnail(image.sha256, home, boxes, width=image.width, height=image.height)


def placed_thumbnail(
    sha256: str, home: Path, boxes: Iterable[tuple[Sequence[float], str]], *, width: int, height: int
) -> str:
    """Render the thumbnail of a content under boxes, as `boxed_thumbnail`. width, height: of the picture, pixels."""
    placed = [(x1, y1, x2 - x1, y2 - y1, line) for (x1, y1, x2, y2), line in boxes]
    return render_macro("boxed_thumbnail", thumbnail_address(home, sha256), width, height, placed)


def versions_table(present: Mapping[str, Any], other: Mapping[str, Any], *, left: str, right: str) -> str:
    """Render the values that differ between two versions of a region, side by side."""
    rows = [
        ("box" if name == "xyxy" else name, _in_words(present[name]), _in_words(other[name]))
        for name in other
        if name in present and present[name] != other[name] and name not in COMPUTED
    ]
    return render_macro("table", ("", left, right), rows)


def _in_words(value: object) -> str:
    if isinstance(value, list):
        return " ".join(f"{number:.3f}" for number in value)
    return "–" if value in (None, "") else str(value)
