"""Write and read Hugging Face's ImageFolder (metadata.jsonl) and parquet: a row a picture, regions under `objects`.

`objects` holds lists of equal length, one entry a region: `bbox` (corner and size in pixels, as object detection has it
there), `xyxy` (the same normalized, exact), `region_id`, and of its descriptions `descriptions`, `status`, `score`,
`source`, `description_id`, `version` and `editor`, each a list again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from curation.exchange.formats import from_pixels_xywh, located, plain_json, read_lines
from curation.files.records import (
    Box,
    PictureRecord,
    RegionRecord,
    a_list,
    an_object,
    description_from,
    parse_box,
    parse_integer,
    picture_from,
    text,
)
from user_errors import UserError

PARQUET_ROWS = 64  # in a group: what is held in memory, pictures and all
COLUMNS = {"text": "descriptions", "status": "status", "score": "score", "source": "source", "id": "description_id"}
COLUMNS |= {"version": "version", "editor": "editor"}
"""A description's field -> its column in `objects`."""
SAME_PIXELS = 1e-6  # `xyxy` counts while it agrees with `bbox` so far: somebody may have edited the one they know


def to_row(record: PictureRecord) -> dict[str, Any]:
    """Return a picture as a row of plain values."""
    objects: dict[str, list[Any]] = {
        "bbox": [_xywh(region.xyxy, record.width, record.height) for region in record.regions],
        "xyxy": [list(region.xyxy) for region in record.regions],
        "region_id": [region.id for region in record.regions],
    }
    for name, column in COLUMNS.items():
        objects[column] = [[getattr(one, name) for one in region.descriptions] for region in record.regions]
    facts = [{"name": name, "value": record.facts[name]} for name in sorted(record.facts)]
    return {
        "file_name": record.file_name,
        "sha256": record.sha256,
        "width": record.width,
        "height": record.height,
        "caption": record.caption,
        "review": record.review,
        "facts": facts,
        "picture_id": record.id,
        "written_sha256": record.written_sha256,
        "objects": objects,
    }


def from_row(row: Mapping[str, Any]) -> PictureRecord:
    """Return a row's picture; rows of other programs may have only `bbox` and `categories` (names) in `objects`.

    Raises: UserError: no such row.
    """
    keys = ("sha256", "width", "height", "file_name", "caption", "review", "written_sha256")
    plain = {key: row[key] for key in keys if row.get(key) is not None}
    plain["id"] = row.get("picture_id") or 0
    plain["facts"] = _facts(row.get("facts") or [])
    picture = picture_from(plain, regions=())
    objects = an_object(row.get("objects") or {}, "objects")
    boxes = a_list(objects.get("bbox") or [], "bbox")
    for name, column in objects.items():
        if len(a_list(column, name)) != len(boxes):
            raise UserError(
                f"expected lists of one length in objects, got {len(boxes)} bbox and {len(column)} {name}: correct them"
            )
    regions = tuple(_region(objects, at, picture) for at in range(len(boxes)))
    return picture_from(plain, regions=regions)


def read_metadata(file: IO[bytes]) -> Iterator[PictureRecord]:
    """Read the pictures of a metadata.jsonl.

    Raises: UserError: names the line.
    """
    return read_lines(file, from_row)


def write_metadata(records: Iterable[PictureRecord], file: IO[bytes]) -> None:
    """Write one line a picture."""
    for record in records:
        file.write((plain_json(to_row(record)) + "\n").encode())


def write_parquet(records: Iterable[tuple[PictureRecord, bytes]], file: IO[bytes]) -> None:
    """Write a parquet file whose column `image` holds the pictures.

    Raises: UserError: pyarrow is not installed.
    """
    pyarrow, parquet = _pyarrow()
    schema = _schema(pyarrow)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for record, content in records:
            rows.append({"image": {"bytes": content, "path": record.file_name}, **to_row(record)})
            if len(rows) == PARQUET_ROWS:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
                rows = []
        if rows:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))


def read_parquet(file: IO[bytes]) -> Iterator[PictureRecord]:
    """Read the pictures of a parquet file, without the bytes of their files.

    Raises: UserError: pyarrow is not installed, the file is none or damaged, or a row is wrong; names it.
    """
    _, parquet = _pyarrow()
    try:
        table = parquet.ParquetFile(file)
    except Exception as error:  # pyarrow's own kinds
        raise UserError("expected a parquet file, got a damaged one or none: copy it again") from error
    columns = [name for name in table.schema_arrow.names if name != "image"]
    number = 0
    batches = table.iter_batches(batch_size=PARQUET_ROWS, columns=columns)
    while True:
        try:
            batch = next(batches, None)
        except Exception as error:
            raise UserError(f"row {number}: expected a row, got damaged bytes: copy the file again") from error
        if batch is None:
            return
        for row in batch.to_pylist():
            with located(f"row {number}"):
                record = from_row(row)
            yield record
            number += 1


def _xywh(xyxy: Box, width: int, height: int) -> list[float]:
    x1, y1, x2, y2 = xyxy
    return [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]


def _facts(value: Any) -> dict[str, Any]:
    entries = [an_object(item, "a fact") for item in a_list(value, "facts")]
    return {text(entry.get("name"), "name"): entry.get("value") for entry in entries}


def _region(objects: Mapping[str, Any], at: int, picture: PictureRecord) -> RegionRecord:
    texts = (objects.get(COLUMNS["text"]) or objects.get("categories") or [])[at : at + 1]
    if not texts:
        raise UserError("expected descriptions or categories beside bbox, got neither: name what the boxes hold")
    texts = texts[0] if isinstance(texts[0], list) else [texts[0]]
    if not texts:
        raise UserError("expected one description or more of a box, got none: describe it or leave it out")
    known: dict[str, list[Any]] = {}
    for name, column in COLUMNS.items():
        if name != "text" and column in objects:
            known[name] = a_list(objects[column][at], column)
            if len(known[name]) != len(texts):
                raise UserError(
                    f"expected a {column} for each of the {len(texts)} descriptions of a box, got {len(known[name])}: "
                    "correct them"
                )
    descriptions = tuple(
        description_from(one, **{name: values[i] for name, values in known.items()}) for i, one in enumerate(texts)
    )
    box_id = objects["region_id"][at] if "region_id" in objects else 0
    return RegionRecord(_placed(objects, at, picture), descriptions, parse_integer(box_id, "region_id"))


def _placed(objects: Mapping[str, Any], at: int, picture: PictureRecord) -> Box:
    """Return the exact box while it agrees with the box in pixels."""
    rough = from_pixels_xywh(objects["bbox"][at], picture.width, picture.height)
    if "xyxy" not in objects:
        return rough
    exact = parse_box(objects["xyxy"][at])
    sides = (picture.width, picture.height) * 2
    near = all(
        math.isclose(a, b, rel_tol=0, abs_tol=SAME_PIXELS / side)
        for a, b, side in zip(exact, rough, sides, strict=True)
    )
    return exact if near else rough


def _schema(pyarrow: Any) -> Any:
    kinds = {"text": "string", "status": "string", "score": "float64", "source": "string"}
    kinds |= {"id": "int64", "version": "int64", "editor": "string"}
    lists = {column: pyarrow.list_(pyarrow.type_for_alias(kinds[name])) for name, column in COLUMNS.items()}
    box = pyarrow.list_(pyarrow.float64())
    objects = {"bbox": box, "xyxy": box, "region_id": pyarrow.int64(), **lists}
    fact = pyarrow.struct([("name", pyarrow.string()), ("value", pyarrow.string())])
    fields = pyarrow.schema(
        [
            ("image", pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
            ("file_name", pyarrow.string()),
            ("sha256", pyarrow.string()),
            ("width", pyarrow.int64()),
            ("height", pyarrow.int64()),
            ("caption", pyarrow.string()),
            ("review", pyarrow.string()),
            ("facts", pyarrow.list_(fact)),
            ("picture_id", pyarrow.int64()),
            ("written_sha256", pyarrow.string()),
            ("objects", pyarrow.struct([(name, pyarrow.list_(kind)) for name, kind in objects.items()])),
        ]
    )
    features = {field.name: _feature(field.type) for field in fields} | {"image": {"_type": "Image"}}
    return fields.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _feature(kind: Any) -> Any:
    """Return a column's type as `datasets` names it: with these, its pictures load as pictures."""
    if hasattr(kind, "value_type"):
        return {"_type": "List", "feature": _feature(kind.value_type)}
    if kind.num_fields:
        return {kind.field(at).name: _feature(kind.field(at).type) for at in range(kind.num_fields)}
    return {"_type": "Value", "dtype": {"double": "float64"}.get(str(kind), str(kind))}


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            "expected pyarrow for the parquet format, and it is not installed: install it with `pip install pyarrow` "
            "or choose the imagefolder format"
        ) from error
    return pyarrow, parquet
