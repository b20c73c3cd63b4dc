"""Mount the machine-learning backend and webhooks that Label Studio calls, under /label-studio.

The routes are open without a login and check a secret of their own. Nothing is imported or opened before the
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
    from curation.label_studio.follower import Follower

PATH = "/label-studio"
POLL_SECONDS = 60.0  # between polls once a hint came


class LabelStudioApp:
    """The ASGI app behind the route.

    The secret is read again for every request: the server may be installed while the app runs.
    """

    def __init__(self, services: Services) -> None:
        """Keep the services that answer Label Studio."""
        self.services = services
        self._turn = threading.Lock()
        self._made: tuple[str, ASGIApp] | None = None
        self._follower: Follower | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        app = await run_in_threadpool(self._app)
        await app(scope, receive, send)

    def hint(self) -> None:
        """Poll Label Studio soon, since something may have changed. Twice, late or never costs nothing but time."""
        with self._turn:
            if self._follower is None:
                from app.label_studio.actions import pull_all
                from curation.label_studio.follower import Follower

                self._follower = Follower(lambda: pull_all(self.services), every=POLL_SECONDS)
                self._follower.start()
            self._follower.hint()

    def _app(self) -> ASGIApp:
        from app.label_studio.actions import annotator_of, annotator_version, secret_of
        from app.label_studio.backend import ml_backend

        secret = secret_of(self.services)
        with self._turn:
            if self._made is None or self._made[0] != secret:
                annotate = annotator_of(self.services)
                backend = ml_backend(annotate, secret=secret, version=annotator_version(), hint=self.hint)
                self._made = secret, backend
            return self._made[1]


def mount(services: Services) -> Mount:
    """Return the route, for app/main.py."""
    return Mount(PATH, LabelStudioApp(services))
