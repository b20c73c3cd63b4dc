"""The curves of trainings as plots: a panel a number, runs over each other, a title that states the finding."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import plotly.graph_objects as go

from app.draw import TRANSPARENT, empty_figure, mark_of
from app.watching import HELD_OUT, Rows, RunLog, Values

HEIGHT, TITLE_CHARACTERS = 210, 36  # pixels; a line
GIGABYTE = 2**30
DASHES = ("solid", "dot")


@dataclass(frozen=True)
class Panel:
    """A plot. columns: of the log, the first whole, the second dotted. unit: the y axis. scale: divides the numbers."""

    name: str
    columns: tuple[str, ...]
    unit: str
    held_out: bool = False
    scale: float = 1.0
    logarithmic: bool = False


PANELS = (
    Panel("L_ic", ("image_caption",), "nats"),
    Panel("L_box", ("box",), "L1 + 1 − GIoU"),
    Panel("L_rd", ("region_description",), "nats"),
    Panel("Held-out grounding", ("grounding_acc50", "grounding_miou"), "IoU ≥ 0.5 · mean IoU", True),
    Panel(
        "Held-out retrieval",
        ("retrieval_image_to_text_r1", "retrieval_text_to_image_r1"),
        "R@1 text · image",
        True,
    ),
    Panel("Spread of boxes", ("box_spread_least", "box_spread_mean"), "least · mean", True),
    Panel("Learning rate", ("learning_rate",), "a step"),
    Panel("Gradient norm", ("gradient_norm",), "before clipping", logarithmic=True),
    Panel("Pace", ("images_per_second",), "images a second"),
    Panel("Memory", ("memory_bytes",), "GB, most at once", scale=GIGABYTE),
)


def curves(panel: Panel, logs: Sequence[tuple[str, RunLog]]) -> go.Figure:
    """One panel of some runs, by label."""
    if not any(np.isfinite(_column(_rows(panel, log), panel.columns[0])).any() for _, log in logs):
        return _nothing_yet(panel)
    figure = go.Figure()
    for index, (label, log) in enumerate(logs):
        rows = _rows(panel, log).thinned()
        for dash, column in zip(DASHES, panel.columns, strict=False):
            values = _column(rows, column) / panel.scale
            if not np.isfinite(values).any():
                continue
            figure.add_trace(
                go.Scatter(
                    x=rows.step,
                    y=values,
                    mode="lines+markers" if panel.held_out else "lines",
                    line={"color": mark_of(index).color, "width": 1.8, "dash": dash},
                    marker={"size": 4},
                    name=escape(label),
                    hovertemplate=f"{escape(label)}<br>step %{{x:,}}<br>{escape(column)} %{{y:.4g}}<extra></extra>",
                )
            )
    title = textwrap.wrap(_finding(panel, logs), TITLE_CHARACTERS)
    figure.update_layout(
        title={"text": "<br>".join(map(escape, title)), "x": 0, "y": 1 - 14 / HEIGHT, "yanchor": "top"},
        title_font_size=13,
        height=HEIGHT,
        margin={"l": 50, "r": 8, "t": 22 + 16 * len(title), "b": 34},
        showlegend=False,
        hovermode="closest",
        dragmode=False,
        font={"family": "system-ui, sans-serif", "size": 11},
        **TRANSPARENT,
    )
    figure.update_xaxes(title="step", rangemode="tozero", gridcolor="rgba(128,128,128,0.15)", zeroline=False)
    figure.update_yaxes(title=panel.unit, gridcolor="rgba(128,128,128,0.15)", zeroline=False, nticks=5)
    if panel.logarithmic:
        figure.update_yaxes(type="log", nticks=4)
    return figure


def _rows(panel: Panel, log: RunLog) -> Rows:
    return log.evaluations if panel.held_out else log.steps


def _nothing_yet(panel: Panel) -> go.Figure:
    figure = empty_figure(f"{panel.name}: nothing yet")
    figure.update_layout(height=HEIGHT)
    return figure


def _column(rows: Rows, name: str) -> Values:
    """A held-out number under its own name, or as the log calls it."""
    return rows.get(HELD_OUT + name) if HELD_OUT + name in rows.columns else rows.get(name)


def _finding(panel: Panel, logs: Sequence[tuple[str, RunLog]]) -> str:
    """What the first run's curve says."""
    if not logs:
        return panel.name
    log = logs[0][1]
    values = _column(log.evaluations if panel.held_out else log.steps, panel.columns[0]) / panel.scale
    values = values[np.isfinite(values)]
    if not len(values):
        return f"{panel.name}: nothing yet"
    if len(values) == 1 or panel.name == "Memory":
        return f"{panel.name} {values[-1]:.3g}"
    tenth = max(1, len(values) // 10)
    first, last = (
        (float(values[0]), float(values[-1]))
        if panel.held_out
        else (
            float(values[:tenth].mean()),
            float(values[-tenth:].mean()),
        )
    )
    word = "fell" if last < 0.98 * first else "rose" if last > 1.02 * first else "stays"
    return (
        f"{panel.name} {word} at {last:.3g}"
        if word == "stays"
        else f"{panel.name} {word} from {first:.3g} to {last:.3g}"
    )
