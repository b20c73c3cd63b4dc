"""Draw the regions of the Ground page into a picture, to download as a PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image

from app.ground.overlay import DrawnRegion
from app.ui.marks import mark_of
from grain.structures import Prediction

LARGEST_SIDE = 2048  # pixels of the PNG
LABEL_CHARACTERS = 60


def draw_regions(image: Image.Image, prediction: Prediction, regions: Sequence[DrawnRegion]) -> Image.Image:
    """Return the upright picture with its regions drawn in, reduced to LARGEST_SIDE pixels."""
    import supervision as sv  # here: it brings OpenCV, which no page needs before somebody keeps a picture

    reduced = image.copy()
    reduced.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    if not regions:
        return reduced
    boxes = np.array([region.box_xyxy for region in regions]) * np.array(reduced.size * 2)
    colors = sv.ColorPalette.from_hex([mark_of(region.description).color for region in regions])
    inks = sv.ColorPalette.from_hex([mark_of(region.description).ink for region in regions])
    detections = sv.Detections(xyxy=boxes, class_id=np.arange(len(regions)))
    thickness = max(2, round(max(reduced.size) / 300))
    lines = sv.BoxAnnotator(color=colors, thickness=thickness)
    labels = sv.RichLabelAnnotator(color=colors, text_color=inks, font_size=max(12, round(max(reduced.size) / 50)))
    texts = [
        f"{textwrap.shorten(prediction.descriptions[region.description], LABEL_CHARACTERS)} {region.score:.2f}"
        for region in regions
    ]
    annotated: Image.Image = labels.annotate(lines.annotate(reduced, detections), detections, texts)
    return annotated


def png_bytes(image: Image.Image) -> bytes:
    """Return an image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
