"""Delete a data set for good: `python -m curation.data_sets.delete --dataset NAME --yes`; prints a JSON object."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from curation.audit.judges import judge_path
from curation.data_sets.dependents import DatasetDependents, check_no_job, dependents_of, version_files
from curation.explore.atlas import atlas_path
from curation.files.home import database_url, home_folder
from curation.ingest.ingest import thumbnail_path
from curation.ingest.uploads import uploads_of, uploads_of_dataset
from db.engine import Engine, open_engine, reading, retrying
from db.models import Image
from db.queries.data_set_queries import image_page, others_have_pictures_below, shared_contents
from db.queries.dataset_removal_queries import ImageChoice, count_rows, remove_rows
from db.queries.version_queries import datasets_of_version
from grain.command import flags_of, run_command
from job_progress import job_id, report_progress
from user_errors import UserError

PAGE = 2_000  # pictures whose thumbnails are removed at a time
STAYS = (
    "Picture files stay where they were imported from, and so do exports, trained models and reports. Files that "
    "were uploaded here go; nothing brings the rest back."
)


@dataclass(frozen=True)
class DeleteConfig:
    """Delete a data set with all that people and models said of it; prints what depends on it first."""

    dataset: str
    """Its name."""
    yes: bool = False
    """Do it; left out, it only says what would go."""


def command_line(config: DeleteConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    return ["-m", "curation.data_sets.delete", *flags_of(config)]


def delete(
    engine: Engine,
    home: Path,
    *,
    dataset: str,
    own_job: int | None = None,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, int]:
    """Remove a data set's rows and files, a part at a time; stopped at any moment, the same call resumes.

    Args:    own_job: the job that does it, which names the data set too. on_progress: called with the rows removed and
             in all.
    Returns: the rows removed, by table.
    Raises:  UserError: there is no such data set, or a job needs it.
    """
    found = dependents_of(engine, home, dataset=dataset)
    check_no_job([job for job in found.jobs if job.id != own_job])
    number = found.dataset.id
    _remove_files(engine, home, found)
    with reading(engine) as session:
        total = sum(count_rows(session, dataset_id=number).values())
    removed: Counter[str] = Counter()
    while part := retrying(engine, partial(remove_rows, dataset_id=number)):
        removed[part[0]] += part[1]
        on_progress(removed.total(), total)
    return dict(removed)


def _remove_files(engine: Engine, home: Path, found: DatasetDependents) -> None:
    """Remove versions, maps, the judge, and thumbnails and uploads that no other data set has too."""
    for version, file in zip(found.versions, version_files(home, found.versions), strict=True):
        with reading(engine) as session:
            owners = datasets_of_version(session, sha256=version.sha256)
        if len(owners) == 1:
            file.unlink(missing_ok=True)
    shutil.rmtree(atlas_path(home, found.dataset.id, "pictures").parent, ignore_errors=True)
    judge_path(home, found.dataset.name).unlink(missing_ok=True)
    after, uploads = 0, uploads_of_dataset(home, found.dataset.id)
    while True:
        with reading(engine) as session:
            page = image_page(session, dataset_id=found.dataset.id, after=after, limit=PAGE)
        if not page:
            break
        uploads |= uploads_of(home, (image.location for image in page))
        remove_thumbnails(engine, home, page)
        after = page[-1].id
    remove_uploads(engine, uploads, ids=ImageChoice(found.dataset.id).asked())


def remove_thumbnails(engine: Engine, home: Path, images: Sequence[Image]) -> None:
    """Remove the thumbnails of some images of one data set, but for those that another data set shows too."""
    contents = {image.sha256 for image in images if image.has_thumbnail}
    with reading(engine) as session:
        shared = shared_contents(session, dataset_id=images[0].dataset_id, sha256s=contents)
    for sha256 in contents - shared:
        thumbnail_path(home, sha256).unlink(missing_ok=True)


def remove_uploads(engine: Engine, uploads: Iterable[Path], *, ids: Any) -> None:
    """Remove the folders of uploads that have no other pictures than some. ids: of these, a list or a query."""
    for upload in uploads:
        with reading(engine) as session:
            kept = others_have_pictures_below(session, folder=str(upload), ids=ids)
        if not kept:
            shutil.rmtree(upload, ignore_errors=True)


def main(config: DeleteConfig) -> None:
    """Run the command line."""
    engine = open_engine(database_url(home := home_folder()))
    try:
        found = dependents_of(engine, home, dataset=config.dataset)
        for sentence in (*found.sentences(), STAYS):
            print(sentence, file=sys.stderr)
        if not config.yes:
            raise UserError("nothing was deleted: give --yes to delete all of this")

        def on_progress(done: int, total: int) -> None:
            report_progress(done, max(done, total), f"{done:,} of {total:,} rows removed")

        removed = delete(engine, home, dataset=config.dataset, own_job=job_id(), on_progress=on_progress)
    finally:
        engine.dispose()
    report_progress(1, 1, f"{config.dataset} is deleted")
    json.dump(removed, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    run_command(main, DeleteConfig, module="curation.data_sets.delete")
