"""Build the app, one route a page behind one navigation, and serve it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import gradio as gr
from gradio_client import Client
from gradio_client.utils import is_file_obj_with_meta, is_http_url_like, traverse
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# whole, before threads meet: two that import SQLAlchemy at once leave it broken until the app ends (its modules import
# each other in circles). Handlers may import all else when they run.
import db.models  # noqa: F401
from app import api
from app.access.accounts import PERSON_KEY, Person, person_of, scope_of
from app.access.gate import INSIDE_KEY, INSIDER, Files, Gate
from app.access.proxies import TrustedProxies
from app.access.rules import LOGOUT, allows, event_rule
from app.annotate import page as annotate_page
from app.audit import page as audit_page
from app.concepts import page as concepts_page
from app.core.example_data import EXAMPLES, PHOTOGRAPHS
from app.core.health import health_route
from app.core.plain_errors import PlainErrors, error_sentence
from app.core.settings import port_is_taken
from app.core.templates import STYLE, render
from app.core.thumbnails import thumbnail_route
from app.curate import page as curate_page
from app.curate.editor_routes import editor_routes
from app.data import page as data_page
from app.evaluate import page as evaluate_page
from app.ground import page as ground_page
from app.home import page as home_page
from app.label_studio import mount as label_studio_mount
from app.label_studio import page as label_studio_page
from app.services import Services
from app.train import page as train_page
from app.ui.dataset_choice import dataset_field
from app.ui.events import LIGHT, MODEL_LANE, QUEUE_ALL, html, keep_stream_alive
from app.ui.first_example import FirstExample, build_first_example
from app.ui.html import render_macro
from app.ui.light_sessions import MOST_SESSIONS, forget_session, light_sessions
from app.ui.mcp_answers import answer_mcp_in_json
from app.ui.signed_in import build_signed_in
from app.ui.tidy_uploads import tidy_uploads

FONT = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace"]
SLIDERS = STYLE.with_name("sliders.js").read_text(encoding="utf-8")
KEEP_ALIVE_SECONDS = 7.0
MAX_QUEUED = 64  # requests in the queue; more are told to come back
MOST_WAITING, MOST_LOOKS_WAITING = 16, 3  # of one person: of all requests, and of those that the model answers
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

    under: path of the page that leads to it; None for a page of the navigation itself. on_dataset: it works on the data
    set that is chosen in the navigation, which build takes last. offers: examples to begin with while there is no data
    set.
    """

    title: str
    path: str
    build: Callable[..., None]
    under: str | None = None
    on_dataset: bool = True
    offers: tuple[str, ...] = tuple(EXAMPLES)


PAGES: tuple[Page, ...] = (
    Page(home_page.TITLE, home_page.PATH, home_page.build, offers=()),  # its ways in begin with them
    Page(ground_page.TITLE, ground_page.PATH, ground_page.build, on_dataset=False, offers=()),  # it has its own
    Page(annotate_page.TITLE, annotate_page.PATH, annotate_page.build),
    Page(curate_page.TITLE, curate_page.PATH, partial(curate_page.build, below=label_studio_page.build)),
    Page(audit_page.TITLE, audit_page.PATH, audit_page.build),
    Page(evaluate_page.TITLE, evaluate_page.PATH, evaluate_page.build, on_dataset=False),
    Page(train_page.TITLE, train_page.PATH, train_page.build),
    Page(data_page.TITLE, data_page.PATH, data_page.build),
    Page(
        concepts_page.TITLE,
        concepts_page.PATH,
        concepts_page.build,
        curate_page.PATH,
        on_dataset=False,
        offers=(PHOTOGRAPHS.name,),  # which has classes
    ),
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
        """Call a handler, Gradio's one way to all of them. Inputs and outputs may only name files the person may read.

        Raises: gr.Error: the event has no rule, the person's role is not enough, or a file is somebody else's; or what
                nobody expected.
        """
        event = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        requests = request if isinstance(request, list) else [request]
        for each in requests:
            self._check(event, inputs, each)
        try:
            answer = await super().process_api(event, inputs, state, request, *rest, **more)
        except gr.Error:
            raise
        except Exception as error:  # of ours, or of a value that no page would send
            raise gr.Error(error_sentence(error)[0], print_exception=False) from error
        for each in requests:
            self.files.give(person_of(each), _file_paths(answer["data"]))
            if not answer.get("is_generating"):
                forget_session(self, each.session_hash)
        return answer

    @cached_property
    def shown_files(self) -> frozenset[str]:
        """Return the files that the pages themselves show to everybody who opens them."""
        return frozenset(_file_paths(self.config))

    def waiting(self, person: Person) -> list[str]:
        """Return the concurrency ids of a person's events that wait for their turn."""
        lanes = list(self._queue.event_queue_per_concurrency_id.items())
        waiting = [(name, event) for name, lane in lanes for event in list(lane.queue)]
        return [name for name, event in waiting if event.request.scope.get(PERSON_KEY) == person]

    def too_many_waiting(self, person: Person, path: str, fields: Mapping[str, Any]) -> int:
        """Return how many of a person's events wait if one more is too many, else 0. path, fields: of the request."""
        waiting = self.waiting(person)
        looks = waiting.count(MODEL_LANE)
        if looks >= MOST_LOOKS_WAITING and self._lane(path, fields) == MODEL_LANE:
            return looks
        return len(waiting) if len(waiting) >= MOST_WAITING else 0

    def _lane(self, path: str, fields: Mapping[str, Any]) -> str:
        """Return the concurrency id of the event that a request to start one names; "" if there is none."""
        name = path.rstrip("/").rpartition("/")[2]
        for number, event in self.fns.items():
            if number == fields.get("fn_index") if name == "join" else event.api_name == name:
                return str(event.concurrency_id)
        return ""

    def open_mcp(self, headers: dict[str, str]) -> None:
        """Let Gradio's MCP server call this app over HTTP, recognized by its headers."""
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
        person, rule = person_of(request), event_rule(event.fn)
        if not allows(person.role, rule):
            needs = "is for nobody" if rule == "closed" else f"needs the role {rule}"
            raise gr.Error(f"This {needs}; {person.name} has the role {person.role}.", print_exception=False)
        readers = [person, INSIDER] if scope_of(request).get(INSIDE_KEY) else [person]
        for path in _file_paths(inputs):
            mine = path in self.shown_files or any(self.files.may_read(each, path) for each in readers)
            if not mine and not is_http_url_like(path):  # addresses: app/ui/upload_field.py
                raise gr.Error("This file is not yours, or is no longer there: send it again.", print_exception=False)


def _file_paths(data: Any) -> list[str]:
    found: list[str] = []

    def note(file: dict[str, Any]) -> dict[str, Any]:
        found.append(str(file["path"]))
        return file

    traverse(data, note, is_file_obj_with_meta)
    return found


def build_app(services: Services) -> Pages:
    """Build all pages; nothing is loaded or opened yet."""
    tidy_uploads()
    answer_mcp_in_json()
    light_sessions()
    app = Pages(title="GRAIN", analytics_enabled=False, fill_width=True, delete_cache=CACHE_SECONDS)
    with app:
        api.build(services)  # first, so that its names are its own
        _frame(app, services, next(page for page in PAGES if page.path == ""))
    for page in (page for page in PAGES if page.path):
        with app.route(page.title, page.path):
            _frame(app, services, page)
    app.queue(max_size=MAX_QUEUED)
    return app


def serve(app: gr.Blocks, services: Services) -> None:
    """Answer requests until interrupted. The default checkpoint is loaded while the first visitor reads,
    and jobs are looked after whether anybody reads or not.

    Raises: UserError: the address cannot be listened on.
    """
    try:
        _, address, _ = app.launch(**launch_options(services))
    except OSError as error:
        raise port_is_taken(services.settings) from error
    print(f"GRAIN is at {address}", flush=True)
    services.warm()
    services.watch_jobs()
    app.block_thread()


def launch_options(services: Services) -> dict[str, Any]:
    """Return the options of `launch`: this machine only, nothing recorded, nothing fetched, uploads bounded."""
    settings = services.settings
    return {
        "server_name": settings.host,
        "server_port": settings.port,
        "share": False,
        "prevent_thread_lock": True,
        "quiet": True,
        "_frontend": False,  # Gradio would give up where the first page takes three seconds, on a busy machine
        "state_session_capacity": MOST_SESSIONS,
        "ssr_mode": False,
        "strict_cors": True,
        "enable_monitoring": False,
        "run_history": False,
        "max_file_size": settings.upload_bytes,
        "mcp_server": True,
        "footer_links": [],
        "theme": theme(),
        "css_paths": STYLE,
        "app_kwargs": {
            "middleware": [
                Middleware(TrustedProxies, proxies=settings.proxies),
                Middleware(ContentPolicy),
                Middleware(PlainErrors),
                Middleware(Gate, people=services.people),
            ],
            "routes": [
                label_studio_mount.mount(services),
                health_route(services.check_database),
                thumbnail_route(settings.home),
                *editor_routes(services, label_studio_page.task_links_panel),
                *(Route(f"/{page.path}/", _to_page) for page in PAGES if page.path),
                *(Route(place, _to_page) for place in ("/ground", "/ground/")),  # people guess it from the others
            ],
        },
    }


class ContentPolicy:
    """Tells browsers to load nothing from other machines, and refuses to fetch addresses for a visitor."""

    def __init__(self, app: ASGIApp) -> None:
        """app: what is behind."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and FETCH_ROUTE in scope["path"]:
            await PlainTextResponse("Addresses are not fetched.", status_code=403)(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", CONTENT_POLICY.encode())
                message["headers"] = [*message["headers"], policy, (b"x-content-type-options", b"nosniff")]
            await send(message)

        await self.app(scope, receive, send_with_policy if scope["type"] == "http" else send)


def _to_page(request: Request) -> RedirectResponse:
    """Send a page's address with a slash at its end, or Ground's name, to the page; Gradio's answer has no query."""
    path, query = request.url.path.rstrip("/"), request.url.query
    return RedirectResponse(path.removesuffix("ground") + (f"?{query}" if query else ""), status_code=301)


def theme() -> gr.themes.Base:
    """Build the theme, with system fonts so that nothing is fetched. The rest is style.css."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.neutral,
        neutral_hue=gr.themes.colors.neutral,
        font=FONT,
        font_mono=MONO,
        radius_size=gr.themes.sizes.radius_lg,
    )


def _frame(app: gr.Blocks, services: Services, page: Page) -> None:
    first_event = len(app.fns)
    with gr.Row(elem_id="shell"):
        with gr.Column(elem_id="side-bar"):
            html(render_macro("brand", f"/{home_page.PATH}"), elem_id="brand")
            chosen = [dataset_field(services)] if page.on_dataset else []
            gr.HTML(_navigation(page, services), js_on_load=SLIDERS, apply_default_css=False, elem_id="navigation")
            who = html(elem_id="signed-in") if services.people.required else None
        with gr.Column(elem_id="page"):
            if page.offers:
                build_first_example(app, FirstExample(services, page.offers), *chosen)
            page.build(app, services, *chosen)
    if who:
        build_signed_in(app, who, since=first_event)
    gr.Timer(KEEP_ALIVE_SECONDS).tick(keep_stream_alive, None, None, **(LIGHT | QUEUE_ALL))


def _navigation(current: Page, services: Services) -> str:
    here = current.path if current.under is None else current.under
    pages = [page for page in PAGES if page.under is None]
    sign_out = LOGOUT if services.people.required else ""
    return render("ui/templates/navigation.html", pages=pages, here=here, sign_out=sign_out)
