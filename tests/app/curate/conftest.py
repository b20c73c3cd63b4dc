"""Give the tests of the Curate page a home with regions to judge, and its database."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.engine import Engine, open_engine
from tests.support.review_home import review_home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with twelve annotated pictures of the sample world."""
    return review_home(tmp_path_factory.mktemp("home"), pictures=12)


@pytest.fixture(scope="module")
def engine(home: Path) -> Engine:
    return open_engine(f"sqlite:///{home / 'grain.sqlite'}")
