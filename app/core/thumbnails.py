"""Serve pictures' thumbnails at addresses that browsers keep.

What a component shows, Gradio copies at every event of the page: fifty thumbnails written into it make that slow.
"""

from __future__ import annotations

import re
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from curation.ingest.ingest import thumbnail_path
from db.models import Image

PLACE = "/thumbnails/"
CONTENT = re.compile("[0-9a-f]{64}")
KEPT = "private, max-age=86400, immutable"  # by browsers that may see it: an address has one content for ever


def thumbnail_address(home: Path, sha256: str) -> str:
    """Return where a page finds a picture's thumbnail; "" where it has none."""
    return f"{PLACE}{sha256}" if thumbnail_path(home, sha256).is_file() else ""


def picture_name(image: Image) -> str:
    """Return what a picture is called where it is seen: the name of its file."""
    return Path(image.member or image.location).name


def thumbnail_route(home: Path) -> Route:
    """Return the route: the JPEG, or 404. Who may ask is app/access/rules.py's."""

    def read(sha256: str) -> bytes | None:
        file = thumbnail_path(home, sha256)
        return file.read_bytes() if CONTENT.fullmatch(sha256) and file.is_file() else None

    async def answer(request: Request) -> Response:
        # in one go: a page asks for fifty, and FileResponse goes to a thread five times for each
        jpeg = await run_in_threadpool(read, request.path_params["sha256"])
        if jpeg is None:
            return PlainTextResponse("There is no such thumbnail.", status_code=404)
        return Response(jpeg, media_type="image/jpeg", headers={"cache-control": KEPT})

    return Route(f"{PLACE}{{sha256}}", answer, methods=["GET"])
