"""Suggest boxes while a person draws: of words that they wrote, of what looks like their last box, of any thing.

Nothing that the page's script sends is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from app.core.checkpoints import Model
from app.core.page_values import whole_number
from app.curate.editor import box_of
from app.services import Services
from app.ui.frames import Box
from curation.files.decode import RefusedError
from db.engine import reading
from db.queries.data_set_queries import get_dataset, get_image
from db.queries.review_queries import texts_to_offer
from grain.box_overlap import distinct_rows, iou
from grain.texts import MOST_TEXT_CHARACTERS
from user_errors import UserError

MOST_SUGGESTED, MOST_OWN, MOST_TEXTS = 40, 8, 40  # boxes of an answer, a person's words, words in all
SAME_BOX = 0.7  # IoU of two suggestions of which one is enough
SAME_REGION = 0.5  # IoU of a region that the model finds with the box that a person drew around it
LEAST_LIKENESS = 0.7  # cosine; see docs/decisions.md for what it was measured on


@dataclass(frozen=True)
class LastBox:
    """The box that a person drew or accepted last, normalized, its picture and its words."""

    image: int
    box: Box
    text: str

    @classmethod
    def of(cls, found: Any) -> LastBox | None:
        """Read what the script sends; None where there is none.

        Raises: UserError: a field has another form.
        """
        if not isinstance(found, Mapping):
            return None
        words = _words(found.get("text"))
        return cls(whole_number("picture", found.get("image")), box_of(found.get("box")), words) if words else None


@dataclass(frozen=True)
class SuggestedBox:
    """A box that the model would draw. text: "" where it has no words for it. alike: it looks like the last box."""

    box: Box
    text: str = ""
    alike: bool = False


def suggest_boxes(services: Services, ask: Mapping[str, Any], *, dataset: str, checkpoint: str) -> list[SuggestedBox]:
    """Suggest boxes of a picture, the likeliest first.

    Args:   ask: `image`, `texts` that the person wrote lately, `last`: see LastBox. dataset: its words count too.
    Raises: UserError: no checkpoint is chosen or it cannot be used, or the picture cannot be shown.
    """
    if not checkpoint:
        raise UserError("Suggestions need a model: choose a checkpoint at “scores with”.")
    image, last = whole_number("picture", ask.get("image")), LastBox.of(ask.get("last"))
    written = ask.get("texts")
    texts = [words for each in (written if isinstance(written, list) else [])[-MOST_OWN:] if (words := _words(each))]
    with reading(services.engine) as session:
        found = get_dataset(session, name=dataset) if dataset else None
        texts += texts_to_offer(session, dataset_id=found.id) if found else []
    picture = _picture(services, image)
    before = _picture_or_none(services, last.image) if last and last.image != image else None
    with services.model_turn:
        model = services.registry.load(checkpoint)
        alike = _alike(model, picture, before, last=last) if before and last else []
        return _distinct([*alike, *_found(model, picture, list(dict.fromkeys(texts))[:MOST_TEXTS])])


def _found(model: Model, picture: Image.Image, texts: list[str]) -> list[SuggestedBox]:
    """Return what a model finds: boxes with words, the surest first, then those that it has no words for."""
    prediction = model.predict(picture, texts, {}, instances="all")
    surest = sorted(prediction.regions, key=lambda region: region.confidence or region.score, reverse=True)
    named = [SuggestedBox(region.xyxy, region.text) for region in surest]
    return [*named, *(SuggestedBox(tuple(box)) for box in prediction.boxes_xyxy.tolist())]


def _alike(model: Model, picture: Image.Image, before: Image.Image, *, last: LastBox) -> list[SuggestedBox]:
    """Return the region that looks most like the last box, if of all regions there that box looks most like it too."""
    here, there = model.batch_features([picture, before])
    if not len(here.boxes_xyxy) or not len(there.boxes_xyxy):
        return []
    near = iou(np.array([last.box], np.float32), there.boxes_xyxy)[0]
    if near.max() < SAME_REGION:
        return []
    likeness = here.region_embeds @ there.region_embeds[near.argmax()]
    best = int(likeness.argmax())
    back = int((there.region_embeds @ here.region_embeds[best]).argmax())
    if likeness[best] < LEAST_LIKENESS or near[back] < SAME_REGION:
        return []
    return [SuggestedBox(tuple(here.boxes_xyxy[best].tolist()), last.text, alike=True)]


def _distinct(found: list[SuggestedBox]) -> list[SuggestedBox]:
    if not found:
        return []
    boxes = np.array([each.box for each in found], np.float32)
    rows = distinct_rows(boxes, range(len(found)), most_overlap=SAME_BOX)
    return [found[row] for row in rows[:MOST_SUGGESTED]]


def _picture(services: Services, image: int) -> Image.Image:
    with reading(services.engine) as session:
        row = get_image(session, image_id=image)
    if row is None:
        raise UserError(f"There is no picture {image}: it was removed meanwhile.")
    try:
        return services.pictures.get(row)[0]
    except RefusedError as error:
        raise UserError(str(error)) from error


def _picture_or_none(services: Services, image: int) -> Image.Image | None:
    """Return a picture; None where it is gone, which is no reason to suggest nothing."""
    try:
        return _picture(services, image)
    except UserError:
        return None


def _words(text: Any) -> str:
    return " ".join(text.split())[:MOST_TEXT_CHARACTERS] if isinstance(text, str) else ""
