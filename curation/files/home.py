"""Find the home folder and the database, from the environment."""

from __future__ import annotations

import os
from pathlib import Path

HOME, DATABASE = "GRAIN_HOME", "GRAIN_DATABASE_URL"


def home_folder(named: Path | str | None = None) -> Path:
    """Return the folder that is named, or else GRAIN_HOME, or ~/.grain."""
    return Path(named or os.environ.get(HOME) or "~/.grain").expanduser().absolute()


def database_url(home: Path, named: str = "") -> str:
    """Return the database that is named, or else GRAIN_DATABASE_URL, or SQLite under home."""
    return named or os.environ.get(DATABASE) or f"sqlite:///{home / 'grain.sqlite'}"
