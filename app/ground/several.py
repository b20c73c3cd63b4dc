"""Ground the same descriptions in several pictures, and hand the result out as CSV, COCO JSON or crops."""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.core.data_uri import picture_uri
from app.core.ground_links import GroundQuestion, QuestionError, open_picture
from app.core.settings import Settings
from app.ground.actions import read_texts
from app.services import Services
from curation.files.distinct_names import distinct_names
from curation.ingest.uploads import numbered
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
    """One picture of several.

    name: of the file, with a number where several have one. problem: why it has no result. uri: as the grid shows it.
    checkpoint: what looked.
    """

    path: Path
    name: str
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
    files = [Path(path) for path in paths]
    for name, path in numbered(files, [file.name for file in files]).items():
        yield _answer(services, PictureAnswer(path, name), question, descriptions=descriptions)


def _answer(
    services: Services, picture: PictureAnswer, question: GroundQuestion, *, descriptions: list[str]
) -> PictureAnswer:
    try:
        image = open_picture(services.settings, str(picture.path))
    except QuestionError as error:
        return replace(picture, problem=error.sentence)
    try:
        with services.model_turn:
            model = services.registry.load(question.checkpoint)
            prediction = model.predict(image, descriptions, {}, threshold=question.threshold, instances="all")
    except UserError as error:
        raise QuestionError("checkpoint", error.sentence) from error
    return replace(
        picture,
        found=PicturePrediction(picture.name, prediction),
        uri=picture_uri(image, SHOWN_SIDE),
        checkpoint=question.checkpoint,
    )


def found_of(answers: Sequence[PictureAnswer]) -> list[PicturePrediction]:
    """Return the results of the pictures that have one."""
    return [each.found for each in answers if each.found is not None]


def unread_of(answers: Sequence[PictureAnswer]) -> dict[str, str]:
    """Return the names of the pictures that have no result, each with the reason."""
    return {each.name: each.problem for each in answers if each.found is None}


def crops_zip(settings: Settings, answers: Sequence[PictureAnswer]) -> bytes:
    """Cut every region out into an archive that is an ImageFolder: a folder a description, a JPEG a region.

    Raises: QuestionError: a picture is no longer there.
    """
    folders = _distinct_names({each.text: each.text for one in found_of(answers) for each in one.prediction.regions})
    stems = _distinct_names({each.name: Path(each.name).stem for each in answers})
    buffer, taken = io.BytesIO(), Counter[str]()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for each in answers:
            if each.found is None or not each.found.prediction.regions:
                continue
            image = open_picture(settings, str(each.path))
            for region in each.found.prediction.regions:
                crop = io.BytesIO()
                cut_out(image, region.xyxy).save(crop, "JPEG", quality=CROP_QUALITY)
                stem = f"{folders[region.text]}/{stems[each.name]}"
                taken[stem] += 1
                archive.writestr(f"{stem}-{taken[stem]}.jpg", crop.getvalue())
    return buffer.getvalue()


def _distinct_names(texts: Mapping[str, str]) -> dict[str, str]:
    """Map each key to a name in an archive made of its text; a name that is taken, case aside, gets a number."""
    plain = (UNSAFE.sub("_", text).strip(" .")[:FOLDER_CHARACTERS].strip(" .") or "_" for text in texts.values())
    return dict(zip(texts, distinct_names((name, "") for name in plain), strict=True))
