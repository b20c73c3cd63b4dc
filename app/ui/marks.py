"""Give each description its colour and pattern, the same on image, chips, heatmap and tables."""

from __future__ import annotations

from dataclasses import dataclass

from grain.draw import PALETTE as PALETTE
from grain.draw import color_of, ink_on

DASHES = ("", "9 5", "2 4", "12 4 2 4")  # beyond the palette a pattern tells descriptions apart; in screen pixels


@dataclass(frozen=True)
class Mark:
    """The look of a description everywhere. color: hex. dash: SVG dash pattern, "" is solid. ink: text on the color."""

    color: str
    dash: str
    ink: str


def mark_of(description: int) -> Mark:
    """Return the mark of the description with that index."""
    color = color_of(description)
    dash = DASHES[description // len(PALETTE) % len(DASHES)]
    return Mark(color, dash, ink_on(color))
