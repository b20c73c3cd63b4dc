"""The annotation pipeline around its models: its cost a picture, what kills do to it, what a second worker brings."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from sqlalchemy import func
from sqlmodel import select

from benchmarks.rows import ROOT, Benchmark, Finding
from benchmarks.stub_annotators import GO, StubDescriber, StubLocalizer, sheets_config, stubs
from curation.annotate.annotate import annotate
from curation.files.images import PictureReader
from curation.ingest.ingest import ingest
from db.engine import Engine, open_engine, reading
from db.models import RegionRow, StageResult
from db.queries.data_set_queries import image_page

SEED = 0
PICTURES = 1000
ROUNDS, MOST_MS, MOST_GROWTH = 5, 2.0, 1.1
KILLS = 30
WORKED, PAUSE, WORK_ROUNDS, LEAST_SPEEDUP = 300, 0.03, 7, 1.8  # pictures; seconds that a model takes for one


@contextmanager
def sheets(count: int) -> Iterator[tuple[str, Engine, Path]]:
    """A data set of so many small pictures, on SQLite; its database's URL and engine, and the folder of it all."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "sheets").mkdir()
        for number in range(count):
            color = (number % 251, number // 251, 200)
            Image.new("RGB", (64, 48), color).save(folder / "sheets" / f"{number:05d}.png")
        url = f"sqlite:///{folder / 'grain.sqlite'}"
        engine = open_engine(url)
        ingest(engine, folder / "sheets", dataset="sheets", home=folder)
        yield url, engine, folder
        engine.dispose()


def annotate_overhead() -> Finding:
    """Both stages with models that take no time, less the reading of the pictures, which each stage needs."""
    sizes, seconds, reads = [], [], []
    for _ in range(ROUNDS):
        with sheets(PICTURES) as (_, engine, folder):
            before = _size(folder)
            began = time.perf_counter()
            annotate(engine, sheets_config(batch=16), stubs(StubDescriber(), StubLocalizer()), worker="w")
            seconds.append(time.perf_counter() - began)
            sizes.append(_size(folder) - before)
            reads.append(2 * _read_all(engine))
    with sheets(2 * PICTURES) as (_, engine, folder):
        before = _size(folder)
        annotate(engine, sheets_config(batch=16), stubs(StubDescriber(), StubLocalizer()), worker="w")
        growth = (_size(folder) - before) / (2 * sizes[0])
    total_ms, reading_ms = (1000 * statistics.median(each) / PICTURES for each in (seconds, reads))
    detail = {
        "ms a picture in all": total_ms,
        "of which reading it, once a stage": reading_ms,
        "bytes kept a picture": sizes[0] / PICTURES,
        "bytes for 2,000 pictures over twice those for 1,000": growth,
        "pictures": PICTURES,
        "rounds": ROUNDS,
    }
    over = total_ms - reading_ms
    return Finding(over, over <= MOST_MS and growth <= MOST_GROWTH, detail)


def annotate_kills() -> Finding:
    """A worker is killed whenever it has described some more pictures, and begun again under its name."""
    with sheets(PICTURES) as (url, engine, folder):
        log, kills, done = folder / "said.txt", 0, False
        log.touch()
        while not done:
            before = log.stat().st_size
            with _worker(url, "worker", log) as worker:
                while worker.poll() is None and not (kills < KILLS and log.stat().st_size > before + 100):
                    time.sleep(0.001)
                done = worker.poll() is not None
                if not done:
                    worker.kill()
                    kills += 1
        with reading(engine) as session:
            results, regions = (
                session.exec(select(func.count()).select_from(table)).one() for table in (StageResult, RegionRow)
            )
            pairs = session.exec(select(StageResult.image_id, StageResult.recipe).distinct()).all()
        described = len(log.read_text(encoding="utf-8").split())
    lost, twice = 2 * PICTURES - len(pairs), results - len(pairs)
    detail = {
        "kills": kills,
        "results": results,
        "results twice": twice,
        "regions of 2,000": regions,
        "pictures described again after a kill": described - PICTURES,
    }
    wrong = lost + twice + abs(regions - 2 * PICTURES)
    return Finding(float(wrong), wrong == 0 and kills == KILLS, detail)


def annotate_workers() -> Finding:
    """The same data set by one worker and by two, each a process of its own; from the moment when all are ready."""
    seconds = {workers: [_work(workers) for _ in range(WORK_ROUNDS)] for workers in (1, 2)}
    one, two = (statistics.median(seconds[workers]) for workers in (1, 2))
    detail = {
        "one worker, s": one,
        "two workers, s": two,
        "pictures": f"{WORKED}, {1000 * PAUSE:.0f} ms each for the model",
        "rounds": WORK_ROUNDS,
    }
    return Finding(one / two, one / two >= LEAST_SPEEDUP, detail)


def _work(workers: int) -> float:
    with sheets(WORKED) as (url, _, folder):
        logs = [folder / f"{number}.txt" for number in range(workers)]
        running = [_worker(url, log.name, log, PAUSE, wait=True) for log in logs]
        while not all(log.exists() for log in logs):
            time.sleep(0.001)
        (folder / GO).touch()
        began = time.perf_counter()
        codes = [worker.wait() for worker in running]
        took = time.perf_counter() - began
    if any(codes):
        raise ValueError(f"a worker ended with {max(codes)}")
    return took


def _worker(url: str, name: str, log: Path, pause: float = 0.0, *, wait: bool = False) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "benchmarks.stub_annotators", url, name, str(log), str(pause)]
    words += ["wait"] if wait else []
    return subprocess.Popen(words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})


def _size(folder: Path) -> int:
    return (folder / "grain.sqlite").stat().st_size


def _read_all(engine: Engine) -> float:
    """Seconds to read every picture in batches, as a stage does."""
    with reading(engine) as session:
        rows = image_page(session, dataset_id=1, limit=PICTURES)
    with PictureReader() as reader:
        list(reader.open_images(rows[:1]))
        began = time.perf_counter()
        for first in range(0, PICTURES, 16):
            list(reader.open_images(rows[first : first + 16]))
        return time.perf_counter() - began


BENCHMARKS = (
    Benchmark(
        "annotate_overhead",
        "annotating with models that take no time, SQLite, both stages, less the reading of the pictures",
        f"≤ {MOST_MS:g} ms a picture, bytes written grow linearly",
        "ms",
        SEED,
        annotate_overhead,
    ),
    Benchmark(
        "annotate_kills",
        f"a worker killed {KILLS} times over {PICTURES:,} pictures: results lost or kept twice",
        "0",
        "results",
        SEED,
        annotate_kills,
    ),
    Benchmark(
        "annotate_workers",
        "two workers over one data set against one, models that sleep",
        f"≥ {LEAST_SPEEDUP:g} ×",
        "×",
        SEED,
        annotate_workers,
    ),
)
