"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.system_parts import leave_out

pytest_plugins = ["tests.support.browser_fixtures", "tests.support.database_fixtures", "tests.support.left_out"]

# One thread each, here and in processes that tests start: two that share two cores slow each other five times. torch
# reads it while it is imported, by the tests that need it and not here, where every run would wait for that.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Seeded, and no deadline: a busy machine is not a bug.
settings.register_profile("grain", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("grain")


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve training pictures, six held out, four of novel classes; read only."""
    from tests.support.tiny import write_data

    return write_data(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of eight megabytes."""
    with mounted(tmp_path / "disk", "size=8m") as folder:
        yield folder


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system on which nothing can be written."""
    with mounted(tmp_path / "read-only", "ro") as folder:
        yield folder


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory, mounted at a folder."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
        leave_out("root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
