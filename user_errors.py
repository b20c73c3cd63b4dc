"""Define the error for everything that a person can mend; page, API and command line catch it once."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Self

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a disk, a quota, the size of a file
FULL_SQLSTATE = "53100"  # PostgreSQL's


class UserError(ValueError):
    """A person can mend this: the message says in one sentence what was expected, what came, and what to do."""

    @property
    def sentence(self) -> str:
        """Return the message as a page shows it, with a capital and a full stop."""
        return sentence(self)


class WriteError(UserError):
    """A file or folder could not be written; what was there before is unchanged."""


class DiskFullError(WriteError):
    """There is no room on a disk; nothing was half written."""

    @classmethod
    def on(cls, place: Path | str | None, now: str = "what was there before is unchanged") -> Self:
        """Return the error for a place, where it is known. now: what the failure left, as the end of a sentence."""
        return cls(f"The disk is full: free some space{f' on {place}' if place else ''} and try again; {now}.")


def is_disk_full(error: Exception) -> bool:
    """Tell whether an error says that a disk is full: the system's, SQLite's, PostgreSQL's, or one of ours."""
    cause = getattr(error, "orig", error)  # SQLAlchemy wraps the driver's
    sqlite_code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # extended codes keep the plain one in the low byte
    return (
        isinstance(error, DiskFullError)
        or (isinstance(error, OSError) and error.errno in FULL)
        or sqlite_code == sqlite3.SQLITE_FULL
        or getattr(cause, "sqlstate", None) == FULL_SQLSTATE
    )


def sentence(reason: object) -> str:
    """Return an error's words as a person reads them: with a capital and a full stop."""
    text = str(reason)
    return text[:1].upper() + text[1:].rstrip(".") + "."
