"""Fifty people who read pages and ten who ground pictures, for ten minutes on one machine: answers, waiting, memory."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from benchmarks.app_start import AS_IS, PHOTO, PHOTO_WORDS, running_app
from benchmarks.rows import Benchmark, Finding

READERS, GROUNDERS, SECONDS = 50, 10, 600.0
READ_PAUSE, LOOK_PAUSE = (4.0, 8.0), (1.0, 3.0)  # seconds between a person's pages, and between a person's pictures
PAGES = ("", "annotate", "curate", "audit", "evaluate", "train", "data", "concepts")
MOST_READ_MS, MOST_GROWTH_MB, SETTLED, LOOKS = 500.0, 50.0, 50, 500
PATIENCE = 120.0
SEED = 0


@dataclass
class Tally:
    """What the people saw. memory, files: of the app, after each look."""

    reads_ms: list[float] = field(default_factory=list)
    looks_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)


def people() -> Finding:
    """Everybody is an own connection; what a page loads besides (scripts, style) comes from the browser's cache."""
    with running_app(AS_IS) as (process, address):
        tally = asyncio.run(_everybody(address, psutil.Process(process)))
    grown, files = _grown(tally.memory, SETTLED + LOOKS), _grown(tally.files)
    p95 = float(np.percentile(tally.reads_ms, 95))
    holds = (
        not tally.failures and p95 <= MOST_READ_MS and grown <= MOST_GROWTH_MB and len(tally.looks_s) >= SETTLED + LOOKS
    )
    detail = {
        "readers, grounders, seconds": f"{READERS}, {GROUNDERS}, {SECONDS:g}",
        "answers read: pages, and lists through the queue": len(tally.reads_ms),
        "median of an answer, ms": float(np.median(tally.reads_ms)),
        "slowest answer, ms": max(tally.reads_ms),
        "pictures grounded": len(tally.looks_s),
        "median of a picture, s": float(np.median(tally.looks_s)),
        "p95 of a picture, s": float(np.percentile(tally.looks_s, 95)),
        "answers that were no answer": len(tally.failures),
        "first of them": (tally.failures or ["none"])[0],
        f"memory after {SETTLED} pictures, MB": tally.memory[SETTLED - 1],
        f"growth of memory from picture {SETTLED} to {SETTLED + LOOKS}, MB": grown,
        "growth of memory to the last picture, MB": _grown(tally.memory),
        "growth of open files to the last picture": files,
        "load of the client besides": "the people are on the same two cores",
    }
    return Finding(p95, holds, detail)


def _grown(values: list[Any], end: int | None = None) -> float:
    """The median of the fifty before end minus the value once it had settled: one garbage collection is no trend."""
    return float(np.median(values[:end][-SETTLED:]) - values[SETTLED - 1]) if len(values) > SETTLED else 0.0


async def _everybody(address: str, app: psutil.Process) -> Tally:
    tally, chance, until = Tally(), random.Random(SEED), time.perf_counter() + SECONDS

    async def person(act: Callable[[httpx.AsyncClient], Awaitable[None]], pause: tuple[float, float]) -> None:
        await asyncio.sleep(chance.uniform(0, pause[1]))  # they do not all come in one moment
        # as browsers do, a connection is closed before the server closes it, five seconds after its last answer
        limits = httpx.Limits(keepalive_expiry=3.0)
        async with httpx.AsyncClient(base_url=address, timeout=PATIENCE, limits=limits) as client:
            while time.perf_counter() < until:
                try:
                    await act(client)
                except (httpx.HTTPError, ValueError, LookupError) as error:
                    tally.failures.append(f"{type(error).__name__}: {error}"[:200])
                await asyncio.sleep(chance.uniform(*pause))

    async def read(client: httpx.AsyncClient) -> None:
        for ask in (lambda: client.get(chance.choice(PAGES)), lambda: _call(client, "data_sets", [])):
            began = time.perf_counter()
            await ask()
            tally.reads_ms.append(1000 * (time.perf_counter() - began))

    async def look(client: httpx.AsyncClient) -> None:
        began = time.perf_counter()
        await _ground(client)
        tally.looks_s.append(time.perf_counter() - began)
        tally.memory.append(app.memory_info().rss / 1e6)
        tally.files.append(app.num_fds())

    readers = [person(read, READ_PAUSE) for _ in range(READERS)]
    await asyncio.gather(*readers, *(person(look, LOOK_PAUSE) for _ in range(GROUNDERS)))
    return tally


async def _ground(client: httpx.AsyncClient) -> None:
    """Send the picture and ask for its descriptions, as gradio_client does.

    Raises: ValueError: the answer is an error. httpx.HTTPError: there is none.
    """
    sent = await client.post("gradio_api/upload", files={"files": (PHOTO.name, Path(PHOTO).read_bytes())})
    sent.raise_for_status()
    file = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
    answer = await _call(client, "ground", [file, PHOTO_WORDS, "", "photo", 0.0, 1.0])
    if not answer["regions"]:
        raise ValueError("the answer has no region")


async def _call(client: httpx.AsyncClient, name: str, data: list[Any]) -> Any:
    """Call an endpoint through the queue, as the pages and gradio_client do.

    Raises: ValueError: the answer is an error. httpx.HTTPError: there is none.
    """
    began = (await client.post(f"gradio_api/call/{name}", json={"data": data})).raise_for_status()
    events = (await client.get(f"gradio_api/call/{name}/{began.json()['event_id']}")).raise_for_status().text
    if "event: complete" not in events:
        raise ValueError(events[-200:])
    return json.loads(events.rpartition("data: ")[2])[0]


BENCHMARKS = (
    Benchmark(
        "people",
        f"{READERS} people who read and {GROUNDERS} who ground for {SECONDS / 60:g} minutes, p95 of what is read",
        f"≤ {MOST_READ_MS:g} ms; none fails; memory grows ≤ {MOST_GROWTH_MB:g} MB in {LOOKS} pictures after {SETTLED}",
        "ms",
        SEED,
        people,
    ),
)
