"""Measure what each description of a class does: recognise every image once without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grain.evaluate.comparison import Rows, mcnemar
from grain.structures import Array, ImageFeatures
from grain.zero_shot import ClassBank, global_scores, mix, region_scores

DESCRIPTIONS = 512  # left out in one block of scores
MIN_LENGTH = 1e-12


@dataclass(frozen=True)
class DescriptionEffect:
    """The effect on all pictures of leaving one description out.

    helped: pictures recognised only with it. hurt: only without it; those of its own class and of others alike.
    p_value: McNemar's for the two. picture: the row of one of the more numerous, -1 where there are none.
    class_index, index: rows of the class and of the description.
    """

    class_name: str
    text: str
    class_index: int
    index: int
    helped: int
    hurt: int
    p_value: float
    picture: int

    @property
    def net(self) -> int:
        """Return how many more pictures are recognised with it than without."""
        return self.helped - self.hurt


def leave_one_out(
    features: Sequence[ImageFeatures], bank: ClassBank, target: Rows, *, alpha: float = 1.0
) -> tuple[DescriptionEffect, ...]:
    """Recognise every picture once without each description in turn; those that help most come first.

    Only the score of the description's own class changes, so all of them together cost two products of matrices. A
    picture counts as recognised where its class is ahead of every other. The single description of a class cannot be
    left out and is not among the answers.

    Args:   target: [N] row of each picture's class. alpha: 1 image embedding only, 0 regions only.
    Raises: ValueError: not the same number, alpha outside [0, 1], or regions that score by another rule than the best
            region of each description, where alpha gives them a share.
    """
    if alpha < 1 and bank.region_rule != "best_region":
        raise ValueError(f"leaving descriptions out needs the region rule best_region, got {bank.region_rule}")
    if len(features) != len(target):
        raise ValueError(f"every picture needs its class, got {len(features)} pictures and {len(target)} classes")
    if len(features) == 0:
        return ()
    images = np.stack([each.image_embed for each in features])
    sums = _DescriptionSums.of(bank)
    parts = np.stack([region_scores(each.region_embeds[None], bank)[0] for each in features])  # [N, C]
    rivals = _RivalScores.of(mix(global_scores(images, bank), parts, alpha), target)
    can = np.flatnonzero(sums.counts[bank.class_index] > 1)
    effects: list[DescriptionEffect] = []
    for first in range(0, len(can), DESCRIPTIONS):
        block = can[first : first + DESCRIPTIONS]
        owner = bank.class_index[block]
        image_scores = images @ sums.without(block).T  # [N, block]
        count = sums.counts[owner].astype(np.float32)
        rest = (parts[:, owner] * count - _best_regions(features, bank.bare[block])) / (count - 1)
        effects += _effects(
            bank, block, rivals=rivals, right_without=rivals.right_with(mix(image_scores, rest, alpha), owner)
        )
    return tuple(sorted(effects, key=lambda effect: (-effect.net, -effect.helped)))


@dataclass(frozen=True)
class _DescriptionSums:
    """counts [C]: descriptions of each class. rows [D, E]: sum of each one's texts. totals [C, E]: of each class."""

    counts: Rows
    rows: Array
    totals: Array
    owner: Rows

    @classmethod
    def of(cls, bank: ClassBank) -> _DescriptionSums:
        rows = bank.prompted * bank.lengths[:, None]
        totals = np.zeros_like(bank.class_embeds)
        np.add.at(totals, bank.class_index, rows)
        return cls(np.bincount(bank.class_index, minlength=len(bank.names)), rows, totals, bank.class_index)

    def without(self, block: Rows) -> Array:
        """Embed each description's class without that description, [block, E]."""
        rest: Array = self.totals[self.owner[block]] - self.rows[block]
        rest /= np.linalg.norm(rest, axis=1, keepdims=True).clip(MIN_LENGTH)
        return rest


@dataclass(frozen=True)
class _RivalScores:
    """For each picture [N]: its class, that one's score, the best wrong class, its score and the next best one's."""

    target: Rows
    score: Array
    rival: Rows
    rival_score: Array
    next_score: Array

    @classmethod
    def of(cls, scores: Array, target: Rows) -> _RivalScores:
        rows = np.arange(len(scores))
        wrong = scores.copy()
        wrong[rows, target] = -np.inf
        rival = wrong.argmax(axis=1)
        rival_score = wrong[rows, rival]
        wrong[rows, rival] = -np.inf
        return cls(target, scores[rows, target], rival, rival_score, wrong.max(axis=1))

    @property
    def right(self) -> NDArray[np.bool_]:
        """Return which pictures are recognised with every description, [N]."""
        return self.score > self.rival_score

    def right_with(self, changed: Array, owner: Rows) -> NDArray[np.bool_]:
        """Return which are recognised if class owner[k] alone had the score changed[:, k], [N, K]."""
        own = self.target[:, None] == owner
        score = np.where(own, changed, self.score[:, None])
        others = np.where(self.rival[:, None] == owner, self.next_score[:, None], self.rival_score[:, None])
        ahead: NDArray[np.bool_] = score > np.where(own, others, np.maximum(others, changed))
        return ahead


def _best_regions(features: Sequence[ImageFeatures], bare: Array) -> Array:
    """Return the cosine of each description with the nearest region, [N, D]; NaN where a picture has none."""
    return np.stack(
        [
            (each.region_embeds @ bare.T).max(axis=0)
            if len(each.region_embeds)
            else np.full(len(bare), np.nan, np.float32)
            for each in features
        ]
    )


def _effects(
    bank: ClassBank, block: Rows, *, rivals: _RivalScores, right_without: NDArray[np.bool_]
) -> list[DescriptionEffect]:
    found = []
    for row, without in zip(block, right_without.T, strict=True):
        test = mcnemar(rivals.right.astype(np.float64), without.astype(np.float64))
        owner = int(bank.class_index[row])
        helps = test.only_one >= test.only_other
        decided = np.flatnonzero(rivals.right & ~without if helps else without & ~rivals.right)
        found.append(
            DescriptionEffect(
                bank.names[owner],
                bank.texts[row],
                owner,
                int(row),
                test.only_one,
                test.only_other,
                test.p_value,
                int(decided[0]) if len(decided) else -1,
            )
        )
    return found
