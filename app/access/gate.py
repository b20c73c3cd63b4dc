"""Check every request before the pages: who sends it, whether they may, and from which site it comes.

Events are asked about once more, at the one door that all of them go through (Pages.process_api in app/main.py).
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.accounts import LOCAL_PERSON, PERSON_KEY, People, Person
from app.access.login import COOKIE, LoginPage
from app.access.rules import FILE, GRADIO, INSIDE, LOGIN, LOGOUT, MCP, UPLOAD, allows, route_rule
from app.access.sessions import BODIES, STARTS, SessionOwners, editing_as, named_by, read_object, started_event
from app.core.settings import is_loopback

INSIDE_HEADER = "x-grain-inside"
INSIDE_KEY = "grain_inside"
INSIDER = Person("\nmcp", "viewer")  # a name that no account can have: files are given to names
MOST_BODY_BYTES = 16 * 2**20  # of a call; pictures are uploaded, which has a limit of its own
OTHERS_PAGE = "Expected a request of your own page, got somebody else's: reload it, or sign in as that person."
MOST_FILES = 100_000  # names kept; after that the oldest are forgotten, and their pages show a broken picture


class Files:
    """The files in the cache that each person sent or was shown. Nobody else reads them, however they know the path."""

    def __init__(self, *, most: int = MOST_FILES) -> None:
        """most: paths to remember."""
        self._most = most
        self._readers: OrderedDict[str, set[str]] = OrderedDict()
        self._turn = threading.Lock()

    def give(self, person: Person, paths: Iterable[str]) -> None:
        """Record that a person may read some files."""
        with self._turn:
            for path in paths:
                self._readers.setdefault(path, set()).add(person.name)
                self._readers.move_to_end(path)
            while len(self._readers) > self._most:
                self._readers.popitem(last=False)

    def may_read(self, person: Person, path: str) -> bool:
        """Return whether a person may read a file; the path must be spelled as it was given."""
        with self._turn:
            return person.name in self._readers.get(path, ())


class Gate:
    """ASGI middleware. What it lets through carries the Person; see app.access.accounts.person_of."""

    def __init__(self, app: ASGIApp, people: People) -> None:
        """app: what is behind. people: who may sign in."""
        self.app = app
        self.people = people
        self._login = LoginPage(people)
        self._owners = SessionOwners()
        self._inside_key = secrets.token_urlsafe(32)
        self._turn = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; websockets are not supported."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        refusal = self._foreign(request) or await self._own_page(request)
        if refusal is None:
            refusal = await self._admit(request)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        person: Person | None = scope.get(PERSON_KEY)
        if person is not None and not scope[INSIDE_KEY]:
            refusal, receive = await self._check_ownership(request, person)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
            if scope["path"].startswith(STARTS) and request.method == "POST":
                send = _tee(send, lambda answer: self._owners.claim(person, started_event(answer)))
        if person is not None and scope["path"] == UPLOAD:
            files: Files = scope["app"].get_blocks().files
            send = _tee(send, lambda answer: files.give(person, _paths(answer)))
        await self.app(scope, receive, _keeping_private(send) if PERSON_KEY in scope else send)

    def _foreign(self, request: Request) -> Response | None:
        """Refuse requests of other sites' pages, and host names that another site points at this machine."""
        headers, host = request.headers, request.headers.get("host", "")
        origin = headers.get("origin")
        if origin is not None and _host_and_port(origin) != host.lower():
            return _no(403, "This request comes from another site.")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not _is_navigation(request):
            return _no(403, "This request comes from another site.")
        if not self.people.required and not is_loopback(_host_name(host)):
            return _no(403, "This app answers as localhost only. GRAIN_LOGIN=1 lets it answer to other names.")
        return None

    async def _check_ownership(self, request: Request, person: Person) -> tuple[Response | None, Receive]:
        """Refuse what another's page, session or event sends, or would be one too many to wait; give the body back."""
        body, receive, no = b"", request.receive, partial(_no, in_json=request.scope["path"].startswith(GRADIO))
        if request.method == "POST" and request.scope["path"].startswith(BODIES):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BODY_BYTES:
                    return no(413, f"Expected at most {MOST_BODY_BYTES:,} bytes: send pictures as files."), receive
            receive = _replay(body, receive)
        try:
            fields = read_object(body) if body else {}
        except ValueError:
            return no(422, "Expected a JSON object."), receive
        if editing_as(request, fields) not in ("", person.name):  # first: nothing of it may count as this person's
            return no(403, OTHERS_PAGE), receive
        if not all(self._owners.claim(person, name) for name in named_by(request, fields)):
            return no(403, OTHERS_PAGE), receive
        if body and self.people.required and request.scope["path"].startswith(STARTS):
            waiting = request.scope["app"].get_blocks().too_many_waiting(person, request.scope["path"], fields)
            if waiting:
                return no(429, f"You have {waiting} requests waiting: wait until one is answered."), receive
        return None, receive

    async def _own_page(self, request: Request) -> Response | None:
        path = request.scope["path"].rstrip("/")
        if path == LOGIN:
            return await self._login.answer(request)
        return await self._login.sign_out(request) if path == LOGOUT else None

    async def _admit(self, request: Request) -> Response | None:
        """Return None when the request may pass, with the Person in its scope; else the refusal."""
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
        """Return whether Gradio's MCP server sent it, on behalf of somebody who passed the gate."""
        return hmac.compare_digest(request.headers.get(INSIDE_HEADER, "").encode(), self._inside_key.encode())

    def _give_key_to_mcp(self, app: Any) -> None:
        with self._turn:
            app.get_blocks().open_mcp({INSIDE_HEADER: self._inside_key})


def _may_read(request: Request, person: Person, path: str) -> bool:
    pages = request.scope["app"].get_blocks()
    return pages.files.may_read(person, path) or path in pages.shown_files


def _keeping_private(send: Send) -> Send:
    """Forbid shared caches to keep a person's responses."""

    async def say_so(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault("cache-control", "private, no-cache")
        await send(message)

    return say_so


def _tee(send: Send, note: Callable[[bytes], object]) -> Send:
    """Give the whole body of a response to note, besides sending it."""
    parts: list[bytes] = []

    async def send_and_note(message: Message) -> None:
        if message["type"] == "http.response.body":
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                note(b"".join(parts))
        await send(message)

    return send_and_note


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read already, then whatever else comes."""
    left = [body]

    async def receive_again() -> Message:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return receive_again


def _host_and_port(address: str) -> str | None:
    try:
        return urlsplit(address).netloc.lower()
    except ValueError:  # as of "http://["
        return None


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_navigation(request: Request) -> bool:
    """Return whether a person follows a link from elsewhere, which changes nothing and no other site reads."""
    headers = request.headers
    harmless = request.method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
    return harmless and headers.get("sec-fetch-dest") == "document"


def _tokens(request: Request) -> list[str]:
    """Return a request's tokens: the header's before the cookie's, which any page of this host sends along."""
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


def _no(status: int, sentence: str, *, in_json: bool = False) -> Response:
    """Refuse a request. in_json: as Gradio's page and clients read it; they cannot show plain text."""
    if in_json:
        return JSONResponse({"detail": sentence}, status_code=status)
    return PlainTextResponse(sentence, status_code=status)
