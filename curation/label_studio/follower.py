"""Poll Label Studio in a thread, soon after a hint and more rarely while it fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from curation.label_studio.convert import LabelStudioError
from db.engine import DatabaseError

log = logging.getLogger(__name__)


class Follower:
    """Polls in a thread of its own: soon after a hint, else every so often, and more rarely while it fails.

    problem: one sentence while the last poll failed, else "".
    """

    def __init__(self, poll: Callable[[], object], *, every: float = 30.0, longest: float = 300.0) -> None:
        """poll: may be called at any time, any number of times. every, longest: seconds between polls."""
        self.problem = ""
        self._poll, self._every, self._longest = poll, every, longest
        self._due, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="label-studio", daemon=True)

    def start(self) -> None:
        """Poll at once and from then on."""
        self._thread.start()

    def hint(self) -> None:
        """Poll soon, since something may have changed. Twice, late or never costs nothing but time."""
        self._due.set()

    def stop(self) -> None:
        """End, after the poll that is under way."""
        self._ended.set()
        self._due.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = self._every
        while not self._ended.is_set():
            self._due.clear()
            try:
                self._poll()
                self.problem, pause = "", self._every
            except (LabelStudioError, DatabaseError) as error:
                self.problem, pause = str(error), min(2 * pause, self._longest)
            except Exception as error:  # as of a database that is started again: the next may work
                log.exception("Label Studio could not be polled, and is polled again")
                self.problem, pause = f"{type(error).__name__}: {error}", min(2 * pause, self._longest)
            self._due.wait(pause)
