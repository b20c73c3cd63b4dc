"""Embed a data set's pictures or regions, once each: `python -m curation.explore.embeddings --dataset NAME`.

It embeds what is missing and prints a JSON object; stopped at any moment, the same command resumes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image as Pillow
from tqdm import tqdm

from curation.explore.embedding_store import Box, EmbeddingStore, What, picture_key, region_key
from curation.files.home import database_url, home_folder
from curation.files.images import PictureReader
from db.engine import Engine, open_engine, reading
from db.models import Image, RegionRow
from db.queries.data_set_queries import count_images, get_dataset, image_page
from db.queries.region_queries import regions_of
from grain.checkpoint import CONFIG, file_sha256, locate, read_info
from grain.command import run_command
from grain.structures import Array, ImageFeatures
from job_progress import report_progress
from user_errors import UserError

FILES = (CONFIG, "*.safetensors", "*.onnx")  # of a checkpoint: what decides its embeddings
REVISION_DIGITS = 12
SIDE = 1280  # pixels of the longest side that a picture is reduced to, as in the editor
PAGE = 256  # pictures a question
BATCH = 16  # pictures a pass
SHARD = 1024  # vectors
SHARD_SECONDS = 30.0  # what a kill costs at most


class RegionEmbedder(Protocol):
    """An embedder of pictures and their regions; `grain.Predictor` is one."""

    def batch_features(self, images: Sequence[Pillow.Image]) -> list[ImageFeatures]:
        """Return the features of upright RGB pictures."""

    def crop_embeds(self, image: Pillow.Image, boxes_xyxy: Sequence[Box]) -> Array:
        """Return embeddings [N, E] of the boxes, cut out."""


@dataclass(frozen=True)
class EmbeddingModel:
    """A checkpoint, identified by content.

    name: for people. revision: of its files. folder: that holds them.
    """

    name: str
    revision: str
    folder: Path

    @classmethod
    def of(cls, checkpoint: str, home: Path) -> EmbeddingModel:
        """Find a bundled checkpoint by its name, one below home/checkpoints, or a folder.

        Raises: UserError: it cannot embed by itself. CheckpointError: it cannot be used.
        """
        mine = home / "checkpoints" / checkpoint
        folder = mine if checkpoint and mine.is_dir() else locate(checkpoint)
        info = read_info(folder)
        if info.from_proposals:
            raise UserError(f"the checkpoint {info.name} needs proposals with each picture: choose another")
        files = sorted(path for pattern in FILES for path in folder.glob(pattern))
        digest = hashlib.sha256("\n".join(f"{path.name} {file_sha256(path)}" for path in files).encode())
        return cls(folder.name, digest.hexdigest()[:REVISION_DIGITS], folder)

    @property
    def id(self) -> str:
        """Return name@revision."""
        return f"{self.name}@{self.revision}"

    def load(self) -> Any:
        """Load the predictor, importing what it needs only now."""
        from grain.predict import Predictor

        return Predictor.from_pretrained(self.folder)


@dataclass
class EmbeddingProgress:
    """The progress of embedding.

    seen: pictures done, of total. embedded: vectors made. unread: pictures left out.
    """

    total: int = 0
    seen: int = 0
    embedded: int = 0
    unread: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str) -> None:
        """Count a picture that could not be read."""
        self.unread += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def to_json(self) -> dict[str, Any]:
        """Return the counts for people and pages."""
        return vars(self)


def embed(
    engine: Engine,
    dataset: str,
    model: EmbeddingModel,
    *,
    what: What,
    home: Path,
    load: Callable[[EmbeddingModel], RegionEmbedder] = EmbeddingModel.load,
    on_progress: Callable[[EmbeddingProgress], None] = lambda counts: None,
) -> EmbeddingProgress:
    """Embed what the data set has and the store lacks.

    Args:   load: the model, when it is first needed. on_progress: called after every page and shard.
    Raises: UserError: there is no such data set.
    """
    dataset_id = dataset_id_of(engine, dataset)
    with reading(engine) as session:
        counts = EmbeddingProgress(total=count_images(session, dataset_id=dataset_id))
    writer = _EmbeddingWriter(EmbeddingStore.of(home, model.id, what), counts, lambda: load(model))
    with PictureReader(side=SIDE) as reader:
        for images, regions in pages(engine, dataset_id, what):
            all_boxes = _boxes_to_embed(images, regions if what == "regions" else None)
            missing = set(writer.store.missing([key for one in all_boxes for key in one.boxes]))
            remaining = [replace(one, boxes={k: b for k, b in one.boxes.items() if k in missing}) for one in all_boxes]
            remaining = [one for one in remaining if one.boxes]
            boxes = {one.image.id: one for one in remaining}
            pictures = ((boxes[row.id], got) for row, got in reader.open_images(one.image for one in remaining))
            for batch in _in_batches(pictures, BATCH):
                writer.embed(batch)
                on_progress(counts)
            counts.seen += len(images)
            on_progress(counts)
    writer.keep()
    on_progress(counts)
    return counts


def dataset_id_of(engine: Engine, dataset: str) -> int:
    """Return the id of the data set of that name.

    Raises: UserError: there is none.
    """
    with reading(engine) as session:
        found = get_dataset(session, name=dataset)
    if found is None:
        raise UserError(f"there is no data set {dataset!r}: import it first (python -m curation.ingest)")
    return found.id


def pages(engine: Engine, dataset_id: int, what: What) -> Iterator[tuple[Sequence[Image], dict[int, list[RegionRow]]]]:
    """Yield a data set's pictures in pages, with their regions that nobody deleted where asked for."""
    after = 0
    while True:
        with reading(engine) as session:
            images = image_page(session, dataset_id=dataset_id, after=after, limit=PAGE)
            ids = [image.id for image in images]
            regions = regions_of(session, image_ids=ids) if what == "regions" else {}
        if not images:
            return
        yield images, regions
        after = ids[-1]


def box_of(row: RegionRow) -> Box:
    """Return a region's box."""
    return row.x1, row.y1, row.x2, row.y2


@dataclass(frozen=True)
class _BoxesToEmbed:
    """The boxes of a picture to embed, by key; None stands for the whole picture."""

    image: Image
    boxes: dict[bytes, Box | None]


def _boxes_to_embed(images: Sequence[Image], regions: dict[int, list[RegionRow]] | None) -> list[_BoxesToEmbed]:
    if regions is None:
        return [_BoxesToEmbed(image, {picture_key(image.sha256): None}) for image in images]
    return [
        _BoxesToEmbed(image, {region_key(image.sha256, box_of(row)): box_of(row) for row in regions[image.id]})
        for image in images
    ]


class _EmbeddingWriter:
    """A buffer of vectors on their way into the store."""

    def __init__(self, store: EmbeddingStore, counts: EmbeddingProgress, load: Callable[[], RegionEmbedder]) -> None:
        self.store, self.counts, self._load = store, counts, load
        self._keys: list[bytes] = []
        self._vectors: list[Array] = []
        self._since = time.monotonic()

    @cached_property
    def _model(self) -> RegionEmbedder:
        return self._load()

    def embed(self, batch: Sequence[tuple[_BoxesToEmbed, Pillow.Image | str]]) -> None:
        """Embed the boxes of some pictures; unreadable pictures are counted by reason."""
        full_pictures: list[tuple[bytes, Pillow.Image]] = []
        for wanted, picture in batch:
            if isinstance(picture, str):
                self.counts.leave_out(picture)
                continue
            boxes = {key: box for key, box in wanted.boxes.items() if box is not None}
            full_pictures += [(key, picture) for key, box in wanted.boxes.items() if box is None]
            if boxes:
                self._put(list(boxes), self._model.crop_embeds(picture, list(boxes.values())))
        if full_pictures:
            features = self._model.batch_features([picture for _, picture in full_pictures])
            self._put([key for key, _ in full_pictures], np.stack([each.image_embed for each in features]))
        if len(self._keys) >= SHARD or time.monotonic() - self._since > SHARD_SECONDS:
            self.keep()

    def _put(self, keys: list[bytes], vectors: Array) -> None:
        self._keys += keys
        self._vectors.append(vectors)
        self.counts.embedded += len(keys)

    def keep(self) -> None:
        """Write the buffered vectors."""
        if self._keys:
            self.store.add(self._keys, np.concatenate(self._vectors))
        self._keys, self._vectors, self._since = [], [], time.monotonic()


def _in_batches(rows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(frozen=True)
class EmbeddingsConfig:
    """Embed a data set's pictures or regions; prints one JSON object."""

    dataset: str
    """Its name."""
    checkpoint: str = "photo-names"
    """A checkpoint folder, one of GRAIN_HOME/checkpoints, or a bundled one by its name."""
    what: What = "regions"
    """Whole pictures, or each region cut out."""
    home: Path | None = None
    """Folder of embeddings, and of the database unless GRAIN_DATABASE_URL names another; by default GRAIN_HOME."""


def main(config: EmbeddingsConfig) -> None:
    """Run the command line."""
    home = home_folder(config.home)
    model = EmbeddingModel.of(config.checkpoint, home)
    engine = open_engine(database_url(home))
    try:
        with tqdm(unit=" pictures", smoothing=0.1) as bar:
            done = embed(engine, config.dataset, model, what=config.what, home=home, on_progress=progress(bar))
    finally:
        engine.dispose()
    json.dump(
        {"dataset": config.dataset, "model": model.id, "what": config.what, **done.to_json()}, sys.stdout, indent=1
    )
    print()


def progress(bar: Any) -> Callable[[EmbeddingProgress], None]:
    """Return a function that shows progress on a bar and reports it to the job's runner."""

    def show(counts: EmbeddingProgress) -> None:
        bar.total = counts.total
        bar.update(counts.seen - bar.n)
        message = f"{counts.embedded:,} embedded" + f", {counts.unread:,} unread" * bool(counts.unread)
        report_progress(counts.seen, counts.total, message)

    return show


if __name__ == "__main__":
    run_command(main, EmbeddingsConfig, module="curation.explore.embeddings")
