"""Compose pictures of the second edition: a main product among others, loose parts, busy places, things in front."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageStat

from curation.sample.backgrounds import WALLS, WOODS, Background, draw_background, draw_clutter
from curation.sample.colors import COLORS, toned
from curation.sample.families import draw_seen_product
from curation.sample.render import Lighting, assemble, draw_products, light_and_noise, to_pixels
from curation.sample.shapes import EMBLEMS, SIDES, TOPS, Part, PlacedPart, Points, ellipse, extent_of, rectangle, rotate
from curation.sample.textures import draw_texture

MAIN_SHARE, OTHER_SHARE, LOOSE_SHARE = (0.55, 0.85), (0.28, 0.46), (0.08, 0.18)  # of the picture's shorter side

OTHER_PRODUCTS = (0, 0, 1, 1, 2)  # beside the main one, each as likely

MOST_LOOSE_PARTS = 4

TEXTURED = 0.6  # of the pictures have a busy place

OCCLUDED = 0.5  # of the pictures have something in front of the main product

MOST_HIDDEN = 0.6  # of any part of the main product

OCCLUDER_TRIES = 8

MOST_BLUR = 1.3  # pixels, radius

LIGHTING = Lighting(level=(0.72, 1.12), across=0.28, down=0.22, cast=0.1, noise=(0.8, 2.6))


def compose(
    parts: dict[str, Part], side: str, *, size: tuple[int, int], rng: Random
) -> tuple[list[PlacedPart], Background]:
    """Draw a picture whose main product, the largest and foremost, has these parts, its side part on a side.

    Returns: the main product in pixels, and the picture with the words for its place.
    """
    width, height = size
    background = draw_texture(size, rng) if rng.random() < TEXTURED else draw_background(size, rng)
    main = to_pixels(assemble(parts, rng, side=side), rng, width=width, height=height, share=MAIN_SHARE)
    behind = [_loose_part(size, rng) for _ in range(rng.randint(0, MOST_LOOSE_PARTS))]
    for _ in range(rng.choice(OTHER_PRODUCTS)):
        placed = assemble(draw_seen_product(rng), rng, side=rng.choice(("left", "right")))
        behind.append(to_pixels(placed, rng, width=width, height=height, share=OTHER_SHARE))
    draw_clutter(background.image, main, rng)
    image = draw_products(background.image, [*behind, main], rng)
    if rng.random() < OCCLUDED:
        _occlude(image, main, rng)
    blurred = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, MOST_BLUR)))
    return main, Background(light_and_noise(blurred, rng, LIGHTING), background.places)


def _loose_part(size: tuple[int, int], rng: Random) -> list[PlacedPart]:
    slot, shapes = rng.choice((("top", TOPS), ("side", SIDES), ("emblem", EMBLEMS)))
    kind = rng.choice(list(shapes))
    alone = PlacedPart(Part(slot, kind, rng.choice(list(COLORS))), shapes[kind])
    return to_pixels([alone], rng, width=size[0], height=size[1], share=LOOSE_SHARE)


def _occlude(image: Image.Image, main: list[PlacedPart], rng: Random) -> None:
    """Lay a pole, a leaf or a sheet over the main product; none where each one tried hides too much of a part."""
    for _ in range(OCCLUDER_TRIES):
        cover = _mask(image.size, [_occluder(image.size, main, rng)])
        color = toned(rng.choice((*WALLS.values(), *WOODS)), rng.uniform(-0.6, 0.1))
        if max(hidden_shares(main, cover)) <= MOST_HIDDEN:
            image.paste(color, (0, 0), cover)
            return


def _occluder(size: tuple[int, int], main: list[PlacedPart], rng: Random) -> Points:
    low, high = extent_of(main)
    centre = low + (high - low) * (rng.random(), rng.random())
    unit, kind = float(min(size)), rng.randrange(3)
    if kind == 0:
        half = unit * rng.uniform(0.02, 0.06)
        shape = rectangle((-half, -2 * unit), (half, 2 * unit))
    elif kind == 1:
        shape = ellipse((0, 0), (unit * rng.uniform(0.1, 0.22), unit * rng.uniform(0.06, 0.14)))
    else:
        across, down = unit * rng.uniform(0.1, 0.2), unit * rng.uniform(0.08, 0.16)
        shape = rectangle((-across, -down), (across, down))
    return np.asarray(rotate(shape, rng.uniform(0, 180)) + centre)


def _mask(size: tuple[int, int], polygons: list[Points]) -> Image.Image:
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for points in polygons:
        draw.polygon(points.ravel().tolist(), fill=255)
    return mask


def hidden_shares(placed: Sequence[PlacedPart], cover: Image.Image) -> list[float]:
    """Return the share of each part's pixels that lies under a cover, a mask of the picture's size."""
    masks = [_mask(cover.size, [piece.points for piece in part.shape]) for part in placed]
    lit = [(ImageStat.Stat(ImageChops.multiply(mask, cover)).sum[0], ImageStat.Stat(mask).sum[0]) for mask in masks]
    return [float(both / max(own, 1)) for both, own in lit]
