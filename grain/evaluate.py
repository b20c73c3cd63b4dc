"""Predictor + data -> metrics.json:  python -m grain.evaluate --checkpoint DIR --data DIR"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

from grain.checkpoint import METRICS, locate, read_info
from grain.data import Record, find_shards, proposals_of, read_records
from grain.metrics import Estimate, Values, mean_interval, paired_iou, recall_at, top1_hits
from grain.predict import Predictor
from grain.structures import Array, ImageFeatures

BATCH = 64  # pictures a pass
ALPHAS = {"novel_top1": 1.0, "novel_top1_regions": 0.0, "novel_top1_both": 0.5}


@dataclass(frozen=True)
class EvaluateConfig:
    """Zero-shot accuracy on novel classes, grounding and retrieval on the held-out split, with bootstrap intervals."""

    checkpoint: Path
    """A checkpoint folder, or an embedded one by its name."""
    data: Path
    """A data folder with the splits held_out and novel, one of which may be empty, and classes.json."""
    clip: Path | None = None
    """The CLIP twin's folder; by default the one that the checkpoint names beside it, if it is there."""
    out: Path = Path(METRICS)
    """Where to write the numbers."""
    limit: int | None = None
    """At most so many pictures of each split."""


def encode_records(
    predictor: Predictor, records: Iterable[Record[Image.Image]], *, total: int
) -> tuple[list[ImageFeatures], list[Record[Image.Image]]]:
    """Every picture's features, with a progress bar; the pictures themselves are let go.

    Raises: ValueError: the checkpoint needs proposals that a record has not.
    """
    features: list[ImageFeatures] = []
    kept: list[Record[Image.Image]] = []
    with tqdm(total=total, unit="img", desc=predictor.info.name, disable=None) as bar:
        for group in _groups(records):
            proposals = proposals_of(group) if predictor.info.from_proposals else None
            features += predictor.batch_features([record.image for record in group], proposals)
            kept += group
            bar.update(len(group))
    return features, kept


def grounding_ious(
    predictor: Predictor, features: Sequence[ImageFeatures], records: Sequence[Record[Image.Image]]
) -> Array:
    """For every true description: IoU of its best-matching region's box with the annotated box. [R]."""
    ious = []
    for feature, record in zip(features, records, strict=True):
        if record.texts and len(feature.boxes_xyxy):
            matches = feature.region_embeds @ predictor.embed_texts(record.texts).T  # [Q, R]
            best = feature.boxes_xyxy[matches.argmax(axis=0)]
            ious.append(paired_iou(best, np.array(record.boxes_xyxy, dtype=np.float32)))
    return np.concatenate(ious) if ious else np.zeros(0, np.float32)


def held_out_metrics(
    predictor: Predictor, features: Sequence[ImageFeatures], records: Sequence[Record[Image.Image]]
) -> dict[str, Estimate]:
    """Grounding, and caption retrieval both ways, on pictures of the training source that were not trained on.

    Raises: ValueError: no pictures.
    """
    if not features:
        raise ValueError("the split held_out has no pictures: write the data again with some")
    images = np.stack([feature.image_embed for feature in features])
    captions = predictor.embed_texts([record.caption for record in records])
    similarity = images @ captions.T
    found = {
        "retrieval_image_to_text_r1": mean_interval(recall_at(similarity, 1)),
        "retrieval_text_to_image_r1": mean_interval(recall_at(similarity.T, 1)),
    }
    ious = grounding_ious(predictor, features, records)
    if len(ious):
        found["grounding_acc50"] = mean_interval((ious >= 0.5).astype(float))
        found["grounding_miou"] = mean_interval(ious)
    return found


def novel_hits(
    predictor: Predictor,
    features: Sequence[ImageFeatures],
    names: Sequence[str],
    classes: dict[str, list[str]],
    *,
    alpha: float,
) -> Values:
    """[N] 1.0 where the picture's class wins.

    Raises: ValueError: a picture's class is not among the classes.
    """
    order = {name: column for column, name in enumerate(classes)}
    unknown = [name for name in names if name not in order]
    if unknown:
        raise ValueError(f"the class {unknown[0]!r} of a picture is not in classes.json: write the data again")
    scores = predictor.classify_features(features, classes, alpha=alpha)
    return top1_hits(scores, np.array([order[name] for name in names]))


def evaluate(checkpoint: Path, data: Path, *, clip: Path | None, limit: int | None = None) -> dict[str, Any]:
    """All metrics of one checkpoint, and its lead over its CLIP twin where there is one.

    Returns: flat numbers, `intervals` {metric: [low, high]} (95 %), and what was measured.
    Raises:  ValueError, CheckpointError: data or checkpoint cannot be used, or there is no picture in either split.
    """
    predictor = Predictor.from_pretrained(checkpoint)
    held_out, novel = find_shards(data, "held_out"), find_shards(data, "novel")
    features, records = encode_records(
        predictor, read_records(held_out, limit=limit), total=min(held_out.images, limit or held_out.images)
    )
    # a set of novel concepts has nothing held out of a training
    found = held_out_metrics(predictor, features, records) if records or not novel.images else {}
    classes: dict[str, list[str]] = json.loads((data / "classes.json").read_text(encoding="utf-8"))
    total = min(novel.images, limit or novel.images)
    if total:
        hits = _all_hits(predictor, data, classes, limit, total)
        found |= {name: mean_interval(values) for name, values in hits.items()}
        if clip is not None:
            twin = _all_hits(Predictor.from_pretrained(clip), data, classes, limit, total)["novel_top1"]
            found["clip_novel_top1"] = mean_interval(twin)
            found |= {f"{name}_lead": mean_interval(values - twin) for name, values in hits.items()}
    return {
        **{name: estimate.value for name, estimate in found.items()},
        "intervals": {name: [estimate.low, estimate.high] for name, estimate in found.items()},
        "checkpoint": predictor.info.name,
        "novel_classes": len(classes),
        "novel_images": total,
        "held_out_images": len(records),
    }


def _all_hits(
    predictor: Predictor, data: Path, classes: dict[str, list[str]], limit: int | None, total: int
) -> dict[str, Values]:
    features, records = encode_records(predictor, read_records(find_shards(data, "novel"), limit=limit), total=total)
    names = [str(record.class_name) for record in records]
    alphas = ALPHAS if predictor.info.can_ground else {"novel_top1": 1.0}
    return {name: novel_hits(predictor, features, names, classes, alpha=alpha) for name, alpha in alphas.items()}


def _groups(records: Iterable[Record[Image.Image]]) -> Iterable[list[Record[Image.Image]]]:
    iterator = iter(records)
    while group := list(islice(iterator, BATCH)):
        yield group


def main(config: EvaluateConfig) -> None:
    """The command line."""
    checkpoint, clip = locate(config.checkpoint), config.clip
    if clip is None and (twin := read_info(checkpoint).twin):
        beside = checkpoint.parent / Path(twin).name
        clip = beside if beside.is_dir() else None
    metrics = evaluate(checkpoint, config.data, clip=clip, limit=config.limit)
    config.out.write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    print(f"wrote {config.out}")


if __name__ == "__main__":
    try:
        main(tyro.cli(EvaluateConfig))
    except (ValueError, OSError) as error:
        sys.exit(f"grain.evaluate: {error}")
