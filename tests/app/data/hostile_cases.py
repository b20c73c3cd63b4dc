"""The templates of the Data page, with hostile text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.data import panels
from app.data.actions import DatasetOverview, ExportLosses, VersionDifference, WrittenExport
from curation.versions.diff import VersionChange
from db.models import DatasetVersion
from db.queries.region_index_queries import SourceCount
from tests.support.hostile import HOSTILE

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def overview() -> str:
    facts: dict[str, Any] = dict.fromkeys(SourceCount.__dataclass_fields__, HOSTILE) | {"regions": 2}
    counts = SourceCount(**facts)
    return panels.overview_panel(DatasetOverview(3, {"reviewed": 2, "open": 1}, [counts]))


def versions() -> str:
    texts: dict[str, Any] = {"name": HOSTILE, "note": HOSTILE, "created_by": HOSTILE, "sha256": HOSTILE}
    return panels.versions_panel([DatasetVersion(dataset_id=1, pictures=1, regions=2, created_at=NOW, **texts)])


def difference() -> str:
    added = VersionChange("added", "description", HOSTILE, HOSTILE, 1, {"text": (None, HOSTILE)}, HOSTILE)
    changed = replace(added, kind="changed", fields={"text": (HOSTILE, "a lid"), HOSTILE: ("", HOSTILE)})
    removed = VersionChange("removed", "picture", HOSTILE, HOSTILE, who=HOSTILE)
    kinds = {("added", "description"): 1, ("changed", "description"): 1, ("removed", "picture"): 300}
    return panels.difference_panel(VersionDifference(HOSTILE, HOSTILE, kinds, {HOSTILE: 2}, [added, changed, removed]))


CASES: Mapping[str, Sequence[Callable[[], str]]] = {
    "data/templates/overview.html": (overview,),
    "data/templates/versions.html": (versions,),
    "data/templates/difference.html": (difference,),
    "data/templates/losses.html": (lambda: panels.losses_panel(ExportLosses([HOSTILE], 7, complete=True)),),
    "data/templates/exports.html": (lambda: panels.exports_panel([WrittenExport(Path(HOSTILE), "coco", HOSTILE, 7)]),),
}
