"""Define the error for everything that a person can mend; page, API and command line catch it once."""

from __future__ import annotations

from pathlib import Path
from typing import Self


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
    def on(cls, place: Path, now: str = "what was there before is unchanged") -> Self:
        """Return the error for a place. now: what the failure left, as the end of a sentence."""
        return cls(f"The disk is full: free some space on {place} and try again; {now}.")


def sentence(reason: object) -> str:
    """Return an error's words as a person reads them: with a capital and a full stop."""
    text = str(reason)
    return text[:1].upper() + text[1:].rstrip(".") + "."
