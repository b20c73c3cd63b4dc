"""Find nearest neighbours by cosine: exact while that takes minutes, else approximate by a graph. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grain.structures import Array

EXACT = 100_000  # vectors to look among up to which every pair is compared
BLOCK = 256  # queries at a time: 100 MB of cosines and twice that of their order at the most


@dataclass(frozen=True)
class Nearest:
    """The k nearest of N queries, nearest first.

    rows: [N, k] of the searched vectors. cosines: [N, k].
    """

    rows: NDArray[np.int64]
    cosines: Array
    exact: bool


def nearest(queries: Array, among: Array, k: int) -> Nearest:
    """Return the k nearest of each query; a query among the searched vectors is its own nearest, up to equals.

    Args:   queries: [N, E]. among: [M, E]. Both of unit length.
    Returns: fewer than k where M is smaller.
    """
    k = min(k, len(among))
    if len(among) <= EXACT:
        return _exact(queries, among, k)
    from usearch.index import Index  # here: pages that only look at maps need none of it

    index = Index(ndim=among.shape[1], metric="cos", dtype="f32")
    index.add(np.arange(len(among)), among)
    found = index.search(queries, k)
    return Nearest(found.keys.astype(np.int64), (1 - found.distances).astype(np.float32), exact=False)


def _exact(queries: Array, among: Array, k: int) -> Nearest:
    rows = np.zeros((len(queries), k), np.int64)
    cosines = np.zeros((len(queries), k), np.float32)
    for first in range(0, len(queries) if k else 0, BLOCK):
        likeness = queries[first : first + BLOCK] @ among.T
        best = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
        scores = np.take_along_axis(likeness, best, axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")
        rows[first : first + BLOCK] = np.take_along_axis(best, order, axis=1)
        cosines[first : first + BLOCK] = np.take_along_axis(scores, order, axis=1)
    return Nearest(rows, cosines, exact=True)


def hash_pairs(hashes: NDArray[np.uint64], most_bits: int) -> NDArray[np.int64]:
    """Return [P, 2] rows i < j of 64-bit hashes that differ in at most `most_bits`.

    All such pairs up to EXACT hashes; of more only neighbours in a chain of equal ones, whatever the bits.
    """
    pairs: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
    if len(hashes) > EXACT:
        order = np.argsort(hashes, kind="stable")
        same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        return np.sort(np.stack([order[same], order[same + 1]], axis=1), axis=1)
    for first in range(0, len(hashes), BLOCK):
        apart = np.bitwise_count(hashes[first : first + BLOCK, None] ^ hashes[None, first:])
        left, right = np.nonzero(apart <= most_bits)
        pairs.append(np.stack([left, right], axis=1)[left < right].astype(np.int64) + first)
    return np.concatenate(pairs)
