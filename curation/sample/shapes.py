"""Shape the parts of a product: bodies, bands, tops, side parts and emblems, each in a frame of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from curation.sample.colors import CREAM, PALE_COLORS, SLATE, Color

Points = npt.NDArray[np.float64]  # [N, 2] x, y

BAND_OVERHANG = 1.05  # the band is this much wider than the body under it


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
        """Return the same piece with its points elsewhere."""
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


def ellipse(
    centre: tuple[float, float], radii: tuple[float, float], *, turn: tuple[float, float] = (0.0, 360.0)
) -> Points:
    """Place points along an ellipse, 28 for a whole turn. turn: first and last angle, degrees; 0 is +x, 90 is down."""
    (x, y), (rx, ry), (start, end) = centre, radii, turn
    steps = max(8, round(28 * abs(end - start) / 360.0))
    angles = np.radians(np.linspace(start, end, steps, endpoint=abs(end - start) < 360.0))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def rectangle(low: tuple[float, float], high: tuple[float, float]) -> Points:
    """Return the four corners between two opposite ones."""
    (x0, y0), (x1, y1) = low, high
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def stroke(path: Points, width: float) -> Points:
    """Return the outline of a thick line along an open path [N, 2] with flat ends."""
    direction = np.gradient(path, axis=0)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    normal = direction[:, ::-1] * (-1.0, 1.0) * (width / 2)
    return np.concatenate([path + normal, (path - normal)[::-1]])


def corners(text: str) -> Points:
    """Write points as SVG writes them: "x,y x,y …"."""
    return np.array([pair.split(",") for pair in text.split()], dtype=np.float64)


def rotate(points: Points, degrees: float) -> Points:
    """Rotate points [N, 2] around the origin."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned: Points = points @ np.array([(cos, sin), (-sin, cos)])
    return turned


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


def half_widths_at(body: Body, y: Points) -> Points:
    """Return half the body's width at each height [N]."""
    return np.asarray(np.interp(y, body.profile[:, 0], body.profile[:, 1]))


def half_width_at(body: Body, y: float) -> float:
    """Return half the body's width at one height."""
    return float(np.interp(y, body.profile[:, 0], body.profile[:, 1]))


def _silhouette(profile: Points) -> Points:
    right = profile[:, ::-1]
    return np.concatenate([right, (right * (-1.0, 1.0))[::-1]])


def body_shape(body: Body) -> Shape:
    """Shape the silhouette, with a shine on its left and a shade on its right."""
    y = np.linspace(body.profile[0, 0], body.profile[-1, 0], 14, dtype=np.float64)[1:-1]
    half = half_widths_at(body, y)
    shine = np.concatenate([np.stack([-0.86 * half, y], 1), np.stack([-0.66 * half, y], 1)[::-1]])
    shade = np.concatenate([np.stack([0.72 * half, y], 1), np.stack([0.97 * half, y], 1)[::-1]])
    return (
        Piece(_silhouette(body.profile)),
        Piece(shine, tone=0.28, outlined=False),
        Piece(shade, tone=-0.16, outlined=False),
    )


class _Strip:
    """Coordinates on a band: s runs -1..1 across the body, t 0..1 downwards; both follow the body's sides."""

    def __init__(self, body: Body, top: float, bottom: float) -> None:
        self.body, self.top, self.bottom = body, top, bottom
        self.aspect = 2 * half_width_at(body, (top + bottom) / 2) * BAND_OVERHANG / (bottom - top)  # width by height

    def at(self, s: Points, t: Points) -> Points:
        """Return points [N, 2] of the product frame from N places on the band."""
        y = self.top + t * (self.bottom - self.top)
        return np.stack([s * half_widths_at(self.body, y) * BAND_OVERHANG, y], axis=1)

    def cell(self, low: tuple[float, float], high: tuple[float, float]) -> Points:
        """Return the piece of the band between two places (s, t), its sides as curved as the body's."""
        (s0, t0), (s1, t1) = low, high
        t = np.linspace(t0, t1, 5, dtype=np.float64)
        return np.concatenate([self.at(np.full(5, s0), t), self.at(np.full(5, s1), t)[::-1]])

    def columns(self, count: int) -> list[tuple[float, float]]:
        """Return the s range of each of count equal columns."""
        edges = [-1 + 2 * i / count for i in range(count + 1)]
        return list(pairwise(edges))


def _stripes(strip: _Strip) -> list[Points]:
    columns = strip.columns(2 * max(3, round(1.5 * strip.aspect)) + 1)
    return [strip.cell((a, 0), (b, 1)) for a, b in columns[1::2]]


def _dots(strip: _Strip) -> list[Points]:
    count = max(3, round(1.25 * strip.aspect))
    height = strip.bottom - strip.top
    radius = min(0.33 * height, 0.42 * strip.aspect * height / count)
    middles = np.array([(a + b) / 2 for a, b in strip.columns(count)])
    return [ellipse((x, y), (radius, radius)) for x, y in strip.at(middles, np.full(count, 0.5))]


def _checks(strip: _Strip) -> list[Points]:
    columns = strip.columns(max(4, round(2 * strip.aspect)))
    return [strip.cell((a, 0.5 * (i % 2)), (b, 0.5 * (i % 2) + 0.5)) for i, (a, b) in enumerate(columns)]


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


def band_shape(body: Body, part: Part, *, top: float, bottom: float) -> Shape:
    """Shape a belt over the body from y = top to bottom: a ground, the pattern in the part's color, darker edges."""
    strip = _Strip(body, top, bottom)
    ground = SLATE if part.color in PALE_COLORS else CREAM
    pattern = tuple(Piece(points, outlined=False) for points in BANDS[part.kind](strip))
    edges = tuple(Piece(strip.cell((-1, t), (1, t + 0.07)), tone=-0.12, outlined=False) for t in (0.0, 0.93))
    return (Piece(strip.cell((-1, 0), (1, 1)), base=ground), *pattern, *edges)


_SPOUT_PATH = np.concatenate(
    [corners("0,0.06 0,-0.1"), ellipse((0.22, -0.16), (0.22, 0.16), turn=(190, 270)), corners("0.38,-0.33")]
)


TOPS: dict[str, Shape] = {
    "lid": (
        Piece(ellipse((0, -0.05), (0.38, 0.24), turn=(180, 360))),
        Piece(rectangle((-0.42, -0.08), (0.42, 0.03)), tone=-0.15),
    ),
    "cork": (
        Piece(corners("-0.15,0.05 -0.22,-0.34 0.22,-0.34 0.15,0.05")),
        Piece(corners("-0.2,-0.24 0.2,-0.24 0.19,-0.17 -0.19,-0.17"), tone=-0.25, outlined=False),
    ),
    "spout": (Piece(stroke(_SPOUT_PATH, 0.15)), Piece(rectangle((0.34, -0.44), (0.42, -0.22)), tone=-0.2)),
    "knob": (Piece(rectangle((-0.06, -0.16), (0.06, 0.05)), tone=-0.2), Piece(ellipse((0, -0.28), (0.18, 0.18)))),
    "antenna": tuple(
        piece
        for side in (-1, 1)
        for piece in (
            Piece(stroke(corners("0,0.05 0.13,-0.16 0.27,-0.36") * (side, 1), 0.06)),
            Piece(ellipse((side * 0.28, -0.38), (0.085, 0.085))),
        )
    ),
    "crown": (
        Piece(corners("-0.29,0.04 -0.38,-0.34 -0.19,-0.17 0,-0.42 0.19,-0.17 0.38,-0.34 0.29,0.04")),
        Piece(rectangle((-0.3, -0.06), (0.3, 0.04)), tone=-0.2),
    ),
    "flag": (
        Piece(rectangle((-0.03, -0.52), (0.03, 0.05)), tone=-0.3),
        Piece(corners("0.03,-0.52 0.44,-0.36 0.03,-0.18")),
    ),
    "propeller": (
        Piece(rectangle((-0.035, -0.28), (0.035, 0.05)), tone=-0.25),
        Piece(rotate(ellipse((-0.25, 0), (0.22, 0.085)), 8) + np.array([0, -0.28])),
        Piece(rotate(ellipse((0.25, 0), (0.22, 0.085)), 8) + np.array([0, -0.28])),
        Piece(ellipse((0, -0.28), (0.07, 0.07)), tone=-0.25),
    ),
}

MIRRORED_TOPS = ("spout", "flag", "propeller")  # drawn either way round

_HANDLE_PATH = np.concatenate(
    [corners("-0.1,-0.24"), ellipse((0.06, 0), (0.3, 0.24), turn=(-90, 90)), corners("-0.1,0.24")]
)


_HOOK_PATH = np.concatenate(
    [corners("-0.06,-0.02 0.07,-0.02"), ellipse((0.25, 0), (0.16, 0.24), turn=(165, 0)), corners("0.41,-0.12")]
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
        Piece(rectangle((0.13, -0.2), (0.19, -0.05)), tone=-0.25),
        Piece(rectangle((0.0, -0.28), (0.32, -0.19))),
        Piece(corners("-0.06,-0.07 0.4,-0.07 0.4,0.26 0.26,0.26 0.26,0.07 -0.06,0.07")),
    ),
    "wheel": (
        Piece(ellipse((0.2, 0), (0.25, 0.25))),
        Piece(ellipse((0.2, 0), (0.15, 0.15)), tone=0.65),
        Piece(ellipse((0.2, 0), (0.06, 0.06)), tone=-0.2),
    ),
    "lever": (
        Piece(stroke(corners("-0.08,0.12 0.14,-0.08 0.36,-0.28"), 0.08), tone=-0.2),
        Piece(ellipse((0.38, -0.3), (0.12, 0.12))),
    ),
    "horn": (
        Piece(corners("-0.06,-0.06 0.18,-0.07 0.32,-0.15 0.43,-0.29 0.43,0.29 0.32,0.15 0.18,0.07 -0.06,0.06")),
        Piece(ellipse((0.43, 0), (0.07, 0.29)), tone=-0.35),
    ),
}


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
    outer = ellipse((0.08, 0), (0.5, 0.5), turn=(52, 308))
    inner = ellipse((0.26, 0), (0.40, 0.40), turn=(285, 75))
    return np.concatenate([outer, inner])


def _petals() -> Shape:
    around = [math.radians(72 * i - 90) for i in range(5)]
    petals = tuple(Piece(ellipse((0.28 * math.cos(a), 0.28 * math.sin(a)), (0.21, 0.21))) for a in around)
    return (*petals, Piece(ellipse((0, 0), (0.16, 0.16)), tone=0.7))


_LEAF = np.concatenate(
    [ellipse((0.28, 0), (0.6, 0.55), turn=(125, 235)), ellipse((-0.28, 0), (0.6, 0.55), turn=(-55, 55))]
)


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
        Piece(rotate(_LEAF, 38) + np.array([0.06, -0.06])),
        Piece(stroke(corners("-0.2,0.26 0.04,-0.05 0.26,-0.34"), 0.055), tone=-0.45, outlined=False),
    ),
    "arrow": (Piece(corners("-0.52,-0.15 0.04,-0.15 0.04,-0.42 0.52,0 0.04,0.42 0.04,0.15 -0.52,0.15")),),
    "flower": _petals(),
    "fish": (
        Piece(corners("0.18,0 0.54,-0.3 0.46,0 0.54,0.3")),
        Piece(ellipse((-0.12, 0), (0.4, 0.27))),
        Piece(ellipse((-0.32, -0.07), (0.06, 0.06)), tone=-0.8, outlined=False),
    ),
    "house": (
        Piece(rectangle((-0.34, -0.06), (0.34, 0.48))),
        Piece(corners("-0.52,-0.04 0,-0.52 0.52,-0.04"), tone=-0.2),
        Piece(rectangle((-0.11, 0.14), (0.11, 0.48)), tone=-0.6),
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


def extent_of(placed: list[PlacedPart]) -> tuple[Points, Points]:
    """Return the least and the greatest x, y of all points, [2] each."""
    points = np.concatenate([piece.points for part in placed for piece in part.shape])
    return points.min(axis=0), points.max(axis=0)
