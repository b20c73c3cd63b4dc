"""Read and count the classes that a data set's pictures show, for evaluation: classes.json, {name: [description, …]}.

A picture's class is its fact `class`. Such a class is novel: no training sees it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from curation.files.records import CLASS, PictureRecord, shown
from user_errors import UserError

CLASSES = "classes.json"
MOST_DESCRIPTIONS = 8  # of a class, where they are taken from its pictures
Classes = Mapping[str, list[str]]


def class_of(record: PictureRecord) -> str:
    """Return the class that a picture shows; "" where it has none."""
    return record.facts.get(CLASS, "").strip()


@dataclass
class ClassTally:
    """The descriptions of each class's pictures, counted."""

    counts: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def count(self, record: PictureRecord) -> None:
        """Count a picture; one without a class changes nothing."""
        if name := class_of(record):
            texts = {one.text for region in record.regions for one in region.descriptions}
            self.counts[name].update(sorted(texts))

    def descriptions(self) -> Classes:
        """Return each class's most frequent descriptions, the best substitute for a class list."""
        return {
            name: [text for text, _ in self.counts[name].most_common(MOST_DESCRIPTIONS)] for name in sorted(self.counts)
        }


def read_classes(path: Path) -> Classes:
    """Read a class list that people wrote.

    Raises: UserError: it is not there, or is not {name: [description, …]}.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"expected a class list in {path}, got nothing that can be read: write the file") from error
    fits = isinstance(found, dict) and all(
        isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in found.values()
    )
    if not fits:
        raise UserError(f"expected {{name: [description, …]}} in {path}, got {shown(found)}: write it so")
    return dict(found)


def check_list_complete(classes: Classes, tally: ClassTally) -> None:
    """Refuse a class list that lacks a class which a picture shows.

    Raises: UserError: names the first that it lacks.
    """
    if missing := sorted(tally.counts.keys() - classes.keys()):
        raise UserError(f"expected the class {missing[0]!r} in the class list, which a picture shows: add it")
