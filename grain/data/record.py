"""Define one picture of a shard with what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Box = tuple[float, float, float, float]  # xyxy, normalized
Pixels = TypeVar("Pixels")


@dataclass(frozen=True)
class ShardRecord(Generic[Pixels]):
    """One image of a shard. boxes_xyxy: normalized; texts: one for each box; class_name: only in a test split.

    captions: further ones of its own. written_caption: what a describer wrote of the whole picture; empty where nobody
    did.
    image: a PIL picture, or in training what the image tower reads, [3, S, S].
    proposals: the key `proposals` of the image's JSON, [[x0, y0, x1, y1], …] normalized; None where it has no such key.
    """

    key: str
    image: Pixels
    caption: str
    boxes_xyxy: tuple[Box, ...]
    texts: tuple[str, ...]
    class_name: str | None
    written_caption: str = ""
    proposals: tuple[Box, ...] | None = None
    captions: tuple[str, ...] = ()
