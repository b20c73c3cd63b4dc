"""Watch a training beside its losses: progress, memory, box spread, a few grounded pictures, a request to stop.

train.py calls these; nothing here changes what it computes.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atomic_files import atomic_file, write_atomically
from grain.data.record import ShardRecord
from grain.predict import Predictor
from grain.structures import SCHEMA_VERSION, ImageFeatures
from job_progress import report_progress
from user_errors import WriteError

WATCHED = "watched"  # folder below the run's: step-XXXXXXXX.json, and 0.jpg, 1.jpg, …
MAX_WATCHED = 6  # pictures
MAX_TEXTS = 4  # of one of them
SIDE = 256  # pixels of the kept pictures
REPORT_EVERY_S = 1.0  # between two reports of progress
STOPPED = 128 + signal.SIGTERM  # the exit code of a run that was stopped and can resume


class StopSignal:
    """A request to end this process, which it does between two steps, with its state saved."""

    requested = False

    @classmethod
    def listen(cls) -> None:
        """Turn SIGTERM into a request to stop. For the main thread of a process of its own."""
        signal.signal(signal.SIGTERM, lambda *_: setattr(cls, "requested", True))


class ProgressReporter:
    """Tells the job that a run is part of how far it is, at most once a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def report(self, done: int, total: int, message: str) -> None:
        """Report now and then, and always at the end."""
        if done < total and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + REPORT_EVERY_S
        report_progress(done, total, message)


def memory_bytes(device: torch.device) -> int:
    """Return peak memory: of the GPU, or on a CPU of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def device_use(device: torch.device) -> dict[str, float]:
    """Return how busy a GPU is, in per cent, as `gpu_percent`; nothing on a CPU or where nobody can tell."""
    if device.type != "cuda":
        return {}
    try:
        return {"gpu_percent": float(torch.cuda.utilization(device))}
    except Exception:  # of NVIDIA's library, which may be missing or not know a part of a GPU: a figure stops no run
        return {}


def check_tracker(name: str) -> None:
    """Check that a tracker is installed.

    Raises: ValueError: it is not.
    """
    if name != "none" and find_spec(name) is None:
        raise ValueError(f"the tracker {name} is not installed: run `pip install {name}`, or choose another")


def distinct_share(captions: Tensor) -> float:
    """Return the share of a process's captions that no other equals: 0 where all are empty or the same.

    Args: captions: [B, L] token ids.
    """
    counts = torch.unique(captions, dim=0, return_counts=True)[1]
    return float((counts == 1).sum()) / max(len(captions), 1)


def box_spread(features: Sequence[ImageFeatures]) -> dict[str, float]:
    """Measure how far the boxes of one region query vary over pictures: standard deviation, mean of the coordinates.

    Returns: `box_spread_least`, of the query that varies least, and `box_spread_mean`; nothing where queries are not
             the same ones for every picture, or there are fewer than two pictures.
    """
    if len(features) < 2 or len({len(each.boxes_xyxy) for each in features}) != 1 or not len(features[0].boxes_xyxy):
        return {}
    spread = np.stack([each.boxes_xyxy for each in features]).std(axis=0).mean(axis=1)  # [Q]
    return {"box_spread_least": float(spread.min()), "box_spread_mean": float(spread.mean())}


def keep_pictures(
    folder: Path,
    step: int,
    *,
    predictor: Predictor,
    features: Sequence[ImageFeatures],
    records: Sequence[ShardRecord[Image.Image]],
) -> None:
    """Write where the first few pictures' descriptions are found now; the pictures themselves once.

    Each of step-XXXXXXXX.json: `pictures`, a list of {file, width, height, regions: [{text, box, truth, score}]}, boxes
    xyxy normalized, score a cosine. A full disk costs the file, not the run.
    """
    with_texts = [(feature, record) for feature, record in zip(features, records, strict=True) if record.texts]
    try:
        pictures = [
            _grounded_picture(folder, row, predictor=predictor, feature=feature, record=record)
            for row, (feature, record) in enumerate(with_texts[:MAX_WATCHED])
        ]
        content = {"schema_version": SCHEMA_VERSION, "step": step, "pictures": pictures}
        write_atomically(folder / f"step-{step:08d}.json", json.dumps(content), sync="none")
    except WriteError:
        return


def _grounded_picture(
    folder: Path, row: int, *, predictor: Predictor, feature: ImageFeatures, record: ShardRecord[Image.Image]
) -> dict[str, object]:
    file = folder / f"{row}.jpg"
    if not file.exists():
        small = record.image.copy()
        small.thumbnail((SIDE, SIDE))
        with atomic_file(file, sync="none") as temporary:
            small.save(temporary, "JPEG", quality=85)
    texts, regions = record.texts[:MAX_TEXTS], []
    if len(feature.boxes_xyxy):
        matches = feature.region_embeds @ predictor.embed_texts(texts).T  # [Q, T]
        ranked = predictor.rank_regions(record.image, feature, texts)
        for column, (best, found) in enumerate(
            zip(ranked.ranking.argmax(axis=0), ranked.best_boxes(feature.boxes_xyxy), strict=True)
        ):
            region = {"text": texts[column], "truth": list(record.boxes_xyxy[column])}
            box = [round(float(value), 4) for value in found]
            regions.append(region | {"box": box, "score": round(float(matches[best, column]), 4)})
    return {"file": file.name, "width": record.image.width, "height": record.image.height, "regions": regions}
