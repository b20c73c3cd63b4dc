"""Measure how far a picture is from what a checkpoint has seen, by the features that it computes anyway.

The features of pictures like those that the checkpoint learned from are summed up by a few centres; a picture is as far
as its features are from the nearest. Half of the pictures place the centres; on the other half, FAR of them lie beyond
the limit (`python -m grain.fit_familiarity`). The result stands beside the weights, and changes no embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from grain.checkpoint import FAMILIAR, CheckpointError
from grain.structures import Array, ImageFeatures
from user_errors import UserError

FAR = 0.01  # share of familiar pictures that are called far
ROUNDS = 25  # of placing the centres
FEWEST = 100  # pictures
MOST_FURTHER = 32  # centres of pictures that were seen later


@dataclass(frozen=True)
class Familiarity:
    """A summary of what a checkpoint has seen.

    centres: [K, G] features. scales: [G, P] directions in which distances are measured, each in its own unit; None: the
    features as they are. limit: distance beyond which a picture is far. fitted_on: in words.
    """

    centres: Array
    scales: Array | None
    limit: float
    fitted_on: str

    def novelty(self, features: ImageFeatures) -> float:
        """Return how far a picture is from the nearest centre; above 1 it is far from all that was seen."""
        return float(_distances(gist_of(features)[None], self.centres, self.scales)[0] / self.limit)

    def also(self, gists: Array, seen: str) -> Familiarity:
        """Return one that has also seen further pictures, of features [N, G]: near to them, no picture is far.

        Args: seen: what they are, in words.
        """
        points = gists if self.scales is None else gists @ self.scales
        placed = _centres(points, min(MOST_FURTHER, (len(points) + 1) // 2))
        placed = placed if self.scales is None else placed @ np.linalg.pinv(self.scales)
        return replace(self, centres=np.concatenate([self.centres, placed]), fitted_on=f"{self.fitted_on}, and {seen}")

    @classmethod
    def load(cls, folder: Path) -> Familiarity | None:
        """Read it from a checkpoint folder; None where nothing was fitted.

        Raises: CheckpointError: it is damaged.
        """
        file = folder / FAMILIAR
        if not file.is_file():
            return None
        try:
            with safe_open(file, "numpy") as kept:
                facts, names = kept.metadata() or {}, set(kept.keys())
                scales = kept.get_tensor("scales").astype(np.float32) if "scales" in names else None
                centres = kept.get_tensor("centres").astype(np.float32)
                return cls(centres, scales, float(facts["limit"]), facts["fitted_on"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise CheckpointError(f"{folder.name}: {FAMILIAR} cannot be read: copy the checkpoint again") from error

    def save(self, file: Path) -> None:
        """Write it as load reads it."""
        arrays = {"centres": self.centres} | ({} if self.scales is None else {"scales": self.scales})
        halved = {name: np.ascontiguousarray(values, np.float16) for name, values in arrays.items()}
        save_file(halved, file, {"limit": repr(self.limit), "fitted_on": self.fitted_on})


def gist_of(features: ImageFeatures) -> Array:
    """Return what a picture is compared by, [G]: its gist, or its embedding where the model gives none."""
    return features.image_embed if features.gist is None else features.gist


def fit(gists: Array, *, centres: int, directions: int, fitted_on: str) -> Familiarity:
    """Sum up the features of familiar pictures, [N, G], in any order that means nothing.

    Args:   centres: how many; 1 with directions is Mahalanobis' distance. directions: those with the largest spread
            count in units of their own spread, all others in that of the last of them; 0: features count as they are.
    Raises: UserError: too few pictures.
    """
    if len(gists) < max(FEWEST, 2 * centres):
        raise UserError(f"{len(gists)} pictures are too few: give at least {max(FEWEST, 2 * centres)}")
    own, other = gists[::2], gists[1::2]
    scales = _whitening(own, directions) if directions else None
    placed = _centres(own if scales is None else own @ scales, centres)
    if scales is not None:
        placed = placed @ np.linalg.pinv(scales)
    stored = placed.astype(np.float16).astype(np.float32)
    limit = float(np.quantile(_distances(other, stored, scales), 1 - FAR))
    return Familiarity(stored, scales, limit, fitted_on)


def _distances(gists: Array, centres: Array, scales: Array | None) -> Array:
    """Return the squared distance of each of [N, G] to its nearest centre, [N]."""
    if scales is not None:
        gists, centres = gists @ scales, centres @ scales
    squares = (gists**2).sum(axis=1)[:, None] - 2 * gists @ centres.T + (centres**2).sum(axis=1)
    nearest: Array = squares.min(axis=1).clip(0)
    return nearest


def _whitening(gists: Array, directions: int) -> Array:
    _, spread, rows = np.linalg.svd(gists - gists.mean(axis=0), full_matrices=False)
    unit = np.maximum(spread, spread[min(directions, len(spread) - 1)]) / np.sqrt(len(gists))
    scales: Array = (rows / unit[:, None]).T.astype(np.float16).astype(np.float32)
    return scales


def _centres(points: Array, count: int) -> Array:
    """Place centres by Lloyd's rounds, from points drawn with a fixed seed."""
    placed = points[np.random.default_rng(0).permutation(len(points))[:count]].copy()
    for _ in range(ROUNDS):
        squares = -2 * points @ placed.T + (placed**2).sum(axis=1)
        nearest = squares.argmin(axis=1)
        for row in set(nearest.tolist()):
            placed[row] = points[nearest == row].mean(axis=0)
    return placed
