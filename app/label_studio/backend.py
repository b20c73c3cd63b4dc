"""Serve our annotators as Label Studio's machine-learning backend, and receive its webhooks.

Mounted by app/label_studio/mount.py. Callers must show the secret. Only pictures that are in the database are
annotated, found by their content hash: no address or path from a task is ever opened. The body of /setup, which holds a
token, is not read.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from curation.files.records import PictureRecord
from curation.label_studio.access import BACKEND_USER, SECRET_HEADER, is_secret
from curation.label_studio.convert import OURS, template_of, to_prediction

MOST_BODY_BYTES = 8 * 2**20
MOST_TASKS = 100  # a request
Annotate = Callable[[str], PictureRecord | None]
"""Content hash -> the picture with the regions that the annotators find; None where it is not ours."""


def ml_backend(annotate: Annotate, *, secret: str, version: str, hint: Callable[[], None]) -> Starlette:
    """Build the ASGI app with /health, /setup, /predict, /versions and /webhook.

    Args: annotate: called in a thread. version: of the annotators. hint: something may have changed in Label Studio.
    """

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "UP", "model_class": "GRAIN"})

    async def setup(_: Request) -> Response:
        return JSONResponse({"model_version": version})

    async def versions(_: Request) -> Response:
        return JSONResponse({"versions": [version]})

    async def webhook(_: Request) -> Response:
        hint()
        return JSONResponse({"status": "ok"})

    async def predict(request: Request) -> Response:
        body = await _body(request)
        tasks = body.get("tasks") if isinstance(body, dict) else None
        if not isinstance(tasks, list) or len(tasks) > MOST_TASKS:
            return _refusal(422, f"Expected a list of at most {MOST_TASKS} tasks.")
        config = str(body.get("label_config") or "")
        try:
            predict_one = partial(_predict, annotate, config=config, version=version)
            results = [await run_in_threadpool(predict_one, task) for task in tasks]
        except ValueError as error:
            return _refusal(422, str(error))
        return JSONResponse({"results": results, "model_version": version})

    routes: list[tuple[str, Callable[[Request], Awaitable[Response]], str]] = [
        ("/health", health, "GET"),
        ("/setup", setup, "POST"),
        ("/versions", versions, "GET"),
    ]
    routes += [("/predict", predict, "POST"), ("/webhook", webhook, "POST")]
    return Starlette(routes=[Route(path, _guarded(act, secret), methods=[method]) for path, act, method in routes])


def _guarded(act: Callable[[Request], Awaitable[Response]], secret: str) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        if not is_secret(_secret_in(request), secret):
            return _refusal(401, "Every call must show the secret.")
        return await act(request)

    return guarded


def _secret_in(request: Request) -> str:
    """Return the secret that a caller shows: webhooks in a header of their own, predictions as a password."""
    if SECRET_HEADER in request.headers:
        return request.headers[SECRET_HEADER]
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:  # no base64, or no text
        return ""
    return password if scheme.lower() == "basic" and user == BACKEND_USER else ""


async def _body(request: Request) -> Any:
    """Read the JSON of a request; None where it is none, or too long."""
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > MOST_BODY_BYTES:
            return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _predict(annotate: Annotate, task: Any, *, config: str, version: str) -> dict[str, Any]:
    """Return one prediction; an empty one for a picture that is not ours."""
    try:
        sha256 = task["data"][OURS]["picture"]["sha256"]
    except (LookupError, TypeError):
        sha256 = None
    record = annotate(sha256) if isinstance(sha256, str) else None
    if record is None:
        return {"result": [], "score": 0.0, "model_version": version}
    return {"score": 0.0, **to_prediction(record, template=template_of(config)), "model_version": version}


def _refusal(status: int, sentence: str) -> Response:
    return JSONResponse({"detail": sentence}, status_code=status)
