"""Tell copies of one picture from pictures that only look alike.

The perceptual hash decides, and no embedding: of 300 photographs, different ones had cosines up to 0.9999 and copies
of one down to 0.69, while the hashes of different ones were 16 or more of 64 bits apart, and those of copies (JPEG,
half size, brighter) at most 4 (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from db.models import Image

MOST_BITS = 4  # of 64 by which the hashes of two copies differ


def are_copies(one: Image, other: Image) -> bool:
    """Return whether two pictures are copies of one: the same content, or hashes a few bits apart."""
    if one.sha256 == other.sha256:
        return True
    if not (one.phash and other.phash):
        return False
    return (int(one.phash, 16) ^ int(other.phash, 16)).bit_count() <= MOST_BITS


def copies_of(picture: Image, others: Iterable[Image]) -> Sequence[Image]:
    """Return the copies of a picture among others. Not those of its copies: a chain leads anywhere."""
    return [other for other in others if other.id != picture.id and are_copies(picture, other)]
