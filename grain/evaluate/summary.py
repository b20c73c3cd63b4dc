"""Summarise what models recognise in a data set: the numbers of metrics.json, with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from grain.class_texts import ClassDescriptions
from grain.data.data_sets import DataSet
from grain.evaluate.comparison import reliability
from grain.evaluate.metrics import mean_class_recall
from grain.evaluate.model_results import ModelResult
from grain.evaluate.notes import notes_on
from grain.evaluate.region_summary import lead_of, plain, region_summary
from grain.evaluate.scoring import Ints, Outcomes, share

BEST = "best"  # each model by the way of asking that does best
TOP = 5
MAX_ROWS = 10  # compared in pairs


@dataclass(frozen=True)
class DataSetResult:
    """A data set and what the models saw in it. source: of the descriptions, in words; "" for none."""

    data: DataSet
    spec: str
    limit: int | None
    descriptions: ClassDescriptions
    source: str
    model_results: Sequence[ModelResult]


@dataclass(frozen=True)
class ResultRow:
    """A model and a way of asking it."""

    model: str
    way: str
    outcomes: Outcomes

    @property
    def name(self) -> str:
        """Return the row's name in tables."""
        return f"{self.model} · {self.way}"


def rows_of(result: DataSetResult) -> list[ResultRow]:
    """List all rows of a data set's table."""
    return [ResultRow(each.model, way, found) for each in result.model_results for way, found in each.ways.items()]


def summary(result: DataSetResult) -> dict[str, Any]:
    """Return the numbers of a data set as plain JSON types."""
    data, first = result.data, result.model_results[0]
    rows, regions = rows_of(result), region_summary(result.model_results, data.category_groups)
    region_leads = regions.pop("region_leads")
    categories = max((row["categories"] for row in regions["detection"]), default=0)
    return {
        "name": data.name,
        "asked": result.spec,
        "split": data.split,
        "source": data.source,
        "note": data.note,
        "notes": notes_on(data.class_names, first.target, pictures=len(first.keys), categories=categories),
        "pictures": len(first.keys),
        "pictures_in_all": data.total,
        "labelled": len(first.labelled),
        "captions": len(first.retrieval.picture_of) if first.retrieval else 0,
        "classes": len(data.class_names),
        "descriptions": {
            "source": result.source,
            "texts": result.descriptions.texts,
            "report": result.descriptions.report() if result.source else [],
        },
        "models": [_model(each) for each in result.model_results],
        "rows": [_numbers(row, first.target) for row in rows],
        "leads": [*leads(rows, first.target), *retrieval_leads(result.model_results), *region_leads],
        "pairs": [_pair(one, other, first.target) for one, other in combinations(compared(rows), 2)],
        "retrieval": [
            {
                "model": each.model,
                **{name: plain(found) for name, found in each.retrieval.recalls().items()},
            }
            for each in result.model_results
            if each.retrieval
        ],
        **regions,
    }


def compared(rows: Sequence[ResultRow], most: int = MAX_ROWS) -> list[ResultRow]:
    """Choose the rows to compare in pairs, in their order: the best of each model, then the first ones."""
    by_model = [[row for row in rows if row.model == model] for model in dict.fromkeys(row.model for row in rows)]
    chosen = list(dict.fromkeys(row.name for row in [*map(_best, by_model), *rows]))[:most]
    return [row for row in rows if row.name in chosen]


def leads(rows: Sequence[ResultRow], target: Ints) -> list[dict[str, Any]]:
    """Compare every other model with the first: way by way, and each by its best way, under the way BEST."""
    by_model: dict[str, dict[str, ResultRow]] = {}
    for row in rows:
        by_model.setdefault(row.model, {})[row.way] = row
    if not by_model:
        return []
    (_, base), *rest = by_model.items()
    found = []
    for model, mine in rest:
        pairs = [(way, mine[way], base[way]) for way in mine if way in base]
        for way, one, other in [*pairs, (BEST, _best(mine.values()), _best(base.values()))]:
            found.append({"model": model, "way": way, **_pair(one, other, target)})
    return found


def retrieval_leads(model_results: Sequence[ModelResult]) -> list[dict[str, Any]]:
    """Compare the R@1 of every other model with the first one's in both directions, captions grouped by picture."""
    asked = [(each.model, each.retrieval) for each in model_results if each.retrieval]
    found = []
    for model, mine in asked[1:]:
        base, first = asked[0]
        for way, one, other, groups in (
            ("image_to_text_r1", mine.caption_hits(1), first.caption_hits(1), None),
            ("text_to_image_r1", mine.picture_hits(1), first.picture_hits(1), mine.picture_of),
        ):
            names = {"one": f"{model} · {way}", "other": f"{base} · {way}"}
            found.append({"model": model, "way": way, **names, **lead_of(one, other, groups)})
    return found


def _best(rows: Iterable[ResultRow]) -> ResultRow:
    return max(rows, key=lambda row: float(row.outcomes.hits.mean()))


def _model(each: ModelResult) -> dict[str, Any]:
    return {
        "model": each.model,
        "kind": each.info.kind,
        "trained_on": each.info.trained_on,
        "parameters": each.info.parameters,
        "digest": each.digest,
        "ms_a_picture": round(each.ms, 3),
        "texts_encoded": each.texts_encoded,
        "alpha": list(each.sweep.chosen) if each.sweep else None,
    }


def _numbers(row: ResultRow, target: Ints) -> dict[str, Any]:
    hits = row.outcomes.hits
    top = (row.outcomes.rank < TOP).astype(np.float64)
    calibrated = reliability(row.outcomes.probability, hits > 0)
    return {
        "row": row.name,
        "model": row.model,
        "way": row.way,
        "top1": plain(share(hits, target)),
        "top5": plain(share(top, target)),
        "mean_class_recall": mean_class_recall(hits, target),
        "calibration_error": calibrated.error,
    }


def _pair(one: ResultRow, other: ResultRow, target: Ints) -> dict[str, Any]:
    return {"one": one.name, "other": other.name, **lead_of(one.outcomes.hits, other.outcomes.hits, target)}


def result_lines(data: Mapping[str, Any]) -> list[str]:
    """Return what the command line prints of a data set's summary."""
    name, lines = data["name"], []
    for row in data["rows"]:
        value, low, high = (100 * number for number in row["top1"])
        lines.append(f"{name}: {row['row']}: top-1 {value:.1f} % [{low:.1f}, {high:.1f}]")
    for row in data["retrieval"]:
        found = ", ".join(f"{key} {100 * row[key][0]:.1f} %" for key in row if key.endswith("r1"))
        lines.append(f"{name}: {row['model']}: {found}")
    for row in (*data["grounding"], *data["detection"], *data["contrasts"]):
        found = ", ".join(f"{key} {100 * value[0]:.1f} %" for key, value in row.items() if isinstance(value, list))
        lines.append(f"{name}: {row['model']}: {found}")
    return lines
