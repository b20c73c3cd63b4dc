"""Who waits for whom at the editor's routes: a busy model or slow pictures hold up nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from app.access.accounts import PERSON_KEY, Person
from app.core.settings import Settings
from app.curate.editor_routes import AT_ONCE, editor_routes
from app.services import Services
from db.engine import Engine, reading
from db.models import Image
from db.queries.data_set_queries import image_page
from db.queries.gallery_queries import curate_page
from tests.support.waiting import PATIENCE_S

MANY = 60  # more than there are threads


@asynccontextmanager
async def visitor(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the routes alone; whom it names is the person."""
    inner = Starlette(routes=editor_routes(services, lambda *_: ""))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        name = dict(scope["headers"]).get(b"x-who", b"ana").decode()
        await inner({**scope, PERSON_KEY: Person(name, "curator")}, receive, send)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://grain", timeout=PATIENCE_S) as client:
        yield client


def test_a_verdict_does_not_wait_for_edits_that_wait_for_the_model(home: Path, engine: Engine) -> None:
    services = Services(Settings(home=home))
    with reading(engine) as session:
        *scored, other = curate_page(session, dataset_id=1, limit=AT_ONCE + 1).regions
    assert len(scored) == AT_ONCE

    async def ask() -> None:
        async with visitor(services) as client:

            async def act(who: str, row: Any, **ask: Any) -> dict[str, Any]:
                named = {"act": who, "image": row.image_id, "id": row.id, "version": row.version}
                answer = await client.post("curate/acts", json=named | ask, headers={"x-who": who})
                answered: dict[str, Any] = answer.json()
                return answered

            edit = {"do": "text", "text": "a red thing", "checkpoint": "sample"}
            with services.model_turn:
                edits = [asyncio.create_task(act(f"p{row.id}", row, **edit)) for row in scored]
                judged = act("zoe", other, do="verdict", status="accepted", checkpoint="sample")
                answered = await asyncio.wait_for(judged, PATIENCE_S)
                assert answered["wrote"] == [[other.id, other.version + 1]]
                assert not any(each.done() for each in edits)
            assert all(each["wrote"] for each in await asyncio.gather(*edits)), "and each is done in its turn"

    asyncio.run(ask())


class SlowPictures:
    """Pictures that come when a test lets them."""

    def __init__(self) -> None:
        self.let, self.asked = threading.Event(), threading.Semaphore(0)

    def jpeg(self, _: Image) -> bytes:
        self.asked.release()
        self.let.wait()
        return b"jpeg"


def test_slow_pictures_leave_threads_to_everybody_else(home: Path, engine: Engine) -> None:
    services, slow = Services(Settings(home=home)), SlowPictures()
    services.pictures = slow  # type: ignore[assignment]
    with reading(engine) as session:
        image = image_page(session, dataset_id=1, after=0, limit=1)[0]

    async def look() -> None:
        async with visitor(services) as client:
            asked = [asyncio.create_task(client.get(f"curate/pictures/{image.id}/{image.sha256}")) for _ in range(MANY)]
            try:
                while not slow.asked.acquire(blocking=False):
                    await asyncio.sleep(0)
                assert await asyncio.wait_for(run_in_threadpool(int), PATIENCE_S) == 0
            finally:
                slow.let.set()
            assert {answer.content for answer in await asyncio.gather(*asked)} == {b"jpeg"}

    asyncio.run(look())
