"""Remember what small files hold, and read again only those that were written again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_REMEMBERED = 2000  # files


class FileCache(Generic[T]):
    """The contents of files by their path, each as of its inode, size and time. Safe to use from several threads."""

    def __init__(self, read: Callable[[Path], T], *, missing: T, most: int = MOST_REMEMBERED) -> None:
        """read: returns what a file holds, and never raises. missing: for no file. most: files kept."""
        self._read, self._missing, self._most = read, missing, most
        self._known: OrderedDict[str, tuple[tuple[int, int, int], T]] = OrderedDict()
        self._turn = threading.Lock()

    def get(self, file: Path) -> T:
        """Return what a file holds now. One that was not written again costs a look at its facts, and no reading."""
        try:
            facts = file.stat()
        except OSError:
            return self._missing
        name, mark = str(file), (facts.st_ino, facts.st_size, facts.st_mtime_ns)
        with self._turn:
            known = self._known.get(name)
            if known is not None and known[0] == mark:
                self._known.move_to_end(name)
                return known[1]
        found = self._read(file)  # what is written meanwhile changes the mark, and is read at the next call
        with self._turn:
            self._known[name] = mark, found
            self._known.move_to_end(name)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return found
