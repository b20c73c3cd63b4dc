"""Let one request at a time compute with a model, and none for longer than it may."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from types import TracebackType

from grain.time_limit import time_limit
from user_errors import UserError


class ModelTurn:
    """A lock that is held while a model computes. Its holder has so many seconds, and so has anyone who waits."""

    def __init__(self, seconds: float) -> None:
        """seconds: of one turn; what loads weights first may take longer, since it is not cut short."""
        self._seconds, self._lock = seconds, threading.Lock()
        self._limit: AbstractContextManager[None] | None = None  # of its holder

    def __enter__(self) -> None:
        """Wait for one's turn.

        Raises: UserError: somebody has held it for all the time that one waits.
        """
        if not self._lock.acquire(timeout=self._seconds):
            raise UserError(
                f"The model has been busy with another request for {self._seconds:g} seconds: try again in a moment."
            )
        self._limit = time_limit(self._seconds)
        self._limit.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave it to the next."""
        assert self._limit is not None
        try:
            self._limit.__exit__(kind, error, trace)
        finally:
            self._lock.release()
