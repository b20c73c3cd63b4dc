"""Write and read CVAT's XML for images, version 1.1: a box a region, its first description the label.

Everything else travels as JSON in an attribute `grain` of the box, and of a tag `picture` of the image, which CVAT
keeps where its project has these labels and attributes. A box that was moved or labelled again there counts as it is.

Source: CVAT's documentation of its XML annotation format.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import IO, Any
from xml.etree import ElementTree

from curation.exchange.formats import from_pixels_xyxy, located, parse_json, to_pixels_xyxy, without_area
from curation.exchange.xml_files import escaped, parse_xml, writable
from curation.files.records import (
    DescriptionRecord,
    PictureRecord,
    RegionRecord,
    an_object,
    description_to_json,
    descriptions_from_json,
    facts_of,
    parse_integer,
    picture_from,
    shown,
    text,
)
from curation.files.text_files import decode_text
from user_errors import UserError

OURS, PICTURE = "grain", "picture"  # an attribute, and the label of a tag
MOST_BYTES = 2_000_000_000
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'


def to_image(record: PictureRecord, number: int) -> str:
    """Return a picture as an element <image>."""
    boxes = "".join(_box(record, region) for region in record.regions)
    return (
        f'<image id="{number}" name="{escaped(record.file_name)}" width="{record.width}" height="{record.height}">\n'
        f'<tag label="{PICTURE}" source="manual">{_attribute(facts_of(record))}</tag>\n{boxes}</image>\n'
    )


def from_image(image: ElementTree.Element, left_out: Counter[str] | None = None) -> PictureRecord:
    """Return the picture of an element <image>, ours or another program's.

    Args:   left_out: content that cannot be imported is counted here, by kind.
    Raises: UserError: no such element.
    """
    plain: dict[str, Any] = {"file_name": image.get("name")}
    plain |= {side: _attribute_integer(image.get(side), side) for side in ("width", "height")}
    for tag in image.findall("tag"):
        if tag.get("label") == PICTURE and (ours := _ours(tag)) is not None:
            plain = {**ours, "width": plain["width"], "height": plain["height"]}
    picture = picture_from(plain, regions=())
    left_out = Counter() if left_out is None else left_out
    left_out.update(child.tag for child in image if child.tag not in ("tag", "box"))
    regions = []
    for number, box in enumerate(image.findall("box"), start=1):
        with located(f"box {number}"), without_area(left_out):
            regions.append(_region(box, picture, left_out))
    return picture_from(plain, regions=tuple(regions))


def write(records: Iterable[PictureRecord], file: IO[bytes]) -> None:
    """Write an XML file with an image a picture."""
    file.write(HEAD.encode())
    for number, record in enumerate(records):
        file.write(to_image(record, number).encode())
    file.write(b"</annotations>\n")


def read(file: IO[bytes], left_out: Counter[str] | None = None) -> Iterator[PictureRecord]:
    """Read the pictures of a file, whole into memory.

    Raises: UserError: names the image.
    """
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"expected XML of {MOST_BYTES / 1e9:g} GB or less, got more: export it in parts")
    tree = parse_xml(decode_text(content))
    if tree.tag != "annotations":
        raise UserError(f"expected CVAT's <annotations>, got {shown(tree.tag)}: export as CVAT for images 1.1")
    if left_out is not None:
        left_out.update(track.tag for track in tree.findall("track"))
    for number, image in enumerate(tree.findall("image"), start=1):
        with located(f"image {number}"):
            record = from_image(image, left_out)
        yield record


def _box(record: PictureRecord, region: RegionRecord) -> str:
    corners = zip(("xtl", "ytl", "xbr", "ybr"), to_pixels_xyxy(region.xyxy, record.width, record.height), strict=True)
    places = " ".join(f'{name}="{number}"' for name, number in corners)
    ours: dict[str, Any] = {"descriptions": [description_to_json(one) for one in region.descriptions]}
    if region.id:
        ours["region_id"] = region.id
    label = escaped(region.descriptions[0].text)
    return f'<box label="{label}" source="manual" occluded="0" {places} z_order="0">{_attribute(ours)}</box>\n'


def _attribute(plain: Mapping[str, Any]) -> str:
    """Return plain values as an attribute; escaped in JSON, every character has a place in XML."""
    return f'<attribute name="{OURS}">{escaped(json.dumps(plain))}</attribute>'


def _ours(element: ElementTree.Element) -> dict[str, Any] | None:
    for attribute in element.findall("attribute"):
        if attribute.get("name") == OURS and attribute.text:
            return an_object(parse_json(attribute.text), f"the attribute {OURS}")
    return None


def _region(box: ElementTree.Element, picture: PictureRecord, left_out: Counter[str]) -> RegionRecord:
    label = text(box.get("label"), "label")
    corners = [_decimal(box.get(name), name) for name in ("xtl", "ytl", "xbr", "ybr")]
    if turned := _decimal(box.get("rotation", "0"), "rotation"):
        left_out["rotation"] += 1
        corners = _around(corners, float(turned), picture)
    xyxy = from_pixels_xyxy(corners, picture.width, picture.height)
    ours = _ours(box) or {}
    descriptions = descriptions_from_json(ours["descriptions"]) if "descriptions" in ours else ()
    if not descriptions or writable(descriptions[0].text) != label:  # somebody gave it another label
        return RegionRecord(xyxy, (DescriptionRecord(label),))
    return RegionRecord(xyxy, descriptions, parse_integer(ours.get("region_id", 0), "region_id"))


def _around(corners: list[Decimal], degrees: float, picture: PictureRecord) -> list[Decimal]:
    """Return the upright box around a box that is turned about its middle, within its picture."""
    left, top, right, bottom = map(float, corners)
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    wide, high = right - left, bottom - top
    half = (wide * cos + high * sin) / 2, (wide * sin + high * cos) / 2
    middle, size = ((left + right) / 2, (top + bottom) / 2), (picture.width, picture.height)
    found = [centre + sign * extent for sign in (-1, 1) for centre, extent in zip(middle, half, strict=True)]
    inside = [min(max(at, 0.0), side) for at, side in zip(found, size * 2, strict=True)]
    return [Decimal(repr(round(at, 6))) for at in inside]


def _decimal(value: str | None, name: str) -> Decimal:
    try:
        return Decimal((value or "").strip())
    except ArithmeticError as error:
        raise UserError(f"expected a number for {name}, got {shown(value)}: correct it") from error


def _attribute_integer(value: str | None, name: str) -> int:
    if value is None or not value.strip().isdecimal() or len(value) > 12:
        raise UserError(f"expected a whole number for {name}, got {shown(value)}: correct it")
    return int(value)
