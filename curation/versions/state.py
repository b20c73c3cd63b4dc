"""Read a data set's present state from the database, as records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import cast

from curation.files.records import WRITTEN_CAPTION, DescriptionRecord, PictureRecord, RegionRecord, Status
from db import models
from db.engine import Engine, Session, reading
from db.queries.history_queries import history_page
from db.queries.stage_result_queries import written_captions
from db.queries.version_queries import PictureRegions, dataset_batch, images_edited_since, pictures_of

HISTORY = 200  # edits read at a time
STEM = re.compile(r"[^A-Za-z0-9_-]+")  # no dot: what follows it is the ending
STEM_LENGTH, HASH_LENGTH = 60, 12  # characters of a file's name that tell people, and the program, which it is


def state_of(engine: Engine, dataset_id: int, *, statuses: Sequence[Status]) -> Iterator[PictureRecord]:
    """Yield a data set's pictures in the order of their ids, with the descriptions of these statuses.

    Read a page at a time, so that writers never wait; every picture is whole as of one moment (see `edited_since`).
    """
    after = 0
    while True:
        with reading(engine) as session:
            batch = dataset_batch(session, dataset_id=dataset_id, statuses=statuses, after=after)
            page = _records(session, batch)
        if not page:
            return
        yield from page
        after = page[-1].id


def edited_since(
    engine: Engine, dataset_id: int, *, statuses: Sequence[Status], since: int
) -> dict[int, PictureRecord]:
    """Return by id the pictures edited since an edit, as of one moment: merged in, a state is of that moment."""
    with reading(engine) as session:
        ids = images_edited_since(session, dataset_id=dataset_id, edit_id=since)
        found = _records(session, pictures_of(session, image_ids=ids, statuses=statuses))
        return {record.id: record for record in found}


def record_of(
    image: models.Image, rows: Iterable[models.RegionRow], editors: Mapping[int, str] | None = None
) -> PictureRecord:
    """Return what the database holds of a picture.

    Args: editors: region's id -> who edited it last.
    """
    regions: dict[int, RegionRecord] = {}
    for row in sorted(rows, key=lambda row: row.id):
        first = row.box_id or row.id
        editor = (editors or {}).get(row.id, "")
        status = cast(Status, row.status)
        one = DescriptionRecord(row.text, status, row.score, row.source, row.id, row.version, editor)
        # keyed by the box as well: whatever the numbers say, a description never moves to another box
        region = regions.get(first)
        if region is not None and region.xyxy == (row.x1, row.y1, row.x2, row.y2):
            regions[first] = replace(region, descriptions=(*region.descriptions, one))
        else:
            key = row.id if region is not None else first
            regions[key] = RegionRecord((row.x1, row.y1, row.x2, row.y2), (one,), key)
    return PictureRecord(
        image.sha256,
        image.width,
        image.height,
        name_of(image),
        image.caption,
        image.review,
        dict(image.facts or {}),
        tuple(regions.values()),
        image.id,
    )


def name_of(image: models.Image) -> str:
    """Return a picture's file name: recognisable, never a path, and unique to its content."""
    original = PurePosixPath((image.member if image.origin_row is None else "") or image.location.replace("\\", "/"))
    suffix = original.suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", original.suffix) else ""
    stem = STEM.sub("-", original.stem).strip("-")[:STEM_LENGTH] or "picture"
    return f"{stem}-{image.sha256[:HASH_LENGTH]}{suffix}"


def _records(session: Session, some: Sequence[PictureRegions]) -> list[PictureRecord]:
    """Return records with who edited them, and with a describer's caption where people wrote none of their own."""
    captions = written_captions(session, image_ids=[one.image.id for one in some])
    records = []
    for one in some:
        edited = {row.id for row in one.regions if row.version > 1}
        record = record_of(one.image, one.regions, _editors(session, one.image.id, edited))
        if (written := captions.get(one.image.id, "")) and WRITTEN_CAPTION not in record.facts:
            record = replace(record, facts={**record.facts, WRITTEN_CAPTION: written})
        records.append(record)
    return records


def _editors(session: Session, image_id: int, region_ids: set[int]) -> dict[int, str]:
    """Return who edited each of these regions of a picture last."""
    found: dict[int, str] = {}
    before = None
    while region_ids - found.keys():
        page = history_page(session, image_id=image_id, before=before, limit=HISTORY)
        for edit in page:
            if edit.region_id is not None:
                found.setdefault(edit.region_id, edit.who)
        if len(page) < HISTORY:
            break
        before = page[-1].id
    return {number: who for number, who in found.items() if number in region_ids}
