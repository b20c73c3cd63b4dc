"""Draw the regions of the Ground page into a picture, to download as a PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from PIL import Image

from app.ground.overlay import DrawnRegion, numbered
from app.ui.marks import mark_of
from grain.draw import LabelledBox, draw_boxes
from grain.structures import Prediction

LABEL_CHARACTERS = 60


def draw_regions(image: Image.Image, prediction: Prediction, regions: Sequence[DrawnRegion]) -> Image.Image:
    """Return the upright picture with its regions drawn in, in the page's colours; a large picture is reduced."""
    return draw_boxes(image, [_labelled(prediction, region) for region in regions])


def _labelled(prediction: Prediction, region: DrawnRegion) -> LabelledBox:
    text = textwrap.shorten(prediction.descriptions[region.description], LABEL_CHARACTERS, placeholder="…")
    return LabelledBox(
        region.box_xyxy, f"{numbered(text, region)} {region.score:.2f}", mark_of(region.description).color
    )


def png_bytes(image: Image.Image) -> bytes:
    """Return an image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
