"""Check the texts that people write of a picture: words on one line, no longer than a text encoder reads."""

from __future__ import annotations

from user_errors import UserError

MOST_TEXT_CHARACTERS = 500  # of one text: text encoders cut it long before


def one_line(text: str, *, empty: bool = False) -> str:
    """Return a text on one line, without spaces at its ends.

    Args:   empty: whether it may be without words.
    Raises: UserError: it has no words, or too many; its beginning is named.
    """
    line = " ".join(text.split())
    if not line and not empty:
        raise UserError("expected a description, got no words: write what can be seen in the box")
    if len(line) > MOST_TEXT_CHARACTERS:
        raise UserError(
            f"expected at most {MOST_TEXT_CHARACTERS} characters in a text, got {len(line):,} in “{line[:40]}…”: "
            "shorten it"
        )
    return line
