"""Say what depends on a data set: its rows, its files, and what goes by its name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from curation.exchange.export_mark import MARK
from curation.versions.versions import version_path
from db.engine import Engine, reading
from db.models import Dataset, DatasetVersion, Job
from db.queries.data_set_queries import get_dataset
from db.queries.dataset_removal_queries import count_rows, jobs_of_dataset, trainings_of_versions
from db.queries.label_studio_queries import ProjectCount, projects_of
from db.queries.version_queries import list_versions
from user_errors import UserError

COUNTED = {
    "image": "pictures",
    "region": "descriptions in boxes",
    "region_edit": "edits in the history",
    "annotation_run": "annotation runs",
    "annotation_import": "imports of annotations",
    "audited_claim": "audited claims",
    "claim_verdict": "people's verdicts on claims",
    "concept_label": "people's labels of classes",
    "saved_filter": "saved filters",
}
"""What people hear of, by table; other rows belong to one of these."""
ONE = {
    "pictures": "picture",
    "descriptions in boxes": "description in a box",
    "edits in the history": "edit in the history",
    "annotation runs": "annotation run",
    "imports of annotations": "import of annotations",
    "audited claims": "audited claim",
    "people's verdicts on claims": "person's verdict on a claim",
    "people's labels of classes": "person's label of a class",
    "tasks in Label Studio, which stay there": "task in Label Studio, which stays there",
    "saved filters": "saved filter",
}


@dataclass(frozen=True)
class DatasetDependents:
    """The rows and files that depend on a data set.

    counts: what there is of it -> how many. jobs: that are not over and name it. exports: folders below
    GRAIN_HOME/exports; they stay when it is deleted. trainings: on its versions, in any state. projects: those of Label
    Studio that have its pictures.
    """

    dataset: Dataset
    counts: Mapping[str, int]
    versions: Sequence[DatasetVersion]
    jobs: Sequence[Job]
    exports: Sequence[Path]
    trainings: Sequence[Job] = ()
    projects: Sequence[ProjectCount] = ()

    def sentences(self) -> list[str]:
        """Return what depends on it, for people."""
        found = counts_in_words(self.counts)
        if self.versions:
            names = ", ".join(version.name for version in self.versions)
            found.append(f"{len(self.versions):,} frozen version{'s' * (len(self.versions) != 1)} ({names})")
        if self.exports:
            found.append(f"{len(self.exports):,} export{'s' * (len(self.exports) != 1)} below GRAIN_HOME/exports")
        if self.trainings:
            by_state = Counter(job.state for job in self.trainings)
            states = ", ".join(f"{count:,} {state}" for state, count in by_state.items())
            plural = "s" * (len(self.trainings) != 1)
            found.append(f"{len(self.trainings):,} training{plural} on its versions ({states})")
        for each in self.projects:
            found.append(f"a project in Label Studio (pictures: {each.pushed:,} pushed, {each.decided:,} decided)")
        if self.jobs:
            names = ", ".join(f"{job.kind} {job.id}, {job.state}" for job in self.jobs)
            found.append(f"{len(self.jobs):,} job{'s' * (len(self.jobs) != 1)} that must end first ({names})")
        return found


def counts_in_words(counts: Mapping[str, int]) -> list[str]:
    """Return counts for people. counts: words of COUNTED -> how many."""
    return [f"{count:,} {ONE[what] if count == 1 else what}" for what, count in counts.items()]


def check_no_job(jobs: Sequence[Job]) -> None:
    """Refuse to touch a data set that a job works on or waits for. jobs: those that are not over and name it.

    Raises: UserError.
    """
    if jobs:
        job = jobs[0]
        raise UserError(
            f"expected a data set that no job needs, but job {job.id} ({job.kind}) is {job.state}: wait for it, or "
            "cancel it"
        )


def dependents_of(engine: Engine, home: Path, *, dataset: str) -> DatasetDependents:
    """Return what depends on a data set.

    Raises: UserError: there is none of that name.
    """
    with reading(engine) as session:
        found = get_dataset(session, name=dataset)
        if found is None:
            raise UserError(f"expected the name of a data set, got {dataset!r}, which none has: correct it")
        rows = count_rows(session, dataset_id=found.id)
        versions = list_versions(session, dataset_id=found.id)
        jobs = jobs_of_dataset(session, name=dataset)
        trainings = trainings_of_versions(session, sha256s=[version.sha256 for version in versions])
        projects = projects_of(session, dataset_id=found.id)
    counts = {what: rows[table] for table, what in COUNTED.items() if table in rows}
    return DatasetDependents(found, counts, versions, jobs, exports_of(home, dataset), trainings, projects)


def exports_of(home: Path, dataset: str) -> list[Path]:
    """Return the marks of a data set's exports below GRAIN_HOME."""
    found = []
    for mark in sorted((home / "exports").glob(f"*/{MARK}")):
        with suppress(OSError, ValueError, TypeError, KeyError):
            if json.loads(mark.read_text(encoding="utf-8"))["dataset"] == dataset:
                found.append(mark)
    return found


def version_files(home: Path, versions: Sequence[DatasetVersion]) -> list[Path]:
    """Return the files of versions."""
    return [version_path(home, version.sha256) for version in versions]
