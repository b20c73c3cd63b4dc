"""Define what passes between the rooms: plain, frozen, named. Importing this module does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float32]
SCHEMA_VERSION = 1
MIN_PRESENCE = 0.5  # probability; a description below it is not found
MIN_CONFIDENCE = 0.5  # probability; a region below it is not shown as what a description means
Answer = Literal["found", "not found", "cannot tell", "below the threshold"]
Instances = Literal["best", "all"]
RegionRule = Literal["best_region", "best_description", "phrases"]
REGION_RULES: Mapping[RegionRule, str] = {
    "best_region": "mean over descriptions of the best region",
    "best_description": "mean over regions of the best description",
    "phrases": "mean over the phrases of the descriptions of the best region",
}
"""How the regions of a picture score a class, in words."""


@dataclass(frozen=True)
class Region:
    """A box and the description that it matches.

    xyxy: normalized to the upright image, see RegionRanking.boxes_for. score: cosine of region and description. index:
    row of the region query. confidence: probability that the description means this region; None where the model has
    no such measure.
    """

    xyxy: tuple[float, float, float, float]
    text: str
    score: float
    index: int
    confidence: float | None = None


@dataclass(frozen=True)
class ImageFeatures:
    """One picture as a model sees it: image_embed [E], region_embeds [Q, E] (unit length), boxes_xyxy [Q, 4].

    objectness: [Q] in [0, 1], the probability that a region holds an object; ones where the model has none.
    hints: [Q, H], what the model knows of each region beside it, for its own ranking; None where it knows nothing.
    gist: [G], what tells whether the picture is like those that the model has seen; None: image_embed does.
    Q is 0 where the checkpoint has no trained decoder.
    """

    image_embed: Array
    region_embeds: Array
    boxes_xyxy: Array
    objectness: Array
    hints: Array | None = None
    gist: Array | None = None

    def take(self, rows: NDArray[np.int64]) -> ImageFeatures:
        """Return the same picture with some of its regions."""
        hints = None if self.hints is None else self.hints[rows]
        regions = (self.region_embeds[rows], self.boxes_xyxy[rows], self.objectness[rows])
        return ImageFeatures(self.image_embed, *regions, hints, self.gist)


@dataclass(frozen=True)
class RegionRanking:
    """The fit of each region to each description, and whether the description is in the picture at all.

    ranking: [Q, D], higher is better, comparable within a description only. presence: [D] calibrated probability that
    the picture shows the description somewhere. confidence: [Q, D] calibrated probability that the description means
    the region. Both are None where the model has no such measure. reasons: of each description why it is not found, if
    it is not; "" where there is none to give. counts: of each description how many things it says there are; 0 where it
    does not. boxes_xyxy: [Q, D, 4] the box of each region for each description; None where that is the region's own.
    """

    ranking: Array
    presence: Array | None
    confidence: Array | None = None
    reasons: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    boxes_xyxy: Array | None = None

    def take(self, rows: NDArray[np.int64]) -> RegionRanking:
        """Return the same with some of the regions."""
        confidence, boxes = (None if each is None else each[rows] for each in (self.confidence, self.boxes_xyxy))
        return replace(self, ranking=self.ranking[rows], confidence=confidence, boxes_xyxy=boxes)

    def boxes_for(self, column: int, boxes_xyxy: Array) -> Array:
        """Return the boxes of all regions for a description, [Q, 4]. boxes_xyxy: [Q, 4], the regions' own."""
        return boxes_xyxy if self.boxes_xyxy is None else self.boxes_xyxy[:, column]

    def best_boxes(self, boxes_xyxy: Array) -> Array:
        """Return the box of the best region of each description, [D, 4]. boxes_xyxy: [Q, 4], the regions' own."""
        best = self.ranking.argmax(axis=0)
        return self.boxes_at(best, np.arange(len(best)), boxes_xyxy)

    def boxes_at(self, rows: NDArray[np.int64], columns: NDArray[np.int64], boxes_xyxy: Array) -> Array:
        """Return the boxes of regions, rows [N], each for one description, columns [N]: [N, 4].

        boxes_xyxy: [Q, 4], the regions' own.
        """
        boxes: Array = boxes_xyxy[rows] if self.boxes_xyxy is None else self.boxes_xyxy[rows, columns]
        return boxes

    @classmethod
    def by_cosine(cls, features: ImageFeatures, embeds: Array) -> RegionRanking:
        """Rank regions by their cosine with each description (embeds [D, E]), without a measure of presence."""
        return cls(features.region_embeds @ embeds.T, None)


@dataclass(frozen=True)
class DescriptionScore:
    """The fit of one description of a class: cosines with the image and with its best region (None without regions).

    Of a description that is split into phrases: the mean of its phrases, and the region of the surest.
    """

    text: str
    global_score: float
    region_score: float | None
    region_index: int | None


@dataclass(frozen=True)
class ClassScore:
    """score = α · global_score + (1 - α) · region_score (cosines); probability: softmax over the given classes."""

    name: str
    score: float
    global_score: float
    region_score: float | None
    probability: float
    descriptions: tuple[DescriptionScore, ...]


@dataclass(frozen=True)
class Prediction:
    """The result of a model on one picture: boxes_xyxy [Q, 4], matches [Q, D] cosines, regions, classes best first.

    best: of each description the row of its best region, whether found or not; empty where Q is 0. presence [D] and
    confidence [Q, D]: as in RegionRanking. reasons: of each description, see grain.zero_shot.answer_reasons. regions:
    of the descriptions that are found, in their order; the best of each, or all, the surest first. novelty: how far the
    picture is from what the model has seen, above 1 far; None where nothing tells. hidden: descriptions that are found,
    on no region that reaches the threshold.
    """

    width: int
    height: int
    boxes_xyxy: Array
    descriptions: tuple[str, ...]
    matches: Array
    best: tuple[int, ...]
    presence: tuple[float, ...] | None
    regions: tuple[Region, ...]
    classes: tuple[ClassScore, ...]
    timing_ms: dict[str, float]
    confidence: Array | None = None
    reasons: tuple[str, ...] = ()
    novelty: float | None = None
    hidden: tuple[str, ...] = ()

    @property
    def far(self) -> bool | None:
        """Return whether the picture is far from what the model has seen; None where nothing tells."""
        return None if self.novelty is None else self.novelty > 1

    def above(self, *, threshold: float = -1.0, min_confidence: float = 0.0) -> Prediction:
        """Return the same with the regions that reach both thresholds: a cosine, and a probability."""
        sure = [each for each in self.regions if each.confidence is None or each.confidence >= min_confidence]
        kept = tuple(region for region in sure if region.score >= threshold)
        found, shown = dict.fromkeys((*self.hidden, *(region.text for region in sure))), {each.text for each in kept}
        return replace(self, regions=kept, hidden=tuple(text for text in found if text not in shown))

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Return of each description whether it is found.

        "cannot tell": it seems to be in the picture, and no region is surely it; or nothing tells whether it is there.
        "below the threshold": it is found, and the cosine of no region of it reaches the threshold.
        """
        shown = dict.fromkeys((region.text for region in self.regions), True) | dict.fromkeys(self.hidden, False)
        presence = self.presence or (1.0,) * len(self.descriptions)
        return tuple(_answer(shown.get(text), likely) for text, likely in zip(self.descriptions, presence, strict=True))

    @property
    def not_found(self) -> tuple[str, ...]:
        """Return the descriptions that the picture does not show, as far as the model can tell."""
        return tuple(
            text for text, answer in zip(self.descriptions, self.answers, strict=True) if answer == "not found"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "schema_version": SCHEMA_VERSION,
            "image": {"width": self.width, "height": self.height},
            "regions": [asdict(region) for region in self.regions],
            "matches": {
                "descriptions": list(self.descriptions),
                "boxes_xyxy": self.boxes_xyxy.tolist(),
                "scores": self.matches.tolist(),
                "best": list(self.best),
                "presence": None if self.presence is None else list(self.presence),
                "answers": list(self.answers),
                "reasons": list(self.reasons),
            },
            "not_found": list(self.not_found),
            "classes": [asdict(score) for score in self.classes],
            "novelty": self.novelty,
            "far": self.far,
            "timing_ms": self.timing_ms,
        }


def _answer(shown: bool | None, presence: float) -> Answer:
    """Return the answer for a description whose regions are shown, are hidden by the threshold, or are none."""
    if shown is None:
        return "cannot tell" if presence >= MIN_PRESENCE else "not found"
    return "found" if shown else "below the threshold"


@dataclass(frozen=True)
class RegionTargets:
    """The annotated regions of a batch laid end to end, no padding.

    boxes_xyxy: [R, 4] normalized. image_index: [R] row of the image. text_index: [R] row of the unique descriptions.
    """

    boxes_xyxy: Tensor
    image_index: Tensor
    text_index: Tensor


@dataclass(frozen=True)
class Proposals:
    """Boxes that region queries start from, padded to the most of any image.

    boxes_xyxy: [B, P, 4] normalized. mask: [B, P], False where a row is padding.
    """

    boxes_xyxy: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Batch:
    """One training batch.

    images: [B, 3, S, S]. captions: [B + N, L] token ids, of the images, then of N hard negatives.
    descriptions: [U, L'] token ids of the *unique* texts.
    description_ids: [U] int64 hashes of those texts, equal on every process. regions: see RegionTargets.
    proposals: for a model whose region queries start from them, else None.
    """

    images: Tensor
    captions: Tensor
    descriptions: Tensor
    description_ids: Tensor
    regions: RegionTargets
    proposals: Proposals | None = None

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the same batch with every tensor changed."""
        texts = (change(self.captions), change(self.descriptions), change(self.description_ids))
        regions = RegionTargets(*map(change, vars(self.regions).values()))
        proposals = None if self.proposals is None else Proposals(*map(change, vars(self.proposals).values()))
        return Batch(change(self.images), *texts, regions, proposals)

    def pin_memory(self) -> Batch:
        """Return the same batch in page-locked memory; a DataLoader calls it."""
        return self.mapped(lambda tensor: tensor.pin_memory())


@dataclass(frozen=True)
class GrainOutput:
    """image_embeds [B, E], region_embeds [B, Q, E] (unit length), boxes_cxcywh [K, B, Q, 4].

    K: decoder layers with boxes, the final one last. Without a decoder Q and K are 0.
    region_mask: [B, Q], False where a region is padding and no proposal; None where all are regions.
    """

    image_embeds: Tensor
    region_embeds: Tensor
    boxes_cxcywh: Tensor
    region_mask: Tensor | None = None
