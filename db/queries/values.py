"""Check and clean the values that people, models and files hand in."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from user_errors import UserError

SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_NAME_CHARACTERS = 100  # more would break a page
MOST_WORD_BYTES = 2**17 - 1  # of one word of a command: Linux gives a program none that is longer
MOST_COMMAND_BYTES = 1_500_000  # of all, each with its end and its pointer: Linux takes 2 MiB with the environment


def storable(text: str) -> str:
    """Return text that every database takes: a NUL becomes U+FFFD, half a surrogate pair is spelled out.

    Models answer such things, and file names hold them.
    """
    if text.isprintable():  # most are, and it is the quickest to ask
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "backslashreplace").decode()


def check_storable(text: str, what: str) -> None:
    """Refuse text that no database keeps and no command takes as it is: a NUL, half a surrogate pair.

    Raises: UserError.
    """
    if storable(text) != text:
        raise UserError(f"expected {what} of characters that can be written, got {text[:40]!r}: write it again")


def check_command(argv: Sequence[str]) -> None:
    """Refuse words of a command that no program can be given: what cannot be written, and what is too long.

    Raises: UserError: it names the flag.
    """
    flag, total = "", 0
    for word in argv:
        start, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        flag = start[2:] or flag
        check_storable(value, f"text for {flag}," if flag else "text")
        size = len(word.encode())
        total += size + 9
        if size > MOST_WORD_BYTES:
            most = MOST_WORD_BYTES - len(start + equals)
            raise UserError(
                f"{flag or 'text'}: expected at most {most:,} bytes, got {len(value.encode()):,}: shorten it"
            )
    if total > MOST_COMMAND_BYTES:
        raise UserError(
            f"expected a job with at most {MOST_COMMAND_BYTES:,} bytes of settings, got {total:,}: give less"
        )


def check_box(xyxy: tuple[float, float, float, float], *, image_id: int) -> None:
    """Refuse a box without an area, or beyond its image.

    Raises: UserError.
    """
    x1, y1, x2, y2 = xyxy
    if 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1:
        return
    raise UserError(
        f"expected a box with an area, as xyxy in parts of the upright picture (0 to 1), got {xyxy} "
        f"for picture {image_id}: divide pixels by the picture's size"
    )


def must_be_sha256(**values: str) -> None:
    """Refuse a value that is not a SHA-256, by the argument's name.

    Raises: ValueError: one is not 64 lower-case hex digits.
    """
    for name, value in values.items():
        if not SHA256.fullmatch(value):
            raise ValueError(f"{name} must be 64 lower-case hex digits, got {value!r}")


def check_line(value: str, what: str) -> str:
    """Return a name without the spaces around it; refuse one that is empty, no printable line, or long for a page.

    Raises: UserError.
    """
    value = value.strip()
    if not value or not value.isprintable():
        raise UserError(f"expected {what}, one printable line, got {value[:MOST_NAME_CHARACTERS]!r}: give it one")
    if len(value) > MOST_NAME_CHARACTERS:
        raise UserError(
            f"expected {what} of at most {MOST_NAME_CHARACTERS} characters, got {len(value):,} "
            f"({value[:20]!r} …): shorten it"
        )
    return value


def check_known(value: str, known: Collection[str], what: str) -> None:
    """Refuse a word that is not one of a closed list.

    Raises: UserError.
    """
    if value not in known:
        raise UserError(f"expected {what} {', '.join(known)}, got {value!r}: choose one")
