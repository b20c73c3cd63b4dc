"""The classes that a data set's pictures show, as evaluation asks for them: classes.json, {name: [description, …]}.

A picture of a class is one whose fact `class` says so. Its class is novel: no training sees it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from curation.records import PictureRecord, shown
from curation.shards import CLASS

CLASSES = "classes.json"
MOST_DESCRIPTIONS = 8  # of a class, where they are taken from its pictures
Classes = Mapping[str, list[str]]


class ClassesError(ValueError):
    """A class list cannot be used; one sentence says why and what to do."""


def class_of(record: PictureRecord) -> str:
    """The class that a picture shows; "" where nobody said."""
    return record.facts.get(CLASS, "").strip()


@dataclass
class ClassTally:
    """What the pictures of each class are said to show."""

    said: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def count(self, record: PictureRecord) -> None:
        """Put a picture on top; one without a class changes nothing."""
        if name := class_of(record):
            texts = {one.text for region in record.regions for one in region.descriptions}
            self.said[name].update(sorted(texts))

    def descriptions(self) -> Classes:
        """By class, what most of its own pictures are said to show: the best that is known where there is no list."""
        return {
            name: [text for text, _ in self.said[name].most_common(MOST_DESCRIPTIONS)] for name in sorted(self.said)
        }


def read_classes(path: Path) -> Classes:
    """A class list that people wrote.

    Raises: ClassesError: it is not there, or is not {name: [description, …]}.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ClassesError(f"expected a class list in {path}, got nothing that can be read: write the file") from error
    fits = isinstance(found, dict) and all(
        isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in found.values()
    )
    if not fits:
        raise ClassesError(f"expected {{name: [description, …]}} in {path}, got {shown(found)}: write it so")
    return dict(found)


def must_name(classes: Classes, tally: ClassTally) -> None:
    """See that a list has every class that a picture shows.

    Raises: ClassesError: names the first that it lacks.
    """
    if missing := sorted(tally.said.keys() - classes.keys()):
        raise ClassesError(f"expected the class {missing[0]!r} in the class list, which a picture shows: add it")
