"""Run other models on the picture of the Ground page: a describer, a detector beside GRAIN, an audit of claims."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.access.accounts import Person
from app.access.permissions import check_server
from app.core.ground_links import QuestionError, open_picture
from app.core.typed_descriptions import typed_descriptions
from app.ground.actions import MOST_DESCRIPTIONS
from app.services import Services
from app.ui.frames import Box
from curation.annotate.describe import DescriberResult
from curation.annotate.localize import LocalizeConfig
from curation.annotate.registry import (
    DESCRIBERS,
    DescriberChoice,
    DescriberKind,
    LocalizerChoice,
    LocalizerKind,
    uses_of,
)
from curation.annotate.servers import add_server
from curation.annotate.settings import AnnotateConfig
from curation.audit.claim_judge import JudgedClaim
from curation.audit.evidence import DetectorWitness, LikenessWitness
from curation.audit.sources import RARE_THINGS, WEAK_BOXES, Auditor, measurer_of, shipped_judge, vocabulary_of
from grain.structures import Prediction
from user_errors import sentence

LEAST_SCORE = 0.1  # of a detector's box; the table shows the score, so that weak boxes are seen as weak


@dataclass(frozen=True)
class BoxComparison:
    """The boxes of GRAIN and of a detector for one description, xyxy normalized; None where there is none.

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


def describe(
    services: Services, picture: str, kind: DescriberKind, *, server: str = "", person: Person
) -> DescriberResult:
    """Describe the uploaded picture by an annotator.

    Args:   server: address, for kind "server". person: who asks.
    Raises: QuestionError: there is no picture, or the describer cannot work; the message says what to do.
    """
    image = open_picture(services.settings, picture)
    try:
        address = server.strip() if "server" in uses_of(DESCRIBERS, kind) else ""  # the field is hidden otherwise
        config = AnnotateConfig("", DescriberChoice(kind, server=address), LocalizerChoice("photo"))
        if address:
            check_server(services.settings.home, person, address)
            add_server(services.settings.home, address)
        with services.model_turn:
            describer = services.annotators(config).describer()
            began = time.perf_counter()
            [described] = describer.describe([image])
            return replace(described, seconds=time.perf_counter() - began)
    except ValueError as error:
        raise QuestionError("descriptions", sentence(error)) from error


def description_lines(described: DescriberResult) -> str:
    """Return its descriptions as the page's field takes them, no more than one run can show."""
    return typed_descriptions(described.descriptions[:MOST_DESCRIPTIONS])


def compare(services: Services, picture: str, prediction: Prediction, *, kind: LocalizerKind) -> list[BoxComparison]:
    """Find the detector's best box of each description, beside GRAIN's.

    Raises: QuestionError: the picture is gone, nothing was asked, or the detector cannot work.
    """
    if not prediction.descriptions:
        raise QuestionError("descriptions", "There is nothing to compare: write a description and press Run.")
    image = open_picture(services.settings, picture)
    try:
        boxes = LocalizeConfig(threshold=LEAST_SCORE, most_of_text=1)
        config = AnnotateConfig("", DescriberChoice("photo"), LocalizerChoice(kind, boxes=boxes))
        with services.model_turn:
            localizer = services.annotators(config).localizer()
            too_long = set(localizer.too_long(prediction.descriptions))
            [regions] = localizer.localize(
                [image], [[text for text in prediction.descriptions if text not in too_long]]
            )
    except ValueError as error:
        raise QuestionError("checkpoint", sentence(error)) from error
    found = {region.text: region for region in regions}
    rows = []
    for column, text in enumerate(prediction.descriptions):
        box, cosine = _own(prediction, column)
        region = found.get(text)
        other, score = (region.xyxy, region.score) if region else (None, None)
        iou = _iou(box, other) if box and other else None
        rows.append(BoxComparison(text, box, cosine, other, score, iou, "too long for it" if text in too_long else ""))
    return rows


def audit(
    services: Services, picture: str, prediction: Prediction, *, checkpoint: str, kind: LocalizerKind
) -> list[tuple[str, tuple[JudgedClaim, ...]]]:
    """Judge the claims of the descriptions by a detector and by the checkpoint, beside counterfactuals.

    Raises: QuestionError: the picture is gone, nothing was asked, or the detector cannot work.
    """
    if not prediction.descriptions:
        raise QuestionError("descriptions", "There is nothing to audit: write a description and press Run.")
    image, texts = open_picture(services.settings, picture), list(prediction.descriptions)
    try:
        config = AnnotateConfig("", DescriberChoice("photo"), LocalizerChoice(kind, boxes=WEAK_BOXES))
        with services.model_turn:
            localizer = services.annotators(config).localizer()
            likeness = LikenessWitness(services.registry.load(checkpoint), checkpoint)
            things = vocabulary_of(texts) if kind == "sample" else RARE_THINGS
            judge = shipped_judge(detector=kind, checkpoint=checkpoint)
            measurer = measurer_of(localizer, kind)
            auditor = Auditor((DetectorWitness(localizer), likeness), None, judge, things, measurer)
            [judged] = auditor.audit([image], [texts])
    except ValueError as error:
        raise QuestionError("checkpoint", sentence(error)) from error
    return list(zip(texts, judged, strict=True))


def _own(prediction: Prediction, column: int) -> tuple[Box | None, float | None]:
    if prediction.matches.size == 0:
        return None, None
    box = next((region.xyxy for region in prediction.regions if region.text == prediction.descriptions[column]), None)
    return box, float(prediction.matches[prediction.best[column], column])


def _iou(one: Sequence[float], other: Sequence[float]) -> float:
    from grain.evaluate.metrics import paired_iou  # here: it brings scipy

    return float(paired_iou(np.array([one], np.float32), np.array([other], np.float32))[0])
