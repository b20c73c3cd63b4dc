"""The app with fake models, as services and as a running server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.main import build_app, launch_options
from app.services import Services
from app.settings import Settings
from tests.fake_predictor import fake_predictor, write_fake_checkpoint


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


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port
