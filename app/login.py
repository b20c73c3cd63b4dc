"""The page to sign in on, and signing out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from urllib.parse import parse_qs

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from app.accounts import SESSION_LASTS, People
from app.rules import LOGIN, LOGOUT

COOKIE = "grain_session"
MOST_FORM_BYTES = 16 * 1024
TRIES_LAST = timedelta(minutes=5)
TRIES_OF_A_NAME = 5
"""Wrong passwords for one name from one address; more are told to wait."""
TRIES_OF_AN_ADDRESS = 30
"""Wrong passwords for all names from one address."""
TRIES_AT_A_NAME = 100
"""Wrong passwords for one name from everywhere."""
MOST_COUNTED = 10_000
WRONG = "Name and password do not belong together."
WAIT = "Too many tries. Wait five minutes and try again."
STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8").split("/* ---")[0]
STYLE = STYLE.replace(".dark {", "@media (prefers-color-scheme: dark) { :root {") + "}"  # the palette, without scripts
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>GRAIN</title>
<style>{style}
body {{ background: var(--paper); color: var(--ink); margin: 0; min-height: 100vh; display: grid; place-content: center;
  font: 15px ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }}
form {{ background: var(--card); border: 1px solid var(--line); border-radius: 16px; padding: 28px 28px 30px;
  display: grid; gap: 14px; width: min(300px, 80vw); }}
.brand {{ font-weight: 700; letter-spacing: 0.14em; margin: 0 0 6px; font-size: 16px; }}
label {{ display: grid; gap: 5px; font-size: 13px; font-weight: 500; color: var(--soft); }}
input {{ font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 10px 12px; }}
button {{ font: inherit; font-weight: 600; min-height: 44px; border: 0; border-radius: 12px; background: var(--ink);
  color: var(--paper); cursor: pointer; }}
button:hover {{ background: var(--grain); }}
:focus-visible {{ outline: 2px solid var(--focus); outline-offset: 2px; }}
p {{ margin: 0; line-height: 1.45; }}
.notice {{ background: var(--alarm-tint); color: var(--alarm); border-radius: 10px; padding: 9px 12px;
  font-size: 13.5px; }}
</style></head><body><main><form method="post" action="{action}"><h1 class="brand">GRAIN</h1>
{fields}</form></main></body></html>"""
LOGIN_FIELDS = """{notice}<input type="hidden" name="next" value="{next}">
<label>name <input name="username" autocomplete="username" autocapitalize="none" required autofocus></label>
<label>password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button>"""
LOGOUT_FIELDS = "<p>Leave GRAIN on this browser?</p><button>Sign out</button>"


class Tries:
    """Wrong passwords, counted for a while and in memory."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """clock: what time it is."""
        self._clock = clock
        self._made: dict[tuple[str, str], list[datetime]] = {}
        self._turn = threading.Lock()

    def begin(self, name: str, address: str) -> bool:
        """Count a try before it is made, so that many at once are counted too. False: it must wait."""
        keys = _counted(name, address)
        with self._turn:
            bounds = zip(keys, (TRIES_OF_A_NAME, TRIES_OF_AN_ADDRESS, TRIES_AT_A_NAME), strict=True)
            if any(len(self._recent(key)) >= most for key, most in bounds):
                return False
            if len(self._made) > MOST_COUNTED:
                self._made = {key: recent for key in self._made if (recent := self._recent(key))}
            for key in keys:
                self._made[key] = [*self._recent(key), self._clock()]
        return True

    def succeeded(self, name: str, address: str) -> None:
        """The person knows the password: the try does not count, and slips from there are forgotten."""
        own, *others = _counted(name, address)
        with self._turn:
            self._made.pop(own, None)
            for key in others:
                self._made[key] = self._made.get(key, [])[:-1]

    def _recent(self, key: tuple[str, str]) -> list[datetime]:
        return [moment for moment in self._made.get(key, []) if self._clock() - moment < TRIES_LAST]


def _counted(name: str, address: str) -> tuple[tuple[str, str], tuple[str, str], tuple[str, str]]:
    return (name, address), ("", address), (name, "")


class LoginPage:
    """A form for people; gradio_client's auth=(name, password) sends the same form and reads JSON."""

    def __init__(self, people: People) -> None:
        """people: who may sign in."""
        self.people = people
        self.tries = Tries(people.clock)
        self._at_once = CapacityLimiter(2)  # a password takes 64 MiB and a moment; others wait here, not in a thread

    async def answer(self, request: Request) -> Response:
        """GET: the form. POST: a session, or a sentence why not."""
        if not self.people.required:
            return RedirectResponse("/", status_code=303)
        if request.method in ("GET", "HEAD"):
            return _page(_form("", request.query_params.get("next", "/")), 200)
        if request.method != "POST":
            return _page(_form("", "/"), 405)
        fields = await _fields(request)
        if fields is None:
            return _page(_form(WRONG, "/"), 413)
        name, wanted = fields.get("username", "").strip(), fields.get("next", "/")
        address = request.client.host if request.client else ""
        if not self.tries.begin(name, address):
            return _refused(request, WAIT, 429, wanted)
        token = await run_sync(self.people.sign_in, name, fields.get("password", ""), limiter=self._at_once)
        if token is None:
            return _refused(request, WRONG, 401, wanted)
        self.tries.succeeded(name, address)
        return _signed_in(request, token, wanted)

    async def sign_out(self, request: Request) -> Response:
        """GET: asks. POST: ends the session, here and in the database."""
        if not self.people.required:
            return RedirectResponse("/", status_code=303)
        if request.method != "POST":
            return _page(PAGE.format(style=STYLE, action=LOGOUT, fields=LOGOUT_FIELDS), 200)
        if token := request.cookies.get(COOKIE):
            await run_in_threadpool(self.people.sign_out, token)
        response = RedirectResponse(LOGIN, status_code=303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax", secure=_secure(request))
        return response


async def _fields(request: Request) -> dict[str, str] | None:
    """The first value of each field; None when the form is too large to be one of ours."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_FORM_BYTES:
            return None
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace"), max_num_fields=16).items()}


def _signed_in(request: Request, token: str, wanted: str) -> Response:
    response: Response = JSONResponse({"success": True})
    if _is_browser(request):
        response = RedirectResponse(own_path(wanted), status_code=303)
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(SESSION_LASTS.total_seconds()),
        httponly=True,
        samesite="lax",  # a link from elsewhere may open a page; forms and scripts of elsewhere stay strangers
        secure=_secure(request),
    )
    response.headers["cache-control"] = "no-store"
    return response


def _refused(request: Request, sentence: str, status: int, wanted: str) -> Response:
    response: Response = JSONResponse({"detail": sentence}, status_code=status)
    if _is_browser(request):
        response = _page(_form(sentence, wanted), status)
    if status == 429:
        response.headers["retry-after"] = str(int(TRIES_LAST.total_seconds()))
    return response


def own_path(wanted: str) -> str:
    """Where to go after signing in: a page of this app, never another site."""
    plain = wanted.isprintable() and "\\" not in wanted
    return wanted if plain and wanted.startswith("/") and not wanted.startswith("//") else "/"


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _secure(request: Request) -> bool:
    return bool(request.scope["scheme"] == "https")


def _form(sentence: str, wanted: str) -> str:
    notice = f'<p class="notice" role="alert">{escape(sentence)}</p>' if sentence else ""
    fields = LOGIN_FIELDS.format(notice=notice, next=escape(own_path(wanted), quote=True))
    return PAGE.format(style=STYLE, action=LOGIN, fields=fields)


def _page(html: str, status: int) -> Response:
    # same-origin: without any referrer browsers would send the form with the origin "null"
    return HTMLResponse(
        html, status_code=status, headers={"cache-control": "no-store", "referrer-policy": "same-origin"}
    )
