"""Accuracies and grounding by our functions and by the peers': the same numbers."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from clip_benchmark.metrics import zeroshot_classification
from faster_coco_eval import COCO as FasterCOCO
from faster_coco_eval import COCOeval_faster
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import balanced_accuracy_score

from benchmarks.evaluation import GRAIN, top1_hits
from benchmarks.grounding_map import GroundingMap, GroundingPicture, grounding_map
from benchmarks.learning import EVALUATION_SEEDS, evaluation_world, write
from benchmarks.rows import Benchmark, Finding
from grain.data.loader import find_shards, read_records
from grain.evaluate.held_out import encode_records
from grain.evaluate.metrics import mean_class_recall, topk_hits
from grain.predict import Predictor
from grain.structures import Array

MAP_PICTURES = 120  # pycocotools takes seconds for each hundred of pictures times hundreds of descriptions
SIDE = 1_000  # pixels of the pictures that the peers are told of


@dataclass(frozen=True)
class Same:
    """A number by ours and by a peer's account."""

    of: str
    peer: str
    ours: float
    theirs: float

    def to_json(self) -> dict[str, Any]:
        """A row of the table."""
        return {"of": self.of, "peer": self.peer, "ours": self.ours, "theirs": self.theirs}


def same_numbers() -> Finding:
    """Accuracies and grounding of the embedded model by our functions and by the peers'."""
    predictor = Predictor.from_pretrained(GRAIN)
    pairs = [*_accuracies(predictor), *_grounding(predictor)]
    differs = max(abs(pair.ours - pair.theirs) for pair in pairs)
    return Finding(differs, differs <= 1e-9, {"numbers": [pair.to_json() for pair in pairs]})


def _accuracies(predictor: Predictor) -> list[Same]:
    """On scores made hard by chance: the model alone is right about all of them."""
    folder = write(evaluation_world(EVALUATION_SEEDS[0]))
    shards = find_shards(folder, "novel")
    features, records = encode_records(predictor, read_records(shards), total=shards.images)
    classes = {str(record.class_name): list(record.texts) for record in records}
    order = {name: row for row, name in enumerate(classes)}
    target = np.array([order[str(record.class_name)] for record in records])
    scores = predictor.classify_features(features, classes, alpha=1.0).astype(np.float32)
    first, fifth = zeroshot_classification.accuracy(torch.from_numpy(scores), torch.from_numpy(target), topk=(1, 5))
    hits = top1_hits(scores, target)
    recall = float(balanced_accuracy_score(target, scores.argmax(axis=1)))
    return [
        Same("top-1", "clip_benchmark", float(hits.mean()), first),
        Same("top-5", "clip_benchmark", float(topk_hits(scores, target, 5).mean()), fifth),
        Same("mean per-class recall", "scikit-learn", mean_class_recall(hits, target), recall),
    ]


def _grounding(predictor: Predictor) -> list[Same]:
    shards = find_shards(write(evaluation_world(EVALUATION_SEEDS[0])), "held_out")
    features, records = encode_records(predictor, read_records(shards, limit=MAP_PICTURES), total=MAP_PICTURES)
    texts = list(dict.fromkeys(text for record in records for text in record.texts))
    row = {text: number for number, text in enumerate(texts)}
    embeds = predictor.embed_texts(texts)
    pictures = [
        GroundingPicture(
            feature.boxes_xyxy,
            feature.region_embeds @ embeds.T,
            np.array(record.boxes_xyxy, np.float32).reshape(-1, 4),
            np.array([row[text] for text in record.texts], np.int64),
        )
        for feature, record in zip(features, records, strict=True)
    ]
    found = grounding_map(pictures)
    return [same for name, judge in COCO_PEERS.items() for same in _same_map(name, found, judge(pictures))]


def _same_map(peer: str, found: GroundingMap, stats: Sequence[float]) -> list[Same]:
    ours = {"mAP": found.mean.value, "AP50": found.at(0.5).value, "AP75": found.at(0.75).value}
    return [Same(of, peer, value, float(stats[row])) for row, (of, value) in enumerate(ours.items())]


def coco_tables(pictures: Sequence[GroundingPicture]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the peers read: the truth, and the detections."""
    truth: dict[str, Any] = {"images": [], "annotations": [], "info": {}}
    truth["categories"] = [{"id": row, "name": str(row)} for row in range(pictures[0].scores.shape[1])]
    detections: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures):
        truth["images"].append({"id": number, "width": SIDE, "height": SIDE})
        for box, category in zip(picture.true_xyxy, picture.true_category, strict=True):
            shape = _xywh(box)
            region = {"image_id": number, "category_id": int(category), "bbox": shape, "iscrowd": 0}
            truth["annotations"].append(region | {"area": shape[2] * shape[3], "id": len(truth["annotations"]) + 1})
        for box, scores in zip(picture.boxes_xyxy, picture.scores, strict=True):
            detections += [
                {"image_id": number, "category_id": row, "bbox": _xywh(box), "score": float(score)}
                for row, score in enumerate(scores)
            ]
    return truth, detections


def _xywh(box: Array) -> list[float]:
    x0, y0, x1, y1 = (SIDE * box.astype(np.float64)).tolist()
    return [x0, y0, x1 - x0, y1 - y0]


def pycocotools_judge(pictures: Sequence[GroundingPicture]) -> Any:
    """pycocotools after its accumulation."""
    truth, detections = coco_tables(pictures)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(detections), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


def faster_stats(pictures: Sequence[GroundingPicture]) -> Sequence[float]:
    """faster-coco-eval's twelve numbers."""
    truth, detections = coco_tables(pictures)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = FasterCOCO(truth)
        judge = COCOeval_faster(coco, coco.loadRes(detections), "bbox", print_function=lambda *_: None)
        judge.run()
    return list(judge.stats)


COCO_PEERS: dict[str, Callable[[Sequence[GroundingPicture]], Sequence[float]]] = {
    "pycocotools": lambda pictures: list(pycocotools_judge(pictures).stats),
    "faster-coco-eval": faster_stats,
}


BENCHMARKS = (
    Benchmark(
        "same_numbers",
        "top-1, top-5, mean per-class recall, grounding mAP of the embedded model: largest difference from the peers",
        "identical (≤ 1e-9)",
        "",
        EVALUATION_SEEDS[0],
        same_numbers,
    ),
)
