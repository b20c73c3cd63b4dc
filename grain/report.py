"""What models saw in data sets -> metrics.json, details.json, CSV and the pictures to look at, in one folder.

metrics.json has every number with its interval; details.json what plots and lists are drawn from. A row is a model and
a way of asking it, called `model · way`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from grain.checkpoint import atomic_file
from grain.class_texts import ClassDescriptions
from grain.comparison import ClassDelta, class_deltas, confusion, lead, mcnemar, reliability
from grain.data_sets import DataSet
from grain.features import chosen_items
from grain.metrics import Estimate, mean_class_recall
from grain.scoring import Ints, Outcomes, Sweep, share
from grain.sighting import Found, Grounding, Sighting

SCHEMA = 1
METRICS, DETAILS, PICTURES = "metrics.json", "details.json", "pictures"
RESULTS_CSV, MEASURES_CSV = "results.csv", "measures.csv"
CLASSES_CSV, PICTURES_CSV = "classes.csv", "pictures.csv"
REST = ("mean_class_recall", "calibration_error")  # columns behind those with intervals
BEST = "best"  # each model by the way of asking that does best
TOP = 5
MOST_ROWS = 10  # compared in pairs
EXAMPLES, CONFUSED, CONFUSED_PICTURES = 6, 20, 3  # shown of each kind
APART = 6  # classes of each kind with a picture, of those that two rows differ on most
MOST_EFFECTS = 40  # descriptions that help, and as many that hurt
CURVE_POINTS = 101
KEPT_SIDE = 768  # pixels
RIGHT = 0.5  # IoU
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Block:
    """A data set and what the models saw in it. source: of the descriptions, in words; "" for none."""

    data: DataSet
    spec: str
    limit: int | None
    descriptions: ClassDescriptions
    source: str
    sightings: Sequence[Sighting]


@dataclass(frozen=True)
class Row:
    """A model and a way of asking it."""

    model: str
    way: str
    outcomes: Outcomes

    @property
    def name(self) -> str:
        """As tables call it."""
        return f"{self.model} · {self.way}"


def write_report(out: Path, asked: Mapping[str, Any], blocks: Sequence[Block]) -> dict[str, Any]:
    """Write everything; returns what metrics.json holds.

    Raises: OSError: the disk is full. DataSetError: a picture to look at cannot be read again.
    """
    metrics = {"schema_version": SCHEMA, "asked": asked, "data_sets": [summary(block) for block in blocks]}
    drawn = [_details(block) for block in blocks]
    for number, (block, said) in enumerate(zip(blocks, drawn, strict=True)):
        said["pictures"] = _pictures(out / PICTURES, f"{number}-{_slug(block.data.name)}", block, said)
    details = {"schema_version": SCHEMA, "data_sets": drawn}
    _write_tables(out, metrics, details, blocks)
    _write_json(out / DETAILS, details)
    _write_json(out / METRICS, metrics)  # last: a folder with it is complete
    return metrics


def rows_of(block: Block) -> list[Row]:
    """All rows of a data set's table."""
    return [Row(seen.model, way, found) for seen in block.sightings for way, found in seen.ways.items()]


def summary(block: Block) -> dict[str, Any]:
    """The numbers of a data set, plain."""
    data, first = block.data, block.sightings[0]
    rows = rows_of(block)
    return {
        "name": data.name,
        "asked": block.spec,
        "split": data.split,
        "source": data.source,
        "note": data.note,
        "pictures": len(first.keys),
        "pictures_in_all": data.total,
        "labelled": len(first.labelled),
        "captions": len(first.retrieval.picture_of) if first.retrieval else 0,
        "classes": len(data.class_names),
        "descriptions": {
            "source": block.source,
            "texts": block.descriptions.texts,
            "report": block.descriptions.report() if block.source else [],
        },
        "models": [_model(seen) for seen in block.sightings],
        "rows": [_numbers(row, first.target) for row in rows],
        "leads": [*leads(rows, first.target), *retrieval_leads(block.sightings)],
        "pairs": [_pair(one, other, first.target) for one, other in combinations(compared(rows), 2)],
        "grounding": [_grounded(seen.model, seen.grounding) for seen in block.sightings if seen.grounding],
        "retrieval": [
            {"model": seen.model, **{name: _plain(found) for name, found in seen.retrieval.recalls().items()}}
            for seen in block.sightings
            if seen.retrieval
        ],
    }


def compared(rows: Sequence[Row], most: int = MOST_ROWS) -> list[Row]:
    """The rows that are compared in pairs, in their order: of many, the best of each model, and then the first ones."""
    by_model = [[row for row in rows if row.model == model] for model in dict.fromkeys(row.model for row in rows)]
    chosen = list(dict.fromkeys(row.name for row in [*map(_best, by_model), *rows]))[:most]
    return [row for row in rows if row.name in chosen]


def leads(rows: Sequence[Row], target: Ints) -> list[dict[str, Any]]:
    """Every other model against the first one: asked the same way; and each by its best way, under the way BEST."""
    by_model: dict[str, dict[str, Row]] = {}
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


def retrieval_leads(sightings: Sequence[Sighting]) -> list[dict[str, Any]]:
    """R@1 of every other model less that of the first one, both ways; drawn together are the captions of a picture."""
    asked = [(seen.model, seen.retrieval) for seen in sightings if seen.retrieval]
    found = []
    for model, mine in asked[1:]:
        base, first = asked[0]
        for way, one, other, groups in (
            ("image_to_text_r1", mine.caption_hits(1), first.caption_hits(1), None),
            ("text_to_image_r1", mine.picture_hits(1), first.picture_hits(1), mine.picture_of),
        ):
            ahead = {
                "one": f"{model} · {way}",
                "other": f"{base} · {way}",
                "lead": _plain(lead(one, other, groups=groups)),
            }
            found.append({"model": model, "way": way, **ahead, **asdict(mcnemar(one, other))})
    return found


def _best(rows: Iterable[Row]) -> Row:
    return max(rows, key=lambda row: float(row.outcomes.hits.mean()))


def _model(seen: Sighting) -> dict[str, Any]:
    return {
        "model": seen.model,
        "kind": seen.info.kind,
        "trained_on": seen.info.trained_on,
        "parameters": seen.info.parameters,
        "digest": seen.digest,
        "ms_a_picture": round(seen.ms, 3),
        "texts_encoded": seen.texts_encoded,
        "alpha": list(seen.sweep.chosen) if seen.sweep else None,
    }


def _numbers(row: Row, target: Ints) -> dict[str, Any]:
    hits = row.outcomes.hits
    top = (row.outcomes.rank < TOP).astype(np.float64)
    calibrated = reliability(row.outcomes.probability, hits > 0)
    return {
        "row": row.name,
        "model": row.model,
        "way": row.way,
        "top1": _plain(share(hits, target)),
        "top5": _plain(share(top, target)),
        "mean_class_recall": mean_class_recall(hits, target),
        "calibration_error": calibrated.error,
    }


def _pair(one: Row, other: Row, target: Ints) -> dict[str, Any]:
    a, b = one.outcomes.hits, other.outcomes.hits
    return {
        "one": one.name,
        "other": other.name,
        "lead": _plain(lead(a, b, groups=target)),
        **asdict(mcnemar(a, b)),
    }


def _grounded(model: str, found: Grounding) -> dict[str, Any]:
    right = (found.ious >= RIGHT).astype(np.float64)
    return {
        "model": model,
        "descriptions": len(found.ious),
        "acc50": _plain(share(right, found.picture)),
        "miou": _plain(share(found.ious.astype(np.float64), found.picture)),
    }


def _plain(found: Estimate) -> list[float]:
    return [found.value, found.low, found.high]


# ------------------------------------------------------------------------------------------------ what plots show


def _details(block: Block) -> dict[str, Any]:
    first, rows = block.sightings[0], rows_of(block)
    names = block.data.class_names
    return {
        "name": block.data.name,
        "classes": list(names),
        "descriptions": {name: list(rows) for name, rows in block.descriptions.classes.items() if rows},
        "rows": {row.name: _row_details(row, first, names) for row in rows},
        "sweeps": {seen.model: _sweep(seen.sweep) for seen in block.sightings if seen.sweep},
        "grounding": {seen.model: grounding_curve(seen.grounding) for seen in block.sightings if seen.grounding},
        "deltas": [_delta(one, other, first, names) for one, other in combinations(compared(rows), 2)],
        "effects": {seen.model: _effects(seen) for seen in block.sightings if seen.effects},
    }


def _row_details(row: Row, first: Sighting, names: Sequence[str]) -> dict[str, Any]:
    hits, target = row.outcomes.hits, first.target
    counts = np.bincount(target, minlength=len(names))
    right = np.bincount(target, hits, minlength=len(names))
    found = confusion(row.outcomes.predicted, target, names, most=CONFUSED)
    return {
        "recall": [None if not n else float(r / n) for r, n in zip(right, counts, strict=True)],
        "pictures": counts.tolist(),
        "calibration": [asdict(each) for each in reliability(row.outcomes.probability, hits > 0).bins],
        "confused": [
            {
                "true": pair.true,
                "said": pair.said,
                "count": len(pair.pictures),
                "pictures": [int(first.labelled[at]) for at in pair.pictures[:CONFUSED_PICTURES]],
            }
            for pair in found.pairs
        ],
    }


def _sweep(found: Sweep) -> dict[str, Any]:
    return {
        "curves": [[[point.alpha, *_plain(point.top1)] for point in curve] for curve in found.curves],
        "chosen": list(found.chosen),
    }


def _examples(one: Outcomes, other: Outcomes, labelled: Ints) -> dict[str, list[int]]:
    """Pictures that one alone, or the other alone, gets right: those first where they differ most."""
    margin = one.true_probability - other.true_probability

    def clearest(rows: Ints, sign: int) -> list[int]:
        return labelled[rows[np.argsort(-sign * margin[rows], kind="stable")][:EXAMPLES]].tolist()  # type: ignore[no-any-return]

    return {
        "wins": clearest(np.flatnonzero(one.hits > other.hits), 1),
        "losses": clearest(np.flatnonzero(other.hits > one.hits), -1),
    }


def _delta(one: Row, other: Row, first: Sighting, names: Sequence[str]) -> dict[str, Any]:
    """Two rows class by class, and pictures to look at."""
    a, b = one.outcomes, other.outcomes
    deltas = class_deltas(a.hits, b.hits, first.target, names)
    return {
        "one": one.name,
        "other": other.name,
        "classes": [{**asdict(each), "lead": _plain(each.lead)} for each in deltas],
        "apart": _apart(a, b, first, names, deltas),
        **_examples(a, b, first.labelled),
    }


def _apart(
    one: Outcomes, other: Outcomes, first: Sighting, names: Sequence[str], deltas: Sequence[ClassDelta]
) -> list[dict[str, Any]]:
    """The classes that the rows differ on most, either way, each with the picture on which they differ most."""
    margin = one.true_probability - other.true_probability
    found = []
    for each in (*deltas[:APART], *deltas[APART:][-APART:]):
        if sign := np.sign(each.lead.value):
            mine = np.flatnonzero((first.target == names.index(each.name)) & (sign * (one.hits - other.hits) > 0))
            row = mine[np.argmax(sign * margin[mine])]
            found.append({"name": each.name, "picture": int(first.labelled[row])})
    return found


def _effects(seen: Sighting) -> dict[str, Any]:
    help_most, hurt_most = seen.effects[:MOST_EFFECTS], seen.effects[::-1][:MOST_EFFECTS]
    plain = [
        {
            "class": each.class_name,
            "text": each.text,
            "helped": each.helped,
            "hurt": each.hurt,
            "p": each.p_value,
            "picture": int(seen.labelled[each.picture]),
        }
        for each in dict.fromkeys([*help_most, *hurt_most[::-1]])
        if each.helped or each.hurt
    ]
    return {
        "descriptions": len(seen.effects),
        "helpful": sum(each.net > 0 for each in seen.effects),
        "harmful": sum(each.net < 0 for each in seen.effects),
        "shown": plain,
    }


def grounding_curve(found: Grounding) -> dict[str, list[float]]:
    """Precision and recall of boxes as the least cosine falls.

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


# ------------------------------------------------------------------------------------------------ pictures


def _pictures(folder: Path, stem: str, block: Block, details: Mapping[str, Any]) -> dict[str, Any]:
    """Save the pictures that lists point to; their file, truth, and what each row says of them."""
    wanted = {row for pair in details["deltas"] for row in (*pair["wins"], *pair["losses"])}
    wanted |= {each["picture"] for pair in details["deltas"] for each in pair["apart"]}
    wanted |= {each["picture"] for found in details["effects"].values() for each in found["shown"]}
    wanted |= {row for each in details["rows"].values() for pair in each["confused"] for row in pair["pictures"]}
    found = {}
    for row, item in enumerate(chosen_items(block.data, block.limit)):
        if row in wanted:
            file = f"{stem}-{row:07d}.jpg"
            image = item.open()
            size = image.size
            image.thumbnail((KEPT_SIDE, KEPT_SIDE))
            with atomic_file(folder / file) as path:
                image.save(path, "JPEG", quality=90)
            found[str(row)] = {"file": file, "key": item.key, "width": size[0], "height": size[1]}
            found[str(row)] |= _said_of(block, row)
    return found


def _said_of(block: Block, row: int) -> dict[str, Any]:
    first, names = block.sightings[0], block.data.class_names
    at = int(np.searchsorted(first.labelled, row))
    said = {
        each.name: {
            "said": names[each.outcomes.predicted[at]],
            "probability": float(each.outcomes.probability[at]),
        }
        for each in rows_of(block)
    }
    regions = {seen.model: _regions(seen.found[at]) for seen in block.sightings if seen.found[at] is not None}
    return {"true": names[first.target[at]], "rows": said, "regions": regions}


def _regions(found: Found | None) -> list[dict[str, Any]]:
    if found is None:
        return []
    return [
        {"text": text, "box": [round(float(value), 4) for value in box], "cosine": round(float(cosine), 4)}
        for text, box, cosine in zip(found.texts, found.boxes_xyxy, found.cosines, strict=True)
    ]


# ------------------------------------------------------------------------------------------------ files


def _write_tables(out: Path, metrics: Mapping[str, Any], details: Mapping[str, Any], blocks: Sequence[Block]) -> None:
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
            for row in (*data["retrieval"], *data["grounding"])
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
    _write_csv(out / PICTURES_CSV, ["data_set", "key", "class", "row", "said", "probability"], _picture_lines(blocks))


def _rest(row: Mapping[str, Any]) -> list[float]:
    return [row[name] for name in REST]


def _picture_lines(blocks: Sequence[Block]) -> Iterable[list[Any]]:
    for block in blocks:
        first, names = block.sightings[0], block.data.class_names
        for row in rows_of(block):
            for at, label in enumerate(first.target):
                said, sure = row.outcomes.predicted[at], float(row.outcomes.probability[at])
                key = first.keys[first.labelled[at]]
                yield [block.data.name, key, names[label], row.name, names[said], round(sure, 5)]


def _write_csv(path: Path, head: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(head)
        table.writerows([_cell(value) for value in line] for line in lines)


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", name)[:40] or "data"
