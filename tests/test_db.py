import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import StatementError
from sqlmodel import SQLModel

from db.engine import DatabaseError, journal_mode, open_engine, transaction
from db.models import GroundQuery
from db.queries import get_ground_query, save_ground_query

LOOK = {
    "picture_sha256": "0123456789abcdef" * 4,
    "picture_name": "Übung & <b>.jpg",
    "descriptions": "a red round lid\na blue handle",
    "classes": "zorbex: a red round lid; a blue handle",
    "checkpoint": "sample",
    "versus": "sample-clip",
    "threshold": 0.25,
    "alpha": 0.5,
}
PRAGMAS = {
    "journal_mode": journal_mode(sqlite3.sqlite_version_info),
    "synchronous": 2,  # FULL
    "busy_timeout": 10_000,
    "foreign_keys": 1,
}


def url_of(file: Path) -> str:
    return f"sqlite:///{file}"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_engine(url_of(tmp_path / "new folder" / "grain.sqlite"))


def test_the_migrations_make_exactly_the_models(engine: Engine) -> None:
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, SQLModel.metadata)
    assert len(SQLModel.metadata.tables) >= 1
    assert differences == []


def test_a_saved_look_comes_back_as_it_was(engine: Engine) -> None:
    with transaction(engine) as session:
        saved = save_ground_query(session, **LOOK)
    with transaction(engine) as session:
        found = get_ground_query(session, query_id=saved.id)
    assert found == saved and found is not saved
    assert found.model_dump(include=set(LOOK)) == LOOK
    assert abs(datetime.now(UTC) - found.created_at) < timedelta(minutes=1)


def test_links_are_short_url_safe_and_never_the_same(engine: Engine) -> None:
    with transaction(engine) as session:
        ids = [save_ground_query(session, **LOOK).id for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(len(link) == 16 and link.replace("-", "").replace("_", "").isalnum() for link in ids)


def test_an_unknown_link_finds_nothing(engine: Engine) -> None:
    with transaction(engine) as session:
        assert get_ground_query(session, query_id="nobody-made-this") is None


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_a_picture_name_that_is_no_hash_is_refused(engine: Engine, name: str) -> None:
    with pytest.raises(ValueError, match="64 lower-case hex digits"), transaction(engine) as session:
        save_ground_query(session, **(LOOK | {"picture_sha256": name}))


def test_a_transaction_that_fails_leaves_nothing(engine: Engine) -> None:
    kept: list[str] = []
    with pytest.raises(RuntimeError, match="the picture could not be stored"), transaction(engine) as session:
        kept.append(save_ground_query(session, **LOOK).id)
        raise RuntimeError("the picture could not be stored")
    with transaction(engine) as session:
        assert get_ground_query(session, query_id=kept[0]) is None


def test_a_time_comes_back_as_the_same_moment_in_utc(engine: Engine) -> None:
    in_delhi = datetime(2026, 11, 25, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with transaction(engine) as session:
        session.add(GroundQuery(id="delhi", **LOOK, created_at=in_delhi))
    with transaction(engine) as session:
        found = get_ground_query(session, query_id="delhi")
    assert found is not None and found.created_at.isoformat() == "2026-11-25T00:00:00+00:00"


def test_a_time_without_a_zone_is_refused(engine: Engine) -> None:
    with pytest.raises(StatementError, match="expected a time with its zone"), transaction(engine) as session:
        session.add(GroundQuery(**LOOK, created_at=datetime(2026, 11, 25)))


def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    url = url_of(tmp_path / "grain.sqlite")
    with transaction(open_engine(url)) as session:
        saved = save_ground_query(session, **LOOK)
    with transaction(open_engine(url)) as session:
        assert get_ground_query(session, query_id=saved.id) == saved


def test_a_migration_that_dies_halfway_is_undone_whole(engine: Engine) -> None:
    with pytest.raises(RuntimeError), engine.begin() as connection:
        connection.execute(text("CREATE TABLE half_made (id INTEGER)"))
        raise RuntimeError("killed")
    assert not inspect(engine).has_table("half_made")


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 6, 23), "delete"),  # before WAL
        ((3, 7, 0), "delete"),  # the first affected
        ((3, 44, 5), "delete"),
        ((3, 44, 6), "wal"),  # mended by a backport
        ((3, 45, 0), "delete"),
        ((3, 50, 6), "delete"),
        ((3, 50, 7), "wal"),  # mended by a backport
        ((3, 51, 2), "delete"),  # the last affected
        ((3, 51, 3), "wal"),
        ((3, 52, 0), "wal"),
        ((4, 0, 0), "wal"),
    ],
)
def test_wal_only_where_sqlite_is_mended(version: tuple[int, int, int], mode: str) -> None:
    assert journal_mode(version) == mode


def test_sqlite_runs_in_the_chosen_mode_and_flushes_every_commit(engine: Engine) -> None:
    with engine.begin() as connection:
        pragmas = {name: connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in PRAGMAS}
    assert pragmas == PRAGMAS


def occupied(folder: Path) -> str:
    (folder / "a file").touch()
    return url_of(folder / "a file" / "grain.sqlite")


def not_a_database(folder: Path) -> str:
    (folder / "notes.txt").write_text("dear diary, " * 100)
    return url_of(folder / "notes.txt")


def from_the_future(folder: Path) -> str:
    url = url_of(folder / "grain.sqlite")
    with open_engine(url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    return url


@pytest.mark.parametrize(
    ("make_url", "sentence"),
    [
        (occupied, r"cannot make the folder .*a file.*: set GRAIN_HOME to a folder you may write to"),
        (url_of, r"cannot use the database .*unable to open database file.*: set GRAIN_HOME or GRAIN_DATABASE_URL"),
        (not_a_database, r"cannot use the database .*file is not a database.*: set GRAIN_HOME or GRAIN_DATABASE_URL"),
        (from_the_future, r"was written by a newer GRAIN .*9999.*: update this one or use another database"),
        (lambda _: "grain.sqlite", r"expected GRAIN_DATABASE_URL in the form sqlite:////folder/grain.sqlite"),
        (lambda _: "nosuch://somewhere", r"expected GRAIN_DATABASE_URL .* install the driver"),
        (lambda _: "sqlite://", r"a database in memory forgets everything .*: name a file"),
    ],
)
def test_a_database_that_cannot_be_used_says_so_in_one_sentence(
    tmp_path: Path, make_url: Callable[[Path], str], sentence: str
) -> None:
    with pytest.raises(DatabaseError, match=sentence) as refusal:
        open_engine(make_url(tmp_path))
    assert "\n" not in str(refusal.value)


def test_a_password_never_reaches_the_message(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError) as refusal:
        open_engine("postgresql+nosuchdriver://me:hunter2@localhost/grain")
    assert "hunter2" not in str(refusal.value)
