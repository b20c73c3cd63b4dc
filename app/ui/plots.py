"""Draw the plots that several pages share. Text of people and models is escaped: Plotly reads a little HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from app.ui.html import render_macro
from app.ui.marks import PALETTE
from grain.structures import Array

if TYPE_CHECKING:
    from curation.audit.measure import CurvePoint

NAME_CHARACTERS = 22  # of a group in the legend
MOST_DRAWN_AS_SVG = 2_000  # points; more need WebGL
MANY_POINTS = 5_000  # from here on they are small
PALE = {"bgcolor": "rgba(0,0,0,0)", "color": "#a29e95", "activecolor": "#0072B2"}  # of a plot's buttons
TRANSPARENT = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}  # the page's own colours show
FONT = {"family": "system-ui, sans-serif", "size": 12}


def plot_text(*lines: str) -> str:
    """Render lines of text for a title or a label of a plot."""
    return str(render_macro("plot_text", lines))


def hover_text(*lines: str) -> str:
    """Render lines of text for a plot's hover template, without the name of the trace."""
    return str(render_macro("hover_text", lines))


def scatter(
    xy: Array,
    ids: NDArray[np.int64],
    *,
    groups: Mapping[str, NDArray[np.int64]],
    colours: Mapping[str, str],
    title: str,
) -> go.Figure:
    """Draw a map of points, which a click names and a lasso selects.

    Args:   xy: [N, 2]. ids: [N], of the points. groups: name -> rows of its points. colours: name -> its colour.
    """
    kind = go.Scattergl if len(xy) > MOST_DRAWN_AS_SVG else go.Scatter
    points, size = np.asarray(xy, np.float32), 3 if len(xy) > MANY_POINTS else 7
    figure = go.Figure(
        [
            kind(
                x=points[rows, 0],
                y=points[rows, 1],
                customdata=ids.astype(np.int32)[rows],
                name=plot_text(f"{textwrap.shorten(name, NAME_CHARACTERS, placeholder='…')} {len(rows):,}"),
                mode="markers",
                marker={"color": colours[name], "size": size, "opacity": 0.75},
                hovertemplate=hover_text(name),
            )
            for name, rows in groups.items()
        ]
    )
    figure.update_layout(
        title={"text": plot_text(title), "x": 0, "y": 0.985, "yanchor": "top"},
        title_font_size=14,
        height=460,
        margin={"l": 8, "r": 36, "t": 36, "b": 8},
        showlegend=True,
        legend={"orientation": "h", "y": -0.02, "itemsizing": "constant"},
        dragmode="lasso",
        modebar={"orientation": "v", "remove": ["toImage", "zoomIn2d", "zoomOut2d", "autoScale2d"], **PALE},
        uirevision="map",
        **TRANSPARENT,
        font=FONT,
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return figure


def threshold_curve(points: Sequence[CurvePoint], threshold: float) -> go.Figure:
    """Draw precision and recall of dropping the claims at or below a probability, by that probability."""
    if not points:
        return empty_figure("Judge some of the sample first")
    at = [point.threshold for point in points]
    curves = (
        ("precision: of the dropped, unsupported", [point.precision for point in points], PALETTE[1], "solid"),
        ("recall: of the unsupported, dropped", [point.recall for point in points], PALETTE[0], "solid"),
        ("dropped, of all claims", [point.dropped for point in points], "#6d6a64", "dot"),
    )
    figure = go.Figure(
        [
            go.Scatter(x=at, y=values, name=name, mode="lines", line={"color": color, "dash": dash, "shape": "hv"})
            for name, values, color, dash in curves
        ]
    )
    figure.add_vline(x=threshold, line={"color": "#111111", "width": 1, "dash": "dash"})
    figure.update_layout(
        **TRANSPARENT,
        height=330,
        margin={"l": 50, "r": 10, "t": 10, "b": 60},
        legend={"orientation": "h", "y": -0.3},
        xaxis={"title": "probability of supported,<br>at or below which a claim is dropped", "range": [0, 1]},
        yaxis={"title": "share", "range": [0, 1.02], "tickformat": ".0%"},
    )
    return figure


def empty_figure(text: str) -> go.Figure:
    """Draw an empty plot that says why there is none."""
    figure = go.Figure()
    figure.add_annotation(text=plot_text(text), showarrow=False, font_size=14)
    figure.update_layout(height=120, margin={"l": 0, "r": 0, "t": 0, "b": 0}, **TRANSPARENT)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure
