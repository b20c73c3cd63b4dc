"""Keep which person each of Gradio's sessions and events belongs to, and find what a request names of them."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from app.access.accounts import Person
from app.access.rules import GRADIO

MOST_NAMES = 100_000  # of sessions and events; after that the oldest are forgotten
CALL = f"{GRADIO}/call/"
EDITOR = "/curate/"
BODIES = (
    *(f"{GRADIO}/queue/join", f"{GRADIO}/cancel", f"{GRADIO}/reset", f"{GRADIO}/run/", f"{GRADIO}/api/", CALL),
    EDITOR,
)
"""Paths whose requests have a JSON object as their body; Gradio's name a session or an event in it."""
STARTS = (f"{GRADIO}/queue/join", CALL)
"""Paths whose answer names the event that was started."""


class SessionOwners:
    """Sessions and events by name: the first person to name one owns it, and nobody else may use it."""

    def __init__(self, *, most: int = MOST_NAMES) -> None:
        """most: names to remember."""
        self._most = most
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._turn = threading.Lock()

    def claim(self, person: Person, name: str) -> bool:
        """Make a name the person's unless it is somebody else's, and return whether it is the person's."""
        with self._turn:
            owner = self._owners.setdefault(name, person.name)
            self._owners.move_to_end(name)
            while len(self._owners) > self._most:
                self._owners.popitem(last=False)
            return owner == person.name


def named_by(request: Request, fields: Mapping[str, Any]) -> list[str]:
    """Return the sessions and events that a request names, in its path, its query and its body."""
    path = request.scope["path"].rstrip("/")
    names: list[Any] = [request.query_params.get("session_hash")]
    if path.startswith(f"{GRADIO}/heartbeat/"):
        names.append(path.rpartition("/")[2])
    if request.method == "GET" and path.startswith(CALL):
        names.append(path.rpartition("/")[2])
    names += [fields.get("session_hash"), fields.get("event_id")]
    return [name for name in names if isinstance(name, str) and name]


def editing_as(request: Request, fields: Mapping[str, Any]) -> str:
    """Return the person for whom Curate's editor was opened, as its requests say; "" for other requests.

    Somebody else may have signed in since, in another tab: what the editor still holds must not be sent in that name.
    """
    return str(fields.get("person") or "") if request.scope["path"].startswith(EDITOR) else ""


def started_event(answer: bytes) -> str:
    """Return the event that an answer names; "" if nothing was started."""
    try:
        return str(read_object(answer).get("event_id") or "")
    except ValueError:
        return ""


def read_object(text: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises: ValueError: it is none.
    """
    try:
        fields = json.loads(text)
    except RecursionError as error:
        raise ValueError("expected an object, got brackets without end") from error
    if not isinstance(fields, dict):
        raise ValueError("expected an object")
    return fields
