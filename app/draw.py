"""Looks as pictures: which regions to show, their colours, the overlay on the page, the heatmap, the PNG to keep.

Boxes become pixels here, and only here in the app. Everything that a person or a model wrote is escaped.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from grain.structures import Array, Look, Region

if TYPE_CHECKING:
    from curation.measure import CurvePoint

# Okabe and Ito's palette, told apart by colour-blind eyes; the order keeps the first few strong on white and on black.
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
DASHES = ("", "9 5", "2 4", "12 4 2 4")  # beyond the palette a pattern tells descriptions apart; in screen pixels
SECOND_DASH = "7 5"
DARK_INK_ON = {"#CC79A7", "#E69F00", "#56B4E9", "#F0E442"}
SHOWN_SIDE = 1280  # pixels of the picture as sent to the page
THUMBNAIL_SIDE = 112  # pixels of an example; twice what the page shows
KEPT_SIDE = 2048  # pixels of the annotated PNG
TAG_CHARACTERS = 28
CELL_PIXELS, LOW_CELL_PIXELS = 34, 22
MANY_REGIONS = 10  # from here on rows are low
MOST_LEVEL = 2  # columns whose labels have room to lie level
LEVEL_CHARACTERS = 44  # of all level labels together
SLANTED_CHARACTERS = 22
TITLE_CHARACTERS = 46  # a line of the title
MOST_DRAWN_AS_SVG = 2_000  # points; more need WebGL
MANY_POINTS = 5_000  # from here on they are small
MOST_WRITTEN = 16  # columns whose cells have room for their value
HEAT = [[0.0, "#f4f1ea"], [0.35, "#c9dcd6"], [0.7, "#5f9ea0"], [1.0, "#0b3c49"]]  # one hue, from paper to ink
PALE = {"bgcolor": "rgba(0,0,0,0)", "color": "#a29e95", "activecolor": "#0072B2"}  # of a plot's buttons
TRANSPARENT = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}  # the page's own colours show

Which = Literal["best", "all"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Mark:
    """How a description looks everywhere. color: hex. dash: SVG dash pattern, "" is solid. ink: text on the color."""

    color: str
    dash: str
    ink: str


def mark_of(description: int) -> Mark:
    """The mark of the description with that index; the same on picture, chips, matrix and tables."""
    color = PALETTE[description % len(PALETTE)]
    dash = DASHES[description // len(PALETTE) % len(DASHES)]
    return Mark(color, dash, "#111111" if color in DARK_INK_ON else "#ffffff")


@dataclass(frozen=True)
class Shown:
    """A box on the picture. region: row of the region query. description: index. box_xyxy: normalized."""

    region: int
    description: int
    score: float
    box_xyxy: Box


def shown_regions(look: Look, *, threshold: float, which: Which) -> tuple[Shown, ...]:
    """The boxes to draw.

    Args: threshold: least cosine. which: `best`: for each description that is there its best region; `all`: every
          region, under the description that it matches best.
    """
    if look.matches.size == 0:
        return ()
    if which == "best":
        absent = set(look.not_found)
        pairs = [(row, column) for column, row in enumerate(look.best) if look.descriptions[column] not in absent]
    else:
        pairs = [(row, int(column)) for row, column in enumerate(look.matches.argmax(axis=1))]
    scored = ((row, column, float(look.matches[row, column])) for row, column in pairs)
    return tuple(Shown(row, column, score, _box(look, row)) for row, column, score in scored if score >= threshold)


def _box(look: Look, region: int) -> Box:
    x0, y0, x1, y1 = (float(value) for value in look.boxes_xyxy[region])
    return x0, y0, x1, y1


def picture_uri(image: Image.Image, side: int = SHOWN_SIDE) -> str:
    """The picture as a data URI of at most that many pixels a side. Nobody else's browser can ask for it."""
    small = image.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def thumbnail_uri(path: Path) -> str:
    """A picture of ours, small."""
    with Image.open(path) as image:
        return picture_uri(image, THUMBNAIL_SIDE)


def stage(look: Look, shown: Sequence[Shown], uri: str, threshold: float) -> str:
    """The picture with its regions, and below it a button for each description."""
    return overlay(look, shown, uri) + chips(look, shown, threshold)


def overlay(look: Look, shown: Sequence[Shown], uri: str) -> str:
    """The picture with its regions as SVG, in pixels of the upright picture; every other region is there unlit."""
    width, height = look.width, look.height
    seen: dict[int, int] = {}
    groups, tags = [], []
    for one in shown:
        depth = seen.setdefault(one.region, 0)  # a region under several descriptions: each box a little further in
        seen[one.region] += 1
        groups.append(_group(look, one, depth))
        tags.append(_tag(look, one, depth))
    ghosts = [_ghost(look, region) for region in range(len(look.boxes_xyxy))]
    return (
        f'<div class="frame" style="--ratio:{width / height:.5f}">'
        f'<img src="{uri}" width="{width}" height="{height}" alt="The picture that was looked at, upright">'
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="group" aria-label="Regions">'
        f"{''.join(ghosts)}{''.join(groups)}</svg>{''.join(tags)}</div>"
    )


def regions_picture(image: Image.Image, regions: Sequence[Region]) -> str:
    """A picture with annotated regions, a colour a description."""
    return regions_frame(picture_uri(image), image.width, image.height, regions)


def regions_frame(uri: str, width: int, height: int, regions: Sequence[Region]) -> str:
    """The same of a picture at hand, reduced or not. width, height: of the whole upright picture."""
    return _bare_frame(uri, width, height, "".join(_annotated(width, height, region) for region in regions))


def comparison_frame(uri: str, width: int, height: int, pairs: Sequence[tuple[Box | None, Box | None]]) -> str:
    """A picture with two boxes a description, in its colour: the first with whole lines, the second dashed.

    Args:   width, height: of the whole upright picture. pairs: xyxy, normalized; None where there is no box.
    """
    size, boxes = (width, height), ""
    for index, pair in enumerate(pairs):
        for box, dash in zip(pair, ("", SECOND_DASH), strict=True):
            if box is not None:
                line = _rect(size, box, "line", stroke=mark_of(index).color, dash=dash)
                boxes += f"<g>{_rect(size, box, 'casing')}{line}</g>"
    return _bare_frame(uri, width, height, boxes)


def _bare_frame(uri: str, width: int, height: int, boxes: str) -> str:
    return (
        f'<div class="frame" style="--ratio:{width / height:.5f}"><img src="{uri}" alt="" loading="lazy">'
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">{boxes}</svg></div>'
    )


def _annotated(width: int, height: int, region: Region) -> str:
    mark, size = mark_of(region.index), (width, height)
    lines = _rect(size, region.xyxy, "casing") + _rect(size, region.xyxy, "line", stroke=mark.color, dash=mark.dash)
    return f"<g><title>{escape(region.text)} {region.score:.2f}</title>{lines}</g>"


def _group(look: Look, one: Shown, depth: int) -> str:
    mark, text = mark_of(one.description), escape(look.descriptions[one.description])
    return (
        f'<g class="region" data-region="{one.region}" data-description="{one.description}" tabindex="0" role="button" '
        f'data-box="{" ".join(f"{value:.5f}" for value in one.box_xyxy)}" data-text="{text}" '
        f'data-score="{one.score:.3f}" aria-label="{text}, region {one.region}, cosine {one.score:.2f}">'
        f"{_rect((look.width, look.height), one.box_xyxy, 'casing', depth)}"
        f"{_rect((look.width, look.height), one.box_xyxy, 'line', depth, stroke=mark.color, dash=mark.dash)}</g>"
    )


def _ghost(look: Look, region: int) -> str:
    box, size = _box(look, region), (look.width, look.height)
    best = ""
    if look.matches.size:
        column = int(look.matches[region].argmax())
        best = f'data-text="{escape(look.descriptions[column])}" data-score="{look.matches[region, column]:.3f}" '
    return f'<g class="ghost" data-region="{region}" {best}>{_rect(size, box, "casing")}{_rect(size, box, "line")}</g>'


def _rect(
    size: tuple[int, int], box: Sequence[float], name: str, depth: int = 0, *, stroke: str = "", dash: str = ""
) -> str:
    inset = 0.008 * depth * max(size)
    x0, y0, x1, y1 = (value * side for value, side in zip(box, size * 2, strict=True))
    width, height = max(0.0, x1 - x0 - 2 * inset), max(0.0, y1 - y0 - 2 * inset)
    style = (f' stroke="{stroke}"' if stroke else "") + (f' stroke-dasharray="{dash}"' if dash else "")
    place = f'x="{x0 + inset:.2f}" y="{y0 + inset:.2f}" width="{width:.2f}" height="{height:.2f}"'
    return f'<rect class="{name}" {place}{style}/>'


def _tag(look: Look, one: Shown, depth: int) -> str:
    mark, (x0, y0, x1, _) = mark_of(one.description), one.box_xyxy
    text = escape(textwrap.shorten(look.descriptions[one.description], TAG_CHARACTERS, placeholder="…"))
    side = f"right:{100 * (1 - x1):.2f}%" if x0 > 0.6 else f"left:{100 * x0:.2f}%"
    return (
        f'<span class="tag{" inside" if y0 < 0.09 else ""}" data-description="{one.description}" '
        f'data-region="{one.region}" style="{side};top:{100 * y0:.2f}%;--depth:{depth};'
        f'background:{mark.color};color:{mark.ink}">{text}</span>'
    )


def chips(look: Look, shown: Sequence[Shown], threshold: float) -> str:
    """A button for each description: its mark, its text, its best cosine, and why it has no box if it has none."""
    visible = {one.description for one in shown}
    buttons = (_chip(look, index, index in visible, threshold) for index in range(len(look.descriptions)))
    return f'<div class="chips" role="group" aria-label="Descriptions">{"".join(buttons)}</div>'


def _chip(look: Look, description: int, visible: bool, threshold: float) -> str:
    score, note = "", ""
    if look.matches.size:
        best = float(look.matches[look.best[description], description])
        score = f"{best:.2f}"
        note = "" if visible else _why_no_box(look, description, best, threshold)
    return (
        f'<button type="button" class="chip" data-description="{description}" aria-pressed="true" '
        f'{"" if visible else "disabled"} title="Show or hide">{swatch(description)}'
        f'<span>{escape(look.descriptions[description])}</span><span class="number">{score}</span>'
        f'<span class="quiet">{note}</span></button>'
    )


def _why_no_box(look: Look, description: int, best: float, threshold: float) -> str:
    if look.descriptions[description] in look.not_found:
        return "not found"
    return f"below {threshold:.2f}" if best < threshold else "best on no region"


def swatch(description: int) -> str:
    """The mark of a description as a small square."""
    mark = mark_of(description)
    fill, dash = ("none", "3 2") if mark.dash else (mark.color, "")
    return (
        '<svg class="swatch" viewBox="0 0 14 14" aria-hidden="true"><rect x="1.5" y="1.5" width="11" height="11" '
        f'rx="3" fill="{fill}" stroke="{mark.color}" stroke-width="2.5" stroke-dasharray="{dash}"/></svg>'
    )


def heatmap(look: Look) -> go.Figure:
    """Regions × descriptions: the cosine of each pair, the best region of each description outlined in its colour."""
    if look.matches.size == 0:
        return empty_figure("No regions to compare" if look.descriptions else "No descriptions were asked")
    regions, descriptions = look.matches.shape
    names = np.array([escape(text) for text in look.descriptions])
    labels = [_column_label(index, text, descriptions) for index, text in enumerate(look.descriptions)]
    title = textwrap.wrap(_finding(look), TITLE_CHARACTERS)
    top = 18 * len(title) + (84 if descriptions <= MOST_LEVEL else 138)
    height = top + (CELL_PIXELS if regions < MANY_REGIONS else LOW_CELL_PIXELS) * regions + 12
    figure = go.Figure(
        go.Heatmap(
            z=look.matches,
            customdata=np.broadcast_to(names, look.matches.shape),
            texttemplate="%{z:.2f}" if descriptions <= MOST_WRITTEN else "",
            hovertemplate="region %{y}<br>%{customdata}<br>cosine %{z:.3f}<extra></extra>",
            colorscale=HEAT,
            xgap=3,
            ygap=3,
            colorbar={"title": {"text": "cosine", "side": "right"}, "thickness": 8, "outlinewidth": 0},
        )
    )
    figure.update_layout(
        title={"text": escape("\n".join(title)).replace("\n", "<br>"), "x": 0, "y": 1 - 14 / height, "yanchor": "top"},
        title_font_size=14,
        height=height,
        margin={"l": 44, "r": 4, "t": top, "b": 12},
        **TRANSPARENT,
        font={"family": "system-ui, sans-serif", "size": 12},
        shapes=[_outline(row, column) for column, row in enumerate(look.best)],
        dragmode=False,
    )
    figure.update_xaxes(side="top", title="description", tickvals=list(range(descriptions)), ticktext=labels)
    figure.update_xaxes(tickangle=0 if descriptions <= MOST_LEVEL else -38, showgrid=False, zeroline=False)
    figure.update_yaxes(title="region", autorange="reversed", dtick=1, showgrid=False, zeroline=False)
    return figure


def scatter(
    xy: Array, ids: NDArray[np.int64], groups: Mapping[str, NDArray[np.int64]], colours: Mapping[str, str], title: str
) -> go.Figure:
    """A map of points: xy [N, 2], ids [N] that clicks name, groups of rows with their colours."""
    kind = go.Scattergl if len(xy) > MOST_DRAWN_AS_SVG else go.Scatter
    points, size = np.asarray(xy, np.float32), 3 if len(xy) > MANY_POINTS else 7
    figure = go.Figure(
        [
            kind(
                x=points[rows, 0],
                y=points[rows, 1],
                customdata=ids.astype(np.int32)[rows],
                name=f"{escape(textwrap.shorten(name, SLANTED_CHARACTERS, placeholder='…'))} {len(rows):,}",
                mode="markers",
                marker={"color": colours[name], "size": size, "opacity": 0.75},
                hovertemplate=f"{escape(name)}<extra></extra>",
            )
            for name, rows in groups.items()
        ]
    )
    figure.update_layout(
        title={"text": escape(title), "x": 0, "y": 0.985, "yanchor": "top"},
        title_font_size=14,
        height=460,
        margin={"l": 8, "r": 36, "t": 36, "b": 8},
        showlegend=True,
        legend={"orientation": "h", "y": -0.02, "itemsizing": "constant"},
        dragmode="lasso",
        modebar={"orientation": "v", "remove": ["toImage", "zoomIn2d", "zoomOut2d", "autoScale2d"], **PALE},
        uirevision="map",
        **TRANSPARENT,
        font={"family": "system-ui, sans-serif", "size": 12},
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return figure


def threshold_curve(points: Sequence[CurvePoint], threshold: float) -> go.Figure:
    """What dropping claims at or below a probability would do, by that probability."""
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
        margin={"l": 50, "r": 10, "t": 10, "b": 45},
        legend={"orientation": "h", "y": -0.22},
        xaxis={"title": "probability of supported, at or below which a claim is dropped", "range": [0, 1]},
        yaxis={"title": "share", "range": [0, 1.02], "tickformat": ".0%"},
    )
    return figure


def empty_figure(text: str) -> go.Figure:
    """A plot that says why there is none."""
    figure = go.Figure()
    figure.add_annotation(text=escape(text), showarrow=False, font_size=14)
    figure.update_layout(height=120, margin={"l": 0, "r": 0, "t": 0, "b": 0}, **TRANSPARENT)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def _column_label(index: int, text: str, columns: int) -> str:
    mark = mark_of(index)
    bullet = f'<span style="color:{mark.color}">{"◍" if mark.dash else "●"}</span>'
    if columns > MOST_LEVEL:
        return f"{bullet} {escape(textwrap.shorten(text, SLANTED_CHARACTERS, placeholder='…'))}"
    lines = textwrap.wrap(text, LEVEL_CHARACTERS // columns, max_lines=2, placeholder="…") or [""]
    return f"{bullet} " + "<br>".join(map(escape, lines))


def _outline(region: int, description: int) -> dict[str, object]:
    mark = mark_of(description)
    corners = {"x0": description - 0.47, "x1": description + 0.47, "y0": region - 0.45, "y1": region + 0.45}
    return {
        "type": "rect",
        **corners,
        "line": {"color": mark.color, "width": 3, "dash": "dot" if mark.dash else "solid"},
    }


def _finding(look: Look) -> str:
    """What the matrix says, in one sentence."""
    found = {column: row for column, row in enumerate(look.best) if look.descriptions[column] not in look.not_found}
    if not found:
        return "None of the descriptions is found" if look.descriptions[1:] else "The description is not found"
    column = max(found, key=lambda column: float(look.matches[found[column], column]))
    text = textwrap.shorten(look.descriptions[column], 30, placeholder="…")
    clearest = f"“{text}” on region {found[column]} ({look.matches[found[column], column]:.2f})"
    if len(look.descriptions) == 1:
        return f"The best match is {clearest}"
    own = len(set(found.values()))
    return f"{len(found)} descriptions land on {own} region{'s'[: own > 1]}; clearest is {clearest}"


def annotate(image: Image.Image, look: Look, shown: Sequence[Shown]) -> Image.Image:
    """The upright picture with its regions drawn in, to keep. Reduced to KEPT_SIDE pixels."""
    import supervision as sv  # here: it brings OpenCV, which no page needs before somebody keeps a picture

    kept = image.copy()
    kept.thumbnail((KEPT_SIDE, KEPT_SIDE))
    if not shown:
        return kept
    boxes = np.array([one.box_xyxy for one in shown]) * np.array(kept.size * 2)
    colors = sv.ColorPalette.from_hex([mark_of(one.description).color for one in shown])
    inks = sv.ColorPalette.from_hex([mark_of(one.description).ink for one in shown])
    detections = sv.Detections(xyxy=boxes, class_id=np.arange(len(shown)))
    thickness = max(2, round(max(kept.size) / 300))
    lines = sv.BoxAnnotator(color=colors, thickness=thickness)
    labels = sv.RichLabelAnnotator(color=colors, text_color=inks, font_size=max(12, round(max(kept.size) / 50)))
    texts = [f"{textwrap.shorten(look.descriptions[one.description], 60)} {one.score:.2f}" for one in shown]
    annotated: Image.Image = labels.annotate(lines.annotate(kept, detections), detections, texts)
    return annotated


def png(image: Image.Image) -> bytes:
    """A PNG file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
