"""The database at a million regions on SQLite: how quickly they come in, and how quickly a page of them comes out."""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Benchmark, Finding
from benchmarks.timing import take_turns
from db.engine import Engine, journal_mode, open_engine, reading, transaction
from db.models import Status
from db.queries.bulk import Added
from db.queries.curate_filter import CurateFilter
from db.queries.data_set_queries import NewImage, add_images, create_dataset
from db.queries.gallery_queries import curate_page
from db.queries.region_queries import NewRegion, add_regions

SEED = 0
ROWS, REGIONS = 1_000_000, 5  # regions in all; regions a picture
CHUNK = 100_000  # rows a transaction: others wait for a writer no longer than that takes
IMPORTS = 3  # into a new database each
LEAST_ROWS_A_SECOND = 150_000
PAGE, PAGES, ROUNDS = 50, 1000, 300
MOST_MS, MOST_RATIO = 20.0, 1.2
SOURCES = ("google/owlv2-base-patch16-ensemble@3e62c4a", "human:ada")
FILTERS = {
    "all": CurateFilter(),
    "accepted": CurateFilter(statuses=("accepted",)),
    "a person's": CurateFilter(source=SOURCES[1]),
}
SQLITE = {"sqlite": sqlite3.sqlite_version, "journal": journal_mode(sqlite3.sqlite_version_info)}


def regions() -> list[NewRegion]:
    """A million, picture by picture: three of five pending, one accepted, one rejected; one of ten a person's."""
    chance = random.Random(SEED)
    statuses: list[Status] = ["pending", "pending", "pending", "accepted", "rejected"]
    return [
        NewRegion(
            image_id=1 + n // REGIONS,
            xyxy=(left := chance.random() / 2, top := chance.random() / 2, left + 0.3, top + 0.4),
            text=f"a red round lid with {chance.randrange(1000)} handles",
            source=SOURCES[chance.random() < 0.1],
            score=chance.random(),
            status=chance.choice(statuses),
        )
        for n in range(ROWS)
    ]


@contextmanager
def pictures_only() -> Iterator[Engine]:
    """A new database on this disk, data set 1 in it and the pictures of the regions."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'grain.sqlite'}")
        with transaction(engine) as session:
            dataset_id = create_dataset(session, name="lids").id
            images = (NewImage(f"{n:064x}", 640, 480, f"{n}.jpg") for n in range(ROWS // REGIONS))
            add_images(session, dataset_id=dataset_id, images=images)
        yield engine
        engine.dispose()


def add_in_chunks(engine: Engine, rows: list[NewRegion]) -> tuple[Added, float, float]:
    """What came of it, seconds, and seconds of the processor."""
    began, worked = time.perf_counter(), time.process_time()
    new = known = 0
    for first in range(0, len(rows), CHUNK):
        with transaction(engine) as session:
            added = add_regions(session, dataset_id=1, rows=rows[first : first + CHUNK])
        new, known = new + added.new, known + added.known
    return Added(new, known), time.perf_counter() - began, time.process_time() - worked


def bulk_import() -> Finding:
    """The median import decides; each is followed by the same rows again."""
    rows, imports = regions(), list[dict[str, Any]]()
    for _ in range(IMPORTS):
        with pictures_only() as engine:
            first, seconds, worked = add_in_chunks(engine, rows)
            again, seconds_again, _ = add_in_chunks(engine, rows)
        imports.append(
            {
                "rows added": first.new,
                "rows/s": ROWS / seconds,
                "rows/s of processor time": ROWS / worked,
                "rows added again": again.new,
                "again, rows/s": ROWS / seconds_again,
            }
        )
    middle = float(np.median([row["rows/s"] for row in imports]))
    complete = all((row["rows added"], row["rows added again"]) == (ROWS, 0) for row in imports)
    return Finding(middle, complete and middle >= LEAST_ROWS_A_SECOND, SQLITE | {"imports": imports})


def page_of(engine: Engine, filters: CurateFilter, before: int) -> int:
    """Return how many regions the page before a region has; a transaction of its own, as a visitor's is."""
    with reading(engine) as session:
        return len(curate_page(session, dataset_id=1, filters=filters, after=str(before), limit=PAGE).regions)


def pages(engine: Engine, filters: CurateFilter) -> dict[str, Any]:
    """Return milliseconds of pages at random depths, newest first; and of the last against the first."""
    chance = random.Random(SEED)
    last = ROWS // 500  # leaves a full page to the rarest filter
    seconds: list[float] = []
    for _ in range(PAGES):
        before = chance.randrange(last, ROWS)
        began = time.perf_counter()
        found = page_of(engine, filters, before)
        seconds.append(time.perf_counter() - began)
        if found != PAGE:
            raise ValueError(f"expected a page of {PAGE} before region {before}, got {found}")
    rounds = take_turns(
        {"first": partial(page_of, engine, filters, ROWS + 1), "last": partial(page_of, engine, filters, last)},
        rounds=ROUNDS,
    )
    return {
        "median, ms": 1000 * float(np.median(seconds)),
        "p95, ms": 1000 * float(np.quantile(seconds, 0.95)),
        "first, ms": 1000 * rounds.median("first"),
        "last, ms": 1000 * rounds.median("last"),
        "last/first": rounds.ratio("last", "first"),
    }


def deep_pages() -> Finding:
    """The slowest filter decides."""
    with pictures_only() as engine:
        add_in_chunks(engine, regions())
        table = [{"regions": name} | pages(engine, filters) for name, filters in FILTERS.items()]
    slowest = max(row["p95, ms"] for row in table)
    level = all(row["last/first"][0] <= MOST_RATIO for row in table)
    return Finding(
        slowest,
        slowest <= MOST_MS and level,
        SQLITE | {"rows": ROWS, "pages": PAGES, "rounds": ROUNDS, "filters": table},
    )


BENCHMARKS = (
    Benchmark(
        "bulk_import",
        "importing 1,000,000 regions, ready in memory, into SQLite; the same again",
        f"≥ {LEAST_ROWS_A_SECOND:,} rows/s, again adds 0",
        "rows/s",
        SEED,
        bulk_import,
    ),
    Benchmark(
        "region_page",
        f"a page of {PAGE} at 1,000,000 regions, any depth, filtered or not: 95 of 100 come within",
        f"≤ {MOST_MS:g} ms, last/first ≤ {MOST_RATIO:g} ×",
        "ms",
        SEED,
        deep_pages,
    ),
)
