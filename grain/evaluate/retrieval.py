"""Rank captions for each picture and pictures for each caption, exactly and block by block. Pure numpy.

A rank is the number of others that score at least as high as the right one: a tie counts against, so a model that
embeds everything alike finds nothing. Both directions are read off the same blocks of cosines, which are not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grain.evaluate.metrics import Estimate, Values, mean_interval
from grain.structures import Array

PICTURES, CAPTIONS = 250, 4096  # of one block of cosines: 4 MB; counts of the first are kept in a byte
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Ranks:
    """captions [I]: rank of a picture's best own caption; pictures [T]: rank of a caption's picture. 0 is found first.

    picture_of [T]: the row of each caption's picture. A picture without captions is part of what is searched, but
    finds none: its rank is -1.
    """

    captions: Counts
    pictures: Counts
    picture_of: Counts

    def caption_hits(self, k: int) -> Values:
        """Return 1.0 for each picture with captions that finds one of its own among the first k, [I']."""
        with_captions = self.captions[self.captions >= 0]
        return (with_captions < k).astype(np.float64)

    def picture_hits(self, k: int) -> Values:
        """Return 1.0 for each caption that finds its picture among the first k, [T]."""
        return (self.pictures < k).astype(np.float64)

    def recalls(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, Estimate]:
        """Return R@k in both directions, as `image_to_text_r1` and so on.

        Intervals are over pictures, both ways: captions of one picture are not independent.
        """
        found = {}
        for k in ks:
            found[f"image_to_text_r{k}"] = mean_interval(self.caption_hits(k))
            found[f"text_to_image_r{k}"] = mean_interval(self.picture_hits(k), groups=self.picture_of)
        return found


def ranks(image_embeds: Array, text_embeds: Array, picture_of: Sequence[int] | Counts) -> Ranks:
    """Rank every picture's captions and every caption's picture among all others.

    Args:   image_embeds: [I, E]. text_embeds: [T, E]. picture_of: [T] row of each caption's picture.
    Raises: ValueError: no captions, shapes that do not fit, or a row that is not there.
    """
    owner = np.asarray(picture_of, dtype=np.int64)
    _check(image_embeds, text_embeds, owner)
    order = np.argsort(owner, kind="stable")  # the captions of a picture stand side by side
    sorted_owner = owner[order]
    first = np.searchsorted(sorted_owner, np.arange(len(image_embeds) + 1))  # [I + 1] first caption of each picture
    own, best = _own_scores(image_embeds, text_embeds, order=order, owner=sorted_owner, first=first)
    lower_captions = np.zeros(len(image_embeds), np.int64)  # of each picture: captions of others below its best own one
    lower_pictures = np.zeros(len(order), np.int64)
    for left in range(0, len(order), CAPTIONS):
        columns = slice(left, left + CAPTIONS)
        texts = text_embeds[order[columns]]
        for top in range(0, len(image_embeds), PICTURES):
            rows = slice(top, top + PICTURES)
            block = image_embeds[rows] @ texts.T
            _spare_own(block, sorted_owner[columns], top)
            lower_captions[rows] += [np.count_nonzero(row) for row in block < best[rows, None]]
            lower_pictures[columns] += np.less(block, own[columns]).view(np.uint8).sum(axis=0, dtype=np.uint8)
    captions = np.where(np.diff(first) > 0, len(order) - np.diff(first) - lower_captions, -1)
    pictures = np.empty_like(owner)
    pictures[order] = len(image_embeds) - 1 - lower_pictures
    return Ranks(captions, pictures, owner)


def _check(image_embeds: Array, text_embeds: Array, owner: Counts) -> None:
    if len(owner) == 0:
        raise ValueError("no captions to rank: expected at least one, with its picture")
    if image_embeds.ndim != 2 or text_embeds.ndim != 2 or image_embeds.shape[1] != text_embeds.shape[1]:
        raise ValueError(
            f"embeddings must be [I, E] and [T, E], got {image_embeds.shape} and {text_embeds.shape}: use one model"
        )
    if owner.shape != text_embeds.shape[:1]:
        raise ValueError(f"picture_of must have a row for each of {len(text_embeds)} captions, got {owner.shape}")
    if owner.min() < 0 or owner.max() >= len(image_embeds):
        raise ValueError(f"picture_of must lie in 0 … {len(image_embeds) - 1}, got {owner.min()} … {owner.max()}")


def _own_scores(
    images: Array, texts: Array, *, order: Counts, owner: Counts, first: Counts
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the cosine of each caption with its picture [T], and the best of each picture [I], NaN without captions.

    They come out of small blocks of the same product, so that what is equal there is equal here.
    """
    dtype = np.result_type(images, texts)
    own, best = np.empty(len(order), dtype), np.full(len(images), np.nan, dtype)
    for top in range(0, len(images), PICTURES):
        columns = slice(first[top], first[min(top + PICTURES, len(images))])
        block = images[top : top + PICTURES] @ texts[order[columns]].T
        own[columns] = block[owner[columns] - top, np.arange(block.shape[1])]
    has = np.diff(first) > 0
    best[has] = np.maximum.reduceat(own, first[:-1][has])
    return own, best


def _spare_own(block: Array, owner: Counts, top: int) -> None:
    """Set a picture's own captions above all others, so that they are not counted among them."""
    low, high = np.searchsorted(owner, (top, top + len(block)))
    block[owner[low:high] - top, np.arange(low, high)] = np.inf
