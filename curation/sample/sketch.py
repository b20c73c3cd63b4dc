"""Draw the sample world's products in coloured pencil: the same parts and boxes in a look that is never trained."""

from __future__ import annotations

import math
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from curation.sample.backgrounds import Background
from curation.sample.colors import COLORS, Color, jittered, outline_of, toned
from curation.sample.render import SUPERSAMPLE
from curation.sample.shapes import Piece, PlacedPart, Points

PAPER: Color = (247, 245, 238)
PLACES = ("on white paper", "drawn on paper", "as a pencil drawing")
WOBBLE = 0.5  # pixels that a line leaves its place, at most about twice that
HATCH_PIXELS = 3.0  # from one pencil stroke to the next
STROKE_SHARE = 0.6  # of that distance that a stroke covers
BETWEEN = 0.45  # how pale the colour is between strokes: 1 is white
LINES = 2  # times each outline is drawn, never quite in the same place


def draw_sketch(size: tuple[int, int], placed: list[PlacedPart], rng: Random) -> Background:
    """Draw the product on paper, and return the words for where it is. placed: in pixels. size: width, height."""
    numbers = np.random.Generator(np.random.PCG64(rng.getrandbits(64)))
    width, height = size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE
    paper = np.array(PAPER) + numbers.normal(0, 3.0, (height // 2, width // 2, 1))
    canvas = Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8)).resize((width, height))
    for part in placed:
        color, degrees = jittered(COLORS[part.part.color], rng), rng.uniform(0, 180)
        for piece in part.shape:
            _draw_piece(canvas, piece, color=color, degrees=degrees, numbers=numbers)
    return Background(canvas.reduce(SUPERSAMPLE), PLACES)


def _draw_piece(
    canvas: Image.Image, piece: Piece, *, color: Color, degrees: float, numbers: np.random.Generator
) -> None:
    points = _wobbled(piece.points, numbers)
    x0, y0 = (int(v) for v in np.floor(points.min(axis=0)))
    x1, y1 = (int(v) + 1 for v in np.ceil(points.max(axis=0)))
    mask = Image.new("L", (x1 - x0, y1 - y0))
    ImageDraw.Draw(mask).polygon((points - (x0, y0)).ravel().tolist(), fill=255)
    canvas.paste(_hatched(mask.size, toned(piece.base or color, piece.tone), degrees), (x0, y0), mask)
    if piece.outlined:
        draw = ImageDraw.Draw(canvas)
        for _ in range(LINES):
            loop = _wobbled(piece.points, numbers).ravel().tolist()
            draw.line(loop + loop[:4], fill=outline_of(color), width=SUPERSAMPLE)


def _wobbled(points: Points, numbers: np.random.Generator) -> Points:
    wobbled: Points = (points + numbers.normal(0, WOBBLE / 2, points.shape)) * SUPERSAMPLE
    return wobbled


def _hatched(size: tuple[int, int], color: Color, degrees: float) -> Image.Image:
    """Draw parallel strokes of a colour over a paler ground of it."""
    x, y = np.arange(size[0]), np.arange(size[1])[:, None]
    across = x * math.cos(math.radians(degrees)) + y * math.sin(math.radians(degrees))
    stroke = (across / (HATCH_PIXELS * SUPERSAMPLE)) % 1.0 < STROKE_SHARE
    pixels = np.where(stroke[:, :, None], np.array(color), np.array(toned(color, BETWEEN)))
    return Image.fromarray(pixels.astype(np.uint8))
