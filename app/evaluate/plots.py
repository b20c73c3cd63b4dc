"""Draw the plots of the Evaluate page. Each has axes, units, and a title that states the finding."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from app.evaluate.results import BEST, way_label
from app.ui.html import things
from app.ui.marks import PALETTE
from app.ui.plots import TRANSPARENT, empty_figure, hover_text, plot_text

MOST_CLASSES = 40  # bars; of more the largest leads and the largest lags are shown
SURE = 0.05  # discovery rate
TITLE = 46  # characters a line: what a phone shows
INK, SOFT = "#0072B2", "#a9a59c"


def deltas(found: Mapping[str, Any]) -> go.Figure:
    """Draw the lead of one row over another, class by class, with intervals; sure ones in colour."""
    rows = found["classes"]
    if not rows:
        return empty_figure("No classes to compare")
    half = MOST_CLASSES // 2
    shown = rows if len(rows) <= MOST_CLASSES else [*rows[:half], *rows[-half:]]
    values = [100 * row["lead"][0] for row in shown]
    better, worse = (sum(sign * row["lead"][0] > 0 for row in rows) for sign in (1, -1))
    sure = sum(row["discovery_rate"] <= SURE for row in rows)
    figure = go.Figure(
        go.Bar(
            x=[plot_text(row["name"]) for row in shown],
            y=values,
            marker_color=[INK if row["discovery_rate"] <= SURE else SOFT for row in shown],
            error_y={
                "type": "data",
                "array": [100 * (row["lead"][2] - row["lead"][0]) for row in shown],
                "arrayminus": [100 * (row["lead"][0] - row["lead"][1]) for row in shown],
                "thickness": 1,
                "color": "#6d6a64",
            },
            customdata=[[row["pictures"], 100 * row["one"], 100 * row["other"]] for row in shown],
            hovertemplate=hover_text(
                "%{x}: %{y:+.0f} points",
                "%{customdata[1]:.0f} % against %{customdata[2]:.0f} %, %{customdata[0]} pictures",
            ),
        )
    )
    certain = "1 of the differences is" if sure == 1 else f"{sure} of the differences are"
    title = f"{things(better, 'class', 'classes')} better, {worse} worse; {certain} sure (blue)"
    return _finished(figure, title, x="class", y="lead, percentage points", height=340)


def leads(found: Sequence[Mapping[str, Any]], base: str) -> go.Figure:
    """Draw how far each model is ahead of the first, a colour for each way of prompting, with intervals."""
    if not found:
        return empty_figure("One model: nothing to compare it with")
    figure = go.Figure()
    for number, way in enumerate(dict.fromkeys(lead["way"] for lead in found)):
        mine = [lead for lead in found if lead["way"] == way]
        values = [100 * lead["lead"][0] for lead in mine]
        figure.add_trace(
            go.Bar(
                y=[plot_text(lead["model"]) for lead in mine],
                x=values,
                orientation="h",
                name=way_label(way),
                marker_color=PALETTE[number % len(PALETTE)],
                error_x={
                    "type": "data",
                    "array": [100 * lead["lead"][2] - value for lead, value in zip(mine, values, strict=True)],
                    "arrayminus": [value - 100 * lead["lead"][1] for lead, value in zip(mine, values, strict=True)],
                    "thickness": 1,
                    "color": "#6d6a64",
                },
                hovertemplate=hover_text("%{y}: %{x:+.1f} points"),
            )
        )
    title_way = BEST if any(lead["way"] == BEST for lead in found) else found[0]["way"]
    best = [lead for lead in found if lead["way"] == title_way]
    behind, ahead = sum(lead["lead"][2] < 0 for lead in best), sum(lead["lead"][1] > 0 for lead in best)
    label = way_label(title_way)
    title = f"{label[0].upper()}{label[1:]}: {behind} of {len(best)} surely behind {base}, {ahead} surely ahead"
    x = f"points ahead of {base}"
    figure.update_yaxes(autorange="reversed")
    return _finished(figure, title, x=x, y="model", height=180 + 64 * len(best))


def alpha(sweeps: Mapping[str, Any]) -> go.Figure:
    """Draw top-1 as α goes from the regions alone to the whole picture alone, a line for each half."""
    if not sweeps:
        return empty_figure("No model here finds regions, or no class has descriptions")
    figure, choices = go.Figure(), []
    for number, (model, found) in enumerate(sweeps.items()):
        for half, curve in enumerate(found["curves"]):
            if curve:
                figure.add_trace(
                    _line(curve, f"{model}, half {half + 1}", color=PALETTE[number % len(PALETTE)], dashed=half > 0)
                )
        choices.append(f"{model}: α = {found['chosen'][0]:g} and {found['chosen'][1]:g}")
    title = f"Best on the other half: {'; '.join(choices)}"
    return _finished(figure, title, x="α (0 regions alone, 1 whole picture alone)", y="top-1, %")


def grounding(curves: Mapping[str, Any]) -> go.Figure:
    """Draw precision and recall of boxes as the least cosine falls."""
    if not curves:
        return empty_figure("No model here finds regions, or the pictures have none annotated")
    figure, best = go.Figure(), []
    for number, (model, curve) in enumerate(curves.items()):
        figure.add_trace(
            go.Scatter(
                x=[100 * value for value in curve["recall"]],
                y=[100 * value for value in curve["precision"]],
                customdata=curve["cosine"],
                mode="lines",
                name=plot_text(model),
                line={"color": PALETTE[number % len(PALETTE)], "width": 2.5},
                hovertemplate=hover_text("recall %{x:.0f} %, precision %{y:.0f} %", "cosine from %{customdata:.2f}"),
            )
        )
        best.append(f"{model} finds {100 * max(curve['recall']):.0f} %")
    title = f"{'; '.join(best)} of the true descriptions (IoU ≥ 0.5); as many that are not there were asked"
    return _finished(figure, title, x="recall, %", y="precision, %")


def calibration(rows: Mapping[str, Any], chosen: Sequence[str]) -> go.Figure:
    """Draw how often the winning class is right, by its probability."""
    shown = [name for name in chosen if rows.get(name, {}).get("calibration")]
    if not shown:
        return empty_figure("No pictures with classes")
    figure = go.Figure(
        go.Scatter(x=[0, 100], y=[0, 100], mode="lines", line={"color": SOFT, "dash": "dot"}, showlegend=False)
    )
    gaps = []
    for number, name in enumerate(shown):
        bins = rows[name]["calibration"]
        total = sum(each["pictures"] for each in bins)
        gap = sum(each["pictures"] * (each["confidence"] - each["accuracy"]) for each in bins) / total
        points = f"{abs(100 * gap):.0f}"
        off = f"{points} points too {'sure' if gap > 0 else 'unsure'}"
        gaps.append(f"{name} is {'on average as sure as it is right' if points == '0' else off}")
        figure.add_trace(
            go.Scatter(
                x=[100 * each["confidence"] for each in bins],
                y=[100 * each["accuracy"] for each in bins],
                customdata=[each["pictures"] for each in bins],
                mode="lines+markers",
                name=plot_text(name),
                line={"color": PALETTE[number % len(PALETTE)]},
                hovertemplate=hover_text("sure %{x:.0f} %, right %{y:.0f} %, %{customdata} pictures"),
            )
        )
    return _finished(figure, "; ".join(gaps), x="probability of the winning class, %", y="right, %")


def _line(curve: Sequence[Sequence[float]], name: str, *, color: str, dashed: bool) -> go.Scatter:
    alphas, values, low, high = zip(*curve, strict=True)
    return go.Scatter(
        x=alphas,
        y=[100 * value for value in values],
        mode="lines+markers",
        name=plot_text(name),
        line={"color": color, "width": 2.5, "dash": "dash" if dashed else "solid"},
        error_y={
            "type": "data",
            "array": [100 * (top - value) for top, value in zip(high, values, strict=True)],
            "arrayminus": [100 * (value - bottom) for bottom, value in zip(low, values, strict=True)],
            "thickness": 1,
            "width": 2,
        },
        hovertemplate=hover_text("α %{x:g}: %{y:.1f} %"),
    )


def _finished(figure: go.Figure, title: str, *, x: str, y: str, height: int = 320) -> go.Figure:
    lines = textwrap.wrap(title, TITLE, max_lines=4, placeholder=" …")
    figure.update_layout(
        title={
            "text": plot_text(*lines),
            "x": 0,
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 6 + 7 * len(lines)},  # plotly sets the first of several lines above the place it was given
            "font": {"size": 14},
        },
        height=height,
        margin={"l": 48, "r": 8, "t": 30 + 19 * len(lines), "b": 40},
        font={"family": "system-ui, sans-serif", "size": 12},
        legend={"orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom"},
        dragmode=False,
        **TRANSPARENT,
    )
    figure.update_xaxes(title=x, gridcolor="#e5e2db", zeroline=False, automargin=True)
    figure.update_yaxes(title=y, gridcolor="#e5e2db", zerolinecolor="#a9a59c", automargin=True)
    return figure
