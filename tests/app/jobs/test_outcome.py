"""How a job that lost its database ended: what SQLAlchemy itself says is told from a program's own mistakes."""

from __future__ import annotations

import sqlite3
import traceback
from pathlib import Path

from sqlalchemy import event

from app.jobs.outcome import Outcome, outcome
from db.engine import Session, connect_to, retrying

SILENT = Outcome("interrupted", "the database did not answer")


def said(url: str, statement: str) -> str:
    """What a program prints that works on a database and cannot."""

    def work(session: Session) -> None:
        session.connection().exec_driver_sql(statement)

    engine = connect_to(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _at_once)
    try:
        retrying(engine, work, pauses_s=(0.0,))
    except Exception:
        return f"working\n{traceback.format_exc()}".rstrip()
    finally:
        engine.dispose()
    raise AssertionError("it worked")


def _at_once(connection: sqlite3.Connection, _: object) -> None:
    """Do not wait for a lock."""
    connection.execute("PRAGMA busy_timeout = 0")


def test_a_job_whose_database_is_away_is_tried_again() -> None:
    away = said("postgresql+psycopg://grain@127.0.0.1:1/grain", "SELECT 1")
    assert outcome(1, away) == SILENT
    assert outcome(1, f"{away}\nTraceback (most recent call last):\nKeyError: 1").reason == "exit code 1: KeyError: 1"
    own = f"{away}\ncuration.annotate: No picture of 'a' could be annotated: see to the reasons above."
    assert outcome(1, own).state == "failed", "what the program itself says comes first"


def test_a_job_whose_database_stays_locked_is_tried_again_and_one_without_its_table_is_not(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/grain.sqlite"
    holder = connect_to(url)
    with holder.connect() as connection:
        connection.exec_driver_sql("SELECT 1")  # its BEGIN IMMEDIATE holds the lock
        assert outcome(1, said(url, "SELECT 1")) == SILENT
    holder.dispose()
    assert outcome(1, said(url, "SELECT * FROM nothing")).state == "failed"
