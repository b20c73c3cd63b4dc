"""The app in a process of its own, a real Chromium, and a proxy between them whose answers are late."""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.rows import ROOT

CHROMIUM = Path("/usr/bin/chromium")
HOST, PIECE_BYTES = "127.0.0.1", 65_536
APP_LOG = "app.log"  # in the app's home
STARTING_S = 0.05  # between two looks at it


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
    return port


@contextmanager
def started(home: Path, port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The app in a process of its own: its address, and the process. What it prints is in APP_LOG of its home."""
    environment = os.environ | {"GRAIN_HOME": str(home), "GRAIN_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    log = home / APP_LOG
    with (
        log.open("wb") as file,  # a pipe that nobody reads would stop an app that prints much
        subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=file, stderr=file) as app,
    ):
        try:
            yield _address(app, log), app
        finally:
            app.kill()


def _address(app: subprocess.Popen[bytes], log: Path) -> str:
    """Where an app that has just been started is, once it says so."""
    while True:
        ended = app.poll() is not None
        printed = log.read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"GRAIN is at (\S+)\n", printed):
            return found[1]
        if ended:
            raise RuntimeError(f"the app ended while it started: {printed[-500:]}")
        time.sleep(STARTING_S)


@contextmanager
def chromium() -> Iterator[Page]:
    """An empty page of a real Chromium."""
    with sync_playwright() as playwright:
        path = str(CHROMIUM) if CHROMIUM.exists() else None
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1400})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def open_curate(page: Page, address: str) -> None:
    """Open the Curate page of an app, and wait for its gallery."""
    page.goto(f"{address}curate")
    page.wait_for_selector("#regions .tile")


@contextmanager
def curate_in_browser(home: Path) -> Iterator[Page]:
    """The Curate page of an app in a process of its own, in a real Chromium."""
    with started(home, free_port()) as (address, _), chromium() as page:
        open_curate(page, address)
        yield page


class LateProxy:
    """Connections to a port, each piece of which is late, half of the time by 0 to `most_late_s` seconds.

    Within a connection the order stays; a browser uses several, and answers of one overtake those of another.
    """

    def __init__(self, port: int) -> None:
        """port: of the app, on this machine."""
        self.port, self.chance, self.most_late_s = port, random.Random(0), 0.0
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connect, HOST, 0)
        self.address = f"http://{HOST}:{server.sockets[0].getsockname()[1]}/"
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind, ahead = await asyncio.open_connection(HOST, self.port)
        except OSError:  # the app was killed
            writer.close()
            return
        with suppress(asyncio.CancelledError):  # the proxy ends
            await asyncio.gather(self._pass_on(reader, ahead), self._pass_on(behind, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pieces = asyncio.Queue[tuple[float, bytes]]()
        sent = asyncio.create_task(self._send(pieces, writer))
        with suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                late = self.chance.choice((0.0, self.chance.uniform(0, self.most_late_s)))
                pieces.put_nowait((self._loop.time() + late, piece))
        pieces.put_nowait((0.0, b""))
        await sent

    async def _send(self, pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while (each := await pieces.get())[1]:
                await asyncio.sleep(each[0] - self._loop.time())
                writer.write(each[1])
                await writer.drain()
        writer.close()

    @contextmanager
    def running(self) -> Iterator[LateProxy]:
        """Serve, until the block is left."""
        self._thread.start()
        self._ready.wait()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
