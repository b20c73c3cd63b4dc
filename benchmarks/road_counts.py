"""The road of a COCO file with boxes and captions: what it holds, counted at every step until training batches.

python -m benchmarks.road_counts PICTURES INSTANCES CAPTIONS counts files of your own.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.rows import Benchmark, Finding
from curation.exchange.export import export
from curation.exchange.export_config import ExportConfig
from curation.exchange.import_annotations import import_file
from curation.ingest.ingest import ingest
from curation.versions.versions import freeze
from db.engine import open_engine, reading
from db.queries.data_set_queries import get_dataset
from db.queries.region_index_queries import count_by_status
from grain.config import preset
from grain.data.loader import TrainingStream, find_mixed, find_shards, read_records

SEED = 0
PICTURES, CATEGORIES = 60, ("cup", "plate", "spoon")
HELD_OUT = 0.1
MANY = 1000  # regions of a picture: more than any has


def write_coco(folder: Path, pictures: int = PICTURES) -> list[Path]:
    """Draw pictures with 0 to 9 boxes and write their COCO files, of boxes and of captions. A fifth has no caption."""
    draw = random.Random(SEED)
    (folder / "images").mkdir(parents=True)
    images, boxes, captions = [], [], []
    for number in range(1, pictures + 1):
        name = f"{number:04}.jpg"
        colour = (draw.randrange(256), draw.randrange(256), number)
        Image.new("RGB", (64, 48), colour).save(folder / "images" / name, quality=95)
        images.append({"id": number, "file_name": name, "width": 64, "height": 48})
        for at in range(number % 10):
            box = [at * 6, 2, 5, draw.randint(4, 40)]
            boxes.append({"image_id": number, "category_id": draw.randint(1, 3), "bbox": box, "iscrowd": 0})
        if number % 5:
            captions.append({"image_id": number, "caption": f"a table, number {number}"})
    categories = [{"id": at, "name": name} for at, name in enumerate(CATEGORIES, start=1)]
    files = {"instances.json": boxes, "captions.json": captions}
    for file, entries in files.items():
        numbered = [{"id": at} | entry for at, entry in enumerate(entries, start=1)]
        content = {"images": images, "annotations": numbered, "categories": categories}
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
    return [folder / file for file in files]


def counts_of_road(pictures: Path, files: Sequence[Path], home: Path) -> dict[str, dict[str, int]]:
    """Walk the road and count boxes and captions at each step; step -> what -> how many.

    Raises: UserError: a file cannot be read.
    """
    entries = [entry for file in files for entry in json.loads(file.read_text(encoding="utf-8"))["annotations"]]
    boxed, captioned = ([entry["image_id"] for entry in entries if key in entry] for key in ("bbox", "caption"))
    found = {"file": {"boxes": len(boxed), "captions": len(set(captioned)), "pictures with boxes": len(set(boxed))}}
    engine = open_engine(f"sqlite:///{home / 'road.db'}")
    ingest(engine, pictures, dataset="road", home=home)
    for file in files:
        import_file(engine, dataset="road", path=file, format="coco", who="road", accept=True)
    with reading(engine) as session:
        dataset = get_dataset(session, name="road")
        tallies = count_by_status(session, dataset_id=dataset.id) if dataset else []
    found["database"] = {"boxes": sum(each.regions for each in tallies if each.status == "accepted")}
    version = freeze(engine, home, dataset="road", name="v1", who="road")
    found["version"] = {"boxes": version.regions}
    out = home / "shards"
    export(engine, home, ExportConfig("shards", out, version=version.sha256, unreviewed=True, held_out=HELD_OUT))
    engine.dispose()
    records = [list(read_records(find_shards(out, split))) for split in ("train", "held_out")]
    trained, held_out = (_counted(part) for part in records)
    found["shards"] = dict(trained + held_out)
    stream = TrainingStream(
        find_mixed(out, ()), preset("sample"), global_batch=1, seed=SEED, last_step=len(records[0]), max_regions=MANY
    )
    seen: Counter[str] = Counter()
    for batch in stream:
        regions = len(batch.regions.boxes_xyxy)
        seen += Counter({"boxes": regions, "pictures with boxes": int(regions > 0), "captions": _has_words(batch)})
    found["batches, and held-out pictures"] = dict(seen + held_out)
    return found


def _counted(records: Sequence[Any]) -> Counter[str]:
    return Counter(
        {
            "boxes": sum(len(record.texts) for record in records),
            "captions": sum(bool(record.caption) for record in records),
            "pictures with boxes": sum(bool(record.texts) for record in records),
        }
    )


def _has_words(batch: Any) -> int:
    return int(batch.captions.shape[1] > 2)  # more than the begin and the end of a text


def road_counts() -> Finding:
    """Count a drawn file at every step."""
    with tempfile.TemporaryDirectory() as place:
        files = write_coco(Path(place) / "coco")
        home = Path(place) / "home"
        home.mkdir()
        found = counts_of_road(Path(place) / "coco" / "images", files, home)
    return Finding(lost(found), lost(found) == 0, {"steps": _table(found), "pictures": PICTURES})


def lost(found: dict[str, dict[str, int]]) -> int:
    """Return by how many the steps differ from the file, in all."""
    return sum(abs(count - found["file"][what]) for step in found.values() for what, count in step.items())


def _table(found: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    return [{"step": step} | {what: counts.get(what, "–") for what in found["file"]} for step, counts in found.items()]


BENCHMARKS = (
    Benchmark(
        "road_counts",
        "a COCO file of boxes and captions by file, database, version, shards and training batches: what differs",
        "0",
        "boxes, captions and pictures",
        SEED,
        road_counts,
    ),
)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(
            json.dumps(
                counts_of_road(Path(sys.argv[1]), [Path(each) for each in sys.argv[2:]], Path(scratch)), indent=1
            )
        )
