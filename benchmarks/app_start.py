"""From `python app.py` to the first page, and what it would cost to import torch before it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from benchmarks.rows import ROOT, Benchmark, Finding
from benchmarks.timing import take_turns

ROUNDS = 3
PATIENCE = 180.0  # seconds
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


def first_page(arguments: tuple[str, ...]) -> bool:
    """Start the app, wait for its page, end it; returns whether torch was loaded by then.

    Raises: ValueError: it ended, or gave no page in time; with the last line it said.
    """
    with tempfile.TemporaryDirectory() as home, socket.socket() as probe, tempfile.TemporaryFile("w+") as said:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        environment = os.environ | {"GRAIN_HOME": home, "GRAIN_HOST": "127.0.0.1", "GRAIN_PORT": str(port)}
        app = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            if not _answers(app, f"http://127.0.0.1:{port}/"):
                said.seek(0)
                last = (said.read().strip().splitlines() or ["it said nothing"])[-1]
                raise ValueError(f"no page within {PATIENCE:g} s or before the app ended: {last}")
            return _has_loaded_torch(app.pid)
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
)
