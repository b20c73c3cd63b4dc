"""A limit of time around what computes: whoever checks is stopped, and nobody else's limit counts."""

from __future__ import annotations

import math
import threading

import pytest

from grain.time_limit import OutOfTimeError, check_time, seconds_left, time_limit


def test_without_a_limit_everything_may_go_on() -> None:
    check_time()
    assert seconds_left() == math.inf


def test_what_checks_its_time_is_stopped_with_the_seconds_in_its_sentence() -> None:
    with time_limit(3600):
        check_time()
        assert 0 < seconds_left() <= 3600
        with time_limit(0), pytest.raises(OutOfTimeError, match="longer than the 0 seconds for which one request"):
            check_time()
        check_time()  # the inner limit is over
    assert seconds_left() == math.inf


def test_a_limit_holds_for_its_own_thread() -> None:
    found: list[float] = []
    with time_limit(0):
        thread = threading.Thread(target=lambda: found.append(seconds_left()))
        thread.start()
        thread.join()
    assert found == [math.inf]
