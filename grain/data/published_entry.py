"""Describe one published data set: where it is looked for, what to get, and how many there should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from grain.data.data_sets import DataSet

Opener = Callable[[Path], DataSet]


@dataclass(frozen=True)
class PublishedDataSet:
    """A published data set. place: its folder below the root. get: what to download into it, in words.

    classes, pictures: of the whole split, 0 classes where it has captions or boxes. mark: a file of it below its
    folder, where another data set has the same folder. sentences: that are grounded or told apart in all; 0 without.
    """

    name: str
    title: str
    place: str
    split: str
    get: str
    open: Opener
    classes: int
    pictures: int
    mark: str = ""
    sentences: int = 0

    def is_below(self, root: Path) -> bool:
        """Return whether any of it is below a folder, complete or not."""
        return (root / self.place / self.mark).exists()

    def note(self, found: DataSet) -> str:
        """Say how the data set here differs from the published one; "" where it does not."""
        here = (len(found.class_names), found.total, found.sentences if self.sentences else 0)
        published = (self.classes, self.pictures, self.sentences)
        if here == published:
            return ""
        counts = [_counted(*each) for each in (here, published)]
        return f"It has {counts[0]} here, {counts[1]} as published: its numbers are not those of others."


def _counted(classes: int, pictures: int, sentences: int) -> str:
    if sentences:
        return f"{sentences:,} sentences and {pictures:,} pictures"
    return f"{classes:,} classes and {pictures:,} pictures"
