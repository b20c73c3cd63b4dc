"""Summarise what models find in pictures, with intervals, and how far each is ahead of the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from grain.evaluate.average_precision import IOU_THRESHOLDS, average_precision
from grain.evaluate.comparison import paired_lead
from grain.evaluate.metrics import Estimate, Values, mean_interval
from grain.evaluate.model_results import ModelResult
from grain.evaluate.region_results import Contrasts, Detection, Grounding
from grain.evaluate.scoring import Ints, share

RIGHT = 0.5  # IoU
GROUNDING, DETECTION, CONTRAST = "grounding_acc50", "detection_ap", "contrast"  # ways of leads


def plain(found: Estimate) -> list[float]:
    """Return value, low and high."""
    return [found.value, found.low, found.high]


def lead_of(one: Values, other: Values, groups: Ints | None) -> dict[str, Any]:
    """Return a lead with its interval and its test. groups: what is swapped together."""
    found = paired_lead(one, other, groups=groups)
    return {**asdict(found), "lead": plain(found.lead)}


def region_summary(model_results: Sequence[ModelResult], groups: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the tables of a data set, a row a model, and the leads over the first one.

    Args: groups: categories that are told of apart.
    """
    grounded = [(each.model, each.grounding) for each in model_results if each.grounding]
    measured = [(each.model, category_precisions(each.detection)) for each in model_results if each.detection]
    detected = [(model, found) for model, found in measured if len(_shown(found))]  # a drawn few may show nothing
    contrasted = [(each.model, each.contrasts) for each in model_results if each.contrasts]
    leads = [
        *_leads(GROUNDING, [(model, _right(found), found.picture) for model, found in grounded]),
        *_leads(DETECTION, [(model, _shown(found.mean(axis=0)), None) for model, found in detected]),
        *(
            lead
            for kind in (contrasted[0][1].hits() if contrasted else ())
            for lead in _leads(f"{CONTRAST}_{kind}", [(model, found.hits()[kind], None) for model, found in contrasted])
        ),
    ]
    return {
        "grounding": [_grounded(model, found) for model, found in grounded],
        "detection": [_detected(model, found, groups) for model, found in detected],
        "contrasts": [_contrasted(model, found) for model, found in contrasted],
        "region_leads": leads,
    }


def category_precisions(found: Detection) -> Values:
    """Return the average precision of each category at each threshold, [T, C], NaN where it has no box."""
    categories = 1 + max((max(truth.asked, default=-1) for truth in found.truths), default=-1)
    return average_precision(found.found, found.truths, categories)


def _leads(way: str, measured: Sequence[tuple[str, Values, Ints | None]]) -> list[dict[str, Any]]:
    """Compare every other model with the first, on the items that both have."""
    if not measured:
        return []
    (base, first, _), *rest = measured
    return [
        {"model": model, "way": way, "one": f"{model} · {way}", "other": f"{base} · {way}", **lead_of(one, first, rows)}
        for model, one, rows in rest
        if len(one) == len(first)
    ]


def _right(found: Grounding) -> Values:
    right: Values = (found.ious >= RIGHT).astype(np.float64)
    return right


def _shown(precisions: Values) -> Values:
    """Return the precisions of the categories that are anywhere."""
    shown: Values = precisions[~np.isnan(precisions)]
    return shown


def _grounded(model: str, found: Grounding) -> dict[str, Any]:
    return {
        "model": model,
        "descriptions": len(found.ious),
        "acc50": plain(share(_right(found), found.picture)),
        "miou": plain(share(found.ious.astype(np.float64), found.picture)),
    }


def _detected(model: str, found: Values, groups: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    mean = found.mean(axis=0)
    apart = {name: _shown(mean[[row for row in rows if row < len(mean)]]) for name, rows in groups.items()}
    return {
        "model": model,
        "categories": len(_shown(mean)),
        "ap": plain(mean_interval(_shown(mean))),
        "ap50": plain(mean_interval(_shown(found[int(np.flatnonzero(IOU_THRESHOLDS == RIGHT)[0])]))),
        **{f"ap_{name}": plain(mean_interval(values)) for name, values in apart.items() if len(values)},
    }


def _contrasted(model: str, found: Contrasts) -> dict[str, Any]:
    hits = found.hits()
    return {
        "model": model,
        "examples": len(hits["text"]),
        **{kind: plain(mean_interval(values)) for kind, values in hits.items()},
    }
