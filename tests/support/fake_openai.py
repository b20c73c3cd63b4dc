"""A server on loopback that speaks OpenAI's chat schema as vLLM does: it counts, waits and fails as it is told."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from PIL import Image

from tests.support.loopback import listening

PATIENCE_MS = 60  # seconds that a request waits for company before it gives up
COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "yellow": (230, 220, 20)}


@dataclass
class FakeServer:
    """Answers each picture with its colour. All fields may be set before a request.

    failures: status codes, or "cut", "odd", "slow", "endless", "hang up", taken one a request until they are used up.
    always: colour -> the same, every time. together: requests are held back until so many have been there at once.
    logprobs: of a request that asks for them, token -> the logarithm of its probability.
    headers: names in lower case.
    """

    failures: list[int | str] = field(default_factory=list)
    always: dict[str, int | str] = field(default_factory=dict)
    answer: str = "- a {colour} lid\n- a {colour} star"
    stage1: str = "A {colour} thing in the middle."
    caption: str = "A {colour} thing on a table."
    finish: str = "stop"
    logprobs: dict[str, float] | None = None
    together: int = 1
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""
    _inside: int = 0
    _gate: threading.Condition = field(default_factory=threading.Condition)
    _release: threading.Event = field(default_factory=threading.Event)

    def arrive(self, body: dict[str, Any], headers: dict[str, str]) -> int | str:
        """Note a request and say what to do with it."""
        with self._gate:
            self.requests.append(body)
            self.headers.append(headers)
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
            self._gate.notify_all()
            assert self._gate.wait_for(lambda: self.most_at_once >= self.together, PATIENCE_MS)
            return self.failures.pop(0) if self.failures else self.always.get(colour_of(body), 200)

    def leave(self) -> None:
        """The request is answered."""
        with self._gate:
            self._inside -= 1

    def hang(self) -> None:
        """Answer nothing until the server is closed."""
        self._release.wait(PATIENCE_MS)

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        """What vLLM sends."""
        asked = body["messages"][-1]["content"][-1]["text"]
        first = len(body["messages"]) == 1
        words = self.answer
        if asked.startswith("What is the primary visual subject"):
            words = self.stage1
        elif asked.startswith("Describe the whole picture"):
            words = self.caption
        text = words.replace("{colour}", colour_of(body))
        tops = [{"token": token, "logprob": value} for token, value in (self.logprobs or {}).items()]
        told = {"logprobs": {"content": [{"top_logprobs": tops}]}} if self.logprobs and body.get("logprobs") else {}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [
                {"index": 0, "finish_reason": self.finish, "message": {"role": "assistant", "content": text}, **told}
            ],
            "usage": {
                "prompt_tokens": 1000 if first else 1100,
                "completion_tokens": 7,
                "total_tokens": 1107,
                "prompt_tokens_details": {"cached_tokens": 0 if first else 1000},
            },
        }


def pictures_of(body: dict[str, Any]) -> list[str]:
    """The addresses of all pictures in a request."""
    parts = [
        part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def colour_of(body: dict[str, Any]) -> str:
    """The name of the colour nearest to the picture's; "plain" where there is no picture."""
    if not pictures_of(body):
        return "plain"
    head, _, data = pictures_of(body)[0].partition(",")
    assert head == "data:image/jpeg;base64"
    pixel = Image.open(io.BytesIO(base64.b64decode(data))).resize((1, 1)).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return min(COLOURS, key=lambda name: sum(abs(a - b) for a, b in zip(COLOURS[name], pixel, strict=True)))


@contextmanager
def fake_openai(kind: type[FakeServer] = FakeServer, **settings: Any) -> Iterator[FakeServer]:
    """A FakeServer that listens, or one of its kind."""
    fake = kind(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            todo = fake.arrive(body, {name.lower(): value for name, value in self.headers.items()})
            try:
                self.reply(todo, body)
            finally:
                fake.leave()

        def reply(self, todo: int | str, body: dict[str, Any]) -> None:
            if todo in ("slow", "hang up"):
                if todo == "slow":
                    fake.hang()
                self.close_connection = True
                return
            if todo == "endless":
                self.send_response(200)
                self.end_headers()
                self.close_connection = True
                with contextlib.suppress(OSError):  # until the other side has had enough
                    while not fake._release.is_set():
                        self.wfile.write(b" " * 65536)
                return
            answer = json.dumps(fake.completion(body)).encode()
            if todo == "cut":
                answer = answer[: len(answer) // 2]
            elif todo == "odd":
                answer = b'{"choices": null}'
            elif isinstance(todo, int) and todo != 200:
                answer = json.dumps({"error": {"message": f"no, said for {self.path}", "code": todo}}).encode()
            self.send_response(todo if isinstance(todo, int) else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with listening(Handler) as address:
        fake.url = f"{address}/v1"
        try:
            yield fake
        finally:
            fake._release.set()
