"""Measure a model in memory on a split of a data folder, as training and benchmarks do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from PIL import Image
from tqdm import tqdm

from grain.box_overlap import iou
from grain.data.loader import proposals_of
from grain.data.record import ShardRecord
from grain.evaluate.metrics import Estimate, mean_interval, recall_at
from grain.predict import Predictor
from grain.structures import Array, ImageFeatures, RegionRanking

BATCH = 64  # pictures a pass
NO_PICTURES = "the split held_out has no pictures: write the data again with some"


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
    """Return the IoU of each true description's best region with its annotated box, [R], see found_overlaps."""
    ious = []
    for feature, record in zip(features, records, strict=True):
        if record.texts and len(feature.boxes_xyxy):
            ious.append(found_overlaps(predictor.rank_regions(record.image, feature, record.texts), feature, record))
    return np.concatenate(ious) if ious else np.zeros(0, np.float32)


def found_overlaps(ranked: RegionRanking, feature: ImageFeatures, record: ShardRecord[Image.Image]) -> Array:
    """Return the IoU of the best region of each description with its annotated box, [R].

    Where several boxes of a picture have the same description any of them may be found, and the nearest counts. A box
    that is not finite overlaps nothing.
    """
    best = ranked.best_boxes(feature.boxes_xyxy)
    overlap = np.nan_to_num(iou(best, np.array(record.boxes_xyxy, np.float32)))  # [R, R]
    texts = np.array(record.texts)
    nearest: Array = np.where(texts[:, None] == texts, overlap, 0).max(axis=1)
    return nearest


def held_out_metrics(
    predictor: Predictor, features: Sequence[ImageFeatures], records: Sequence[ShardRecord[Image.Image]]
) -> dict[str, Estimate]:
    """Measure grounding, and image–text retrieval in both directions, on pictures that were not trained on.

    Raises: ValueError: no pictures.
    """
    if not features:
        raise ValueError(NO_PICTURES)
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
