"""Write what was found in pictures as COCO JSON and as CSV, and draw it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from grain.draw import LabelledBox, color_of, draw_boxes
from grain.structures import Prediction, Region

COLUMNS = (
    "file", "description", "found", "score", "x0", "y0", "x1", "y1", "width", "height", "novelty", "answer", "reason",
)  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run such a cell


@dataclass(frozen=True)
class PicturePrediction:
    """A result with the name of its picture's file."""

    name: str
    prediction: Prediction


def to_coco(results: Sequence[PicturePrediction]) -> dict[str, Any]:
    """Return COCO's detections: a category a description, boxes as corner and size in pixels of the upright picture.

    Annotations have a `score` (cosine); a description that is found nowhere is a category without annotations.
    """
    texts = dict.fromkeys(text for each in results for text in each.prediction.descriptions)
    categories = {text: number for number, text in enumerate(texts, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, each in enumerate(results, start=1):
        found = each.prediction
        images.append({"id": image_id, "file_name": each.name, "width": found.width, "height": found.height})
        for region in found.regions:
            x0, y0, x1, y1 = _pixels(region, found)
            box = [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": categories[region.text],
                    "bbox": box,
                    "area": round(box[2] * box[3], 2),
                    "iscrowd": 0,
                    "score": round(region.score, 4),
                }
            )
    rows = [{"id": number, "name": text} for text, number in categories.items()]
    return {"images": images, "annotations": annotations, "categories": rows}


def to_csv(results: Sequence[PicturePrediction], unread: Mapping[str, str] | None = None) -> str:
    """Return a table: a row a region in pixels of the upright picture, and one a description without any.

    novelty: see Prediction; empty where nothing tells. answer, reason: of the description, see Prediction.

    Args: unread: files without a result, and why: a row each, whose answer is "not read".
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for each in results:
        found, name = each.prediction, _plain(each.name)
        novelty = "" if found.novelty is None else f"{found.novelty:.2f}"
        reasons = found.reasons or ("",) * len(found.descriptions)
        answers = {text: why for text, *why in zip(found.descriptions, found.answers, reasons, strict=True)}
        for description, why in answers.items():
            regions = [region for region in found.regions if region.text == description]
            rows: list[tuple[Any, ...]] = [
                ("yes", f"{region.score:.4f}", *_pixels(region, found)) for region in regions
            ]
            for row in rows or [("no", "", "", "", "", "")]:
                cells = (name, _plain(description), *row, found.width, found.height, novelty, *map(_plain, why))
                table.writerow(cells)
    for file, problem in (unread or {}).items():
        known = {"file": _plain(file), "answer": "not read", "reason": _plain(problem)}
        table.writerow([known.get(column, "") for column in COLUMNS])
    return text.getvalue()


def draw_regions(image: Image.Image, prediction: Prediction) -> Image.Image:
    """Return the upright RGB picture with the regions of a result drawn in, a colour a description."""
    colors = {text: color_of(index) for index, text in enumerate(prediction.descriptions)}
    labelled = [
        LabelledBox(each.xyxy, f"{each.text} {each.score:.2f}", colors[each.text]) for each in prediction.regions
    ]
    return draw_boxes(image, labelled)


def _pixels(region: Region, found: Prediction) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = region.xyxy
    width, height = found.width, found.height
    return round(x0 * width, 2), round(y0 * height, 2), round(x1 * width, 2), round(y1 * height, 2)


def _plain(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
