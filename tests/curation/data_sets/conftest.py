"""A home for the commands of this room."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.engine import Engine
from tests.support.curated import curated


@pytest.fixture
def lids_at_home(sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data set "lids" where a command finds it; the folder of its pictures."""
    curated(sqlite_engine, tmp_path / "pictures")
    monkeypatch.setenv("GRAIN_HOME", str(tmp_path))
    monkeypatch.setenv("GRAIN_DATABASE_URL", str(sqlite_engine.url.render_as_string(hide_password=False)))
    return tmp_path / "pictures"
