"""Answer whether the app works, for a container's health check or a load balancer, without a login."""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

HEALTH = "/health"


def health_route(check_database: Callable[[], None]) -> Route:
    """Return the route: 200 where the database answers, else 503. It says no more than that.

    Args:   check_database: raises an error where it does not answer.
    """

    async def answer(_: Request) -> Response:
        try:
            await run_in_threadpool(check_database)
        except Exception:  # whatever it is: the log of the database's own users says more
            return JSONResponse({"database": False}, status_code=503)
        return JSONResponse({"database": True}, headers={"cache-control": "no-store"})

    return Route(HEALTH, answer, methods=["GET"])
