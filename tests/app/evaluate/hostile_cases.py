"""The templates of the Evaluate page, with hostile text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any

from app.evaluate import panels, picture_panels
from app.evaluate.experiments import ArmView, ExperimentView
from app.evaluate.results import RETRIEVAL, EvaluationResult
from app.ui.html import render
from curation.annotate.describe_classes import DraftDescription
from grain.evaluate.experiments import EXPERIMENTS, Arm, Experiment
from tests.support.hostile import HOSTILE

SHARE = [0.5, 0.4, 0.6]
ONE, OTHER = f"{HOSTILE} · names", f"{HOSTILE} · regions"
PICTURE = {
    "file": HOSTILE,
    "true": HOSTILE,
    "width": 2,
    "height": 1,
    "rows": {row: {"said": HOSTILE + row, "probability": 0.5} for row in (ONE, OTHER)},
    "regions": {HOSTILE: [{"box": [0, 0, 1, 1], "text": HOSTILE, "cosine": 0.5}]},
}
MODEL = {
    "model": HOSTILE,
    "parameters": 1,
    "ms_a_picture": 1.0,
    "texts_encoded": 1,
    "alpha": [0.5],
    "trained_on": HOSTILE,
}
ROW = {"model": HOSTILE, "top1": SHARE, "top5": SHARE, "mean_class_recall": 0.5, "calibration_error": 0.5}
DATA: dict[str, Any] = {
    "name": HOSTILE,
    "split": HOSTILE,
    "source": HOSTILE,
    "note": HOSTILE,
    "notes": [HOSTILE],
    "classes": 1,
    "captions": 1,
    "pictures": 1,
    "pictures_in_all": 2,
    "models": [MODEL],
    "descriptions": {"source": HOSTILE, "texts": 1, "report": [HOSTILE]},
    "rows": [ROW | {"row": row, "way": HOSTILE} for row in (ONE, OTHER)],
    "retrieval": [{"model": HOSTILE} | dict.fromkeys(RETRIEVAL, SHARE)],
    "grounding": [{"model": HOSTILE, "acc50": SHARE, "miou": SHARE, "descriptions": 1}],
    "detection": [{"model": HOSTILE, "ap": SHARE, "ap50": SHARE, "categories": 1}],
    "contrasts": [{"model": HOSTILE, "text": SHARE, "examples": 1}],
    "leads": [{"model": HOSTILE, "way": "names", "lead": SHARE, "other": ONE}],
    "pairs": [{"one": ONE, "other": OTHER, "lead": SHARE, "only_one": 1, "only_other": 1, "p_value": 0.5, "groups": 0}],
}
CLASS = {"name": HOSTILE, "lead": SHARE, "one": 0.5, "other": 0.5, "pictures": 1}
DELTAS = {"one": ONE, "other": OTHER, "wins": [0], "losses": [0], "classes": [CLASS]}
EFFECT = {"text": HOSTILE, "class": HOSTILE, "p": 0.5, "picture": 0}
DETAILS: dict[str, Any] = {
    "deltas": [DELTAS | {"apart": [{"name": HOSTILE, "picture": 0}]}],
    "pictures": {"0": PICTURE},
    "rows": {ONE: {"confused": [{"count": 1, "true": HOSTILE, "said": HOSTILE, "pictures": [0]}]}},
    "effects": {
        HOSTILE: {
            "descriptions": 2,
            "helpful": 1,
            "harmful": 1,
            "shown": [EFFECT | {"helped": 2, "hurt": 1}, EFFECT | {"helped": 1, "hurt": 2}],
        }
    },
}
RESULT = EvaluationResult(HOSTILE, Path("gone"), {"data_sets": [DATA]}, {"data_sets": [DETAILS]})
ARM = Arm(HOSTILE, HOSTILE, (HOSTILE,))
ARMS = (ArmView(ARM, "", HOSTILE), ArmView(ARM, HOSTILE, ""))
EXPERIMENT = ExperimentView(HOSTILE, Experiment(HOSTILE, (HOSTILE,), (ARM,), HOSTILE), ARMS, (HOSTILE,))
DRAFTS = {HOSTILE: [DraftDescription(HOSTILE, 2, HOSTILE), DraftDescription(HOSTILE, 0, HOSTILE, "accepted")]}


def experiment_head() -> str:
    """The head of a ready experiment, and the template as it would be with another's words."""
    name, experiment = next(iter(EXPERIMENTS.items()))
    metrics = {"asked": {"experiment": name}, "data_sets": [{"models": [{"model": experiment.arms[0].name}]}]}
    assert experiment.question in unescape(panels.experiment_head(metrics))
    words = {"question": HOSTILE, "arms": [(HOSTILE, HOSTILE)], "rows": [HOSTILE]}
    return render("evaluate/templates/experiment_head.html", **words)


CASES: Mapping[str, Sequence[Callable[[], str]]] = {
    "evaluate/templates/head.html": (lambda: panels.head_panel(DATA),),
    "evaluate/templates/table.html": (lambda: panels.table_panel(DATA),),
    "evaluate/templates/costs.html": (lambda: panels.costs_panel(DATA),),
    "evaluate/templates/parts.html": (lambda: panels.measures_panel(DATA),),
    "evaluate/templates/estimates.html": (
        lambda: panels.measures_panel(DATA),
        lambda: panels.leads_panel(DATA),
        lambda: panels.across_panel({"data_sets": [DATA, DATA]}),
    ),
    "evaluate/templates/failures.html": (
        lambda: panels.failures_panel([{"model": HOSTILE, "data_set": HOSTILE, "reason": HOSTILE}]),
    ),
    "evaluate/templates/pair.html": (lambda: panels.pair_panel(DATA, ONE, OTHER),),
    "evaluate/templates/experiment.html": (lambda: panels.experiment_panel(EXPERIMENT),),
    "evaluate/templates/measured.html": (lambda: panels.experiment_panel(EXPERIMENT),),
    "evaluate/templates/experiment_head.html": (experiment_head,),
    "evaluate/templates/missing.html": (lambda: panels.missing_panel([(HOSTILE, HOSTILE)]),),
    "evaluate/templates/no_review.html": (lambda: render("evaluate/templates/no_review.html", command=HOSTILE),),
    "evaluate/templates/review.html": (lambda: panels.review_panel(DRAFTS, Path(HOSTILE)),),
    "evaluate/templates/examples.html": (lambda: picture_panels.examples_panel(RESULT, 0, one=ONE, other=OTHER),),
    "evaluate/templates/apart.html": (lambda: picture_panels.apart_panel(RESULT, 0, one=ONE, other=OTHER),),
    "evaluate/templates/confusion.html": (lambda: picture_panels.confusion_panel(RESULT, 0, ONE),),
    "evaluate/templates/effects.html": (lambda: picture_panels.effects_panel(RESULT, 0, HOSTILE),),
}
