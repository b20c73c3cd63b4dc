"""Cache what models compute for the pictures of a data set, batch by batch, so that an evaluation can resume.

A batch is a file that is written whole or not at all, below the digest of the model and the fingerprint of the data, so
that another evaluation of the same two encodes nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from atomic_files import atomic_file
from grain.checkpoint import CheckpointError
from grain.data.data_sets import DataSet, EvaluationItem
from grain.predict import Predictor
from grain.structures import Array, ImageFeatures
from user_errors import UserError

BATCH = 64  # pictures a pass
SAMPLE_SEED = 0
ARRAYS = ("images", "regions", "boxes", "objectness", "hints", "counts")
OnBatch = Callable[[int], object]


@dataclass(frozen=True)
class EncodedBatch:
    """A batch: its pictures, and what the model sees in them. seconds: that it took to encode them, once."""

    items: tuple[EvaluationItem, ...]
    features: tuple[ImageFeatures, ...]
    seconds: float


@dataclass(frozen=True)
class FeatureStore:
    """The features of one model on the first, or on some, pictures of one data set.

    folder: of all features. limit: pictures at most; which ones is a question of the numbers alone.
    """

    folder: Path
    data: DataSet
    model: str
    limit: int | None = None

    @property
    def place(self) -> Path:
        """Return the folder of the batches."""
        what = f"{self.data.fingerprint} {self.limit} {BATCH}"
        return self.folder / self.model / hashlib.sha256(what.encode()).hexdigest()

    def read(self, predictor: Predictor, on_batch: OnBatch = lambda done: None) -> Iterator[EncodedBatch]:
        """Read all batches in order; a batch that is not cached is encoded and kept.

        Args:   on_batch: called with how many pictures are done.
        Raises: UserError: a picture cannot be read, or there are fewer than the data set says.
                CheckpointError: what the model sees is no number.
                DiskFullError: the disk is full; the batches before are kept.
        """
        done = 0
        for number, items in enumerate(_groups(chosen_items(self.data, self.limit))):
            file = self.place / f"{number:06d}.safetensors"
            batch = _load(file, items) or self._encode(predictor, items, file)
            done += len(items)
            on_batch(done)
            yield batch

    def _encode(self, predictor: Predictor, items: tuple[EvaluationItem, ...], file: Path) -> EncodedBatch:
        images = [item.open() for item in items]
        start = time.perf_counter()
        proposals = _proposals(items) if predictor.info.from_proposals else None
        features = predictor.batch_features(images, proposals)
        must_be_finite(predictor.info.name, "pictures", *map(_numbers, features))
        batch = EncodedBatch(items, tuple(features), time.perf_counter() - start)
        _save(file, batch)
        return batch


def must_be_finite(model: str, what: str, *embeds: Array) -> None:
    """Refuse NaN and infinity, which would be kept and compared.

    Args:   model: its name. what: was embedded.
    Raises: CheckpointError.
    """
    if not all(np.isfinite(each).all() for each in embeds):
        raise CheckpointError(
            f"{model} embeds {what} as NaN or infinity, expected finite numbers: its weights are broken or bf16 "
            "overflows, so choose an earlier checkpoint, or --precision fp32"
        )


def _numbers(features: ImageFeatures) -> Array:
    """Return the embeddings and boxes of one picture, end to end."""
    return np.concatenate([features.image_embed, features.region_embeds.ravel(), features.boxes_xyxy.ravel()])


def chosen_items(data: DataSet, limit: int | None) -> Iterator[EvaluationItem]:
    """Read all items, or a sample drawn once for all models: neighbours are often of one class.

    Raises: UserError: there are fewer than the data set says.
    """
    rows = chosen_rows(data, limit)
    chosen, last, found = set(rows.tolist()), int(rows[-1]), 0
    for row, item in enumerate(islice(data.read(0), last + 1)):
        if row in chosen:
            found += 1
            yield item
    if found < len(rows):
        raise UserError(f"{data.name} has fewer pictures than it says ({data.total:,}): copy or write it again")


def chosen_rows(data: DataSet, limit: int | None) -> NDArray[np.int64]:
    """Return rows in rising order; at most limit of them, and what belongs together as one."""
    if limit is None or limit >= data.total:
        return np.arange(data.total)
    rng, size = np.random.default_rng(SAMPLE_SEED), data.together
    drawn = rng.choice(data.total // size, max(1, limit // size), replace=False)
    return np.sort((drawn[:, None] * size + np.arange(size)).ravel())


def _proposals(items: Sequence[EvaluationItem]) -> list[tuple[tuple[float, float, float, float], ...]]:
    for item in items:
        if item.proposals is None:
            raise UserError(f"picture {item.key} has no proposals, which the model's regions start from: add them")
    return [item.proposals or () for item in items]


def _load(file: Path, items: Sequence[EvaluationItem]) -> EncodedBatch | None:
    """Load a cached batch; None where there is none, or it is damaged or of other pictures."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, "numpy") as kept:
            facts = kept.metadata() or {}
            arrays = {name: kept.get_tensor(name) for name in ARRAYS}
        if facts.get("keys") != _keys(items):
            return None
        ends = np.cumsum(arrays["counts"])[:-1]
        tables = [np.split(arrays[name], ends) for name in ("regions", "boxes", "objectness", "hints")]
        if not all(np.isfinite(table).all() for table in arrays.values()):
            return None  # kept by an earlier version, which did not check
        features = map(ImageFeatures, arrays["images"], *tables)
        return EncodedBatch(tuple(items), tuple(features), float(facts["seconds"]))
    except (SafetensorError, OSError, KeyError, ValueError):
        return None


def _save(file: Path, batch: EncodedBatch) -> None:
    arrays = {
        "images": np.stack([each.image_embed for each in batch.features]),
        "regions": np.concatenate([each.region_embeds for each in batch.features]),
        "boxes": np.concatenate([each.boxes_xyxy for each in batch.features]),
        "objectness": np.concatenate([each.objectness for each in batch.features]),
        "hints": np.concatenate([_hints(each) for each in batch.features]),
        "counts": np.array([len(each.boxes_xyxy) for each in batch.features]),
    }
    with atomic_file(file) as path:
        save_file(arrays, path, {"keys": _keys(batch.items), "seconds": f"{batch.seconds:.6f}"})


def _hints(features: ImageFeatures) -> Array:
    """Return the hints [Q, H] of a picture; H is 0 where there are none."""
    return np.zeros((len(features.boxes_xyxy), 0), np.float32) if features.hints is None else features.hints


def _keys(items: Sequence[EvaluationItem]) -> str:
    return hashlib.sha256("\0".join(item.key for item in items).encode("utf-8", "surrogatepass")).hexdigest()


def _groups(items: Iterator[EvaluationItem]) -> Iterator[tuple[EvaluationItem, ...]]:
    while group := tuple(islice(items, BATCH)):
        yield group
