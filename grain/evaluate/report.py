"""Write the results of an evaluation: metrics.json, details.json, CSV files and pictures to look at.

metrics.json has every number with its interval; details.json the data of plots and lists. A row is a model and a way of
scoring, called `model · way`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from atomic_files import atomic_file, write_atomically
from grain.evaluate.attempts import FailedPair
from grain.evaluate.details import details_of
from grain.evaluate.features import chosen_items
from grain.evaluate.model_results import FoundDescriptions
from grain.evaluate.summary import DataSetResult, rows_of, summary

SCHEMA = 1
METRICS, DETAILS, PICTURES = "metrics.json", "details.json", "pictures"
RESULTS_CSV, MEASURES_CSV = "results.csv", "measures.csv"
CLASSES_CSV, PICTURES_CSV = "classes.csv", "pictures.csv"
REST = ("mean_class_recall", "calibration_error")  # columns behind those with intervals
KEPT_SIDE = 768  # pixels
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_report(
    out: Path, asked: Mapping[str, Any], results: Sequence[DataSetResult], *, failures: Sequence[FailedPair] = ()
) -> dict[str, Any]:
    """Write all files of an evaluation; returns the content of metrics.json.

    Args:   failures: pairs of model and data set that have no result.
    Raises: DiskFullError: the disk is full. UserError: a picture to look at cannot be read again.
    """
    metrics = {
        "schema_version": SCHEMA,
        "asked": asked,
        "data_sets": [summary(result) for result in results],
        "failures": [asdict(failure) for failure in failures],
    }
    data_sets = [details_of(result) for result in results]
    for number, (result, found) in enumerate(zip(results, data_sets, strict=True)):
        found["pictures"] = _pictures(
            out / PICTURES, f"{number}-{_slug(result.data.name)}", result=result, details=found
        )
    details = {"schema_version": SCHEMA, "data_sets": data_sets}
    _write_tables(out, metrics=metrics, details=details, results=results)
    _write_json(out / DETAILS, details)
    _write_json(out / METRICS, metrics)  # last: a folder with it is complete
    return metrics


def _pictures(folder: Path, stem: str, *, result: DataSetResult, details: Mapping[str, Any]) -> dict[str, Any]:
    """Save the pictures that lists point to; returns their file, truth, and what each row predicts."""
    chosen = {row for pair in details["deltas"] for row in (*pair["wins"], *pair["losses"])}
    chosen |= {each["picture"] for pair in details["deltas"] for each in pair["apart"]}
    chosen |= {each["picture"] for found in details["effects"].values() for each in found["shown"]}
    chosen |= {row for each in details["rows"].values() for pair in each["confused"] for row in pair["pictures"]}
    found = {}
    for row, item in enumerate(chosen_items(result.data, result.limit)):
        if row in chosen:
            file = f"{stem}-{row:07d}.jpg"
            image = item.open()
            size = image.size
            image.thumbnail((KEPT_SIDE, KEPT_SIDE))
            with atomic_file(folder / file) as path:
                image.save(path, "JPEG", quality=90)
            found[str(row)] = {"file": file, "key": item.key, "width": size[0], "height": size[1]}
            found[str(row)] |= _predictions_of(result, row)
    return found


def _predictions_of(result: DataSetResult, row: int) -> dict[str, Any]:
    first, names = result.model_results[0], result.data.class_names
    at = int(np.searchsorted(first.labelled, row))
    predicted = {
        each.name: {
            "said": names[each.outcomes.predicted[at]],
            "probability": float(each.outcomes.probability[at]),
        }
        for each in rows_of(result)
    }
    regions = {each.model: _regions(each.found[at]) for each in result.model_results if each.found[at] is not None}
    return {"true": names[first.target[at]], "rows": predicted, "regions": regions}


def _regions(found: FoundDescriptions | None) -> list[dict[str, Any]]:
    if found is None:
        return []
    return [
        {"text": text, "box": [round(float(value), 4) for value in box], "cosine": round(float(cosine), 4)}
        for text, box, cosine in zip(found.texts, found.boxes_xyxy, found.cosines, strict=True)
    ]


def _write_tables(
    out: Path, *, metrics: Mapping[str, Any], details: Mapping[str, Any], results: Sequence[DataSetResult]
) -> None:
    numbers = ("top1", "top5")
    head = ["data_set", "model", "way", *(f"{name}{end}" for name in numbers for end in ("", "_low", "_high"))]
    _write_csv(
        out / RESULTS_CSV,
        [*head, *REST],
        (
            [data["name"], *(row[name] for name in ("model", "way")), *row["top1"], *row["top5"], *_rest(row)]
            for data in metrics["data_sets"]
            for row in data["rows"]
        ),
    )
    _write_csv(
        out / MEASURES_CSV,
        ["data_set", "model", "measure", "value", "low", "high"],
        (
            [data["name"], row["model"], name, *value]
            for data in metrics["data_sets"]
            for row in (*data["retrieval"], *data["grounding"], *data["detection"], *data["contrasts"])
            for name, value in row.items()
            if isinstance(value, list)
        ),
    )
    _write_csv(
        out / CLASSES_CSV,
        ["data_set", "row", "class", "pictures", "recall"],
        (
            [data["name"], name, class_name, pictures, recall]
            for data in details["data_sets"]
            for name, row in data["rows"].items()
            for class_name, pictures, recall in zip(data["classes"], row["pictures"], row["recall"], strict=True)
        ),
    )
    _write_csv(out / PICTURES_CSV, ["data_set", "key", "class", "row", "said", "probability"], _picture_lines(results))


def _rest(row: Mapping[str, Any]) -> list[float]:
    return [row[name] for name in REST]


def _picture_lines(results: Sequence[DataSetResult]) -> Iterable[list[Any]]:
    for result in results:
        first, names = result.model_results[0], result.data.class_names
        for row in rows_of(result):
            for at, label in enumerate(first.target):
                predicted, probability = row.outcomes.predicted[at], float(row.outcomes.probability[at])
                key = first.keys[first.labelled[at]]
                yield [result.data.name, key, names[label], row.name, names[predicted], round(probability, 5)]


def _write_csv(path: Path, head: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(head)
        table.writerows([_cell(value) for value in line] for line in lines)


def _cell(value: object) -> object:
    """Mark a text that a spreadsheet would take for a formula as text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False))


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", name)[:40] or "data"
