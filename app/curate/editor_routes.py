"""Serve the editor's script over HTTP: JSON at /curate/acts, /views, /suggestions and /rest, and pictures.

These are no events of Gradio: at each event its page copies what its components hold, which a hand feels at every key.
For the same reason pictures have addresses: a browser fetches those that come next before their turn, and keeps them.
Who may ask is app/access/rules.py's; the gate has read the body, which is an object and not too long.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from app.access.accounts import Person, person_of
from app.access.sessions import EDITOR, read_object
from app.core.thumbnails import KEPT
from app.curate.editor_answers import Ask, EditorAnswers
from app.services import Services

if TYPE_CHECKING:
    from app.curate.answers import Answer

AT_ONCE, MOST_WAITING = 4, 16  # requests that are answered at once, and those of one person under way
MOST_SUGGESTIONS = 3  # of one person under way: the model looks at one picture after the other


def editor_routes(services: Services, links: Callable[[Services, int], str]) -> list[Route]:
    """Return the routes. links: renders where else a picture is worked on."""
    answers = EditorAnswers(services, links)
    return [
        _route("acts", answers.act, at_once=AT_ONCE, most=MOST_WAITING),
        _route("views", answers.view, at_once=AT_ONCE, most=MOST_WAITING),
        _route("suggestions", answers.suggest, at_once=1, most=MOST_SUGGESTIONS),
        _route("rest", answers.rest, at_once=AT_ONCE, most=MOST_WAITING),
        _picture_route(services),
    ]


def _picture_route(services: Services) -> Route:
    async def respond(request: Request) -> Response:
        from app.curate.actions import picture_jpeg

        image, sha256 = request.path_params["image"], request.path_params["sha256"]
        jpeg = await run_in_threadpool(picture_jpeg, services, image, sha256)
        if jpeg is None:
            return PlainTextResponse("There is no such picture.", status_code=404)
        return Response(jpeg, media_type="image/jpeg", headers={"cache-control": KEPT})

    return Route(f"{EDITOR}pictures/{{image:int}}/{{sha256}}", respond, methods=["GET"])


def _route(name: str, answer: Callable[[Ask, Person], Answer], *, at_once: int, most: int) -> Route:
    """Return a route. at_once: requests in threads. most: requests of one person under way, those that wait too."""
    turn, under_way = asyncio.Semaphore(at_once), Counter[str]()

    async def respond(request: Request) -> Response:
        person = person_of(request)
        if under_way[person.name] >= most:
            sentence = f"You have {under_way[person.name]} requests waiting: wait until one is answered."
            return PlainTextResponse(sentence, status_code=429)
        under_way[person.name] += 1
        try:
            ask = read_object(await request.body())
            async with turn:
                payload = await run_in_threadpool(answer, ask, person)
        finally:
            under_way[person.name] -= 1
        return JSONResponse(payload, headers={"cache-control": "no-store"})

    return Route(f"{EDITOR}{name}", respond, methods=["POST"])
