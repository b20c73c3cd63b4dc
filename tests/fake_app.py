"""The app for tests: with fake models, as services and as a running server; and the real one in its own process."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.main import build_app, launch_options
from app.services import Services
from app.settings import Settings
from tests.fake_predictor import fake_predictor, write_fake_checkpoint

ROOT = Path(__file__).parent.parent
WAITING = re.compile(r"GRAIN is at (\S+)")


def fake_services(folder: Path, kind: type[Services] = Services) -> Services:
    """A stand-in for photographs, a GRAIN checkpoint and its CLIP twin, without weights; all is kept under folder."""
    write_fake_checkpoint(folder / "embedded" / "photo", kind="photo")
    write_fake_checkpoint(folder / "embedded" / "sample", twin="sample-clip")
    write_fake_checkpoint(folder / "embedded" / "sample-clip", kind="clip")
    settings = Settings(home=folder / "home", port=free_port())
    return kind(settings, load_model=fake_predictor, embedded=folder / "embedded")


@contextmanager
def running(services: Services) -> Iterator[str]:
    """The address of a server that runs inside."""
    app = build_app(services)
    app.launch(**launch_options(services), prevent_thread_lock=True, quiet=True)
    try:
        yield app.local_url
    finally:
        app.close()


@contextmanager
def app_at(home: Path, port: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The real app in a process of its own; its address and its process."""
    environment = os.environ | {"GRAIN_HOME": str(home), "GRAIN_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as app:
        assert app.stdout is not None
        try:
            yield next(found[1] for line in app.stdout if (found := WAITING.search(line))), app
        finally:
            app.kill()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port
