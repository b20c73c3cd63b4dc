"""The running app with three people who sign in, each with a role; for tests of who may what."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from app.access.accounts import People
from app.access.rules import event_name
from app.main import Pages, build_app, launch_options
from app.services import Services
from db.engine import open_engine
from tests.support.fake_app import fake_services
from tests.support.waiting import PATIENCE_S

NAMES = {"vera": "viewer", "carl": "curator", "ada": "admin"}
START = datetime(2026, 1, 1, tzinfo=UTC)
HTML = {"accept": "text/html"}


def password(name: str) -> str:
    return f"correct horse {name}"


@dataclass
class Clock:
    """A clock that a test moves."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


@dataclass
class House:
    """The running app, where people must sign in."""

    url: str
    app: Pages
    services: Services
    clock: Clock = field(default_factory=Clock)

    @property
    def people(self) -> People:
        return self.services.people

    def visitor(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S)

    def signed_in(self, name: str) -> httpx.Client:
        visitor = self.visitor()
        answer = visitor.post("login", data={"username": name, "password": password(name)})
        assert (answer.status_code, answer.json()) == (200, {"success": True})
        return visitor

    def event(self, name: str) -> int:
        """The number of the first event with that handler."""
        return next(i for i, event in self.app.fns.items() if event.fn and event_name(event.fn).endswith(name))


@contextmanager
def open_house(folder: Path, **settings: Any) -> Iterator[House]:
    """The running app with its three people. settings: other than the defaults."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADIO_TEMP_DIR", str(folder / "cache"))
        environment.setenv("FORWARDED_ALLOW_IPS", "")  # as prepare_gradio does
        services, clock = fake_services(folder, **settings), Clock()
        services.people = People(lambda: services.engine, required=True, clock=clock)
        for name, role in NAMES.items():
            services.people.add(name, password(name), role)  # type: ignore[arg-type]
        app = build_app(services)
        app.launch(**launch_options(services))
        yield House(str(app.local_url), app, services, clock)
        app.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("house")) as opened:
        yield opened


@pytest.fixture
def people(tmp_path: Path) -> People:
    engine = open_engine(f"sqlite:///{tmp_path / 'grain.sqlite'}")
    return People(lambda: engine, required=True, clock=Clock())


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (80, 60), (200, 40, 40)).save(path)
    return path


def upload(visitor: httpx.Client, picture: Path) -> str:
    [path] = visitor.post("gradio_api/upload", files={"files": ("photo.jpg", picture.read_bytes())}).json()
    return str(path)


def set_off(visitor: httpx.Client, event: int, *data: Any, asks: dict[str, Any] | None = None) -> str:
    """What the page's queue answers to an event."""
    session = f"session-{uuid4()}"
    body = {"data": data, "fn_index": event, "session_hash": session, "event_data": asks}
    joined = visitor.post("gradio_api/queue/join", json=body)
    assert joined.status_code == 200, joined.text
    return visitor.get("gradio_api/queue/data", params={"session_hash": session}).text


def mcp_result(answer: httpx.Response) -> dict[str, Any]:
    """The result of a call: what it is sent with while it takes longer, pings and notes, is left out."""
    messages = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
    [result] = [message["result"] for message in messages if "result" in message]
    return dict(result)


def raw(house: House, target: str, cookie: str, method: str = "GET") -> int:
    """The status of a request whose target is sent as it is written."""
    connection = http.client.HTTPConnection(urlsplit(house.url).netloc, timeout=PATIENCE_S)
    connection.request(method, target, headers={"cookie": cookie})
    status = connection.getresponse().status
    connection.close()
    return status
