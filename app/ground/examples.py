"""Load the example pictures of the Ground page; app/ground/example_pictures/README.md names their sources."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("example_pictures")


@dataclass(frozen=True)
class GroundExample:
    """An example picture with its descriptions and classes.

    descriptions, classes: as a person would type them. checkpoint: the embedded one that knows such pictures.
    """

    path: Path
    title: str
    descriptions: str
    classes: str
    checkpoint: str


def load_examples(folder: Path = FOLDER) -> tuple[GroundExample, ...]:
    """Load all examples, in the order of examples.json."""
    rows = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    return tuple(
        GroundExample(
            path=folder / row["file"],
            title=row["title"],
            descriptions="\n".join(row["descriptions"]),
            classes="\n".join(f"{name}: {'; '.join(texts)}" for name, texts in row["classes"].items()),
            checkpoint=row["checkpoint"],
        )
        for row in rows
    )
