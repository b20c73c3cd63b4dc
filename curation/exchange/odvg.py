"""Write and read ODVG, as Open-GroundingDINO reads it: one picture a line, xyxy boxes in pixels, a phrase each.

A region of several descriptions is written as several entries of one box, and read back as one region: the loader takes
one text a box. It takes no picture without a box, so such a picture gets no line. Nothing else can be stored
(formats.losses).

Source: IDEA-Research's Open-GroundingDINO, datasets/odvg.py, grounding data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from curation.exchange.formats import (
    bare_region,
    described_boxes,
    from_pixels_xyxy,
    plain_json,
    read_lines,
    to_pixels_xyxy,
)
from curation.files.records import Box, PictureRecord, a_list, an_object, picture_from, shown, text
from user_errors import UserError


def to_line(record: PictureRecord) -> str:
    """Return a picture as one line, without its end."""
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
    """Return the picture of one line, parsed by formats.parse_json.

    Raises: UserError: no such line.
    """
    if "grounding" not in line and "detection" in line:
        raise UserError("expected an ODVG line with `grounding`, got one with `detection`: give its phrases instead")
    grounding = an_object(line.get("grounding"), "grounding")
    plain = {
        "file_name": line.get("filename"),
        "width": line.get("width"),
        "height": line.get("height"),
        "caption": grounding.get("caption") or "",
    }
    picture = picture_from(plain, regions=())
    phrases_of_box: dict[Box, list[str]] = {}
    for item in a_list(grounding.get("regions", []), "regions"):
        xyxy, phrases = _entry(an_object(item, "a region"), picture)
        phrases_of_box.setdefault(xyxy, []).extend(phrases)
    return picture_from(plain, regions=tuple(bare_region(xyxy, texts) for xyxy, texts in phrases_of_box.items()))


def read(file: IO[bytes]) -> Iterator[PictureRecord]:
    """Read the pictures of a file.

    Raises: UserError: names the line.
    """
    return read_lines(file, from_line)


def write(records: Iterable[PictureRecord], file: IO[bytes]) -> None:
    """Write one line for each picture that has a description."""
    for record in records:
        if described_boxes(record):
            file.write((to_line(record) + "\n").encode())


def _entry(item: Mapping[str, Any], picture: PictureRecord) -> tuple[Box, list[str]]:
    """Return a box and its phrases: one, or a list of them from other programs."""
    xyxy = from_pixels_xyxy(item.get("bbox"), picture.width, picture.height)
    phrase = item.get("phrase")
    phrases = phrase if isinstance(phrase, list) else [phrase]
    if not phrases:
        raise UserError(f"expected a phrase or a list of them, got {shown(phrase)}: name what the box holds")
    return xyxy, [text(one, "phrase") for one in phrases]
