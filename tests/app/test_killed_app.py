"""The real app killed under people who edit: what it acknowledged is there, and the database is whole."""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from db.engine import open_engine, reading
from db.models import RegionRow
from db.queries.history_queries import history_page
from tests.support.curated import all_regions, curated
from tests.support.fake_app import app_at
from tests.support.waiting import PATIENCE_S

WRITERS, ENOUGH = 8, 40


@dataclass
class Writer:
    """Accepts and reopens one region as the editor does, for as long as somebody answers."""

    address: str
    region: RegionRow
    told: threading.Semaphore
    acknowledged: list[int] = field(default_factory=list)
    failed: list[AssertionError] = field(default_factory=list)

    def __call__(self) -> None:
        version, status = self.region.version, str(self.region.status)
        with httpx.Client(base_url=self.address, timeout=PATIENCE_S) as person:
            try:
                while True:
                    status = "pending" if status == "accepted" else "accepted"
                    ask = {"do": "verdict", "id": self.region.id, "version": version, "status": status}
                    answer = person.post("curate/acts", json=ask)
                    assert answer.status_code == 200, answer.text[:2000]
                    version += 1
                    assert answer.json()["wrote"] == [[self.region.id, version]], answer.text[:2000]
                    self.acknowledged.append(version)
                    self.told.release()
            except httpx.HTTPError:
                return
            except AssertionError as error:
                self.failed.append(error)
                self.told.release()  # the test looks at failures first


@pytest.mark.slow
def test_every_acknowledged_edit_of_eight_writers_outlives_the_app(tmp_path: Path) -> None:
    home = tmp_path / "home"
    engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")
    dataset_id = curated(engine, tmp_path / "pictures", 12)
    regions = [row for row in all_regions(engine, dataset_id) if row.status == "pending"]
    regions += [row for row in all_regions(engine, dataset_id) if row.status != "pending"]
    told = threading.Semaphore(0)
    with app_at(home) as (address, app):
        writers = [Writer(address, region, told) for region in regions[:WRITERS]]
        threads = [threading.Thread(target=writer) for writer in writers]
        for thread in threads:
            thread.start()
        for _ in range(ENOUGH):
            assert told.acquire(timeout=PATIENCE_S), json.dumps([writer.acknowledged for writer in writers])
            assert [error for writer in writers for error in writer.failed] == []
        app.kill()
        for thread in threads:
            thread.join()
    with sqlite3.connect(home / "grain.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [error for writer in writers for error in writer.failed] == []
    assert sum(len(writer.acknowledged) for writer in writers) >= ENOUGH
    with reading(engine) as session:
        for writer in writers:
            number, image = writer.region.id, writer.region.image_id
            kept = {edit.version for edit in history_page(session, image_id=image, region_id=number, limit=10_000)}
            assert set(writer.acknowledged) <= kept
            row = session.get(RegionRow, number)
            assert row is not None and row.version == max(kept | {writer.region.version})
    engine.dispose()
