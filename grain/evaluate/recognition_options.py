"""Score a model's pictures in the ways that others proposed, where an evaluation asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grain.data.data_sets import EvaluationItem
from grain.evaluate.evaluated_models import EvaluatedModel
from grain.evaluate.other_ways import (
    CROPS,
    FILTERED,
    WEIGHTED_CROPS,
    OtherWay,
    crop_boxes,
    telling,
    weighted_crop_scores,
    weighted_texts,
)
from grain.evaluate.scoring import Ints, merged
from grain.structures import Array, ImageFeatures
from grain.zero_shot import ClassBank, global_scores

Grammar = Literal["templates", "authors"]


@dataclass(frozen=True)
class RecognitionOptions:
    """Further ways that an evaluation asks for. grammar: of descriptions, see grain.config.ClassTexts.in_clauses."""

    ways: tuple[OtherWay, ...] = ()
    crops: int = CROPS
    grammar: Grammar = "templates"


@dataclass(frozen=True)
class OtherWays:
    """The texts of the other ways for one model and data set; None where one is not asked for. weighted: [C, E]."""

    model: EvaluatedModel
    filtered: ClassBank | None
    weighted: Array | None
    crops: int

    @classmethod
    def of(
        cls,
        model: EvaluatedModel,
        names: ClassBank,
        described: ClassBank,
        *,
        firsts: Ints | None,
        asked: RecognitionOptions,
    ) -> OtherWays:
        """Prepare the texts. names, described, firsts: see grain.evaluate.scoring.score_batch."""
        first = names.class_embeds if firsts is None else names.class_embeds[firsts]
        filtered = None
        if FILTERED in asked.ways:
            kept = telling(merged(described.bare @ names.class_embeds.T, firsts), described.class_index)
            filtered = replace(described, class_embeds=_means(described, kept))
        weighted = weighted_texts(described, first) if WEIGHTED_CROPS in asked.ways else None
        return cls(model, filtered, weighted, asked.crops)

    def scores(self, items: Sequence[EvaluationItem], features: Sequence[ImageFeatures]) -> dict[str, Array]:
        """Score pictures: way -> [N, C]. Crops are encoded again, nothing of them is kept.

        Raises: UserError: a picture cannot be read any more.
        """
        found: dict[str, Array] = {}
        if self.filtered:
            found[FILTERED] = global_scores(np.stack([each.image_embed for each in features]), self.filtered)
        if self.weighted is not None:
            rows = [self._by_crops(item, each) for item, each in zip(items, features, strict=True)]
            found[WEIGHTED_CROPS] = np.stack(rows)
        return found

    def _by_crops(self, item: EvaluationItem, features: ImageFeatures) -> Array:
        assert self.weighted is not None
        image = item.open()
        boxes = crop_boxes(item.key, width=image.width, height=image.height, count=self.crops)
        return weighted_crop_scores(self.model.predictor.crop_embeds(image, boxes), features.image_embed, self.weighted)


def _means(bank: ClassBank, kept: NDArray[np.bool_]) -> Array:
    """Return the classes by the mean of the descriptions that are kept, [C, E]; one without any as it was."""
    vectors = bank.class_embeds.copy()
    weights = np.where(kept, bank.lengths, 0)[:, None]
    for row in np.unique(bank.class_index):
        own = bank.class_index == row
        total = (bank.prompted[own] * weights[own]).sum(axis=0)
        vectors[row] = total / np.linalg.norm(total).clip(1e-12)
    return vectors
