"""Questions to the database, by name: looks, data sets, their pictures and regions.

The caller owns the transaction; nothing here commits. Work on them is asked about in db/run_queries.py, jobs in
db/job_queries.py.

A page is asked for by key: `after` is the id of the last row of the page before, 0 for the first page.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, get_args

from sqlalchemy import ColumnElement, Table, func, union_all
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError
from sqlmodel import Session, col, select, update

from db.models import Annotation, Dataset, GroundQuery, Image, RefusedFile, StageResult, Status, UtcDateTime, now

BOX = struct.Struct("<4d")
STATUSES: tuple[Status, ...] = get_args(Status)
VISIBLE: tuple[Status, ...] = tuple(status for status in STATUSES if status != "deleted")
SHA256 = re.compile(r"[0-9a-f]{64}")
BATCH_ROWS = 20_000  # of a bulk insert: a few megabytes
IN_LIST = 5_000  # values named in one statement; SQLite takes 32,766, PostgreSQL 65,535
Insert = sqlite.Insert | postgresql.Insert


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
class NewRefusal:
    """A file that an import leaves out; fields as in `db.models.RefusedFile`."""

    location: str
    reason: str
    member: str = ""


@dataclass(frozen=True, slots=True)
class NewAnnotation:
    """A region to add. xyxy: normalized to the upright picture. Other fields as in `db.models.Annotation`."""

    image_id: int
    xyxy: tuple[float, float, float, float]
    text: str
    source: str
    score: float | None = None
    status: Status = "pending"
    description_id: int | None = None


@dataclass(frozen=True)
class Added:
    """How many rows of a bulk insert were new, and how many were there already."""

    new: int
    known: int


@dataclass(frozen=True)
class AnnotationFilter:
    """Which regions a page is about; an empty field asks for nothing.

    statuses: any of these. source: model@revision or human:name.
    min_score, max_score: both ends belong to it; regions without a score are then left out. No index knows scores: a
    page of rare ones is found by walking.
    """

    statuses: tuple[Status, ...] = VISIBLE
    source: str = ""
    min_score: float | None = None
    max_score: float | None = None


def save_ground_query(
    session: Session,
    *,
    picture_sha256: str,
    picture_name: str,
    descriptions: str,
    classes: str,
    checkpoint: str,
    threshold: float,
    alpha: float,
    versus: str = "",
) -> GroundQuery:
    """Keep one look; its `id` is the link.

    Args:   picture_sha256: 64 hex digits, the stored picture's file name. descriptions, classes: as typed.
            threshold: cosine. alpha: share of the global score, 0..1. versus: the checkpoint beside the first, if any.
    Raises: ValueError: picture_sha256 is not a hash, and so must never become a path.
    """
    must_be_sha256(picture_sha256=picture_sha256)
    query = GroundQuery(
        picture_sha256=picture_sha256,
        picture_name=picture_name,
        descriptions=descriptions,
        classes=classes,
        checkpoint=checkpoint,
        threshold=threshold,
        alpha=alpha,
        versus=versus,
    )
    session.add(query)
    session.flush()
    return query


def get_ground_query(session: Session, *, query_id: str) -> GroundQuery | None:
    """The look behind a link; None when there is no such link."""
    return session.get(GroundQuery, query_id)


def create_dataset(session: Session, *, name: str, source: str = "") -> Dataset:
    """Make an empty data set.

    Args:   name: how people call it, once only. source: what it is made from, for display.
    Raises: ValueError: the name is empty, taken, or more than one printable line.
    """
    if not name.strip() or not name.isprintable():
        raise ValueError(f"expected a name for the data set, one printable line, got {name!r}: give it one")
    if get_dataset(session, name=name) is not None:
        raise ValueError(f"expected a new name, got {name!r}, which a data set has: choose another or add to that one")
    dataset = Dataset(name=name, source=storable(source))
    session.add(dataset)
    session.flush()
    return dataset


def get_dataset(session: Session, *, name: str) -> Dataset | None:
    """The data set of that name; None when there is none."""
    return session.exec(select(Dataset).where(Dataset.name == storable(name))).first()


def list_datasets(session: Session) -> Sequence[Dataset]:
    """All data sets, by name."""
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
    return insert_new(session, Image, columns.split(), map(row, images), unique=("dataset_id", "sha256"))


def move_images(session: Session, *, places: Mapping[int, tuple[str, str, int | None]]) -> None:
    """Note where pictures lie now: id -> location, member and origin row; all else of them stays."""
    for image_id, (location, member, origin_row) in places.items():
        moved = update(Image).where(col(Image.id) == image_id)
        session.exec(moved.values(location=location, member=member, origin_row=origin_row))


def count_images(session: Session, *, dataset_id: int) -> int:
    """How many pictures a data set has."""
    return session.exec(select(func.count()).select_from(Image).where(Image.dataset_id == dataset_id)).one()


def image_page(session: Session, *, dataset_id: int, after: int = 0, limit: int = 50) -> Sequence[Image]:
    """Pictures of a data set in the order in which they came."""
    asked = select(Image).where(Image.dataset_id == dataset_id, Image.id > after)
    return session.exec(asked.order_by(col(Image.id)).limit(limit)).all()


def get_image(session: Session, *, image_id: int) -> Image | None:
    """One picture; None when there is none of that id."""
    return session.get(Image, image_id)


def find_images(session: Session, *, dataset_id: int, sha256s: Collection[str]) -> dict[str, Image]:
    """The pictures that a data set has of these contents, by sha256."""
    found: list[Image] = []
    for some in batches(sha256s, IN_LIST):
        asked = select(Image).where(Image.dataset_id == dataset_id, col(Image.sha256).in_(some))
        found += session.exec(asked).all()
    return {image.sha256: image for image in found}


def lookalike_page(session: Session, *, dataset_id: int, after: str = "", limit: int = 50) -> list[list[Image]]:
    """Groups of pictures whose perceptual hashes are equal, by that hash.

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
    return insert_new(session, RefusedFile, columns.split(), rows, unique=columns.split()[:4])


def refusal_page(
    session: Session, *, dataset_id: int, import_id: str, after: int = 0, limit: int = 50
) -> Sequence[RefusedFile]:
    """The files that one import left out."""
    mine = (RefusedFile.dataset_id == dataset_id, RefusedFile.import_id == import_id)
    return session.exec(
        select(RefusedFile).where(*mine, RefusedFile.id > after).order_by(col(RefusedFile.id)).limit(limit)
    ).all()


def count_refusals(session: Session, *, dataset_id: int, import_id: str) -> dict[str, int]:
    """Reason -> files that one import left out for it."""
    mine = (RefusedFile.dataset_id == dataset_id, RefusedFile.import_id == import_id)
    return dict(session.exec(select(RefusedFile.reason, func.count()).where(*mine).group_by(RefusedFile.reason)).all())


def annotations_of(session: Session, *, image_ids: Collection[int], recipe: str = "") -> dict[int, list[Annotation]]:
    """The regions of some pictures that nobody deleted, by picture, in the order they came.

    Args: recipe: of this one only, not of all and by hand.
    """
    found: dict[int, list[Annotation]] = {image_id: [] for image_id in image_ids}
    for some in batches(image_ids, IN_LIST):
        asked = select(Annotation).where(col(Annotation.image_id).in_(some), Annotation.status != "deleted")
        if recipe:
            asked = asked.join(StageResult, col(StageResult.id) == Annotation.stage_result_id)
            asked = asked.where(StageResult.recipe == recipe)
        for annotation in session.exec(asked.order_by(col(Annotation.id))):
            found[annotation.image_id].append(annotation)
    return found


def add_annotations(
    session: Session,
    *,
    dataset_id: int,
    rows: Iterable[NewAnnotation],
    recipe: str = "",
    stage_result_id: int | None = None,
) -> Added:
    """Add regions in bulk; one of equal picture, box, text, source and recipe is left out, so again adds nothing.

    Rows should come picture by picture: that is what the index is quick at.

    Args:   rows: of pictures of this data set. recipe, stage_result_id: where an annotator found them.
    Raises: ValueError: a box is not normalized xyxy with an area, a status is unknown, or a picture does not exist.
    """

    def row(new: NewAnnotation) -> tuple[Any, ...]:
        x1, y1, x2, y2 = new.xyxy
        if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
            raise bad_box(new.xyxy, new.image_id)
        if new.status not in STATUSES:
            raise ValueError(f"expected the status {', '.join(STATUSES)}, got {new.status!r}")
        text = storable(new.text)
        said = f"{text}\0{new.source}\0{recipe}".encode()
        digest = hashlib.blake2b(BOX.pack(x1, y1, x2, y2) + said, digest_size=8).digest()
        place = (dataset_id, new.image_id, stage_result_id, new.description_id, x1, y1, x2, y2)
        key = int.from_bytes(digest, "little", signed=True)
        return *place, text, new.score, new.source, new.status, 1, key

    columns = "dataset_id image_id stage_result_id description_id x1 y1 x2 y2"
    columns += " text score source status version content_key"
    return insert_new(session, Annotation, columns.split(), map(row, rows), unique=("image_id", "content_key"))


def annotation_page(
    session: Session,
    *,
    dataset_id: int,
    wanted: AnnotationFilter | None = None,
    after: int = 0,
    limit: int = 50,
) -> Sequence[Annotation]:
    """Regions of a data set in the order they came.

    Each status is its own index's stretch in that order: the page is the head of their merger, at any depth.
    """
    wanted = wanted or AnnotationFilter()
    if not wanted.statuses:
        return []
    ids = union_all(
        *(
            select(
                select(Annotation.id)
                .where(*_matches(wanted, dataset_id), Annotation.status == status, Annotation.id > after)
                .order_by(col(Annotation.id))
                .limit(limit)
                .subquery()
            )
            for status in wanted.statuses
        )
    ).subquery()
    asked = select(Annotation).join(ids, ids.c.id == Annotation.id)
    return session.exec(asked.order_by(col(Annotation.id)).limit(limit)).all()


def insert_into(session: Session, model: Any) -> Insert:
    """An INSERT that knows ON CONFLICT, in the dialect at hand."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(model.__table__)
    return postgresql.insert(model.__table__)


def insert_new(
    session: Session, model: Any, columns: Sequence[str], rows: Iterable[tuple[Any, ...]], *, unique: Sequence[str]
) -> Added:
    """Insert rows in bulk, leaving out those whose unique columns are there already.

    Straight to the driver: SQLAlchemy's own way to many rows is twice as slow on SQLite. Moments must be `bound`.

    Raises: ValueError: a row breaks a rule of its table (db/models.py) or names a row that does not exist.
    """
    table: Table = model.__table__
    place = "?" if session.get_bind().dialect.paramstyle == "qmark" else "%s"
    places = ", ".join([place] * len(columns))
    statement = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})"
    statement += f" ON CONFLICT ({', '.join(unique)}) DO NOTHING"
    given = new = 0
    for some in batches(rows, BATCH_ROWS):
        try:
            new += session.connection().exec_driver_sql(statement, some).rowcount
        except (IntegrityError, DataError) as error:
            raise ValueError(f"a row for {table.name} breaks a rule: {' '.join(str(error.orig).split())}") from error
        given += len(some)
    return Added(new=new, known=given - new)


def bound(session: Session, moment: Any) -> Any:
    """A moment as the driver wants it, for `insert_new`."""
    dialect = session.get_bind().dialect
    processor = UtcDateTime().dialect_impl(dialect).bind_processor(dialect)
    return processor(moment) if processor else moment


def batches(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    """Lists of at most `size` items, in order; none is empty."""
    rest = iter(items)
    return iter(lambda: list(islice(rest, size)), [])


def storable(text: str) -> str:
    """Text that every database takes: a NUL becomes U+FFFD, half a surrogate pair is spelled out.

    Models answer such things, and file names hold them.
    """
    if text.isprintable():  # most are, and it is the quickest to ask
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "backslashreplace").decode()


def bad_box(xyxy: tuple[float, ...], image_id: int) -> ValueError:
    """What to raise for a box that no picture has."""
    return ValueError(
        f"expected a box with an area, as xyxy in parts of the upright picture (0 to 1), got {xyxy} "
        f"for picture {image_id}: divide pixels by the picture's size"
    )


def must_be_sha256(**values: str) -> None:
    """Refuse what is not a hash, by the argument's name.

    Raises: ValueError: one is not 64 lower-case hex digits.
    """
    for name, value in values.items():
        if not SHA256.fullmatch(value):
            raise ValueError(f"{name} must be 64 lower-case hex digits, got {value!r}")


def _matches(wanted: AnnotationFilter, dataset_id: int) -> list[ColumnElement[bool]]:
    clauses = [col(Annotation.dataset_id) == dataset_id]
    if wanted.source:
        clauses.append(col(Annotation.source) == wanted.source)
    if wanted.min_score is not None:
        clauses.append(col(Annotation.score) >= wanted.min_score)
    if wanted.max_score is not None:
        clauses.append(col(Annotation.score) <= wanted.max_score)
    return clauses
