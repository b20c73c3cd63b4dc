"""The real app killed under people who edit: what it acknowledged is there, and the database is whole."""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    """Accepts and reopens one region through the page's own event, for as long as somebody answers."""

    address: str
    event: dict[str, Any]
    region: RegionRow
    told: threading.Semaphore
    acknowledged: list[int] = field(default_factory=list)
    failed: list[AssertionError] = field(default_factory=list)

    def __call__(self) -> None:
        version, status, session = self.region.version, str(self.region.status), f"writer{self.region.id}"
        with httpx.Client(base_url=self.address, timeout=PATIENCE_S) as person:
            try:
                while True:
                    status = "pending" if status == "accepted" else "accepted"
                    ask = {"do": "verdict", "id": self.region.id, "version": version, "status": status}
                    body = {"data": self.event["data"], "fn_index": self.event["id"], "session_hash": session}
                    person.post("gradio_api/queue/join", json={**body, "event_data": {"ask": ask}})
                    answer = person.get("gradio_api/queue/data", params={"session_hash": session}).text
                    if "process_completed" not in answer:  # it was cut off: nothing was acknowledged
                        return
                    assert '"success":true' in answer, answer[:2000]
                    shown = f'data-id="{self.region.id}" data-version="{version + 1}"'
                    assert shown in answer.replace("\\", ""), answer[:2000]  # HTML in JSON in JSON
                    version += 1
                    self.acknowledged.append(version)
                    self.told.release()
            except httpx.HTTPError:
                return
            except AssertionError as error:
                self.failed.append(error)
                self.told.release()  # the test looks at failures first


def edit_event(address: str) -> dict[str, Any]:
    """The event by which the editor sends edits, and what its fields hold as the page opens."""
    config = httpx.get(f"{address}config", timeout=PATIENCE_S).json()
    parts = {each["id"]: each for each in config["components"]}
    [editor] = [number for number, each in parts.items() if each["props"].get("elem_id") == "editor"]
    [event] = [each for each in config["dependencies"] if [editor, "click"] in each["targets"]]
    values = [parts[number]["props"].get("value") for number in event["inputs"]]
    advance = [number for number in event["inputs"] if parts[number]["props"].get("elem_id") == "advance"]
    data = [False if number in advance else value for number, value in zip(event["inputs"], values, strict=True)]
    return {"id": event["id"], "data": data}


@pytest.mark.slow
def test_every_acknowledged_edit_of_eight_writers_outlives_the_app(tmp_path: Path) -> None:
    home = tmp_path / "home"
    engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")
    dataset_id = curated(engine, tmp_path / "pictures", 12)
    regions = [row for row in all_regions(engine, dataset_id) if row.status == "pending"]
    regions += [row for row in all_regions(engine, dataset_id) if row.status != "pending"]
    told = threading.Semaphore(0)
    with app_at(home) as (address, app):
        event = edit_event(address)
        writers = [Writer(address, event, region, told) for region in regions[:WRITERS]]
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
