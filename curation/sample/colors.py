"""Name the sample world's colors, and lighten, darken and vary them."""

from __future__ import annotations

from random import Random

Color = tuple[int, int, int]


COLORS: dict[str, Color] = {
    "red": (216, 36, 42),
    "orange": (246, 132, 26),
    "yellow": (250, 212, 44),
    "green": (42, 156, 66),
    "blue": (34, 96, 214),
    "purple": (132, 58, 182),
    "pink": (246, 136, 190),
    "brown": (122, 74, 40),
    "black": (36, 36, 40),
    "white": (246, 246, 243),
}

CREAM: Color = (250, 243, 226)

SLATE: Color = (104, 112, 124)

PALE_COLORS = ("white", "yellow")  # their pattern shows on slate; every other on cream


def toned(color: Color, tone: float) -> Color:
    """Move a color nearer white (tone up to 1) or black (down to -1)."""
    target = 255 if tone > 0 else 0
    red, green, blue = (round(c + (target - c) * abs(tone)) for c in color)
    return (red, green, blue)


def outline_of(color: Color) -> Color:
    """Return the color of a part's outline: darker, or lighter where it is nearly black."""
    return toned(color, 0.35) if max(color) < 70 else toned(color, -0.55)


def jittered(color: Color, rng: Random, reach: int = 9) -> Color:
    """Move each channel of a color at random by up to reach."""
    red, green, blue = (min(255, max(0, c + rng.randint(-reach, reach))) for c in color)
    return (red, green, blue)
