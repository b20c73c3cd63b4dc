"""Say which regions a page of Curate is about: one filter from the page's address to SQL.

A new filter is a field here, its clause in `db.queries.filter_clauses` and its control in `app.curate.filter_controls`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from db.models import Status
from db.queries.region_queries import VISIBLE
from db.queries.text_search import search_words
from user_errors import UserError

Sort = Literal["newest", "lowest_score", "disagreement"]
"""disagreement: the largest first, and only regions that have one. lowest_score: those without a score come last."""

MAX_TEXT = 200  # characters of a text filter in an address


@dataclass(frozen=True)
class ChosenRegions:
    """Regions named one by one: by their own ids, or by those of their pictures."""

    ids: tuple[int, ...]
    of: Literal["regions", "pictures"] = "regions"


@dataclass(frozen=True, kw_only=True)
class CurateFilter:
    """A filter on the regions of a data set; a field at its default filters nothing.

    statuses: any of these. source: model@revision or human:name. run_id: found by this run. min_score, max_score:
    inclusive; regions without a score are then left out. min_disagreement: inclusive. words: the text has all of them,
    whole, in any case; `lid*` is a beginning. phash: of pictures with this perceptual hash. tag: that people gave them.
    chosen: only these.
    """

    statuses: tuple[Status, ...] = VISIBLE
    source: str = ""
    run_id: int | None = None
    min_score: float | None = None
    max_score: float | None = None
    min_disagreement: float | None = None
    words: str = ""
    phash: str = ""
    tag: str = ""
    chosen: ChosenRegions | None = None

    @property
    def active(self) -> frozenset[str]:
        """Return the fields that leave something out, other than statuses."""
        changed = (each.name for each in fields(self) if getattr(self, each.name) != each.default)
        return frozenset(changed) - {"statuses"}

    def check(self) -> None:
        """Refuse values that have no meaning.

        Raises: UserError.
        """
        if unknown := [status for status in self.statuses if status not in get_args(Status)]:
            raise UserError(f"expected verdicts among {', '.join(get_args(Status))}, got {unknown[0]!r}: choose others")
        if self.words and not search_words(self.words):
            raise UserError(f"expected a word to look for, got {self.words!r}: type letters or digits")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> CurateFilter:
        """Return the filter of a form's values by field name; None, "" and [] filter nothing."""
        given: dict[str, Any] = {}
        for name, value in values.items():
            tidy = value.strip() if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
            given |= {} if tidy in (None, "", ()) else {name: tidy}
        return cls(**given)

    @classmethod
    def from_address(cls, parameters: Mapping[str, str]) -> CurateFilter:
        """Return the filter that an address names; what has no meaning there filters nothing."""
        readers = {name: _READERS[kind] for name, kind in get_type_hints(cls).items() if kind in _READERS}
        return cls.from_values({name: read(parameters.get(name, "")) for name, read in readers.items()})

    def to_address(self) -> dict[str, str]:
        """Return the address parameters of the fields that are set; regions chosen one by one have none."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        changed = {"statuses", *self.active} if set(self.statuses) != set(VISIBLE) else self.active
        return {name: _written(value) for name, value in values.items() if name in changed - {"chosen"}}


NO_FILTER = CurateFilter()


def _read_statuses(given: str) -> tuple[Status, ...]:
    return tuple(status for status in get_args(Status) if status in given.split(","))


def _read_number(given: str) -> int | None:
    return int(given) if re.fullmatch("[0-9]{1,9}", given) else None


def _read_share(given: str) -> float | None:
    return float(given) if re.fullmatch(r"0|1|0\.[0-9]{1,6}|1\.0{1,6}", given) else None


_READERS: dict[Any, Callable[[str], Any]] = {
    tuple[Status, ...]: _read_statuses,
    str: lambda given: given[:MAX_TEXT],
    int | None: _read_number,
    float | None: _read_share,
}


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
