"""Write and read COCO JSON: boxes as corner and size in pixels, and everything else under keys of our own.

Every region is one annotation. Its category is its first description or the class of its picture. Other programs ignore
our keys: of a picture `sha256`, `caption`, `review` ("empty": reviewed, nothing to mark), `facts` and `picture_id`, of
an annotation `descriptions` (each with text, status, score, source, id, version, editor) and `region_id`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import IO, Any, Literal, TypeVar

from curation.exchange.formats import (
    from_pixels_xywh,
    from_pixels_xyxy,
    located,
    parse_json,
    plain_json,
    to_pixels_xywh,
    without_area,
)
from curation.files.records import (
    Box,
    DescriptionRecord,
    PictureRecord,
    RegionRecord,
    a_list,
    an_object,
    description_to_json,
    descriptions_from_json,
    facts_of,
    parse_integer,
    picture_from,
    shown,
    text,
    with_captions,
)
from user_errors import UserError

Result = TypeVar("Result")
Categories = Literal["text", "class"]
"""What a region's category is: its first description, or its picture's fact `class`."""
NO_CLASS = "object"
CLASS = "class"
OURS = {"id": "picture_id"}  # a record's key -> COCO's, where that is taken
UNREAD = ("segmentation", "keypoints", "attributes")  # of annotations; counted and left out


def write(records: Iterable[PictureRecord], file: IO[bytes], *, categories: Categories = "text") -> None:
    """Write a COCO file.

    Args: records: iterated twice, so no mere iterator. categories: distinct ones are kept in memory.
    """
    numbers: dict[str, int] = {}
    file.write(b'{"images": [')
    for number, record in enumerate(records, start=1):
        plain = {OURS.get(key, key): value for key, value in facts_of(record).items()}
        file.write(_item(number, plain_json({"id": number, **plain})))
    file.write(b'\n], "annotations": [')
    count = 0
    for number, record in enumerate(records, start=1):
        for region in record.regions:
            count += 1
            category = numbers.setdefault(_category(record, region, categories), len(numbers) + 1)
            head = {"id": count, "image_id": number, "category_id": category}
            file.write(_item(count, _annotation(head, record, region)))
    file.write(b'\n], "categories": [')
    for name, number in numbers.items():
        file.write(_item(number, plain_json({"id": number, "name": name})))
    file.write(b"\n]}\n")


def read(file: IO[bytes], left_out: Counter[str] | None = None) -> list[PictureRecord]:
    """Read the pictures of a COCO file, ours or another program's, whole into memory.

    A region of another program is described by `description`, `caption` or its category's name; annotations with a
    caption and no box give their picture's captions (see with_captions).

    Args:   left_out: content that cannot be imported is counted here, by kind.
    Raises: UserError: names the place.
    """
    left_out = Counter() if left_out is None else left_out
    whole_file = parse_json(file.read())
    with located("the file"):
        top = an_object(whole_file, "a COCO file")
    names = _by_id(top, "categories", _category_of)
    pictures = _by_id(top, "images", _picture)
    regions: dict[int, list[RegionRecord]] = defaultdict(list)
    for number, content in _each(
        top, "annotations", lambda item: _annotation_of(item, pictures, names, left_out=left_out)
    ):
        if isinstance(content, RegionRecord):
            regions[number].append(content)
        elif content is not None:
            plain = pictures[number]
            plain["caption"], plain["facts"] = with_captions(
                plain.get("caption", ""), plain.get("facts", {}), [content]
            )
    return [picture_from(plain, regions=tuple(regions[number])) for number, plain in pictures.items()]


def _item(number: int, content: str) -> bytes:
    return (("\n" if number == 1 else ",\n") + content).encode()


def _category(record: PictureRecord, region: RegionRecord, categories: Categories) -> str:
    return region.descriptions[0].text if categories == "text" else record.facts.get(CLASS, NO_CLASS)


def _annotation(ids: Mapping[str, int], record: PictureRecord, region: RegionRecord) -> str:
    x1, y1, x2, y2 = region.xyxy
    area = (x2 - x1) * record.width * ((y2 - y1) * record.height)
    plain: dict[str, Any] = {"area": area, "iscrowd": 0}
    plain["descriptions"] = [description_to_json(one) for one in region.descriptions]
    if region.id:
        plain["region_id"] = region.id
    box = ", ".join(to_pixels_xywh(region.xyxy, record.width, record.height))
    return f'{plain_json(ids)[:-1]}, "bbox": [{box}], {plain_json(plain)[1:]}'


def _each(top: Mapping[str, Any], name: str, read_one: Callable[[Any], Result]) -> Iterator[Result]:
    with located(name):
        items = a_list(top.get(name, None if name == "images" else []), name)
    for at, item in enumerate(items):
        with located(f"{name}[{at}]"):
            found = read_one(item)
        yield found


def _by_id(top: Mapping[str, Any], name: str, read_one: Callable[[Any], tuple[int, Result]]) -> dict[int, Result]:
    found: dict[int, Result] = {}
    for at, (number, one) in enumerate(_each(top, name, read_one)):
        if number in found and (name == "images" or found[number] != one):
            raise UserError(f"{name}[{at}]: expected an id of its own, got {number} twice: give each its own")
        found[number] = one
    return found


def _category_of(item: Any) -> tuple[int, str]:
    entry = an_object(item, "a category")
    return parse_integer(entry.get("id"), "id"), text(entry.get("name"), "name")


def _picture(item: Any) -> tuple[int, dict[str, Any]]:
    entry = an_object(item, "a picture")
    keys = ("sha256", "width", "height", "file_name", "caption", "review", "facts", "written_sha256")
    plain = {key: entry[key] for key in keys if key in entry}
    plain["id"] = entry.get(OURS["id"], 0)
    picture_from(plain, regions=())  # so that an error names its place
    return parse_integer(entry.get("id"), "id"), plain


def _annotation_of(
    item: Any, pictures: Mapping[int, Mapping[str, Any]], names: Mapping[int, str], *, left_out: Counter[str]
) -> tuple[int, RegionRecord | str | None]:
    """Return the number of an annotation's picture, and its region or the picture's caption; None if it is left out."""
    entry = an_object(item, "an annotation")
    number = parse_integer(entry.get("image_id"), "image_id")
    plain = pictures.get(number)
    if plain is None:
        raise UserError(f"expected the image_id of a picture in the file, got {number}: correct it")
    left_out.update(key for key in UNREAD if entry.get(key))
    if "bbox" not in entry and "caption" in entry:
        return number, text(entry["caption"], "caption")
    if entry.get("iscrowd"):  # a box around many, which no text describes as one
        left_out["crowd"] += 1
        return number, None
    if not entry.get("bbox") and isinstance(entry.get("segmentation"), dict):
        left_out["mask without box"] += 1
        return number, None
    with without_area(left_out):
        xyxy = _box_of(entry, int(plain["width"]), int(plain["height"]))
        region_id = parse_integer(entry.get("region_id", 0), "region_id")
        return number, RegionRecord(xyxy, _described(entry, names), region_id)
    return number, None


def _box_of(entry: Mapping[str, Any], width: int, height: int) -> Box:
    """Return an annotation's box; where it has none, the one around its polygons."""
    if entry.get("bbox") or not entry.get("segmentation"):
        return from_pixels_xywh(entry.get("bbox"), width, height)
    polygons = a_list(entry["segmentation"], "segmentation")
    numbers = [number for polygon in polygons for number in a_list(polygon, "segmentation")]
    if len(numbers) < 2 or not all(isinstance(number, int | float | Decimal) for number in numbers):
        raise UserError(f"expected a bbox, or polygons of numbers, got {shown(numbers)}: correct it")
    across, down = numbers[::2], numbers[1::2]
    return from_pixels_xyxy([min(across), min(down), max(across), max(down)], width, height)


def _described(entry: Mapping[str, Any], names: Mapping[int, str]) -> tuple[DescriptionRecord, ...]:
    if "descriptions" in entry:
        return descriptions_from_json(entry["descriptions"])
    description = entry.get("description", entry.get("caption"))
    if description is None:
        number = parse_integer(entry.get("category_id"), "category_id")
        if number not in names:
            raise UserError(f"expected the category_id of a category in the file, got {number}: add the category")
        description = names[number]
    return (DescriptionRecord(text(description, "description")),)
