"""Write and read Pascal VOC: an XML file a picture, boxes in whole pixels counted from 1, a name each.

A region of several descriptions is written as several objects of one box, and read back as one region. Nothing else can
be stored (formats.losses).

Source: the development kit of the PASCAL VOC challenge.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO
from xml.etree import ElementTree

from atomic_files import write_atomically
from curation.exchange.formats import (
    bare_region,
    each_file,
    from_pixels_xyxy,
    located,
    read_bounded,
    whole_pixels,
    without_area,
)
from curation.exchange.xml_files import escaped, parse_xml, whole_in
from curation.files.records import Box, PictureRecord, RegionRecord, picture_from, shown, text
from curation.files.text_files import decode_text
from user_errors import UserError

ANNOTATIONS, IMAGES = "Annotations", "JPEGImages"
MOST_BYTES = 4_000_000  # of one file
UNREAD = ("mask", "polygon", "part")  # of objects; counted and left out
OBJECT = (
    "<object><name>{name}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
    "<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>\n"
)


def to_xml(record: PictureRecord) -> str:
    """Return a picture as an XML file."""
    folder, slash, name = record.file_name.rpartition("/")
    place = f"<folder>{escaped(folder)}</folder>" if slash else ""
    objects = "".join(
        OBJECT.format(*whole_pixels(region.xyxy, record.width, record.height), name=escaped(one.text))
        for region in record.regions
        for one in region.descriptions
    )
    return (
        f"<annotation>{place}<filename>{escaped(name)}</filename><size><width>{record.width}</width>"
        f"<height>{record.height}</height><depth>3</depth></size><segmented>0</segmented>\n{objects}</annotation>\n"
    )


def from_xml(content: str, left_out: Counter[str] | None = None) -> PictureRecord:
    """Return the picture of an XML file.

    Args:   left_out: content that cannot be imported is counted here, by kind.
    Raises: UserError: no such file; names the object.
    """
    tree = parse_xml(content)
    folder, name = tree.findtext("folder"), text(tree.findtext("filename"), "filename")
    size = tree.find("size")
    plain = {
        "file_name": name if folder is None else f"{folder}/{name}",
        **{side: whole_in(size, side) for side in ("width", "height")},
    }
    picture = picture_from(plain, regions=())
    left_out = Counter() if left_out is None else left_out
    described: dict[Box, list[str]] = {}
    for number, item in enumerate(tree.findall("object"), start=1):
        with located(f"object {number}"), without_area(left_out):
            box = _box(item.find("bndbox"), picture)
            described.setdefault(box, []).append(text(item.findtext("name"), "name"))
        left_out.update(kind for kind in UNREAD if item.find(kind) is not None)
    regions: tuple[RegionRecord, ...] = tuple(bare_region(box, texts) for box, texts in described.items())
    return picture_from(plain, regions=regions)


def write(records: Iterable[PictureRecord], file: IO[bytes]) -> None:
    """Write the list of the pictures, a name without its suffix a line."""
    for record in records:
        file.write(f"{_stem(record)}\n".encode())


def write_annotations(records: Iterable[PictureRecord], out: Path) -> None:
    """Write an XML file a picture into `Annotations`."""
    for record in records:
        write_atomically(out / ANNOTATIONS / f"{_stem(record)}.xml", to_xml(record), sync="none")


def read(
    folder: Path, left_out: Counter[str] | None = None, refused: list[str] | None = None
) -> Iterator[PictureRecord]:
    """Read the pictures of a folder that has `Annotations`, or of the XML files below it.

    Args:   left_out: content that cannot be imported is counted here. refused: takes a sentence for each file that
            cannot be read; the others are read all the same.
    Raises: UserError: there are none.
    """
    root = folder / ANNOTATIONS if (folder / ANNOTATIONS).is_dir() else folder
    files = sorted(root.rglob("[!.]*.xml")) if root.is_dir() else [root]
    if not files:
        raise UserError(f"expected {ANNOTATIONS}/*.xml in {folder}, got none: put them there")
    yield from each_file(files, _of_file, left_out=left_out, refused=refused)


def _of_file(file: Path, counts: Counter[str]) -> PictureRecord:
    with located(shown(file.name)):
        return from_xml(decode_text(read_bounded(file, MOST_BYTES)), counts)


def _stem(record: PictureRecord) -> str:
    return PurePosixPath(record.file_name).with_suffix("").name


def _box(element: ElementTree.Element | None, picture: PictureRecord) -> Box:
    """Return a box; other programs write parts of pixels too."""
    if element is None:
        raise UserError("expected a <bndbox>, got none: add it or leave the object out")
    corners = []
    for corner in ("xmin", "ymin", "xmax", "ymax"):
        number = " ".join(element.findtext(corner, "").split())
        if not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,20})?", number):
            raise UserError(f"expected a number as <{corner}>, got {shown(number or None)}: correct it")
        corners.append(float(number))
    x1, y1, x2, y2 = corners
    return from_pixels_xyxy([x1 - 1, y1 - 1, x2, y2], picture.width, picture.height)
