"""Embeddings of a data set's pictures or regions, kept by content: what was embedded once is never embedded again.

`python -m curation.embeddings --dataset NAME` embeds what is missing and prints a JSON object. Stopped at any moment,
the same command goes on. Files lie below GRAIN_HOME/embeddings/<model>/<what>/: shards of vectors, each with its keys.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image as Pillow
from tqdm import tqdm

from curation.home import database_url, home_folder, report_progress
from curation.images import PictureReader
from curation.pictures import write_atomic
from db.engine import DatabaseError, Engine, open_engine, reading
from db.models import Annotation, Image
from db.queries import annotations_of, count_images, get_dataset, image_page
from grain.checkpoint import CONFIG, CheckpointError, file_sha256, locate, read_info
from grain.structures import Array, ImageFeatures

What = Literal["pictures", "regions"]
Box = tuple[float, float, float, float]
Keys = NDArray[np.bytes_]

KEY = np.dtype("S32")  # a sha256; bytes strings of one length compare as what they are, zero bytes at the end too
FILES = (CONFIG, "*.safetensors", "*.onnx")  # of a checkpoint: what decides its embeddings
REVISION_DIGITS = 12
SIDE = 1280  # pixels of the longest side that a picture is reduced to, as in the editor
PAGE = 256  # pictures a question
BATCH = 16  # pictures a pass
SHARD = 1024  # vectors
SHARD_SECONDS = 30.0  # what a kill costs at most
KEYS_ENDING, VECTORS_ENDING = ".keys.npy", ".vectors.npy"


class EmbeddingError(RuntimeError):
    """Embeddings cannot be made; one sentence says why and what to do."""


class Embedder(Protocol):
    """What is asked of a checkpoint; `grain.Predictor` is one."""

    def batch_features(self, images: Sequence[Pillow.Image]) -> list[ImageFeatures]:
        """Upright RGB pictures -> their features."""

    def crop_embeds(self, image: Pillow.Image, boxes_xyxy: Sequence[Box]) -> Array:
        """[N, E] of each box, cut out."""


@dataclass(frozen=True)
class EmbeddingModel:
    """A checkpoint by content. name: as people know it. revision: of its files. folder: where they lie."""

    name: str
    revision: str
    folder: Path

    @classmethod
    def of(cls, checkpoint: str, home: Path) -> EmbeddingModel:
        """An embedded checkpoint by its name, one below home/checkpoints, or a folder.

        Raises: EmbeddingError: it cannot embed by itself. CheckpointError: it cannot be used.
        """
        mine = home / "checkpoints" / checkpoint
        folder = mine if checkpoint and mine.is_dir() else locate(checkpoint)
        info = read_info(folder)
        if info.from_proposals:
            raise EmbeddingError(f"the checkpoint {info.name} needs proposals with each picture: choose another")
        files = sorted(path for pattern in FILES for path in folder.glob(pattern))
        digest = hashlib.sha256("\n".join(f"{path.name} {file_sha256(path)}" for path in files).encode())
        return cls(folder.name, digest.hexdigest()[:REVISION_DIGITS], folder)

    @property
    def id(self) -> str:
        """name@revision"""
        return f"{self.name}@{self.revision}"

    def load(self) -> Any:
        """The model. What it needs is imported here."""
        from grain.predict import Predictor

        return Predictor.from_pretrained(self.folder)


def picture_key(sha256: str) -> bytes:
    """Of a picture, by the sha256 of its file."""
    return bytes.fromhex(sha256)


def region_key(sha256: str, box_xyxy: Box) -> bytes:
    """Of a box in a picture; a moved box has another."""
    return hashlib.sha256(f"{sha256} {' '.join(map(repr, box_xyxy))}".encode()).digest()


@dataclass(frozen=True)
class Found:
    """What a store has. vectors: [N, E] of the keys that are there, in their order. there: [N'] of all keys asked."""

    vectors: Array
    there: NDArray[np.bool_]


class EmbeddingStore:
    """Vectors by key, in files that are added and never changed; several processes may add at the same time."""

    def __init__(self, folder: Path) -> None:
        """folder: made when the first shard is added."""
        self.folder = folder

    @classmethod
    def of(cls, home: Path, model: str, what: What) -> EmbeddingStore:
        """Those of a model (name@revision)."""
        return cls(home / "embeddings" / model / what)

    @cached_property
    def _index(self) -> tuple[Keys, NDArray[np.int64], list[Path]]:
        """All keys in order; of each [shard, row]; the shards' files."""
        files = sorted(self.folder.glob(f"*{KEYS_ENDING}"))
        parts = [np.load(file, allow_pickle=False) for file in files]
        keys = np.concatenate([np.zeros(0, KEY), *parts])
        places = np.array(
            [(shard, row) for shard, part in enumerate(parts) for row in range(len(part))], np.int64
        ).reshape(-1, 2)
        distinct, first = np.unique(keys, return_index=True)
        vectors = [file.with_name(file.name.replace(KEYS_ENDING, VECTORS_ENDING)) for file in files]
        return distinct, places[first], vectors

    def __len__(self) -> int:
        return len(self._index[0])

    def missing(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those that are not there, each once, in order."""
        there = self._rows(keys)[1]
        return list(dict.fromkeys(key for key, known in zip(keys, there, strict=True) if not known))

    def find(self, keys: Sequence[bytes]) -> Found:
        """The vectors of those that are there.

        Raises: EmbeddingError: a file is gone.
        """
        rows, there = self._rows(keys)
        _, places, files = self._index
        wanted = places[rows[there]]
        vectors: Array = np.zeros((len(wanted), 0), np.float32)
        for shard in np.unique(wanted[:, 0]):
            mine = wanted[:, 0] == shard
            try:
                part = np.load(files[shard], mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise EmbeddingError(f"{files[shard]} cannot be read: delete the folder and embed anew") from error
            if not vectors.shape[1]:
                vectors = np.zeros((len(wanted), part.shape[1]), np.float32)
            vectors[mine] = part[wanted[mine, 1]]
        return Found(vectors, there)

    def add(self, keys: Sequence[bytes], vectors: Array) -> None:
        """A shard: keys [N], vectors [N, E]. Its keys are written last: without them it is not there.

        Raises: ValueError: there is not one vector a key, or one that is no number.
        """
        if vectors.shape[:1] != (len(keys),) or vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise ValueError(f"expected a finite vector for each of {len(keys)} keys, got the shape {vectors.shape}")
        if not keys:
            return
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / f"{name}{VECTORS_ENDING}", _npy(vectors.astype(np.float32)))
        write_atomic(self.folder / f"{name}{KEYS_ENDING}", _npy(np.array(keys, KEY)))
        self.__dict__.pop("_index", None)

    def _rows(self, keys: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        known, _, _ = self._index
        asked = np.array(keys, KEY)
        if not len(known):
            return np.zeros(len(asked), np.int64), np.zeros(len(asked), bool)
        rows = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        return rows, known[rows] == asked


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@dataclass
class Embedding:
    """How far it is. seen: pictures gone through, of total. embedded: vectors made. unread: pictures left out."""

    total: int = 0
    seen: int = 0
    embedded: int = 0
    unread: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str) -> None:
        """One more picture that could not be read."""
        self.unread += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def to_json(self) -> dict[str, Any]:
        """For people and pages."""
        return vars(self)


def embed(
    engine: Engine,
    dataset: str,
    model: EmbeddingModel,
    what: What,
    *,
    home: Path,
    load: Callable[[EmbeddingModel], Embedder] = EmbeddingModel.load,
    on_progress: Callable[[Embedding], None] = lambda far: None,
) -> Embedding:
    """Embed what a data set has and the store has not.

    Args:   load: the model, when it is first needed. on_progress: called after every page and shard.
    Raises: EmbeddingError: there is no such data set.
    """
    dataset_id = dataset_id_of(engine, dataset)
    with reading(engine) as session:
        far = Embedding(total=count_images(session, dataset_id=dataset_id))
    pass_ = _Pass(EmbeddingStore.of(home, model.id, what), far, lambda: load(model))
    with PictureReader(side=SIDE) as reader:
        for images, regions in pages(engine, dataset_id, what):
            wanted = _wanted(images, regions if what == "regions" else None)
            missing = set(pass_.store.missing([key for one in wanted for key in one.boxes]))
            todo = [replace(one, boxes={k: b for k, b in one.boxes.items() if k in missing}) for one in wanted]
            todo = [one for one in todo if one.boxes]
            boxes = {one.image.id: one for one in todo}
            pictures = ((boxes[row.id], got) for row, got in reader.open_images(one.image for one in todo))
            for batch in _in_batches(pictures, BATCH):
                pass_.embed(batch)
                on_progress(far)
            far.seen += len(images)
            on_progress(far)
    pass_.keep()
    on_progress(far)
    return far


def dataset_id_of(engine: Engine, dataset: str) -> int:
    """Of the data set of that name.

    Raises: EmbeddingError: there is none.
    """
    with reading(engine) as session:
        found = get_dataset(session, name=dataset)
    if found is None:
        raise EmbeddingError(f"there is no data set {dataset!r}: import it first (python -m curation.ingest)")
    return found.id


def pages(engine: Engine, dataset_id: int, what: What) -> Iterator[tuple[Sequence[Image], dict[int, list[Annotation]]]]:
    """A data set's pictures, some at a time, and where asked their regions that nobody deleted."""
    after = 0
    while True:
        with reading(engine) as session:
            images = image_page(session, dataset_id=dataset_id, after=after, limit=PAGE)
            ids = [image.id for image in images]
            regions = annotations_of(session, image_ids=ids) if what == "regions" else {}
        if not images:
            return
        yield images, regions
        after = ids[-1]


def box_of(row: Annotation) -> Box:
    """Of a region."""
    return row.x1, row.y1, row.x2, row.y2


@dataclass(frozen=True)
class _Wanted:
    """Of one picture: what is to be embedded, by key. None stands for the whole picture."""

    image: Image
    boxes: dict[bytes, Box | None]


def _wanted(images: Sequence[Image], regions: dict[int, list[Annotation]] | None) -> list[_Wanted]:
    if regions is None:
        return [_Wanted(image, {picture_key(image.sha256): None}) for image in images]
    return [
        _Wanted(image, {region_key(image.sha256, box_of(row)): box_of(row) for row in regions[image.id]})
        for image in images
    ]


class _Pass:
    """Vectors on their way into the store."""

    def __init__(self, store: EmbeddingStore, far: Embedding, load: Callable[[], Embedder]) -> None:
        self.store, self.far, self._load = store, far, load
        self._keys: list[bytes] = []
        self._vectors: list[Array] = []
        self._since = time.monotonic()

    @cached_property
    def _model(self) -> Embedder:
        return self._load()

    def embed(self, batch: Sequence[tuple[_Wanted, Pillow.Image | str]]) -> None:
        """Some pictures, and what of them is wanted; what could not be read is told by its reason."""
        whole: list[tuple[bytes, Pillow.Image]] = []
        for wanted, picture in batch:
            if isinstance(picture, str):
                self.far.leave_out(picture)
                continue
            boxes = {key: box for key, box in wanted.boxes.items() if box is not None}
            whole += [(key, picture) for key, box in wanted.boxes.items() if box is None]
            if boxes:
                self._put(list(boxes), self._model.crop_embeds(picture, list(boxes.values())))
        if whole:
            features = self._model.batch_features([picture for _, picture in whole])
            self._put([key for key, _ in whole], np.stack([each.image_embed for each in features]))
        if len(self._keys) >= SHARD or time.monotonic() - self._since > SHARD_SECONDS:
            self.keep()

    def _put(self, keys: list[bytes], vectors: Array) -> None:
        self._keys += keys
        self._vectors.append(vectors)
        self.far.embedded += len(keys)

    def keep(self) -> None:
        """Write what is there."""
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
    checkpoint: str = "photo"
    """A checkpoint folder, one of GRAIN_HOME/checkpoints, or an embedded one by its name."""
    what: What = "regions"
    """Whole pictures, or each region cut out."""
    home: Path | None = None
    """Where embeddings go, and the database if GRAIN_DATABASE_URL names no other; by default GRAIN_HOME."""


def main(config: EmbeddingsConfig) -> None:
    """The command line."""
    home = config.home.expanduser().absolute() if config.home else home_folder()
    model = EmbeddingModel.of(config.checkpoint, home)
    engine = open_engine(database_url(home))
    try:
        with tqdm(unit=" pictures", smoothing=0.1) as bar:
            far = embed(engine, config.dataset, model, config.what, home=home, on_progress=progress(bar))
    finally:
        engine.dispose()
    json.dump(
        {"dataset": config.dataset, "model": model.id, "what": config.what, **far.to_json()}, sys.stdout, indent=1
    )
    print()


def progress(bar: Any) -> Callable[[Embedding], None]:
    """Shows how far an embedding is on a bar, and tells the job's runner."""

    def show(far: Embedding) -> None:
        bar.total = far.total
        bar.update(far.seen - bar.n)
        report_progress(
            far.seen, far.total, f"{far.embedded:,} embedded" + f", {far.unread:,} unread" * bool(far.unread)
        )

    return show


if __name__ == "__main__":
    try:
        main(tyro.cli(EmbeddingsConfig))
    except (ValueError, OSError, EmbeddingError, CheckpointError, DatabaseError) as error:
        sys.exit(f"curation.embeddings: {error}")
    except KeyboardInterrupt:
        sys.exit("curation.embeddings: stopped: the same command goes on")
