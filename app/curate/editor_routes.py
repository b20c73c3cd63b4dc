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
ASKING_MODEL = ("text", "box", "draw", "describe")  # acts that a checkpoint scores, where the page names one
MOST_SUGGESTIONS = 3  # of one person under way: the model looks at one picture after the other


def editor_routes(services: Services, links: Callable[[Services, int], str]) -> list[Route]:
    """Return the routes. links: renders where else a picture is worked on."""
    answers = EditorAnswers(services, links)
    return [
        _route("acts", answers.act, at_once=AT_ONCE, most=MOST_WAITING, aside=_asks_model),
        _route("views", answers.view, at_once=AT_ONCE, most=MOST_WAITING),
        _route("suggestions", answers.suggest, at_once=1, most=MOST_SUGGESTIONS),
        _route("rest", answers.rest, at_once=AT_ONCE, most=MOST_WAITING),
        _picture_route(services),
    ]


def _picture_route(services: Services) -> Route:
    turn = asyncio.Semaphore(AT_ONCE)  # some are slow to read, and each request of anybody needs a thread

    async def respond(request: Request) -> Response:
        from app.curate.actions import picture_jpeg

        image, sha256 = request.path_params["image"], request.path_params["sha256"]
        async with turn:
            jpeg = await run_in_threadpool(picture_jpeg, services, image, sha256)
        if jpeg is None:
            return PlainTextResponse("There is no such picture.", status_code=404)
        return Response(jpeg, media_type="image/jpeg", headers={"cache-control": KEPT})

    return Route(f"{EDITOR}pictures/{{image:int}}/{{sha256}}", respond, methods=["GET"])


def _asks_model(ask: Ask) -> bool:
    return ask.get("do") in ASKING_MODEL and bool(ask.get("checkpoint"))


def _route(
    name: str,
    answer: Callable[[Ask, Person], Answer],
    *,
    at_once: int,
    most: int,
    aside: Callable[[Ask], bool] = lambda _: False,
) -> Route:
    """Return a route.

    Args: at_once: requests in threads. most: requests of one person under way, those that wait too. aside: whether a
          request may take long; such requests have as many threads again, so that the others never wait for them.
    """
    turns, under_way = {is_slow: asyncio.Semaphore(at_once) for is_slow in (False, True)}, Counter[str]()

    async def respond(request: Request) -> Response:
        person = person_of(request)
        if under_way[person.name] >= most:
            sentence = f"You have {under_way[person.name]} requests waiting: wait until one is answered."
            return PlainTextResponse(sentence, status_code=429)
        under_way[person.name] += 1
        try:
            body = await request.body()
            ask = read_object(body) if body else {}
            async with turns[aside(ask)]:
                payload = await run_in_threadpool(answer, ask, person)
        finally:
            under_way[person.name] -= 1
        return JSONResponse(payload, headers={"cache-control": "no-store"})

    return Route(f"{EDITOR}{name}", respond, methods=["POST"])
