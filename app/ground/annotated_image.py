"""Draw the regions of the Ground page into a picture, to download as a PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from PIL import Image

from app.ground.actions import CheckpointResult
from app.ground.overlay import DrawnRegion, DrawnResult, Which, drawn_regions, drawn_results, numbered
from app.ui.marks import mark_of
from grain.draw import LabelledBox, add_legend, draw_boxes
from grain.structures import Prediction

LABEL_CHARACTERS = 60


def draw_results(
    image: Image.Image, results: Sequence[CheckpointResult], *, threshold: float, which: Which
) -> Image.Image:
    """Return the upright picture with the regions that the page shows, those of a second checkpoint where asked for.

    A large picture is reduced.
    """
    both = drawn_results(results, threshold=threshold, which=which)
    if len(both) > 1:
        return draw_both(image, both[0], both[1])
    prediction = results[0].prediction
    return draw_regions(image, prediction, drawn_regions(prediction, threshold=threshold, which=which))


def draw_regions(image: Image.Image, prediction: Prediction, regions: Sequence[DrawnRegion]) -> Image.Image:
    """Return the upright picture with its regions drawn in, in the page's colours; a large picture is reduced."""
    return draw_boxes(image, [_labelled(prediction, region) for region in regions])


def draw_both(image: Image.Image, first: DrawnResult, second: DrawnResult) -> Image.Image:
    """Return the picture with the regions of two checkpoints: whole lines and dashed ones, and a legend below."""
    boxes = [_labelled(each.prediction, region, each is second) for each in (first, second) for region in each.regions]
    return add_legend(draw_boxes(image, boxes), first.name, second.name)


def _labelled(prediction: Prediction, region: DrawnRegion, dashed: bool = False) -> LabelledBox:
    text = textwrap.shorten(prediction.descriptions[region.description], LABEL_CHARACTERS, placeholder="…")
    label = f"{numbered(text, region)} {region.score:.2f}"
    return LabelledBox(region.box_xyxy, label, mark_of(region.description).color, dashed)


def png_bytes(image: Image.Image) -> bytes:
    """Return an image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
