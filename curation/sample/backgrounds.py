"""Draw the places that products stand in, with the words for them, and clutter around the product."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from curation.sample.colors import Color, jittered, toned
from curation.sample.shapes import PlacedPart, Points, ellipse, extent_of


@dataclass(frozen=True)
class Background:
    """A picture without a product, and the words for the place it shows."""

    image: Image.Image
    places: tuple[str, ...]


WALLS: dict[str, Color] = {
    "blue": (170, 200, 228),
    "green": (184, 214, 182),
    "pink": (240, 206, 212),
    "grey": (190, 192, 196),
    "beige": (228, 214, 190),
    "yellow": (240, 228, 176),
    "purple": (206, 194, 224),
}

WOODS: tuple[Color, ...] = ((196, 154, 108), (168, 124, 84), (214, 180, 138))


def resized_image(pixels: npt.NDArray[np.float64], size: tuple[int, int], how: Image.Resampling) -> Image.Image:
    """Make an image of rows of colors [H, W, 3], 0 to 255, in another size."""
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).resize(size, how)


def random_numbers(rng: Random) -> np.random.Generator:
    """Start numpy's generator from a draw of Python's."""
    return np.random.Generator(np.random.PCG64(rng.getrandbits(64)))


def _backdrop(size: tuple[int, int], rng: Random) -> Background:
    name = rng.choice(list(WALLS))
    tones = np.array([[jittered(WALLS[name], rng, 22) for _ in range(2)] for _ in range(2)], dtype=np.float64)
    image = resized_image(tones, size, Image.Resampling.BILINEAR)
    places = (f"against a {name} wall", f"in front of a {name} backdrop", f"on a plain {name} background")
    return Background(image, places)


def _wood(size: tuple[int, int], rng: Random) -> Background:
    base = np.array(jittered(rng.choice(WOODS), rng))
    veins = random_numbers(rng).normal(0, 9, (rng.randint(24, 48), 3, 1))
    image = resized_image(base + veins, size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    planks = rng.randint(3, 6)
    for i in range(1, planks):
        y = size[1] * i / planks + rng.uniform(-3, 3)
        draw.line((0, y, size[0], y), fill=toned(tuple(base.tolist()), -0.4), width=1)
    return Background(image, ("on a wooden table", "on wooden boards", "on a wood floor"))


def _checker(size: tuple[int, int], rng: Random) -> Background:
    name = rng.choice(list(WALLS))
    light = np.array(toned(WALLS[name], 0.55))
    squares = rng.randint(5, 9)
    odd = (np.add.outer(np.arange(squares), np.arange(squares)) % 2)[:, :, None]
    image = resized_image(
        np.where(odd, np.array(WALLS[name]), light).astype(np.float64), size, Image.Resampling.NEAREST
    )
    return Background(image, (f"on a {name} checkered cloth", "on a checkered cloth", "on a picnic cloth"))


GROUNDS: dict[str, tuple[Color, float]] = {
    "sand": ((222, 200, 156), 9.0),
    "grass": ((124, 172, 92), 15.0),
    "stone": ((168, 168, 166), 12.0),
    "snow": ((236, 240, 244), 6.0),
}


def _ground(size: tuple[int, int], rng: Random) -> Background:
    name = rng.choice(list(GROUNDS))
    color, rough = GROUNDS[name]
    speckle = random_numbers(rng).normal(0, rough, (size[1] // 3, size[0] // 3, 1))
    image = resized_image(np.array(jittered(color, rng)) + speckle, size, Image.Resampling.BILINEAR)
    return Background(image, (f"on {name}", f"lying on {name}", f"outside on {name}"))


def _horizon(size: tuple[int, int], rng: Random) -> Background:
    sky, ground, places = rng.choice(
        (
            ((164, 206, 240), (126, 176, 96), ("in a green field", "in a meadow under a blue sky")),
            ((176, 214, 240), (226, 206, 162), ("on the beach", "on the beach under a blue sky")),
            ((212, 220, 230), (240, 243, 246), ("in the snow", "outside in winter")),
            ((244, 198, 160), (150, 120, 132), ("at sunset", "in the evening sun")),
        )
    )
    return _two_tone(size, rng, above=sky, below=ground, places=places)


def _table(size: tuple[int, int], rng: Random) -> Background:
    wall = rng.choice(list(WALLS))
    table = rng.choice([name for name in WALLS if name != wall])
    places = (f"on a {table} table", f"on a shelf against a {wall} wall", f"on a table in a {wall} room")
    return _two_tone(size, rng, above=WALLS[wall], below=toned(WALLS[table], -0.15), places=places)


def _two_tone(size: tuple[int, int], rng: Random, *, above: Color, below: Color, places: tuple[str, ...]) -> Background:
    rows = 48
    line = round(rows * rng.uniform(0.45, 0.8))
    fade = np.linspace(0, 14, rows)[:, None, None]
    upper = np.arange(rows)[:, None, None] < line
    pixels = np.where(upper, np.array(jittered(above, rng)), np.array(jittered(below, rng))) + fade - 7
    return Background(resized_image(pixels, size, Image.Resampling.BILINEAR), places)


def _bricks(size: tuple[int, int], rng: Random) -> Background:
    width, height = size
    base = jittered(rng.choice(((190, 126, 104), (206, 190, 172), (176, 148, 130))), rng)
    rows, columns = rng.randint(7, 11), rng.randint(4, 6)
    tones = np.array(base) + random_numbers(rng).normal(0, 7, (rows, 2 * columns, 1))
    image = resized_image(tones, size, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    mortar = toned(base, 0.45)
    for row in range(rows):
        y = height * row / rows
        draw.line((0, y, width, y), fill=mortar, width=2)
        for column in range(columns + 1):
            x = width * (column + 0.5 * (row % 2)) / columns
            draw.line((x, y, x, y + height / rows), fill=mortar, width=2)
    return Background(image, ("in front of a brick wall", "against a brick wall"))


def _tiles(size: tuple[int, int], rng: Random) -> Background:
    name = rng.choice(list(WALLS))
    count = rng.randint(4, 7)
    tones = np.array(toned(WALLS[name], 0.3)) + random_numbers(rng).normal(0, 4, (count, count, 1))
    image = resized_image(tones, size, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    for i in range(1, count):
        x, y = size[0] * i / count, size[1] * i / count
        draw.line((x, 0, x, size[1]), fill=toned(WALLS[name], -0.12), width=2)
        draw.line((0, y, size[0], y), fill=toned(WALLS[name], -0.12), width=2)
    return Background(image, (f"on {name} tiles", "on a tiled floor", "on kitchen tiles"))


def _wallpaper(size: tuple[int, int], rng: Random) -> Background:
    name = rng.choice(list(WALLS))
    odd = (np.arange(2 * rng.randint(5, 9)) % 2)[None, :, None]
    pixels = np.where(odd, np.array(WALLS[name]), np.array(toned(WALLS[name], 0.4))).astype(np.float64)
    image = resized_image(pixels, size, Image.Resampling.NEAREST)
    return Background(image, (f"against {name} wallpaper", "against striped wallpaper"))


BACKGROUNDS = (_backdrop, _wood, _checker, _ground, _horizon, _table, _bricks, _tiles, _wallpaper)


def draw_background(size: tuple[int, int], rng: Random) -> Background:
    """Draw a place chosen at random. size: width, height in pixels."""
    return rng.choice(BACKGROUNDS)(size, rng)


def _clutter_shape(*, x: float, y: float, radius: float, rng: Random) -> Points:
    kind = rng.randrange(3)
    if kind == 0:
        return ellipse((x, y), (radius, radius * rng.uniform(0.5, 1)))
    corners = rng.randint(3, 6)
    turn = rng.uniform(0, 2 * math.pi)
    angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
    return np.array([(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles])


def draw_clutter(image: Image.Image, placed: list[PlacedPart], rng: Random) -> None:
    """Draw thin lines and pale shapes behind the product; no shape comes near it, so that none can pass for a part."""
    width, height = image.size
    low, high = extent_of(placed)
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(rng.randint(0, 3)):
        ends = [rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0, height)]
        draw.line(ends, fill=(*rng.choice(list(WALLS.values())), 130), width=rng.randint(1, 2))
    for _ in range(rng.randint(1, 6)):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(4, 16)
        gap = radius + 4
        if low[0] - gap < x < high[0] + gap and low[1] - gap < y < high[1] + gap:
            continue
        color = toned(rng.choice(list(WALLS.values())), rng.uniform(-0.5, 0.3))
        draw.polygon(
            _clutter_shape(x=x, y=y, radius=radius, rng=rng).ravel().tolist(), fill=(*color, rng.randint(120, 230))
        )
