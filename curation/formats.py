"""What the file formats have in common: which of them carries what, pixels that come back exactly, plain complaints.

Each format has a module of its own: curation/coco.py, odvg.py, imagefolder.py (parquet too), tasks.py (Label
Studio) and shards.py. All are pure: records in, text or plain values out, and back.

Boxes are normalized at rest and in pixels in COCO and ODVG. Not every fraction x has a float p with p / width == x, so
pixels are written with as many decimal digits as give x back, mostly the 17 of any float and at times one or two more,
and are read as decimals. Other programs read the nearest float, as ever.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, DecimalException
from typing import IO, Any, Literal, get_args

from curation.records import Box, DescriptionRecord, PictureRecord, RecordError, RegionRecord, a_list, shown

Format = Literal["shards", "coco", "odvg", "imagefolder", "parquet", "label-studio"]
FORMATS: tuple[Format, ...] = get_args(Format)
LINE_BYTES = 32_000_000  # of one picture
EDGE_PIXELS = 1.0  # a box that other programs rounded may leave the picture by so much, and is clipped
ARITHMETIC = Context(prec=50, rounding=ROUND_HALF_EVEN)
FEWEST_DIGITS, MOST_DIGITS = 15, 40  # 18 are enough unless x + width nearly cancel


class FormatError(ValueError):
    """A file is not what it should be; one sentence says where, what was expected, what came, and what to do."""


# ------------------------------------------------------------------------------------ what is lost


@dataclass(frozen=True)
class _Kind:
    """Something that records hold and formats may not. count: in one picture. said: of how many."""

    count: Callable[[PictureRecord], int]
    said: str


def _descriptions(record: PictureRecord) -> Iterator[DescriptionRecord]:
    return (one for region in record.regions for one in region.descriptions)


def _ids(record: PictureRecord) -> int:
    described = sum(one.id != 0 for one in _descriptions(record))
    return (record.id != 0) + sum(region.id != 0 for region in record.regions) + described


def described_boxes(record: PictureRecord) -> list[Box]:
    """The boxes of a picture that have a description, in order."""
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
"""By the field of the record that is lost, or what befalls a picture as a whole."""
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
    """What a format cannot carry of these records, one sentence for each kind of loss; none where nothing is lost."""
    counts: Counter[str] = Counter()
    for record in records:
        for kind in LOST[format]:
            counts[kind] += KINDS[kind].count(record)
    return [
        f"{NAMES[format]} has no place for {KINDS[kind].said.format(n=f'{counts[kind]:,}')}."
        for kind in LOST[format]
        if counts[kind]
    ]


# ------------------------------------------------------------------------------------ pixels


def to_pixels_xyxy(xyxy: Box, width: int, height: int) -> tuple[str, str, str, str]:
    """A normalized box in pixels, as JSON numbers that from_pixels_xyxy gives back exactly."""
    x1, y1, x2, y2 = xyxy
    return _pixels(x1, width), _pixels(y1, height), _pixels(x2, width), _pixels(y2, height)


def from_pixels_xyxy(values: Any, width: int, height: int) -> Box:
    """The inverse. values: four numbers, decimals where they come from a file (see parse_json).

    Raises: RecordError: no box with an area, or one that leaves the picture by more than a pixel.
    """
    x1, y1, x2, y2 = _four(values)
    return _box((x1, y1, x2, y2), width, height, values)


def to_pixels_xywh(xyxy: Box, width: int, height: int) -> tuple[str, str, str, str]:
    """A normalized box as COCO has it, corner and size in pixels; from_pixels_xywh gives it back exactly."""
    x, y = _pixels(xyxy[0], width), _pixels(xyxy[1], height)
    return x, y, _pixels(xyxy[2], width, since=Decimal(x)), _pixels(xyxy[3], height, since=Decimal(y))


def from_pixels_xywh(values: Any, width: int, height: int) -> Box:
    """The inverse; otherwise as from_pixels_xyxy."""
    x, y, wide, high = _four(values)
    return _box((x, y, ARITHMETIC.add(x, wide), ARITHMETIC.add(y, high)), width, height, values)


def _pixels(part: float, side: int, since: Decimal = Decimal(0)) -> str:
    """How many pixels from `since` on a part of a side lies."""
    exact = ARITHMETIC.subtract(ARITHMETIC.multiply(Decimal(part), Decimal(side)), since)
    said = repr(float(exact))
    digits = FEWEST_DIGITS
    while _part(ARITHMETIC.add(since, Decimal(said)), side) != part and digits < MOST_DIGITS:
        digits += 1
        said = str(Context(prec=digits).plus(exact))
    return said


def _part(pixels: Decimal, side: int) -> float:
    return float(ARITHMETIC.divide(pixels, Decimal(side)))


def _four(values: Any) -> list[Decimal]:
    numbers = a_list(values, "bbox")
    if len(numbers) != 4 or any(isinstance(n, bool) or not isinstance(n, int | float | Decimal) for n in numbers):
        raise RecordError(f"expected a bbox of 4 numbers, got {shown(values)}: correct it")
    found = [Decimal(n) for n in numbers]
    if not all(n.is_finite() for n in found):
        raise RecordError(f"expected a bbox of 4 finite numbers, got {shown(values)}: correct it")
    return found


def _box(corners: tuple[Decimal, ...], width: int, height: int, values: Any) -> Box:
    clipped = []
    for at, side in zip(corners, (width, height, width, height), strict=True):
        if not -EDGE_PIXELS <= at <= side + EDGE_PIXELS:
            raise RecordError(
                f"expected a bbox inside the {width} x {height} pixels of the picture, got {_said(values)}: correct "
                "it, or the picture's size"
            )
        clipped.append(min(max(_part(at, side), 0.0), 1.0))
    x1, y1, x2, y2 = clipped
    if not (x1 < x2 and y1 < y2):
        raise RecordError(f"expected a bbox with an area, got {_said(values)}: correct it or leave it out")
    return (x1, y1, x2, y2)


def _said(values: Any) -> str:
    return "[" + ", ".join(str(value)[:24] for value in values) + "]"


# ------------------------------------------------------------------------------------ JSON


def parse_json(content: str | bytes) -> Any:
    """JSON whose fractions stay the decimals that they are.

    Raises: FormatError: it is none; says where.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        return json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        at = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise FormatError(f"{at}: expected JSON, got something else ({error.msg}): write the file again") from error
    except UnicodeDecodeError as error:
        raise FormatError(
            f"byte {error.start}: expected UTF-8 text, got other bytes: save the file as UTF-8"
        ) from error
    except (ValueError, DecimalException) as error:
        raise FormatError(f"expected JSON, got a number that is none ({error}): correct it") from error
    except RecursionError as error:
        raise FormatError("expected JSON, got lists a thousand deep: write the file again") from error


def read_lines(file: IO[bytes], read: Callable[[Mapping[str, Any]], PictureRecord]) -> Iterator[PictureRecord]:
    """The pictures of a file with one JSON object a line; empty lines are passed over.

    Raises: FormatError: names the line.
    """
    number = 0
    while line := file.readline(LINE_BYTES + 1):
        number += 1
        if len(line) > LINE_BYTES:
            raise FormatError(
                f"line {number}: expected a picture in at most {LINE_BYTES / 1e6:g} MB, got more: this is no such file"
            )
        if line.strip():
            with located(f"line {number}"):
                record = read(_object(parse_json(line.rstrip())))
            yield record


@contextmanager
def located(where: str) -> Iterator[None]:
    """Whatever is wrong inside is said with its place in front.

    Raises: FormatError.
    """
    try:
        yield
    except (RecordError, FormatError) as error:
        raise FormatError(f"{where}: {error}") from error
    except DecimalException as error:
        raise FormatError(f"{where}: expected numbers of a common size, got one beyond them: correct it") from error


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(f"expected a JSON object, got {shown(value)}: write the file again")
    return value


def plain_json(value: Any) -> str:
    """JSON on one line, readable in any script."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def bare_region(xyxy: Box, texts: Iterable[str]) -> RegionRecord:
    """A region of which nothing but this is known."""
    return RegionRecord(xyxy, tuple(DescriptionRecord(text) for text in texts))


def _no_constant(name: str) -> Any:
    raise ValueError(name)
