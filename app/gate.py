"""The gate before the pages: who is asking, whether they may, and whether the request comes from our own pages.

Events are asked about once more, at the one door that all of them go through (Pages.process_api in app/main.py).
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.accounts import LOCAL_PERSON, PERSON_KEY, People, Person
from app.login import COOKIE, LoginPage
from app.rules import FILE, INSIDE, LOGIN, LOGOUT, MCP, UPLOAD, allows, route_rule
from app.settings import is_loopback

INSIDE_HEADER = "x-grain-inside"
INSIDE_KEY = "grain_inside"
INSIDER = Person("mcp", "viewer")
MOST_FILES = 100_000  # names kept; after that the oldest are forgotten, and their pages show a broken picture


class Files:
    """Which files in the cache each person sent or was shown. Nobody else reads them, however they know the path."""

    def __init__(self, *, most: int = MOST_FILES) -> None:
        """most: paths to remember."""
        self._most = most
        self._readers: OrderedDict[str, set[str]] = OrderedDict()
        self._turn = threading.Lock()

    def give(self, person: Person, paths: Iterable[str]) -> None:
        """Note that a person may read files."""
        with self._turn:
            for path in paths:
                self._readers.setdefault(path, set()).add(person.name)
                self._readers.move_to_end(path)
            while len(self._readers) > self._most:
                self._readers.popitem(last=False)

    def may_read(self, person: Person, path: str) -> bool:
        """Whether a person may; the path must be spelled as it was given."""
        with self._turn:
            return person.name in self._readers.get(path, ())


class Gate:
    """ASGI middleware. What it lets through carries the Person; see app.accounts.who."""

    def __init__(self, app: ASGIApp, people: People) -> None:
        """app: what is behind. people: who may sign in."""
        self.app = app
        self.people = people
        self._login = LoginPage(people)
        self._inside_key = secrets.token_urlsafe(32)
        self._turn = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; websockets are not spoken here."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        request = Request(scope, receive)
        refusal = self._foreign(request) or await self._own_page(request)
        if refusal is None:
            refusal = await self._admit(request)
        if refusal is not None:
            return await refusal(scope, receive, send)
        if scope["path"] == UPLOAD:
            send = _noting_uploads(scope[PERSON_KEY], scope["app"].get_blocks().files, send)
        await self.app(scope, receive, _keeping_private(send) if PERSON_KEY in scope else send)

    def _foreign(self, request: Request) -> Response | None:
        """Refuse what another site's page sends along, and names that another site points at this machine."""
        headers, host = request.headers, request.headers.get("host", "")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return _no(403, "This request comes from another site.")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not _is_navigation(request):
            return _no(403, "This request comes from another site.")
        if not self.people.required and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            return _no(403, "This app answers as localhost only. GRAIN_LOGIN=1 lets it answer to other names.")
        return None

    async def _own_page(self, request: Request) -> Response | None:
        path = request.scope["path"].rstrip("/")
        if path == LOGIN:
            return await self._login.answer(request)
        return await self._login.sign_out(request) if path == LOGOUT else None

    async def _admit(self, request: Request) -> Response | None:
        """None when the request may go on, with the Person in its scope."""
        rule, pattern = route_rule(request.scope["path"])
        if rule == "open":
            return None
        person = await self._person(request, pattern)
        if person is None:
            return _sign_in_first(request)
        if rule == "closed":
            return _no(404, "There is nothing here.")
        if not allows(person.role, rule):
            return _no(403, f"This needs the role {rule}; {person.name} has the role {person.role}.")
        path = request.scope["path"]
        if path.startswith(FILE) and not _may_read(request, person, path.removeprefix(FILE)):
            return _no(403, "This file is not yours, or is no longer there.")
        request.scope[PERSON_KEY] = person
        request.scope[INSIDE_KEY] = self._is_inside(request)
        if path.rstrip("/") == MCP:
            await run_in_threadpool(self._give_key_to_mcp, request.scope["app"])
        return None

    async def _person(self, request: Request, pattern: str) -> Person | None:
        if not self.people.required:
            return LOCAL_PERSON
        for token in _tokens(request):
            person = await run_in_threadpool(self.people.signed_in, token)
            if person is not None:
                return person
        return INSIDER if pattern in INSIDE and self._is_inside(request) else None

    def _is_inside(self, request: Request) -> bool:
        """Whether Gradio's MCP server sent it, on behalf of somebody who came through the gate."""
        return hmac.compare_digest(request.headers.get(INSIDE_HEADER, "").encode(), self._inside_key.encode())

    def _give_key_to_mcp(self, app: Any) -> None:
        with self._turn:
            app.get_blocks().open_mcp({INSIDE_HEADER: self._inside_key})


def _may_read(request: Request, person: Person, path: str) -> bool:
    pages = request.scope["app"].get_blocks()
    return pages.files.may_read(person, path) or path in pages.shown_files


def _keeping_private(send: Send) -> Send:
    """A proxy in between gives nobody what it fetched for somebody else."""

    async def say_so(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault("cache-control", "private, no-cache")
        await send(message)

    return say_so


def _noting_uploads(person: Person, files: Files, send: Send) -> Send:
    """What an upload answers is a list of paths, which are the person's from then on."""
    parts: list[bytes] = []

    async def note(message: Message) -> None:
        if message["type"] == "http.response.body":
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                files.give(person, _paths(b"".join(parts)))
        await send(message)

    return note


def _is_navigation(request: Request) -> bool:
    """A person follows a link from elsewhere: nothing is changed by it, and no other site reads the answer."""
    headers = request.headers
    harmless = request.method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
    return harmless and headers.get("sec-fetch-dest") == "document"


def _tokens(request: Request) -> list[str]:
    """The header's before the cookie's, which any page of this host would send along."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    found = [key.strip() if scheme.lower() == "bearer" else "", request.cookies.get(COOKIE, "")]
    return [token for token in found if token]


def _sign_in_first(request: Request) -> Response:
    if request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", ""):
        query = request.scope["query_string"].decode("latin-1")
        asked = request.scope["path"] + (f"?{query}" if query else "")
        return RedirectResponse(f"{LOGIN}?next={quote(asked)}", status_code=303)
    headers = {"www-authenticate": "Bearer", "cache-control": "no-store"}
    return JSONResponse({"detail": "Sign in first."}, status_code=401, headers=headers)


def _paths(body: bytes) -> list[str]:
    try:
        paths = json.loads(body)
    except ValueError:
        return []  # it was refused
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []


def _no(status: int, sentence: str) -> Response:
    return PlainTextResponse(sentence, status_code=status)
