"""Other models on the picture of the Ground page: a describer's words, a detector's boxes beside GRAIN's, an audit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.draw import Box
from app.looking import MOST_DESCRIPTIONS, AskError, open_picture, sentence
from app.services import Services
from curation.annotate import AnnotateConfig
from curation.annotators import DescriberChoice, DescriberKind, LocalizerChoice, LocalizerKind
from curation.audit import WEAK_BOXES, Auditor, vocabulary_of
from curation.combine import Judge, Judged
from curation.describe import Described, DescriberError
from curation.evidence import DetectorWitness, LikenessWitness
from curation.localize import LocalizeConfig
from grain.structures import Look

LEAST_SCORE = 0.1  # of a detector's box: the table shows the score, so that weak ones can be seen for what they are


EVERYDAY = tuple("car tree chair dog bottle boat horse bicycle clock book".split())
"""Things that one picture is not said to show: what its objects are measured against where no data set names others."""


@dataclass(frozen=True)
class Comparison:
    """One description under both. Boxes xyxy, normalized; None where there is none.

    cosine: GRAIN's, None where it has no regions. score: the detector's. iou: None where either box is missing.
    reason: why the detector was not asked.
    """

    text: str
    grain_xyxy: Box | None
    cosine: float | None
    detector_xyxy: Box | None
    score: float | None
    iou: float | None
    reason: str


def describe(services: Services, picture: str, kind: DescriberKind, server: str = "") -> Described:
    """What an annotator says of the uploaded picture.

    Args:   server: address, for kind "server".
    Raises: AskError: there is no picture, or the describer cannot work; the message says what to do.
    """
    image = open_picture(services, picture)
    try:
        address = server.strip() if kind == "server" else ""  # the field is hidden otherwise
        config = AnnotateConfig("", DescriberChoice(kind, server=address), LocalizerChoice("photo"))
        with services.model_turn:
            describer = services.annotators(config).describer()
            began = time.perf_counter()
            [said] = describer.describe([image])
            return replace(said, seconds=time.perf_counter() - began)
    except (DescriberError, ValueError) as error:
        raise AskError("descriptions", sentence(error)) from error


def lines(said: Described) -> str:
    """Its descriptions as the page's field takes them, no more than a look can show."""
    return "\n".join(said.descriptions[:MOST_DESCRIPTIONS])


def compare(services: Services, picture: str, look: Look, kind: LocalizerKind) -> list[Comparison]:
    """The detector's best box of each description beside GRAIN's.

    Raises: AskError: the picture is gone, nothing was asked, or the detector cannot work.
    """
    if not look.descriptions:
        raise AskError("descriptions", "There is nothing to compare: write a description and press Look.")
    image = open_picture(services, picture)
    try:
        boxes = LocalizeConfig(threshold=LEAST_SCORE, most_of_text=1)
        config = AnnotateConfig("", DescriberChoice("photo"), LocalizerChoice(kind, boxes=boxes))
        with services.model_turn:
            localizer = services.annotators(config).localizer()
            too_long = set(localizer.too_long(look.descriptions))
            [regions] = localizer.localize([image], [[text for text in look.descriptions if text not in too_long]])
    except (DescriberError, ValueError) as error:
        raise AskError("checkpoint", sentence(error)) from error
    found = {region.text: region for region in regions}
    rows = []
    for column, text in enumerate(look.descriptions):
        box, cosine = _own(look, column)
        region = found.get(text)
        other, score = (region.xyxy, region.score) if region else (None, None)
        iou = _iou(box, other) if box and other else None
        rows.append(Comparison(text, box, cosine, other, score, iou, "too long for it" if text in too_long else ""))
    return rows


def audit(
    services: Services, picture: str, look: Look, checkpoint: str, kind: LocalizerKind
) -> list[tuple[str, tuple[Judged, ...]]]:
    """The descriptions' claims, judged by a detector and by the checkpoint, beside counterfactuals.

    Raises: AskError: the picture is gone, nothing was asked, or the detector cannot work.
    """
    if not look.descriptions:
        raise AskError("descriptions", "There is nothing to audit: write a description and press Look.")
    image, texts = open_picture(services, picture), list(look.descriptions)
    try:
        config = AnnotateConfig("", DescriberChoice("photo"), LocalizerChoice(kind, boxes=WEAK_BOXES))
        with services.model_turn:
            detector = DetectorWitness(services.annotators(config).localizer())
            likeness = LikenessWitness(services.registry.load(checkpoint), checkpoint)
            things = tuple(dict.fromkeys((*vocabulary_of(texts), *EVERYDAY)))
            [judged] = Auditor((detector, likeness), None, Judge.load(), things).audit([image], [texts])
    except (DescriberError, ValueError) as error:
        raise AskError("checkpoint", sentence(error)) from error
    return list(zip(texts, judged, strict=True))


def _own(look: Look, column: int) -> tuple[Box | None, float | None]:
    if look.matches.size == 0:
        return None, None
    row = look.best[column]
    x0, y0, x1, y1 = (float(value) for value in look.boxes_xyxy[row])
    missing = look.descriptions[column] in look.not_found
    return None if missing else (x0, y0, x1, y1), float(look.matches[row, column])


def _iou(one: Sequence[float], other: Sequence[float]) -> float:
    from grain.metrics import paired_iou  # here: it brings scipy

    return float(paired_iou(np.array([one], np.float32), np.array([other], np.float32))[0])
