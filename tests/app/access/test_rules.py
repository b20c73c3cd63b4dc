"""Every route and every event of the app has a rule, and what has none is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import gradio as gr
import httpx
import pytest
from starlette.routing import Mount

import db.models
from app.access.rules import (
    EVENTS,
    LOGIN,
    LOGOUT,
    ROLES,
    ROUTES,
    RULES,
    Role,
    allows,
    event_name,
    event_rule,
    route_rule,
)
from app.main import Pages, build_app, launch_options
from tests.support.fake_app import fake_services
from tests.support.waiting import PATIENCE_S

ANSWERED_BY_THE_GATE = {LOGIN, f"{LOGIN}/", LOGOUT, f"{LOGOUT}/"}


def paths(routes: Iterable[Any]) -> Iterator[str]:
    """The patterns of all routes, those of included routers too."""
    for route in routes:
        if included := getattr(route, "original_router", None):
            yield from paths(included.routes)
        elif isinstance(route, Mount):
            yield from (route.path, f"{route.path}/{{path:path}}")
        else:
            yield route.path


def handlers(app: Pages) -> Iterator[Callable[..., Any]]:
    """The handlers of all events, and what checks their inputs."""
    for event in app.fns.values():
        yield from (each for each in (event.fn, event.validator) if each is not None)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("app")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADIO_TEMP_DIR", str(folder / "cache"))
        services = fake_services(folder, login=True)
        app = build_app(services)
        app.launch(**launch_options(services))
        yield app
        app.close()


def test_every_route_has_a_rule_and_every_rule_a_route(app: Pages) -> None:
    declared = set(paths(app.app.routes))
    assert len(declared) > 70, "a guard that saw too little"
    assert sorted(declared - ROUTES.keys()) == []
    assert sorted(ROUTES.keys() - declared - ANSWERED_BY_THE_GATE) == []


def test_every_event_has_a_rule_and_every_rule_an_event(app: Pages) -> None:
    names = [event_name(handler) for handler in handlers(app)]
    assert len(names) > 50, "a guard that saw too little"
    assert sorted(set(names) - EVENTS.keys()) == []
    assert sorted(EVENTS.keys() - set(names)) == []


def test_what_is_new_and_has_no_rule_is_noticed_and_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    services, done = fake_services(tmp_path), []

    def new_handler(text: str) -> str:
        done.append(text)
        return text

    with Pages(analytics_enabled=False) as app:
        text = gr.Textbox()
        gr.Button().click(new_handler, text, text, api_name="new")
        gr.Button().click(lambda text: text, text, text, api_name="queueless", queue=False)
    app.launch(**launch_options(services))
    try:
        app.app.add_api_route("/new", lambda: done.append("route"))
        assert set(paths(app.app.routes)) - ROUTES.keys() == {"/new"}
        assert [event_rule(handler) for handler in handlers(app)] == ["closed", "closed"]
        url = app.local_url
        assert httpx.get(f"{url}new", timeout=PATIENCE_S).status_code == 404
        event = httpx.post(f"{url}gradio_api/call/new", json={"data": ["x"]}, timeout=PATIENCE_S).json()["event_id"]
        assert "is for nobody" in httpx.get(f"{url}gradio_api/call/new/{event}", timeout=PATIENCE_S).text
        refused = httpx.post(f"{url}gradio_api/run/queueless", json={"data": ["x"]}, timeout=PATIENCE_S).text
        assert "is for nobody" in refused
        assert done == []
    finally:
        app.close()


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/", "viewer"),
        ("/annotate", "viewer"),
        ("/Annotate", "closed"),
        ("//annotate", "closed"),
        ("/gradio_api/call/ground", "viewer"),
        ("/gradio_api/call/v2/ground", "viewer"),
        ("/gradio_api/mcp/", "viewer"),
        ("/gradio_api/file=/x/y.png", "viewer"),
        ("/gradio_api/FILE=/x/y.png", "closed"),
        ("/gradio_api/file/x", "closed"),
        ("/gradio_api/proxy=http://host.example", "closed"),
        ("/monitoring/summary", "closed"),
        ("/assets/index.js", "open"),
        ("/assets", "closed"),
    ],
)
def test_a_path_has_the_rule_of_its_route(path: str, rule: str) -> None:
    assert route_rule(path)[0] == rule


def test_roles_grow_and_closed_is_for_nobody() -> None:
    allowed = {rule: [role for role in ROLES if allows(role, rule)] for rule in RULES}
    assert allowed == {
        "open": ["viewer", "curator", "admin"],
        "viewer": ["viewer", "curator", "admin"],
        "curator": ["curator", "admin"],
        "admin": ["admin"],
        "closed": [],
    }
    assert get_args(Role) == get_args(db.models.Role)
