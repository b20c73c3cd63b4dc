"""Nearest neighbours by hand, against a sort of everything, and by the graph for many."""

from __future__ import annotations

import numpy as np
import pytest

from curation.explore.neighbours import hash_pairs, nearest
from grain.structures import Array


def unit(count: int, width: int = 8, seed: int = 0) -> Array:
    rows = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    scaled: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def test_the_nearest_of_three_by_hand() -> None:
    among = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    found = nearest(np.array([[0.8, 0.6]], np.float32), among, 2)
    assert found.rows.tolist() == [[2, 0]] and found.exact
    np.testing.assert_allclose(found.cosines, [[0.96, 0.8]], atol=1e-6)


def test_all_pairs_equal_a_sort_of_everything() -> None:
    rows = unit(700)
    found = nearest(rows, rows, 5)
    sorted_all = np.sort(rows @ rows.T, axis=1)[:, ::-1][:, :5]
    np.testing.assert_allclose(found.cosines, sorted_all, atol=1e-5)
    assert (found.rows[:, 0] == np.arange(700)).all()


def test_fewer_than_asked_where_there_are_fewer_and_none_among_none() -> None:
    assert nearest(unit(3), unit(2), 5).rows.shape == (3, 2)
    assert nearest(unit(3), unit(0), 5).rows.shape == (3, 0)
    assert nearest(unit(0), unit(2), 5).rows.shape == (0, 2)


def test_beyond_the_exact_ones_the_graph_finds_nearly_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = unit(1500)
    exact = nearest(rows, rows, 5)
    monkeypatch.setattr("curation.explore.neighbours.EXACT", 1000)
    found, asked = nearest(rows, rows, 5), nearest(rows[:50], rows, 5)
    same = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found.rows, exact.rows, strict=True)])
    assert not found.exact and same > 0.9
    assert np.mean(asked.rows[:, 0] == np.arange(50)) > 0.9


def test_hashes_within_some_bits_are_pairs_once() -> None:
    hashes = np.array([0b0000, 0b0001, 0b0111, 0b0000], np.uint64)
    assert sorted(map(tuple, hash_pairs(hashes, 1).tolist())) == [(0, 1), (0, 3), (1, 3)]
    assert hash_pairs(hashes[:0], 1).shape == (0, 2)


def test_many_hashes_are_pairs_where_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.explore.neighbours.EXACT", 3)
    assert hash_pairs(np.array([5, 4, 5, 5], np.uint64), 1).tolist() == [[0, 2], [2, 3]]
