"""A server on loopback that speaks the part of the Hugging Face hub's protocol which downloads use."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.support.loopback import listening

COMMIT = "c" * 40
LARGE = ".safetensors"  # kept as the hub keeps large files: named by their sha256


@dataclass
class FakeHub:
    """Serves folders as models. cut_after: bytes after which the next large file breaks off, once.

    requests: `METHOD path`, in order.
    """

    models: dict[str, Path]
    licence: str = "apache-2.0"
    cut_after: int | None = None
    url: str = ""
    requests: list[str] = field(default_factory=list)

    def info(self, model: str, commit: str = COMMIT) -> dict[str, Any]:
        """What the hub says of a model at a commit."""
        files = sorted(self.models[model].iterdir())
        return {
            "id": model,
            "sha": commit,
            "cardData": {"license": self.licence},
            "siblings": [{"rfilename": file.name, "size": file.stat().st_size} for file in files],
        }

    def tree(self, model: str) -> list[dict[str, Any]]:
        """The files of a model."""
        files = sorted(self.models[model].iterdir())
        return [{"type": "file", "path": each.name, "size": each.stat().st_size, "oid": _etag(each)} for each in files]


def _etag(file: Path) -> str:
    digest = hashlib.sha256 if file.suffix == LARGE else hashlib.sha1
    return digest(file.read_bytes()).hexdigest()


@contextmanager
def serve_hub(models: dict[str, Path]) -> Iterator[FakeHub]:
    """Serve folders as the models of a hub. models: owner/name -> folder."""
    hub = FakeHub(models)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = unquote(self.path.split("?")[0])
            hub.requests.append(f"{self.command} {path}")
            model = next((each for each in hub.models if f"/{each}/" in f"{path}/"), None)
            if model is None:
                return self.send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"}, body=body)
            named = re.search(r"/([0-9a-f]{40})(/|$)", path)
            commit = named[1] if named else COMMIT  # a branch or a tag is at this one
            if path.startswith(f"/api/models/{model}/tree/"):
                return self.send(200, json.dumps(hub.tree(model)).encode(), {}, body=body)
            if path.startswith("/api/models/"):
                return self.send(200, json.dumps(hub.info(model, commit)).encode(), {}, body=body)
            file = hub.models[model] / Path(path).name
            if not file.is_file():
                return self.send(404, b"", {"X-Error-Code": "EntryNotFound"}, body=body)
            return self.send_file(file, commit, body=body)

        def send_file(self, file: Path, commit: str, *, body: bool) -> None:
            content, start = file.read_bytes(), 0
            if asked := self.headers.get("Range"):
                start = int(asked.removeprefix("bytes=").split("-")[0])
            headers = {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": commit}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            if body and file.suffix == LARGE and hub.cut_after is not None:
                cut, hub.cut_after = hub.cut_after, None
                self.send_response(200)
                self.send_headers({**headers, "Content-Length": str(len(content))})
                self.wfile.write(content[:cut])
                self.close_connection = True
                return
            self.send(206 if start else 200, content[start:], headers, body=body)

        def send(self, code: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
            self.send_response(code)
            self.send_headers({**headers, "Content-Length": str(len(content))})
            if body:
                self.wfile.write(content)

        def send_headers(self, headers: dict[str, str]) -> None:
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with listening(Handler) as hub.url:
        yield hub
