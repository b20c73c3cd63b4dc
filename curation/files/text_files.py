"""Read text of other systems: UTF-8, and UTF-16 where a byte order mark says so. Other encodings are never guessed."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from user_errors import UserError

UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
NO_UTF_16 = "expected UTF-16 text, as its first two bytes say, got other bytes: save the file as UTF-8"
NO_MARK = "expected UTF-8, or UTF-16 with a byte order mark, got UTF-16 without one: save the file as UTF-8"
COPIED = 1_000_000  # characters at once


def decode_text(content: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises: UserError: it is neither; says where.
    """
    try:
        return content.decode(_encoding(content))
    except UnicodeDecodeError as error:
        if content.startswith(UTF_16_MARKS):
            raise UserError(NO_UTF_16) from error
        raise UserError(f"byte {error.start}: expected UTF-8 text, got other bytes: save the file as UTF-8") from error


@contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[IO[str]]:
    """Open a file as decode_text decodes; of UTF-8, other bytes are kept as surrogates, for its reader to refuse.

    Raises: UserError: it is UTF-16 and damaged, or without its mark. OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        encoding = _encoding(file.read(2))
    errors = "strict" if encoding == "utf-16" else "surrogateescape"
    try:
        with path.open(encoding=encoding, errors=errors, newline=newline) as text:
            yield text
    except UnicodeDecodeError as error:
        raise UserError(NO_UTF_16) from error


def as_utf_8(file: IO[bytes]) -> IO[bytes]:
    """Return a file of bytes as it is, or where it begins with the mark of UTF-16, a copy in UTF-8.

    Raises: UserError: it is UTF-16 and damaged, or without its mark.
    """
    encoding = _encoding(file.read(2))
    file.seek(0)
    if encoding != "utf-16":
        return file
    copy: IO[bytes] = TemporaryFile()  # noqa: SIM115 its reader closes it
    try:
        with io.TextIOWrapper(file, "utf-16", newline="") as text:
            copy.writelines(part.encode() for part in iter(partial(text.read, COPIED), ""))
    except UnicodeDecodeError as error:
        copy.close()
        raise UserError(NO_UTF_16) from error
    copy.seek(0)
    return copy


def _encoding(content: bytes) -> str:
    """Return the encoding of a text that begins so.

    Raises: UserError: it is UTF-16 without its mark: one of its first two bytes is a NUL, the other a letter or a sign.
    """
    if content[:2].count(0) == 1 and max(content[:2]) >= ord("\t"):
        raise UserError(NO_MARK)
    return "utf-16" if content.startswith(UTF_16_MARKS) else "utf-8-sig"
