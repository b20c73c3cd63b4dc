"""The example pictures of the Ground page; where they come from stands in app/examples/README.md."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("examples")


@dataclass(frozen=True)
class Example:
    """A picture with what the page fills in beside it.

    descriptions, classes: as a person would type them. checkpoint: the embedded one that knows such pictures.
    """

    path: Path
    title: str
    descriptions: str
    classes: str
    checkpoint: str


def load_examples(folder: Path = FOLDER) -> tuple[Example, ...]:
    """All examples, in the order of examples.json."""
    rows = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    return tuple(
        Example(
            path=folder / row["file"],
            title=row["title"],
            descriptions="\n".join(row["descriptions"]),
            classes="\n".join(f"{name}: {'; '.join(texts)}" for name, texts in row["classes"].items()),
            checkpoint=row["checkpoint"],
        )
        for row in rows
    )
