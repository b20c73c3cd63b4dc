"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.tiny import write_data

pytest_plugins = ["tests.browser_fixtures", "tests.database_fixtures"]

# One thread each, here and in processes that tests start: two that share two cores slow each other five times.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

# Seeded, and no deadline: a busy machine is not a bug.
settings.register_profile("grain", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("grain")


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve training pictures, six held out, four of novel classes; read only."""
    return write_data(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of eight megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)
