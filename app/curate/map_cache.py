"""Keep the last few maps in memory, and find the regions that a person selected on one."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast, get_args

import numpy as np

from app.core.page_values import whole_number
from curation.explore.alike import ExampleSearch
from curation.explore.atlas import Atlas, atlas_path, load
from curation.explore.embedding_store import What
from db.engine import Engine
from db.queries.curate_filter import ChosenRegions
from user_errors import UserError

KEPT = 4  # maps in memory
MOST_CORNERS, MOST_IDS = 2_000, 1_000
_kept: OrderedDict[tuple[Path, int], Atlas] = OrderedDict()


@dataclass(frozen=True)
class MapSelection:
    """An outline that a person drew around points, or a list of them. polygon: corners on the map. ids: else these."""

    what: What
    polygon: tuple[tuple[float, float], ...] = ()
    ids: tuple[int, ...] = ()

    @classmethod
    def of(cls, what: str, corners: Sequence[Sequence[float]]) -> MapSelection:
        """Return the selection of corners as the page's script sends them.

        Raises: UserError: they make no polygon.
        """
        try:
            polygon = tuple((float(x), float(y)) for x, y in corners)
        except (TypeError, ValueError) as error:
            raise UserError("expected corners of two numbers each, got others: draw around points again") from error
        if what not in get_args(What) or not 3 <= len(polygon) <= MOST_CORNERS:
            raise UserError(f"expected 3 to {MOST_CORNERS:,} corners, got {len(polygon)}: draw around points again")
        return cls(cast(What, what), polygon)

    @classmethod
    def from_text(cls, text: str) -> MapSelection:
        """Return the selection that the page keeps as text (to_text).

        Raises: UserError: it is something else.
        """
        try:
            given = json.loads(text)
            what, corners = given["what"], given["polygon"]
            ids = tuple(whole_number("selection", each) for each in given.get("ids", ()))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError("expected a selection of the map, got something else: draw around points again") from error
        if ids and what in get_args(What) and len(ids) <= MOST_IDS:
            return cls(cast(What, what), ids=ids)
        return cls.of(what, corners)

    def to_text(self) -> str:
        """Return the selection as the page keeps it."""
        return json.dumps({"what": self.what, "polygon": self.polygon, "ids": self.ids})


def atlas_of(home: Path, dataset_id: int, what: What) -> Atlas | None:
    """Return the map of a data set as it is on disk now; None where nobody has drawn one.

    Raises: UserError: it cannot be read.
    """
    path = atlas_path(home, dataset_id, what)
    try:
        key = path, path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
    found = _kept.pop(key, None) or load(path)
    _kept[key] = found
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    return found


def chosen_by(home: Path, dataset_id: int, selection: str) -> ChosenRegions | None:
    """Return the regions, or those of the pictures, within a selection; None for "".

    Raises: UserError: it is no selection, or the map is gone.
    """
    if not selection:
        return None
    outline = MapSelection.from_text(selection)
    if outline.ids:
        return ChosenRegions(outline.ids, of=outline.what)
    atlas = atlas_of(home, dataset_id, outline.what)
    if atlas is None:
        raise UserError("the map of this selection is gone: draw it again")
    return _within(atlas, outline)


@lru_cache(KEPT)  # every page of a gallery asks again
def _within(atlas: Atlas, outline: MapSelection) -> ChosenRegions:
    ids = atlas.inside(np.array(outline.polygon, np.float32))
    return ChosenRegions(tuple(ids.tolist()), of=outline.what)


@lru_cache(2)  # the next example of the same map
def example_search(engine: Engine, home: Path, *, dataset_id: int, atlas: Atlas) -> ExampleSearch:
    """Return the search by example among the points of a map.

    Raises: UserError: their vectors are gone.
    """
    return ExampleSearch.of(engine, home, dataset_id, atlas=atlas)


def outliers_of(home: Path, dataset_id: int) -> list[int]:
    """Return all regions of the map, the farthest from their neighbours first.

    Raises: UserError: nobody has drawn it.
    """
    atlas = atlas_of(home, dataset_id, "regions")
    if atlas is None:
        raise UserError("outliers come from the map of regions: draw it first, under “Map”")
    return _by_distance(atlas)


@lru_cache(KEPT)
def _by_distance(atlas: Atlas) -> list[int]:
    found: list[int] = atlas.outliers().tolist()
    return found
