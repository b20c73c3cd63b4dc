"""curation/label_studio/follower.py: polls that follow hints, and go on by themselves."""

from __future__ import annotations

import threading
from pathlib import Path

from curation.label_studio.convert import LabelStudioError
from curation.label_studio.follower import Follower
from db.engine import connect_to, reading
from db.queries.label_studio_queries import projects_of
from tests.support.waiting import until


def test_a_hint_is_followed_by_a_poll_and_a_failing_poll_is_said_and_tried_again() -> None:
    polls: list[int] = []
    failing = threading.Event()

    def poll() -> None:
        polls.append(1)
        if failing.is_set():
            raise LabelStudioError("Label Studio is down.")

    follower = Follower(poll, every=600.0)
    follower.start()
    until(lambda: len(polls) == 1)
    failing.set()
    follower.hint()
    until(lambda: follower.problem == "Label Studio is down.")
    failing.clear()
    follower.hint()
    follower.hint()
    until(lambda: follower.problem == "" and len(polls) >= 3)
    follower.stop()


def test_without_any_hint_polls_go_on() -> None:
    polls: list[int] = []
    follower = Follower(lambda: polls.append(1), every=0.01)
    follower.start()
    until(lambda: len(polls) > 3)
    follower.stop()


def test_a_database_that_fails_for_a_moment_does_not_end_the_polls(tmp_path: Path) -> None:
    """A database without tables fails as a restarting PostgreSQL does: with an error of SQLAlchemy's."""
    engine, polls, failing = connect_to(f"sqlite:///{tmp_path / 'empty.sqlite'}"), list[int](), threading.Event()

    def poll() -> None:
        polls.append(1)
        if failing.is_set():
            with reading(engine) as session:
                projects_of(session)

    failing.set()
    follower = Follower(poll, every=600.0)
    follower.start()
    until(lambda: "OperationalError" in follower.problem)
    failing.clear()
    follower.hint()
    until(lambda: follower.problem == "" and len(polls) == 2)
    follower.stop()
