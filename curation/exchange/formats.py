"""Share what the file formats have in common: what each can store, exact pixels, errors that name their place.

Each format has a module of its own: coco.py, odvg.py, imagefolder.py (parquet too), label_studio_json.py and shards.py.
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
from typing import IO, Any, Literal, get_args

from curation.files.records import Box, DescriptionRecord, PictureRecord, RegionRecord, a_list, shown
from user_errors import UserError

Format = Literal["shards", "coco", "odvg", "imagefolder", "parquet", "label-studio"]
FORMATS: tuple[Format, ...] = get_args(Format)
ImportFormat = Literal[Format, "entities", "entities-longer"]
"""What annotations are read from: the formats of exports, and layouts that are only read."""
ENTITIES_FORMATS: tuple[ImportFormat, ...] = ("entities", "entities-longer")
IMPORT_FORMATS: tuple[ImportFormat, ...] = get_args(ImportFormat)
LINE_BYTES = 32_000_000  # of one picture
EDGE_PIXELS = 1.0  # a box that other programs rounded may leave the picture by so much, and is clipped
ARITHMETIC = Context(prec=50, rounding=ROUND_HALF_EVEN)
FEWEST_DIGITS, MOST_DIGITS = 15, 40  # 18 are enough unless x + width nearly cancel


# ------------------------------------------------------------------------------------ what is lost


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


KINDS = {
    "sha256": _Kind(lambda r: r.sha256 != "", "content hashes: {n} lose theirs and are found by file name only"),
    "id": _Kind(_ids, "database ids: {n} lose theirs"),
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
    "bare": _Kind(
        lambda r: len(r.regions) - len(described_boxes(r)), "regions without a description: {n} are left out"
    ),
}
"""By the field of the record that is lost, or what happens to a picture as a whole."""
LOST: dict[Format, tuple[str, ...]] = {
    "shards": (),
    "coco": (),
    "odvg": tuple(KINDS),
    "imagefolder": (),
    "parquet": (),
    "label-studio": (),
}
NAMES: dict[Format, str] = {
    "shards": "A shard",
    "coco": "COCO",
    "odvg": "ODVG",
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
        raise UserError(f"expected a bbox with an area, got {_listed(values)}: correct it or leave it out")
    return (x1, y1, x2, y2)


def _listed(values: Any) -> str:
    return "[" + ", ".join(str(value)[:24] for value in values) + "]"


# ------------------------------------------------------------------------------------ JSON


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


def decode_text(content: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark.

    Raises: UserError: it is none; says where.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"byte {error.start}: expected UTF-8 text, got other bytes: save the file as UTF-8") from error


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
