"""Open pictures annotated as GRAIN's authors write it: captions in a table and in JSON, described boxes in JSON.

Beside each other stand bboxes*.json, {picture: [{description, bbox, score}]}; captions*.csv, rows of picture and
caption; and captions*.json, {picture: caption}, of a describer. Their detector saw every picture stretched to a square
of 960 pixels, and a bbox is xyxy in that square, whatever the picture's own size. Pictures are named relative to the
folder. The authors' files themselves are not published. Source: shaunak27/grain-clip, box_supervision.py and
dataloaders/conceptual.py.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grain.data.annotations_json import below, box_from_xywh, laid_out_as, read_json
from grain.data.data_sets import DataSet, EvaluationItem, GroundedSentence, of_items, open_picture
from grain.data.grounding_sets import plain_sentence
from user_errors import UserError

if TYPE_CHECKING:
    from grain.data.record import Box

FRAME = 960  # side in pixels of the square that boxes are in
BOXES, TABLE, WRITTEN = "bboxes*.json", "captions*.csv", "captions*.json"
PICTURES = (".jpg", ".jpeg", ".png")  # a row of the table that names another file is passed over, as a header is
EXPECTED = "the files of GRAIN's authors (bboxes*.json, captions*.csv, captions*.json)"


def authors_file(path: Path) -> Path | None:
    """Return the file of boxes that a path is or holds; None where it is another data set.

    Raises: UserError: it holds several.
    """
    if path.is_file():
        return path if path.match(BOXES) else None
    return _only(path, BOXES)


def authors_set(file: Path) -> DataSet:
    """Open a data set by its file of boxes: captions to retrieve, and each description a sentence with its boxes.

    The table lists the pictures; without one, they are those of the two other files.

    Raises: UserError: a file cannot be read, there are several of a kind, or a picture is missing.
    """
    folder = file.parent
    table, written = _only(folder, TABLE), _only(folder, WRITTEN)
    boxes = read_json(file, EXPECTED)
    texts = read_json(written, EXPECTED) if written else {}
    with laid_out_as(file.name, EXPECTED):
        captions = _captions(_rows(table) if table else [], texts, list(boxes))
        items = [
            _item(below(folder, name), name, captions=own, boxes=boxes.get(name, ())) for name, own in captions.items()
        ]
        files = [below(folder, name) for name in captions]
    truth = [each for each in (file, table, written) if each]
    sentences = sum(len(item.sentences) for item in items)
    source = f"{file.name}, {sentences:,} descriptions with boxes"
    return of_items(items, [*files, *truth], name=folder.name, split="all", source=source, sentences=sentences)


def _only(folder: Path, pattern: str) -> Path | None:
    found = sorted(folder.glob(pattern))
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise UserError(f"expected one {pattern} in {folder}, got {names}: keep each data set in a folder of its own")
    return found[0] if found else None


def _rows(table: Path) -> list[tuple[str, str]]:
    """Return pictures with their captions."""
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if row and row[0].endswith(PICTURES)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table.name} cannot be read ({str(error)[:80]}): expected {EXPECTED}") from error
    return [(row[0], row[1]) for row in rows]


def _captions(
    rows: Sequence[tuple[str, str]], written: Mapping[str, Any], others: Sequence[str]
) -> dict[str, list[str]]:
    """Return each picture's captions: the table's before the describer's. others: pictures that have boxes."""
    found: dict[str, list[str]] = {}
    for name, caption in rows:
        found.setdefault(name, []).append(caption)
    for name in found or [*written, *others]:
        found.setdefault(name, []).extend([plain_sentence(written[name])] if name in written else [])
    return found


def _item(file: Path, name: str, *, captions: Sequence[str], boxes: Sequence[Mapping[str, Any]]) -> EvaluationItem:
    described: dict[str, list[Box]] = {}
    for each in boxes:
        x0, y0, x1, y1 = each["bbox"]
        box = box_from_xywh([x0, y0, x1 - x0, y1 - y0], FRAME, FRAME)
        if box[0] < box[2] and box[1] < box[3]:
            described.setdefault(plain_sentence(each["description"]), []).append(box)
    distinct = tuple(dict.fromkeys(" ".join(caption.split()) for caption in captions if caption.strip()))
    sentences = tuple(GroundedSentence(text, tuple(found)) for text, found in described.items())
    return EvaluationItem(name, partial(open_picture, file, str(file)), captions=distinct, sentences=sentences)
