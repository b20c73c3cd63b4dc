"""The templates of the Ground page, with hostile text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from app.core.checkpoints import Checkpoint
from app.core.ground_links import GroundQuestion
from app.ground import panels
from app.ground.actions import CheckpointResult
from app.ground.examples import load_examples
from app.ground.model_comparison import BoxComparison
from app.ground.more_models import ModelRow, models_panel
from app.ground.overlay import DrawnResult, drawn_regions, stage
from app.ground.several import PictureAnswer
from app.ui.html import render
from curation.annotate.describe import DescriberResult
from curation.audit.claim_judge import JudgedClaim
from curation.audit.claims import Claim
from curation.audit.evidence import Evidence
from grain.checkpoint import CheckpointInfo
from grain.detections import PicturePrediction
from grain.hub.published_models import PublishedModel
from grain.structures import ClassScore, DescriptionScore, Prediction, Region
from tests.support.hostile import HOSTILE

BOX = (0.1, 0.1, 0.5, 0.5)
PREDICTION = Prediction(
    width=20,
    height=10,
    boxes_xyxy=np.array([BOX, [0.7, 0.0, 1.0, 1.0]], np.float32),
    descriptions=(HOSTILE, f"another {HOSTILE}"),
    matches=np.array([[0.5, 0.1], [0.1, 0.4]], np.float32),
    best=(0, 1),
    presence=None,
    regions=(Region(BOX, HOSTILE, 0.5, 0),),
    classes=tuple(
        ClassScore(
            f"{number} {HOSTILE}",
            0.5,
            0.5,
            0.5,
            0.001,
            (DescriptionScore(HOSTILE, 0.5, None if number else 0.4, None),),
        )
        for number in range(12)
    ),
    timing_ms={HOSTILE: 1.0},
)
INFO = CheckpointInfo(HOSTILE, HOSTILE, HOSTILE, None, can_ground=True, grounding_note=HOSTILE, parameters=1)
GOOD, BROKEN = Checkpoint(HOSTILE, Path(HOSTILE), INFO), Checkpoint(f"bad {HOSTILE}", Path("bad"), None, HOSTILE)
RESULT = CheckpointResult(GOOD, INFO, PREDICTION)
QUESTION = GroundQuestion("x.png", HOSTILE, f"{HOSTILE.replace(':', '')}: {HOSTILE}", HOSTILE)

MODEL = PublishedModel(*[HOSTILE] * 5)
SEVERAL = (
    PictureAnswer(Path("a.jpg"), HOSTILE, "", PicturePrediction(HOSTILE, PREDICTION), "data:,"),
    PictureAnswer(Path("broken.png"), HOSTILE, problem=HOSTILE),
)


def picture() -> str:
    regions = drawn_regions(PREDICTION, threshold=0.0, which="best")
    return stage(PREDICTION, regions, "data:,", threshold=0.45, note=HOSTILE)


def both_drawn() -> str:
    regions = drawn_regions(PREDICTION, threshold=0.0, which="both")
    both = [DrawnResult(HOSTILE, PREDICTION, regions)] * 2
    return stage(PREDICTION, regions, "data:,", threshold=0.45, compared=both)


def compared() -> str:
    rows = [
        BoxComparison(HOSTILE, BOX, 0.5, BOX, 0.5, 1.0, ""),
        BoxComparison(HOSTILE, None, None, None, None, None, HOSTILE),
    ]
    return panels.comparison_panel(PREDICTION, "data:,", rows, same_model=True)


def audited() -> str:
    claim = Claim("object", 0, 12, 0)
    judged = JudgedClaim(claim, "unsupported", 0.1, (Evidence("detector", 0.1, HOSTILE, 0.2, 0.2),))
    return panels.audit_panel([(HOSTILE, (judged,)), (HOSTILE, ())])


def gallery() -> str:
    return panels.gallery_panel([replace(load_examples()[0], title=HOSTILE)])


SENT = {"dataset": HOSTILE}
CASES: Mapping[str, Sequence[Callable[[], str]]] = {
    "ground/templates/stage.html": (picture, both_drawn),
    "ground/templates/described.html": (
        partial(panels.described_panel, DescriberResult((HOSTILE,), HOSTILE, (HOSTILE,), problem=HOSTILE)),
    ),
    "ground/templates/comparison.html": (compared,),
    "ground/templates/audit.html": (audited,),
    "ground/templates/about.html": (
        partial(panels.about_panel, [GOOD, BROKEN], HOSTILE, BROKEN.name),
        partial(panels.about_panel, [BROKEN], "", ""),
    ),
    "ground/templates/gallery.html": (gallery,),
    "ground/templates/classes.html": (partial(panels.classes_panel, RESULT, RESULT, alpha=0.5),),
    "ground/templates/timing.html": (partial(panels.timing_panel, [RESULT, RESULT]),),
    "ground/templates/code.html": (partial(panels.code_panel, QUESTION, GOOD),),
    "ground/templates/kept.html": (partial(panels.kept_mark, HOSTILE, HOSTILE),),
    "ground/templates/seen.html": (partial(panels.seen_panel, [HOSTILE]),),
    "ground/templates/progress.html": (
        partial(render, "ground/templates/progress.html", done=1, total=2, left=HOSTILE),
    ),
    "ground/templates/several.html": (partial(panels.several_panel, SEVERAL),),
    "ground/templates/several_note.html": (partial(panels.several_note, SEVERAL, total=3, last=True),),
    "ground/templates/more_models.html": (
        partial(models_panel, [ModelRow(MODEL, here=False, coming=False, command=HOSTILE)], ""),
        partial(models_panel, [ModelRow(MODEL, here=True, coming=False, command=HOSTILE)], HOSTILE),
    ),
    "ground/templates/sent.html": (
        partial(
            render,
            "ground/templates/sent.html",
            pictures=2,
            dataset=HOSTILE,
            link="/curate?" + urlencode({"dataset": HOSTILE}),
        ),
    ),
    "ground/templates/link.html": (partial(panels.link_panel, f"?q={HOSTILE}"),),
}
