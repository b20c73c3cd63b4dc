"""Drawing for the sample world: shapes of the parts, how they make a product, backgrounds, pixels and exact boxes.

Three frames: a part is drawn in its *own* frame, laid out in the *product* frame (the body is about 1 high, y down),
then turned, scaled and moved into *pixels* of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Points = npt.NDArray[np.float64]  # [N, 2] x, y
Color = tuple[int, int, int]
Box = tuple[float, float, float, float]

SUPERSAMPLE = 2  # the product is drawn at this scale and reduced: smooth edges at little cost
OUTLINE_PIXELS = 1.5  # width of the dark outline in the finished picture
EMBLEM_SIZE = 0.40  # of the body's height
BAND_OVERHANG = 1.05  # the band is this much wider than the body under it
PICTURE_SIDES = (144, 256)  # pixels, each side drawn alone, so that pictures are not square

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


@dataclass(frozen=True)
class Part:
    """One part of a product: slot (body, band, top, side, emblem), kind (bottle, stripes, …) and color name."""

    slot: str
    kind: str
    color: str


@dataclass(frozen=True)
class Piece:
    """A filled polygon. tone: 0 is the part's color, 1 white, -1 black. base: a color instead of the part's."""

    points: Points
    tone: float = 0.0
    base: Color | None = None
    outlined: bool = True

    def at(self, points: Points) -> Piece:
        """The same piece with its points elsewhere."""
        return Piece(points, self.tone, self.base, self.outlined)


Shape = tuple[Piece, ...]


@dataclass(frozen=True)
class Body:
    """A body symmetric about x = 0: its profile and where the other parts sit.

    profile: [K, 2] rows of (y, half width), y rising. band: its upper and lower y. emblem_y: the emblem's centre.
    side_y, top_y: where the side part and the top join.
    """

    profile: Points
    band: tuple[float, float]
    emblem_y: float
    side_y: float
    top_y: float = 0.0


@dataclass(frozen=True)
class PlacedPart:
    """A part whose pieces lie in the product frame or, after `to_pixels`, in pixels of the finished picture."""

    part: Part
    shape: Shape


@dataclass(frozen=True)
class Background:
    """A picture without a product, and the words for the place it shows."""

    image: Image.Image
    places: tuple[str, ...]


# -------------------------------------------------------------------------------- plane geometry


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 360.0) -> Points:
    """Points along an ellipse from angle start to end (degrees, 0 is +x, 90 is down); 28 for a whole turn."""
    steps = max(8, round(28 * abs(end - start) / 360.0))
    angles = np.radians(np.linspace(start, end, steps, endpoint=abs(end - start) < 360.0))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Points:
    """The four corners."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def stroke(path: Points, width: float) -> Points:
    """The outline of a thick line along an open path [N, 2] with flat ends."""
    direction = np.gradient(path, axis=0)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    normal = direction[:, ::-1] * (-1.0, 1.0) * (width / 2)
    return np.concatenate([path + normal, (path - normal)[::-1]])


def corners(text: str) -> Points:
    """Points written as SVG writes them: "x,y x,y …"."""
    return np.array([pair.split(",") for pair in text.split()], dtype=np.float64)


def _turned(points: Points, degrees: float) -> Points:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned: Points = points @ np.array([(cos, sin), (-sin, cos)])
    return turned


# -------------------------------------------------------------------------------- bodies


def _curve(half_width: Callable[[Points], Points], height: float = 1.0, steps: int = 24) -> Points:
    turn = np.linspace(0, math.pi, steps, dtype=np.float64)
    y = (1 - np.cos(turn)) / 2  # denser at both ends, where round shapes bend
    return np.stack([y * height, half_width(y)], axis=1)


def _circle_arc(y: Points) -> Points:
    return np.sqrt(np.clip(1 - y**2, 0, None))


def _mushroom() -> Points:
    cap = [(0.5 - 0.5 * math.cos(a), 0.64 * math.sin(a)) for a in np.linspace(0.12, math.pi / 2, 12)]
    return np.concatenate([np.array(cap), corners("0.56,0.58 0.56,0.26 1,0.32")])


# corners of a profile are "y,half-width"
BODIES: dict[str, Body] = {
    "ball": Body(
        profile=_curve(lambda y: 0.53 * _circle_arc(2 * y - 1)),
        band=(0.60, 0.86),
        emblem_y=0.34,
        side_y=0.42,
        top_y=0.02,
    ),
    "box": Body(
        profile=corners("0,0.44 0.04,0.48 0.96,0.48 1,0.44"),
        band=(0.60, 0.88),
        emblem_y=0.32,
        side_y=0.42,
    ),
    "bottle": Body(
        profile=corners("0,0.17 0.17,0.17 0.23,0.22 0.29,0.33 0.36,0.38 0.95,0.38 1,0.33"),
        band=(0.69, 0.94),
        emblem_y=0.46,
        side_y=0.58,
    ),
    "bowl": Body(
        profile=_curve(lambda y: np.where(y > 0.96, 0.26, 0.66 * _circle_arc(0.96 * y)), height=0.84),
        band=(0.50, 0.76),
        emblem_y=0.26,
        side_y=0.26,
    ),
    "bell": Body(
        profile=corners("0,0.14 0.03,0.22 0.09,0.28 0.2,0.32 0.5,0.36 0.72,0.42 0.86,0.5 1,0.62"),
        band=(0.64, 0.90),
        emblem_y=0.36,
        side_y=0.44,
    ),
    "pyramid": Body(
        profile=corners("0,0.09 1,0.64"),
        band=(0.69, 0.94),
        emblem_y=0.44,
        side_y=0.50,
    ),
    "hourglass": Body(
        profile=corners("0,0.5 0.07,0.5 0.07,0.44 0.3,0.36 0.5,0.17 0.7,0.36 0.93,0.44 0.93,0.5 1,0.5"),
        band=(0.64, 0.90),
        emblem_y=0.24,
        side_y=0.30,
    ),
    "bucket": Body(
        profile=corners("0,0.56 0.07,0.56 0.07,0.52 1,0.31"),
        band=(0.62, 0.90),
        emblem_y=0.34,
        side_y=0.36,
    ),
    "diamond": Body(
        profile=corners("0,0.12 0.42,0.64 1.04,0.05"),
        band=(0.60, 0.84),
        emblem_y=0.37,
        side_y=0.42,
    ),
    "mushroom": Body(
        profile=_mushroom(),
        band=(0.66, 0.93),
        emblem_y=0.29,
        side_y=0.42,
    ),
}


def _half_widths(body: Body, y: Points) -> Points:
    return np.asarray(np.interp(y, body.profile[:, 0], body.profile[:, 1]))


def _half_width(body: Body, y: float) -> float:
    return float(np.interp(y, body.profile[:, 0], body.profile[:, 1]))


def _silhouette(profile: Points) -> Points:
    right = profile[:, ::-1]
    return np.concatenate([right, (right * (-1.0, 1.0))[::-1]])


def body_shape(body: Body) -> Shape:
    """The silhouette with a shine on its left and a shade on its right."""
    y = np.linspace(body.profile[0, 0], body.profile[-1, 0], 14, dtype=np.float64)[1:-1]
    half = _half_widths(body, y)
    shine = np.concatenate([np.stack([-0.86 * half, y], 1), np.stack([-0.66 * half, y], 1)[::-1]])
    shade = np.concatenate([np.stack([0.72 * half, y], 1), np.stack([0.97 * half, y], 1)[::-1]])
    return (
        Piece(_silhouette(body.profile)),
        Piece(shine, tone=0.28, outlined=False),
        Piece(shade, tone=-0.16, outlined=False),
    )


# -------------------------------------------------------------------------------- bands


class _Strip:
    """Coordinates on a band: s runs -1..1 across the body, t 0..1 downwards; both follow the body's sides."""

    def __init__(self, body: Body, top: float, bottom: float) -> None:
        self.body, self.top, self.bottom = body, top, bottom
        self.aspect = 2 * _half_width(body, (top + bottom) / 2) * BAND_OVERHANG / (bottom - top)  # width by height

    def at(self, s: Points, t: Points) -> Points:
        """Points [N, 2] of the product frame from N places on the band."""
        y = self.top + t * (self.bottom - self.top)
        return np.stack([s * _half_widths(self.body, y) * BAND_OVERHANG, y], axis=1)

    def cell(self, s0: float, t0: float, s1: float, t1: float) -> Points:
        """The piece of the band between two places, its sides as curved as the body's."""
        t = np.linspace(t0, t1, 5, dtype=np.float64)
        return np.concatenate([self.at(np.full(5, s0), t), self.at(np.full(5, s1), t)[::-1]])

    def columns(self, count: int) -> list[tuple[float, float]]:
        """The s range of each of count equal columns."""
        edges = [-1 + 2 * i / count for i in range(count + 1)]
        return list(pairwise(edges))


def _stripes(strip: _Strip) -> list[Points]:
    columns = strip.columns(2 * max(3, round(1.5 * strip.aspect)) + 1)
    return [strip.cell(a, 0, b, 1) for a, b in columns[1::2]]


def _dots(strip: _Strip) -> list[Points]:
    count = max(3, round(1.25 * strip.aspect))
    height = strip.bottom - strip.top
    radius = min(0.33 * height, 0.42 * strip.aspect * height / count)
    middles = np.array([(a + b) / 2 for a, b in strip.columns(count)])
    return [ellipse(x, y, radius, radius) for x, y in strip.at(middles, np.full(count, 0.5))]


def _checks(strip: _Strip) -> list[Points]:
    columns = strip.columns(max(4, round(2 * strip.aspect)))
    return [strip.cell(a, 0.5 * (i % 2), b, 0.5 * (i % 2) + 0.5) for i, (a, b) in enumerate(columns)]


def _zigzags(strip: _Strip) -> list[Points]:
    teeth = max(3, round(1.2 * strip.aspect))
    s = np.linspace(-1, 1, 2 * teeth + 1, dtype=np.float64)
    t = np.where(np.arange(2 * teeth + 1) % 2 == 0, 0.92, 0.12)
    return [np.concatenate([strip.at(s, t), strip.at(np.array([1.0, -1.0]), np.array([1.0, 1.0]))])]


def _waves(strip: _Strip) -> list[Points]:
    s = np.linspace(-1, 1, 33, dtype=np.float64)
    swing = 0.10 * np.sin(s * math.pi * max(1.5, 0.75 * strip.aspect))
    half = 0.11  # of the line's thickness
    return [np.concatenate([strip.at(s, t - half + swing), strip.at(s, t + half + swing)[::-1]]) for t in (0.27, 0.73)]


BANDS: dict[str, Callable[[_Strip], list[Points]]] = {
    "stripes": _stripes,
    "dots": _dots,
    "checks": _checks,
    "zigzags": _zigzags,
    "waves": _waves,
}


def band_shape(body: Body, part: Part, top: float, bottom: float) -> Shape:
    """A belt over the body from y = top to bottom: a ground, the pattern in the part's color, two darker edges."""
    strip = _Strip(body, top, bottom)
    ground = SLATE if part.color in PALE_COLORS else CREAM
    pattern = tuple(Piece(points, outlined=False) for points in BANDS[part.kind](strip))
    edges = tuple(Piece(strip.cell(-1, t, 1, t + 0.07), tone=-0.12, outlined=False) for t in (0.0, 0.93))
    return (Piece(strip.cell(-1, 0, 1, 1), base=ground), *pattern, *edges)


# -------------------------------------------------------------------------------- tops: on y = 0, upwards

_SPOUT_PATH = np.concatenate(
    [corners("0,0.06 0,-0.1"), ellipse(0.22, -0.16, 0.22, 0.16, 190, 270), corners("0.38,-0.33")]
)

TOPS: dict[str, Shape] = {
    "lid": (
        Piece(ellipse(0, -0.05, 0.38, 0.24, 180, 360)),
        Piece(rectangle(-0.42, -0.08, 0.42, 0.03), tone=-0.15),
    ),
    "cork": (
        Piece(corners("-0.15,0.05 -0.22,-0.34 0.22,-0.34 0.15,0.05")),
        Piece(corners("-0.2,-0.24 0.2,-0.24 0.19,-0.17 -0.19,-0.17"), tone=-0.25, outlined=False),
    ),
    "spout": (Piece(stroke(_SPOUT_PATH, 0.15)), Piece(rectangle(0.34, -0.44, 0.42, -0.22), tone=-0.2)),
    "knob": (Piece(rectangle(-0.06, -0.16, 0.06, 0.05), tone=-0.2), Piece(ellipse(0, -0.28, 0.18, 0.18))),
    "antenna": tuple(
        piece
        for side in (-1, 1)
        for piece in (
            Piece(stroke(corners("0,0.05 0.13,-0.16 0.27,-0.36") * (side, 1), 0.06)),
            Piece(ellipse(side * 0.28, -0.38, 0.085, 0.085)),
        )
    ),
    "crown": (
        Piece(corners("-0.29,0.04 -0.38,-0.34 -0.19,-0.17 0,-0.42 0.19,-0.17 0.38,-0.34 0.29,0.04")),
        Piece(rectangle(-0.3, -0.06, 0.3, 0.04), tone=-0.2),
    ),
    "flag": (
        Piece(rectangle(-0.03, -0.52, 0.03, 0.05), tone=-0.3),
        Piece(corners("0.03,-0.52 0.44,-0.36 0.03,-0.18")),
    ),
    "propeller": (
        Piece(rectangle(-0.035, -0.28, 0.035, 0.05), tone=-0.25),
        Piece(_turned(ellipse(-0.25, 0, 0.22, 0.085), 8) + np.array([0, -0.28])),
        Piece(_turned(ellipse(0.25, 0, 0.22, 0.085), 8) + np.array([0, -0.28])),
        Piece(ellipse(0, -0.28, 0.07, 0.07), tone=-0.25),
    ),
}
MIRRORED_TOPS = ("spout", "flag", "propeller")  # drawn either way round

# -------------------------------------------------------------------------------- side parts: join at x = 0

_HANDLE_PATH = np.concatenate([corners("-0.1,-0.24"), ellipse(0.06, 0, 0.3, 0.24, -90, 90), corners("-0.1,0.24")])
_HOOK_PATH = np.concatenate(
    [corners("-0.06,-0.02 0.07,-0.02"), ellipse(0.25, 0, 0.16, 0.24, 165, 0), corners("0.41,-0.12")]
)
_WING = corners(
    "-0.05,0.14 -0.05,-0.08 0.16,-0.32 0.52,-0.42 0.44,-0.24 0.47,-0.2 "
    "0.36,-0.06 0.38,-0.02 0.26,0.08 0.26,0.12 0.1,0.18"
)

SIDES: dict[str, Shape] = {
    "loop handle": (Piece(stroke(_HANDLE_PATH, 0.11)),),
    "wing": (
        Piece(_WING),
        Piece(stroke(corners("0.06,0.0 0.22,-0.14 0.4,-0.28"), 0.03), tone=-0.35, outlined=False),
        Piece(stroke(corners("0.06,0.07 0.18,0.0 0.31,-0.1"), 0.03), tone=-0.35, outlined=False),
    ),
    "fin": (
        Piece(corners("-0.05,-0.26 0.2,-0.14 0.36,0.1 0.4,0.4 0.24,0.24 -0.05,0.18")),
        Piece(corners("0.02,-0.14 0.16,-0.06 0.24,0.12 0.02,0.06"), tone=0.3, outlined=False),
    ),
    "hook": (
        Piece(stroke(_HOOK_PATH, 0.1)),
        Piece(corners("0.31,-0.1 0.41,-0.28 0.51,-0.1")),
    ),
    "tap": (
        Piece(rectangle(0.13, -0.2, 0.19, -0.05), tone=-0.25),
        Piece(rectangle(0.0, -0.28, 0.32, -0.19)),
        Piece(corners("-0.06,-0.07 0.4,-0.07 0.4,0.26 0.26,0.26 0.26,0.07 -0.06,0.07")),
    ),
    "wheel": (
        Piece(ellipse(0.2, 0, 0.25, 0.25)),
        Piece(ellipse(0.2, 0, 0.15, 0.15), tone=0.65),
        Piece(ellipse(0.2, 0, 0.06, 0.06), tone=-0.2),
    ),
    "lever": (
        Piece(stroke(corners("-0.08,0.12 0.14,-0.08 0.36,-0.28"), 0.08), tone=-0.2),
        Piece(ellipse(0.38, -0.3, 0.12, 0.12)),
    ),
    "horn": (
        Piece(corners("-0.06,-0.06 0.18,-0.07 0.32,-0.15 0.43,-0.29 0.43,0.29 0.32,0.15 0.18,0.07 -0.06,0.06")),
        Piece(ellipse(0.43, 0, 0.07, 0.29), tone=-0.35),
    ),
}

# -------------------------------------------------------------------------------- emblems: -0.5 to 0.5


def _star() -> Points:
    angles = np.radians(np.arange(10) * 36 - 90)
    radius = np.where(np.arange(10) % 2 == 0, 0.56, 0.235)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles) + 0.05], axis=1)


def _heart() -> Points:
    a = np.linspace(0, 2 * math.pi, 30, endpoint=False)
    x = 16 * np.sin(a) ** 3
    y = -(13 * np.cos(a) - 5 * np.cos(2 * a) - 2 * np.cos(3 * a) - np.cos(4 * a))
    return np.stack([x / 32, (y - 2.5) / 30], axis=1)


def _moon() -> Points:
    outer = ellipse(0.08, 0, 0.5, 0.5, 52, 308)
    inner = ellipse(0.26, 0, 0.40, 0.40, 285, 75)
    return np.concatenate([outer, inner])


def _petals() -> Shape:
    around = [math.radians(72 * i - 90) for i in range(5)]
    petals = tuple(Piece(ellipse(0.28 * math.cos(a), 0.28 * math.sin(a), 0.21, 0.21)) for a in around)
    return (*petals, Piece(ellipse(0, 0, 0.16, 0.16), tone=0.7))


_LEAF = np.concatenate([ellipse(0.28, 0, 0.6, 0.55, 125, 235), ellipse(-0.28, 0, 0.6, 0.55, -55, 55)])
_CROSS = corners(
    "-0.17,-0.5 0.17,-0.5 0.17,-0.17 0.5,-0.17 0.5,0.17 0.17,0.17 "
    "0.17,0.5 -0.17,0.5 -0.17,0.17 -0.5,0.17 -0.5,-0.17 -0.17,-0.17"
)

EMBLEMS: dict[str, Shape] = {
    "star": (Piece(_star()),),
    "heart": (Piece(_heart()),),
    "moon": (Piece(_moon()),),
    "cross": (Piece(_CROSS),),
    "lightning bolt": (Piece(corners("0.1,-0.54 -0.32,0.08 -0.04,0.08 -0.16,0.54 0.34,-0.12 0.06,-0.12 0.3,-0.54")),),
    "leaf": (
        Piece(stroke(corners("-0.34,0.44 -0.2,0.26 0.0,0.0"), 0.09), tone=-0.3),
        Piece(_turned(_LEAF, 38) + np.array([0.06, -0.06])),
        Piece(stroke(corners("-0.2,0.26 0.04,-0.05 0.26,-0.34"), 0.055), tone=-0.45, outlined=False),
    ),
    "arrow": (Piece(corners("-0.52,-0.15 0.04,-0.15 0.04,-0.42 0.52,0 0.04,0.42 0.04,0.15 -0.52,0.15")),),
    "flower": _petals(),
    "fish": (
        Piece(corners("0.18,0 0.54,-0.3 0.46,0 0.54,0.3")),
        Piece(ellipse(-0.12, 0, 0.4, 0.27)),
        Piece(ellipse(-0.32, -0.07, 0.06, 0.06), tone=-0.8, outlined=False),
    ),
    "house": (
        Piece(rectangle(-0.34, -0.06, 0.34, 0.48)),
        Piece(corners("-0.52,-0.04 0,-0.52 0.52,-0.04"), tone=-0.2),
        Piece(rectangle(-0.11, 0.14, 0.11, 0.48), tone=-0.6),
    ),
}

KINDS: dict[str, tuple[str, ...]] = {
    "body": tuple(BODIES),
    "band": tuple(BANDS),
    "top": tuple(TOPS),
    "side": tuple(SIDES),
    "emblem": tuple(EMBLEMS),
}
SLOTS = tuple(KINDS)

# -------------------------------------------------------------------------------- the product


def _moved(shape: Shape, *, scale: float, x: float, y: float, mirror: bool = False) -> Shape:
    factor = np.array([-scale if mirror else scale, scale])
    return tuple(piece.at(piece.points * factor + (x, y)) for piece in shape)


def _tilted(shape: Shape, degrees: float) -> Shape:
    return tuple(piece.at(_turned(piece.points, degrees)) for piece in shape)


def _lean(body: Body, y: float) -> float:
    """Degrees a side part turns towards standing straight on a sloping side, which would hide it otherwise."""
    widening = (_half_width(body, y + 0.2) - _half_width(body, y - 0.2)) / 0.4
    return -0.75 * math.degrees(math.atan(widening))


def _place(part: Part, body: Body, rng: Random, side: str) -> Shape:
    scale = rng.uniform(0.92, 1.14)
    if part.slot == "body":
        return body_shape(body)
    if part.slot == "band":
        shift, grow = rng.uniform(-0.02, 0.02), rng.uniform(-0.01, 0.015)
        return band_shape(body, part, body.band[0] + shift - grow, body.band[1] + shift + grow)
    if part.slot == "top":
        mirror = part.kind in MIRRORED_TOPS and rng.random() < 0.5
        return _moved(TOPS[part.kind], scale=scale, x=rng.uniform(-0.03, 0.03), y=body.top_y, mirror=mirror)
    if part.slot == "side":
        y = body.side_y + rng.uniform(-0.04, 0.04)
        x = _half_width(body, y) - 0.02
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
    return [PlacedPart(parts[slot], _place(parts[slot], body, rng, side)) for slot in order if slot in parts]


def _extent(placed: list[PlacedPart]) -> tuple[Points, Points]:
    points = np.concatenate([piece.points for part in placed for piece in part.shape])
    return points.min(axis=0), points.max(axis=0)


def to_pixels(placed: list[PlacedPart], rng: Random, *, width: int, height: int) -> list[PlacedPart]:
    """Turn the product by up to 8 degrees, scale it to 62-90 % of the shorter side, put it anywhere in the picture."""
    degrees = rng.uniform(-8, 8)
    turned = [PlacedPart(p.part, _tilted(p.shape, degrees)) for p in placed]
    low, high = _extent(turned)
    size = high - low
    scale = (rng.uniform(0.62, 0.90) * min(width, height) - OUTLINE_PIXELS) / float(size.max())
    margin = 2.0  # pixels between product and picture edge
    free = np.array([width, height]) - size * scale - 2 * margin
    shift = margin + free * (rng.random(), rng.random()) - low * scale
    return [PlacedPart(p.part, tuple(piece.at(piece.points * scale + shift) for piece in p.shape)) for p in turned]


def part_box(placed: PlacedPart, *, width: int, height: int) -> Box:
    """The tight box of a part's drawn pixels, outline included, xyxy normalized to the picture and clipped to it."""
    points = np.concatenate([piece.points for piece in placed.shape])
    reach = OUTLINE_PIXELS / 2
    (x0, y0), (x1, y1) = (points.min(axis=0) - reach).tolist(), (points.max(axis=0) + reach).tolist()
    return (max(0.0, x0 / width), max(0.0, y0 / height), min(1.0, x1 / width), min(1.0, y1 / height))


# -------------------------------------------------------------------------------- pixels


def toned(color: Color, tone: float) -> Color:
    """The color nearer white (tone up to 1) or black (down to -1)."""
    target = 255 if tone > 0 else 0
    red, green, blue = (round(c + (target - c) * abs(tone)) for c in color)
    return (red, green, blue)


def outline_of(color: Color) -> Color:
    """What its outline is drawn in: darker, or lighter where it is nearly black."""
    return toned(color, 0.35) if max(color) < 70 else toned(color, -0.55)


def jittered(color: Color, rng: Random, reach: int = 9) -> Color:
    """The color with each channel moved by up to reach."""
    red, green, blue = (min(255, max(0, c + rng.randint(-reach, reach))) for c in color)
    return (red, green, blue)


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
    low, high = (edge * SUPERSAMPLE for edge in _extent(body))
    reach = 0.06 * float(high[0] - low[0])
    for grow in (1.0, 0.5):
        x0, x1 = float(low[0]) - reach * grow, float(high[0]) + reach * grow
        y0, y1 = float(high[1]) - 2 * reach * grow, float(high[1]) + 1.6 * reach * grow
        draw.ellipse((x0, y0, x1, y1), fill=(0, 0, 0, 38))


def draw_product(background: Image.Image, placed: list[PlacedPart], rng: Random) -> Image.Image:
    """The background with the product and its shadow on it, edges smoothed."""
    width, height = background.size
    canvas = background.resize((width * SUPERSAMPLE, height * SUPERSAMPLE), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(canvas, "RGBA")
    _draw_shadow(draw, placed)
    for part in placed:
        draw_part(draw, part, jittered(COLORS[part.part.color], rng))
    return canvas.reduce(SUPERSAMPLE)


_GRAIN_SIDE = PICTURE_SIDES[1] + 64
_GRAIN = np.random.Generator(np.random.PCG64(7)).normal(0, 3.0, (_GRAIN_SIDE, _GRAIN_SIDE, 3)).astype(np.float32)


def light_and_noise(image: Image.Image, rng: Random) -> Image.Image:
    """A light falling off to one side, and mild sensor noise."""
    width, height = image.size
    level, across, down = rng.uniform(0.92, 1.04), rng.uniform(-0.14, 0.14), rng.uniform(-0.10, 0.10)
    x = np.linspace(-across, across, width, dtype=np.float32)
    y = np.linspace(-down, down, height, dtype=np.float32)
    light = level + x[None, :] + y[:, None]
    left, top = rng.randint(0, 63), rng.randint(0, 63)
    pixels = np.asarray(image) * light[:, :, None] + _GRAIN[top : top + height, left : left + width]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


# -------------------------------------------------------------------------------- backgrounds

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


def _array_image(pixels: npt.NDArray[np.float64], size: tuple[int, int], how: Image.Resampling) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).resize(size, how)


def _numbers(rng: Random) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(rng.getrandbits(64)))


def _backdrop(size: tuple[int, int], rng: Random) -> Background:
    name = rng.choice(list(WALLS))
    tones = np.array([[jittered(WALLS[name], rng, 22) for _ in range(2)] for _ in range(2)], dtype=np.float64)
    image = _array_image(tones, size, Image.Resampling.BILINEAR)
    places = (f"against a {name} wall", f"in front of a {name} backdrop", f"on a plain {name} background")
    return Background(image, places)


def _wood(size: tuple[int, int], rng: Random) -> Background:
    base = np.array(jittered(rng.choice(WOODS), rng))
    veins = _numbers(rng).normal(0, 9, (rng.randint(24, 48), 3, 1))
    image = _array_image(base + veins, size, Image.Resampling.BICUBIC)
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
    image = _array_image(np.where(odd, np.array(WALLS[name]), light).astype(np.float64), size, Image.Resampling.NEAREST)
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
    speckle = _numbers(rng).normal(0, rough, (size[1] // 3, size[0] // 3, 1))
    image = _array_image(np.array(jittered(color, rng)) + speckle, size, Image.Resampling.BILINEAR)
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
    return _two_tone(size, rng, sky, ground, places)


def _table(size: tuple[int, int], rng: Random) -> Background:
    wall = rng.choice(list(WALLS))
    table = rng.choice([name for name in WALLS if name != wall])
    places = (f"on a {table} table", f"on a shelf against a {wall} wall", f"on a table in a {wall} room")
    return _two_tone(size, rng, WALLS[wall], toned(WALLS[table], -0.15), places)


def _two_tone(size: tuple[int, int], rng: Random, above: Color, below: Color, places: tuple[str, ...]) -> Background:
    rows = 48
    line = round(rows * rng.uniform(0.45, 0.8))
    fade = np.linspace(0, 14, rows)[:, None, None]
    upper = np.arange(rows)[:, None, None] < line
    pixels = np.where(upper, np.array(jittered(above, rng)), np.array(jittered(below, rng))) + fade - 7
    return Background(_array_image(pixels, size, Image.Resampling.BILINEAR), places)


def _bricks(size: tuple[int, int], rng: Random) -> Background:
    width, height = size
    base = jittered(rng.choice(((190, 126, 104), (206, 190, 172), (176, 148, 130))), rng)
    rows, columns = rng.randint(7, 11), rng.randint(4, 6)
    tones = np.array(base) + _numbers(rng).normal(0, 7, (rows, 2 * columns, 1))
    image = _array_image(tones, size, Image.Resampling.NEAREST)
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
    tones = np.array(toned(WALLS[name], 0.3)) + _numbers(rng).normal(0, 4, (count, count, 1))
    image = _array_image(tones, size, Image.Resampling.NEAREST)
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
    image = _array_image(pixels, size, Image.Resampling.NEAREST)
    return Background(image, (f"against {name} wallpaper", "against striped wallpaper"))


BACKGROUNDS = (_backdrop, _wood, _checker, _ground, _horizon, _table, _bricks, _tiles, _wallpaper)


def draw_background(size: tuple[int, int], rng: Random) -> Background:
    """A place drawn at random. size: width, height in pixels."""
    return rng.choice(BACKGROUNDS)(size, rng)


def _clutter_shape(x: float, y: float, radius: float, rng: Random) -> Points:
    kind = rng.randrange(3)
    if kind == 0:
        return ellipse(x, y, radius, radius * rng.uniform(0.5, 1))
    corners = rng.randint(3, 6)
    turn = rng.uniform(0, 2 * math.pi)
    angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
    return np.array([(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles])


def draw_clutter(image: Image.Image, placed: list[PlacedPart], rng: Random) -> None:
    """Thin lines and pale shapes behind the product; no shape comes near it, so that none can pass for a part."""
    width, height = image.size
    low, high = _extent(placed)
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
        draw.polygon(_clutter_shape(x, y, radius, rng).ravel().tolist(), fill=(*color, rng.randint(120, 230)))
