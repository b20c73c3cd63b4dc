"""Name the example data set that a newcomer gets with one click. Imports nothing heavy: pages need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ExampleDataSet:
    """A data set to begin with.

    what: it in words. settings: of its import (see curation.ingest's IngestConfig). annotator: the describer and the
    localizer that know its pictures.
    """

    name: str
    what: str
    settings: Mapping[str, Any]
    annotator: str


EXAMPLE = ExampleDataSet("sample-world", "200 drawn pictures of a made-up world", {"sample": 200}, "sample")
