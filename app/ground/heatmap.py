"""Draw the matrix of the Ground page: the cosine of each region and description."""

from __future__ import annotations

import textwrap
from math import ceil

import numpy as np
import plotly.graph_objects as go

from app.ui.html import render_macro
from app.ui.marks import mark_of
from app.ui.plots import FONT, TRANSPARENT, empty_figure, hover_text, plot_text
from grain.structures import Prediction

CELL_PIXELS, LOW_CELL_PIXELS = 34, 22
MANY_REGIONS = 10  # from here on rows are low
MOST_LEVEL = 2  # columns whose labels have room to lie level
LEVEL_CHARACTERS = 44  # of all level labels together
SLANTED_CHARACTERS = 22
TITLE_CHARACTERS = 46  # a line of the title
MOST_WRITTEN = 16  # columns that have room for a label each, and cells for their value
MOST_LABELS = 12  # of more columns than that: they have room on a phone, too
HEAT = [[0.0, "#f4f1ea"], [0.35, "#c9dcd6"], [0.7, "#5f9ea0"], [1.0, "#0b3c49"]]  # one hue, from paper to ink


def heatmap(prediction: Prediction) -> go.Figure:
    """Draw regions × descriptions: the cosine of each pair, each description's best region outlined in its colour."""
    if prediction.matches.size == 0:
        return empty_figure("No regions to compare" if prediction.descriptions else "No descriptions were asked")
    regions, descriptions = prediction.matches.shape
    names = np.array([plot_text(text) for text in prediction.descriptions])
    many = descriptions > MOST_WRITTEN
    labelled = range(0, descriptions, ceil(descriptions / MOST_LABELS) if many else 1)
    labels = [_column_label(index, prediction.descriptions[index], descriptions) for index in labelled]
    title = textwrap.wrap(_finding(prediction), TITLE_CHARACTERS)
    top = 18 * len(title) + (84 if descriptions <= MOST_LEVEL else 138)
    height = top + (CELL_PIXELS if regions < MANY_REGIONS else LOW_CELL_PIXELS) * regions + 12
    figure = go.Figure(
        go.Heatmap(
            z=prediction.matches,
            customdata=np.broadcast_to(names, prediction.matches.shape),
            texttemplate="" if many else "%{z:.2f}",
            hovertemplate=hover_text("region %{y}", "%{customdata}", "cosine %{z:.3f}"),
            colorscale=HEAT,
            xgap=1 if many else 3,
            ygap=3,
            colorbar={"title": {"text": "cosine", "side": "right"}, "thickness": 8, "outlinewidth": 0},
        )
    )
    figure.update_layout(
        title={"text": plot_text(*title), "x": 0, "y": 1 - 14 / height, "yanchor": "top"},
        title_font_size=14,
        height=height,
        margin={"l": 44, "r": 4, "t": top, "b": 12},
        **TRANSPARENT,
        font=FONT,
        shapes=[_outline(row, column) for column, row in enumerate(prediction.best)],
        dragmode=False,
    )
    figure.update_xaxes(side="top", title="description", tickvals=list(labelled), ticktext=labels)
    figure.update_xaxes(tickangle=0 if descriptions <= MOST_LEVEL else -38, showgrid=False, zeroline=False)
    figure.update_yaxes(title="region", autorange="reversed", dtick=1, showgrid=False, zeroline=False)
    return figure


def _column_label(index: int, text: str, columns: int) -> str:
    if columns > MOST_LEVEL:
        lines = [textwrap.shorten(text, SLANTED_CHARACTERS, placeholder="…")]
    else:
        lines = textwrap.wrap(text, LEVEL_CHARACTERS // columns, max_lines=2, placeholder="…")
    return str(render_macro("plot_label", mark_of(index), lines))


def _outline(region: int, description: int) -> dict[str, object]:
    mark = mark_of(description)
    corners = {"x0": description - 0.47, "x1": description + 0.47, "y0": region - 0.45, "y1": region + 0.45}
    return {
        "type": "rect",
        **corners,
        "line": {"color": mark.color, "width": 3, "dash": "dot" if mark.dash else "solid"},
    }


def _finding(prediction: Prediction) -> str:
    """Return what the matrix shows, in one sentence."""
    answers = prediction.answers
    found = {column: row for column, row in enumerate(prediction.best) if answers[column] == "found"}
    if not found:
        return "None of the descriptions is found" if prediction.descriptions[1:] else "The description is not found"
    column = max(found, key=lambda column: float(prediction.matches[found[column], column]))
    text = textwrap.shorten(prediction.descriptions[column], 30, placeholder="…")
    clearest = f"“{text}” on region {found[column]} ({prediction.matches[found[column], column]:.2f})"
    if len(prediction.descriptions) == 1:
        return f"The best match is {clearest}"
    own = len(set(found.values()))
    what = "1 description lands" if len(found) == 1 else f"{len(found)} descriptions land"
    return f"{what} on {own} region{'s'[: own > 1]}; clearest is {clearest}"
