"""What models see in the pictures of a data set, kept by batch: an evaluation that was stopped goes on where it was.

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

from grain.checkpoint import CheckpointError, atomic_file
from grain.data_sets import DataSet, DataSetError, Item
from grain.predict import Predictor
from grain.structures import Array, ImageFeatures

BATCH = 64  # pictures a pass
SAMPLE_SEED = 0
ARRAYS = ("images", "regions", "boxes", "objectness", "counts")
Said = Callable[[int], object]


@dataclass(frozen=True)
class Seen:
    """A batch: its pictures, and what the model sees in them. seconds: that it took to encode them, once."""

    items: tuple[Item, ...]
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
        """Where the batches lie."""
        what = f"{self.data.fingerprint} {self.limit} {BATCH}"
        return self.folder / self.model / hashlib.sha256(what.encode()).hexdigest()

    def read(self, predictor: Predictor, on_batch: Said = lambda done: None) -> Iterator[Seen]:
        """All batches in order; what is not there yet is encoded and kept.

        Args:   on_batch: told how many pictures are done.
        Raises: DataSetError: a picture cannot be read, or there are fewer than the data set says.
                CheckpointError: what the model sees is no number.
                OSError: the disk is full; the batches before are kept.
        """
        done = 0
        for number, items in enumerate(_groups(chosen_items(self.data, self.limit))):
            file = self.place / f"{number:06d}.safetensors"
            seen = _load(file, items) or self._encode(predictor, items, file)
            done += len(items)
            on_batch(done)
            yield seen

    def _encode(self, predictor: Predictor, items: tuple[Item, ...], file: Path) -> Seen:
        images = [item.open() for item in items]
        start = time.perf_counter()
        proposals = _proposals(items) if predictor.info.from_proposals else None
        features = predictor.batch_features(images, proposals)
        must_be_finite(predictor.info.name, "pictures", *map(_numbers, features))
        seen = Seen(items, tuple(features), time.perf_counter() - start)
        _save(file, seen)
        return seen


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
    """Of one picture, end to end."""
    return np.concatenate([features.image_embed, features.region_embeds.ravel(), features.boxes_xyxy.ravel()])


def chosen_items(data: DataSet, limit: int | None) -> Iterator[Item]:
    """All items, or a sample of them, drawn once for all: neighbours are often of one class.

    Raises: DataSetError: there are fewer than the data set says.
    """
    rows = chosen_rows(data.total, limit)
    wanted, last, found = set(rows.tolist()), int(rows[-1]), 0
    for row, item in enumerate(islice(data.read(0), last + 1)):
        if row in wanted:
            found += 1
            yield item
    if found < len(rows):
        raise DataSetError(f"{data.name} has fewer pictures than it says ({data.total:,}): copy or write it again")


def chosen_rows(total: int, limit: int | None) -> NDArray[np.int64]:
    """Rows in rising order; at most limit of them."""
    if limit is None or limit >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(SAMPLE_SEED).choice(total, limit, replace=False))


def _proposals(items: Sequence[Item]) -> list[tuple[tuple[float, float, float, float], ...]]:
    for item in items:
        if item.proposals is None:
            raise DataSetError(f"picture {item.key} has no proposals, which the model's regions start from: add them")
    return [item.proposals or () for item in items]


def _load(file: Path, items: Sequence[Item]) -> Seen | None:
    """A batch that was kept; None where it is not there, damaged, or of other pictures."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, "numpy") as kept:
            facts = kept.metadata() or {}
            arrays = {name: kept.get_tensor(name) for name in ARRAYS}
        if facts.get("keys") != _keys(items):
            return None
        ends = np.cumsum(arrays["counts"])[:-1]
        regions, boxes, sure = (np.split(arrays[name], ends) for name in ("regions", "boxes", "objectness"))
        if not all(np.isfinite(table).all() for table in arrays.values()):
            return None  # kept by an earlier version, which did not look
        features = map(ImageFeatures, arrays["images"], regions, boxes, sure)
        return Seen(tuple(items), tuple(features), float(facts["seconds"]))
    except (SafetensorError, OSError, KeyError, ValueError):
        return None


def _save(file: Path, seen: Seen) -> None:
    arrays = {
        "images": np.stack([each.image_embed for each in seen.features]),
        "regions": np.concatenate([each.region_embeds for each in seen.features]),
        "boxes": np.concatenate([each.boxes_xyxy for each in seen.features]),
        "objectness": np.concatenate([each.objectness for each in seen.features]),
        "counts": np.array([len(each.boxes_xyxy) for each in seen.features]),
    }
    with atomic_file(file) as path:
        save_file(arrays, path, {"keys": _keys(seen.items), "seconds": f"{seen.seconds:.6f}"})


def _keys(items: Sequence[Item]) -> str:
    return hashlib.sha256("\0".join(item.key for item in items).encode("utf-8", "surrogatepass")).hexdigest()


def _groups(items: Iterator[Item]) -> Iterator[tuple[Item, ...]]:
    while group := tuple(islice(items, BATCH)):
        yield group
