"""Recognise in ways that others proposed, beside ours: descriptions filtered by text, and weighted crops. Pure numpy.

Source: weighted crops × descriptions is WCA, Li et al., ICML 2024 (arXiv 2406.02915), with square crops of half to nine
tenths of the shorter side, as there. The filter asks the text encoder alone: no picture chooses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from grain.structures import Array
from grain.zero_shot import ClassBank

if TYPE_CHECKING:
    from grain.data.record import Box

OtherWay = Literal["filtered", "weighted_crops"]
FILTERED: OtherWay = "filtered"
WEIGHTED_CROPS: OtherWay = "weighted_crops"
OTHER_WAYS: Mapping[OtherWay, str] = {
    FILTERED: "names with those descriptions that are nearer to their own class's name than to any other's",
    WEIGHTED_CROPS: "random crops against descriptions, both weighted (WCA); slow",
}
CROPS = 16  # of a picture; the paper takes 60
CROP_SIDES = (0.5, 0.9)  # of the shorter side
Ints = NDArray[np.int64]


def telling(cosines: Array, owner: Ints) -> NDArray[np.bool_]:
    """Choose the descriptions that tell their class from the others, [D].

    Args:    cosines: [D, C] of descriptions with class names. owner: [D] the class of each.
    Returns: True where no other class is as near; of a class without such a description, all.
    """
    own = cosines[np.arange(len(owner)), owner]
    others = cosines.copy()
    others[np.arange(len(owner)), owner] = -np.inf
    kept: NDArray[np.bool_] = own > others.max(axis=1)
    lost = ~np.isin(owner, owner[kept])
    return kept | lost


def crop_boxes(key: str, *, width: int, height: int, count: int) -> list[Box]:
    """Draw square crops of a picture, normalized; the same for the same key."""
    seed = int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    draw = np.random.default_rng(seed)
    sides = draw.uniform(*CROP_SIDES, size=count) * min(width, height)
    lefts, tops = draw.uniform(size=(2, count)) * np.array([width - sides, height - sides])
    corners = np.stack([lefts / width, tops / height, (lefts + sides) / width, (tops + sides) / height], axis=1)
    return [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in corners.clip(0, 1)]


def weighted_texts(bank: ClassBank, names: Array) -> Array:
    """Return one vector a class, [C, E]: its descriptions weighted by how near they are to its name.

    Args: names: [C, E] of the class names, which a class without descriptions has as its vector.
    """
    vectors = names.copy()
    for row in np.unique(bank.class_index):
        own = bank.prompted[bank.class_index == row]
        vectors[row] = _softmax(own @ names[row]) @ own
    return vectors


def weighted_crop_scores(crops: Array, image_embed: Array, texts: Array) -> Array:
    """Score the classes of a picture, [C]: the mean cosine of crops and descriptions, both weighted.

    Args: crops: [K, E], weighted by how near they are to the whole picture, image_embed [E]. texts: see weighted_texts.
    """
    scores: Array = texts @ (_softmax(crops @ image_embed) @ crops)
    return scores


def _softmax(values: Array) -> Array:
    raised = np.exp(values - values.max())
    weights: Array = (raised / raised.sum()).astype(np.float32)
    return weights
