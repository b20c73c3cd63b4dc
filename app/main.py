"""Builds the app: one look, one navigation, a page a route; and serves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import gradio as gr
from gradio_client import Client
from gradio_client.utils import is_file_obj_with_meta, is_http_url_like, traverse
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import label_studio_mount
from app.accounts import scope_of, who
from app.gate import INSIDE_KEY, INSIDER, Files, Gate
from app.pages import annotate, api, audit, concepts, curate, data, evaluate, ground, train
from app.pages.shared import EVERY, LIGHT, hear_again
from app.rules import LOGOUT, allows, event_rule
from app.services import Services
from app.settings import SettingsError

CSS = Path(__file__).with_name("style.css")
FONT = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace"]
HEARS_AGAIN_SECONDS = 7.0
MOST_WAITING = 64  # requests in the queue; more are told to come back
CACHE_SECONDS = (3600, 24 * 3600)  # every hour, what is a day old goes
CONTENT_POLICY = (  # the page may load nothing from elsewhere; Gradio's components need inline and eval
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'self'"
)

FETCH_ROUTE = "/file=http"  # Gradio's file route would fetch any address for any visitor


@dataclass(frozen=True)
class Page:
    """A route. path: "" is the first page. build: lays it out inside the current Blocks.

    under: path of the page that leads to it; None for a page of the navigation itself.
    """

    title: str
    path: str
    build: Callable[[gr.Blocks, Services], None]
    under: str | None = None


PAGES: tuple[Page, ...] = (
    Page(ground.TITLE, ground.PATH, ground.build),
    Page(annotate.TITLE, annotate.PATH, annotate.build),
    Page(curate.TITLE, curate.PATH, curate.build),
    Page(audit.TITLE, audit.PATH, audit.build),
    Page(evaluate.TITLE, evaluate.PATH, evaluate.build),
    Page(train.TITLE, train.PATH, train.build),
    Page(data.TITLE, data.PATH, data.build),
    Page(concepts.TITLE, concepts.PATH, concepts.build, under=curate.PATH),
)


class Pages(gr.Blocks):
    """gr.Blocks whose events have rules, whichever way they are set off: page, queue, API or MCP."""

    def __init__(self, **options: Any) -> None:
        """options: as of gr.Blocks."""
        super().__init__(**options)
        self.files = Files()

    async def process_api(
        self, block_fn: Any, inputs: list[Any], state: Any = None, request: Any = None, *rest: Any, **more: Any
    ) -> dict[str, Any]:
        """Gradio's one door to handlers. Inputs and outputs may only name files that the person may read.

        Raises: gr.Error: the event has no rule, the person's role is not enough, or a file is somebody else's.
        """
        event = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        requests = request if isinstance(request, list) else [request]
        for each in requests:
            self._check(event, inputs, each)
        answer = await super().process_api(event, inputs, state, request, *rest, **more)
        for each in requests:
            self.files.give(who(each), _file_paths(answer["data"]))
        return answer

    @cached_property
    def shown_files(self) -> frozenset[str]:
        """Files that the pages themselves show to everybody who sees them."""
        return frozenset(_file_paths(self.config))

    def open_mcp(self, headers: dict[str, str]) -> None:
        """Let Gradio's MCP server ask this app: it does so over HTTP, where the gate wants to know it by headers."""
        server: Any = self.mcp_server_obj
        if server is not None and server._client_instance is None:
            server._client_instance = Client(
                server.local_url,
                download_files=False,
                verbose=False,
                analytics_enabled=False,
                ssl_verify=False,
                _skip_components=False,
                headers={"x-gradio-user": "mcp", **headers},
            )

    def _check(self, event: Any, inputs: list[Any], request: Any) -> None:
        person, rule = who(request), event_rule(event.fn)
        if not allows(person.role, rule):
            needs = "is for nobody" if rule == "closed" else f"needs the role {rule}"
            raise gr.Error(f"This {needs}; {person.name} has the role {person.role}.", print_exception=False)
        readers = [person, INSIDER] if scope_of(request).get(INSIDE_KEY) else [person]
        for path in _file_paths(inputs):
            mine = path in self.shown_files or any(self.files.may_read(each, path) for each in readers)
            if not mine and not is_http_url_like(path):  # addresses: app/pages/upload_field.py
                raise gr.Error("This file is not yours, or is no longer there: send it again.", print_exception=False)


def _file_paths(data: Any) -> list[str]:
    found: list[str] = []

    def note(file: dict[str, Any]) -> dict[str, Any]:
        found.append(str(file["path"]))
        return file

    traverse(data, note, is_file_obj_with_meta)
    return found


def build_app(services: Services) -> Pages:
    """All pages; nothing is loaded or opened yet."""
    app = Pages(title="GRAIN", analytics_enabled=False, fill_width=True, delete_cache=CACHE_SECONDS)
    with app:
        api.build(services)  # first, so that its names are its own
        _frame(app, services, PAGES[0])
    for page in PAGES[1:]:
        with app.route(page.title, page.path):
            _frame(app, services, page)
    app.queue(max_size=MOST_WAITING)
    return app


def serve(app: gr.Blocks, services: Services) -> None:
    """Answer requests until interrupted. The default checkpoint is loaded while the first visitor reads.

    Raises: SettingsError: the address cannot be listened on, or needs accounts before anybody has one.
    """
    settings = services.settings
    services.people.must_exist()
    try:
        _, address, _ = app.launch(**launch_options(services), prevent_thread_lock=True, quiet=True)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise SettingsError(
            f"GRAIN_PORT: {where} cannot be listened on: stop what runs there or choose another"
        ) from error
    print(f"GRAIN is at {address}", flush=True)
    services.warm()
    app.block_thread()


def launch_options(services: Services) -> dict[str, Any]:
    """What `launch` gets: this machine only, nothing recorded, nothing fetched, uploads bounded."""
    settings = services.settings
    return {
        "server_name": settings.host,
        "server_port": settings.port,
        "share": False,
        "ssr_mode": False,
        "strict_cors": True,
        "enable_monitoring": False,
        "run_history": False,
        "max_file_size": settings.upload_bytes,
        "mcp_server": True,
        "footer_links": [],
        "theme": theme(),
        "css_paths": CSS,
        "app_kwargs": {
            "middleware": [Middleware(OnlyFromHere), Middleware(Gate, people=services.people)],
            "routes": [label_studio_mount.mount(services)],
        },
    }


class OnlyFromHere:
    """Tells browsers to load nothing from other machines, and refuses to fetch addresses for a visitor."""

    def __init__(self, app: ASGIApp) -> None:
        """app: what is behind."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and FETCH_ROUTE in scope["path"]:
            await PlainTextResponse("Addresses are not fetched.", status_code=403)(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", CONTENT_POLICY.encode())
                message["headers"] = [*message["headers"], policy, (b"x-content-type-options", b"nosniff")]
            await send(message)

        await self.app(scope, receive, send_with_policy if scope["type"] == "http" else send)


def theme() -> gr.themes.Base:
    """Paper and ink, with system fonts: nothing is fetched. The rest is style.css."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.neutral,
        neutral_hue=gr.themes.colors.neutral,
        font=FONT,
        font_mono=MONO,
        radius_size=gr.themes.sizes.radius_lg,
    )


def _frame(app: gr.Blocks, services: Services, page: Page) -> None:
    with gr.Row(elem_id="shell"):
        gr.HTML(_navigation(page, services), js_on_load=None, apply_default_css=False, elem_id="navigation")
        with gr.Column(elem_id="page"):
            page.build(app, services)
    gr.Timer(HEARS_AGAIN_SECONDS).tick(hear_again, None, None, **(LIGHT | EVERY))


def _navigation(current: Page, services: Services) -> str:
    here = current.path if current.under is None else current.under
    links = "".join(
        f'<a href="/{page.path}"{" aria-current=page" if page.path == here else ""}>{page.title}</a>'
        for page in PAGES
        if page.under is None
    )
    leave = f'<nav aria-label="You"><a href="{LOGOUT}">Sign out</a></nav>' if services.people.required else ""
    return f'<a class="brand" href="/">GRAIN</a><nav aria-label="Pages">{links}</nav>{leave}'
