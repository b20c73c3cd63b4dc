"""Draw the map of a data set: its pictures' or regions' embeddings in the plane, groups of similar ones, outliers.

`python -m curation.explore.atlas --dataset NAME` embeds what is new, finds neighbours, draws the map with UMAP and
prints a JSON object. A map is one file, GRAIN_HOME/atlases/<data set>/<what>.npz, written whole or not at all; the next
map replaces it.
"""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from atomic_files import write_atomically
from curation.explore.embedding_store import EmbeddingStore, What, picture_key, region_key
from curation.explore.embeddings import (
    EmbeddingModel,
    EmbeddingProgress,
    RegionEmbedder,
    box_of,
    dataset_id_of,
    embed,
    pages,
)
from curation.explore.neighbours import Nearest, hash_pairs, nearest
from curation.files.home import database_url, home_folder
from db.engine import Engine, open_engine
from grain.command import flags_of, run_command
from grain.structures import Array
from job_progress import report_progress
from user_errors import UserError

SCHEMA = 1
NEIGHBOURS = 15  # of the map; the last of them is the one that outliers are far from
LEAST_FOR_UMAP = 12  # fewer are laid out along their two main directions
SEED = 0
ALONE = -1  # group of a picture that looks like no other

Layout = Callable[[Array, Nearest], Array]


@dataclass(frozen=True, eq=False)
class Atlas:
    """A map of N points.

    ids: [N] of regions or pictures. xy: [N, 2]. apart: [N] 1 - cosine with the NEIGHBOURS-th neighbour. group: [N] of
    pictures that look alike, ALONE for most. model: name@revision. exact: whether all pairs were compared.
    """

    what: What
    model: str
    ids: NDArray[np.int64]
    xy: Array
    apart: Array
    group: NDArray[np.int64]
    exact: bool

    def groups(self) -> list[list[int]]:
        """Return the ids of groups of similar pictures, the largest group first."""
        order = np.argsort(self.group, kind="stable")
        order = order[self.group[order] != ALONE]
        cuts = np.flatnonzero(np.diff(self.group[order])) + 1
        parts = [self.ids[part].tolist() for part in np.split(order, cuts) if len(part)]
        return sorted(parts, key=lambda part: (-len(part), part))

    def outliers(self) -> NDArray[np.int64]:
        """Return ids [N], the farthest from their neighbours first."""
        found: NDArray[np.int64] = self.ids[np.lexsort((self.ids, -self.apart))]
        return found

    def inside(self, polygon: Array) -> NDArray[np.int64]:
        """Return the ids of the points within a polygon ([P, 2]), by the even-odd rule."""
        return self.ids[inside(self.xy, polygon)]


def inside(xy: Array, polygon: Array) -> NDArray[np.bool_]:
    """Return [N] whether each point ([N, 2]) is within a polygon ([P, 2], closed by itself), by the even-odd rule."""
    within = np.zeros(len(xy), bool)
    x, y = xy[:, 0], xy[:, 1]
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            within ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return within


def atlas_path(home: Path, dataset_id: int, what: What) -> Path:
    """Return the path of a data set's map."""
    return home / "atlases" / str(dataset_id) / f"{what}.npz"


def save(atlas: Atlas, path: Path) -> None:
    """Write a map over the previous one."""
    about = json.dumps({"schema": SCHEMA, "what": atlas.what, "model": atlas.model, "exact": atlas.exact})
    buffer = io.BytesIO()
    arrays = {"ids": atlas.ids, "xy": atlas.xy, "apart": atlas.apart, "group": atlas.group}
    np.savez(buffer, about=np.array(about), **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def load(path: Path) -> Atlas:
    """Load a map.

    Raises: UserError: there is none, or it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            if about["schema"] != SCHEMA:
                raise ValueError(about["schema"])
            arrays = {name: file[name] for name in ("ids", "xy", "apart", "group")}
    except FileNotFoundError as error:
        raise UserError("there is no map of this data set yet: draw it first") from error
    except (OSError, EOFError, BadZipFile, ValueError, KeyError) as error:
        raise UserError(f"the map {path.name} cannot be read: draw it again") from error
    return Atlas(about["what"], about["model"], exact=about["exact"], **arrays)


def umap_layout(vectors: Array, neighbours: Nearest) -> Array:
    """Return points [N, 2] by UMAP over known neighbours; equal vectors give equal points."""
    import umap  # here: numba takes seconds

    knn = (neighbours.rows.astype(np.int32), 1 - neighbours.cosines, None)
    count = neighbours.rows.shape[1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precomputed_knn", UserWarning)  # nothing is added to the map later
        drawing = umap.UMAP(n_neighbors=count, metric="cosine", random_state=SEED, n_jobs=1, precomputed_knn=knn)
        xy: Array = drawing.fit_transform(vectors).astype(np.float32)
    return xy


def main_directions(vectors: Array) -> Array:
    """Return points [N, 2] along the two directions in which the vectors vary most."""
    centred = vectors - vectors.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    xy = np.zeros((len(vectors), 2), np.float32)
    xy[:, : min(2, len(sizes))] = (left * sizes)[:, :2]
    return xy


def groups_of(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return [N] the number of the group that pairs ([P, 2]) join each row to; ALONE for those in none."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, label = connected_components(edges, directed=False)
    sizes = np.bincount(label, minlength=1)
    found: NDArray[np.int64] = np.where(sizes[label] > 1, label, ALONE).astype(np.int64)
    return found


def draw(
    engine: Engine,
    dataset: str,
    model: EmbeddingModel,
    *,
    what: What,
    home: Path,
    alike: float,
    bits: int,
    load_model: Callable[[EmbeddingModel], RegionEmbedder] = EmbeddingModel.load,
    layout: Layout = umap_layout,
    on_progress: Callable[[int, int, str], None] = lambda done, total, message: None,
) -> Atlas:
    """Embed what is new, lay out all points, and save the map.

    Args:   alike, bits: see AtlasConfig. layout: places the points. on_progress: pictures of twice as many, a message.
    Raises: UserError: there is no such data set, or nothing of it to draw.
    """
    dataset_id = dataset_id_of(engine, dataset)

    def embedding(progress: EmbeddingProgress) -> None:
        on_progress(progress.seen, 2 * progress.total, f"{progress.embedded:,} embedded")

    progress = embed(engine, dataset, model, what=what, home=home, load=load_model, on_progress=embedding)
    points = points_of(engine, dataset_id, EmbeddingStore.of(home, model.id, what), what=what)
    on_progress(progress.total, 2 * progress.total, f"neighbours of {len(points.vectors):,}")
    near = nearest(points.vectors, points.vectors, NEIGHBOURS + 1)
    on_progress(progress.total + progress.total // 2, 2 * progress.total, f"map of {len(points.vectors):,}")
    xy = layout(points.vectors, near) if len(points.vectors) >= LEAST_FOR_UMAP else main_directions(points.vectors)
    group: NDArray[np.int64] = np.full(len(points.vectors), ALONE, np.int64)
    if what == "pictures":
        group = groups_of(len(group), np.concatenate([_near_pairs(near, alike), _hash_pairs(points.hashes, bits)]))
    row = points.row
    atlas = Atlas(what, model.id, points.ids, xy[row], (1 - near.cosines[:, -1])[row], group[row], near.exact)
    save(atlas, atlas_path(home, dataset_id, what))
    on_progress(2 * progress.total, 2 * progress.total, f"{len(atlas.ids):,} points")
    return atlas


@dataclass(frozen=True)
class MapPointVectors:
    """The points of a map and what it is drawn from.

    ids: [N]. row: [N] of its vector; descriptions of one box share it. vectors: [V, E]. hashes: [V] perceptual.
    """

    ids: NDArray[np.int64]
    row: NDArray[np.int64]
    vectors: Array
    hashes: list[str]


def points_of(engine: Engine, dataset_id: int, store: EmbeddingStore, *, what: What) -> MapPointVectors:
    """Return the points of a data set that have a vector.

    Raises: UserError: there are none, or a file of them cannot be read.
    """
    ids: list[int] = []
    rows: list[int] = []
    vectors: list[Array] = []
    known: dict[bytes, int] = {}
    hashes: list[str] = []
    for images, regions in pages(engine, dataset_id, what):
        image_by_id = {image.id: image for image in images}
        keys = [(image.id, picture_key(image.sha256), image) for image in images] if what == "pictures" else []
        for row in (row for each in regions.values() for row in each):
            image = image_by_id[row.image_id]
            keys.append((row.id, region_key(image.sha256, box_of(row)), image))
        new = list(dict.fromkeys(key for _, key, _ in keys if key not in known))
        found = store.find(new)
        there = [key for key, is_there in zip(new, found.there, strict=True) if is_there]
        known |= {key: len(known) + number for number, key in enumerate(there)}
        vectors += [found.vectors] if there else []
        by_key = {key: image.phash for _, key, image in keys}
        hashes += [by_key[key] for key in there]
        ids += [number for number, key, _ in keys if key in known]
        rows += [known[key] for _, key, _ in keys if key in known]
    if not ids:
        raise UserError(f"there are no {what} to draw: import or annotate the data set first")
    return MapPointVectors(np.array(ids), np.array(rows), np.concatenate(vectors), hashes)


def _near_pairs(near: Nearest, least: float) -> NDArray[np.int64]:
    left, place = np.nonzero(near.cosines >= least)
    return np.stack([left, near.rows[left, place]], axis=1)


def _hash_pairs(hashes: list[str], bits: int) -> NDArray[np.int64]:
    rows = np.array([row for row, each in enumerate(hashes) if each], np.int64)
    return rows[hash_pairs(np.array([int(hashes[row], 16) for row in rows], np.uint64), bits)]


@dataclass(frozen=True)
class AtlasConfig:
    """Draw the map of a data set; prints one JSON object."""

    dataset: str
    """Its name."""
    checkpoint: str = "photo-names"
    """A checkpoint folder, one of GRAIN_HOME/checkpoints, or a bundled one by its name."""
    what: What = "regions"
    """Whole pictures, or each region cut out."""
    alike: float = 0.995
    """Least cosine of two pictures that look alike."""
    bits: int = 2
    """Most bits of 64 by which the perceptual hashes of two pictures that look alike differ."""
    home: Path | None = None
    """Folder of embeddings, maps, and the database unless GRAIN_DATABASE_URL names another. Default: GRAIN_HOME."""

    def __post_init__(self) -> None:
        """Refuse thresholds that no two pictures, or all, would reach.

        Raises: ValueError.
        """
        if not 0 < self.alike <= 1 or not 0 <= self.bits < 64:
            raise ValueError(f"expected 0 < alike <= 1 and 0 <= bits < 64, got {self.alike} and {self.bits}")


def command_line(config: AtlasConfig) -> list[str]:
    """Return the arguments that run it from a terminal, after the name of Python."""
    return ["-m", "curation.explore.atlas", *flags_of(config)]


def main(config: AtlasConfig) -> None:
    """Run the command line."""
    home = home_folder(config.home)
    model = EmbeddingModel.of(config.checkpoint, home)
    engine = open_engine(database_url(home))
    try:
        options: dict[str, Any] = {"alike": config.alike, "bits": config.bits, "on_progress": report_progress}
        atlas = draw(engine, config.dataset, model, what=config.what, home=home, **options)
    finally:
        engine.dispose()
    found = {"points": len(atlas.ids), "groups": len(atlas.groups()), "exact": atlas.exact}
    json.dump({"dataset": config.dataset, "model": model.id, "what": config.what, **found}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    run_command(main, AtlasConfig, module="curation.explore.atlas")
