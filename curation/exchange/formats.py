"""Share what the file formats have in common: what each can store, exact pixels, errors that name their place.

Each format has a module of its own: coco.py, odvg.py, yolo.py, voc.py, cvat.py, fiftyone_json.py, finehard.py,
imagefolder.py (parquet too), label_studio_json.py and shards.py.
All are pure: records in, text or plain values out, and back. entities.py is a layout that is only read.

Boxes are normalized at rest and in pixels in COCO and ODVG. Not every fraction x has a float p with p / width == x, so
pixels are written with as many decimal digits as give x back, mostly the 17 of any float and at times one or two more,
and are read as decimals. Other programs read the nearest float, as usual.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, DecimalException
from pathlib import Path
from typing import IO, Any, Literal, TypeVar, get_args

from curation.exchange.xml_files import writable
from curation.files.records import Box, DescriptionRecord, PictureRecord, RegionRecord, a_list, shown
from curation.files.text_files import decode_text
from user_errors import UserError

Item = TypeVar("Item")
Format = Literal[
    "shards",
    "coco",
    "odvg",
    "yolo",
    "voc",
    "fiftyone",
    "cvat",
    "finehard",
    "imagefolder",
    "parquet",
    "label-studio",
]
FORMATS: tuple[Format, ...] = get_args(Format)
ImportFormat = Literal[Format, "entities", "entities-longer"]
"""What annotations are read from: the formats of exports, and layouts that are only read."""
ENTITIES_FORMATS: tuple[ImportFormat, ...] = ("entities", "entities-longer")
IMPORT_FORMATS: tuple[ImportFormat, ...] = get_args(ImportFormat)
LABELS: dict[ImportFormat, str] = {
    "shards": "Shards for training",
    "coco": "COCO JSON",
    "odvg": "ODVG lines",
    "yolo": "YOLO (Ultralytics)",
    "voc": "Pascal VOC",
    "fiftyone": "FiftyOne JSON",
    "cvat": "CVAT XML for images",
    "finehard": "FineHARD region text",
    "imagefolder": "Hugging Face ImageFolder",
    "parquet": "Hugging Face parquet",
    "label-studio": "Label Studio JSON",
    "entities": "Flickr30k Entities",
    "entities-longer": "Flickr30k Entities, with what captions say of their subjects",
}
"""What pages call them."""
OF_MANY_FILES: tuple[ImportFormat, ...] = ("yolo", "voc", *ENTITIES_FORMATS)
"""Those that have files of its own for each picture: malformed ones are listed, and the others read."""
MAIN_FILE: dict[str, str] = {
    "shards": "manifest.json",
    "coco": "annotations.json",
    "odvg": "annotations.jsonl",
    "yolo": "data.yaml",
    "voc": "ImageSets/Main/trainval.txt",
    "fiftyone": "labels.json",
    "cvat": "annotations.xml",
    "finehard": "finehard.json",
    "imagefolder": "metadata.jsonl",
    "parquet": "data.parquet",
    "label-studio": "tasks.json",
}
"""Which an export has, written last."""
LINE_BYTES = 32_000_000  # of one picture
EDGE_PIXELS = 1.0  # a box that other programs rounded may leave the picture by so much, and is clipped
ARITHMETIC = Context(prec=50, rounding=ROUND_HALF_EVEN)
FEWEST_DIGITS, MOST_DIGITS = 15, 40  # 18 are enough unless x + width nearly cancel


# ------------------------------------------------------------------------------------ what is lost


class NoAreaError(UserError):
    """A box of no width or height, as programs leave them after a slip of the mouse."""


@dataclass(frozen=True)
class _Kind:
    """Content that records hold and some formats cannot store.

    count: in one picture. sentence: about {n} of them.
    """

    count: Callable[[PictureRecord], int]
    sentence: str


def _descriptions(record: PictureRecord) -> Iterator[DescriptionRecord]:
    return (one for region in record.regions for one in region.descriptions)


def _ids(record: PictureRecord) -> int:
    described = sum(one.id != 0 for one in _descriptions(record))
    return (record.id != 0) + sum(region.id != 0 for region in record.regions) + described


def described_boxes(record: PictureRecord) -> list[Box]:
    """Return the boxes of a picture that have a description, in order."""
    return [region.xyxy for region in record.regions if region.descriptions]


def _merged(record: PictureRecord) -> int:
    boxes = described_boxes(record)
    return len(boxes) - len(set(boxes))


def _unwritable(record: PictureRecord) -> int:
    texts = [record.file_name, *(one.text for one in _descriptions(record))]
    return sum(writable(text) != text for text in texts)


def _rounded(record: PictureRecord) -> int:
    boxes = described_boxes(record)
    return sum(in_whole_pixels(box, record.width, record.height) != box for box in boxes)


def _off_centre(record: PictureRecord) -> int:
    return sum(from_centre(to_centre(box), record.width, record.height) != box for box in described_boxes(record))


KINDS = {
    "sha256": _Kind(lambda r: r.sha256 != "", "content hashes: {n} lose theirs and are found by file name only"),
    "id": _Kind(_ids, "database ids: {n} lose theirs"),
    "caption": _Kind(lambda r: r.caption != "", "captions: {n} pictures lose theirs"),
    "review": _Kind(lambda r: r.review != "open", 'review states: {n} lose theirs, "reviewed, empty" among them'),
    "facts": _Kind(lambda r: len(r.facts), "facts of pictures: {n} are lost"),
    "status": _Kind(
        lambda r: sum(one.status != "pending" for one in _descriptions(r)), "verdicts: {n} descriptions lose theirs"
    ),
    "score": _Kind(
        lambda r: sum(one.score is not None for one in _descriptions(r)), "scores: {n} descriptions lose theirs"
    ),
    "source": _Kind(
        lambda r: sum(one.source != "" for one in _descriptions(r)), "sources: {n} descriptions lose theirs"
    ),
    "version": _Kind(
        lambda r: sum(one.version != 1 for one in _descriptions(r)), "version numbers: {n} descriptions lose theirs"
    ),
    "editor": _Kind(
        lambda r: sum(one.editor != "" for one in _descriptions(r)), "editors: {n} descriptions lose theirs"
    ),
    "empty": _Kind(lambda r: not described_boxes(r), "pictures without a region: {n} get no line"),
    "merged": _Kind(_merged, "several regions of one box: {n} become part of another"),
    "whole_pixels": _Kind(_rounded, "parts of pixels: {n} boxes are rounded to whole ones"),
    "centre": _Kind(_off_centre, "boxes by their corners: {n} are rounded"),
    "unwritable": _Kind(_unwritable, "control characters: {n} texts or names get a mark in their place"),
    "bare": _Kind(
        lambda r: len(r.regions) - len(described_boxes(r)), "regions without a description: {n} are left out"
    ),
}
"""By the field of the record that is lost, or what happens to a picture as a whole."""
_OF_DESCRIPTIONS = ("status", "score", "source", "version", "editor")
_LOST_WITH_PHRASES = ("sha256", "id", "review", "facts", *_OF_DESCRIPTIONS, "empty", "merged", "bare")
_LOST_WITH_NAMES = ("sha256", "id", "caption", "review", "facts", *_OF_DESCRIPTIONS, "merged", "bare")
LOST: dict[Format, tuple[str, ...]] = {
    "shards": (),
    "coco": (),
    "odvg": _LOST_WITH_PHRASES,
    "yolo": (*_LOST_WITH_NAMES, "centre"),
    "voc": (*_LOST_WITH_NAMES, "whole_pixels", "unwritable"),
    "fiftyone": (),
    "cvat": (),
    "finehard": (),
    "imagefolder": (),
    "parquet": (),
    "label-studio": (),
}
NAMES: dict[Format, str] = {
    "shards": "A shard",
    "coco": "COCO",
    "odvg": "ODVG",
    "yolo": "YOLO",
    "voc": "Pascal VOC",
    "fiftyone": "FiftyOne's JSON",
    "cvat": "CVAT's XML",
    "finehard": "FineHARD's JSON",
    "imagefolder": "An ImageFolder",
    "parquet": "A parquet file",
    "label-studio": "Label Studio's JSON",
}


def losses(format: Format, records: Iterable[PictureRecord]) -> list[str]:
    """Return what a format cannot store of these records, one sentence a kind of loss; empty where nothing is lost."""
    counts: Counter[str] = Counter()
    for record in records:
        for kind in LOST[format]:
            counts[kind] += KINDS[kind].count(record)
    return [
        f"{NAMES[format]} has no place for {KINDS[kind].sentence.format(n=f'{counts[kind]:,}')}."
        for kind in LOST[format]
        if counts[kind]
    ]


# ------------------------------------------------------------------------------------ pixels


def to_pixels_xyxy(xyxy: Box, width: int, height: int) -> tuple[str, str, str, str]:
    """Return a normalized box in pixels, as JSON numbers that from_pixels_xyxy turns back exactly."""
    x1, y1, x2, y2 = xyxy
    return _pixels(x1, width), _pixels(y1, height), _pixels(x2, width), _pixels(y2, height)


def from_pixels_xyxy(values: Any, width: int, height: int) -> Box:
    """Return the normalized box of four pixel numbers, decimals where they come from a file (see parse_json).

    Raises: UserError: no box with an area, or one that leaves the picture by more than a pixel.
    """
    x1, y1, x2, y2 = _four(values)
    return _box((x1, y1, x2, y2), width, height, values=values)


def to_pixels_xywh(xyxy: Box, width: int, height: int) -> tuple[str, str, str, str]:
    """Return a normalized box as COCO's corner and size in pixels; from_pixels_xywh turns it back exactly."""
    x, y = _pixels(xyxy[0], width), _pixels(xyxy[1], height)
    return x, y, _pixels(xyxy[2], width, since=Decimal(x)), _pixels(xyxy[3], height, since=Decimal(y))


def from_pixels_xywh(values: Any, width: int, height: int) -> Box:
    """Return the normalized box of a corner and a size in pixels; otherwise as from_pixels_xyxy."""
    x, y, wide, high = _four(values)
    return _box((x, y, ARITHMETIC.add(x, wide), ARITHMETIC.add(y, high)), width, height, values=values)


def to_unit_xywh(xyxy: Box) -> tuple[str, str, str, str]:
    """Return corner and size in parts of the picture, as JSON numbers that from_unit_xywh turns back exactly."""
    return to_pixels_xywh(xyxy, 1, 1)


def from_unit_xywh(values: Any, width: int, height: int) -> Box:
    """Return the box of a corner and a size in parts of a picture; otherwise as from_pixels_xyxy."""
    x, y, wide, high = _four(values)
    corners = (x, y, ARITHMETIC.add(x, wide), ARITHMETIC.add(y, high))
    return _unit_box(corners, width, height, values=values)


def from_unit_xyxy(values: Any, width: int, height: int) -> Box:
    """Return the box of two corners in parts of a picture; otherwise as from_pixels_xyxy."""
    x1, y1, x2, y2 = _four(values)
    return _unit_box((x1, y1, x2, y2), width, height, values=values)


def to_centre(xyxy: Box) -> tuple[str, str, str, str]:
    """Return centre and size in parts of the picture, as YOLO has them; few boxes are rounded (from_centre)."""
    x1, y1, x2, y2 = (Decimal(part) for part in xyxy)
    numbers = (_half(x1, x2), _half(y1, y2), ARITHMETIC.subtract(x2, x1), ARITHMETIC.subtract(y2, y1))
    short = tuple(repr(float(number)) for number in numbers)
    exact = tuple(f"{Context(prec=MOST_DIGITS).plus(number):f}" for number in numbers)
    return short if _from_centre(short) == xyxy else exact  # type: ignore[return-value]


def from_centre(values: Any, width: int, height: int) -> Box:
    """Return the box of a centre and a size in parts of a picture; otherwise as from_pixels_xyxy."""
    try:
        numbers = _four([Decimal(str(value)) for value in values])
    except DecimalException as error:
        raise UserError(f"expected 4 numbers, got {shown(values)}: correct them") from error
    return _unit_box(_corners(numbers), width, height, values=values)


def _from_centre(values: tuple[str, ...]) -> tuple[float, ...]:
    return tuple(float(corner) for corner in _corners([Decimal(value) for value in values]))


def _corners(centre: list[Decimal]) -> tuple[Decimal, ...]:
    x, y, wide, high = centre
    across, down = (ARITHMETIC.divide(side, Decimal(2)) for side in (wide, high))
    low = (ARITHMETIC.subtract(x, across), ARITHMETIC.subtract(y, down))
    return (*low, ARITHMETIC.add(x, across), ARITHMETIC.add(y, down))


def _half(one: Decimal, other: Decimal) -> Decimal:
    return ARITHMETIC.divide(ARITHMETIC.add(one, other), Decimal(2))


def whole_pixels(xyxy: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Return a box in whole pixels, at least one each way, as VOC has it: counted from 1, the last one inside."""
    x1, x2 = _whole_side(xyxy[0], xyxy[2], width)
    y1, y2 = _whole_side(xyxy[1], xyxy[3], height)
    return x1 + 1, y1 + 1, x2, y2


def in_whole_pixels(xyxy: Box, width: int, height: int) -> Box:
    """Return a box as it comes back from whole pixels."""
    x1, y1, x2, y2 = whole_pixels(xyxy, width, height)
    return from_pixels_xyxy([x1 - 1, y1 - 1, x2, y2], width, height)


def _whole_side(low: float, high: float, side: int) -> tuple[int, int]:
    first = min(round(low * side), side - 1)
    return first, max(round(high * side), first + 1)


def _pixels(part: float, side: int, since: Decimal = Decimal(0)) -> str:
    """Return the pixels from `since` to a part of a side."""
    exact = ARITHMETIC.subtract(ARITHMETIC.multiply(Decimal(part), Decimal(side)), since)
    number = repr(float(exact))
    digits = FEWEST_DIGITS
    while _part(ARITHMETIC.add(since, Decimal(number)), side) != part and digits < MOST_DIGITS:
        digits += 1
        number = str(Context(prec=digits).plus(exact))
    return number


def _part(pixels: Decimal, side: int) -> float:
    return float(ARITHMETIC.divide(pixels, Decimal(side)))


def _four(values: Any) -> list[Decimal]:
    numbers = a_list(values, "bbox")
    if len(numbers) != 4 or any(isinstance(n, bool) or not isinstance(n, int | float | Decimal) for n in numbers):
        raise UserError(f"expected a bbox of 4 numbers, got {shown(values)}: correct it")
    found = [Decimal(n) for n in numbers]
    if not all(n.is_finite() for n in found):
        raise UserError(f"expected a bbox of 4 finite numbers, got {shown(values)}: correct it")
    return found


def _box(corners: tuple[Decimal, ...], width: int, height: int, *, values: Any) -> Box:
    clipped = []
    for at, side in zip(corners, (width, height, width, height), strict=True):
        if not -EDGE_PIXELS <= at <= side + EDGE_PIXELS:
            raise UserError(
                f"expected a bbox inside the {width} x {height} pixels of the picture, got {_listed(values)}: correct "
                "it, or the picture's size"
            )
        clipped.append(min(max(_part(at, side), 0.0), 1.0))
    x1, y1, x2, y2 = clipped
    if not (x1 < x2 and y1 < y2):
        raise NoAreaError(f"expected a bbox with an area, got {_listed(values)}: correct it or leave it out")
    return (x1, y1, x2, y2)


def _unit_box(corners: tuple[Decimal, ...], width: int, height: int, *, values: Any) -> Box:
    """Return a box in parts of a picture; it may leave the picture by as much as one in pixels."""
    clipped = []
    for at, side in zip(corners, (width, height, width, height), strict=True):
        if not -EDGE_PIXELS / side <= at <= 1 + EDGE_PIXELS / side:
            raise UserError(f"expected a box in parts of the picture, 0 to 1, got {_listed(values)}: correct it")
        clipped.append(min(max(float(at), 0.0), 1.0))
    x1, y1, x2, y2 = clipped
    if not (x1 < x2 and y1 < y2):
        raise NoAreaError(f"expected a box with an area, got {_listed(values)}: correct it or leave it out")
    return (x1, y1, x2, y2)


def _listed(values: Any) -> str:
    return "[" + ", ".join(str(value)[:24] for value in values) + "]"


# ------------------------------------------------------------------------------------ JSON


def each_file(
    items: Iterable[Item],
    read_one: Callable[[Item, Counter[str]], PictureRecord],
    *,
    left_out: Counter[str] | None,
    refused: list[str] | None,
) -> Iterator[PictureRecord]:
    """Read pictures that have files of their own; one that cannot be read is passed over.

    Args: read_one: counts what it leaves out. left_out: takes the counts of what could be read. refused: takes a
          sentence for each that could not.
    """
    for item in items:
        counts: Counter[str] = Counter()
        try:
            record = read_one(item, counts)
        except UserError as error:
            if refused is not None:
                refused.append(str(error))
            continue
        if left_out is not None:
            left_out.update(counts)
        yield record


def parse_json(content: str | bytes) -> Any:
    """Parse JSON, keeping fractions as exact decimals.

    Raises: UserError: it is none; says where.
    """
    text = content if isinstance(content, str) else decode_text(content)
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        at = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{at}: expected JSON, got something else ({error.msg}): write the file again") from error
    except (ValueError, DecimalException) as error:
        raise UserError(f"expected JSON, got a number that is none ({error}): correct it") from error
    except RecursionError as error:
        raise UserError("expected JSON, got lists a thousand deep: write the file again") from error


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Read a file of at most so many bytes.

    Raises: UserError: it cannot be read, or has more.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror}): see to its permissions") from error
    if len(content) > most_bytes:
        raise UserError(f"expected at most {most_bytes / 1e6:g} MB, got more: this is no such file")
    return content


def read_lines(file: IO[bytes], read: Callable[[Mapping[str, Any]], PictureRecord]) -> Iterator[PictureRecord]:
    """Read the pictures of a file with one JSON object a line; empty lines are skipped.

    Raises: UserError: names the line.
    """
    number = 0
    while line := file.readline(LINE_BYTES + 1):
        number += 1
        if len(line) > LINE_BYTES:
            raise UserError(
                f"line {number}: expected a picture in at most {LINE_BYTES / 1e6:g} MB, got more: this is no such file"
            )
        if line.strip():
            with located(f"line {number}"):
                record = read(_object(parse_json(line.rstrip())))
            yield record


@contextmanager
def located(where: str) -> Iterator[None]:
    """Name the place in front of any error inside.

    Raises: UserError.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except DecimalException as error:
        raise UserError(f"{where}: expected numbers of a common size, got one beyond them: correct it") from error


@contextmanager
def without_area(left_out: Counter[str]) -> Iterator[None]:
    """Leave out and count a box that has no area, which is read inside."""
    try:
        yield
    except NoAreaError:
        left_out["box without area"] += 1


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"expected a JSON object, got {shown(value)}: write the file again")
    return value


def plain_json(value: Any) -> str:
    """Return JSON on one line, readable in any script."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def bare_region(xyxy: Box, texts: Iterable[str]) -> RegionRecord:
    """Return a region with a box and texts only."""
    return RegionRecord(xyxy, tuple(DescriptionRecord(text) for text in texts))


def _no_constant(name: str) -> Any:
    raise ValueError(name)
