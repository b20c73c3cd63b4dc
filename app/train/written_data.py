"""Find whether the shards of a version are written with all of its pictures, or are to be written once more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from app.services import Services
from app.train.run_jobs import DATA, DRY, TRAIN
from curation.exchange.export_config import ExportConfig
from curation.exchange.export_mark import read_mark
from curation.exchange.export_selection import ExportSelection
from curation.exchange.unreadable import files_unchanged
from curation.versions.state_file import peek_state
from curation.versions.versions import dataset_of_version, read_version, version_path
from db.engine import reading
from db.queries.job_queries import IN_PROGRESS, UNFINISHED, job_page, job_under_way
from grain.train_config import mixed_folders


def unreadable_pictures(services: Services, export: ExportConfig) -> Counter[str] | None:
    """Count by reason the pictures that an export could not read; None where it was killed before it could say so.

    Raises: UserError: the version's file is gone or damaged.
    """
    mark = read_mark(export.out)
    if mark.get("state") == "writing":
        return None
    left_out = Counter({str(reason): int(count) for reason, count in dict(mark.get("left_out") or {}).items()})
    home = services.settings.home
    if left_out and peek_state(version_path(home, export.version))[0].concepts:  # others leave nothing else out
        left_out -= ExportSelection(read_version(home, export.version), export, services.engine).not_settled()
    return left_out


def still_unreadable(services: Services, export: ExportConfig) -> bool:
    """Return whether an export of the same options is complete but for pictures whose files did not change since.

    Raises: UserError: the version is no data set's.
    """
    mark = read_mark(export.out)
    if mark != mark | export.options() | {"state_sha256": export.version, "state": "complete"}:
        return False
    dataset = dataset_of_version(services.engine, sha256=export.version)
    return files_unchanged(services.engine, dataset_id=dataset.id, stamps=dict(mark.get("unreadable") or {}))


def learned_from(services: Services, folder: Path) -> bool:
    """Return whether a run that is not over learns from a folder, which no job under way is going to write."""
    with reading(services.engine) as session:
        if job_under_way(session, kind=DATA, config={"out": str(folder)}):
            return False
        reading_them = ((TRAIN, UNFINISHED), (DRY, IN_PROGRESS))
        runs = [job for kind, states in reading_them for job in job_page(session, kind=kind, states=states, limit=1000)]
    return any(folder in _folders_of(job.config["train"]) for job in runs)


def _folders_of(train: dict[str, Any]) -> list[Path]:
    return [Path(train["data"]), *(mixed for mixed, _ in mixed_folders(train.get("mix") or ()))]
