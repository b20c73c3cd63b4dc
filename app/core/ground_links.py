"""Keep what a person asked on the Ground page behind a link, and find it again; other pages lead there by links."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from app.core.settings import Settings
from app.core.typed_descriptions import typed_descriptions
from app.core.uploads import RefusedError, browsers_show, picture_path, read_picture, save_picture
from atomic_files import write_atomically
from user_errors import UserError, WriteError, sentence

if TYPE_CHECKING:
    from curation.files.images import PictureReader
    from db.engine import Engine
    from db.models import Image as Picture

MOST_TEXTS = 6  # descriptions of a data set's picture that are asked for at once
Field = Literal["picture", "descriptions", "classes", "checkpoint"]


class QuestionError(UserError):
    """One field of a question cannot be used; the message is one sentence for the person."""

    def __init__(self, field: Field, sentence: str) -> None:
        """field: where the page shows the sentence."""
        super().__init__(sentence)
        self.field: Field = field


@dataclass(frozen=True)
class GroundQuestion:
    """A person's question, as typed.

    picture: path of an uploaded file. versus: the checkpoint beside the first, "" for none. threshold: cosine.
    alpha: share of the whole picture in a class score, the rest is the regions'. one_a_line: a line is one description
    even where it is alone and has commas.
    """

    picture: str
    descriptions: str
    classes: str
    checkpoint: str
    versus: str = ""
    threshold: float = 0.0
    alpha: float = 1.0
    one_a_line: bool = False

    @property
    def picture_name(self) -> str:
        """Return what the person called the file; for display only."""
        return Path(self.picture).name


def open_picture(settings: Settings, path: str) -> Image.Image:
    """Read the uploaded file as an upright RGB picture.

    Raises: QuestionError: there is none, or it cannot be read.
    """
    if not path:
        raise QuestionError("picture", "There is no picture yet: drop, paste or choose one.")
    try:
        return read_picture(path, settings.limits)
    except RefusedError as error:
        raise QuestionError("picture", str(error)) from error


def save_question(settings: Settings, engine: Engine, question: GroundQuestion) -> str:
    """Save a question and its picture so that its link restores both; return the id of the link.

    Raises: QuestionError: the picture is no longer there, the disk is full, or the database cannot be used.
    """
    from db.engine import DatabaseError, transaction
    from db.queries.ground_queries import save_ground_query

    image = open_picture(settings, question.picture)
    try:
        digest = save_picture(image, settings.pictures)
        with transaction(engine) as session:
            return save_ground_query(
                session,
                picture_sha256=digest,
                picture_name=question.picture_name,
                descriptions=question.descriptions,
                classes=question.classes,
                checkpoint=question.checkpoint,
                versus=question.versus,
                threshold=question.threshold,
                alpha=question.alpha,
            ).id
    except (WriteError, DatabaseError) as error:
        raise QuestionError("picture", sentence(error)) from error


def image_question(settings: Settings, engine: Engine, image_id: int, *, checkpoint: str) -> GroundQuestion:
    """Return a question of a data set's picture: where is what is described on it.

    Raises: QuestionError: there is none, or it cannot be read.
    """
    from curation.files.images import PictureReader
    from db.engine import reading
    from db.queries.data_set_queries import get_image
    from db.queries.region_queries import regions_of

    with reading(engine) as session:
        image = get_image(session, image_id=image_id)
        regions = regions_of(session, image_ids=[image_id])[image_id]
    if image is None:
        raise QuestionError("picture", f"There is no picture {image_id}: choose another on Curate.")
    texts = list(dict.fromkeys(region.text for region in regions if region.text and region.status != "rejected"))
    try:
        with PictureReader(processes=1) as reader:
            file = _shown_file(settings, reader, image)
    except (UserError, OSError) as error:
        raise QuestionError("picture", sentence(error)) from error
    descriptions = typed_descriptions(texts[:MOST_TEXTS] or [image.caption])
    return GroundQuestion(str(file), descriptions, "", checkpoint)


def _shown_file(settings: Settings, reader: PictureReader, image: Picture) -> Path:
    """Keep a data set's picture where browsers read it, by its own bytes: so it is known when it is sent back.

    One that no browser shows, or that is larger than an upload may be, is kept reduced.
    """
    folder, limits = settings.pictures, settings.limits
    content, suffix = reader.original(image), Path(image.member or image.location).suffix.lower()
    fits = image.width * image.height <= limits.pixels and max(image.width, image.height) <= limits.side
    fits = fits and len(content) <= limits.file_bytes
    if not fits or not browsers_show(content) or not suffix[1:].isalnum():
        return picture_path(folder, save_picture(reader.open_image(image), folder))
    file = folder / f"{image.sha256}{suffix}"
    if not file.exists():
        write_atomically(file, content)
    return file


def find_question(settings: Settings, engine: Engine, query_id: str) -> GroundQuestion:
    """Return the question behind a link; its picture is "" if that is gone.

    Raises: QuestionError: there is none, or the database cannot be used.
    """
    from db.engine import DatabaseError, transaction
    from db.queries.ground_queries import get_ground_query

    try:
        with transaction(engine) as session:
            saved = get_ground_query(session, query_id=query_id)
    except DatabaseError as error:
        raise QuestionError("picture", sentence(error)) from error
    if saved is None:
        raise QuestionError("picture", "This link leads nowhere: nothing was saved under it, or it was removed.")
    path = picture_path(settings.pictures, saved.picture_sha256)
    return GroundQuestion(
        picture=str(path) if path.is_file() else "",
        descriptions=saved.descriptions,
        classes=saved.classes,
        checkpoint=saved.checkpoint,
        versus=saved.versus,
        threshold=saved.threshold,
        alpha=saved.alpha,
    )
