"""One look at a picture: what was asked, checked; what the models answer; how a look is kept and found again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from app.registry import Checkpoint, UnknownCheckpointError
from app.services import Services
from app.uploads import RefusedError, picture_path, read_picture, save_picture
from grain.checkpoint import CheckpointInfo
from grain.structures import Look
from grain.zero_shot import parse_classes, parse_descriptions

Field = Literal["picture", "descriptions", "classes", "checkpoint"]
MOST_DESCRIPTIONS = 64  # more could not be told apart on the picture
MOST_CLASS_TEXTS = 20_000  # ImageNet with its DCLIP descriptions has 6,000


class AskError(ValueError):
    """One field cannot be used; the message is one sentence for the person."""

    def __init__(self, field: Field, sentence: str) -> None:
        """field: where the page shows the sentence."""
        super().__init__(sentence)
        self.field: Field = field


@dataclass(frozen=True)
class Question:
    """What a person asks, as typed.

    picture: path of an uploaded file. versus: the checkpoint beside the first, "" for none. threshold: cosine.
    alpha: share of the whole picture in a class score, the rest is the regions'.
    """

    picture: str
    descriptions: str
    classes: str
    checkpoint: str
    versus: str = ""
    threshold: float = 0.0
    alpha: float = 1.0

    @property
    def picture_name(self) -> str:
        """What the person called the file; for display only."""
        return Path(self.picture).name


@dataclass(frozen=True)
class Sight:
    """What one checkpoint sees."""

    checkpoint: Checkpoint
    info: CheckpointInfo
    look: Look


@dataclass(frozen=True)
class Answer:
    """A look: the question, the upright picture, what the checkpoint sees, and what the one beside it sees."""

    question: Question
    image: Image.Image
    sight: Sight
    versus: Sight | None


def ask(services: Services, question: Question) -> Answer:
    """Look at the picture with one checkpoint, or with two.

    Raises: AskError: what cannot be used, and in which field.
    """
    descriptions, classes = read_texts(question)
    image = open_picture(services, question.picture)
    names = [question.checkpoint] + ([question.versus] if question.versus else [])
    sights = [_look(services, name, image, descriptions, classes, question) for name in names]
    return Answer(question, image, sights[0], sights[1] if len(sights) > 1 else None)


def open_picture(services: Services, path: str) -> Image.Image:
    """The uploaded file as an upright RGB picture.

    Raises: AskError.
    """
    if not path:
        raise AskError("picture", "There is no picture yet: drop, paste or choose one.")
    try:
        return read_picture(path, services.settings.limits)
    except RefusedError as error:
        raise AskError("picture", str(error)) from error


def read_texts(question: Question) -> tuple[list[str], dict[str, list[str]]]:
    """The descriptions and the classes asked for.

    Raises: AskError: neither, too many, classes that cannot be read, or alpha outside 0 to 1.
    """
    descriptions = parse_descriptions(question.descriptions)
    try:
        classes = parse_classes(question.classes)
    except ValueError as error:
        raise AskError("classes", sentence(error)) from error
    if not descriptions and not classes:
        raise AskError("descriptions", "There is nothing to look for: write a description, or a class below.")
    if len(descriptions) > MOST_DESCRIPTIONS:
        raise AskError(
            "descriptions", f"{len(descriptions)} descriptions are more than the {MOST_DESCRIPTIONS} one look can show."
        )
    texts = sum(max(1, len(rows)) for rows in classes.values())
    if texts > MOST_CLASS_TEXTS:
        raise AskError("classes", f"{texts:,} class texts are more than the {MOST_CLASS_TEXTS:,} one look can score.")
    if not 0 <= question.alpha <= 1:
        raise AskError("classes", f"Alpha must lie between 0 and 1, got {question.alpha:g}.")
    return descriptions, classes


def answer_json(sight: Sight) -> dict[str, Any]:
    """A look as one JSON object, with the checkpoint that it comes from."""
    checkpoint = {**sight.info.to_json(), "name": sight.checkpoint.name}
    return {**sight.look.to_json(), "checkpoint": checkpoint}


def keep(services: Services, question: Question) -> str:
    """Save a look so that its link restores it; returns the id of the link.

    Raises: AskError: the picture is no longer there, the disk is full, or the database cannot be used.
    """
    from db.engine import DatabaseError, transaction
    from db.queries import save_ground_query

    image = open_picture(services, question.picture)
    try:
        digest = save_picture(image, services.settings.pictures)
        with transaction(services.engine) as session:
            return save_ground_query(
                session,
                picture_sha256=digest,
                picture_name=question.picture_name,
                descriptions=question.descriptions,
                classes=question.classes,
                checkpoint=question.checkpoint,
                threshold=question.threshold,
                alpha=question.alpha,
            ).id
    except OSError as error:
        raise AskError("picture", f"The picture could not be saved ({error.strerror}): free some space.") from error
    except DatabaseError as error:
        raise AskError("picture", sentence(error)) from error


def find(services: Services, query_id: str) -> Question:
    """The look behind a link; its picture is "" if that is gone.

    Raises: AskError: there is none, or the database cannot be used.
    """
    from db.engine import DatabaseError, transaction
    from db.queries import get_ground_query

    try:
        with transaction(services.engine) as session:
            saved = get_ground_query(session, query_id=query_id)
    except DatabaseError as error:
        raise AskError("picture", sentence(error)) from error
    if saved is None:
        raise AskError("picture", "This link leads nowhere: its look was never saved here, or was removed.")
    path = picture_path(services.settings.pictures, saved.picture_sha256)
    return Question(
        picture=str(path) if path.is_file() else "",
        descriptions=saved.descriptions,
        classes=saved.classes,
        checkpoint=saved.checkpoint,
        threshold=saved.threshold,
        alpha=saved.alpha,
    )


def _look(
    services: Services,
    name: str,
    image: Image.Image,
    descriptions: list[str],
    classes: dict[str, list[str]],
    question: Question,
) -> Sight:
    try:
        checkpoint = services.registry.find(name)
        with services.model_turn:
            model = services.registry.load(name)
            look = model.look(image, descriptions, classes, threshold=question.threshold, alpha=question.alpha)
    except UnknownCheckpointError as error:
        raise AskError("checkpoint", str(error)) from error
    return Sight(checkpoint, model.info, look)


def sentence(reason: object) -> str:
    """An error's words as a person reads them: with a capital and a full stop."""
    text = str(reason)
    return text[:1].upper() + text[1:].rstrip(".") + "."
