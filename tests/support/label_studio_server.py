"""The real Label Studio server for tests, and a proxy before it that fails as it is told.

Its first start makes its tables, which takes a minute: that is done once, and each session gets a copy.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from PIL import Image

from app.label_studio.server import ENVIRONMENT, Server, ServerConfig
from curation.files.records import DescriptionRecord, PictureRecord, RegionRecord
from curation.label_studio.access import FOLDER, Access
from curation.label_studio.client import LabelStudio
from curation.label_studio.convert import to_results
from curation.label_studio.dataset_sync import Sync
from curation.label_studio.projects import Project, ensure_project
from curation.versions.state import state_of
from db.engine import Engine, open_engine, transaction
from db.queries.data_set_queries import NewImage, add_images, create_dataset
from db.queries.region_queries import NewRegion, add_regions
from tests.support.loopback import listening
from tests.support.waiting import PATIENCE_S, until

FRESH = ENVIRONMENT / "fresh"  # GRAIN_HOME of a server that has just been made
SHORT = 10  # seconds after which a client gives up a request that is never answered
NUMBERS = count(1)


@dataclass(frozen=True)
class Running:
    """A server that is up. home: its GRAIN_HOME."""

    access: Access
    home: Path
    pid: int


@pytest.fixture(scope="session")
def label_studio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server that `make label-studio` starts, with no projects."""
    assert (ENVIRONMENT / "bin" / "label-studio").exists(), "run make label-studio once: it installs the server"
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
                between._release.wait(PATIENCE_S)
            elif isinstance(todo, int):
                self.answer(todo, [("Retry-After", "0")], b'{"detail": "no"}')
                return
            else:
                server = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
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

    with listening(Handler) as between.url:
        try:
            yield between
        finally:
            between._release.set()


@pytest.fixture(scope="session")
def label_studio(label_studio_server: Running) -> Iterator[LabelStudio]:
    there = client(label_studio_server.access)
    yield there
    there.close()


@pytest.fixture
def project(label_studio: LabelStudio) -> Project:
    """A new one."""
    return ensure_project(label_studio, f"Lids {next(NUMBERS)}", "regions")


def picture(number: int, **changes: Any) -> PictureRecord:
    """A picture with a region of two descriptions."""
    said = (
        DescriptionRecord(f"a lid “{number}”", "pending", 0.7, "owlv2@abc", 2 * number, 1),
        DescriptionRecord("ein Töpfchen 🫕", "pending", 0.2, "owlv2@abc", 2 * number + 1, 1),
    )
    record = PictureRecord(
        f"{number:064x}",
        64,
        48,
        f"{number}.png",
        f"picture {number}",
        regions=(RegionRecord((0.1, 0.2, 1 / 3, 1.0), said, 2 * number),),
    )
    return replace(record, id=number, **changes)


def address(record: PictureRecord) -> str:
    """Where the editor finds it."""
    return f"/data/local-files/?d=pictures/{record.file_name}"


def counts(pushed: Any) -> tuple[int, int, int]:
    return pushed.added, pushed.changed, pushed.same


def client(access: Access, **options: Any) -> LabelStudio:
    return LabelStudio(access, **{"first_wait": 0.01, "timeout": PATIENCE_S, **options})


def call(running: Running, method: str, path: str, **options: Any) -> Any:
    """What a browser does."""
    headers = {"Authorization": f"Token {running.access.token}"}
    answer = httpx.request(method, running.access.url + path, headers=headers, timeout=PATIENCE_S, **options)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def annotated(shown: PictureRecord, said: PictureRecord) -> list[dict[str, Any]]:
    """The results of an annotator who was shown one thing and says another: the editor leaves meta alone."""
    kept = {each["id"]: each["meta"] for each in to_results(shown, template="regions", push=1) if "meta" in each}
    results = to_results(said, template="regions", push=1)
    return [{**each, "meta": kept[each["id"]]} if "meta" in each and each["id"] in kept else each for each in results]


def submit(running: Running, task: int, shown: PictureRecord, said: PictureRecord | None = None) -> int:
    """Annotate: take what is shown, or say something else; the annotation's id."""
    results = annotated(shown, said or shown)
    return int(call(running, "POST", f"/api/tasks/{task}/annotations/", json={"result": results})["id"])


def tasks_in(running: Running, project: Project) -> int:
    return int(call(running, "GET", "/api/tasks", params={"project": project.id})["total"])


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The address of an app that listens on loopback."""
    port = free_port()
    # A browser that keeps its connection open does not keep the test from ending.
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def database(folder: Path, pictures: Path) -> tuple[Engine, int]:
    """A database with a data set of three pictures, a region each; equal in every folder."""
    engine = open_engine(f"sqlite:///{folder / 'grain.sqlite'}")
    with transaction(engine) as session:
        dataset_id = create_dataset(session, name="three").id
        for number, colour in enumerate(("red", "green", "blue"), 1):
            file = pictures / f"{colour}.png"
            Image.new("RGB", (64, 48), colour).save(file)
            sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
            add_images(session, dataset_id=dataset_id, images=[NewImage(sha256, 64, 48, str(file))])
            rows = [NewRegion(number, (0.25, 0.25, 0.5, 0.5), f"a {colour} lid", "owlv2@abc", 0.5)]
            add_regions(session, dataset_id=dataset_id, rows=rows)
    return engine, dataset_id


@pytest.fixture
def make_sync(tmp_path: Path, label_studio: LabelStudio, project: Project) -> Iterator[Callable[[str], Sync]]:
    """Name -> a database of that name, with the one project."""
    engines = []

    def make(name: str) -> Sync:
        (tmp_path / name).mkdir()
        engine, dataset_id = database(tmp_path / name, tmp_path)
        engines.append(engine)
        return Sync(engine, label_studio, project, dataset_id=dataset_id, home=tmp_path / name)

    yield make
    for engine in engines:
        engine.dispose()


def records_in(sync: Sync) -> list[PictureRecord]:
    return list(state_of(sync.engine, sync.dataset_id, statuses=("pending", "accepted", "rejected")))


def statuses(sync: Sync) -> list[tuple[str, list[str]]]:
    return [
        (record.review, [one.status for region in record.regions for one in region.descriptions])
        for record in records_in(sync)
    ]


def judged(record: PictureRecord, status: Any, review: Any) -> PictureRecord:
    """The record with all its descriptions accepted or rejected."""
    regions = (
        replace(region, descriptions=tuple(replace(one, status=status) for one in region.descriptions))
        for region in record.regions
    )
    return replace(record, review=review, regions=tuple(regions))
