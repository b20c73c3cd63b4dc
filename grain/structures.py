"""What travels between the rooms: plain, frozen, named. Importing this module does not import torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float32]
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Region:
    """A box and the description that it matches.

    xyxy: normalized to the upright image. score: cosine of region and description. index: row of the region query.
    """

    xyxy: tuple[float, float, float, float]
    text: str
    score: float
    index: int


@dataclass(frozen=True)
class ImageFeatures:
    """One picture as a model sees it: image_embed [E], region_embeds [Q, E] (unit length), boxes_xyxy [Q, 4].

    Q is 0 where the checkpoint has no trained decoder.
    """

    image_embed: Array
    region_embeds: Array
    boxes_xyxy: Array


@dataclass(frozen=True)
class DescriptionScore:
    """How one description of a class fits: cosines with the image and with its best region (None without regions)."""

    text: str
    global_score: float
    region_score: float | None
    region_index: int | None


@dataclass(frozen=True)
class ClassScore:
    """score = α · global_score + (1 - α) · region_score (cosines); probability: softmax over the classes asked."""

    name: str
    score: float
    global_score: float
    region_score: float | None
    probability: float
    descriptions: tuple[DescriptionScore, ...]


@dataclass(frozen=True)
class Look:
    """All that one look at a picture gives: boxes_xyxy [Q, 4], matches [Q, D] cosines, regions, classes best first."""

    width: int
    height: int
    boxes_xyxy: Array
    descriptions: tuple[str, ...]
    matches: Array
    regions: tuple[Region, ...]
    classes: tuple[ClassScore, ...]
    timing_ms: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        return {
            "schema_version": SCHEMA_VERSION,
            "image": {"width": self.width, "height": self.height},
            "regions": [asdict(region) for region in self.regions],
            "matches": {
                "descriptions": list(self.descriptions),
                "boxes_xyxy": self.boxes_xyxy.tolist(),
                "scores": self.matches.tolist(),
            },
            "classes": [asdict(score) for score in self.classes],
            "timing_ms": self.timing_ms,
        }


@dataclass(frozen=True)
class RegionTargets:
    """The annotated regions of a batch laid end to end, no padding.

    boxes_xyxy: [R, 4] normalized. image_index: [R] row of the image. text_index: [R] row of the unique descriptions.
    """

    boxes_xyxy: Tensor
    image_index: Tensor
    text_index: Tensor


@dataclass(frozen=True)
class Batch:
    """One training batch.

    images: [B, 3, S, S]. captions: [B, L] token ids. descriptions: [U, L'] token ids of the *unique* texts.
    description_ids: [U] int64 hashes of those texts, equal on every process. regions: see RegionTargets.
    """

    images: Tensor
    captions: Tensor
    descriptions: Tensor
    description_ids: Tensor
    regions: RegionTargets


@dataclass(frozen=True)
class GrainOutput:
    """image_embeds [B, E], region_embeds [B, Q, E] (unit length), boxes_cxcywh [K, B, Q, 4].

    K: decoder layers whose boxes were asked for, the final one last. Without a decoder Q and K are 0.
    """

    image_embeds: Tensor
    region_embeds: Tensor
    boxes_cxcywh: Tensor
