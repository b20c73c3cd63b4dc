"""Give each description its colour and pattern, the same on image, chips, heatmap and tables."""

from __future__ import annotations

from dataclasses import dataclass

# Okabe and Ito's palette, told apart by colour-blind eyes; the order keeps the first few strong on white and on black.
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
DASHES = ("", "9 5", "2 4", "12 4 2 4")  # beyond the palette a pattern tells descriptions apart; in screen pixels
DARK_INK_ON = {"#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442"}  # white would lack contrast


@dataclass(frozen=True)
class Mark:
    """How a description looks everywhere. color: hex. dash: SVG dash pattern, "" is solid. ink: text on the color."""

    color: str
    dash: str
    ink: str


def mark_of(description: int) -> Mark:
    """Return the mark of the description with that index."""
    color = PALETTE[description % len(PALETTE)]
    dash = DASHES[description // len(PALETTE) % len(DASHES)]
    return Mark(color, dash, "#111111" if color in DARK_INK_ON else "#ffffff")
