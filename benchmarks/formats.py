"""Every format of exports and imports: what comes back from the files that an export writes."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.curation import data_set
from benchmarks.rows import Benchmark, Finding
from curation.exchange.annotation_files import read_file
from curation.exchange.export import export
from curation.exchange.export_config import ExportConfig
from curation.exchange.formats import FORMATS, LOST
from curation.files.records import PictureRecord
from curation.versions.state import state_of
from db.engine import transaction
from db.queries.region_queries import NewRegion, add_regions

SEED = 0
PICTURES, REGIONS = 200, 5
PIXEL = 1.0  # what a box of a format with losses may be off


def format_round_trips() -> Finding:
    """Count the pictures that come back from an export other than they went, where no sentence says so."""
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as place:
        home = Path(place)
        engine, dataset_id = data_set(home, pictures=PICTURES)
        with transaction(engine) as session:
            add_regions(session, dataset_id=dataset_id, rows=_regions())
        went = {record.sha256: record for record in state_of(engine, dataset_id, statuses=("pending",))}
        for format in FORMATS:
            config = ExportConfig(format=format, out=home / format, dataset="colours", statuses=("pending",))
            losses = export(engine, home, replace(config, unreviewed=True))["losses"]
            came = {_hash(record, went): record for record in read_file(config.out, format)}
            unsaid = sum(not _same(went[key], came.get(key), exact=not LOST[format]) for key in went)
            rows.append({"format": format, "came back": len(came), "differ unsaid": unsaid, "losses said": len(losses)})
        engine.dispose()
    total = sum(row["differ unsaid"] for row in rows)
    losses_listed = all(
        bool(row["losses said"]) == bool(LOST[format]) for row, format in zip(rows, FORMATS, strict=True)
    )
    return Finding(
        total, total == 0 and losses_listed, {"pictures": PICTURES, "regions each": REGIONS + 1, "formats": rows}
    )


def _regions() -> list[NewRegion]:
    draw = random.Random(SEED)
    rows = []
    for picture in range(1, PICTURES + 1):
        for number in range(REGIONS):
            x, y, wide, high = (draw.random() for _ in range(4))
            box = (0.7 * x, 0.7 * y, 0.7 * x + 0.05 + 0.2 * wide, 0.7 * y + 0.05 + 0.2 * high)
            rows.append(NewRegion(picture, box, f"a lid {number} <of> “{picture}” & Söhne", "owlv2@1", draw.random()))
    return rows


def _hash(record: PictureRecord, went: dict[str, PictureRecord]) -> str:
    """Return the content of a picture that came back: its own, or that of its name, which has it."""
    name = record.file_name.rpartition("/")[2]
    return record.sha256 or next(key for key, one in went.items() if one.file_name.rpartition(".")[0] in name)


def _same(went: PictureRecord, came: PictureRecord | None, *, exact: bool) -> bool:
    """Tell whether a picture is the same but for its place; of a format with losses, in its boxes and texts."""
    if came is None:
        return False
    if exact:
        return replace(came, file_name=went.file_name) == went
    sides = (went.width, went.height) * 2
    pairs = zip(sorted(_texts(went)), sorted(_texts(came)), strict=True)
    return all(
        one == other and all(abs(a - b) * side <= PIXEL for a, b, side in zip(box, back, sides, strict=True))
        for (one, box), (other, back) in pairs
    )


def _texts(record: PictureRecord) -> list[tuple[str, tuple[float, ...]]]:
    return [(one.text, region.xyxy) for region in record.regions for one in region.descriptions]


BENCHMARKS = (
    Benchmark(
        "format_round_trips",
        f"{PICTURES} pictures through an export and back in each of {len(FORMATS)} formats: pictures that differ and "
        "no sentence says so",
        "0, and losses said exactly where there are any",
        "pictures",
        SEED,
        format_round_trips,
    ),
)
