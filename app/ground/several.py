"""Ground the same descriptions in several pictures, and hand the result out as CSV, COCO JSON or crops."""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.data_uri import picture_uri
from app.core.ground_links import GroundQuestion, QuestionError, open_picture
from app.core.settings import Settings
from app.ground.actions import read_texts
from app.services import Services
from grain.detections import PicturePrediction
from grain.preprocess import cut_out
from user_errors import UserError

MOST_PICTURES = 100  # of one run; a data set goes through Annotate, as a job
SHOWN_SIDE = 400  # pixels of a picture in the grid
CROP_QUALITY = 92  # JPEG
FOLDER_CHARACTERS = 60
UNSAFE = re.compile(r"[^\w .()-]+")  # in names of files and folders of an archive


@dataclass(frozen=True)
class PictureAnswer:
    """One picture of several. problem: why it has no result. uri: as the grid shows it. checkpoint: what looked."""

    path: Path
    problem: str = ""
    found: PicturePrediction | None = None
    uri: str = ""
    checkpoint: str = ""


def ground_files(services: Services, paths: Sequence[str], question: GroundQuestion) -> Iterator[PictureAnswer]:
    """Find the descriptions of a question in each picture, one after the other; other visitors get their turn between.

    Args:   paths: uploaded files. question: its picture is not used.
    Raises: QuestionError: no pictures or too many, no descriptions, or the checkpoint cannot be used.
    """
    if not paths:
        raise QuestionError("picture", "There are no pictures yet: choose some, or a folder.")
    if len(paths) > MOST_PICTURES:
        raise QuestionError(
            "picture",
            f"{len(paths):,} pictures are more than the {MOST_PICTURES} of one run: import them on Annotate.",
        )
    descriptions, _ = read_texts(question)
    if not descriptions:
        raise QuestionError("descriptions", "There is nothing to look for: write a description.")
    for path in map(Path, paths):
        yield _answer(services, path, question, descriptions=descriptions)


def _answer(services: Services, path: Path, question: GroundQuestion, *, descriptions: list[str]) -> PictureAnswer:
    try:
        image = open_picture(services.settings, str(path))
    except QuestionError as error:
        return PictureAnswer(path, problem=error.sentence)
    try:
        with services.model_turn:
            model = services.registry.load(question.checkpoint)
            prediction = model.predict(image, descriptions, {}, threshold=question.threshold, instances="all")
    except UserError as error:
        raise QuestionError("checkpoint", error.sentence) from error
    return PictureAnswer(
        path, "", PicturePrediction(path.name, prediction), picture_uri(image, SHOWN_SIDE), question.checkpoint
    )


def found_of(answers: Sequence[PictureAnswer]) -> list[PicturePrediction]:
    """Return the results of the pictures that have one."""
    return [each.found for each in answers if each.found is not None]


def crops_zip(settings: Settings, answers: Sequence[PictureAnswer]) -> bytes:
    """Cut every region out into an archive that is an ImageFolder: a folder a description, a JPEG a region.

    Raises: QuestionError: a picture is no longer there.
    """
    buffer, taken = io.BytesIO(), Counter[str]()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for each in answers:
            if each.found is None or not each.found.prediction.regions:
                continue
            image = open_picture(settings, str(each.path))
            for region in each.found.prediction.regions:
                crop = io.BytesIO()
                cut_out(image, region.xyxy).save(crop, "JPEG", quality=CROP_QUALITY)
                stem = f"{_file_name(region.text)}/{_file_name(each.path.stem)}"
                taken[stem] += 1
                archive.writestr(f"{stem}-{taken[stem]}.jpg", crop.getvalue())
    return buffer.getvalue()


def _file_name(text: str) -> str:
    return UNSAFE.sub("_", text).strip(" .")[:FOLDER_CHARACTERS].strip(" .") or "_"
