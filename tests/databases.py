"""What tests put into a database, and how they make one; the fixtures are in tests/database_fixtures.py."""

from __future__ import annotations

import random
from functools import partial

from sqlalchemy import URL, create_engine

from db.curate_queries import AnnotationChange, EditConflictError, edit_annotation
from db.engine import Engine, open_engine, retrying, transaction
from db.queries import NewAnnotation, NewImage, add_images, create_dataset

COLOURS = ("red", "blue", "RED", "naïve")
THINGS = ("lid", "handle", "lid-holder", "lids")


def order(server: URL, *statements: str) -> None:
    """Tell a PostgreSQL server what cannot be told inside a transaction."""
    alone = create_engine(server, isolation_level="AUTOCOMMIT")
    with alone.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    alone.dispose()


def text_of(url: URL) -> str:
    """The URL as a person would set it."""
    return url.render_as_string(hide_password=False)


def sha(number: int) -> str:
    """A hash that no content has."""
    return f"{number:064x}"


def some_images(numbers: range) -> list[NewImage]:
    """Pictures named by their numbers."""
    return [NewImage(sha256=sha(n), width=640, height=480, location=f"{n}.jpg") for n in numbers]


def filled(engine: Engine, pictures: int) -> int:
    """The id of a new data set "lids" with so many pictures."""
    with transaction(engine) as session:
        dataset_id = create_dataset(session, name="lids").id
        add_images(session, dataset_id=dataset_id, images=some_images(range(pictures)))
    return dataset_id


def add_one_by_one(url: str, worker: int, pictures: int) -> list[str]:
    """What one of several writing processes does: a commit a picture; the hashes whose commits were acknowledged."""
    engine = open_engine(url)
    kept = []
    for number in range(pictures):
        with transaction(engine) as session:
            [image] = some_images(range(worker * 1000 + number, worker * 1000 + number + 1))
            add_images(session, dataset_id=1, images=[image])
        kept.append(image.sha256)
    engine.dispose()
    return kept


def some_regions(pictures: int, seed: int = 0) -> list[NewAnnotation]:
    """Regions of the first pictures, a dozen each: mixed words, statuses and scores, equal ones and none among them."""
    chance = random.Random(seed)
    return [
        NewAnnotation(
            image_id=1 + n // 12,
            xyxy=(chance.random() / 2, chance.random() / 2, 0.6, 0.7),
            text=f"a {chance.choice(COLOURS)} {chance.choice(THINGS)}",
            source=chance.choice(("owl@1", "human:ada")),
            score=chance.choice((None, 0.25, 0.5, round(chance.random(), 2))),
            status=chance.choice(("pending", "accepted", "rejected", "deleted")),
        )
        for n in range(12 * pictures)
    ]


def collide(url: str, who: str, rounds: int) -> list[tuple[int, str]]:
    """What one of two colliding curators does to region 1: (version, text) of every edit that was acknowledged.

    One who is late looks at the present version and wants their own all the same.
    """
    engine = open_engine(url)
    kept, version = [], 1
    for number in range(rounds):
        change = AnnotationChange(text=f"{who} {number}")
        for _ in range(rounds):
            try:
                work = partial(edit_annotation, annotation_id=1, expected_version=version, who=who, change=change)
                row = retrying(engine, work)
            except EditConflictError as conflict:
                version = conflict.version
            else:
                version = row.version
                kept.append((row.version, row.text))
                break
    engine.dispose()
    return kept
