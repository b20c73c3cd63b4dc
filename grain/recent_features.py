"""Remember what a model saw in recent pictures: other words for the same picture cost no second look."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from PIL import Image

from grain.structures import ImageFeatures


class RecentFeatures:
    """The features of the pictures asked for last, by size and pixels."""

    def __init__(self, encode: Callable[[Image.Image], ImageFeatures], *, most: int) -> None:
        """encode: what makes the features of an upright RGB picture. most: pictures remembered."""
        self._encode, self._most = encode, most
        self._kept: dict[tuple[tuple[int, int], bytes], ImageFeatures] = {}

    def __call__(self, image: Image.Image) -> ImageFeatures:
        """Encode a picture, or return what a recent picture with the same pixels gave."""
        key = (image.size, hashlib.blake2b(image.tobytes(), digest_size=16).digest())
        features = self._kept.pop(key, None)
        self._kept[key] = features = self._encode(image) if features is None else features
        if len(self._kept) > self._most:
            self._kept.pop(next(iter(self._kept)), None)
        return features
