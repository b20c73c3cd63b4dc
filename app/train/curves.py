"""Draw the curves of trainings: a plot for each number, runs over each other, a title that states the finding."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from app.jobs.run_logs import HELD_OUT, Rows, RunLog, Values
from app.train.alerts import CHANCE, guessing
from app.ui.marks import mark_of
from app.ui.plots import TRANSPARENT, hover_text, plot_text

HEIGHT, TITLE_CHARACTERS = 210, 36  # pixels; a line
GIGABYTE = 2**30
NBSP = "\xa0"  # in a title the name of a run is not broken at its spaces
DASHES = ("solid", "dot")
MOST_NAMED = 3  # runs in a title; of more, the least and the most
LOSSES = ("image_caption", "box", "region_description", "presence")


@dataclass(frozen=True)
class CurvePanel:
    """A plot. columns: of the log, the first solid, the second dotted. unit: the y axis. scale: divides the numbers."""

    name: str
    columns: tuple[str, ...]
    unit: str
    held_out: bool = False
    scale: float = 1.0
    logarithmic: bool = False


PANELS = (
    CurvePanel("L_ic", ("image_caption",), "nats"),
    CurvePanel("L_box", ("box",), "L1 + 1 − GIoU"),
    CurvePanel("L_rd", ("region_description",), "nats"),
    CurvePanel("L_presence", ("presence",), "nats"),
    CurvePanel("Held-out grounding", ("grounding_acc50", "grounding_miou"), "IoU ≥ 0.5 · mean IoU", True),
    CurvePanel(
        "Held-out retrieval",
        ("retrieval_image_to_text_r1", "retrieval_text_to_image_r1"),
        "R@1 text · image",
        True,
    ),
    CurvePanel("Zero-shot", ("zero_shot_acc1", "zero_shot_described_acc1"), "names · descriptions", True),
    CurvePanel("Spread of boxes", ("box_spread_least", "box_spread_mean"), "least · mean", True),
    CurvePanel("Learning rate", ("learning_rate",), "a step"),
    CurvePanel("Gradient norm", ("gradient_norm",), "before clipping", logarithmic=True),
    CurvePanel("Pace", ("images_per_second",), "images a second"),
    CurvePanel("Processors", ("cpu_cores",), "cores busy"),
    CurvePanel("GPU", ("gpu_percent",), "% busy"),
    CurvePanel("Memory", ("memory_bytes",), "GB, most at once", scale=GIGABYTE),
)


def curves(panel: CurvePanel, logs: Sequence[tuple[str, RunLog]]) -> go.Figure | None:
    """Draw one panel of some runs, by label; None where none of them has such a number."""
    if not any(np.isfinite(_column(_rows(panel, log), panel.columns[0])).any() for _, log in logs):
        return None
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
                    name=plot_text(label),
                    hovertemplate=hover_text(label, "step %{x:,}", f"{column} %{{y:.4g}}"),
                )
            )
    title = textwrap.wrap(_finding(panel, [(label.replace(" ", NBSP), log) for label, log in logs]), TITLE_CHARACTERS)
    figure.update_layout(
        title={"text": plot_text(*title), "x": 0, "y": 1 - 14 / HEIGHT, "yanchor": "top"},
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
    figure.update_yaxes(
        title=panel.unit, rangemode="nonnegative", gridcolor="rgba(128,128,128,0.15)", zeroline=False, nticks=5
    )
    if panel.logarithmic:
        figure.update_yaxes(type="log", nticks=4)
    return figure


def _rows(panel: CurvePanel, log: RunLog) -> Rows:
    return log.evaluations if panel.held_out else log.steps


def _column(rows: Rows, name: str) -> Values:
    """Return a held-out number under its own name, or as the log calls it; nan for a loss that a run does not have."""
    values = rows.get(HELD_OUT + name) if HELD_OUT + name in rows.columns else rows.get(name)
    absent = name in LOSSES and not values.any()  # a CLIP baseline logs 0 for what trains a decoder
    return np.full(len(values), math.nan) if absent else values


def _finding(panel: CurvePanel, logs: Sequence[tuple[str, RunLog]]) -> str:
    """Return what the curve of one run does, or where those of several end; a run among others is named."""
    columns = ((label, log, _column(_rows(panel, log), panel.columns[0]) / panel.scale) for label, log in logs)
    curves = [(label, log, values[np.isfinite(values)]) for label, log, values in columns if np.isfinite(values).any()]
    if len(curves) == 1:
        [(label, log, values)] = curves
        found = _finding_of(panel, log, values)
        return f"{found} ({label})" if len(logs) > 1 else found
    ends = [(_end(panel, values), label) for label, _, values in curves]
    if len(ends) <= MOST_NAMED:
        return f"{panel.name} " + ", ".join(f"{end:.3g} ({label})" for end, label in ends)
    (least, low), (most, high) = min(ends), max(ends)
    return f"{panel.name} {least:.3g} ({low}) to {most:.3g} ({high}), {len(ends)} runs"


def _finding_of(panel: CurvePanel, log: RunLog, values: Values) -> str:
    last = _end(panel, values)
    if len(values) == 1 or panel.name == "Memory":
        return f"{panel.name} {last:.3g}"
    guess = guessing(log) if panel.columns == ("image_caption",) else math.nan
    if last > CHANCE * guess:
        return f"{panel.name} {values[-1]:.3g} is no better than guessing (ln batch {guess:.3g})"
    first = float(values[: _share(panel, values)].mean())
    if 0.98 * first <= last <= 1.02 * first:
        return f"{panel.name} stays at {last:.3g}"
    return f"{panel.name} {'fell' if last < first else 'rose'} from {first:.3g} to {last:.3g}"


def _end(panel: CurvePanel, values: Values) -> float:
    return float(values[-1] if panel.name == "Memory" else values[-_share(panel, values) :].mean())


def _share(panel: CurvePanel, values: Values) -> int:
    """Return over how many values, at either end of a curve, a finding takes the mean."""
    return 1 if panel.held_out else max(1, len(values) // 10)
