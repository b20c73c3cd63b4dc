"""ODVG, as Open-GroundingDINO reads it: one picture a line, boxes as xyxy in pixels, a phrase each.

A region of several descriptions is as many entries of one box, and entries of one box are one region again: the loader
takes one text a box. It takes no picture without a box, so that none gets a line. There is no place for anything else
(formats.losses).

Source: IDEA-Research's Open-GroundingDINO, datasets/odvg.py, grounding data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from curation.formats import bare_region, described_boxes, from_pixels_xyxy, plain_json, read_lines, to_pixels_xyxy
from curation.records import (
    Box,
    PictureRecord,
    RecordError,
    a_list,
    an_object,
    picture_from,
    shown,
    text,
)


def to_line(record: PictureRecord) -> str:
    """A picture as one line, without its end."""
    regions = ", ".join(
        f'{{"bbox": [{", ".join(to_pixels_xyxy(region.xyxy, record.width, record.height))}], '
        f'"phrase": {plain_json(one.text)}}}'
        for region in record.regions
        for one in region.descriptions
    )
    return (
        f'{{"filename": {plain_json(record.file_name)}, "height": {record.height}, "width": {record.width}, '
        f'"grounding": {{"caption": {plain_json(record.caption)}, "regions": [{regions}]}}}}'
    )


def from_line(line: Mapping[str, Any]) -> PictureRecord:
    """A picture from one line, parsed by formats.parse_json.

    Raises: RecordError: no such line.
    """
    if "grounding" not in line and "detection" in line:
        raise RecordError("expected an ODVG line with `grounding`, got one with `detection`: give its phrases instead")
    grounding = an_object(line.get("grounding"), "grounding")
    plain = {
        "file_name": line.get("filename"),
        "width": line.get("width"),
        "height": line.get("height"),
        "caption": grounding.get("caption") or "",
    }
    picture = picture_from(plain, regions=())
    said: dict[Box, list[str]] = {}
    for item in a_list(grounding.get("regions", []), "regions"):
        xyxy, phrases = _entry(an_object(item, "a region"), picture)
        said.setdefault(xyxy, []).extend(phrases)
    return picture_from(plain, regions=tuple(bare_region(xyxy, texts) for xyxy, texts in said.items()))


def read(file: IO[bytes]) -> Iterator[PictureRecord]:
    """The pictures of a file.

    Raises: FormatError: names the line.
    """
    return read_lines(file, from_line)


def write(records: Iterable[PictureRecord], file: IO[bytes]) -> None:
    """One line a picture that has a description."""
    for record in records:
        if described_boxes(record):
            file.write((to_line(record) + "\n").encode())


def _entry(item: Mapping[str, Any], picture: PictureRecord) -> tuple[Box, list[str]]:
    """A box and what is said of it: one phrase, or, of other programs, a list of them."""
    xyxy = from_pixels_xyxy(item.get("bbox"), picture.width, picture.height)
    phrase = item.get("phrase")
    phrases = phrase if isinstance(phrase, list) else [phrase]
    if not phrases:
        raise RecordError(f"expected a phrase or a list of them, got {shown(phrase)}: name what the box holds")
    return xyxy, [text(one, "phrase") for one in phrases]
