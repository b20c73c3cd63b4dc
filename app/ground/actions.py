"""Answer a question of the Ground page: check what was typed, and run one checkpoint or two on the picture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from app.core.checkpoints import Checkpoint
from app.core.ground_links import GroundQuestion, QuestionError, find_question, image_question, open_picture
from app.core.typed_descriptions import split_descriptions
from app.services import Services
from grain.checkpoint import CheckpointInfo
from grain.structures import Prediction
from grain.texts import one_line
from grain.zero_shot import parse_classes
from user_errors import UserError, sentence

if TYPE_CHECKING:
    from curation.annotate.photo_annotators import PhotoDescriber

MOST_DESCRIPTIONS = 64  # more could not be told apart on the picture
TEXTS_A_STEP = 128  # embedded between two reports of progress
MOST_CLASS_TEXTS = 20_000  # ImageNet with its DCLIP descriptions has 6,000


@dataclass(frozen=True)
class CheckpointResult:
    """The regions that one checkpoint finds in a picture."""

    checkpoint: Checkpoint
    info: CheckpointInfo
    prediction: Prediction


@dataclass(frozen=True)
class GroundAnswer:
    """A question with its upright picture, the result of its checkpoint, and of the one compared with, if any."""

    question: GroundQuestion
    image: Image.Image
    result: CheckpointResult
    versus: CheckpointResult | None


@dataclass(frozen=True)
class GroundView:
    """The result on the page, kept to redraw, download and share it. uri: the picture as the page shows it."""

    question: GroundQuestion
    result: CheckpointResult
    versus: CheckpointResult | None
    uri: str

    @property
    def results(self) -> list[CheckpointResult]:
        """Return one result or both."""
        return [self.result, *([self.versus] if self.versus else [])]


def linked_question(services: Services, first: GroundQuestion, *, query: str, image: str) -> tuple[GroundQuestion, str]:
    """Return the question of a link, or else the first one; and what is wrong with the link, if anything.

    Args: query: id of a question. image: id of a data set's picture.
    """
    try:
        if re.fullmatch("[0-9]{1,18}", image):
            return image_question(services.settings, services.engine, int(image), checkpoint=first.checkpoint), ""
        if not query:
            return first, ""
        question = find_question(services.settings, services.engine, query)
    except QuestionError as error:
        return first, error.sentence
    return question, "" if question.picture else "The picture of this link is no longer there."


def answer(services: Services, question: GroundQuestion) -> GroundAnswer:
    """Run one checkpoint on the picture, or two.

    Raises: QuestionError: what cannot be used, and in which field.
    """
    descriptions, classes = read_texts(question)
    image = open_picture(services.settings, question.picture)

    def run(name: str) -> CheckpointResult:
        try:
            checkpoint = services.registry.find(name)
            with services.model_turn:
                model = services.registry.load(name)
                prediction = model.predict(
                    image, descriptions, classes, threshold=-1.0, instances="all", alpha=question.alpha
                )
        except UserError as error:
            raise QuestionError("checkpoint", error.sentence) from error
        return CheckpointResult(checkpoint, model.info, prediction)

    return GroundAnswer(question, image, run(question.checkpoint), run(question.versus) if question.versus else None)


def embed_class_texts(services: Services, question: GroundQuestion) -> Iterator[tuple[int, int]]:
    """Embed the texts of many classes bit by bit, and yield how many are done of how many; few are left to `answer`.

    Others get their turn with the model in between, and a person who stops asking ends it.

    Raises: QuestionError: what cannot be used, and in which field.
    """
    _, classes = read_texts(question)
    names = [name for name in (question.checkpoint, question.versus) if name]
    try:
        models = [services.registry.load(name) for name in names] if len(classes) else []
        todo = [(model, text) for model in models for text in model.class_texts(classes)]
        if len(todo) <= TEXTS_A_STEP:
            return
        for start in range(0, len(todo), TEXTS_A_STEP):
            yield start, len(todo)
            step = todo[start : start + TEXTS_A_STEP]
            with services.model_turn:
                for model in models:
                    model.embed_texts([text for owner, text in step if owner is model])
    except UserError as error:
        raise QuestionError("checkpoint", error.sentence) from error


def seen_names(services: Services, picture: str) -> tuple[str, ...]:
    """Name what a picture seems to show; nothing where it is far from every photograph that the names come from.

    Raises: QuestionError: it cannot be read.
    """
    image = open_picture(services.settings, picture)
    with services.model_turn:
        return _photo_describer().names(image)


@cache
def _photo_describer() -> PhotoDescriber:
    from curation.annotate.photo_annotators import PhotoDescriber  # here: the first page does not wait for it

    return PhotoDescriber()


def read_texts(question: GroundQuestion) -> tuple[list[str], dict[str, list[str]]]:
    """Return the descriptions and the classes of a question.

    Raises: QuestionError: neither, too many, classes that cannot be read, or alpha outside 0 to 1.
    """
    descriptions = split_descriptions(question.descriptions, one_a_line=question.one_a_line)
    try:
        classes = parse_classes(question.classes)
    except ValueError as error:
        raise QuestionError("classes", sentence(error)) from error
    if not descriptions and not classes:
        raise QuestionError("descriptions", "There is nothing to look for: write a description, or a class below.")
    if len(descriptions) > MOST_DESCRIPTIONS:
        raise QuestionError(
            "descriptions", f"{len(descriptions)} descriptions are more than the {MOST_DESCRIPTIONS} of one run."
        )
    check_lengths("descriptions", descriptions)
    check_lengths("classes", [text for name, rows in classes.items() for text in (name, *rows)])
    texts = sum(max(1, len(rows)) for rows in classes.values())
    if texts > MOST_CLASS_TEXTS:
        raise QuestionError("classes", f"{texts:,} class texts are more than the {MOST_CLASS_TEXTS:,} of one run.")
    if not 0 <= question.alpha <= 1:
        raise QuestionError("classes", f"Alpha must lie between 0 and 1, got {question.alpha:g}.")
    return descriptions, classes


def check_lengths(field: Literal["descriptions", "classes"], texts: Iterable[str]) -> None:
    """Check that no text is longer than a model reads.

    Raises: QuestionError: one is; its beginning is named.
    """
    try:
        for text in texts:
            one_line(text, empty=True)
    except UserError as error:
        raise QuestionError(field, error.sentence) from error


def result_json(
    result: CheckpointResult, *, threshold: float, versus: CheckpointResult | None = None
) -> dict[str, Any]:
    """Return a result as one JSON object, with its checkpoint and the regions that reach the threshold.

    versus: the one that it is compared with, in it under that name.
    """
    checkpoint = {**result.info.to_json(), "name": result.checkpoint.name}
    content = {**result.prediction.above(threshold=threshold).to_json(), "checkpoint": checkpoint}
    return content | ({"versus": result_json(versus, threshold=threshold)} if versus else {})
