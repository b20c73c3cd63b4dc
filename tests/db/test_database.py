import json
import multiprocessing
import sqlite3
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, Engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, StatementError
from sqlmodel import Session, SQLModel, col, select

from db.engine import DatabaseError, connect_to, journal_mode, open_engine, reading, retrying, transaction, upgrade
from db.models import GroundQuery, RegionEdit, RegionRow, is_declared
from db.queries.bulk import Added
from db.queries.curate_filter import CurateFilter
from db.queries.data_set_queries import add_images, count_images, create_dataset, image_page, list_datasets
from db.queries.gallery_queries import curate_page
from db.queries.ground_queries import get_ground_query, save_ground_query
from db.queries.job_queries import jobs_before
from db.queries.region_index_queries import index_regions
from tests.support.databases import add_one_by_one, filled, order, some_images, text_of

WRITERS, COMMITS = 3, 20
LOOK: dict[str, Any] = {
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


def test_the_migrations_make_exactly_the_models(engine: Engine) -> None:
    with engine.begin() as connection:
        options = {"compare_type": True, "compare_server_default": True, "include_name": is_declared}
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, SQLModel.metadata)
    assert len(SQLModel.metadata.tables) == 31
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


def test_sqlite_runs_in_the_chosen_mode_and_flushes_every_commit(sqlite_engine: Engine) -> None:
    with sqlite_engine.begin() as connection:
        pragmas = {name: connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in PRAGMAS}
    assert pragmas == PRAGMAS


def test_an_older_database_is_brought_up_to_date_and_keeps_its_looks(tmp_path: Path, postgres: URL) -> None:
    order(postgres, "CREATE DATABASE older")
    for url in (url_of(tmp_path / "older.sqlite"), text_of(postgres.set(database="older"))):
        engine = connect_to(url)
        with engine.begin() as connection:
            upgrade(connection, to="0001")
            assert set(inspect(connection).get_table_names()) == {"alembic_version", "ground_query"}
        with transaction(engine) as session:
            saved = save_ground_query(session, **LOOK)
        engine.dispose()
        engine = open_engine(url)
        with transaction(engine) as session:
            assert get_ground_query(session, query_id=saved.id) == saved
            assert create_dataset(session, name="lids").id == 1
        engine.dispose()


def test_regions_and_their_history_keep_their_rows_when_their_tables_are_renamed(tmp_path: Path, postgres: URL) -> None:
    order(postgres, "CREATE DATABASE before_regions")
    states = [json.dumps({"region_id": 1, "text": said}) for said in ('a "region_id": 7', "a lid")]
    for url in (url_of(tmp_path / "old.sqlite"), text_of(postgres.set(database="before_regions"))):
        engine = connect_to(url)
        with engine.begin() as connection:
            upgrade(connection, to="0008")
            for statement in ROWS_OF_0008:
                connection.execute(text(statement), {"sha": "0" * 64, "now": "2026-11-25 10:00:00.000000+00:00"})
            values = {"before": states[0], "after": states[1], "now": "2026-11-25 10:00:00.000000+00:00"}
            connection.execute(text(EDIT_OF_0008), values)
        engine.dispose()
        engine = open_engine(url)
        with transaction(engine) as session:
            [first, second] = session.exec(select(RegionRow).order_by(col(RegionRow.id))).all()
            assert (first.box_id, second.box_id, second.text) == (None, 1, "of tin")
            [edit] = session.exec(select(RegionEdit)).all()
            assert edit.region_id == 2
            assert edit.before == {"box_id": 1, "text": 'a "region_id": 7'} and edit.after == {
                "box_id": 1,
                "text": "a lid",
            }
            assert index_regions(session) == 2
            words = CurateFilter(words="tin")
            assert [row.id for row in curate_page(session, dataset_id=1, filters=words).regions] == [2]
            broken = "PRAGMA foreign_key_check" if engine.dialect.name == "sqlite" else "SELECT 1 WHERE false"
            assert session.connection().exec_driver_sql(broken).all() == [], "others point at the copied tables"
        engine.dispose()


def test_jobs_still_wait_for_the_job_that_they_waited_for(tmp_path: Path, postgres: URL) -> None:
    order(postgres, "CREATE DATABASE before_waits")
    for url in (url_of(tmp_path / "old.sqlite"), text_of(postgres.set(database="before_waits"))):
        engine = connect_to(url)
        with engine.begin() as connection:
            upgrade(connection, to="0014")
            for number, after in ((1, None), (2, 1)):
                values = {"id": number, "after": after, "now": "2026-11-25 10:00:00.000000+00:00"}
                connection.execute(text(JOB_OF_0014), values)
        engine.dispose()
        engine = open_engine(url)
        with transaction(engine) as session:
            assert [job.id for job in jobs_before(session, job_id=2)] == [1]
            assert jobs_before(session, job_id=1) == []
        engine.dispose()


JOB_OF_0014 = (
    "INSERT INTO job (id, kind, owner, config, argv, state, request, priority, device, attempts, worker, token,"
    " backend, external_id, done, total, message, exit_reason, created_at, after_id) VALUES (:id, 'train', 'ada', '{}',"
    " '[]', 'queued', '', 0, 'cpu', 0, '', 0, 'local', '', 0, 0, '', '', :now, :after)"
)
ROWS_OF_0008 = (
    "INSERT INTO dataset (id, name, source, created_at) VALUES (1, 'lids', '', :now)",
    "INSERT INTO image (id, dataset_id, sha256, phash, width, height, location, member, caption, has_thumbnail,"
    " created_at) VALUES (1, 1, :sha, '', 1, 1, 'x', '', 'tin', false, :now)",
    "INSERT INTO annotation (id, dataset_id, image_id, x1, y1, x2, y2, text, source, status, version, content_key)"
    " VALUES (1, 1, 1, 0.1, 0.1, 0.9, 0.9, 'a red lid', 'human:ada', 'accepted', 1, 17)",
    "INSERT INTO annotation (id, dataset_id, image_id, x1, y1, x2, y2, text, source, status, version, content_key,"
    " region_id) VALUES (2, 1, 1, 0.1, 0.1, 0.9, 0.9, 'of tin', 'human:ada', 'accepted', 2, 18, 1)",
)
EDIT_OF_0008 = (
    "INSERT INTO annotation_edit (action, dataset_id, image_id, annotation_id, at, who, what, version, before, after,"
    " from_model, reason) VALUES ('a', 1, 1, 2, :now, 'ada', 'edited', 2, :before, :after, '', '')"
)


def test_a_full_disk_is_said_and_what_was_kept_stays(small_disk: Path) -> None:
    engine = open_engine(url_of(small_disk / "grain.sqlite"))
    with transaction(engine) as session:
        dataset_id = create_dataset(session, name="lids").id
        add_images(session, dataset_id=dataset_id, images=some_images(range(100)))
    with pytest.raises(
        DatabaseError, match=r"The disk is full: free some space on sqlite:.*grain\.sqlite and try again"
    ):
        retrying(
            engine, lambda session: add_images(session, dataset_id=dataset_id, images=some_images(range(100, 100_000)))
        )
    with transaction(engine) as session:
        assert count_images(session, dataset_id=dataset_id) == 100
        assert session.connection().execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
        assert add_images(session, dataset_id=dataset_id, images=some_images(range(200))) == Added(new=100, known=100)
    engine.dispose()


def test_a_database_that_can_only_be_read_is_one_sentence(engine: Engine) -> None:
    only_read = engine.execution_options(read_only=True, postgresql_readonly=True)  # as a file of a read-only disk is
    with pytest.raises(
        DatabaseError, match=r"^cannot write to the database \w+.*, which can only be read: "
    ) as refusal:
        retrying(only_read, lambda session: create_dataset(session, name="lids"))
    assert "\n" not in str(refusal.value)
    with transaction(engine) as session:
        assert create_dataset(session, name="lids").id


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


def test_a_server_that_does_not_answer_is_named_in_one_sentence_without_its_password() -> None:
    with pytest.raises(
        DatabaseError, match=r"cannot use the database .*set GRAIN_HOME or GRAIN_DATABASE_URL"
    ) as refusal:
        open_engine("postgresql+psycopg://me:hunter2@127.0.0.1:1/grain")
    assert "\n" not in str(refusal.value) and "hunter2" not in str(refusal.value)


def test_programs_that_start_together_make_the_tables_once(tmp_path: Path, postgres: URL) -> None:
    order(postgres, "CREATE DATABASE started_together")
    urls = [url_of(tmp_path / "grain.sqlite"), text_of(postgres.set(database="started_together"))]
    for url in urls:
        with ThreadPoolExecutor(3) as programs:
            engines = list(programs.map(open_engine, [url] * 3))
        assert [inspect(engine).has_table("region") for engine in engines] == [True] * 3
        for engine in engines:
            engine.dispose()


def test_a_reader_cannot_write_and_the_next_one_with_its_connection_can(engine: Engine) -> None:
    with pytest.raises(DBAPIError, match=r"read-?only"), reading(engine) as session:
        create_dataset(session, name="lids")
    with transaction(engine) as session:
        create_dataset(session, name="lids")
    with reading(engine) as session:
        assert [dataset.name for dataset in list_datasets(session)] == ["lids"]


def test_a_reader_does_not_wait_for_a_writer_and_sees_what_was_committed(engine: Engine) -> None:
    with transaction(engine) as writer:
        create_dataset(writer, name="lids")
        with reading(engine) as session:
            assert list(list_datasets(session)) == []
    with reading(engine) as session:
        assert len(list_datasets(session)) == 1


def cut(engine: Engine, pid: int) -> None:
    with engine.begin() as other:
        other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


def pid_of(session: Session) -> int:
    return session.connection().execute(text("SELECT pg_backend_pid()")).scalar_one()


def test_a_connection_cut_in_the_middle_is_retried_and_writes_once(postgres_engine: Engine) -> None:
    tries: list[int] = []

    def work(session: Session) -> str:
        tries.append(pid_of(session))
        name = create_dataset(session, name="lids").name
        if len(tries) == 1:
            cut(postgres_engine, tries[0])
        return name

    assert retrying(postgres_engine, work) == "lids"
    assert len(tries) == 2 and tries[0] != tries[1]
    with reading(postgres_engine) as session:
        assert len(list_datasets(session)) == 1


def test_a_connection_cut_while_it_was_idle_is_replaced_unseen(postgres_engine: Engine) -> None:
    with transaction(postgres_engine) as session:
        idle = pid_of(session)
    server = open_engine(text_of(postgres_engine.url))
    cut(server, idle)
    server.dispose()
    with transaction(postgres_engine) as session:
        assert pid_of(session) != idle


def test_a_server_that_restarts_in_the_middle_is_waited_for(postgres_server: Any, postgres_engine: Engine) -> None:
    tries: list[int] = []
    with ThreadPoolExecutor(1) as operator:

        def work(session: Session) -> None:
            tries.append(len(tries))
            create_dataset(session, name="lids")
            if len(tries) == 1:
                postgres_server.stop()
                operator.submit(postgres_server.start)

        retrying(postgres_engine, work, pauses_s=[1.0] * 60)  # however long a busy machine takes to start it
    assert tries[:2] == [0, 1]
    with reading(postgres_engine) as session:
        assert [dataset.name for dataset in list_datasets(session)] == ["lids"]


def test_a_lock_that_outlasts_the_wait_is_retried(sqlite_engine: Engine) -> None:
    event.listen(sqlite_engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 0"))
    sqlite_engine.dispose()
    holder = sqlite_engine.connect()
    holding = holder.begin()
    refused: list[str] = []

    def let_go(context: object) -> None:
        refused.append(str(getattr(context, "original_exception", "")))
        holding.commit()

    event.listen(sqlite_engine, "handle_error", let_go, once=True)
    assert retrying(sqlite_engine, lambda session: create_dataset(session, name="lids").id) == 1
    assert refused == ["database is locked"]
    holder.close()


def test_a_mistake_is_not_retried(engine: Engine) -> None:
    tries: list[int] = []

    def work(session: Session) -> None:
        tries.append(len(tries))
        session.add_all([GroundQuery(id="twice", **LOOK), GroundQuery(id="twice", **LOOK)])

    with pytest.raises(IntegrityError):
        retrying(engine, work)
    assert tries == [0]


def test_trouble_that_stays_is_raised_in_the_end(postgres_engine: Engine) -> None:
    tries: list[int] = []

    def work(session: Session) -> None:
        tries.append(pid_of(session))
        cut(postgres_engine, tries[-1])
        list_datasets(session)

    with pytest.raises(OperationalError):
        retrying(postgres_engine, work, pauses_s=(0.0, 0.0))
    assert len(tries) == 3


@pytest.mark.slow
def test_processes_that_write_at_once_lose_nothing(sqlite_engine: Engine) -> None:
    filled(sqlite_engine, pictures=0)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WRITERS, spawn, initializer=spawn.Barrier(WRITERS).wait) as writers:
        runs = [
            writers.submit(add_one_by_one, text_of(sqlite_engine.url), worker, COMMITS) for worker in range(WRITERS)
        ]
        acknowledged = [sha256 for run in runs for sha256 in run.result()]
    with reading(sqlite_engine) as session:
        kept = [image.sha256 for image in image_page(session, dataset_id=1, limit=1000)]
        assert session.connection().execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
    assert len(kept) == WRITERS * COMMITS and sorted(kept) == sorted(acknowledged)
