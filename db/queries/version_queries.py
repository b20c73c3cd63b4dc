"""Query frozen versions, and all images of a data set with their regions, batch by batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from db.models import Dataset, DatasetVersion, Image, RegionEdit, RegionRow, Review, StageResult, Status
from db.queries.bulk import batches
from db.queries.region_queries import VISIBLE
from db.queries.values import check_line, must_be_sha256, storable
from user_errors import UserError

STREAM_PICTURES = 500  # held at a time


@dataclass(frozen=True)
class PictureRegions:
    """A picture with its regions, in the order they came."""

    image: Image
    regions: tuple[RegionRow, ...]


def create_version(
    session: Session,
    *,
    dataset_id: int,
    name: str,
    sha256: str,
    file_name: str,
    pictures: int,
    regions: int,
    created_by: str,
    note: str = "",
) -> DatasetVersion:
    """Note a frozen version, whose file is there already.

    Args:   sha256: of the file. file_name: below GRAIN_HOME/versions, without folders. pictures, regions: in it.
    Raises: UserError: the name is empty, taken in this data set or no printable line. ValueError: file_name is a path.
    """
    must_be_sha256(sha256=sha256)
    name = check_line(name, "a name for the version")
    if not file_name or file_name.startswith(".") or "/" in file_name or "\\" in file_name:
        raise ValueError(f"expected the name of a file in the versions' folder, got {file_name!r}")
    if get_version(session, dataset_id=dataset_id, name=name) is not None:
        raise UserError(f"expected a new name, got {name!r}, which a version has: choose another")
    version = DatasetVersion(
        dataset_id=dataset_id,
        name=name,
        sha256=sha256,
        file_name=file_name,
        pictures=pictures,
        regions=regions,
        created_by=created_by,
        note=storable(note),
    )
    session.add(version)
    session.flush()
    return version


def get_version(session: Session, *, dataset_id: int, name: str) -> DatasetVersion | None:
    """Return the version of that name; None when there is none."""
    mine = (DatasetVersion.dataset_id == dataset_id, DatasetVersion.name == storable(name))
    return session.exec(select(DatasetVersion).where(*mine)).first()


def datasets_of_version(session: Session, *, sha256: str) -> Sequence[Dataset]:
    """Return the data sets that have a version of that hash, the first one first."""
    asked = select(Dataset).join(DatasetVersion, col(DatasetVersion.dataset_id) == Dataset.id)
    return session.exec(asked.where(DatasetVersion.sha256 == sha256).order_by(col(Dataset.id))).all()


def list_versions(session: Session, *, dataset_id: int) -> Sequence[DatasetVersion]:
    """Return the versions of a data set, newest first."""
    asked = select(DatasetVersion).where(DatasetVersion.dataset_id == dataset_id)
    return session.exec(asked.order_by(col(DatasetVersion.id).desc())).all()


def dataset_batch(
    session: Session,
    *,
    dataset_id: int,
    statuses: Collection[Status] = VISIBLE,
    after: int = 0,
    limit: int = STREAM_PICTURES,
) -> list[PictureRegions]:
    """Return the next images of a data set, by id, with their regions in some states.

    What takes minutes asks for batches in a transaction each, since a long reader holds up SQLite's writers, and reads
    again at the end what was edited meanwhile (`last_edit_id`, `images_edited_since`).

    Args: after: id of the last picture of the batch before.
    """
    mine = (Image.dataset_id == dataset_id, Image.id > after)
    images = session.exec(select(Image).where(*mine).order_by(col(Image.id)).limit(limit)).all()
    return _with_regions(session, images, statuses)


def pictures_of(
    session: Session, *, image_ids: Collection[int], statuses: Collection[Status] = VISIBLE
) -> list[PictureRegions]:
    """Return some images by id, with their regions in some states."""
    found: list[PictureRegions] = []
    for some in batches(sorted(set(image_ids)), STREAM_PICTURES):
        images = session.exec(select(Image).where(col(Image.id).in_(some)).order_by(col(Image.id))).all()
        found += _with_regions(session, images, statuses)
    return found


def last_edit_id(session: Session) -> int:
    """Return the id of the latest edit; 0 before the first."""
    return session.exec(select(func.max(RegionEdit.id))).one() or 0


def images_edited_since(session: Session, *, dataset_id: int, edit_id: int) -> list[int]:
    """Return the images of a data set that were edited after an edit, by id."""
    mine = (RegionEdit.dataset_id == dataset_id, RegionEdit.id > edit_id)
    return list(session.exec(select(RegionEdit.image_id).where(*mine).distinct().order_by(col(RegionEdit.image_id))))


def count_reviews(session: Session, *, dataset_id: int) -> dict[Review, int]:
    """Return how many images of a data set are in each review state."""
    asked = select(Image.review, func.count()).where(Image.dataset_id == dataset_id).group_by(col(Image.review))
    return cast("dict[Review, int]", dict(session.exec(asked).all()))


def count_described(session: Session, *, dataset_id: int) -> int:
    """Return how many images of a data set have a region that nobody deleted, or are done with nothing found."""
    region = select(RegionRow.id).where(RegionRow.image_id == Image.id, col(RegionRow.status).in_(VISIBLE))
    boxed = (StageResult.image_id == Image.id, StageResult.stage == "localize", StageResult.state == "done")
    described = or_(region.exists(), select(StageResult.id).where(*boxed).exists(), col(Image.review) == "empty")
    return session.exec(select(func.count()).select_from(Image).where(Image.dataset_id == dataset_id, described)).one()


def count_verdicts(session: Session, *, dataset_id: int) -> dict[Status, int]:
    """Return how many descriptions of a data set have each verdict, exactly, also of regions that just came."""
    mine = (RegionRow.dataset_id == dataset_id, col(RegionRow.status).in_(VISIBLE))
    asked = select(RegionRow.status, func.count()).where(*mine).group_by(col(RegionRow.status))
    return cast("dict[Status, int]", dict(session.exec(asked).all()))


def count_exportable(session: Session, *, dataset_id: int, statuses: Collection[Status]) -> tuple[int, int]:
    """Return how many images of a data set are reviewed or have a description of some verdicts, and how many it has."""
    region = select(RegionRow.id).where(RegionRow.image_id == Image.id, col(RegionRow.status).in_(statuses))
    images = select(func.count()).select_from(Image).where(Image.dataset_id == dataset_id)
    taken = images.where(or_(col(Image.review) != "open", region.exists()))
    return session.exec(taken).one(), session.exec(images).one()


def edited_at(session: Session, *, dataset_id: int) -> datetime | None:
    """Return when a data set was edited last; None where it never was."""
    return session.exec(select(func.max(RegionEdit.at)).where(RegionEdit.dataset_id == dataset_id)).one()


def last_ids(session: Session) -> tuple[int, ...]:
    """Return the ids of the latest edit, region, image and result of an annotator, of all data sets.

    They are equal while nothing came or was edited.
    """
    newest = (func.max(RegionEdit.id), func.max(RegionRow.id), func.max(Image.id), func.max(StageResult.id))
    return tuple(session.exec(select(each)).one() or 0 for each in newest)


def _with_regions(session: Session, images: Sequence[Image], statuses: Collection[Status]) -> list[PictureRegions]:
    found: dict[int, list[RegionRow]] = {image.id: [] for image in images}
    wanted = (col(RegionRow.image_id).in_(found), col(RegionRow.status).in_(statuses))
    for region in session.exec(select(RegionRow).where(*wanted).order_by(col(RegionRow.id))):
        found[region.image_id].append(region)
    return [PictureRegions(image, tuple(found[image.id])) for image in images]
