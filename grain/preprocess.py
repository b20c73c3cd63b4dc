"""Preprocess pictures for training, evaluation and the app alike: the whole picture, squashed to a square."""

from __future__ import annotations

import numpy as np
from PIL import Image

from grain.structures import Array


def image_to_array(image: Image.Image, *, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    """Resize the whole image to size x size (bicubic, no crop) and normalize.

    Args:    image: upright, any mode. size: pixels. mean, std: per RGB channel in [0, 1].
    Returns: [3, size, size] float32.
    Raises:  ValueError: the picture has no pixels.
    """
    if 0 in image.size:
        raise ValueError(f"the picture is {image.width} x {image.height} pixels: expected at least 1 x 1")
    # reduce first where that changes nothing visible: a large photo would otherwise cost more than the model
    resized = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.asarray(resized, dtype=np.float32) / 255.0
    normalized = (pixels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(normalized.transpose(2, 0, 1))
