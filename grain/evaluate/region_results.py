"""Measure what models find in pictures: sentences in boxes, objects by description, captions that are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from grain.box_overlap import instance_rows
from grain.data.data_sets import CaptionContrast, EvaluationItem, GroundedSentence, PictureObjects
from grain.evaluate.average_precision import PictureDetections
from grain.evaluate.evaluated_models import EvaluatedModel
from grain.evaluate.metrics import Values, paired_iou
from grain.evaluate.scoring import Ints
from grain.structures import Array, ImageFeatures

MOST_DETECTIONS = 300  # of a picture, as LVIS counts
MOST_OF_DESCRIPTION = 30  # of a picture


@dataclass(frozen=True)
class Grounding:
    """Sentences over a data set.

    cosines, ious: [S] of each sentence's best region, and its largest overlap with one of the sentence's boxes.
    picture: [S] row of the picture. absent: [A] cosine of the best region of a sentence that is another picture's.
    """

    cosines: Array
    ious: Array
    absent: Array
    picture: Ints


@dataclass(frozen=True)
class Contrasts:
    """Pictures and the captions that they are told apart by.

    examples: [N] what a picture belongs to. right, wrong: [N] cosines of the picture with its two captions.
    """

    examples: tuple[str, ...]
    right: Array
    wrong: Array

    def hits(self) -> dict[str, Values]:
        """Return 1.0 for each example [E] that is right: by captions, and where it has two pictures by those and both.

        An example is right by its captions (text) where each picture is nearer to its own; by its pictures (image)
        where each caption is nearer to its own; and in all (group) where it is right by both.

        Source: Thrush et al. 2022, Winoground.
        """
        rows: dict[str, list[int]] = {}
        for row, example in enumerate(self.examples):
            rows.setdefault(example, []).append(row)
        text = np.array([np.all(self.right[own] > self.wrong[own]) for own in rows.values()], np.float64)
        if not all(len(own) == 2 for own in rows.values()):
            return {"text": text}
        pairs = np.array(list(rows.values()))  # the wrong caption of one picture is the right one of the other
        image = (self.right[pairs] > self.wrong[pairs[:, ::-1]]).all(axis=1).astype(np.float64)
        return {"text": text, "image": image, "group": text * image}


@dataclass(frozen=True)
class Detection:
    """The objects found by description in each picture, and those that are there."""

    found: tuple[PictureDetections, ...]
    truths: tuple[PictureObjects, ...]


@dataclass
class RegionResults:
    """The regions that one model finds, picture by picture. categories: the descriptions of objects."""

    model: EvaluatedModel
    categories: Sequence[str] = ()
    _grounded: list[tuple[Array, Array, Array, int]] = field(default_factory=list)
    _contrasts: list[tuple[CaptionContrast, float, float]] = field(default_factory=list)
    _found: list[PictureDetections] = field(default_factory=list)
    _truths: list[PictureObjects] = field(default_factory=list)
    _last_texts: tuple[str, ...] = ()  # of the last grounded picture

    def add(self, item: EvaluationItem, features: ImageFeatures, row: int) -> None:
        """Measure a picture. row: of the picture."""
        if item.contrast:
            own, other = self.model.texts([item.contrast.right, item.contrast.wrong]) @ features.image_embed
            self._contrasts.append((item.contrast, float(own), float(other)))
        if not self.model.info.can_ground:
            return
        if item.sentences:
            self._grounded.append((*self._ground(item, features), row))
            self._last_texts = tuple(sentence.text for sentence in item.sentences)
        if item.objects:
            self._found.append(self._detect(item, item.objects.asked, features))
            self._truths.append(item.objects)

    def _ground(self, item: EvaluationItem, features: ImageFeatures) -> tuple[Array, Array, Array]:
        """Return cosines and IoUs of a picture's sentences, and cosines of the last picture's, which are absent."""
        texts = [sentence.text for sentence in item.sentences]
        absent = [text for text in self._last_texts if text not in texts]
        if not len(features.region_embeds):  # nothing was found at all
            return np.full(len(texts), -1, np.float32), np.zeros(len(texts), np.float32), np.zeros(0, np.float32)
        ranked = self.model.rank(item, features, [*texts, *absent])
        best = ranked.ranking.argmax(axis=0)
        cosines = (features.region_embeds @ self.model.texts([*texts, *absent]).T)[best, np.arange(len(best))]
        boxes = ranked.best_boxes(features.boxes_xyxy)[: len(texts)]
        ious = [_best_iou(box, sentence) for box, sentence in zip(boxes, item.sentences, strict=True)]
        return cosines[: len(texts)], np.array(ious, np.float32), cosines[len(texts) :]

    def _detect(self, item: EvaluationItem, asked: Sequence[int], features: ImageFeatures) -> PictureDetections:
        """Find the instances of the categories that were looked for, none of them a copy or a part of another."""
        ranked = self.model.rank(item, features, [self.categories[category] for category in asked])
        scores = ranked.ranking if ranked.confidence is None else ranked.confidence  # [Q, A]
        rows: list[int] = []
        columns: list[int] = []
        for column in range(len(asked)):
            surest = np.argsort(-scores[:, column], kind="stable")[:MOST_OF_DESCRIPTION]
            own = surest[instance_rows(ranked.boxes_for(column, features.boxes_xyxy)[surest], range(len(surest)))]
            rows += own.tolist()
            columns += [column] * len(own)
        kept = np.argsort(-scores[rows, columns], kind="stable")[:MOST_DETECTIONS]
        found, of = np.array(rows, np.int64)[kept], np.array(columns, np.int64)[kept]
        return PictureDetections(
            ranked.boxes_at(found, of, features.boxes_xyxy).astype(np.float64),
            scores[found, of].astype(np.float64),
            np.array(asked, np.int64)[of],
        )

    def grounding(self) -> Grounding | None:
        """Return what became of sentences; None without any."""
        if not self._grounded:
            return None
        cosines, ious, absent, rows = zip(*self._grounded, strict=True)
        pictures = np.repeat(np.array(rows), [len(each) for each in cosines])
        return Grounding(np.concatenate(cosines), np.concatenate(ious), np.concatenate(absent), pictures)

    def contrasts(self) -> Contrasts | None:
        """Return what became of captions that are told apart; None without any."""
        if not self._contrasts:
            return None
        contrasts, right, wrong = zip(*self._contrasts, strict=True)
        return Contrasts(tuple(each.example for each in contrasts), np.array(right), np.array(wrong))

    def detection(self) -> Detection | None:
        """Return what was detected; None without any."""
        return Detection(tuple(self._found), tuple(self._truths)) if self._found else None


def _best_iou(box: Array, sentence: GroundedSentence) -> float:
    own = np.array(sentence.boxes_xyxy, np.float32).reshape(-1, 4)
    return float(paired_iou(np.tile(box, (len(own), 1)), own).max())
