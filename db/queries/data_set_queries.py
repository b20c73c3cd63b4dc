"""Query data sets, their images, and the files that an import refused.

The caller owns the transaction; nothing in db.queries commits. A page is asked for by key: `after` is the id of the
last row of the page before, 0 for the first page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, tuple_
from sqlmodel import Session, col, select, update

from db.models import Dataset, Image, RefusedFile, now
from db.queries.bulk import IN_LIST, Added, batches, bound, insert_new
from db.queries.values import check_line, must_be_sha256, storable
from user_errors import UserError


@dataclass(frozen=True, slots=True)
class NewImage:
    """A picture to add; fields as in `db.models.Image`."""

    sha256: str
    width: int
    height: int
    location: str
    member: str = ""
    origin_row: int | None = None
    caption: str = ""
    phash: str = ""
    has_thumbnail: bool = False


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """The files that were left out for a reason. first: location and member of the first of them."""

    reason: str
    files: int
    first: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class NewRefusal:
    """A file that an import leaves out; fields as in `db.models.RefusedFile`."""

    location: str
    reason: str
    member: str = ""


def create_dataset(session: Session, *, name: str, source: str = "") -> Dataset:
    """Make an empty data set.

    Args:   name: how people call it, once only. source: what it is made from, for display.
    Raises: UserError: the name is empty, taken, or more than one printable line.
    """
    name = check_line(name, "a name for the data set")
    if get_dataset(session, name=name) is not None:
        raise UserError(f"expected a new name, got {name!r}, which a data set has: choose another or add to that one")
    dataset = Dataset(name=name, source=storable(source))
    session.add(dataset)
    session.flush()
    return dataset


def get_dataset(session: Session, *, name: str) -> Dataset | None:
    """Return the data set of that name, or of that name without the spaces around it; None when there is none."""
    names = (storable(name), storable(name.strip()))  # one of an earlier version may have spaces
    found = session.exec(select(Dataset).where(col(Dataset.name).in_(names)))
    return min(found, key=lambda each: names.index(each.name), default=None)


def existing_dataset(session: Session, *, name: str) -> Dataset:
    """Return the data set of that name.

    Raises: UserError: there is none.
    """
    if found := get_dataset(session, name=name):
        return found
    raise UserError(f"There is no data set {name[:60]!r}: choose another.")


def dataset_name(session: Session, *, dataset_id: int) -> str:
    """Return the name of a data set; "" where there is none of that id."""
    dataset = session.get(Dataset, dataset_id)
    return dataset.name if dataset else ""


def list_datasets(session: Session) -> Sequence[Dataset]:
    """Return all data sets, by name."""
    return session.exec(select(Dataset).order_by(Dataset.name)).all()


def add_images(session: Session, *, dataset_id: int, images: Iterable[NewImage]) -> Added:
    """Add pictures, leaving out those whose content the data set has.

    Raises: ValueError: a sha256 is not one, a side has no pixels, or there is no such data set.
    """
    created_at = bound(session, now())

    def row(image: NewImage) -> tuple[Any, ...]:
        must_be_sha256(sha256=image.sha256)
        if image.width < 1 or image.height < 1:
            raise ValueError(f"expected an upright size of at least 1 x 1, got {image.width} x {image.height}")
        content = (image.sha256, image.phash, image.width, image.height)
        origin = (image.location, image.member, image.origin_row, storable(image.caption))
        return dataset_id, *content, *origin, image.has_thumbnail, created_at

    columns = "dataset_id sha256 phash width height location member origin_row caption has_thumbnail created_at"
    return insert_new(session, Image, columns=columns.split(), rows=map(row, images), unique=("dataset_id", "sha256"))


def move_images(session: Session, *, places: Mapping[int, tuple[str, str, int | None]]) -> None:
    """Note where pictures lie now: id -> location, member and origin row; all else of them stays."""
    for image_id, (location, member, origin_row) in places.items():
        moved = update(Image).where(col(Image.id) == image_id)
        session.exec(moved.values(location=location, member=member, origin_row=origin_row))


def last_image(session: Session, *, dataset_id: int) -> int:
    """Return the id of the image of a data set that came last; 0 where it has none."""
    return session.exec(select(func.max(Image.id)).where(Image.dataset_id == dataset_id)).one() or 0


def count_replaced_files(session: Session, *, dataset_id: int, after: int) -> int:
    """Count the files that an image of a data set came from and another one later; all are looked through.

    Args: after: id of the last of the earlier ones, not 0.
    """
    place = (col(Image.location), col(Image.member))
    of_dataset = col(Image.dataset_id) == dataset_id
    later = select(*place).where(of_dataset, col(Image.id) > after)
    earlier = select(*place).where(of_dataset, col(Image.id) <= after, tuple_(*place).in_(later)).distinct()
    return session.exec(select(func.count()).select_from(earlier.subquery())).one()


def count_images(session: Session, *, dataset_id: int) -> int:
    """Return how many images a data set has."""
    return session.exec(select(func.count()).select_from(Image).where(Image.dataset_id == dataset_id)).one()


def image_page(session: Session, *, dataset_id: int, after: int = 0, limit: int = 50) -> Sequence[Image]:
    """Return images of a data set in the order in which they came."""
    asked = select(Image).where(Image.dataset_id == dataset_id, Image.id > after)
    return session.exec(asked.order_by(col(Image.id)).limit(limit)).all()


def images_at(session: Session, *, dataset_id: int, places: Iterable[int]) -> list[Image]:
    """Return the images at some places of a data set, counted from 0 in the order in which they came."""
    ordered = select(Image).where(Image.dataset_id == dataset_id).order_by(col(Image.id)).limit(1)
    return [image for place in places for image in session.exec(ordered.offset(place))]


def get_image(session: Session, *, image_id: int) -> Image | None:
    """Return one image; None when there is none of that id."""
    return session.get(Image, image_id)


def pictures_by_id(session: Session, *, ids: Sequence[int]) -> list[Image]:
    """Return images in the order of their ids; those that are gone are left out."""
    found: dict[int, Image] = {}
    for some in batches(ids, IN_LIST):
        found |= {image.id: image for image in session.exec(select(Image).where(col(Image.id).in_(some)))}
    return [found[number] for number in ids if number in found]


def find_images(session: Session, *, dataset_id: int, sha256s: Collection[str]) -> dict[str, Image]:
    """Return the images of a data set with these contents, by sha256."""
    found: list[Image] = []
    for some in batches(sha256s, IN_LIST):
        asked = select(Image).where(Image.dataset_id == dataset_id, col(Image.sha256).in_(some))
        found += session.exec(asked).all()
    return {image.sha256: image for image in found}


def shared_contents(session: Session, *, dataset_id: int, sha256s: Collection[str]) -> set[str]:
    """Return those of some contents that another data set has too."""
    found: set[str] = set()
    others = select(Dataset.id).where(Dataset.id != dataset_id)  # so that the index of contents is used
    for some in batches(sha256s, IN_LIST):
        asked = select(Image.sha256).where(col(Image.dataset_id).in_(others), col(Image.sha256).in_(some))
        found |= set(session.exec(asked).all())
    return found


def others_have_pictures_below(session: Session, *, folder: str, ids: Any) -> bool:
    """Tell whether other pictures than some have their files in a folder; all are looked through.

    Args: ids: of those, a list or a query.
    """
    asked = select(Image.id).where(lies_below(folder), col(Image.id).not_in(ids))
    return session.exec(asked.limit(1)).first() is not None


def lies_below(folder: str) -> ColumnElement[bool]:
    """Return the condition that an image's file lies in a folder, or in one below it, or in an archive of that path.

    Written without LIKE, which on SQLite takes a capital letter for a small one.
    """
    start = f"{folder.rstrip('/')}/"
    return func.substr(Image.location, 1, len(start)) == start


def places_of_others(session: Session, *, locations: Collection[str], ids: Sequence[int]) -> set[str]:
    """Return those of some files that other pictures than some lie in; all are looked through."""
    found: set[str] = set()
    for some in batches(locations, IN_LIST):
        asked = select(Image.location).where(col(Image.location).in_(some), col(Image.id).not_in(ids))
        found |= set(session.exec(asked).all())
    return found


def lookalike_page(session: Session, *, dataset_id: int, after: str = "", limit: int = 50) -> list[list[Image]]:
    """Return groups of images whose perceptual hashes are equal, by that hash.

    Args:    after: `phash` of the last group of the page before. limit: groups.
    Returns: each group in the order in which its pictures came, two or more.
    """
    hashes = select(Image.phash).where(Image.dataset_id == dataset_id, Image.phash > after)
    shared = hashes.group_by(Image.phash).having(func.count() > 1).order_by(Image.phash).limit(limit)
    asked = select(Image).where(Image.dataset_id == dataset_id, col(Image.phash).in_(session.exec(shared).all()))
    groups: dict[str, list[Image]] = {}
    for image in session.exec(asked.order_by(Image.phash, col(Image.id))):
        groups.setdefault(image.phash, []).append(image)
    return list(groups.values())


def add_refusals(session: Session, *, dataset_id: int, import_id: str, files: Iterable[NewRefusal]) -> Added:
    """Note files that an import leaves out; the same file of the same import is noted once."""
    created_at = bound(session, now())
    columns = "dataset_id import_id location member reason created_at"
    rows = (
        (dataset_id, import_id, storable(file.location), storable(file.member), storable(file.reason), created_at)
        for file in files
    )
    return insert_new(session, RefusedFile, columns=columns.split(), rows=rows, unique=columns.split()[:4])


def refusals_by_reason(
    session: Session, *, dataset_id: int, most: int, examples: int
) -> tuple[list[RefusalCount], int]:
    """Count the files that imports left out of a data set by reason, the commonest first.

    Args:    most: reasons that are returned. examples: files that each names, the earliest first.
    Returns: the counts, and how many files there are in all.
    """
    files = func.count()
    asked = select(RefusedFile.reason, files).where(RefusedFile.dataset_id == dataset_id).group_by(RefusedFile.reason)
    rows = session.exec(asked.order_by(files.desc(), RefusedFile.reason)).all()
    found = []
    for reason, count in rows[:most]:
        of_reason = select(RefusedFile.location, RefusedFile.member).where(
            RefusedFile.dataset_id == dataset_id, RefusedFile.reason == reason
        )
        first = session.exec(of_reason.order_by(col(RefusedFile.id)).limit(examples)).all()
        found.append(RefusalCount(reason, count, tuple((location, member) for location, member in first)))
    return found, sum(count for _, count in rows)


def refused_page(session: Session, *, dataset_id: int, after: int = 0, limit: int = 50) -> Sequence[RefusedFile]:
    """Return files that imports left out of a data set in the order in which they were met."""
    asked = select(RefusedFile).where(RefusedFile.dataset_id == dataset_id, RefusedFile.id > after)
    return session.exec(asked.order_by(col(RefusedFile.id)).limit(limit)).all()


def lock_image(session: Session, *, image_id: int) -> Image:
    """Lock and return an image.

    Raises: UserError: there is none of that id.
    """
    asked = select(Image).where(Image.id == image_id).with_for_update().execution_options(populate_existing=True)
    image = session.exec(asked).first()
    if image is None:
        raise UserError(f"expected the id of a picture, got {image_id}: it was removed meanwhile")
    return image
