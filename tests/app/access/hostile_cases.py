"""The page where people sign in, with hostile text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from app.access.login import sign_in_page
from tests.support.hostile import HOSTILE

CASES: Mapping[str, Sequence[Callable[[], str]]] = {
    "access/templates/sign_in.html": (lambda: sign_in_page(HOSTILE, "/" + HOSTILE),),
}
