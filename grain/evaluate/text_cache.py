"""Cache text embeddings on disk by content: the same model never encodes the same text twice, in any run.

A folder a model, named by the digest of its weights and of what turns text into tokens. It holds pages that are
written once, whole or not at all, and never changed: two processes may fill one folder, and a kill loses the page in
progress. A text's key is its hash; templates are part of it, since what is encoded is the filled one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from atomic_files import atomic_file
from grain.structures import Array

PAGE_TEXTS = 4096  # encoded and kept at a time
KEY_BYTES = 16
Encode = Callable[[Sequence[str]], Array]


@dataclass
class TextCache:
    """The embeddings of one model.

    folder: of the cache. model: digest that changes whenever the same text would be embedded otherwise. encode: [T]
    texts -> [T, E]. encoded: texts that were not cached and had to be encoded, so far.
    """

    folder: Path
    model: str
    encode: Encode
    encoded: int = 0
    _rows: dict[bytes, tuple[int, int]] = field(default_factory=dict)  # key -> page, row
    _pages: list[Array] = field(default_factory=list)
    _read: set[str] = field(default_factory=set)

    def __call__(self, texts: Sequence[str]) -> Array:
        """Return the embeddings of texts, [T, E]; those that are not cached are encoded a page at a time and kept.

        Raises: DiskFullError: the disk is full; the pages before are kept.
        """
        if not texts:
            return self.encode([])
        keys = [key_of(text) for text in texts]
        if any(key not in self._rows for key in keys):
            self._read_pages()
            new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._rows}
            for page in _groups(iter(new.items())):
                self._add(page)
        return self._gather([self._rows[key] for key in keys])

    @property
    def place(self) -> Path:
        """Return the folder of this model's pages."""
        return self.folder / self.model

    def _gather(self, rows: Sequence[tuple[int, int]]) -> Array:
        places = np.array(rows)  # [T, 2]
        found = np.empty((len(rows), self._pages[0].shape[1]), np.float32)
        for page in np.unique(places[:, 0]):
            here = places[:, 0] == page
            found[here] = self._pages[page][places[here, 1]]
        return found

    def _add(self, page: Sequence[tuple[bytes, str]]) -> None:
        embeds = np.ascontiguousarray(self.encode([text for _, text in page]), np.float32)
        keys = np.frombuffer(b"".join(key for key, _ in page), np.uint8).reshape(-1, KEY_BYTES)
        name = hashlib.sha256(keys.tobytes()).hexdigest()[:32] + ".safetensors"
        with atomic_file(self.place / name) as path:
            save_file({"keys": keys, "embeds": embeds}, path)
        self.encoded += len(page)
        self._read.add(name)
        self._know(keys, embeds)

    def _read_pages(self) -> None:
        """Read pages that are new to this process. A damaged one is encoded again."""
        for path in sorted(self.place.glob("*.safetensors")) if self.place.is_dir() else ():
            if path.name not in self._read:
                self._read.add(path.name)
                try:
                    with safe_open(path, "numpy") as page:
                        self._know(page.get_tensor("keys"), page.get_tensor("embeds"))
                except (SafetensorError, OSError):
                    path.unlink(missing_ok=True)

    def _know(self, keys: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], embeds: Array) -> None:
        number, content = len(self._pages), keys.tobytes()
        self._pages.append(embeds)
        for row in range(len(keys)):
            self._rows.setdefault(content[KEY_BYTES * row : KEY_BYTES * (row + 1)], (number, row))


def key_of(text: str) -> bytes:
    """Hash a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def _groups(items: Iterator[tuple[bytes, str]]) -> Iterator[list[tuple[bytes, str]]]:
    while page := list(islice(items, PAGE_TEXTS)):
        yield page
