"""The templates of the Annotate page, with hostile text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from app.annotate import compare_panels, panels
from app.annotate.actions import ResultView
from app.annotate.compare_actions import ClaimToJudge
from curation.annotate.describe import DescriberResult
from curation.annotate.filters import DroppedItem, FilterResult
from curation.annotate.messages import PreviewedRequest
from curation.annotate.plan import AnnotationPlan, StagePlan
from curation.annotate.registry import StageWork
from curation.annotate.trial import PictureTrial
from curation.audit.measure import Rate
from curation.audit.prompt_comparison import PromptComparison, PromptResult, Share, TwiceDescribed
from db.models import AuditedClaim, RegionRow
from db.models import Image as Picture
from db.queries.audit_queries import ClaimRow
from db.queries.data_set_queries import RefusalCount
from db.queries.run_queries import StageCounts
from grain.structures import Region
from tests.support.hostile import HOSTILE

REASON = "duplicate"
REGION = Region((0.1, 0.1, 0.5, 0.5), HOSTILE, 0.5, 0)
WORK = StageWork("describe", HOSTILE, "recipe")
PLAN = AnnotationPlan(4, (StagePlan(WORK, StageCounts(1, 1, 1), 2, 100.0),))


def trial() -> str:
    tried = PictureTrial(
        DescriberResult((HOSTILE,), HOSTILE, (HOSTILE,), caption=HOSTILE, problem=HOSTILE),
        FilterResult((HOSTILE,), (DroppedItem(HOSTILE, HOSTILE),)),  # type: ignore[arg-type]
        FilterResult((REGION,), (DroppedItem(REGION, HOSTILE),)),  # type: ignore[arg-type]
        {"describe": 1.0, HOSTILE: 2.0},
    )
    return panels.trial_panel(Image.new("RGB", (4, 3)), tried, PLAN)


def plan() -> str:
    """A plan shows no text of people; its stage stands for one."""
    stages = {"describe": HOSTILE}
    kept, panels.STAGES = panels.STAGES, stages
    try:
        return panels.plan_panel(PLAN)
    finally:
        panels.STAGES = kept


def results() -> str:
    rows = [
        RegionRow(
            dataset_id=1,
            image_id=1,
            source=HOSTILE,
            content_key=0,
            text=HOSTILE,
            x1=0.1,
            y1=0.1,
            x2=0.5,
            y2=0.5,
            score=0.5,
        )
        for _ in range(8)
    ]
    return panels.results_panel(
        [ResultView(Picture(id=1, dataset_id=1, location=HOSTILE, sha256="ab", width=4, height=3), rows)],
        Path("nowhere"),
    )


def left_out() -> str:
    return panels.left_out_panel([RefusalCount(HOSTILE, 70, ((HOSTILE, ""), (f"/data/{HOSTILE}", HOSTILE)))], 90)


def claim_row() -> ClaimRow:
    image = Picture(id=1, dataset_id=1, location=HOSTILE, sha256="ab", width=4, height=3)
    claim = AuditedClaim(
        id=1, stage_result_id=1, image_id=1, description_id=1, position=0, owner=0, kind="object", span_start=0,
        span_end=4, words=HOSTILE, verdict="unsupported", evidence=[], describer=HOSTILE, prompts="", stages=0,
        subject="", recipe="r", dataset_id=1,
    )  # fmt: skip
    return ClaimRow(claim, HOSTILE, image)


def comparison() -> str:
    share = Share(0.5, 0.4, 0.6)
    one = PromptResult(HOSTILE, 2, 3, 1, 4, 0.5, 10.0, {"object": 4}, share, Rate(0.5, 0.4, 0.6, 4), 6, 4)
    row = claim_row()
    example = TwiceDescribed(row.image, (((HOSTILE, (row,)),), ((HOSTILE, ()),)))
    found = PromptComparison(HOSTILE, 4, (one, one), share, False, True, (HOSTILE,), (example,))
    return compare_panels.comparison_panel(found, Path("nowhere"))


def claim() -> str:
    return compare_panels.claim_panel(ClaimToJudge(claim_row(), "", HOSTILE))


def messages() -> str:
    said = ({"role": HOSTILE, "content": [{"picture": HOSTILE}, {"text": HOSTILE}]}, {"role": "a", "content": HOSTILE})
    return panels.messages_panel([PreviewedRequest(HOSTILE, 64, said, HOSTILE)])


CASES: Mapping[str, Sequence[Callable[[], str]]] = {
    "annotate/templates/plan.html": (plan,),
    "annotate/templates/left_out.html": (left_out,),
    "annotate/templates/trial.html": (trial,),
    "annotate/templates/results.html": (results,),
    "annotate/templates/messages.html": (messages,),
    "annotate/templates/comparison.html": (comparison,),
    "annotate/templates/claim_to_judge.html": (claim,),
}
