"""Collect what plots and lists of an evaluation are drawn from: the content of details.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from grain.evaluate.comparison import ClassDelta, class_deltas, confusion, examples, reliability
from grain.evaluate.model_results import ModelResult
from grain.evaluate.region_results import Grounding
from grain.evaluate.region_summary import RIGHT, plain
from grain.evaluate.scoring import AlphaSweep, Ints, Outcomes
from grain.evaluate.summary import DataSetResult, ResultRow, compared, rows_of

EXAMPLES, CONFUSED, CONFUSED_PICTURES = 6, 20, 3  # shown of each kind
APART = 6  # classes of each kind with a picture, of those that two rows differ on most
MAX_EFFECTS = 40  # descriptions that help, and as many that hurt
CURVE_POINTS = 101


def details_of(result: DataSetResult) -> dict[str, Any]:
    """Return what details.json holds of a data set."""
    first, rows = result.model_results[0], rows_of(result)
    names = result.data.class_names
    return {
        "name": result.data.name,
        "classes": list(names),
        "descriptions": {name: list(rows) for name, rows in result.descriptions.classes.items() if rows},
        "rows": {row.name: _row_details(row, first, names) for row in rows},
        "sweeps": {each.model: _sweep(each.sweep) for each in result.model_results if each.sweep},
        "grounding": {each.model: grounding_curve(each.grounding) for each in result.model_results if each.grounding},
        "deltas": [_delta(one, other, first=first, names=names) for one, other in combinations(compared(rows), 2)],
        "effects": {each.model: _effects(each) for each in result.model_results if each.effects},
    }


def _row_details(row: ResultRow, first: ModelResult, names: Sequence[str]) -> dict[str, Any]:
    hits, target = row.outcomes.hits, first.target
    counts = np.bincount(target, minlength=len(names))
    right = np.bincount(target, hits, minlength=len(names))
    confused = confusion(row.outcomes.predicted, target, names, most=CONFUSED)
    return {
        "recall": [None if not n else float(r / n) for r, n in zip(right, counts, strict=True)],
        "pictures": counts.tolist(),
        "calibration": [asdict(each) for each in reliability(row.outcomes.probability, hits > 0).bins],
        "confused": [
            {
                "true": pair.true,
                "said": pair.predicted,
                "count": len(pair.pictures),
                "pictures": [int(first.labelled[at]) for at in pair.pictures[:CONFUSED_PICTURES]],
            }
            for pair in confused
        ],
    }


def _sweep(found: AlphaSweep) -> dict[str, Any]:
    return {
        "curves": [[[point.alpha, *plain(point.top1)] for point in curve] for curve in found.curves],
        "chosen": list(found.chosen),
    }


def _examples(one: Outcomes, other: Outcomes, labelled: Ints) -> dict[str, list[int]]:
    found = examples(one.hits, other.hits, one.true_probability - other.true_probability, most=EXAMPLES)
    return {"wins": labelled[found.wins].tolist(), "losses": labelled[found.losses].tolist()}


def _delta(one: ResultRow, other: ResultRow, *, first: ModelResult, names: Sequence[str]) -> dict[str, Any]:
    """Compare two rows class by class, with pictures to look at."""
    a, b = one.outcomes, other.outcomes
    deltas = class_deltas(a.hits, b.hits, target=first.target, names=names)
    return {
        "one": one.name,
        "other": other.name,
        "classes": [{**asdict(each), "lead": plain(each.lead)} for each in deltas],
        "apart": _apart(a, b, first=first, names=names, deltas=deltas),
        **_examples(a, b, first.labelled),
    }


def _apart(
    one: Outcomes, other: Outcomes, *, first: ModelResult, names: Sequence[str], deltas: Sequence[ClassDelta]
) -> list[dict[str, Any]]:
    """List the classes that two rows differ on most, each with the picture on which they differ most."""
    margin = one.true_probability - other.true_probability
    found = []
    for each in (*deltas[:APART], *deltas[APART:][-APART:]):
        if sign := np.sign(each.lead.value):
            mine = np.flatnonzero((first.target == names.index(each.name)) & (sign * (one.hits - other.hits) > 0))
            row = mine[np.argmax(sign * margin[mine])]
            found.append({"name": each.name, "picture": int(first.labelled[row])})
    return found


def _effects(model_result: ModelResult) -> dict[str, Any]:
    help_most, hurt_most = model_result.effects[:MAX_EFFECTS], model_result.effects[::-1][:MAX_EFFECTS]
    shown = [
        {
            "class": each.class_name,
            "text": each.text,
            "helped": each.helped,
            "hurt": each.hurt,
            "p": each.p_value,
            "picture": int(model_result.labelled[each.picture]),
        }
        for each in dict.fromkeys([*help_most, *hurt_most[::-1]])
        if each.helped or each.hurt
    ]
    return {
        "descriptions": len(model_result.effects),
        "helpful": sum(each.net > 0 for each in model_result.effects),
        "harmful": sum(each.net < 0 for each in model_result.effects),
        "shown": shown,
    }


def grounding_curve(found: Grounding) -> dict[str, list[float]]:
    """Return precision and recall of boxes as the least cosine falls.

    Asked are every picture's own descriptions and those of another picture: a box of the latter is always wrong, one of
    the former right from an IoU of RIGHT on.
    """
    cosines = np.concatenate([found.cosines, found.absent])
    right = np.concatenate([found.ious >= RIGHT, np.zeros(len(found.absent), bool)])
    order = np.argsort(-cosines, kind="stable")
    true = np.cumsum(right[order])
    at = np.unique(np.linspace(0, len(order) - 1, min(CURVE_POINTS, len(order))).astype(int))
    return {
        "cosine": cosines[order][at].tolist(),
        "precision": (true[at] / (at + 1)).tolist(),
        "recall": (true[at] / len(found.ious)).tolist(),
    }
