"""Convert a picture to and from the JSON of a WebDataset sample (schema 1), as grain/data reads it.

Each description is a region of its own there. Those of one box share a number under `region`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from curation.exchange.formats import located, parse_json
from curation.files.archives import open_archive
from curation.files.decode import Limits
from curation.files.records import (
    CLASS,
    WRITTEN_CAPTION,
    PictureRecord,
    RegionRecord,
    a_list,
    an_object,
    description_from,
    description_to_json,
    facts_of,
    parse_box,
    parse_integer,
    picture_from,
    shown,
    with_captions,
)
from grain.structures import SCHEMA_VERSION
from user_errors import UserError

TRAINED_ON = {CLASS: CLASS, "written_caption": WRITTEN_CAPTION}  # a sample's key -> the fact that it repeats
SURE = 1.0  # training takes the best scores first, and a person's regions before any
OURS = {"id": "picture_id"}
UNSCORED = "unscored"


def to_sample(record: PictureRecord, key: str, *, captions: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON of a sample.

    Args: key: the sample's name in its shard. captions: further ones that a training is to draw from.
    """
    plain = {OURS.get(name, name): value for name, value in facts_of(record).items()}
    regions = [entry for number, region in enumerate(record.regions) for entry in _entries(number, region)]
    sample = {"schema_version": SCHEMA_VERSION, "id": key, "caption": record.caption, **plain, "regions": regions}
    for key, fact in TRAINED_ON.items():
        if value := record.facts.get(fact, "").strip():
            sample[key] = value
    return sample | ({"captions": [*captions]} if captions else {})


def from_sample(sample: Mapping[str, Any]) -> PictureRecord:
    """Return the picture of a sample, ours or the sample world's.

    Raises: UserError: no such sample.
    """
    if sample.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"expected schema {SCHEMA_VERSION}, got {shown(sample.get('schema_version'))}: write the shards again"
        )
    keys = ("sha256", "width", "height", "file_name", "caption", "review", "facts", "written_sha256")
    plain = {key: sample[key] for key in keys if key in sample}
    plain["id"] = sample.get(OURS["id"], 0)
    plain.setdefault("file_name", f"{sample.get('id')}.jpg")
    if "facts" not in plain:
        values = {fact: sample.get(key) for key, fact in TRAINED_ON.items()}
        facts = {fact: text for fact, text in values.items() if isinstance(text, str) and text}
        further = [text for text in a_list(sample.get("captions", []), "captions") if isinstance(text, str)]
        plain["caption"], plain["facts"] = with_captions(str(plain.get("caption", "")), facts, further)
    entries = [an_object(item, "a region") for item in a_list(sample.get("regions"), "regions")]
    # one without a number is a region of its own
    numbered = ((entry.get("region", -1 - at), entry) for at, entry in enumerate(entries))
    regions = tuple(_region([entry for _, entry in some]) for _, some in groupby(numbered, key=lambda pair: pair[0]))
    return picture_from(plain, regions=regions)


def read(paths: Iterable[Path]) -> Iterator[PictureRecord]:
    """Read the pictures of shards, skipping their image files.

    Raises: UserError: names the shard and the sample.
    """
    for path in paths:
        try:
            archive = open_archive(path, Limits())
            for entry in archive.entries():
                if entry.name.endswith(".json") and not entry.refusal:
                    with located(f"{path.name}, {shown(entry.name)}"):
                        record = from_sample(an_object(parse_json(archive.read(entry)), "a sample"))
                    yield record
            archive.close()
        except UserError as error:
            raise UserError(f"{path.name}: expected a shard, got a file that cannot be read: {error}") from error


def _entries(number: int, region: RegionRecord) -> list[dict[str, Any]]:
    entries = []
    for one in region.descriptions:
        plain = description_to_json(one)
        if one.score is None:
            plain |= {"score": SURE, UNSCORED: True}
        if "id" in plain:
            plain["description_id"] = plain.pop("id")
        if region.id:
            plain["region_id"] = region.id
        entries.append({"box": list(region.xyxy), **plain, "region": number})
    return entries


def _region(entries: list[dict[str, Any]]) -> RegionRecord:
    first = entries[0]
    box = parse_box(first.get("box"))
    descriptions = []
    for entry in entries:
        if parse_box(entry.get("box")) != box:
            raise UserError("expected one box for all descriptions of a region, got two: number the regions again")
        known = {name: entry[name] for name in ("status", "source", "version", "editor") if name in entry}
        score = None if entry.get(UNSCORED) is True else entry.get("score")
        descriptions.append(
            description_from(entry.get("text"), score=score, id=entry.get("description_id", 0), **known)
        )
    return RegionRecord(box, tuple(descriptions), parse_integer(first.get("region_id", 0), "region_id"))
