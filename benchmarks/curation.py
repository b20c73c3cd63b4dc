"""Curating with others: two people who collide, and a data set kept in sync with a real Label Studio server."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import socket
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from app.label_studio.server import Server, ServerConfig
from benchmarks.rows import Benchmark, Finding
from curation.files.records import PictureRecord
from curation.label_studio.access import Access
from curation.label_studio.client import LabelStudio
from curation.label_studio.convert import to_results
from curation.label_studio.dataset_sync import Sync, pictures_folder
from curation.label_studio.projects import Project, ensure_project
from curation.versions.state import state_of
from db.engine import Engine, open_engine, reading, retrying, transaction
from db.queries.curate_queries import edit_region
from db.queries.data_set_queries import NewImage, add_images, create_dataset
from db.queries.edit_conflicts import EditConflictError
from db.queries.edit_values import RegionChange
from db.queries.history_queries import history_page
from db.queries.region_queries import NewRegion, add_regions, region_of

SEED = 0
ROUNDS = 500
CURATORS = ("ada", "bob")
PICTURES = 1_000
PATIENCE = 1200.0  # seconds until the server has made its tables, on a busy machine
BOX = (0.25, 0.25, 0.5, 0.75)


def curate(url: str, who: str, rounds: int, both: threading.Barrier) -> tuple[list[tuple[int, str]], int]:
    """What one of two curators does to region 1: (version, text) of every acknowledged edit; conflicts met.

    In each round both look first and write then. Who is late sees both versions and wants their own all the same.

    Args: both: lets the two through together.
    """
    engine = open_engine(url)
    kept: list[tuple[int, str]] = []
    version, conflicts, late = 1, 0, False
    while len(kept) < rounds:
        if not late:
            both.wait()
            with reading(engine) as session:
                version = region_of(session, region_id=1)[0].version
            both.wait()
        change = RegionChange(text=f"{who} {len(kept)}")
        work = partial(edit_region, region_id=1, expected_version=version, who=who, change=change)
        try:
            row = retrying(engine, work)
        except EditConflictError as conflict:
            version, conflicts, late = conflict.version, conflicts + 1, True
        else:
            kept.append((row.version, row.text))
            late = False
    engine.dispose()
    return kept, conflicts


def curate_collisions() -> Finding:
    """Acknowledged edits that the history has, each on top of the one before."""
    with tempfile.TemporaryDirectory() as folder:
        engine, _ = data_set(Path(folder), pictures=1)
        url, began = f"sqlite:///{Path(folder) / 'grain.sqlite'}", time.perf_counter()
        spawn, many = multiprocessing.get_context("spawn"), len(CURATORS)
        with spawn.Manager() as manager, ProcessPoolExecutor(many, mp_context=spawn) as people:
            both = manager.Barrier(many)
            found = list(people.map(curate, [url] * many, CURATORS, [ROUNDS // many] * many, [both] * many))
        seconds = time.perf_counter() - began
        with reading(engine) as session:
            entries = list(history_page(session, image_id=1, limit=10 * ROUNDS))[::-1]
        engine.dispose()
    acknowledged = sorted(edit for kept, _ in found for edit in kept)
    there = sorted((entry.version, str(entry.after["text"])) for entry in entries)
    chained = all(later.before == earlier.after for earlier, later in pairwise(entries))
    present = len(set(acknowledged) & set(there))
    detail = {"conflicts": sum(conflicts for _, conflicts in found), "seconds": seconds, "history": len(entries)}
    return Finding(present, present == ROUNDS and acknowledged == there and chained, detail)


def data_set(folder: Path, *, pictures: int) -> tuple[Engine, int]:
    """A database of so many pictures of a colour each, with a region each."""
    engine = open_engine(f"sqlite:///{folder / 'grain.sqlite'}")
    images = []
    for number in range(pictures):
        buffer = io.BytesIO()
        Image.new("RGB", (320, 240), (number % 256, number // 256, 128)).save(buffer, "PNG")
        file = folder / f"{number}.png"
        file.write_bytes(buffer.getvalue())
        images.append(NewImage(hashlib.sha256(buffer.getvalue()).hexdigest(), 320, 240, str(file)))
    with transaction(engine) as session:
        dataset_id = create_dataset(session, name="colours").id
        add_images(session, dataset_id=dataset_id, images=images)
        rows = [NewRegion(1 + number, BOX, f"lid {number}", "owlv2@1", 0.5) for number in range(pictures)]
        add_regions(session, dataset_id=dataset_id, rows=rows)
    return engine, dataset_id


def records_of(sync: Sync) -> dict[str, PictureRecord]:
    """By content hash, as pushed."""
    records = state_of(sync.engine, sync.dataset_id, statuses=("pending", "accepted", "rejected"))
    return {record.sha256: record for record in records}


def decide(access: Access, project: Project, sync: Sync, tasks: dict[str, int]) -> int:
    """Accept every region there, as a person's browser would; how many decisions the server took."""
    records, taken = records_of(sync), 0
    headers = {"Authorization": f"Token {access.token}"}
    with httpx.Client(base_url=access.url, headers=headers, timeout=60, trust_env=False) as person:
        for sha256, task in tasks.items():
            shown = to_results(records[sha256], template=project.template, push=1)
            described = next(each for each in shown if each["from_name"] == "description_1")
            value = {name: kept for name, kept in described["value"].items() if name != "text"}
            verdict = {
                **described,
                "from_name": "verdict_1",
                "type": "choices",
                "value": value | {"choices": ["right"]},
            }
            answer = person.post(f"/api/tasks/{task}/annotations/", json={"result": [*shown, verdict]})
            taken += answer.raise_for_status().is_success
    return taken


def timed(work: Any) -> tuple[Any, float]:
    """What it gave, and seconds."""
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def label_studio_sync() -> Finding:
    """Pictures pushed and decisions pulled; both again change nothing."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        engine, dataset_id = data_set(home, pictures=PICTURES)
        with Server(ServerConfig(port, home), patience=PATIENCE) as server:
            label_studio = LabelStudio(server.access)
            pictures = pictures_folder(home)
            pictures.mkdir(parents=True)
            project = ensure_project(label_studio, "colours", "regions", pictures=pictures)
            sync = Sync(engine, label_studio, project, dataset_id=dataset_id, home=home)
            first, push_seconds = timed(sync.push)
            again, again_seconds = timed(sync.push)
            taken = decide(server.access, project, sync, first.tasks)
            pulled, pull_seconds = timed(sync.pull)
            later, later_seconds = timed(sync.pull)
            label_studio.close()
        accepted = sum(
            one.status == "accepted"
            for record in records_of(sync).values()
            for region in record.regions
            for one in region.descriptions
        )
        engine.dispose()
    holds = (first.added, len(first.tasks), again.added, again.changed, again.same) == (
        PICTURES,
        PICTURES,
        0,
        0,
        PICTURES,
    )
    holds = holds and (taken, pulled.decisions, pulled.edits, accepted) == (PICTURES,) * 4
    holds = holds and (later.edits, pulled.conflicts, pulled.problems) == (0, [], [])
    detail = {
        "pushed": first.added,
        "push, s": push_seconds,
        "pushed again": again.added + again.changed,
        "push again, s": again_seconds,
        "decided there": taken,
        "edits here": pulled.edits,
        "pull, s": pull_seconds,
        "edits of the pull again": later.edits,
        "pull again, s": later_seconds,
    }
    return Finding(pulled.decisions, holds, detail)


BENCHMARKS = (
    Benchmark(
        "curate_collisions",
        f"two curators, {ROUNDS} rounds of colliding edits of one region: acknowledged edits that the history has",
        f"{ROUNDS}, each on top of the one before",
        "edits",
        SEED,
        curate_collisions,
    ),
    Benchmark(
        "label_studio_sync",
        f"{PICTURES:,} pictures to a real Label Studio server, {PICTURES:,} decisions back; both again",
        "counts equal, again changes 0",
        "decisions",
        SEED,
        label_studio_sync,
    ),
)
