"""A server on loopback that speaks the Hugging Face hub's protocol for uploads: repositories, commits, large files."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.loopback import listening

LARGE = (".safetensors",)  # uploaded apart from the commit, by their sha256


@dataclass
class Hub:
    """What arrived. repositories: as asked for. files: of the last commit. tokens: that came with the requests."""

    address: str = ""
    repositories: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        """Do what one request asks for."""
        if path == "/api/repos/create":
            self.repositories.append(json.loads(body))
            return {"url": f"{self.address}/{self.repositories[-1]['organization']}/{self.repositories[-1]['name']}"}
        if "/preupload/" in path:
            modes = {True: "lfs", False: "regular"}
            names = [one["path"] for one in json.loads(body)["files"]]
            files = [{"path": n, "uploadMode": modes[n.endswith(LARGE)], "shouldIgnore": False} for n in names]
            return {"files": files}
        if path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            put = [one | {"actions": {"upload": {"href": f"{self.address}/large/{one['oid']}"}}} for one in wanted]
            return {"transfer": "basic", "objects": put}
        if path.startswith("/large/") and method == "PUT":
            assert hashlib.sha256(body).hexdigest() == path.removeprefix("/large/")
            self.large[path.removeprefix("/large/")] = body
            return {}
        if "/commit/" in path:
            for row in map(json.loads, body.splitlines()):
                value = row["value"]
                if row["key"] == "file":
                    self.files[value["path"]] = base64.b64decode(value["content"])
                elif row["key"] == "lfsFile":
                    self.files[value["path"]] = self.large[value["oid"]]
            repository = path.removeprefix("/api/models/").partition("/commit/")[0]
            made = "1" * 40
            return {"commitUrl": f"{self.address}/{repository}/commit/{made}", "commitOid": made, "success": True}
        return {}


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that listens while it is used."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def reply(self) -> None:
            hub.tokens.add(self.headers.get("Authorization", ""))
            body = self._body()
            said = json.dumps(hub.answer(self.command, self.path.partition("?")[0], body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_POST = do_PUT = reply

    with listening(Handler) as hub.address:
        yield hub
