"""Where Label Studio reaches the app: its machine-learning backend and webhooks, under /label-studio.

The routes are open to whoever has no login and check a secret of their own. Nothing is imported or opened before the
first request, and no poll runs before the first hint.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from app.services import Services

if TYPE_CHECKING:
    from curation.review import Follower

PATH = "/label-studio"
EVERY = 60.0  # seconds between polls once a hint came


class Backend:
    """The ASGI app. The secret is read anew for every request: the server may be installed while the app runs."""

    def __init__(self, services: Services) -> None:
        """services: what it calls."""
        self.services = services
        self._turn = threading.Lock()
        self._made: tuple[str, ASGIApp] | None = None
        self._follower: Follower | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        app = await run_in_threadpool(self._app)
        await app(scope, receive, send)

    def hint(self) -> None:
        """Something may have changed in Label Studio: look soon. Twice, late or never costs nothing but time."""
        with self._turn:
            if self._follower is None:
                from app.label_studio import pull_all
                from curation.review import Follower

                self._follower = Follower(lambda: pull_all(self.services), every=EVERY)
                self._follower.start()
            self._follower.hint()

    def _app(self) -> ASGIApp:
        from app.label_studio import annotates, secret_of, version
        from app.label_studio_backend import ml_backend

        secret = secret_of(self.services)
        with self._turn:
            if self._made is None or self._made[0] != secret:
                backend = ml_backend(annotates(self.services), secret=secret, version=version(), hint=self.hint)
                self._made = secret, backend
            return self._made[1]


def mount(services: Services) -> Mount:
    """The route, for app/main.py."""
    return Mount(PATH, Backend(services))
