"""Name the example data sets that a newcomer gets with one click. Imports nothing heavy: pages need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ExampleDataSet:
    """A data set to begin with.

    title, what: it in words, for a button. settings: of its import (see curation.ingest's IngestConfig). annotator: the
    describer and the localizer that know its pictures. classes: file of its classes' texts.
    """

    name: str
    title: str
    what: str
    settings: Mapping[str, Any]
    annotator: str
    classes: Path | None = None


GROCERIES = Path(__file__).parents[2] / "curation" / "sample" / "groceries" / "pictures"
EXAMPLE = ExampleDataSet(
    "sample-world", "Try the example", "200 drawn pictures of a made-up world", {"sample": 200}, "sample"
)
PHOTOGRAPHS = ExampleDataSet(
    "groceries",
    "Try photographs",
    "120 photographs of fruit and vegetables in grocery stores",
    {"source": str(GROCERIES)},
    "photo",
    GROCERIES.with_name("classes.json"),
)
EXAMPLES = {each.name: each for each in (EXAMPLE, PHOTOGRAPHS)}
"""By name, in the order in which they are offered."""
