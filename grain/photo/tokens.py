"""Join the feature maps of a picture into tokens, one a cell of the classifier's map. No torch."""

from __future__ import annotations

import numpy as np
from PIL import Image

from grain.structures import Array

CLASSIFIER_SIDE = 384  # pixels of the longer side that the classifier sees
CELL = 32  # pixels of one cell of its feature map
TOKEN_PARTS = (1280, 4 * 120, 4 * 128)  # channels: the classifier's last map, its finer map, the detector's
MOST_TOKENS = (CLASSIFIER_SIDE // CELL) ** 2  # of a square picture


def classifier_pixels(image: Image.Image) -> Array:
    """Return what the classifier reads of a picture in about its own shape, [1, 3, H, W] in whole cells."""
    longer = max(image.size)
    width, height = (max(1, round(CLASSIFIER_SIDE * side / longer / CELL)) * CELL for side in image.size)
    small = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    pixels = (np.asarray(small, np.float32) - 127) / 128
    return pixels.transpose(2, 0, 1)[None].astype(np.float32)


def join_maps(features: Array, fine: Array, neck: Array) -> Array:
    """Join three maps of one picture: [1280, h, w], [120, 2 h, 2 w] and [128, any, any] -> [h, w, 2272].

    A token holds its cell of the first map and the four cells of each other map that lie in it.
    """
    rows, columns = fine.shape[1:]
    parts = [features, fold_cells(fine), fold_cells(resample(neck, rows, columns))]
    return np.concatenate(parts).transpose(1, 2, 0).astype(np.float32)


def fold_cells(maps: Array) -> Array:
    """Put each two by two cells into one: [C, 2 h, 2 w] -> [4 C, h, w], in the order of reading."""
    channels, rows, columns = maps.shape
    folded = maps.reshape(channels, rows // 2, 2, columns // 2, 2).transpose(0, 2, 4, 1, 3)
    return folded.reshape(4 * channels, rows // 2, columns // 2)


def resample(maps: Array, rows: int, columns: int) -> Array:
    """Resample maps [C, H, W] to [C, rows, columns], linear between the middles of cells."""
    for axis, size in ((1, rows), (2, columns)):
        have = maps.shape[axis]
        middles = ((np.arange(size) + 0.5) * have / size - 0.5).clip(0, have - 1)
        low = middles.astype(int)
        high = np.minimum(low + 1, have - 1)
        share = (middles - low).astype(np.float32).reshape((-1, 1) if axis == 1 else (1, -1))
        before, after = maps.take(low, axis), maps.take(high, axis)
        maps = (before + share * (after - before)).astype(np.float32)
    return maps
