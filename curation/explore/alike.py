"""Find the regions or pictures of a data set that are most like one of them, or words, by the embeddings of its map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curation.explore.atlas import Atlas, MapPointVectors, points_of
from curation.explore.embedding_store import EmbeddingStore
from curation.explore.neighbours import nearest
from db.engine import Engine
from grain.structures import Array
from user_errors import UserError

MOST_ALIKE = 200  # that a search by example finds


@dataclass(frozen=True, eq=False)
class ExampleSearch:
    """The vectors of a map's points, to search among by example or by words."""

    what: str
    points: MapPointVectors

    @classmethod
    def of(cls, engine: Engine, home: Path, dataset_id: int, *, atlas: Atlas) -> ExampleSearch:
        """Read the vectors that a map was drawn from.

        Raises: UserError: there are none any more, or a file of them cannot be read.
        """
        store = EmbeddingStore.of(home, atlas.model, atlas.what)
        return cls(atlas.what, points_of(engine, dataset_id, store, what=atlas.what))

    def most_alike(self, number: int, count: int = MOST_ALIKE) -> list[int]:
        """Return the ids that are most like an example, itself first; descriptions of one box are equally alike.

        Raises: UserError: the example came after the map.
        """
        places = np.flatnonzero(self.points.ids == number)
        if not len(places):
            raise UserError(f"expected an example that is on the map, got {number}, which came later: draw it again")
        row = int(self.points.row[places[0]])
        ids = self._nearest(self.points.vectors[row], count, first=row)
        return [number, *(each for each in ids if each != number)]

    def most_like(self, embed: Array, count: int = MOST_ALIKE) -> list[int]:
        """Return the ids that are most like an embedding, [E] unit length, of words or of another picture.

        Raises: UserError: it is of another model than the map.
        """
        if embed.shape != self.points.vectors.shape[1:]:
            raise UserError("The map was drawn by another checkpoint: draw it again.")
        return self._nearest(embed, count)

    def _nearest(self, embed: Array, count: int, *, first: int | None = None) -> list[int]:
        """Return the ids of the nearest points. first: a row of the vectors that comes before all."""
        found = nearest(embed[None], self.points.vectors, count).rows[0]
        rank = np.full(len(self.points.vectors), len(found))
        rank[found] = np.arange(len(found))
        if first is not None:
            rank[first] = -1
        order = np.argsort(rank[self.points.row], kind="stable")
        chosen = order[rank[self.points.row][order] < len(found)][:count]
        ids: list[int] = self.points.ids[chosen].tolist()
        return ids
