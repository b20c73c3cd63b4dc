"""Find the home folder and the database, from the environment."""

from __future__ import annotations

import os
from pathlib import Path

HOME, DATABASE = "GRAIN_HOME", "GRAIN_DATABASE_URL"


def home_folder() -> Path:
    """Return GRAIN_HOME, or ~/.grain."""
    return Path(os.environ.get(HOME) or "~/.grain").expanduser().absolute()


def database_url(home: Path) -> str:
    """Return GRAIN_DATABASE_URL, or SQLite under home."""
    return os.environ.get(DATABASE) or f"sqlite:///{home / 'grain.sqlite'}"
