"""Import a folder's pictures with where and when each was found, and edit that metadata."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from curation.concepts.class_list import check_as_seen
from curation.concepts.status import dataset_id_of, status_of
from curation.ingest.annotations_beside import Annotations
from curation.ingest.ingest import ImportTally, ingest_with_annotations
from curation.ingest.provenance import checked as checked_provenance
from curation.ingest.provenance import read_folder
from db.engine import Engine, Session, retrying
from db.models import Image
from db.queries.bulk import batches
from db.queries.concept_queries import save_concept_set
from db.queries.curate_queries import edit_image
from db.queries.data_set_queries import find_images, get_image
from db.queries.edit_values import ImageChange
from user_errors import UserError

BATCH = 200  # pictures in a transaction


@dataclass(frozen=True)
class ConceptImport:
    """The result of an import.

    located: pictures that got where or when they were found. problems: in the metadata. annotations: what came of each
    COCO file that was brought with them.
    """

    tally: ImportTally
    located: int
    problems: tuple[str, ...]
    annotations: Sequence[Mapping[str, Any]] = ()


def import_pictures(
    engine: Engine,
    home: Path,
    source: Path,
    *,
    dataset: str,
    who: str,
    annotations: Annotations = "leave",
    on_progress: Callable[[ImportTally], None] = lambda tally: None,
) -> ConceptImport:
    """Import a folder's pictures with where and when each was found, without overwriting what is known.

    Args:   annotations: what becomes of COCO files beside them, as with every import of pictures.
    Raises: UserError: no folder, its table cannot be read, or as ingest; nothing was imported.
    """
    source = source.expanduser().absolute()
    if not source.is_dir():
        raise UserError(f"expected a folder of pictures with their metadata, got {source}: give the folder")
    found = read_folder(source)
    named: dict[str, Any] = {"annotations": annotations, "who": who, "home": home, "on_progress": on_progress}
    tally, brought = ingest_with_annotations(engine, source, dataset=dataset, **named)
    create_set(engine, dataset, who)
    located = 0
    for some in batches(_images_in(engine, dataset, source), BATCH):
        located += retrying(engine, partial(_add_metadata, images=some, found=found, who=who))
    problems = [f"{Path(path).name}: {problem}" for path, one in sorted(found.items()) for problem in one.problems]
    return ConceptImport(tally, located, tuple(problems), brought)


def create_set(engine: Engine, dataset: str, who: str) -> None:
    """Make a data set one of novel concepts, if it is none yet.

    Raises: UserError: there is no such data set.
    """
    retrying(
        engine,
        lambda session: save_concept_set(
            session, dataset_id=dataset_id_of(session, dataset), who=who, expected_version=0
        ),
    )


def set_metadata(
    engine: Engine, image_id: int, facts: Mapping[str, str], *, seen: Mapping[str, Collection[str]], who: str
) -> None:
    """Set where or when a picture was found.

    Args:   facts: by FOUND_AT and FOUND_ON; "" removes one. seen: what their editor saw there, or wrote
            there since; nothing where left out.
    Raises: UserError: no such day, or somebody was quicker.
    """
    today = datetime.now(UTC).date()
    written = {name: checked_provenance(name, value, today=today) for name, value in facts.items() if value.strip()}
    gone = facts.keys() - written.keys()

    def write(session: Session) -> None:
        image = get_image(session, image_id=image_id)
        if image is None:
            raise UserError(f"there is no picture {image_id}: reload the page")
        known = dict(image.facts or {})
        for name, value in facts.items():
            check_as_seen(name, now=known.get(name, ""), seen=seen.get(name, ("",)), wanted=value)
        change = ImageChange(facts={name: value for name, value in (known | written).items() if name not in gone})
        edit_image(
            session,
            image_id=image_id,
            expected_version=image.version,
            who=who,
            change=change,
            reason="where it was found",
        )

    retrying(engine, write)


def _images_in(engine: Engine, dataset: str, folder: Path) -> list[Image]:
    return [image for image in status_of(engine, dataset).images if Path(image.location).is_relative_to(folder)]


def _add_metadata(session: Session, *, images: Sequence[Image], found: Mapping[str, Any], who: str) -> int:
    """Add metadata to pictures that lack it, and return how many got some."""
    there = find_images(session, dataset_id=images[0].dataset_id, sha256s=[image.sha256 for image in images])
    changed = 0
    for image in there.values():
        known = found[image.location].facts if image.location in found and not image.member else {}
        new = {name: value for name, value in known.items() if not (image.facts or {}).get(name)}
        if new:
            change = ImageChange(facts={**(image.facts or {}), **new})
            edit_image(
                session, image_id=image.id, expected_version=image.version, who=who, change=change, reason="import"
            )
            changed += 1
    return changed
