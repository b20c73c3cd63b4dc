"""From `python app.py` to the first page and to the first photograph; and what torch would cost before the page."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradio_client import Client, handle_file

from benchmarks.rows import ROOT, Benchmark, Finding
from benchmarks.timing import take_turns

ROUNDS = 3
PATIENCE = 180.0  # seconds
PHOTO = ROOT / "app" / "ground" / "example_pictures" / "camera.jpg"
PHOTO_WORDS, PHOTO_BAR = "a man\na tripod\ntwo dogs", 8.0  # seconds
AS_IS = ("app.py",)
TORCH_FIRST = ("-c", "import torch, runpy; runpy.run_path('app.py', run_name='__main__')")


def app_start() -> Finding:
    """Both starts take turns; a start ends with the first answer of status 200."""
    torch_loaded: list[bool] = []
    rounds = take_turns(
        {"as it is": lambda: torch_loaded.append(first_page(AS_IS)), "torch first": lambda: first_page(TORCH_FIRST)},
        rounds=ROUNDS,
    )
    ratio = rounds.ratio("torch first", "as it is")
    detail = {
        "torch first, s": rounds.median("torch first"),
        "torch first over as it is, with quartiles": ratio,
        "torch loaded when the page is up": any(torch_loaded),
        "rounds": ROUNDS,
    }
    return Finding(rounds.median("as it is"), not any(torch_loaded) or ratio[0] < 2, detail)


def photo_start() -> Finding:
    """The picture is sent as soon as the page is up, as a script would send it."""
    looks = [first_photo() for _ in range(ROUNDS + 1)][1:]  # the first fills the disk's cache
    seconds = statistics.median(took for took, _ in looks)
    torch_loaded = any(loaded for _, loaded in looks)
    detail = {
        "torch loaded when it is answered": torch_loaded,
        "descriptions": PHOTO_WORDS.split("\n"),
        "rounds": ROUNDS,
    }
    return Finding(seconds, seconds <= PHOTO_BAR and not torch_loaded, detail)


def first_page(arguments: tuple[str, ...]) -> bool:
    """Start the app, wait for its page, end it; returns whether torch was loaded by then.

    Raises: ValueError: it ended, or gave no page in time; with the last line it said.
    """
    with running_app(arguments) as (process, _):
        return _has_loaded_torch(process)


def first_photo() -> tuple[float, bool]:
    """Start the app, ground a photograph, end it; returns the seconds to the answer, and whether torch was loaded.

    Raises: ValueError: as first_page; or no region was found.
    """
    began = time.perf_counter()
    with running_app(AS_IS) as (process, address):
        client = Client(address, verbose=False, analytics_enabled=False)
        answer = client.predict(handle_file(str(PHOTO)), PHOTO_WORDS, api_name="/ground")
        seconds = time.perf_counter() - began
        if not answer["regions"]:
            raise ValueError("the answer has no region")
        return seconds, _has_loaded_torch(process)


@contextmanager
def running_app(arguments: tuple[str, ...], home: Path | None = None) -> Iterator[tuple[int, str]]:
    """Start the app and wait for its page; its process id and address. Ended afterwards. home: None for an empty one.

    Raises: ValueError: it ended, or gave no page in time; with the last line it said.
    """
    with tempfile.TemporaryDirectory() as empty, socket.socket() as probe, tempfile.TemporaryFile("w+") as output:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        where = {
            "GRAIN_HOME": str(home or empty),
            "GRAIN_HOST": "127.0.0.1",
            "GRAIN_PORT": str(port),
        }
        app = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=os.environ | where, stdout=output, stderr=subprocess.STDOUT
        )
        address = f"http://127.0.0.1:{port}/"
        try:
            if not _answers(app, address):
                output.seek(0)
                last = (output.read().strip().splitlines() or ["it said nothing"])[-1]
                raise ValueError(f"no page within {PATIENCE:g} s or before the app ended: {last}")
            yield app.pid, address
        finally:
            app.terminate()
            app.wait(timeout=30)


def _answers(app: subprocess.Popen[bytes], address: str) -> bool:
    began = time.perf_counter()
    while app.poll() is None and time.perf_counter() - began < PATIENCE:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                if answer.status == 200:
                    return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.02)
    return False


def _has_loaded_torch(process: int) -> bool:
    maps = Path(f"/proc/{process}/maps")
    return maps.is_file() and "libtorch" in maps.read_text(encoding="utf-8")


BENCHMARKS = (
    Benchmark(
        "app_start",
        "from `python app.py` to the first page",
        "as measured; no torch before the page where that halves it",
        "s",
        0,
        app_start,
    ),
    Benchmark(
        "photo_start",
        "from `python app.py` to the first grounded photograph, over HTTP",
        f"≤ {PHOTO_BAR:g} s, torch not loaded",
        "s",
        0,
        photo_start,
    ),
)
