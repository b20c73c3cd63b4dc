"""Write and read YOLO as Ultralytics has it: data.yaml with the class names, and a text file of boxes a picture.

A description is a class, and each description of a region a line of the same box, read back as one region. A picture's
size is that of its file; nothing else can be stored (formats.losses). Polygons are read as the boxes around them.

Source: Ultralytics' documentation of its detection datasets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import DecimalException
from pathlib import Path, PurePosixPath
from typing import IO, Any

import yaml

from atomic_files import write_atomically
from curation.exchange.formats import MAIN_FILE, each_file, from_centre, located, read_bounded, to_centre, without_area
from curation.exchange.picture_headers import PictureFolder, PictureHeader
from curation.files.records import (
    Box,
    DescriptionRecord,
    PictureRecord,
    RegionRecord,
    description_from,
    picture_from,
    shown,
)
from curation.files.text_files import decode_text
from user_errors import UserError

MAIN = MAIN_FILE["yolo"]
IMAGES, LABELS = "images", "labels"
MOST_YAML_BYTES, MOST_LABEL_BYTES = 64_000_000, 4_000_000
BREAKS = frozenset("\x85\u2028\u2029")  # ends of lines to YAML alone
BOX, WITH_SCORE = 5, 6  # fields of a line


def class_numbers(records: Iterable[PictureRecord]) -> dict[str, int]:
    """Return the number of each distinct description, in the order of their first appearance."""
    texts = (one.text for record in records for region in record.regions for one in region.descriptions)
    return {text: number for number, text in enumerate(dict.fromkeys(texts))}


def to_label(record: PictureRecord, numbers: Mapping[str, int]) -> str:
    """Return the lines of a picture's boxes."""
    return "".join(
        f"{numbers[one.text]} {' '.join(to_centre(region.xyxy))}\n"
        for region in record.regions
        for one in region.descriptions
    )


def from_label(
    label: str,
    names: Mapping[int, str],
    picture: PictureHeader,
    *,
    poses: bool = False,
    left_out: Counter[str] | None = None,
) -> PictureRecord:
    """Return the picture of a text of boxes.

    Args:   poses: keypoints follow each box. left_out: content that cannot be imported is counted here, by kind.
    Raises: UserError: no such text; names the line.
    """
    left_out = Counter() if left_out is None else left_out
    described: dict[Box, list[DescriptionRecord]] = {}
    for number, line in enumerate(label.split("\n"), start=1):
        if line.strip():
            with located(f"line {number}"), without_area(left_out):
                fields = line.split()
                if poses and len(fields) > BOX:
                    left_out["keypoints"] += 1
                    fields = fields[:BOX]
                box, one = _line(fields, names, picture=picture, left_out=left_out)
                described.setdefault(box, []).append(one)
    plain = {"file_name": picture.file_name, "width": picture.width, "height": picture.height}
    return picture_from(plain, regions=tuple(RegionRecord(box, tuple(some)) for box, some in described.items()))


def write(records: Iterable[PictureRecord], file: IO[bytes]) -> None:
    """Write data.yaml: all pictures serve for training, and for validation, which Ultralytics wants to be named."""
    names = {number: text for text, number in class_numbers(records).items()}
    content = {"train": IMAGES, "val": IMAGES, "names": names}
    raw = not BREAKS & set("".join(names.values()))  # written raw, they would be read as the end of a line
    file.write(yaml.safe_dump(content, allow_unicode=raw, sort_keys=False, width=10**9).encode())


def write_labels(records: Iterable[PictureRecord], out: Path) -> None:
    """Write a text file a picture below `labels`, where its picture lies below `images`."""
    numbers = class_numbers(records)
    for record in records:
        name = PurePosixPath(record.file_name)
        place = out / LABELS / name.relative_to(IMAGES).with_suffix(".txt")
        write_atomically(place, to_label(record, numbers), sync="none")


def read(path: Path, left_out: Counter[str] | None = None, refused: list[str] | None = None) -> Iterator[PictureRecord]:
    """Read the pictures of a folder with data.yaml, `labels` and `images`, or of that file.

    Args:   left_out: content that cannot be imported is counted here. refused: takes a sentence for each picture whose
            label cannot be read; the others are read all the same.
    Raises: UserError: no such folder, or data.yaml cannot be read.
    """
    main = path / MAIN if path.is_dir() else path
    facts = _facts(main)
    names, poses = _names(facts.get("names"), main.name), "kpt_shape" in facts
    root = main.parent
    labels = sorted(file for file in root.rglob("[!.]*.txt") if LABELS in file.relative_to(root).parts[:-1])
    if not labels:
        raise UserError(f"expected {LABELS}/*.txt beside {main.name}, got none: put the labels there")
    pictures = PictureFolder(root)

    def of_label(file: Path, counts: Counter[str]) -> PictureRecord:
        name = file.relative_to(root).as_posix()
        with located(shown(name)):
            label = decode_text(read_bounded(file, MOST_LABEL_BYTES))
            return from_label(label, names, pictures.header(_picture_of(name)), poses=poses, left_out=counts)

    yield from each_file(labels, of_label, left_out=left_out, refused=refused)


def _picture_of(label: str) -> str:
    """Return a label's picture without its suffix: the last folder `labels` is `images` there."""
    before, _, after = f"/{label}".rpartition(f"/{LABELS}/")
    return f"{before}/{IMAGES}/{after}".removeprefix("/").removesuffix(".txt")


def _facts(main: Path) -> dict[str, Any]:
    if not main.is_file():
        raise UserError(f"expected a folder with {MAIN}, got {main.parent} without one: name the file itself")
    try:
        found = yaml.safe_load(decode_text(read_bounded(main, MOST_YAML_BYTES)))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        words = " ".join(str(error).split())[:200]
        raise UserError(f"{main.name}: expected YAML, got something else ({words}): write the file again") from error
    return found if isinstance(found, dict) else {}


def _names(names: Any, file: str) -> dict[int, str]:
    pairs = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(pairs, dict) or not all(isinstance(number, int) for number in pairs):
        raise UserError(f"{file}: expected `names`, a list or numbers with names, got {shown(names)}: add it")
    return {number: str(text) for number, text in pairs.items()}


def _line(
    fields: list[str], names: Mapping[int, str], *, picture: PictureHeader, left_out: Counter[str]
) -> tuple[Box, DescriptionRecord]:
    if not fields[0].isdecimal() or int(fields[0][:9]) not in names:
        raise UserError(f"expected the number of a class of {MAIN}, got {shown(fields[0])}: correct it")
    numbers = fields[1:]
    score = None
    if len(fields) > WITH_SCORE and len(numbers) % 2 == 0:
        left_out["segmentation"] += 1
        numbers = _around(numbers)
    elif len(fields) == WITH_SCORE:
        score, numbers = _number(numbers.pop()), numbers
    elif len(fields) != BOX:
        raise UserError(f"expected a class and 4 numbers, got {len(numbers)} numbers: correct the line")
    box = from_centre(numbers, picture.width, picture.height)
    return box, description_from(names[int(fields[0][:9])], score=score)


def _around(points: list[str]) -> list[str]:
    """Return centre and size of the box around a polygon."""
    across, down = ([_number(each) for each in points[start::2]] for start in (0, 1))
    sides = [(min(some), max(some)) for some in (across, down)]
    return [repr((low + high) / 2) for low, high in sides] + [repr(high - low) for low, high in sides]


def _number(text: str) -> float:
    try:
        return float(text)
    except (ValueError, DecimalException) as error:
        raise UserError(f"expected a number, got {shown(text)}: correct it") from error
