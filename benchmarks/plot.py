"""One plot of lines with intervals, as an SVG that is the same for the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

COLORS = ("#D55E00", "#E69F00", "#0072B2")  # Okabe-Ito, safe for colour-blind eyes
MARKERS = ("o", "s", "^")


@dataclass(frozen=True)
class Line:
    """estimates: [value, low, high] at each x."""

    label: str
    x: tuple[float, ...]
    estimates: tuple[Sequence[float], ...]


def draw(path: Path, lines: Sequence[Line], *, title: str, x_label: str, y_label: str) -> None:
    """Write the plot; at most three lines."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for line, color, marker in zip(lines, COLORS, MARKERS, strict=False):
        values, low, high = zip(*line.estimates, strict=True)
        below = [max(0.0, value - each) for value, each in zip(values, low, strict=True)]  # rounding
        above = [max(0.0, each - value) for value, each in zip(values, high, strict=True)]
        axes.errorbar(line.x, values, yerr=[below, above], label=line.label, color=color, marker=marker, capsize=4)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_xticks(lines[0].x)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # no metadata: it would hold a date, and addresses that nobody needs
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "grain", "font.family": "sans-serif"}):
        figure.savefig(path, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
