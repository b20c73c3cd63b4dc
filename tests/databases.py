"""What tests put into a database, and how they make one; the fixtures are in tests/database_fixtures.py."""

from __future__ import annotations

from sqlalchemy import URL, create_engine

from db.engine import Engine, open_engine, transaction
from db.queries import NewImage, add_images, create_dataset


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
