"""GRAIN's score of every region in bulk, and how far it is from the localizer's; the Curate page orders by that.

`python -m curation.similarity --dataset NAME` cuts out what is new, scores all regions as the editor does, and prints a
JSON object. Scores of two models have no common scale, so each is taken by its rank among the data set's: disagreement
is the difference of the two percentiles, in [0, 1]. Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import tyro
from numpy.typing import ArrayLike, NDArray

from curation.embeddings import (
    Embedder,
    Embedding,
    EmbeddingError,
    EmbeddingModel,
    EmbeddingStore,
    box_of,
    dataset_id_of,
    embed,
    pages,
    region_key,
)
from curation.home import database_url, home_folder, report_progress
from db.engine import DatabaseError, Engine, open_engine, retrying
from db.gallery_queries import Similarity, set_similarities
from grain.checkpoint import CheckpointError
from grain.structures import Array

ROWS = 10_000  # a transaction


class Scorer(Embedder, Protocol):
    """What is asked of a checkpoint; `grain.Predictor` is one."""

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """[T, E] unit length."""


@dataclass(frozen=True)
class Scored:
    """What came of it. regions: that have a score now. compared: that have a localizer's as well."""

    regions: int
    compared: int
    unread: int


def percentiles(values: ArrayLike) -> NDArray[np.float64]:
    """[N] share of the values below each, equals counted half, in (0, 1)."""
    array = np.asarray(values, np.float64)
    order = np.sort(array)
    below, upto = (np.searchsorted(order, array, side=side) for side in ("left", "right"))
    return (below + upto) / (2 * max(len(array), 1))


def disagreements(scores: Sequence[float | None], similarities: ArrayLike) -> list[float | None]:
    """[N] difference of the percentiles of both; None where there is no localizer's score."""
    both = np.array([score is not None for score in scores], bool)
    apart: list[float | None] = [None] * len(scores)
    there = [score for score in scores if score is not None]
    mine = np.asarray(similarities, np.float64)[both] if len(scores) else np.zeros(0)
    for row, value in zip(np.flatnonzero(both), np.abs(percentiles(there) - percentiles(mine)), strict=True):
        apart[row] = float(value)
    return apart


def score(
    engine: Engine,
    dataset: str,
    model: EmbeddingModel,
    *,
    home: Path,
    load: Callable[[EmbeddingModel], Scorer] = EmbeddingModel.load,
    on_progress: Callable[[int, int, str], None] = lambda done, total, message: None,
) -> Scored:
    """Score all regions of a data set that nobody deleted.

    Args:   on_progress: pictures embedded and pictures scored, of twice as many; and where it is, for people.
    Raises: EmbeddingError: there is no such data set.
    """
    dataset_id = dataset_id_of(engine, dataset)

    def embedding(far: Embedding) -> None:
        on_progress(far.seen, 2 * far.total, f"{far.embedded:,} regions cut out")

    scorer = load(model)
    far = embed(engine, dataset, model, "regions", home=home, load=lambda _: scorer, on_progress=embedding)
    store = EmbeddingStore.of(home, model.id, "regions")
    ids: list[int] = []
    scores: list[float | None] = []
    parts: list[Array] = []
    seen = 0
    for images, regions in pages(engine, dataset_id, "regions"):
        hashes = {image.id: image.sha256 for image in images}
        rows = [row for each in regions.values() for row in each]
        found = store.find([region_key(hashes[row.image_id], box_of(row)) for row in rows])
        known = [row for row, there in zip(rows, found.there, strict=True) if there]
        if known:
            parts.append(np.einsum("ne,ne->n", found.vectors, scorer.embed_texts([row.text for row in known])))
        ids += [row.id for row in known]
        scores += [row.score for row in known]
        seen += len(images)
        on_progress(far.total + seen, 2 * far.total, f"{len(ids):,} regions scored")
    similarities = np.concatenate([np.zeros(0, np.float32), *parts]).tolist()
    _keep(engine, list(map(Similarity, ids, similarities, disagreements(scores, similarities))))
    return Scored(len(ids), sum(each is not None for each in scores), far.unread)


def _keep(engine: Engine, rows: Sequence[Similarity]) -> None:
    for first in range(0, len(rows), ROWS):
        some = rows[first : first + ROWS]
        retrying(engine, lambda session, some=some: set_similarities(session, rows=some))  # type: ignore[misc]


@dataclass(frozen=True)
class SimilarityConfig:
    """Score every region of a data set with GRAIN; prints one JSON object."""

    dataset: str
    """Its name."""
    checkpoint: str = "photo"
    """A checkpoint folder, one of GRAIN_HOME/checkpoints, or an embedded one by its name."""
    home: Path | None = None
    """Where embeddings go, and the database if GRAIN_DATABASE_URL names no other; by default GRAIN_HOME."""


def command_line(config: SimilarityConfig) -> list[str]:
    """The words that run it from a terminal, after the name of Python."""
    return ["-m", "curation.similarity", f"--dataset={config.dataset}", f"--checkpoint={config.checkpoint}"]


def main(config: SimilarityConfig) -> None:
    """The command line."""
    home = config.home.expanduser().absolute() if config.home else home_folder()
    model = EmbeddingModel.of(config.checkpoint, home)
    engine = open_engine(database_url(home))
    try:
        scored = score(engine, config.dataset, model, home=home, on_progress=report_progress)
    finally:
        engine.dispose()
    json.dump({"dataset": config.dataset, "model": model.id, **vars(scored)}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    try:
        main(tyro.cli(SimilarityConfig))
    except (ValueError, OSError, EmbeddingError, CheckpointError, DatabaseError) as error:
        sys.exit(f"curation.similarity: {error}")
    except KeyboardInterrupt:
        sys.exit("curation.similarity: stopped: the same command goes on")
