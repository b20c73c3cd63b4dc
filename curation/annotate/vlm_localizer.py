"""Find descriptions by asking a vision-language model for their boxes, on this machine or behind a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from curation.annotate.localize import LocalizeConfig, UnreadableAnswerError, best_apart, check_asked
from curation.annotate.vlm_boxes import AnsweredBox, BoxAnswer, Convention, box_question, parse_boxes
from grain.structures import Region

SURE = 1.0  # a model that answers in words gives no score; the threshold has nothing to go by
BOX_TOKENS = 1024  # of an answer: some thirty boxes
ANSWERED = "boxes answered"  # under which a picture carries what was answered about it


class BoxAnswerer(Protocol):
    """A model that answers a question about each picture."""

    @property
    def name(self) -> str:
        """Return `model@revision`."""

    def ask_each(self, images: Sequence[Image.Image], questions: Sequence[str], most_tokens: int) -> list[BoxAnswer]:
        """Answer one question about each upright picture, in their order.

        Raises: DescriberError: none can be answered now.
        """


class VlmLocalizer:
    """A Localizer by a vision-language model. A picture's descriptions go into one question; each box has score 1."""

    def __init__(
        self,
        answerer: BoxAnswerer,
        convention: Convention,
        *,
        config: LocalizeConfig | None = None,
        most_tokens: int = BOX_TOKENS,
    ) -> None:
        """convention: how the model writes boxes. config: its nms_iou and most_of_text count."""
        self.name, self.config = answerer.name, config or LocalizeConfig()
        self._answerer, self._convention, self._most_tokens = answerer, convention, most_tokens

    def too_long(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Return nothing: it reads far more than a description has."""
        return ()

    def localize(
        self, pictures: Sequence[Image.Image], descriptions: Sequence[Sequence[str]]
    ) -> list[tuple[Region, ...]]:
        """See Localizer.

        Raises: RuntimeError: one picture has no answer. UnreadableAnswerError: or one that cannot be read. The others
                carry theirs, so that asking again, one by one, costs nothing. DescriberError: none can be answered now.
        """
        check_asked(pictures, descriptions)
        questions = [box_question(texts, self._convention) if texts else "" for texts in descriptions]
        answers = self._answers(pictures, questions)
        return [self._regions(answers[row], texts) if row in answers else () for row, texts in enumerate(descriptions)]

    def _answers(self, pictures: Sequence[Image.Image], questions: Sequence[str]) -> dict[int, BoxAnswer]:
        """Return the answers by row, those that a picture carries among them."""
        asked = [row for row, question in enumerate(questions) if question]
        carried = {row: pictures[row].info.get(ANSWERED) for row in asked}
        found = {row: pair[1] for row, pair in carried.items() if pair and pair[0] == (self.name, questions[row])}
        rows = [row for row in asked if row not in found]
        new = self._answerer.ask_each(
            [pictures[row] for row in rows], [questions[row] for row in rows], self._most_tokens
        )
        for row, answer in zip(rows, new, strict=True):
            found[row] = answer
            if not answer.problem:
                pictures[row].info[ANSWERED] = ((self.name, questions[row]), answer)
        if problems := [answer.problem for answer in found.values() if answer.problem]:
            raise RuntimeError(problems[0])
        return found

    def _regions(self, answer: BoxAnswer, texts: Sequence[str]) -> tuple[Region, ...]:
        try:
            boxes = parse_boxes(answer.text, texts, self._convention, sent=answer.sent, seen=answer.seen)
        except ValueError as error:
            raise UnreadableAnswerError(str(error), answer.text) from error
        return tuple(
            Region(each.xyxy, texts[index], SURE, index)
            for index in range(len(texts))
            for each in self._apart([box for box in boxes if box.index == index])
        )

    def _apart(self, boxes: Sequence[AnsweredBox]) -> list[AnsweredBox]:
        """Return the boxes of one description without those that repeat an earlier one, no more than the most."""
        if not boxes:
            return []
        corners = np.array([each.xyxy for each in boxes], np.float32)
        kept = best_apart(corners, np.full(len(boxes), SURE, np.float32), iou=self.config.nms_iou)
        return [boxes[row] for row in sorted(kept.tolist())[: self.config.most_of_text]]
