"""Render pictures with boxes on them: the regions of a picture, or two boxes a description side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from app.core.data_uri import picture_uri
from app.ui.html import render_macro
from app.ui.marks import mark_of
from grain.structures import Region

SECOND_DASH = "7 5"  # of the second box of a pair, in screen pixels
THUMBNAIL_SIDE = 112  # pixels of an example; twice what the page shows

Box = tuple[float, float, float, float]
"""xyxy, normalized to the upright picture."""


@dataclass(frozen=True)
class FrameBox:
    """A box as a frame draws it. text: shown on hover, "" for none."""

    x: float
    y: float
    width: float
    height: float
    color: str
    dash: str
    text: str = ""

    @classmethod
    def of(cls, box: Sequence[float], color: str, *, dash: str, text: str = "") -> FrameBox:
        """Place a box by its xyxy."""
        x0, y0, x1, y1 = (float(value) for value in box)
        return cls(x0, y0, max(0.0, x1 - x0), max(0.0, y1 - y0), color, dash, text)


def thumbnail_uri(path: Path) -> str:
    """Return one of our own pictures, reduced, as a data URI."""
    with Image.open(path) as image:
        return picture_uri(image, THUMBNAIL_SIDE)


def regions_picture(image: Image.Image, regions: Sequence[Region]) -> str:
    """Render a picture with its regions, a colour a description."""
    return regions_frame(picture_uri(image), regions, width=image.width, height=image.height)


def regions_frame(uri: str, regions: Sequence[Region], *, width: int, height: int) -> str:
    """Render a picture with its regions.

    Args:   uri: of the picture, reduced or not. width, height: of the upright picture.
    """
    boxes = []
    for region in regions:
        mark = mark_of(region.index)
        boxes.append(FrameBox.of(region.xyxy, mark.color, dash=mark.dash, text=f"{region.text} {region.score:.2f}"))
    return render_macro("frame", uri, width, height, boxes)


def comparison_frame(uri: str, pairs: Sequence[tuple[Box | None, Box | None]], *, width: int, height: int) -> str:
    """Render a picture with two boxes a description, in its colour: the first with whole lines, the second dashed.

    Args:   pairs: None where there is no box. width, height: of the upright picture.
    """
    boxes = [
        FrameBox.of(box, mark_of(index).color, dash=dash)
        for index, pair in enumerate(pairs)
        for box, dash in zip(pair, ("", SECOND_DASH), strict=True)
        if box is not None
    ]
    return render_macro("frame", uri, width, height, boxes)
