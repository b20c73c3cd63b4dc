"""Remove pictures from a data set for good: `python -m curation.data_sets.remove_pictures`; prints a JSON object.

They are those of an import, those with a region of a tag, or some by their numbers.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from curation.data_sets.delete import remove_thumbnails, remove_uploads
from curation.data_sets.dependents import COUNTED, check_no_job, counts_in_words
from curation.explore.atlas import atlas_path
from curation.files.home import database_url, home_folder
from curation.ingest.uploads import uploads_folder, uploads_of
from db.engine import Engine, open_engine, reading, retrying
from db.models import Image, Job
from db.queries.bulk import IN_LIST
from db.queries.data_set_queries import existing_dataset, places_of_others
from db.queries.dataset_removal_queries import (
    ImageChoice,
    chosen_images,
    count_rows_of_images,
    jobs_of_dataset,
    remove_images,
)
from db.queries.version_queries import list_versions
from grain.command import flags_of, run_command
from job_progress import job_id, report_progress
from user_errors import UserError

SHOWN = 3
PAGE = 100  # pictures that are removed in a transaction
WHAT = COUNTED | {"label_task": "tasks in Label Studio, which stay there"}
STAYS = (
    "Nothing brings them back but importing them again. Files on this machine stay where they are; uploaded ones go, "
    "an archive with its last picture. The data set's maps must be drawn again."
)


@dataclass(frozen=True)
class RemovePicturesConfig:
    """Remove pictures with all that people and models said of them; prints what depends on them first."""

    dataset: str
    """Its name."""
    place: str = ""
    """Those that came from this folder, archive or file."""
    tag: str = ""
    """Those with a region that has this tag."""
    images: tuple[int, ...] = ()
    """Those with these numbers."""
    yes: bool = False
    """Do it; left out, it only says what would go."""

    def __post_init__(self) -> None:
        """Refuse settings that name no pictures, or name them in more than one way.

        Raises: ValueError.
        """
        given = [bool(self.place), bool(self.tag), bool(self.images)]
        if sum(given) != 1:
            raise ValueError(f"expected one of --place, --tag and --images, got {sum(given)}: say which pictures")
        if len(self.images) > IN_LIST:
            raise ValueError(f"expected at most {IN_LIST:,} --images, got {len(self.images):,}: tag them instead")


@dataclass(frozen=True)
class PictureDependents:
    """The rows that depend on some pictures of a data set, and what goes by its name.

    counts: what there is of them -> how many. first: of the pictures, for people to see. versions: names of the data
    set's versions. jobs: not over, and name it.
    """

    dataset: str
    choice: ImageChoice
    counts: Mapping[str, int]
    first: Sequence[Image]
    versions: Sequence[str]
    jobs: Sequence[Job]

    @property
    def pictures(self) -> int:
        """Return how many pictures they are."""
        return self.counts[COUNTED["image"]]

    def sentences(self) -> list[str]:
        """Return what goes, the pictures first, for people."""
        return counts_in_words(self.counts)

    def stays(self) -> str:
        """Return what stays, for people."""
        names = ", ".join(self.versions)
        kept = f" What frozen versions ({names}) say of them stays, and exports of these need the files."
        return STAYS + kept * bool(names)


def command_line(config: RemovePicturesConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    return ["-m", "curation.data_sets.remove_pictures", *flags_of(config)]


def dependents_of_pictures(engine: Engine, config: RemovePicturesConfig) -> PictureDependents:
    """Return what depends on the pictures that a removal names.

    Raises: UserError: there is no such data set, or it has no such pictures.
    """
    with reading(engine) as session:
        dataset = existing_dataset(session, name=config.dataset)
        place = os.path.abspath(config.place) if config.place else ""
        choice = ImageChoice(dataset.id, place, config.tag, config.images or None)
        rows = count_rows_of_images(session, choice=choice)
        first = chosen_images(session, choice=choice, limit=SHOWN)
        versions = [version.name for version in list_versions(session, dataset_id=dataset.id)]
        jobs = jobs_of_dataset(session, name=config.dataset)
    if not rows:
        named = place or config.tag or ", ".join(map(str, config.images[:10]))
        raise UserError(f"expected pictures of {config.dataset!r}, got {named!r}, which names none: correct it")
    counts = {what: rows[table] for table, what in WHAT.items() if table in rows}
    return PictureDependents(config.dataset, choice, counts, first, versions, jobs)


def remove_pictures(
    engine: Engine,
    home: Path,
    config: RemovePicturesConfig,
    *,
    own_job: int | None = None,
    on_progress: Callable[[int], object] = lambda pictures: None,
) -> dict[str, int]:
    """Remove pictures' files and rows, a part at a time; stopped at any moment, the same call resumes.

    Args:    own_job: the job that does it, which names the data set too. on_progress: called with how many are gone.
    Returns: the rows removed, by table.
    Raises:  UserError: there is no such data set or no such picture, or a job needs the data set.
    """
    found = dependents_of_pictures(engine, config)
    check_no_job([job for job in found.jobs if job.id != own_job])
    shutil.rmtree(atlas_path(home, found.choice.dataset_id, "pictures").parent, ignore_errors=True)
    removed: Counter[str] = Counter()
    while True:
        with reading(engine) as session:
            page = chosen_images(session, choice=found.choice, limit=PAGE)
        if not page:
            return dict(removed)
        _remove_files(engine, home, page)
        removed += retrying(engine, partial(remove_images, ids=[image.id for image in page]))
        on_progress(removed["image"])


def _remove_files(engine: Engine, home: Path, page: Sequence[Image]) -> None:
    """Remove thumbnails and uploaded files that no other picture needs."""
    ids = [image.id for image in page]
    remove_thumbnails(engine, home, page)
    uploaded = {
        image.location
        for image in page
        if not image.member and Path(image.location).is_relative_to(uploads_folder(home))
    }
    with reading(engine) as session:
        shared = places_of_others(session, locations=uploaded, ids=ids)
    for location in uploaded - shared:
        Path(location).unlink(missing_ok=True)
    remove_uploads(engine, uploads_of(home, (image.location for image in page)), ids=ids)


def main(config: RemovePicturesConfig) -> None:
    """Run the command line."""
    engine = open_engine(database_url(home := home_folder()))
    try:
        found = dependents_of_pictures(engine, config)
        for sentence in (*found.sentences(), found.stays()):
            print(sentence, file=sys.stderr)
        if not config.yes:
            raise UserError("nothing was removed: give --yes to remove all of this")
        total = found.pictures

        def on_progress(pictures: int) -> None:
            report_progress(pictures, max(pictures, total), f"{pictures:,} of {total:,} pictures removed")

        removed = remove_pictures(engine, home, config, own_job=job_id(), on_progress=on_progress)
    finally:
        engine.dispose()
    json.dump(removed, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    run_command(main, RemovePicturesConfig, module="curation.data_sets.remove_pictures")
