"""Classify a chosen data set at each evaluation of a training, by its class names and descriptions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grain.config import ClassTexts
from grain.data.data_sets import NO_LABEL, EvaluationItem
from grain.data.layouts import open_path
from grain.evaluate.features import chosen_items
from grain.predict import Predictor
from grain.structures import Array
from grain.zero_shot import build_class_bank, global_scores, mix, region_scores

BATCH = 64  # pictures a pass


class ZeroShotSet:
    """Pictures with a class that nothing is trained on. They are read each time: none is kept in memory."""

    def __init__(self, spec: str, *, limit: int) -> None:
        """Open a data set.

        Args:   spec: a data folder (PATH#SPLIT for another split than novel), an ImageFolder, or WebDataset shards.
                limit: pictures at most, drawn once for all.
        Raises: UserError, ValueError: there is none, or it has no pictures of two classes.
        """
        place, _, split = spec.partition("#")
        self._data, self._limit = open_path(Path(place), split), limit
        if len(self._data.class_names) < 2:
            raise ValueError(f"{spec} has {len(self._data.class_names)} classes to tell apart: expected two or more")
        if not any(self._items()):
            raise ValueError(f"no picture of {spec} has a class: choose another set for zero_shot")

    def accuracies(self, predictor: Predictor, templates: ClassTexts) -> dict[str, float]:
        """Return the share of the pictures whose class scores best.

        Returns: `zero_shot_acc1` by the names and the image embedding; where the data set describes its classes,
                 `zero_shot_described_acc1` by those, the image embedding and the regions half each.
        """
        data, embed = self._data, predictor.embed_texts
        templates = data.templates or templates
        names = build_class_bank(dict.fromkeys(data.class_names, ()), templates, embed)
        classes = {name: data.classes.get(name, ()) for name in data.class_names}
        rule = predictor.info.region_rule
        described = build_class_bank(classes, templates, embed, region_rule=rule) if data.classes else None
        hits: dict[str, list[bool]] = {}
        for items in self._batches():
            proposals = [item.proposals or () for item in items] if predictor.info.from_proposals else None
            features = predictor.batch_features([item.open() for item in items], proposals)
            target = np.array([item.label for item in items])
            images: Array = np.stack([feature.image_embed for feature in features])
            _count(hits, "zero_shot_acc1", scores=global_scores(images, names), target=target)
            if described is not None:
                scores = np.concatenate([region_scores(each.region_embeds[None], described) for each in features])
                scores = mix(global_scores(images, described), scores, predictor.info.alpha)
                _count(hits, "zero_shot_described_acc1", scores=scores, target=target)
        return {name: float(np.mean(rows)) for name, rows in hits.items()}

    def _items(self) -> Iterator[EvaluationItem]:
        return (item for item in chosen_items(self._data, self._limit) if item.label != NO_LABEL)

    def _batches(self) -> Iterator[list[EvaluationItem]]:
        items = self._items()
        while batch := list(islice(items, BATCH)):
            yield batch


def _count(hits: dict[str, list[bool]], name: str, *, scores: Array, target: NDArray[np.int64]) -> None:
    hits.setdefault(name, []).extend((scores.argmax(axis=1) == target).tolist())
