"""Keep embeddings by content, so that nothing is embedded twice: shards of vectors, each with its keys.

Files are GRAIN_HOME/embeddings/<model>/<what>/*.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from atomic_files import write_atomically
from grain.structures import Array
from user_errors import UserError

What = Literal["pictures", "regions"]
Box = tuple[float, float, float, float]
Keys = NDArray[np.bytes_]
KEY = np.dtype("S32")  # a sha256; bytes strings of one length compare as what they are, zero bytes at the end too
KEYS_ENDING = ".keys.npy"
VECTORS_ENDING = ".vectors.npy"


def picture_key(sha256: str) -> bytes:
    """Return a picture's key, from the sha256 of its file."""
    return bytes.fromhex(sha256)


def region_key(sha256: str, box_xyxy: Box) -> bytes:
    """Return the key of a box in a picture; a moved box has another."""
    return hashlib.sha256(f"{sha256} {' '.join(map(repr, box_xyxy))}".encode()).digest()


@dataclass(frozen=True)
class FoundVectors:
    """The vectors that a store has.

    vectors: [N, E] of the keys that are there, in their order. there: [N'] of all keys asked for.
    """

    vectors: Array
    there: NDArray[np.bool_]


class EmbeddingStore:
    """A store of vectors by key, in files that are only added; several processes may add at the same time."""

    def __init__(self, folder: Path) -> None:
        """Take a folder; it is made when the first shard is added."""
        self.folder = folder

    @classmethod
    def of(cls, home: Path, model: str, what: What) -> EmbeddingStore:
        """Return the store of a model (name@revision)."""
        return cls(home / "embeddings" / model / what)

    @cached_property
    def _index(self) -> tuple[Keys, NDArray[np.int64], list[Path]]:
        """Return all keys in order, [shard, row] of each, and the shards' files."""
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
        """Return the keys that are not there, each once, in order."""
        there = self._rows(keys)[1]
        return list(dict.fromkeys(key for key, known in zip(keys, there, strict=True) if not known))

    def find(self, keys: Sequence[bytes]) -> FoundVectors:
        """Return the vectors of the keys that are there.

        Raises: UserError: a file is gone.
        """
        rows, there = self._rows(keys)
        _, places, files = self._index
        places_found = places[rows[there]]
        vectors: Array = np.zeros((len(places_found), 0), np.float32)
        for shard in np.unique(places_found[:, 0]):
            in_shard = places_found[:, 0] == shard
            try:
                part = np.load(files[shard], mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise UserError(f"{files[shard]} cannot be read: delete the folder and embed again") from error
            if not vectors.shape[1]:
                vectors = np.zeros((len(places_found), part.shape[1]), np.float32)
            vectors[in_shard] = part[places_found[in_shard, 1]]
        return FoundVectors(vectors, there)

    def add(self, keys: Sequence[bytes], vectors: Array) -> None:
        """Add a shard: keys [N], vectors [N, E]. Its keys are written last: without them it does not count.

        Raises: ValueError: there is not one vector a key, or one that is no number.
        """
        if vectors.shape[:1] != (len(keys),) or vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise ValueError(f"expected a finite vector for each of {len(keys)} keys, got the shape {vectors.shape}")
        if not keys:
            return
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / f"{name}{VECTORS_ENDING}", _npy(vectors.astype(np.float32)))
        write_atomically(self.folder / f"{name}{KEYS_ENDING}", _npy(np.array(keys, KEY)))
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
