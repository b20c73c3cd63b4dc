"""Write and read FiftyOne's JSON of image detections: labels.json, the detections of each picture under its name.

A picture's name is that of its file without suffix, relative to the folder of pictures. A region is a detection whose
label is its first description; our own keys hold the rest, which FiftyOne passes over: of a detection `descriptions`
and `region_id`, and beside `labels` the object `pictures`, which has of each picture what COCO's file has.

Source: FiftyOne's documentation of FiftyOneImageDetectionDataset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from curation.exchange.formats import from_unit_xywh, located, parse_json, plain_json, to_unit_xywh, without_area
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
    shown,
)
from user_errors import UserError

IMAGES = "images"
UNREAD = ("attributes", "mask", "index")  # of detections; counted and left out


def write(records: Iterable[PictureRecord], file: IO[bytes]) -> None:
    """Write labels.json.

    Args: records: iterated twice, so no mere iterator.
    """
    file.write(b'{"classes": null, "labels": {')
    for at, (name, record) in enumerate(_named(records)):
        detections = ",\n  ".join(_detection(region) for region in record.regions)
        file.write(f"{',' * bool(at)}\n {plain_json(name)}: [{detections}]".encode())
    file.write(b'\n}, "pictures": {')
    for at, (name, record) in enumerate(_named(records)):
        file.write(f"{',' * bool(at)}\n {plain_json(name)}: {plain_json(facts_of(record))}".encode())
    file.write(b"\n}}\n")


def read(
    file: IO[bytes],
    pictures: PictureFolder,
    left_out: Counter[str] | None = None,
    *,
    refused: list[str] | None = None,
) -> Iterator[PictureRecord]:
    """Read the pictures of a labels.json, whole into memory.

    Args:   pictures: the folder that tells the size of a picture of which the file does not. refused: takes a sentence
            for each that is not there.
    Raises: UserError: names the picture.
    """
    counts = Counter() if left_out is None else left_out
    whole_file = parse_json(file.read())
    with located("the file"):
        top = an_object(whole_file, "FiftyOne's labels")
        labels = an_object(top.get("labels"), "labels")
        known = an_object(top.get("pictures") or {}, "pictures")
        classes = [str(name) for name in a_list(top.get("classes") or [], "classes")]

    def of_name(name: str) -> PictureRecord:
        plain = _plain(known.get(name), name, pictures)
        picture = picture_from(plain, regions=())
        regions = []
        for each in a_list(labels[name] or [], "detections"):
            with without_area(counts):
                detection = an_object(each, "a detection")
                regions.append(_region(detection, picture, classes=classes, left_out=counts))
        return picture_from(plain, regions=tuple(regions))

    yield from each_there(((shown(name), name) for name in labels), of_name, refused=refused)


def _named(records: Iterable[PictureRecord]) -> Iterator[tuple[str, PictureRecord]]:
    """Yield each picture with a name of its own: where two files differ in their suffix alone, the second keeps its."""
    taken: set[str] = set()
    for number, record in enumerate(records):
        file_name = record.file_name.removeprefix(f"{IMAGES}/")
        stem = file_name.rpartition(".")[0] or file_name
        name = next(each for each in (stem, file_name, f"{file_name}#{number}") if each not in taken)
        taken.add(name)
        yield name, record


def _detection(region: RegionRecord) -> str:
    first = region.descriptions[0]
    plain: dict[str, Any] = {"label": first.text}
    if first.score is not None:
        plain["confidence"] = first.score
    plain["descriptions"] = [description_to_json(one) for one in region.descriptions]
    if region.id:
        plain["region_id"] = region.id
    return f'{{"bounding_box": [{", ".join(to_unit_xywh(region.xyxy))}], {plain_json(plain)[1:]}'


def _plain(known: Any, name: str, pictures: PictureFolder) -> dict[str, Any]:
    if known is not None:
        return an_object(known, "a picture")
    header = pictures.header(name)
    return {"file_name": header.file_name, "width": header.width, "height": header.height}


def _region(
    entry: Mapping[str, Any], picture: PictureRecord, *, classes: list[str], left_out: Counter[str]
) -> RegionRecord:
    box = from_unit_xywh(entry.get("bounding_box"), picture.width, picture.height)
    left_out.update(kind for kind in UNREAD if entry.get(kind))
    if "descriptions" in entry:
        region_id = parse_integer(entry.get("region_id", 0), "region_id")
        return RegionRecord(box, descriptions_from_json(entry["descriptions"]), region_id)
    label = entry.get("label")
    if isinstance(label, int) and not isinstance(label, bool):
        if not 0 <= label < len(classes):
            raise UserError(f"expected the number of one of {len(classes)} classes, got {label}: correct it")
        label = classes[label]
    return RegionRecord(box, (description_from(label, score=entry.get("confidence")),))
