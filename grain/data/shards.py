"""Read any sample of any shard at once, and define the order in which training reads them.

An order is a function of the seed alone, made a window at a time, so that to begin at position 10⁹ costs as much as at
position 0: the headers of one window's shards are read and nothing else. Every process reads its own samples only.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK = 512  # bytes: a tar is made of such
AHEAD = 4 * BLOCK
HEADER = struct.Struct("100s24x12s20xc100x6s82x155s12x")  # name, size, kind, magic, prefix
WINDOW_SAMPLES, WINDOW_SHARDS = 4096, 4  # at least so many are shuffled together, where there are as many

Span = tuple[int, int]  # offset and length of a file's bytes in its tar


class ShardEntry(NamedTuple):
    """One sample of a shard: extension -> offset and length of its bytes."""

    key: str
    files: dict[str, Span]


def index_shard(path: Path) -> list[ShardEntry]:
    """List the samples of a WebDataset shard in their order, from its headers alone.

    Raises: ValueError: it is no whole tar; one sentence that says what to do.
    """
    try:
        files = list(_plain_files(path) or _any_files(path))
    except (OSError, ValueError, tarfile.TarError) as error:
        raise ValueError(f"shard {path.name} cannot be read ({error}): copy or write the shards again") from error
    samples: list[ShardEntry] = []
    last, spans = "", dict[str, Span]()
    for name, span in files:
        base = name.rfind("/") + 1  # WebDataset's own rule: the key ends at the first dot of the file's name
        dot = name.find(".", base)
        if dot <= base or dot == len(name) - 1:
            continue
        if (key := name[:dot]) != last:
            samples.append(ShardEntry(last := key, spans := {}))
        spans[name[dot + 1 :].lower()] = span
    return samples


def read_entry(path: Path, entry: ShardEntry) -> dict[str, Any]:
    """Read a sample as WebDataset gives it: `__key__`, `__url__`, and extension -> bytes."""
    sample: dict[str, Any] = {"__key__": entry.key, "__url__": path.name}
    with path.open("rb") as shard:
        for extension, (offset, length) in entry.files.items():
            shard.seek(offset)
            sample[extension] = shard.read(length)
    return sample


def _plain_files(path: Path) -> list[tuple[str, Span]] | None:
    """Return names and spans of a tar of plain files; None where a header asks for more than that (long names, links).

    Ten times as quick as tarfile, which matters where every process of a large training reads every header. A map of
    the file in memory takes twice as long: each header is a page of its own. A little more than a header is read at a
    time, since a sample's small files lie close together.
    """
    found: list[tuple[str, Span]] = []
    with path.open("rb") as file:
        shard, place, ahead, first = file.fileno(), 0, b"", 0
        end = os.fstat(shard).st_size
        while True:
            if place + BLOCK > first + len(ahead):
                ahead, first = os.pread(shard, AHEAD, place), place
                if len(ahead) < BLOCK and ahead[:1] not in (b"\0", b""):
                    raise ValueError("it ends in the middle of a file")
                ahead = ahead.ljust(BLOCK, b"\0")
            name, digits, kind, magic, prefix = HEADER.unpack_from(ahead, place - first)
            if not name[0]:
                return found
            size = digits.rstrip(b"\0 ")
            if magic[:5] != b"ustar" or kind not in (b"0", b"\0") or not size.isdigit():
                return None
            length = int(size, 8)
            if place + BLOCK + length > end:
                raise ValueError("it ends in the middle of a file")
            name = name.split(b"\0", 1)[0]
            if magic == b"ustar\0" and prefix[0]:
                name = prefix.split(b"\0", 1)[0] + b"/" + name
            found.append((name.decode(), (place + BLOCK, length)))
            place += BLOCK + -(-length // BLOCK) * BLOCK


def _any_files(path: Path) -> Iterator[tuple[str, Span]]:
    with tarfile.open(path, "r:") as shard:
        for member in shard:
            if member.isfile():
                yield member.name, (member.offset_data, member.size)


@dataclass(frozen=True)
class ShuffleWindow:
    """A stretch of the order: position first + i is row rows[i] of shard shards[i].

    turns: what drawn captions and regions vary by.
    """

    first: int
    shards: NDArray[np.int64]
    rows: NDArray[np.int64]
    turns: NDArray[np.int64]

    def holds(self, position: int) -> bool:
        """Return whether a position is in the window."""
        return self.first <= position < self.first + len(self.rows)


class SampleOrder(Protocol):
    """An order of samples that never changes: a position is always the same sample."""

    def window(self, position: int) -> ShuffleWindow:
        """Return the window that a position is in."""
        ...


class ExactlyOnce:
    """Every sample once an epoch, but for a rest of less than a batch: shards are shuffled, then samples of a few."""

    def __init__(self, counts: Sequence[int], *, seed: int, batch: int) -> None:
        """Take the samples of each shard, and the samples of a batch; an epoch has a whole number of batches."""
        self._counts, self._seed = np.array(counts, np.int64), seed
        self._epoch_length = int(self._counts.sum()) // batch * batch

    def window(self, position: int) -> ShuffleWindow:
        """See Order."""
        epoch, place = divmod(position, self._epoch_length)
        order = np.random.default_rng(seed_of(self._seed, epoch)).permutation(len(self._counts))
        ends = np.cumsum(self._counts[order])
        low = first = 0
        while True:
            high = _window_end(ends, low, first)
            if place < ends[high - 1]:
                break
            low, first = high, int(ends[high - 1])
        members = order[low:high]
        shards = np.repeat(members, self._counts[members])
        rows = np.concatenate([np.arange(self._counts[member]) for member in members])
        mixed = np.random.default_rng(seed_of(self._seed, epoch, low)).permutation(len(rows))
        mixed = mixed[: self._epoch_length - first]
        return ShuffleWindow(epoch * self._epoch_length + first, shards[mixed], rows[mixed], np.full(len(mixed), epoch))


def _window_end(ends: NDArray[np.int64], low: int, first: int) -> int:
    """Return where a window ends: after enough shards and enough samples, or at the end."""
    enough = int(np.searchsorted(ends, first + WINDOW_SAMPLES)) + 1
    return min(max(enough, low + WINDOW_SHARDS), len(ends))


class Resampled:
    """Samples drawn evenly with replacement, a few shards at a time; there are no epochs, so nothing is left over."""

    def __init__(self, counts: Sequence[int], *, seed: int) -> None:
        """Take the number of samples of each shard."""
        self._counts, self._seed = np.array(counts, np.int64), seed

    def window(self, position: int) -> ShuffleWindow:
        """See Order."""
        turn = position // WINDOW_SAMPLES
        draw = np.random.default_rng(seed_of(self._seed, "resampled", turn))
        few = draw.choice(len(self._counts), size=WINDOW_SHARDS, p=self._counts / self._counts.sum())
        shards = few[draw.integers(WINDOW_SHARDS, size=WINDOW_SAMPLES)]
        rows = (draw.random(WINDOW_SAMPLES) * self._counts[shards]).astype(np.int64)
        return ShuffleWindow(turn * WINDOW_SAMPLES, shards, rows, np.full(WINDOW_SAMPLES, turn))


class Mixed:
    """Samples of several orders, of each a fixed number in every window, in an order of the seed's.

    Each order continues from the window before, so that what it promises of its own samples still holds.
    """

    def __init__(
        self, orders: Sequence[SampleOrder], firsts: Sequence[int], *, shares: Sequence[float], seed: int
    ) -> None:
        """firsts: of each order the number of its first shard. shares: of the samples, relative to each other."""
        self._orders, self._firsts, self._seed = orders, firsts, seed
        self._numbers = window_numbers(shares)

    def window(self, position: int) -> ShuffleWindow:
        """See SampleOrder."""
        turn = position // WINDOW_SAMPLES
        parts = [
            self._part(order, first, range(turn * number, (turn + 1) * number))
            for order, first, number in zip(self._orders, self._firsts, self._numbers, strict=True)
        ]
        mixed = np.random.default_rng(seed_of(self._seed, "mixed", turn)).permutation(WINDOW_SAMPLES)
        shards, rows, turns = (np.concatenate(columns)[mixed] for columns in zip(*parts, strict=True))
        return ShuffleWindow(turn * WINDOW_SAMPLES, shards, rows, turns)

    @staticmethod
    def _part(order: SampleOrder, first_shard: int, positions: range) -> tuple[NDArray[np.int64], ...]:
        """Return shards, rows and turns of some positions of an order."""
        pieces, place = [], positions.start
        while place < positions.stop:
            window = order.window(place)
            cut = slice(place - window.first, min(positions.stop - window.first, len(window.rows)))
            pieces.append((window.shards[cut] + first_shard, window.rows[cut], window.turns[cut]))
            place = window.first + len(window.rows)
        return tuple(np.concatenate(columns) for columns in zip(*pieces, strict=True))


def window_numbers(shares: Sequence[float]) -> list[int]:
    """Return how many samples of a window each share is, by largest remainders, at least one."""
    exact = np.array(shares) / sum(shares) * WINDOW_SAMPLES
    numbers = np.maximum(np.floor(exact).astype(int), 1)
    for row in np.argsort(np.floor(exact) - exact)[: max(0, WINDOW_SAMPLES - int(numbers.sum()))]:
        numbers[row] += 1
    numbers[int(numbers.argmax())] += WINDOW_SAMPLES - int(numbers.sum())
    return [int(number) for number in numbers]


class SampleReader:
    """Samples by position. Keeps the index of one window's shards."""

    def __init__(self, paths: Sequence[Path], counts: Sequence[int], order: SampleOrder) -> None:
        """paths, counts: the shards and how many samples each has."""
        self._paths, self._counts, self._order = paths, counts, order
        self._window: ShuffleWindow | None = None
        self._indexes: dict[int, list[ShardEntry]] = {}

    def read(self, position: int) -> tuple[dict[str, Any], int]:
        """Read the sample at a position; returns it with its turn.

        Raises: ValueError: a shard cannot be read, or does not hold what the manifest says.
        """
        if self._window is None or not self._window.holds(position):
            self._window, self._indexes = self._order.window(position), {}
        window, i = self._window, position - self._window.first
        shard, row = int(window.shards[i]), int(window.rows[i])
        if shard not in self._indexes:
            self._indexes[shard] = self._index(shard)
        return read_entry(self._paths[shard], self._indexes[shard][row]), int(window.turns[i])

    def _index(self, shard: int) -> list[ShardEntry]:
        path, count = self._paths[shard], self._counts[shard]
        entries = index_shard(path)
        if len(entries) != count:
            raise ValueError(
                f"shard {path.name} holds {len(entries)} images, manifest.json says {count}: copy or write them again"
            )
        return entries


def seed_of(*parts: object) -> int:
    """Derive a seed from all parts, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big")
