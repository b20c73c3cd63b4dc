"""Measure a model in memory on a split of a data folder, as training and benchmarks do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from PIL import Image
from tqdm import tqdm

from grain.data.loader import proposals_of
from grain.data.record import ShardRecord
from grain.evaluate.metrics import Estimate, mean_interval, paired_iou, recall_at
from grain.predict import Predictor
from grain.structures import Array, ImageFeatures

BATCH = 64  # pictures a pass


def encode_records(
    predictor: Predictor, records: Iterable[ShardRecord[Image.Image]], *, total: int
) -> tuple[list[ImageFeatures], list[ShardRecord[Image.Image]]]:
    """Encode every picture, with a progress bar. Images are not kept in memory.

    Raises: ValueError: the checkpoint needs proposals that a record has not.
    """
    features: list[ImageFeatures] = []
    kept: list[ShardRecord[Image.Image]] = []
    with tqdm(total=total, unit="img", desc=predictor.info.name, disable=None) as bar:
        for group in _groups(records):
            proposals = proposals_of(group) if predictor.info.from_proposals else None
            features += predictor.batch_features([record.image for record in group], proposals)
            kept += group
            bar.update(len(group))
    return features, kept


def grounding_ious(
    predictor: Predictor, features: Sequence[ImageFeatures], records: Sequence[ShardRecord[Image.Image]]
) -> Array:
    """Return the IoU of each true description's best region with its annotated box, [R]."""
    ious = []
    for feature, record in zip(features, records, strict=True):
        if record.texts and len(feature.boxes_xyxy):
            matches = feature.region_embeds @ predictor.embed_texts(record.texts).T  # [Q, R]
            best = feature.boxes_xyxy[matches.argmax(axis=0)]
            ious.append(paired_iou(best, np.array(record.boxes_xyxy, dtype=np.float32)))
    return np.concatenate(ious) if ious else np.zeros(0, np.float32)


def held_out_metrics(
    predictor: Predictor, features: Sequence[ImageFeatures], records: Sequence[ShardRecord[Image.Image]]
) -> dict[str, Estimate]:
    """Measure grounding, and image–text retrieval in both directions, on pictures that were not trained on.

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


def _groups(records: Iterable[ShardRecord[Image.Image]]) -> Iterable[list[ShardRecord[Image.Image]]]:
    iterator = iter(records)
    while group := list(islice(iterator, BATCH)):
        yield group
