"""From a database URL to an engine that is ready: folder made, journal chosen, tables up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlmodel import Session, create_engine

__all__ = ["DatabaseError", "Engine", "connect_to", "journal_mode", "open_engine", "transaction"]

BUSY_TIMEOUT_MS = 10_000  # how long a writer waits for another one
WAL_FIXED_IN = (3, 51, 3)
WAL_FIXED_BACKPORTS = {(3, 44, 6), (3, 50, 7)}


class DatabaseError(RuntimeError):
    """The database cannot be used; the message is one sentence that says what to do."""


def open_engine(url: str) -> Engine:
    """Open a database and bring its tables up to date.

    Args:   url: SQLAlchemy's form, as in `sqlite:////folder/grain.sqlite`; a missing file or folder is made.
    Raises: DatabaseError: no such place, no permission, no database, or one written by a newer program.
    """
    engine = connect_to(url)
    where = engine.url.render_as_string(hide_password=True)
    try:
        with engine.begin() as connection:
            _upgrade(connection)
    except DBAPIError as error:
        engine.dispose()
        raise DatabaseError(
            f"cannot use the database {where} ({error.orig}): set GRAIN_HOME or GRAIN_DATABASE_URL to another place"
        ) from error
    except CommandError as error:
        engine.dispose()
        raise DatabaseError(
            f"the database {where} was written by a newer GRAIN ({error}): update this one or use another database"
        ) from error
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session whose work is kept whole on leaving, or not at all when an exception passes through."""
    # expire_on_commit off: what was read stays readable after the session is closed
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


def connect_to(url: str) -> Engine:
    """An engine whose tables may still be missing or old.

    Raises: DatabaseError: the URL is not one, or the folder cannot be made.
    """
    try:
        engine = create_engine(url)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError(
            f"expected GRAIN_DATABASE_URL in the form sqlite:////folder/grain.sqlite, or another database whose driver "
            f"is installed ({error}): correct it or install the driver"
        ) from error
    if engine.dialect.name == "sqlite":
        _make_folder(make_url(url).database)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def journal_mode(sqlite_version: tuple[int, ...]) -> Literal["wal", "delete"]:
    """WAL where SQLite's WAL-reset race is fixed, else the rollback journal.

    In the affected versions two connections in WAL mode can lose a commit or corrupt the file. Older than WAL itself
    counts as affected.
    """
    fixed = sqlite_version >= WAL_FIXED_IN or sqlite_version in WAL_FIXED_BACKPORTS
    return "wal" if fixed else "delete"


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", "db:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _make_folder(file: str | None) -> None:
    if not file or file == ":memory:":
        raise DatabaseError(
            "a database in memory forgets everything and is not shared by threads: "
            "name a file, as in sqlite:////folder/grain.sqlite"
        )
    folder = Path(file).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(
            f"cannot make the folder {folder} ({error.strerror}): set GRAIN_HOME to a folder you may write to"
        ) from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver's own transactions leave out table changes and start late; _begin_sqlite starts ours.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute(f"PRAGMA journal_mode = {journal_mode(sqlite3.sqlite_version_info)}")
    connection.execute("PRAGMA synchronous = FULL")  # an acknowledged edit survives a power cut
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE: a reader that turns writer midway would fail at once instead of waiting its turn
    connection.exec_driver_sql("BEGIN IMMEDIATE")
