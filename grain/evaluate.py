"""Models × data sets -> metrics.json, CSV, pictures to look at:  python -m grain.evaluate --models … --data-sets …

Stopped at any moment, the same command goes on where it was: what models see in pictures is kept batch by batch
(grain/features.py), what they make of texts text by text (grain/text_cache.py). The functions on top of the file
measure a model on the held-out and novel splits of a data folder in memory, as training and benchmarks want it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

from grain.class_texts import (
    ClassDescriptions,
    match_descriptions,
    read_descriptions,
    without_descriptions,
)
from grain.contenders import OPEN_CLIP, open_contender, twin_of
from grain.data import Record, proposals_of
from grain.data_sets import CLASSES, DataSet
from grain.experiments import EXPERIMENTS, models_of
from grain.features import FeatureStore, chosen_rows
from grain.metrics import Estimate, Values, mean_interval, paired_iou, recall_at, top1_hits
from grain.predict import Predictor
from grain.progress import report_progress
from grain.published import PUBLISHED, open_data_set
from grain.report import Block, write_report
from grain.sighting import Sighting, look_at
from grain.structures import Array, ImageFeatures

BATCH = 64  # pictures a pass
DESCRIPTIONS = "descriptions"  # folder below the root of published data sets
ALPHAS = {"novel_top1": 1.0, "novel_top1_regions": 0.0, "novel_top1_both": 0.5}


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


def _groups(records: Iterable[Record[Image.Image]]) -> Iterable[list[Record[Image.Image]]]:
    iterator = iter(records)
    while group := list(islice(iterator, BATCH)):
        yield group


@dataclass(frozen=True)
class EvaluateConfig:
    """Show models data sets; writes a folder with metrics.json, details.json, CSV files and pictures to look at."""

    models: tuple[str, ...] = ()
    """Checkpoint folders, embedded ones by name, or open_clip:ViT-B-16=WEIGHTS (a .safetensors file or a tag)."""
    data_sets: tuple[str, ...] = ()
    """Names of published data sets, or paths: a data folder (PATH#held_out for another split than novel), an
    ImageFolder, WebDataset shards in CLIP_benchmark's layout, COCO's or Flickr30k's file of captions or its folder."""
    out: Path = Path("evaluation")
    """Folder to write; the same command in the same folder goes on where it was."""
    experiment: str | None = None
    """equal-size, losses, annotations, other-look or no-box-head: its arms are shown too. What is not trained yet is
    named with its command."""
    runs: Path = Path("runs")
    """Folder of the experiment's trainings."""
    arms: tuple[str, ...] = ()
    """Of the experiment, as ARM=CHECKPOINT: these in place of its trainings; arms that are left out are not shown."""
    descriptions: tuple[str, ...] = ()
    """JSON files of class descriptions, as DATA_SET=FILE, the data set as it is called above; or, for all, FILE."""
    twins: bool = True
    """Also the CLIP twin that a checkpoint names, where it lies beside it."""
    root: Path = Path("data")
    """Folder below which published data sets are looked for, and their descriptions as descriptions/NAME.json."""
    cache: Path | None = None
    """Folder of what was encoded already; by default in the folder that is written."""
    limit: int | None = None
    """At most so many pictures of each data set, drawn once for all."""
    precision: str = "auto"
    """auto, fp32 or bf16."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not (self.models or self.experiment) or not self.data_sets:
            raise ValueError("nothing to evaluate: give --models or --experiment, and at least one of --data-sets")
        if self.experiment and self.experiment not in EXPERIMENTS:
            raise ValueError(f"no experiment {self.experiment!r}: choose one of {', '.join(EXPERIMENTS)}")
        if self.arms and not self.experiment:
            raise ValueError("--arms are those of an experiment: give --experiment too")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}")
        if unknown := [name for name, _ in map(described_by, self.descriptions) if name not in ("", *self.data_sets)]:
            known = ", ".join(self.data_sets)
            raise ValueError(f"--descriptions names {unknown[0]!r}, which is none of the data sets: name {known}")


def described_by(named: str) -> tuple[str, str]:
    """An entry of `descriptions` -> the data set, "" for all, and the file."""
    data_set, _, file = named.rpartition("=")
    return data_set, file


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Everything; returns what metrics.json holds.

    Raises: ValueError: a data set, a description file or a model cannot be used; one sentence says what to do. Data
            sets and descriptions are looked at before the first model is loaded.
    """
    opened = [open_data_set(spec, config.root) for spec in config.data_sets]
    described = [_descriptions(config, spec, data) for spec, data in zip(config.data_sets, opened, strict=True)]
    arms = models_of(config.experiment, config.runs, config.arms) if config.experiment else {}
    asked = [*arms, *config.models]
    models = _with_twins(asked) if config.twins else list(dict.fromkeys(asked))
    labels = labels_of(models, arms)
    sightings: list[list[Sighting]] = [[] for _ in opened]
    cache = config.cache or config.out / "cache"
    total = len(models) * sum(len(chosen_rows(data.total, config.limit)) for data in opened)
    with tqdm(total=total, unit="img", disable=None) as bar:
        for spec in models:
            bar.set_description(spec)
            contender = open_contender(spec, cache, precision=config.precision)
            for data, (known, _), seen in zip(opened, described, sightings, strict=True):
                store = FeatureStore(cache / "features", data, contender.digest, config.limit)
                before = bar.n

                def say(done: int, before: int = before, what: str = f"{spec} on {data.name}") -> None:
                    bar.update(before + done - bar.n)
                    report_progress(bar.n, total, what)

                seen.append(replace(look_at(contender, data, known, store, say), model=labels[spec]))
    report_progress(total, total, "comparing")
    blocks = [
        Block(data, spec, config.limit, known, source, seen)
        for spec, data, (known, source), seen in zip(config.data_sets, opened, described, sightings, strict=True)
    ]
    return write_report(config.out, _asked(config, models), blocks)


def _with_twins(specs: Sequence[str]) -> list[str]:
    """Each model with its twin behind it, none twice."""
    pairs = ((spec, twin_of(spec)) for spec in specs)
    return list(dict.fromkeys(each for pair in pairs for each in pair if each))


def labels_of(specs: Sequence[str], arms: Mapping[str, str] | None = None) -> dict[str, str]:
    """What tables call each model: its arm; else the last part of its path, or all of it where two would be alike."""
    short = {spec: spec if spec.startswith(OPEN_CLIP) else _name_of(Path(spec)) for spec in specs} | dict(arms or {})
    names = list(short.values())
    return {spec: name if spec in (arms or {}) or names.count(name) == 1 else spec for spec, name in short.items()}


def _name_of(folder: Path) -> str:
    """A run's checkpoint goes by the run's name."""
    return folder.parent.name if folder.name in ("final", "best") and folder.parent.name else folder.name


def _descriptions(config: EvaluateConfig, spec: str, data: DataSet) -> tuple[ClassDescriptions, str]:
    """A data set's descriptions and where they come from: the file that was named for it, what came with it, or the
    one that lies with the published data sets under its name.
    """
    if not data.class_names:
        return without_descriptions(()), ""
    named = dict(map(described_by, config.descriptions))
    file = named.get(spec, named.get("", ""))
    if file:
        return read_descriptions(Path(file), data.class_names), Path(file).name
    if data.classes:
        return match_descriptions(data.classes, data.class_names, CLASSES), CLASSES
    beside = config.root / DESCRIPTIONS / f"{data.name}.json"
    if spec in PUBLISHED and beside.is_file():
        return read_descriptions(beside, data.class_names), f"{DESCRIPTIONS}/{beside.name}"
    return without_descriptions(data.class_names), ""


def _asked(config: EvaluateConfig, models: Sequence[str]) -> dict[str, Any]:
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}
    return plain | {"models": list(models)}


def main(config: EvaluateConfig) -> None:
    """The command line."""
    metrics = evaluate(config)
    for data in metrics["data_sets"]:
        for sentence in filter(None, (data["note"], *data["descriptions"]["report"])):
            print(f"{data['name']}: {sentence}", file=sys.stderr)
        for row in data["rows"]:
            value, low, high = (100 * number for number in row["top1"])
            print(f"{data['name']}: {row['row']}: top-1 {value:.1f} % [{low:.1f}, {high:.1f}]")
        for row in data["retrieval"]:
            found = ", ".join(f"{name} {100 * row[name][0]:.1f} %" for name in row if name.endswith("r1"))
            print(f"{data['name']}: {row['model']}: {found}")
    print(f"wrote {config.out}")


if __name__ == "__main__":
    try:
        main(tyro.cli(EvaluateConfig))
    except (ValueError, OSError) as error:
        sys.exit(f"grain.evaluate: {error}")
