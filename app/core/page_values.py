"""Check the values that a page's script sends: they are a visitor's, whatever the page itself would send."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from user_errors import UserError

ID_DIGITS = 18  # of a number that a database gives
MOST_IDS = 10**ID_DIGITS


def chosen_dataset(name: str | None) -> str:
    """Return the name of the data set that a page works on.

    Raises: UserError: there is none.
    """
    if not name:
        raise UserError("There is no data set yet: begin on Home with an example or with your own pictures.")
    return name


def check_names(named: Iterable[str], known: Collection[str]) -> None:
    """Refuse settings of names that nothing reads.

    Raises: UserError: there is one; it may be mistyped.
    """
    for name in named:
        if name not in known:
            raise UserError(f"Expected settings among {', '.join(known)}, got {str(name)[:40]!r}: correct its name.")


def whole_number(name: str, value: Any) -> int:
    """Return a whole number that came from a page.

    Raises: UserError: it is none, or larger than any that a database gives.
    """
    if not re.fullmatch(f"[0-9]{{1,{ID_DIGITS}}}", str(value)):
        raise UserError(f"Expected a whole number as the page's {name}, got {str(value)[:40]!r}: reload the page.")
    return int(value)
