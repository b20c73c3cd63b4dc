"""Write and read region text as FG-CLIP's FineHARD has it: a JSON list, of each picture captions and `bbox_info`.

An entry of `bbox_info` is a region: `bbox` (xyxy in parts of the picture, and a score), `short_expr` (its first
description), `long_expr` (its longest one) and hard negatives: what people rejected there. Everything else stands under
keys of our own, which FG-CLIP's loader passes over: of a picture those of COCO's file, of a region `descriptions` and
`region_id`.

Source: FG-CLIP, the loader of its second stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from curation.exchange.formats import from_unit_xyxy, located, parse_json, plain_json
from curation.exchange.picture_headers import PictureFolder, each_there
from curation.files.records import (
    PictureRecord,
    RegionRecord,
    a_list,
    an_object,
    description_from,
    description_to_json,
    descriptions_from_json,
    facts_of,
    parse_integer,
    picture_from,
)

OURS = {"id": "picture_id", "file_name": "f_path"}
SURE = 1.0  # of a box that has no score


def to_entry(record: PictureRecord) -> dict[str, Any]:
    """Return a picture as plain values."""
    plain = {OURS.get(key, key): value for key, value in facts_of(record).items()}
    texts = dict.fromkeys(one.text for region in record.regions for one in region.descriptions)
    plain |= {"caption": record.caption, "short_caption": record.caption or ", ".join(texts)}
    return {**plain, "bbox_info": [_to_box(region) for region in record.regions]}


def from_entry(
    entry: Mapping[str, Any], pictures: PictureFolder, left_out: Counter[str] | None = None
) -> PictureRecord:
    """Return the picture of an entry, ours or another program's.

    Args:   pictures: the folder that tells the size of a picture of which the entry does not.
    Raises: UserError: no such entry.
    """
    keys = ("sha256", "width", "height", "caption", "review", "facts", "written_sha256")
    plain = {key: entry[key] for key in keys if entry.get(key) is not None}
    plain |= {"file_name": entry.get(OURS["file_name"]), "id": entry.get(OURS["id"], 0)}
    if "width" not in plain and isinstance(plain["file_name"], str):
        header = pictures.header_of(plain["file_name"])
        plain |= {"width": header.width, "height": header.height}
    picture = picture_from(plain, regions=())
    boxes = [an_object(item, "a region") for item in a_list(entry.get("bbox_info") or [], "bbox_info")]
    regions = tuple(_from_box(box, picture, left_out) for box in boxes)
    return picture_from(plain, regions=regions)


def write(records: Iterable[PictureRecord], file: IO[bytes]) -> None:
    """Write a list, a picture a line."""
    separator = "[\n"
    for record in records:
        file.write((separator + plain_json(to_entry(record))).encode())
        separator = ",\n"
    file.write(b"[]\n" if separator == "[\n" else b"\n]\n")


def read(
    file: IO[bytes],
    pictures: PictureFolder,
    left_out: Counter[str] | None = None,
    *,
    refused: list[str] | None = None,
) -> Iterator[PictureRecord]:
    """Read the pictures of a file, whole into memory.

    Args:   refused: takes a sentence for each picture that is not there and of which the file tells no size.
    Raises: UserError: names the picture.
    """
    whole_file = parse_json(file.read())
    with located("the file"):
        entries = a_list(whole_file, "FineHARD's pictures")
    items = ((f"picture {number}", entry) for number, entry in enumerate(entries, start=1))
    yield from each_there(
        items, lambda entry: from_entry(an_object(entry, "a picture"), pictures, left_out), refused=refused
    )


def _to_box(region: RegionRecord) -> dict[str, Any]:
    kept = [one for one in region.descriptions if one.status != "rejected"] or list(region.descriptions)
    negatives = [one.text for one in region.descriptions if one.status == "rejected" and one not in kept]
    score = kept[0].score
    return {
        "bbox": [*region.xyxy, SURE if score is None else score],
        "short_expr": kept[0].text,
        "long_expr": max((one.text for one in kept), key=len),
        "flag_short_neg": int(bool(negatives)),
        "short_expr_negs": {str(number): text for number, text in enumerate(negatives)},
        "descriptions": [description_to_json(one) for one in region.descriptions],
        **({"region_id": region.id} if region.id else {}),
    }


def _from_box(box: Mapping[str, Any], picture: PictureRecord, left_out: Counter[str] | None) -> RegionRecord:
    corners = a_list(box.get("bbox"), "bbox")
    xyxy = from_unit_xyxy(corners[:4], picture.width, picture.height)
    if "descriptions" in box:
        region_id = parse_integer(box.get("region_id", 0), "region_id")
        return RegionRecord(xyxy, descriptions_from_json(box["descriptions"]), region_id)
    if left_out is not None and box.get("flag_short_neg"):
        left_out["hard negatives"] += 1
    texts = dict.fromkeys(box[key] for key in ("short_expr", "long_expr") if isinstance(box.get(key), str))
    score = corners[4] if len(corners) > 4 else None
    return RegionRecord(xyxy, tuple(description_from(each, score=score) for each in texts or [None]))
