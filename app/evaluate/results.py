"""Read finished evaluations, and the comparison of two of their rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.services import Services
from grain.evaluate.other_ways import OTHER_WAYS
from user_errors import UserError

RUN_NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
FILES = ("metrics.json", "results.csv", "measures.csv", "classes.csv", "pictures.csv")
RETRIEVAL = {
    "image_to_text_r1": "picture → caption R@1",
    "image_to_text_r5": "R@5",
    "image_to_text_r10": "R@10",
    "text_to_image_r1": "caption → picture R@1",
    "text_to_image_r5": "R@5",
    "text_to_image_r10": "R@10",
}
REGION_WAYS = {
    "grounding_acc50": "sentences, IoU ≥ 0.5",
    "detection_ap": "detection, AP",
    "contrast_text": "captions told apart",
    "contrast_image": "pictures told apart",
    "contrast_group": "both told apart",
}
BEST = "best"  # as grain/evaluate/report.py calls it: each model by its best way of prompting
AUTHORS = "authors"  # an option of an evaluation: the authors' grammar of descriptions
WAYS: dict[str, str] = {
    "names": "class names alone",
    "descriptions": "names with descriptions, whole picture",
    "regions": "descriptions against the best regions",
    "mixed": "whole picture and regions; α chosen on the other half of the pictures",
    **{str(way): title for way, title in OTHER_WAYS.items()},
}


@dataclass(frozen=True)
class EvaluationResult:
    """A finished evaluation. name: of its folder. metrics, details: as grain/evaluate/report.py writes them."""

    name: str
    folder: Path
    metrics: dict[str, Any]
    details: dict[str, Any]

    def data_set_names(self) -> list[str]:
        """Return the names of its data sets, in order."""
        return [each["name"] for each in self.metrics["data_sets"]]


def result_names(services: Services) -> list[str]:
    """Return the names of finished evaluations, newest first."""
    root = services.settings.home / "evaluations"
    found = (path.parent.name for path in root.glob("*/metrics.json"))
    return sorted((name for name in found if RUN_NAME.fullmatch(name)), reverse=True)


def read_result(services: Services, name: str) -> EvaluationResult:
    """Read a finished evaluation.

    Raises: UserError: there is none of that name, or it cannot be read.
    """
    if not RUN_NAME.fullmatch(name or ""):
        raise UserError("There is no such evaluation: choose one of the list.")
    folder = services.settings.home / "evaluations" / name
    try:
        metrics, details = (json.loads((folder / f"{file}.json").read_text("utf-8")) for file in ("metrics", "details"))
    except (OSError, ValueError) as error:
        raise UserError(f"The evaluation {name} cannot be read ({error}): run it again.") from error
    return EvaluationResult(name, folder, metrics, details)


def read_file(result: EvaluationResult, name: str) -> bytes:
    """Read one of an evaluation's files, to download.

    Raises: UserError: it has no such file.
    """
    if name not in FILES:
        raise UserError(f"There is no file {name[:40]!r} to keep.")
    return (result.folder / name).read_bytes()


def way_label(way: str) -> str:
    """Return a way of prompting in words, as the head of a column."""
    return "each by its best" if way == BEST else (RETRIEVAL | REGION_WAYS).get(way, way)


def model_of(row: str) -> str:
    """Return the model of a row's name, MODEL · WAY."""
    return row.rpartition(" · ")[0]


def rows_to_compare(result: EvaluationResult, data_set: int) -> tuple[list[str], str | None, str | None]:
    """Return the rows that can be compared, the best one, and the best of another model; None where there is none."""
    data = result.metrics["data_sets"][data_set]
    paired = {name for pair in data["pairs"] for name in (pair["one"], pair["other"])}
    names = [row["row"] for row in data["rows"] if row["row"] in paired or not paired]
    rows = sorted((row for row in data["rows"] if row["row"] in names), key=lambda row: -row["top1"][0])
    if not rows:
        return [], None, None
    rivals = [row for row in rows if row["model"] != rows[0]["model"]] or rows[1:] or rows
    return names, rows[0]["row"], rivals[0]["row"]


def find_pair(pairs: Sequence[Mapping[str, Any]], one: str, other: str) -> dict[str, Any] | None:
    """Return the comparison of two rows, whichever way round it was written; None where there is none."""
    for each in pairs:
        if (each["one"], each["other"]) == (one, other):
            return dict(each)
        if (each["one"], each["other"]) == (other, one):
            return _reversed(each)
    return None


def _reversed(pair: Mapping[str, Any]) -> dict[str, Any]:
    """Return a comparison with its two rows swapped."""
    swapped = dict(pair) | {"one": pair["other"], "other": pair["one"]}
    if "lead" in pair:
        swapped |= {
            "lead": _negative(pair["lead"]),
            "only_one": pair["only_other"],
            "only_other": pair["only_one"],
        }
    if "classes" in pair:
        rows = [
            dict(row) | {"one": row["other"], "other": row["one"], "lead": _negative(row["lead"])}
            for row in pair["classes"]
        ]
        swapped |= {"classes": rows[::-1], "wins": pair["losses"], "losses": pair["wins"]}
    return swapped


def _negative(estimate: Sequence[float]) -> list[float]:
    value, low, high = estimate
    return [-value, -high, -low]
