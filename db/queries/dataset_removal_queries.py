"""Count what belongs to a data set or to some of its images, and remove it; the tables follow from their keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ForeignKey, Select, Table, delete, func, or_, text, update
from sqlalchemy import select as select_rows
from sqlmodel import Session, SQLModel, col, select

from db.models import Dataset, DatasetVersion, Image, Job, RegionRow, RegionTag
from db.queries.bulk import IN_LIST
from db.queries.data_set_queries import get_dataset, lies_below
from db.queries.job_queries import UNFINISHED, rename_in_jobs
from db.queries.region_index_queries import tally
from db.queries.selectivity import on_postgresql
from db.queries.values import check_line
from user_errors import UserError


@dataclass(frozen=True)
class ImageChoice:
    """Some images of a data set: all that every part which is given says of them.

    place: the folder, archive or file that they came from. tag: of a region of theirs that is not in the trash.
    ids: at most IN_LIST.
    """

    dataset_id: int
    place: str = ""
    tag: str = ""
    ids: Sequence[int] | None = None

    def asked(self) -> Select[Any]:
        """Return the query of their ids."""
        found = select_rows(col(Image.id)).where(col(Image.dataset_id) == self.dataset_id)
        if self.place:
            found = found.where(or_(col(Image.location) == self.place, lies_below(self.place)))
        if self.tag:
            tagged = select_rows(col(RegionRow.image_id)).join(RegionTag, col(RegionTag.region_id) == RegionRow.id)
            mine = (col(RegionTag.dataset_id) == self.dataset_id, col(RegionTag.tag) == self.tag)
            there = (col(RegionTag.removed_by) == "", col(RegionRow.status) != "deleted")
            found = found.where(col(Image.id).in_(tagged.where(*mine, *there)))
        return found if self.ids is None else found.where(col(Image.id).in_(self.ids))


def tables_below(root: type[SQLModel]) -> list[Table]:
    """Return the tables whose rows belong to one row of a table, those that others point at last; that table too."""
    tables = reversed(SQLModel.metadata.sorted_tables)
    return [table for table in tables if _is(table, root) or _key(table, root) is not None]


def count_rows(session: Session, *, dataset_id: int) -> dict[str, int]:
    """Return how many rows of each table belong to a data set, by the table's name; without those that have none."""
    counts = _count(session, Dataset, [dataset_id])
    return {name: count for name, count in counts.items() if name != Dataset.__tablename__}


def count_rows_of_images(session: Session, *, choice: ImageChoice) -> dict[str, int]:
    """Return how many rows of each table belong to some images, themselves too, as `count_rows`."""
    return _count(session, Image, choice.asked())


def _count(session: Session, root: type[SQLModel], ids: Any) -> dict[str, int]:
    counts = {}
    for table in tables_below(root):
        asked = select_rows(func.count()).select_from(table).where(_belongs(table, root, ids))
        counts[table.name] = int(session.connection().execute(asked).scalar_one())
    return {name: count for name, count in counts.items() if count}


def remove_rows(session: Session, *, dataset_id: int, limit: int = IN_LIST) -> tuple[str, int] | None:
    """Remove some rows of a data set, and it with the last ones; return their table and how many, None at the end."""
    for table in tables_below(Dataset):
        if table.name == RegionRow.__tablename__:
            _prepare_regions(session, dataset_id, limit)
        removed = session.connection().execute(_removal(table, dataset_id, limit)).rowcount
        if removed:
            return table.name, int(removed)
    return None


def chosen_images(session: Session, *, choice: ImageChoice, limit: int) -> Sequence[Image]:
    """Return the first of some images, in the order in which they came."""
    asked = select(Image).where(col(Image.id).in_(choice.asked()))
    return session.exec(asked.order_by(col(Image.id)).limit(limit)).all()


def remove_images(session: Session, *, ids: Sequence[int]) -> Counter[str]:
    """Remove images for good, with all that belongs to them; return the rows removed, by table."""
    run = session.connection().execute
    run(select_rows(col(Image.id)).where(col(Image.id).in_(ids)).order_by(col(Image.id)).with_for_update())
    asked = select(RegionRow.id, RegionRow.dataset_id, RegionRow.source, RegionRow.status)
    regions = session.exec(asked.where(col(RegionRow.image_id).in_(ids), text("indexed IS true"))).all()
    less: Counter[tuple[int, str, Any]] = Counter()  # a status, which the query's type calls a text
    for _, dataset_id, source, status in regions:
        less[dataset_id, source, status] -= 1
    tally(session, less)
    _forget_words(session, [region[0] for region in regions])
    run(update(RegionRow).where(col(RegionRow.image_id).in_(ids)).values(box_id=None))  # boxes never span images
    removed: Counter[str] = Counter()
    for table in tables_below(Image):
        removed[table.name] += run(delete(table).where(_belongs(table, Image, ids))).rowcount
    return +removed


def rename_dataset(session: Session, *, dataset_id: int, name: str) -> Dataset:
    """Give a data set another name, by which the jobs about it name it from now on, too.

    Raises: UserError: the name is empty, taken or no printable line, or there is no such data set.
    """
    name = check_new_name(session, name=name)
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise UserError("expected a data set, got one that was removed meanwhile: reload the page")
    rename_in_jobs(session, before=dataset.name, made=dataset.created_at, name=name)
    dataset.name = name
    session.add(dataset)
    session.flush()
    return dataset


def check_new_name(session: Session, *, name: str) -> str:
    """Return a name that a data set can get, without the spaces around it.

    Raises: UserError: it is empty, taken or no printable line.
    """
    name = check_line(name, "a name for the data set")
    if get_dataset(session, name=name) is not None:
        raise UserError(f"expected a new name, got {name!r}, which a data set has: choose another")
    return name


def jobs_of_dataset(session: Session, *, name: str) -> list[Job]:
    """Return the jobs that are not over and whose settings name a data set, or whose command one of its versions."""
    of_dataset = col(DatasetVersion.dataset_id).in_(select(Dataset.id).where(Dataset.name == name))
    sha256s = session.exec(select(DatasetVersion.sha256).where(of_dataset)).all()
    asked = select_rows(Job).where(col(Job.state).in_(UNFINISHED)).order_by(col(Job.id))
    return [
        job
        for job in session.execute(asked).scalars()
        if name in _texts(job.config) or any(sha256 in word for word in job.argv for sha256 in sha256s)
    ]


def trainings_of_versions(session: Session, *, sha256s: Collection[str]) -> list[Job]:
    """Return the trainings, in any state, whose settings name one of some versions, anywhere in them."""
    asked = select_rows(Job).where(col(Job.kind) == "train").order_by(col(Job.id))
    names = {f"version:{sha256}" for sha256 in sha256s}
    return [job for job in session.execute(asked).scalars() if not names.isdisjoint(_texts(job.config))]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _is(table: Table, root: type[SQLModel]) -> bool:
    return table.name == root.__tablename__


def _key(table: Table, root: type[SQLModel]) -> ForeignKey | None:
    """Return the key by which a table's rows belong to one of the root's: the most direct; None where they do not."""
    found = []
    for key in table.foreign_keys:
        target = key.column.table
        if target is table or key.parent.nullable:
            continue
        if _is(target, root) or _key(target, root) is not None:
            found.append((0 if _is(target, root) else 1, key.parent.name, key))
    return min(found, key=lambda each: each[:2])[2] if found else None


def _belongs(table: Table, root: type[SQLModel], ids: Any) -> Any:
    """Return the condition that a row belongs to one of the root's with these ids, a list or a query."""
    if _is(table, root):
        return table.c.id.in_(ids)
    key = _key(table, root)
    assert key is not None
    above = key.column.table
    if _is(above, root):
        return key.parent.in_(ids)
    return key.parent.in_(select_rows(above.c[key.column.name]).where(_belongs(above, root, ids)))


def _removal(table: Table, dataset_id: int, limit: int) -> Any:
    """Return the statement that removes some rows: a part of those that are numbered, else all."""
    belongs = _belongs(table, Dataset, [dataset_id])
    if _is(table, Dataset) or "id" not in table.c:
        return delete(table).where(belongs)
    some = select_rows(table.c.id).where(belongs).order_by(table.c.id).limit(limit)
    return delete(table).where(table.c.id.in_(some))


def _prepare_regions(session: Session, dataset_id: int, limit: int) -> None:
    """Take the next regions out of the text search, and off the boxes that others share with them."""
    asked = select_rows(col(RegionRow.id)).where(col(RegionRow.dataset_id) == dataset_id)
    ids = [row[0] for row in session.connection().execute(asked.order_by(col(RegionRow.id)).limit(limit))]
    if not ids:
        return
    _forget_words(session, ids)
    theirs = or_(col(RegionRow.id).in_(ids), col(RegionRow.box_id).in_(ids))
    session.connection().execute(update(RegionRow).where(theirs).values(box_id=None))


def _forget_words(session: Session, ids: Sequence[int]) -> None:
    """Take regions out of SQLite's text search; PostgreSQL's is a column of theirs."""
    if ids and not on_postgresql(session):
        session.connection().exec_driver_sql("DELETE FROM region_text WHERE rowid = ?", [(each,) for each in ids])
