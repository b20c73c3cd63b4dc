"""Draw busy places by the generator itself: noise, cells, weaves, leaves, confetti and shelves, with words for them."""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from curation.sample.backgrounds import WALLS, Background, random_numbers, resized_image
from curation.sample.colors import COLORS, Color, jittered, toned
from curation.sample.shapes import ellipse, rotate

SURFACES: dict[str, tuple[Color, Color]] = {
    "marble": ((236, 234, 230), (140, 142, 150)),
    "moss": ((60, 92, 44), (150, 170, 92)),
    "rust": ((120, 70, 44), (214, 148, 96)),
    "water": ((40, 96, 130), (170, 210, 220)),
    "gravel": ((92, 90, 88), (204, 200, 192)),
    "clouds": ((120, 160, 206), (248, 248, 250)),
}


def _mixed(share: npt.NDArray[np.float64], pair: tuple[Color, Color]) -> npt.NDArray[np.float64]:
    return np.array(pair[0]) + share[:, :, None] * (np.array(pair[1], dtype=np.float64) - pair[0])


def _surface(size: tuple[int, int], rng: Random) -> Background:
    name, numbers = rng.choice(list(SURFACES)), random_numbers(rng)
    share: npt.NDArray[np.float64] = np.zeros((48, 48))
    for cells, weight in ((4, 0.5), (9, 0.3), (22, 0.3)):
        small = Image.fromarray((255 * numbers.random((cells, cells))).astype(np.uint8))
        share += weight * (np.asarray(small.resize((48, 48), Image.Resampling.BICUBIC)) / 255 - 0.5)
    share = np.clip(0.5 + rng.uniform(1.0, 2.2) * share, 0, 1) + numbers.normal(0, 0.03, share.shape)
    image = resized_image(_mixed(share, SURFACES[name]), size, Image.Resampling.BICUBIC)
    return Background(image, (f"over {name}", f"with {name} behind", f"on a patch of {name}"))


def _pebbles(size: tuple[int, int], rng: Random) -> Background:
    numbers, count = random_numbers(rng), rng.randint(25, 60)
    places = numbers.random((count, 2)) * 64
    y, x = np.mgrid[0:64, 0:64]
    owner = ((x[:, :, None] - places[:, 0]) ** 2 + (y[:, :, None] - places[:, 1]) ** 2).argmin(axis=2)
    pair = rng.choice(
        (((70, 66, 62), (214, 206, 192)), ((60, 84, 110), (220, 226, 206)), ((110, 70, 60), (232, 200, 170)))
    )
    image = resized_image(_mixed(numbers.random(count)[owner], pair), size, Image.Resampling.BICUBIC)
    return Background(image, ("on pebbles", "on a mosaic floor", "among pebbles"))


def _weave(size: tuple[int, int], rng: Random) -> Background:
    name, numbers = rng.choice(list(WALLS)), random_numbers(rng)
    threads = rng.randint(10, 24)
    x, y = np.meshgrid(np.arange(4 * threads), np.arange(4 * threads))
    over = (x // 2 + y // 2) % 2
    share = np.where(over, x % 2, y % 2) * 0.5 + 0.4 * over + numbers.normal(0, 0.06, x.shape)
    pair = (toned(WALLS[name], -0.45), toned(WALLS[name], 0.1))
    image = resized_image(_mixed(share, pair), size, Image.Resampling.BILINEAR)
    return Background(image, (f"on a {name} woven mat", "on a woven mat", "in a woven basket"))


def _leaves(size: tuple[int, int], rng: Random) -> Background:
    image = Image.new("RGB", size, (46, 62, 36))
    draw = ImageDraw.Draw(image)
    greens: tuple[Color, ...] = ((66, 110, 50), (96, 140, 60), (130, 150, 70), (58, 88, 60), (160, 150, 80))
    for _ in range(rng.randint(50, 110)):
        leaf = rotate(ellipse((0, 0), (rng.uniform(8, 22), rng.uniform(4, 8))), rng.uniform(0, 180))
        leaf += (rng.uniform(0, size[0]), rng.uniform(0, size[1]))
        draw.polygon(leaf.ravel().tolist(), fill=jittered(rng.choice(greens), rng, 18))
    return Background(image, ("among leaves", "in a hedge", "in front of a bush"))


def _confetti(size: tuple[int, int], rng: Random) -> Background:
    image = Image.new("RGB", size, jittered(rng.choice(list(WALLS.values())), rng, 20))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(30, 90)):
        x, y, radius = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(2, 6)
        color = toned(rng.choice(list(COLORS.values())), rng.uniform(-0.2, 0.4))
        draw.ellipse((x - radius, y - radius * rng.uniform(0.5, 1), x + radius, y + radius), fill=color)
    return Background(image, ("on a confetti cloth", "among confetti", "at a party"))


def _shelf(size: tuple[int, int], rng: Random) -> Background:
    width, height = size
    image = Image.new("RGB", size, (70, 52, 40))
    draw = ImageDraw.Draw(image)
    rows = rng.randint(2, 3)
    for row in range(rows):
        x, floor = 0.0, height * (row + 1) / rows
        while x < width:
            wide, high = rng.uniform(6, 18), height / rows * rng.uniform(0.65, 0.92)
            color = toned(rng.choice((*COLORS.values(), *WALLS.values())), rng.uniform(-0.45, 0.1))
            draw.rectangle((x, floor - high, x + wide, floor - 3), fill=color, outline=toned(color, -0.4))
            x += wide
    return Background(image, ("in front of a bookshelf", "before a shelf of books"))


TEXTURES = (_surface, _surface, _pebbles, _weave, _leaves, _confetti, _shelf)


def draw_texture(size: tuple[int, int], rng: Random) -> Background:
    """Draw a busy place chosen at random. size: width, height in pixels."""
    return rng.choice(TEXTURES)(size, rng)
