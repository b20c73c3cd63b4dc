"""The app for tests: with fake models, as services and as a running server; and the real one in its own process."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.core.settings import Settings
from app.main import build_app, launch_options
from app.services import Services
from tests.support.fake_predictor import fake_predictor, write_fake_checkpoint
from tests.support.paths import ROOT
from tests.support.waiting import until

WAITING = re.compile(r"GRAIN is at (\S+)\n")
TAKEN = "cannot be listened on"
SAID_CHARACTERS = 20_000  # of the end of what the app said
STARTS = 3  # somebody may take a free port before the app does


def fake_services(folder: Path, kind: type[Services] = Services, **settings: Any) -> Services:
    """A stand-in for photographs, a GRAIN checkpoint and its CLIP twin, without weights; all is kept under folder."""
    write_fake_checkpoint(folder / "embedded" / "photo", kind="photo")
    write_fake_checkpoint(folder / "embedded" / "sample", twin="sample-clip")
    write_fake_checkpoint(folder / "embedded" / "sample-clip", kind="clip")
    chosen = Settings(home=folder / "home", port=free_port(), **settings)
    return kind(chosen, load_model=fake_predictor, embedded=folder / "embedded")


@contextmanager
def environment_in(folder: Path) -> Iterator[None]:
    """The environment that the app gives its jobs: the cache and the home of fake_services in that folder."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADIO_TEMP_DIR", str(folder / "cache"))
        environment.setenv("GRAIN_HOME", str(folder / "home"))
        yield


@contextmanager
def running(services: Services) -> Iterator[str]:
    """The address of a server that runs inside."""
    app = build_app(services)
    app.launch(**launch_options(services))
    try:
        yield str(app.local_url)
    finally:
        app.close()


@contextmanager
def app_at(
    home: Path, before: Sequence[str] = (), *, port: int | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The real app in a process of its own; its address and its process.

    before: words in front of its command line. port: None for a free one. What it says goes into a file: a pipe that
    nobody reads any more would hold it up.
    """
    with tempfile.NamedTemporaryFile(prefix="grain-app-") as said, ExitStack() as ends:
        for _ in range(STARTS):
            environment = os.environ | {"GRAIN_HOME": str(home), "GRAIN_PORT": str(port or free_port())}
            command = [*before, sys.executable, "-u", "app.py"]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT)
            app = ends.enter_context(process)
            ends.callback(app.kill)
            words = _first_words(app, Path(said.name))
            if found := WAITING.search(words):
                break
            assert TAKEN in words, f"the app ended while it started:\n{words}"
        else:
            raise AssertionError(f"the app found no port:\n{words}")
        try:
            yield found[1], app
        except BaseException:
            print(Path(said.name).read_text()[-SAID_CHARACTERS:])  # shown beside the failure
            raise


def _first_words(app: subprocess.Popen[bytes], said: Path) -> str:
    """What an app says until it waits for visitors, or until its end."""
    until(lambda: app.poll() is not None or WAITING.search(said.read_text()), said.read_text)
    return said.read_text()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port
