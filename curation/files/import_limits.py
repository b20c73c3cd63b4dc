"""Read from the environment how large the pictures of data sets may be, and how many one import may bring.

They hold for every import, from a browser, a server's folder or a command line, and wherever those pictures are read
again. An upload of one picture to look at has limits of its own (app/core/settings.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from curation.files.decode import Limits
from user_errors import UserError

PIXELS, BYTES, PICTURES = "GRAIN_IMPORT_PIXELS", "GRAIN_IMPORT_BYTES", "GRAIN_IMPORT_PICTURES"


@dataclass(frozen=True)
class _WholeNumber:
    """The values that a variable may have."""

    default: int
    least: int
    most: int


VARIABLES = {
    PIXELS: _WholeNumber(Limits.pixels, 1, 10**10),  # which have a hundred GB of memory in proportion
    BYTES: _WholeNumber(Limits.file_bytes, 1, 10**12),
    PICTURES: _WholeNumber(0, 0, 10**12),
}


def picture_limits() -> Limits:
    """Return the limits of one picture; more pixels have time and memory in proportion.

    Raises: UserError: a variable is no number.
    """
    plain = Limits()
    pixels = _from_environment(PIXELS)
    share = max(1.0, pixels / plain.pixels)
    return Limits(
        file_bytes=_from_environment(BYTES),
        pixels=pixels,
        seconds=share * plain.seconds,
        memory_bytes=round(share * plain.memory_bytes),
    )


def most_pictures() -> int:
    """Return how many files one import may bring; 0 for any number.

    Raises: UserError: the variable is no number.
    """
    return _from_environment(PICTURES)


def whole_number_of(variable: str, text: str) -> int:
    """Return what the text of one of the VARIABLES means; empty is its default.

    Raises: UserError: it is no whole number, or out of bounds.
    """
    known, text = VARIABLES[variable], text.strip()
    if not text:
        return known.default
    if not text.isdecimal() or len(text) > 20 or not known.least <= int(text) <= known.most:
        wanted = f"a whole number of {known.least} to {known.most:,}"
        raise UserError(f"{variable}: expected {wanted}, got {text[:40]!r}: correct it")
    return int(text)


def _from_environment(variable: str) -> int:
    return whole_number_of(variable, os.environ.get(variable, ""))
