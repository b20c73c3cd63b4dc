"""Give different pictures to people who review the same data set at once.

What a person's page has fetched before its turn is theirs for a while. That is a courtesy and no lock: anybody may open
and change any picture, and edits of the same version still meet as conflicts. It is kept in memory only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from app.services import Services

if TYPE_CHECKING:
    from app.curate.actions import CurateQuery, QueueAhead

HELD_S = 600.0  # after the person's last step
MOST_TRIES = 3  # two people may ask in the same moment


class Reservations:
    """Pictures that people have before them, each with its person and until when."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds."""
        self._clock, self._lock = clock, Lock()
        self._held: dict[int, tuple[str, float]] = {}  # a picture's id -> who, and until when

    def next_pictures(
        self, services: Services, query: CurateQuery, after: str, *, who: str, skip: Collection[int], count: int
    ) -> QueueAhead:
        """Return the next pictures that nobody else has before them, and reserve them; once there are none, any.

        Args: as of `actions.next_pictures`. skip: they are this person's for a while longer.
        """
        from app.curate.actions import next_pictures

        self.hold(skip, who=who)
        for _ in range(MOST_TRIES):
            others = self._of_others(who)
            ahead = next_pictures(services, query, after, skip={*skip, *others}, count=count)
            if ahead.end and not ahead.pictures and others:  # what was passed over, decided by now or not
                return replace(next_pictures(services, query, "", skip=skip, count=count), end=True)
            if self.hold(ahead.pictures, who=who):
                break
        return replace(ahead, end=ahead.end and not others)

    def hold(self, pictures: Collection[int], *, who: str) -> bool:
        """Keep for a person what nobody else has. Returns whether that is all of it."""
        with self._lock:
            now = self._clock()
            self._held = {picture: held for picture, held in self._held.items() if held[1] > now}
            free = [picture for picture in pictures if self._held.get(picture, (who,))[0] == who]
            self._held.update(dict.fromkeys(free, (who, now + HELD_S)))
            return len(free) == len(pictures)

    def renew(self, who: str) -> None:
        """Keep what a person has for as long again."""
        with self._lock:
            mine = [picture for picture, (holder, until) in self._held.items() if holder == who]
        self.hold(mine, who=who)

    def _of_others(self, who: str) -> set[int]:
        with self._lock:
            now = self._clock()
            return {picture for picture, (holder, until) in self._held.items() if holder != who and until > now}
