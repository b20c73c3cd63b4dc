"""Assemble a product of its parts, place it in the picture and draw it, with exact boxes.

Three frames: a part is drawn in its *own* frame, laid out in the *product* frame (the body is about 1 high, y down),
then turned, scaled and moved into *pixels* of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from curation.sample.colors import COLORS, Color, jittered, outline_of, toned
from curation.sample.shapes import (
    BODIES,
    EMBLEMS,
    MIRRORED_TOPS,
    SIDES,
    TOPS,
    Body,
    Part,
    PlacedPart,
    Shape,
    band_shape,
    body_shape,
    extent_of,
    half_width_at,
    rotate,
)

Box = tuple[float, float, float, float]

SUPERSAMPLE = 2  # the product is drawn at this scale and reduced: smooth edges at little cost

OUTLINE_PIXELS = 1.5  # width of the dark outline in the finished picture

EMBLEM_SIZE = 0.40  # of the body's height

PRODUCT_SHARE = (0.62, 0.90)  # of the picture's shorter side

PICTURE_SIDES = (144, 256)  # pixels, each side drawn alone, so that pictures are not square


def _moved(shape: Shape, *, scale: float, x: float, y: float, mirror: bool = False) -> Shape:
    factor = np.array([-scale if mirror else scale, scale])
    return tuple(piece.at(piece.points * factor + (x, y)) for piece in shape)


def _tilted(shape: Shape, degrees: float) -> Shape:
    return tuple(piece.at(rotate(piece.points, degrees)) for piece in shape)


def _lean(body: Body, y: float) -> float:
    """Return the degrees a side part turns to stand straight on a sloping side, which would hide it otherwise."""
    widening = (half_width_at(body, y + 0.2) - half_width_at(body, y - 0.2)) / 0.4
    return -0.75 * math.degrees(math.atan(widening))


def _place(part: Part, body: Body, rng: Random, *, side: str) -> Shape:
    scale = rng.uniform(0.92, 1.14)
    if part.slot == "body":
        return body_shape(body)
    if part.slot == "band":
        shift, grow = rng.uniform(-0.02, 0.02), rng.uniform(-0.01, 0.015)
        return band_shape(body, part, top=body.band[0] + shift - grow, bottom=body.band[1] + shift + grow)
    if part.slot == "top":
        mirror = part.kind in MIRRORED_TOPS and rng.random() < 0.5
        return _moved(TOPS[part.kind], scale=scale, x=rng.uniform(-0.03, 0.03), y=body.top_y, mirror=mirror)
    if part.slot == "side":
        y = body.side_y + rng.uniform(-0.04, 0.04)
        x = half_width_at(body, y) - 0.02
        left = side == "left"
        shape = _tilted(SIDES[part.kind], _lean(body, y))
        return _moved(shape, scale=scale, x=-x if left else x, y=y, mirror=left)
    x, y = rng.uniform(-0.03, 0.03), body.emblem_y + rng.uniform(-0.02, 0.02)
    return _moved(EMBLEMS[part.kind], scale=EMBLEM_SIZE * rng.uniform(0.98, 1.08), x=x, y=y)


def assemble(parts: dict[str, Part], rng: Random, *, side: str) -> list[PlacedPart]:
    """Lay a product's parts out in the product frame, in drawing order (what comes later lies on top).

    Args:    parts: slot -> part, the body always among them. side: "left" or "right" for the side part.
    """
    body = BODIES[parts["body"].kind]
    order = ("side", "top", "body", "band", "emblem")
    return [PlacedPart(parts[slot], _place(parts[slot], body, rng, side=side)) for slot in order if slot in parts]


def to_pixels(
    placed: list[PlacedPart], rng: Random, *, width: int, height: int, share: tuple[float, float] = PRODUCT_SHARE
) -> list[PlacedPart]:
    """Turn the product by up to 8 degrees, scale it to a share of the shorter side, put it anywhere in the picture."""
    degrees = rng.uniform(-8, 8)
    turned = [PlacedPart(p.part, _tilted(p.shape, degrees)) for p in placed]
    low, high = extent_of(turned)
    size = high - low
    scale = (rng.uniform(*share) * min(width, height) - OUTLINE_PIXELS) / float(size.max())
    margin = 2.0  # pixels between product and picture edge
    free = np.array([width, height]) - size * scale - 2 * margin
    shift = margin + free * (rng.random(), rng.random()) - low * scale
    return [PlacedPart(p.part, tuple(piece.at(piece.points * scale + shift) for piece in p.shape)) for p in turned]


def part_box(placed: PlacedPart, *, width: int, height: int) -> Box:
    """Return the tight box of a part's drawn pixels, outline included, xyxy normalized and clipped to the picture."""
    points = np.concatenate([piece.points for piece in placed.shape])
    reach = OUTLINE_PIXELS / 2
    (x0, y0), (x1, y1) = (points.min(axis=0) - reach).tolist(), (points.max(axis=0) + reach).tolist()
    return (max(0.0, x0 / width), max(0.0, y0 / height), min(1.0, x1 / width), min(1.0, y1 / height))


def draw_part(draw: ImageDraw.ImageDraw, placed: PlacedPart, color: Color) -> None:
    """Fill and outline every piece on a canvas SUPERSAMPLE times as large as the picture."""
    line_width = round(OUTLINE_PIXELS * SUPERSAMPLE)
    for piece in placed.shape:
        fill = toned(piece.base or color, piece.tone)
        loop = (piece.points * SUPERSAMPLE).ravel().tolist()
        draw.polygon(loop, fill=fill)
        if piece.outlined:
            draw.line(loop + loop[:4], fill=outline_of(color), width=line_width)


def _draw_shadow(draw: ImageDraw.ImageDraw, placed: list[PlacedPart]) -> None:
    body = [p for p in placed if p.part.slot == "body"]
    if not body:
        return
    low, high = (edge * SUPERSAMPLE for edge in extent_of(body))
    reach = 0.06 * float(high[0] - low[0])
    for grow in (1.0, 0.5):
        x0, x1 = float(low[0]) - reach * grow, float(high[0]) + reach * grow
        y0, y1 = float(high[1]) - 2 * reach * grow, float(high[1]) + 1.6 * reach * grow
        draw.ellipse((x0, y0, x1, y1), fill=(0, 0, 0, 38))


def draw_products(background: Image.Image, products: Sequence[list[PlacedPart]], rng: Random) -> Image.Image:
    """Draw products on the background, edges smoothed; the later lie in front, and those with a body throw a shadow."""
    width, height = background.size
    canvas = background.resize((width * SUPERSAMPLE, height * SUPERSAMPLE), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(canvas, "RGBA")
    for placed in products:
        _draw_shadow(draw, placed)
        for part in placed:
            draw_part(draw, part, jittered(COLORS[part.part.color], rng))
    return canvas.reduce(SUPERSAMPLE)


_GRAIN_SIDE = PICTURE_SIDES[1] + 64

_GRAIN = np.random.Generator(np.random.PCG64(7)).normal(0, 3.0, (_GRAIN_SIDE, _GRAIN_SIDE, 3)).astype(np.float32)


@dataclass(frozen=True)
class Lighting:
    """Ranges of light and noise: each is drawn evenly from its range.

    level: of the light. across, down: how far it rises or falls from one edge to the other, at most. cast: of each
    color channel, at most. noise: of the sensor, 1 is mild.
    """

    level: tuple[float, float] = (0.92, 1.04)
    across: float = 0.14
    down: float = 0.10
    cast: float = 0.0
    noise: tuple[float, float] = (1.0, 1.0)


MILD = Lighting()


def light_and_noise(image: Image.Image, rng: Random, lighting: Lighting = MILD) -> Image.Image:
    """Add a light that falls off to one side, and sensor noise."""
    width, height = image.size
    level = rng.uniform(*lighting.level)
    across, down = rng.uniform(-lighting.across, lighting.across), rng.uniform(-lighting.down, lighting.down)
    x = np.linspace(-across, across, width, dtype=np.float32)
    y = np.linspace(-down, down, height, dtype=np.float32)
    light = level + x[None, :] + y[:, None]
    left, top = rng.randint(0, 63), rng.randint(0, 63)
    noise = _GRAIN[top : top + height, left : left + width]
    if lighting == MILD:
        pixels = np.asarray(image) * light[:, :, None] + noise
    else:
        cast = np.array([1 + rng.uniform(-lighting.cast, lighting.cast) for _ in range(3)], dtype=np.float32)
        pixels = np.asarray(image) * light[:, :, None] * cast + noise * np.float32(rng.uniform(*lighting.noise))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
