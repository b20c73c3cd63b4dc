"""Read from the environment how large the pictures of data sets may be, and how many one import may bring.

They hold for every import, from a browser, a server's folder or a command line, and wherever those pictures are read
again. An upload of one picture to look at has limits of its own (app/core/settings.py).
"""

from __future__ import annotations

import os

from curation.files.decode import Limits
from user_errors import UserError

PIXELS, BYTES, PICTURES = "GRAIN_IMPORT_PIXELS", "GRAIN_IMPORT_BYTES", "GRAIN_IMPORT_PICTURES"


def picture_limits() -> Limits:
    """Return the limits of one picture; more pixels have time and memory in proportion.

    Raises: UserError: a variable is no number.
    """
    plain = Limits()
    pixels = _integer_setting(PIXELS, plain.pixels, least=1)
    share = max(1.0, pixels / plain.pixels)
    return Limits(
        file_bytes=_integer_setting(BYTES, plain.file_bytes, least=1),
        pixels=pixels,
        seconds=share * plain.seconds,
        memory_bytes=round(share * plain.memory_bytes),
    )


def most_pictures() -> int:
    """Return how many files one import may bring; 0 for any number.

    Raises: UserError: the variable is no number.
    """
    return _integer_setting(PICTURES, 0, least=0)


def _integer_setting(name: str, default: int, *, least: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{name}: expected a whole number, {least} or more, got {text[:40]!r}: correct it")
    return int(text)
