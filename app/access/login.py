"""Serve the sign-in page, and sign people out."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from app.access.accounts import SESSION_LASTS, People
from app.access.rules import LOGIN, LOGOUT
from app.core.templates import palette, render

COOKIE, DEVICE_COOKIE = "grain_session", "grain_device"
DEVICE_LASTS = timedelta(days=365)
MOST_FORM_BYTES, MOST_FIELDS = 16 * 1024, 16
TRIES_LAST = timedelta(minutes=5)
TRIES_OF_A_NAME = 5
"""Wrong passwords for one name from one address, or from one known browser; more are told to wait."""
TRIES_OF_AN_ADDRESS = 30
"""Wrong passwords for all names from one address; after that each name has a single try from there."""
TRIES_AT_A_NAME = 100
"""Wrong passwords for one name from everywhere."""
MOST_COUNTED = 10_000
WRONG = "Name and password do not belong together."
WAIT = "Too many tries. Wait five minutes and try again."


class LoginAttempts:
    """Wrong passwords, counted for a while and in memory.

    Nobody locks out the others behind an address, nor a person out of a browser in which that person signed in before
    (OWASP's device cookies): such a browser has a count of its own.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """clock: what time it is."""
        self._clock = clock
        self._made: dict[tuple[str, str], list[datetime]] = {}
        self._turn = threading.Lock()
        self._key = secrets.token_bytes(32)

    def device_cookie(self, name: str) -> str:
        """Return what marks a browser in which a person has signed in."""
        return self._signed(name, secrets.token_urlsafe(16))

    def begin(self, name: str, address: str, device: str = "") -> bool:
        """Count an attempt before it is made, so that concurrent ones count too. False: it must wait.

        device: the browser's cookie; "" if it has none.
        """
        with self._turn:
            if len(self._made) > MOST_COUNTED:
                self._made = {key: recent for key in self._made if (recent := self._recent(key))}
            keys = _counted(name, address)
            if self._knows(device, name) and len(self._recent(("device", device))) < TRIES_OF_A_NAME:
                keys = (("device", device),)
            else:
                pair, everyone, anywhere = (len(self._recent(key)) for key in keys)
                of_a_name = TRIES_OF_A_NAME if everyone < TRIES_OF_AN_ADDRESS else 1
                if pair >= of_a_name or anywhere >= TRIES_AT_A_NAME:
                    return False
            for key in keys:
                self._made[key] = [*self._recent(key), self._clock()]
        return True

    def succeeded(self, name: str, address: str, device: str = "") -> None:
        """Forget the failed attempts from there: the person knows the password."""
        own, *others = _counted(name, address)
        with self._turn:
            if self._made.pop(("device", device), None) is None:
                for key in others:
                    self._made[key] = self._made.get(key, [])[:-1]
            self._made.pop(own, None)

    def _knows(self, device: str, name: str) -> bool:
        return hmac.compare_digest(device.encode(), self._signed(name, device.partition(".")[0]).encode())

    def _signed(self, name: str, number: str) -> str:
        return f"{number}.{hmac.digest(self._key, f'{number}/{name}'.encode(), 'sha256').hex()}"

    def _recent(self, key: tuple[str, str]) -> list[datetime]:
        return [moment for moment in self._made.get(key, []) if self._clock() - moment < TRIES_LAST]


def _counted(name: str, address: str) -> tuple[tuple[str, str], ...]:
    return ("pair", f"{name}\n{address}"), ("address", address), ("name", name)


class LoginPage:
    """A form for people; gradio_client's auth=(name, password) sends the same form and reads JSON."""

    def __init__(self, people: People) -> None:
        """people: who may sign in."""
        self.people = people
        self.tries = LoginAttempts(people.clock)
        self._at_once = CapacityLimiter(2)  # a password takes 64 MiB and a moment; others wait here, not in a thread

    async def answer(self, request: Request) -> Response:
        """Answer GET with the form, and POST with a session or a sentence why not."""
        if not self.people.required:
            return RedirectResponse("/", status_code=303)
        if request.method in ("GET", "HEAD"):
            return _page(sign_in_page("", request.query_params.get("next", "/")), 200)
        if request.method != "POST":
            return _page(sign_in_page("", "/"), 405)
        fields = await _fields(request)
        if fields is None:
            return _page(sign_in_page(WRONG, "/"), 413)
        name, wanted = fields.get("username", "").strip(), fields.get("next", "/")
        address = request.client.host if request.client else ""
        device = request.cookies.get(DEVICE_COOKIE, "")
        if not self.tries.begin(name, address, device):
            return _refused(request, WAIT, status=429, wanted=wanted)
        token = await run_sync(self.people.sign_in, name, fields.get("password", ""), limiter=self._at_once)
        if token is None:
            return _refused(request, WRONG, status=401, wanted=wanted)
        self.tries.succeeded(name, address, device)
        response = _signed_in(request, token, wanted)
        _keep(request, response, DEVICE_COOKIE, value=self.tries.device_cookie(name), lasts=DEVICE_LASTS)
        return response

    async def sign_out(self, request: Request) -> Response:
        """Answer GET with a question; end the session on POST, here and in the database."""
        if not self.people.required:
            return RedirectResponse("/", status_code=303)
        if request.method != "POST":
            return _page(sign_out_page(), 200)
        if token := request.cookies.get(COOKIE):
            await run_in_threadpool(self.people.sign_out, token)
        response = RedirectResponse(LOGIN, status_code=303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax", secure=_secure(request))
        return response


async def _fields(request: Request) -> dict[str, str] | None:
    """Return the first value of each form field; None if the form is too large, or has too many, to be ours."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_FORM_BYTES:
            return None
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=MOST_FIELDS)
    except ValueError:
        return None
    return {name: values[0] for name, values in fields.items()}


def _signed_in(request: Request, token: str, wanted: str) -> Response:
    response: Response = JSONResponse({"success": True})
    if _is_browser(request):
        response = RedirectResponse(own_path(wanted), status_code=303)
    _keep(request, response, COOKIE, value=token, lasts=SESSION_LASTS)
    response.headers["cache-control"] = "no-store"
    return response


def _keep(request: Request, response: Response, name: str, *, value: str, lasts: timedelta) -> None:
    response.set_cookie(
        name,
        value,
        max_age=int(lasts.total_seconds()),
        httponly=True,
        samesite="lax",  # a link from elsewhere may open a page; forms and scripts of elsewhere stay strangers
        secure=_secure(request),
    )


def _refused(request: Request, sentence: str, *, status: int, wanted: str) -> Response:
    response: Response = JSONResponse({"detail": sentence}, status_code=status)
    if _is_browser(request):
        response = _page(sign_in_page(sentence, wanted), status)
    if status == 429:
        response.headers["retry-after"] = str(int(TRIES_LAST.total_seconds()))
    return response


def own_path(wanted: str) -> str:
    """Return where to go after signing in: a page of this app, never another site."""
    plain = wanted.isprintable() and "\\" not in wanted
    return wanted if plain and wanted.startswith("/") and not wanted.startswith("//") else "/"


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _secure(request: Request) -> bool:
    return bool(request.scope["scheme"] == "https")


def sign_in_page(sentence: str, wanted: str) -> str:
    """Render the form. sentence: why it comes again, "" for none. wanted: where to go after it."""
    return _render(action=LOGIN, sentence=sentence, next=own_path(wanted), leaving=False)


def sign_out_page() -> str:
    """Render the question whether to sign out."""
    return _render(action=LOGOUT, sentence="", next="", leaving=True)


def _render(**values: Any) -> str:
    return render("access/templates/sign_in.html", palette=palette(), **values)


def _page(html: str, status: int) -> Response:
    # same-origin: without any referrer browsers would send the form with the origin "null"
    return HTMLResponse(
        html, status_code=status, headers={"cache-control": "no-store", "referrer-policy": "same-origin"}
    )
