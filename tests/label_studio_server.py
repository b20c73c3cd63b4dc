"""The real Label Studio server for tests, and a proxy before it that fails as it is told.

Its first start makes its tables, which takes a minute: that is done once, and each session gets a copy.
"""

from __future__ import annotations

import fcntl
import http.client
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.label_studio_server import ENVIRONMENT, Server, ServerConfig
from curation.review import FOLDER, Access

FRESH = ENVIRONMENT / "fresh"  # GRAIN_HOME of a server that has just been made
PATIENCE = 20  # seconds


@dataclass(frozen=True)
class Running:
    """A server that is up. home: its GRAIN_HOME."""

    access: Access
    home: Path
    pid: int


@pytest.fixture(scope="session")
def label_studio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server that `make label-studio` starts, with no projects."""
    assert (ENVIRONMENT / "bin" / "label-studio").exists(), "make test installs the server first"
    home = tmp_path_factory.mktemp("label-studio")
    with (ENVIRONMENT / "fresh.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not FRESH.exists():
            making = FRESH.with_name("fresh.making")
            shutil.rmtree(making, ignore_errors=True)
            Server(ServerConfig(free_port(), making)).close()
            making.rename(FRESH)
    shutil.copytree(FRESH / FOLDER, home / FOLDER)
    with Server(ServerConfig(free_port(), home)) as server:
        yield Running(server.access, home, server.pid)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Proxy:
    """Stands before a server. faults: what befalls the next requests, one each.

    A number: it answers with that status itself. "slow": it answers nothing. "lost": the server gets the request, and
    the client no answer. "pass": nothing.
    """

    target: str
    faults: list[int | str] = field(default_factory=list)
    only: str = ""
    """Method of the requests that faults befall; "" for all."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _release: threading.Event = field(default_factory=threading.Event)

    def arrive(self, method: str, path: str) -> int | str:
        """Note a request and say what befalls it."""
        with self._turn:
            self.requests.append((method, path.partition("?")[0]))
            return self.faults.pop(0) if self.faults and self.only in ("", method) else "pass"


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A Proxy that listens."""
    between = Proxy(target)
    host, _, port = target.removeprefix("http://").partition(":")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            todo = between.arrive(self.command, self.path)
            if todo == "slow":
                between._release.wait(PATIENCE)
            elif isinstance(todo, int):
                self.answer(todo, [("Retry-After", "0")], b'{"detail": "no"}')
                return
            else:
                server = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
                server.request(self.command, self.path, body, dict(self.headers.items()))
                reply = server.getresponse()
                content = reply.read()
                server.close()
                if todo == "pass":
                    kept = [("Content-Type", reply.headers.get("Content-Type", ""))]
                    self.answer(reply.status, kept, content)
                    return
            self.close_connection = True

        def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response(status)
            for name, value in [*headers, ("Content-Length", str(len(content)))]:
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # it no longer wants the answer
                self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_one

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    between.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield between
    finally:
        between._release.set()
        server.shutdown()
        server.server_close()
        thread.join()
