"""Builds the app: one look, one navigation, a page a route; and serves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.pages import annotate, curate, ground
from app.services import Services
from app.settings import SettingsError

CSS = Path(__file__).with_name("style.css")
FONT = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace"]
MOST_WAITING = 64  # requests in the queue; more are told to come back
CACHE_SECONDS = (3600, 24 * 3600)  # every hour, what is a day old goes
CONTENT_POLICY = (  # the page may load nothing from elsewhere; Gradio's components need inline and eval
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)

FETCH_ROUTE = "/file=http"  # Gradio's file route would fetch any address for any visitor


@dataclass(frozen=True)
class Page:
    """A route. path: "" is the first page. build: lays it out inside the current Blocks."""

    title: str
    path: str
    build: Callable[[gr.Blocks, Services], None]


PAGES: tuple[Page, ...] = (
    Page(ground.TITLE, ground.PATH, ground.build),
    Page(annotate.TITLE, annotate.PATH, annotate.build),
    Page(curate.TITLE, curate.PATH, curate.build),
)


def build_app(services: Services) -> gr.Blocks:
    """All pages; nothing is loaded or opened yet."""
    app = gr.Blocks(title="GRAIN", analytics_enabled=False, fill_width=True, delete_cache=CACHE_SECONDS)
    with app:
        _frame(app, services, PAGES[0])
    for page in PAGES[1:]:
        with app.route(page.title, page.path):
            _frame(app, services, page)
    app.queue(max_size=MOST_WAITING)
    return app


def serve(app: gr.Blocks, services: Services) -> None:
    """Answer requests until interrupted. The default checkpoint is loaded while the first visitor reads.

    Raises: SettingsError: the address cannot be listened on.
    """
    settings = services.settings
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
        "app_kwargs": {"middleware": [Middleware(OnlyFromHere)]},
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
        gr.HTML(_navigation(page), js_on_load=None, apply_default_css=False, elem_id="navigation")
        with gr.Column(elem_id="page"):
            page.build(app, services)


def _navigation(current: Page) -> str:
    links = "".join(
        f'<a href="/{page.path}"{" aria-current=page" if page == current else ""}>{page.title}</a>' for page in PAGES
    )
    return f'<a class="brand" href="/">GRAIN</a><nav aria-label="Pages">{links}</nav>'
