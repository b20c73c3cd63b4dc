"""Evaluate models on data sets:  python -m grain.evaluate --models … --data-sets …

Progress is saved: the same command resumes. Image features are kept batch by batch (grain/evaluate/features.py), text
embeddings text by text (grain/evaluate/text_cache.py). The functions on top
of the file measure a model on the held-out and novel splits of a data folder in memory, as training and benchmarks want
it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from grain.class_texts import (
    ClassDescriptions,
    match_descriptions,
    read_descriptions,
    without_descriptions,
)
from grain.data.data_sets import DataSet
from grain.data.layouts import CLASSES
from grain.data.published import PUBLISHED, open_data_set
from grain.evaluate.evaluated_models import OPEN_CLIP, open_model, twin_of
from grain.evaluate.experiments import EXPERIMENTS, experiment_models
from grain.evaluate.features import FeatureStore, chosen_rows
from grain.evaluate.model_results import ModelResult, evaluate_model
from grain.evaluate.report import write_report
from grain.evaluate.summary import DataSetResult
from grain.progress import report_progress

DESCRIPTIONS = "descriptions"  # folder below the root of published data sets


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate models on data sets; writes metrics.json, details.json, CSV files and pictures to look at."""

    models: tuple[str, ...] = ()
    """Checkpoint folders, embedded ones by name, or open_clip:ViT-B-16=WEIGHTS (a .safetensors file or a tag)."""
    data_sets: tuple[str, ...] = ()
    """Names of published data sets, or paths: a data folder (PATH#held_out for another split than novel), an
    ImageFolder, WebDataset shards in CLIP_benchmark's layout, COCO's or Flickr30k's file of captions or its folder."""
    out: Path = Path("evaluation")
    """Folder to write; the same command in the same folder resumes."""
    experiment: str | None = None
    """equal-size, losses, annotations, other-look or no-box-head: its arms are evaluated
    too. What is not trained yet is named with its command."""
    runs: Path = Path("runs")
    """Folder of the experiment's trainings."""
    arms: tuple[str, ...] = ()
    """Of the experiment, as ARM=CHECKPOINT: these in place of its trainings; the others are not evaluated."""
    descriptions: tuple[str, ...] = ()
    """JSON files of class descriptions, as DATA_SET=FILE, the data set as it is called above; or, for all, FILE."""
    twins: bool = True
    """Also the CLIP twin that a checkpoint names, where it is beside it."""
    root: Path = Path("data")
    """Folder below which published data sets are looked for, and their descriptions as descriptions/NAME.json."""
    cache: Path | None = None
    """Folder of what was encoded already; by default in the folder that is written."""
    limit: int | None = None
    """At most so many pictures of each data set, drawn once for all."""
    precision: str = "auto"
    """auto, fp32 or bf16."""

    def __post_init__(self) -> None:
        """Refuse what cannot be evaluated."""
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
    """Split an entry of `descriptions` into the data set, "" for all, and the file."""
    data_set, _, file = named.rpartition("=")
    return data_set, file


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate all models on all data sets; returns the content of metrics.json.

    Raises: ValueError: a data set, a description file or a model cannot be used; one sentence says what to do. Data
            sets and descriptions are checked before the first model is loaded.
    """
    opened = [open_data_set(spec, config.root) for spec in config.data_sets]
    described = [_descriptions(config, spec, data) for spec, data in zip(config.data_sets, opened, strict=True)]
    arms = experiment_models(config.experiment, config.runs, config.arms) if config.experiment else {}
    specs = [*arms, *config.models]
    models = _with_twins(specs) if config.twins else list(dict.fromkeys(specs))
    labels = labels_of(models, arms)
    model_results: list[list[ModelResult]] = [[] for _ in opened]
    cache = config.cache or config.out / "cache"
    total = len(models) * sum(len(chosen_rows(data.total, config.limit)) for data in opened)
    with tqdm(total=total, unit="img", disable=None) as bar:
        for spec in models:
            bar.set_description(spec)
            model = open_model(spec, cache, precision=config.precision)
            for data, (known, _), evaluated in zip(opened, described, model_results, strict=True):
                store = FeatureStore(cache / "features", data, model.digest, config.limit)
                before = bar.n

                def on_batch(done: int, before: int = before, what: str = f"{spec} on {data.name}") -> None:
                    bar.update(before + done - bar.n)
                    report_progress(bar.n, total, what)

                evaluated.append(
                    replace(
                        evaluate_model(model, data, descriptions=known, store=store, on_batch=on_batch),
                        model=labels[spec],
                    )
                )
    report_progress(total, total, "comparing")
    results = [
        DataSetResult(data, spec, config.limit, known, source, evaluated)
        for spec, data, (known, source), evaluated in zip(
            config.data_sets, opened, described, model_results, strict=True
        )
    ]
    return write_report(config.out, _asked(config, models), results)


def _with_twins(specs: Sequence[str]) -> list[str]:
    """Put each model's twin behind it, none twice."""
    pairs = ((spec, twin_of(spec)) for spec in specs)
    return list(dict.fromkeys(each for pair in pairs for each in pair if each))


def labels_of(specs: Sequence[str], arms: Mapping[str, str] | None = None) -> dict[str, str]:
    """Name each model for tables: by its arm, else by the last part of its path, or all of it if that is not unique."""
    short = {spec: spec if spec.startswith(OPEN_CLIP) else _name_of(Path(spec)) for spec in specs} | dict(arms or {})
    names = list(short.values())
    return {spec: name if spec in (arms or {}) or names.count(name) == 1 else spec for spec, name in short.items()}


def _name_of(folder: Path) -> str:
    """Name a checkpoint by its folder, and a run's checkpoint by the run's."""
    return folder.parent.name if folder.name in ("final", "best") and folder.parent.name else folder.name


def _descriptions(config: EvaluateConfig, spec: str, data: DataSet) -> tuple[ClassDescriptions, str]:
    """Return a data set's descriptions and their source.

    That is the file named for it, else what came with it, else the file of its name beside published data sets.
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
    """Run the command line."""
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
