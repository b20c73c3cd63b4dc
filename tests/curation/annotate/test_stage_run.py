"""A stage of a run while its database does not answer for a moment."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import event

from benchmarks.stub_annotators import StubDescriber, StubLocalizer, stubs
from curation.annotate.annotate import annotate
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.settings import AnnotateConfig
from curation.ingest.ingest import ingest
from db.engine import Engine, reading
from db.queries.run_queries import list_runs, run_tallies
from tests.support.waiting import PATIENCE_S

CARDS = AnnotateConfig("cards", describer=DescriberChoice("photo"), localizer=LocalizerChoice("photo"), batch=2)


@pytest.fixture
def cards(sqlite_engine: Engine, tmp_path: Path) -> Engine:
    """A database with a data set of four pictures."""
    for shade in range(4):
        Image.new("RGB", (40, 30), (shade, 0, 0)).save(tmp_path / f"{shade}.png")
    ingest(sqlite_engine, tmp_path, dataset="cards", home=tmp_path / "home", processes=1)
    return sqlite_engine


def refuse(engine: Engine, code: int, refused: Callable[[str], bool]) -> None:
    """Have the database refuse the statements that `refused` says."""

    def execute(_cursor: Any, statement: str, _values: Any, _context: Any) -> None:
        if refused(statement):
            error = sqlite3.OperationalError("refused")
            error.sqlite_errorcode = code
            raise error

    event.listen(engine, "do_execute", execute)


def test_a_question_that_the_database_does_not_answer_at_once_fails_no_picture(cards: Engine) -> None:
    describer, localizer, refused = StubDescriber(), StubLocalizer(), set[str]()

    def once(statement: str) -> bool:
        working = bool(describer.asked) and len(localizer.asked) < 4
        new = working and statement.startswith("SELECT") and statement not in refused
        refused.update([statement] if new else [])
        return new

    refuse(cards, sqlite3.SQLITE_BUSY, once)
    assert annotate(cards, CARDS, stubs(describer, localizer), worker="one") == "done"
    with reading(cards) as session:
        [run] = list_runs(session, dataset_id=1)
        tallies = run_tallies(session, run_id=run.id)
    assert any("FROM description" in statement for statement in refused), "as a localizer asks for its texts"
    assert len(describer.asked) == len(localizer.asked) == 4
    assert {(tally.stage, tally.state): tally.pictures for tally in tallies} == {
        ("describe", "done"): 4,
        ("localize", "done"): 4,
    }


def test_leases_are_renewed_again_after_a_renewal_that_failed(cards: Engine) -> None:
    renewals: list[str] = []
    again = threading.Event()

    def first(statement: str) -> bool:
        if not statement.startswith("UPDATE image_lease"):
            return False
        renewals.append(statement)
        if len(renewals) > 1:
            again.set()
        return len(renewals) == 1

    describer = StubDescriber()
    refuse(cards, sqlite3.SQLITE_IOERR, first)
    describer.behave = lambda _image: renewed.append(again.wait(PATIENCE_S))
    renewed: list[bool] = []
    quick = replace(CARDS, batch=4, lease_seconds=1.5)
    assert annotate(cards, quick, stubs(describer, StubLocalizer()), worker="one") == "done"
    assert all(renewed)
