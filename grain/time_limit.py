"""Bound how long one request computes: a limit around it, and checks between the steps of what takes long."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from user_errors import UserError

_limit: ContextVar[tuple[float, float]] = ContextVar("limit", default=(math.inf, math.inf))  # its end, its seconds


class OutOfTimeError(UserError):
    """A request has computed as long as it may."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Let what this thread computes inside take so many seconds, as far as it checks its time."""
    token = _limit.set((time.monotonic() + seconds, seconds))
    try:
        yield
    finally:
        _limit.reset(token)


def seconds_left() -> float:
    """Return the seconds that this thread may go on; infinite without a limit."""
    return max(0.0, _limit.get()[0] - time.monotonic())


def check_time() -> None:
    """Go on only within the limit: called between steps, each of which is short.

    Raises: OutOfTimeError: the time is over.
    """
    if not seconds_left():
        raise OutOfTimeError(
            f"This took longer than the {_limit.get()[1]:g} seconds for which one request may hold the model: ask for "
            "less at a time, or queue a job"
        )
