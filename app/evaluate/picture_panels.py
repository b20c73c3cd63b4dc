"""Prepare the pictures that the Evaluate page shows: examples, confusions, classes and descriptions that matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from app.core.data_uri import picture_uri
from app.evaluate.panels import format_p
from app.evaluate.results import EvaluationResult, find_pair, model_of
from app.ui.frames import THUMBNAIL_SIDE, regions_frame
from app.ui.html import empty_state, render, thousands
from grain.structures import Region

EXAMPLE_SIDE = 360  # pixels
MOST_EFFECTS = 8  # of each kind


@dataclass(frozen=True)
class PictureLink:
    """A picture of an evaluation, by the numbers of its data set and of itself, as a model sees it on Ground."""

    data_set: int
    picture: int
    model: str


@dataclass(frozen=True)
class PictureThumb:
    """A small picture that opens on Ground. uri: "" where the file is gone. name: its class."""

    link: PictureLink
    uri: str
    name: str


@dataclass(frozen=True)
class ExampleSide:
    """A picture as one row sees it. frame: the picture with its regions, rendered."""

    link: PictureLink
    frame: str
    right: bool
    predicted: str
    probability: str
    row: str


def examples_panel(result: EvaluationResult, data_set: int, *, one: str, other: str) -> str:
    """Render pictures that one row alone gets right, and those that it alone gets wrong, with both models' regions."""
    pair = find_pair(result.details["data_sets"][data_set]["deltas"], one, other)
    if pair is None or not (pair["wins"] or pair["losses"]):
        return empty_state("No picture tells them apart", "Both are right, or wrong, on the same pictures.")
    groups = [
        (title, [_example(result, data_set, picture, rows=(one, other)) for picture in pictures])
        for title, pictures in ((f"{one} alone is right", pair["wins"]), (f"{other} alone is right", pair["losses"]))
        if pictures
    ]
    return render("evaluate/templates/examples.html", groups=groups)


def _example(
    result: EvaluationResult, data_set: int, picture: int, *, rows: Sequence[str]
) -> tuple[str, list[ExampleSide]]:
    one = result.details["data_sets"][data_set]["pictures"][str(picture)]
    uri = _uri(result, one, EXAMPLE_SIDE)
    return one["true"], [_side(one, row, uri=uri, link=PictureLink(data_set, picture, model_of(row))) for row in rows]


def _side(one: Mapping[str, Any], row: str, *, uri: str, link: PictureLink) -> ExampleSide:
    answer = one["rows"][row]
    regions = [
        Region(tuple(region["box"]), region["text"], region["cosine"], index)
        for index, region in enumerate(one["regions"].get(link.model, []))
    ]
    return ExampleSide(
        link=link,
        frame=regions_frame(uri, regions, width=one["width"], height=one["height"]),
        right=answer["said"] == one["true"],
        predicted=answer["said"],
        probability=f"{100 * answer['probability']:.0f} %",
        row=row,
    )


def apart_panel(result: EvaluationResult, data_set: int, *, one: str, other: str) -> str:
    """Render the classes that two rows differ on most, each with a picture to open."""
    pair = find_pair(result.details["data_sets"][data_set]["deltas"], one, other)
    if pair is None or not pair.get("apart"):  # evaluations of earlier versions have none
        return ""
    classes = {row["name"]: row for row in pair["classes"]}
    pictures = {each["name"]: each["picture"] for each in pair["apart"]}
    rows = []
    for name in sorted(pictures, key=lambda name: -classes[name]["lead"][0]):
        row = classes[name]
        shares = f"{100 * row['one']:.0f} % against {100 * row['other']:.0f} %"
        thumb = _thumb(result, PictureLink(data_set, pictures[name], model_of(one)))
        words = f"{shares}, {thousands(row['pictures'])} pictures"
        rows.append((f"{100 * row['lead'][0]:+.0f}", name, words, thumb))
    return render("evaluate/templates/apart.html", rows=rows)


def confusion_panel(result: EvaluationResult, data_set: int, row: str) -> str:
    """Render the classes taken for others, the most frequent first, with a few pictures."""
    pairs = result.details["data_sets"][data_set]["rows"].get(row, {}).get("confused", [])
    if not pairs:
        return empty_state("Nothing confused", "Every picture got its class.")
    rows = []
    for pair in pairs:
        thumbs = [_thumb(result, PictureLink(data_set, picture, model_of(row))) for picture in pair["pictures"]]
        rows.append((pair["count"], pair["true"], pair["said"], thumbs))
    return render("evaluate/templates/confusion.html", rows=rows)


def effects_panel(result: EvaluationResult, data_set: int, model: str) -> str:
    """Render which descriptions gain pictures and which lose some, when they are left out one by one."""
    effects = result.details["data_sets"][data_set]["effects"].get(model)
    if not effects:
        return empty_state("No descriptions to leave out", "Classes need two or more each.")
    shown = effects["shown"]
    groups = {
        "Help most": [each for each in shown if each["helped"] > each["hurt"]],
        "Hurt most": [each for each in shown[::-1] if each["hurt"] > each["helped"]],
    }
    return render(
        "evaluate/templates/effects.html",
        model=model,
        descriptions=effects["descriptions"],
        helpful=effects["helpful"],
        harmful=effects["harmful"],
        tables=[
            (title, [_effect(result, data_set, row, model=model) for row in rows[:MOST_EFFECTS]])
            for title, rows in groups.items()
            if rows
        ],
    )


def _effect(result: EvaluationResult, data_set: int, row: Mapping[str, Any], *, model: str) -> tuple[Any, ...]:
    picture = row.get("picture")  # evaluations of earlier versions have none
    thumb = None if picture is None else _thumb(result, PictureLink(data_set, picture, model))
    return row["text"], row["class"], row["helped"], row["hurt"], format_p(row["p"]), thumb


def _thumb(result: EvaluationResult, link: PictureLink) -> PictureThumb:
    one = result.details["data_sets"][link.data_set]["pictures"][str(link.picture)]
    return PictureThumb(link, _uri(result, one, THUMBNAIL_SIDE), one["true"])


def _uri(result: EvaluationResult, one: Mapping[str, Any], side: int) -> str:
    """Return a picture as a data URI; "" where its file is gone."""
    try:
        with Image.open(result.folder / "pictures" / Path(one["file"]).name) as image:
            return picture_uri(image, side)
    except OSError:
        return ""
