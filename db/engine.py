"""Open a database by its URL: make its folder, choose the journal, bring its tables up to date."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlmodel import Session, create_engine

from user_errors import DiskFullError, UserError, is_disk_full

__all__ = [
    "DBAPIError",
    "DatabaseError",
    "DatabaseFullError",
    "Engine",
    "Session",
    "connect_to",
    "journal_mode",
    "open_engine",
    "reading",
    "retrying",
    "transaction",
    "upgrade",
]

Result = TypeVar("Result")

BUSY_TIMEOUT_MS = 10_000  # how long a writer waits for another one
CACHE_KIB = 64 * 1024  # SQLite's page cache of a connection: a big import writes each page once, and late
UPGRADE_LOCK = 0x4752_4149  # any number, the same in every GRAIN: two that start together upgrade one after the other
PAUSES_S = (0.05, 0.2, 0.8, 2.0)  # before each further try: a restarted PostgreSQL is back within about two seconds
LONG_PAUSES_S = (*PAUSES_S, *[5.0] * 12)  # of work of hours: it waits a minute for a database that is away
# deadlock; serialization failure; the server is stopping, has stopped, is starting
PASSING_SQLSTATES = {"40P01", "40001", "57P01", "57P02", "57P03"}
READ_ONLY_SQLSTATE = "25006"  # of a standby, for one
WAL_FIXED_IN = (3, 51, 3)
WAL_FIXED_BACKPORTS = {(3, 44, 6), (3, 50, 7)}


class DatabaseError(UserError):
    """The database cannot be used; the message is one sentence that says what to do."""


class DatabaseFullError(DatabaseError, DiskFullError):
    """The disk of the database is full; what was committed before is whole."""


def open_engine(url: str) -> Engine:
    """Open a database and bring its tables up to date.

    Args:   url: SQLAlchemy's form, as in `sqlite:////folder/grain.sqlite`; a missing file or folder is made.
    Raises: DatabaseError: no such place, no permission, no database, or one written by a newer program.
    """
    engine = connect_to(url)
    where = engine.url.render_as_string(hide_password=True)
    try:
        with engine.execution_options(copies_tables=True).begin() as connection:
            upgrade(connection)
    except DBAPIError as error:
        engine.dispose()
        reason = " ".join(str(error.orig).split())
        raise DatabaseError(
            f"cannot use the database {where} ({reason}): set GRAIN_HOME or GRAIN_DATABASE_URL to another place"
        ) from error
    except CommandError as error:
        engine.dispose()
        raise DatabaseError(
            f"the database {where} was written by a newer GRAIN ({error}): update this one or use another database"
        ) from error
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """Open a session whose work is committed whole on leaving, or rolled back when an exception passes through.

    Raises: DatabaseFullError. DatabaseError: it can only be read.
    """
    try:
        # expire_on_commit off: what was read stays readable after the session is closed
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session
    except DBAPIError as error:
        where = engine.url.render_as_string(hide_password=True)
        if is_disk_full(error):
            raise DatabaseFullError.on(where) from error
        if _sqlite_code(error) == sqlite3.SQLITE_READONLY or getattr(error.orig, "sqlstate", "") == READ_ONLY_SQLSTATE:
            raise DatabaseError(
                f"cannot write to the database {where}, which can only be read: see to its permissions, or name another"
            ) from error
        raise


def check_answers(engine: Engine) -> None:
    """Check that the database answers.

    Raises: what the driver raises where there is none.
    """
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """Open a session that can only read, as pages do: on SQLite it does not queue up behind a running writer."""
    readers = engine.execution_options(read_only=True, postgresql_readonly=True)
    with Session(readers, expire_on_commit=False) as session, session.begin():
        yield session


def retrying(
    engine: Engine,
    work: Callable[[Session], Result],
    *,
    pauses_s: Sequence[float] = PAUSES_S,
    opened: Callable[[Engine], AbstractContextManager[Session]] = transaction,
) -> Result:
    """Do work in a transaction of its own, and again from its start where the connection broke or a lock timed out.

    Args:   work: must be safe to do twice: a connection that is cut during the commit leaves open whether it happened.
            pauses_s: seconds before each further try. opened: opens the session; `reading` for work that only asks.
    Raises: DBAPIError: the last one, when the trouble stays or is not of a kind that passes.
            DatabaseFullError, DatabaseError: as of `transaction`.
    """
    for pause_s in pauses_s:
        try:
            with opened(engine) as session:
                return work(session)
        except DBAPIError as error:
            if not _passes(error):
                raise
        time.sleep(pause_s)
    with opened(engine) as session:
        return work(session)


def connect_to(url: str) -> Engine:
    """Return an engine whose tables may still be missing or old.

    Raises: DatabaseError: the URL is not one, or the folder cannot be made.
    """
    try:
        # pre-ping: a connection that a restarted server cut is replaced before anybody works on it
        engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError(
            "expected GRAIN_DATABASE_URL in the form sqlite:////folder/grain.sqlite, or as "
            f"postgresql+psycopg://user@host/grain with psycopg installed ({error}): correct it or install the driver"
        ) from error
    if engine.dialect.name == "sqlite":
        _make_folder(make_url(url).database)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def journal_mode(sqlite_version: tuple[int, ...]) -> Literal["wal", "delete"]:
    """Return "wal" where SQLite's WAL-reset race is fixed, else "delete", the rollback journal.

    In the affected versions two connections in WAL mode can lose a commit or corrupt the file. Older than WAL itself
    counts as affected.
    """
    fixed = sqlite_version >= WAL_FIXED_IN or sqlite_version in WAL_FIXED_BACKPORTS
    return "wal" if fixed else "delete"


def _sqlite_code(error: DBAPIError) -> int:
    code: int = getattr(error.orig, "sqlite_errorcode", 0)
    return code & 0xFF  # extended codes keep the plain one in the low byte


def _passes(error: DBAPIError) -> bool:
    sqlstate = getattr(error.orig, "sqlstate", "")  # psycopg's is None where no server answered
    busy = _sqlite_code(error) == sqlite3.SQLITE_BUSY
    return error.connection_invalidated or sqlstate is None or sqlstate in PASSING_SQLSTATES or busy


def upgrade(connection: Connection, *, to: str = "head") -> None:
    """Bring the tables up to a revision; the caller that opened the connection commits."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})")
    config = Config()
    config.set_main_option("script_location", "db:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _make_folder(file: str | None) -> None:
    if not file or file == ":memory:":
        raise DatabaseError(
            "a database in memory forgets everything and is not shared by threads: "
            "name a file, as in sqlite:////folder/grain.sqlite"
        )
    folder = Path(file).parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    read_only = options.get("read_only", False)
    # off while migrations copy tables that others point at: they are dropped for a moment
    connection.exec_driver_sql(f"PRAGMA foreign_keys = {int(not options.get('copies_tables', False))}")
    connection.exec_driver_sql(f"PRAGMA query_only = {int(read_only)}")  # each time: the pool hands connections round
    # IMMEDIATE: a reader that turns writer midway would fail at once instead of waiting its turn
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
