"""Draw boxes into a picture, each with a label; labels stay inside the picture and keep apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Okabe and Ito's palette, told apart by colour-blind eyes; the order keeps the first few strong on white and on black.
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
DARK_INK_ON = {"#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442"}  # white would lack contrast
LARGEST_SIDE = 2048  # pixels of a drawn picture
LEAST_LINE, LINE_SHARE = 2, 300  # pixels, and the part of the longer side that a line is thick
LEAST_FONT, FONT_SHARE = 12, 50
GAP = 2  # pixels between a box and its label
DARK_INK = "#111111"
DASH, DASH_GAP = 4, 3  # of a second model's lines, in their thickness
CASING = "#ffffff"  # around a line, so that it shows on dark and bright pixels

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class LabelledBox:
    """A box to draw. box_xyxy: normalized to the upright picture. color: hex, of PALETTE. dashed: of a second model."""

    box_xyxy: Rectangle
    label: str
    color: str
    dashed: bool = False


def color_of(index: int) -> str:
    """Return the colour of the description with that index."""
    return PALETTE[index % len(PALETTE)]


def ink_on(color: str) -> str:
    """Return the colour of letters that are read on a colour of PALETTE."""
    return DARK_INK if color in DARK_INK_ON else "#ffffff"


def draw_boxes(image: Image.Image, boxes: Sequence[LabelledBox]) -> Image.Image:
    """Return the upright RGB picture with its boxes drawn in, reduced to LARGEST_SIDE pixels."""
    drawn = image.copy()
    drawn.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    if not boxes:
        return drawn
    side = max(drawn.size)
    line, letters = max(LEAST_LINE, side // LINE_SHARE), max(LEAST_FONT, side // FONT_SHARE)
    font = ImageFont.load_default(letters)
    placed = [_pixels(each.box_xyxy, drawn.size) for each in boxes]
    drawn = _draw_lines(drawn, placed, boxes, thickness=line)
    pen = ImageDraw.Draw(drawn)
    pad = letters / 4
    texts = [pen.textbbox((0, 0), each.label, font=font) for each in boxes]
    sizes = [(x1 - x0 + 2 * pad, y1 - y0 + 2 * pad) for x0, y0, x1, y1 in texts]
    places = place_labels(placed, sizes, width=drawn.width, height=drawn.height)
    for (x, y), (w, h), text, each in zip(places, sizes, texts, boxes, strict=True):
        outline = {"fill": CASING, "outline": each.color, "width": line} if each.dashed else {"fill": each.color}
        pen.rounded_rectangle((x, y, x + w, y + h), radius=pad, **outline)
        ink = DARK_INK if each.dashed else ink_on(each.color)
        pen.text((x + pad - text[0], y + pad - text[1]), each.label, font=font, fill=ink)
    return drawn


def add_legend(image: Image.Image, first: str, second: str) -> Image.Image:
    """Return the picture with a strip below it that says whose boxes are whole and whose are dashed."""
    side = max(image.size)
    line, letters = max(LEAST_LINE, side // LINE_SHARE), max(LEAST_FONT, side // FONT_SHARE)
    font = ImageFont.load_default(letters)
    legend = Image.new("RGB", (image.width, image.height + 4 * letters), CASING)
    legend.paste(image, (0, 0))
    pen = ImageDraw.Draw(legend)
    for row, (name, dashed) in enumerate(((first, False), (second, True))):
        y = image.height + (1 + 2 * row) * letters
        _stroke(pen, (letters, y), (4 * letters, y), color=DARK_INK, thickness=line, dashed=dashed)
        pen.text((5 * letters, y), name, font=font, fill=DARK_INK, anchor="lm")
    return legend


def _draw_lines(
    image: Image.Image, placed: Sequence[Rectangle], boxes: Sequence[LabelledBox], *, thickness: int
) -> Image.Image:
    """Draw the boxes' lines, each with a casing. placed: xyxy in pixels."""
    import supervision as sv  # here: it brings OpenCV, which nothing needs before somebody keeps a picture

    def detections(rows: Sequence[int]) -> Any:
        corners = np.array([placed[row] for row in rows], np.float32).reshape(-1, 4)
        return sv.Detections(xyxy=corners, class_id=np.array(rows))

    casing = sv.BoxAnnotator(color=sv.Color.from_hex(CASING), thickness=thickness + 2)
    lines = sv.BoxAnnotator(color=sv.ColorPalette.from_hex([each.color for each in boxes]), thickness=thickness)
    solid = [row for row, each in enumerate(boxes) if not each.dashed]
    annotated: Image.Image = lines.annotate(casing.annotate(image, detections(range(len(boxes)))), detections(solid))
    pen = ImageDraw.Draw(annotated)
    for (x0, y0, x1, y1), each in zip(placed, boxes, strict=True):
        if each.dashed:
            corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))
            for start, end in pairwise(corners):
                _stroke(pen, start, end, color=each.color, thickness=thickness, dashed=True)
    return annotated


def _stroke(
    pen: ImageDraw.ImageDraw,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    color: str,
    thickness: int,
    dashed: bool,
) -> None:
    """Draw a line, or its dashes, from one point to another."""
    (x0, y0), (x1, y1) = start, end
    length = max(abs(x1 - x0), abs(y1 - y0))
    dash, gap = (DASH * thickness, DASH_GAP * thickness) if dashed else (length, 1)
    for at in np.arange(0, length, dash + gap) / length if length else ():
        until = min(1.0, at + dash / length)
        points = (x0 + at * (x1 - x0), y0 + at * (y1 - y0), x0 + until * (x1 - x0), y0 + until * (y1 - y0))
        pen.line(points, fill=color, width=thickness)


def place_labels(
    boxes: Sequence[Rectangle], sizes: Sequence[tuple[float, float]], *, width: int, height: int
) -> list[tuple[float, float]]:
    """Place a label for each box: at its edges where there is room, else at the nearest place that is free.

    A picture that is full of labels has some on top of each other, as little as can be. The page's script
    (app/ground/labels.js) does the same with its own letters.

    Args:    boxes: xyxy in pixels. sizes: width and height of each label. width, height: of the picture.
    Returns: the upper left corner of each label, in order; one that fits is inside the picture.
    """
    taken: list[Rectangle] = []
    for box, (w, h) in zip(boxes, sizes, strict=True):
        most_x, most_y = max(0.0, width - w), max(0.0, height - h)
        best, least = (0.0, 0.0), float("inf")
        for x, y in _places(box, w, h, height=height):
            at = (min(max(x, 0.0), most_x), min(max(y, 0.0), most_y))
            covered = sum(_overlap((*at, at[0] + w, at[1] + h), other) for other in taken)
            if covered < least:
                best, least = at, covered
            if not covered:
                break
        taken.append((*best, best[0] + w, best[1] + h))
    return [(x, y) for x, y, _, _ in taken]


def _places(box: Rectangle, w: float, h: float, *, height: int) -> Iterator[tuple[float, float]]:
    """Yield upper left corners to try: above the box, inside, below, at both sides; then up and down, line by line."""
    x0, y0, x1, y1 = box
    above = y0 - h - GAP if y0 >= h + GAP else y0 + GAP
    for y in (above, y0 + GAP, y1 + GAP, y1 - h - GAP):
        yield x0, y
        yield x1 - w, y
    for step in range(1, round(height / h) + 1):
        for y in (above - step * (h + GAP), above + step * (h + GAP)):
            if 0 <= y <= height - h:
                yield x0, y
                yield x1 - w, y


def _overlap(one: Rectangle, other: Rectangle) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, down)


def _pixels(box_xyxy: Rectangle, size: tuple[int, int]) -> Rectangle:
    (x0, y0, x1, y1), (width, height) = box_xyxy, size
    return x0 * width, y0 * height, max(x0, x1) * width, max(y0, y1) * height
