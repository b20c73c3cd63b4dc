"""Score every region with GRAIN, and compare with the localizer's score; the Curate page orders by that.

`python -m curation.explore.similarity --dataset NAME` embeds new regions, scores all regions as the editor does, and
prints a JSON object. Scores of two models have no common scale, so each is ranked within the data set: disagreement is
the difference of the two percentiles, in [0, 1]. Stopped at any moment, the same command resumes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curation.explore.embedding_store import EmbeddingStore, region_key
from curation.explore.embeddings import (
    EmbeddingModel,
    EmbeddingProgress,
    RegionEmbedder,
    box_of,
    dataset_id_of,
    embed,
    pages,
)
from curation.files.home import database_url, home_folder
from db.engine import Engine, open_engine, retrying
from db.queries.region_index_queries import Similarity, set_similarities
from grain.command import flags_of, run_command
from grain.structures import Array
from job_progress import report_progress

ROWS = 10_000  # a transaction


class SimilarityScorer(RegionEmbedder, Protocol):
    """An embedder of regions and texts; `grain.Predictor` is one."""

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Return text embeddings [T, E] of unit length."""


@dataclass(frozen=True)
class SimilarityCounts:
    """The result of scoring.

    regions: that have a score now. compared: that have a localizer's as well.
    """

    regions: int
    compared: int
    unread: int


def percentiles(values: ArrayLike) -> NDArray[np.float64]:
    """Return [N] the share of the values below each, equals counted half, in (0, 1)."""
    array = np.asarray(values, np.float64)
    order = np.sort(array)
    below, upto = (np.searchsorted(order, array, side=side) for side in ("left", "right"))
    return (below + upto) / (2 * max(len(array), 1))


def disagreements(scores: Sequence[float | None], similarities: ArrayLike) -> list[float | None]:
    """Return [N] the difference of both percentiles; None where there is no localizer's score."""
    both = np.array([score is not None for score in scores], bool)
    differences: list[float | None] = [None] * len(scores)
    localizer_scores = [score for score in scores if score is not None]
    grain_scores = np.asarray(similarities, np.float64)[both] if len(scores) else np.zeros(0)
    for row, value in zip(
        np.flatnonzero(both), np.abs(percentiles(localizer_scores) - percentiles(grain_scores)), strict=True
    ):
        differences[row] = float(value)
    return differences


def score(
    engine: Engine,
    dataset: str,
    model: EmbeddingModel,
    *,
    home: Path,
    load: Callable[[EmbeddingModel], SimilarityScorer] = EmbeddingModel.load,
    on_progress: Callable[[int, int, str], None] = lambda done, total, message: None,
) -> SimilarityCounts:
    """Score all regions of a data set that nobody deleted.

    Args:   on_progress: pictures embedded and pictures scored, of twice as many; and a message for people.
    Raises: UserError: there is no such data set.
    """
    dataset_id = dataset_id_of(engine, dataset)

    def embedding(progress: EmbeddingProgress) -> None:
        on_progress(progress.seen, 2 * progress.total, f"{progress.embedded:,} regions cut out")

    scorer = load(model)
    progress = embed(engine, dataset, model, what="regions", home=home, load=lambda _: scorer, on_progress=embedding)
    store = EmbeddingStore.of(home, model.id, "regions")
    ids: list[int] = []
    versions: list[int] = []
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
        versions += [row.version for row in known]
        scores += [row.score for row in known]
        seen += len(images)
        on_progress(progress.total + seen, 2 * progress.total, f"{len(ids):,} regions scored")
    similarities = np.concatenate([np.zeros(0, np.float32), *parts]).tolist()
    _keep(engine, list(map(Similarity, ids, similarities, disagreements(scores, similarities), versions)))
    return SimilarityCounts(len(ids), sum(each is not None for each in scores), progress.unread)


def _keep(engine: Engine, rows: Sequence[Similarity]) -> None:
    for first in range(0, len(rows), ROWS):
        some = rows[first : first + ROWS]
        retrying(engine, lambda session, some=some: set_similarities(session, rows=some))  # type: ignore[misc]


@dataclass(frozen=True)
class SimilarityConfig:
    """Score every region of a data set with GRAIN; prints one JSON object."""

    dataset: str
    """Its name."""
    checkpoint: str = "photo-names"
    """A checkpoint folder, one of GRAIN_HOME/checkpoints, or a bundled one by its name."""
    home: Path | None = None
    """Folder of embeddings, and of the database unless GRAIN_DATABASE_URL names another; by default GRAIN_HOME."""


def command_line(config: SimilarityConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    return ["-m", "curation.explore.similarity", *flags_of(config)]


def main(config: SimilarityConfig) -> None:
    """Run the command line."""
    home = home_folder(config.home)
    model = EmbeddingModel.of(config.checkpoint, home)
    engine = open_engine(database_url(home))
    try:
        scored = score(engine, config.dataset, model, home=home, on_progress=report_progress)
    finally:
        engine.dispose()
    json.dump({"dataset": config.dataset, "model": model.id, **vars(scored)}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    run_command(main, SimilarityConfig, module="curation.explore.similarity")
