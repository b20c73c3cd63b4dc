"""Answer what no route expected with one sentence and the right status, and a full disk with what to do."""

from __future__ import annotations

import logging

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from user_errors import DiskFullError, is_disk_full

LOG = logging.getLogger(__name__)
UNEXPECTED = (
    "This could not be answered, and the app's log says why. If a program sent it: /gradio_api/info says what each "
    "value must be."
)


def error_sentence(error: Exception) -> tuple[str, int]:
    """Return the sentence and the status for an error that nobody caught; all but a full disk go to the log."""
    if is_disk_full(error):
        return DiskFullError.on("GRAIN_HOME", "nothing of this was kept").sentence, 507
    LOG.error("not expected", exc_info=error)
    return UNEXPECTED, 500


class PlainErrors:
    """ASGI middleware around everything that answers."""

    def __init__(self, app: ASGIApp) -> None:
        """app: what is behind."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            sentence, status = error_sentence(error)
            await PlainTextResponse(sentence, status_code=status)(scope, receive, send)
