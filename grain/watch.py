"""What a training tells beside its losses: how far it is, memory, boxes that hardly vary, a few pictures grounded again
and again; and how it hears that it should stop. train.py calls these and nothing here changes what it computes.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from grain.data import Record
from grain.predict import Predictor
from grain.structures import SCHEMA_VERSION, ImageFeatures

WATCHED = "watched"  # folder below the run's: step-XXXXXXXX.json, and 0.jpg, 1.jpg, …
MOST_WATCHED = 6  # pictures
MOST_TEXTS = 4  # of one of them
SIDE = 256  # pixels of the kept pictures
PROGRESS = "GRAIN_JOB_PROGRESS"  # the file in which a job says how far it is (app/jobs)
EVERY_S = 1.0  # between two words of progress
STOPPED = 128 + signal.SIGTERM  # the exit code of a run that was asked to stop and can go on


class Stop:
    """Whether this process was asked to end; it does so between two steps, with its state saved."""

    asked = False

    @classmethod
    def listen(cls) -> None:
        """From now on SIGTERM only asks. For the main thread of a process of its own."""
        signal.signal(signal.SIGTERM, lambda *_: setattr(cls, "asked", True))


class Progress:
    """Tells the job's runner how far a run is; says nothing where there is none."""

    def __init__(self) -> None:
        self._file, self._next = os.environ.get(PROGRESS, ""), 0.0

    def say(self, done: int, total: int, message: str) -> None:
        """Now and then; the end always. A full disk costs the message, not the run."""
        if not self._file or (done < total and time.monotonic() < self._next):
            return
        self._next = time.monotonic() + EVERY_S
        try:
            said = {"done": done, "total": total, "message": message}
            Path(self._file).write_text(json.dumps(said), encoding="utf-8")
        except OSError:
            return


def memory_bytes(device: torch.device) -> int:
    """The most that was held at once: of the GPU's memory, or on a processor of this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def box_spread(features: Sequence[ImageFeatures]) -> dict[str, float]:
    """How far the boxes of one region query vary over pictures: standard deviation, mean of the four coordinates.

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
    predictor: Predictor,
    features: Sequence[ImageFeatures],
    records: Sequence[Record[Image.Image]],
) -> None:
    """Write where the first few pictures' descriptions land now; the pictures themselves once.

    Each of step-XXXXXXXX.json: `pictures`, a list of {file, width, height, regions: [{text, box, truth, score}]}, boxes
    xyxy normalized, score a cosine. A full disk costs the file, not the run.
    """
    told = [(feature, record) for feature, record in zip(features, records, strict=True) if record.texts]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = [_told(folder, row, predictor, *pair) for row, pair in enumerate(told[:MOST_WATCHED])]
        file = folder / f"step-{step:08d}.json"
        said = {"schema_version": SCHEMA_VERSION, "step": step, "pictures": pictures}
        file.with_suffix(".tmp").write_text(json.dumps(said), encoding="utf-8")
        file.with_suffix(".tmp").replace(file)
    except OSError:
        return


def _told(
    folder: Path, row: int, predictor: Predictor, feature: ImageFeatures, record: Record[Image.Image]
) -> dict[str, object]:
    file = folder / f"{row}.jpg"
    if not file.exists():
        small = record.image.copy()
        small.thumbnail((SIDE, SIDE))
        small.save(file.with_suffix(".tmp"), "JPEG", quality=85)
        file.with_suffix(".tmp").replace(file)
    texts, regions = record.texts[:MOST_TEXTS], []
    if len(feature.boxes_xyxy):
        matches = feature.region_embeds @ predictor.embed_texts(texts).T  # [Q, T]
        for column, best in enumerate(matches.argmax(axis=0)):
            region = {"text": texts[column], "truth": list(record.boxes_xyxy[column])}
            box = [round(float(value), 4) for value in feature.boxes_xyxy[best]]
            regions.append(region | {"box": box, "score": round(float(matches[best, column]), 4)})
    return {"file": file.name, "width": record.image.width, "height": record.image.height, "regions": regions}
