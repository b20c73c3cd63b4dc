"""Maps of data sets as the app uses them: the last few in memory, and which regions a person chose on one."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast, get_args

import numpy as np

from curation.atlas import Atlas, atlas_path, load
from curation.embeddings import EmbeddingError, What
from db.gallery_queries import Chosen

KEPT = 4  # maps in memory
MOST_CORNERS = 2_000
_kept: OrderedDict[tuple[Path, int], Atlas] = OrderedDict()


@dataclass(frozen=True)
class Selection:
    """What a person drew around points. polygon: corners on the map."""

    what: What
    polygon: tuple[tuple[float, float], ...]

    def written(self) -> str:
        """As the page keeps it."""
        return json.dumps({"what": self.what, "polygon": self.polygon})

    @classmethod
    def read(cls, written: str) -> Selection:
        """What `written` gave, or what the page's script sends.

        Raises: ValueError: it is something else.
        """
        try:
            given = json.loads(written)
            what, polygon = given["what"], tuple((float(x), float(y)) for x, y in given["polygon"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError("expected a selection of the map, got something else: draw around points anew") from error
        if what not in get_args(What) or not 3 <= len(polygon) <= MOST_CORNERS:
            raise ValueError(f"expected 3 to {MOST_CORNERS:,} corners, got {len(polygon)}: draw around points anew")
        return cls(cast(What, what), polygon)


def atlas_of(home: Path, dataset_id: int, what: What) -> Atlas | None:
    """The map of a data set as it lies on disk now; None where nobody has drawn one.

    Raises: EmbeddingError: it cannot be read.
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


def chosen_by(home: Path, dataset_id: int, written: str) -> Chosen | None:
    """The regions, or the regions of the pictures, within a selection; None where there is none.

    Raises: ValueError: it is no selection. EmbeddingError: the map is gone.
    """
    if not written:
        return None
    selection = Selection.read(written)
    atlas = atlas_of(home, dataset_id, selection.what)
    if atlas is None:
        raise EmbeddingError("the map of this selection is gone: draw it again")
    return _within(atlas, selection)


@lru_cache(KEPT)
def _within(atlas: Atlas, selection: Selection) -> Chosen:
    """Kept, because every page of a gallery asks again."""
    ids = atlas.inside(np.array(selection.polygon, np.float32))
    return Chosen(tuple(ids.tolist()), of=selection.what)


def outliers_of(home: Path, dataset_id: int) -> list[int]:
    """All regions of the map, the farthest from their neighbours first.

    Raises: EmbeddingError: nobody has drawn it.
    """
    atlas = atlas_of(home, dataset_id, "regions")
    if atlas is None:
        raise EmbeddingError("outliers come from the map of regions: draw it first, under “Look at the whole”")
    return _by_distance(atlas)


@lru_cache(KEPT)
def _by_distance(atlas: Atlas) -> list[int]:
    found: list[int] = atlas.outliers().tolist()
    return found
