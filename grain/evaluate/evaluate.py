"""Evaluate models on data sets:  python -m grain.evaluate --models … --data-sets …

Progress is saved: the same command resumes. Image features are kept batch by batch (grain/evaluate/features.py), text
embeddings text by text (grain/evaluate/text_cache.py). The functions on top
of the file measure a model on the held-out and novel splits of a data folder in memory, as training and benchmarks want
it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
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
from grain.evaluate.attempts import Attempts
from grain.evaluate.evaluated_models import OPEN_CLIP, open_model, twin_of
from grain.evaluate.experiments import EXPERIMENTS, experiment_models
from grain.evaluate.features import FeatureStore, chosen_rows
from grain.evaluate.model_results import ModelResult, evaluate_model
from grain.evaluate.other_ways import CROPS, OtherWay
from grain.evaluate.recognition_options import Grammar, RecognitionOptions
from grain.evaluate.report import write_report
from grain.evaluate.summary import DataSetResult, result_lines
from job_progress import report_progress

DESCRIPTIONS = "descriptions"  # folder below the root of published data sets


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate models on data sets; writes metrics.json, details.json, CSV files and pictures to look at."""

    models: tuple[str, ...] = ()
    """Checkpoint folders, embedded ones by name, or open_clip:ViT-B-16=WEIGHTS (a .safetensors file or a tag)."""
    data_sets: tuple[str, ...] = ()
    """Names of published data sets, or paths: a data folder (PATH#held_out for another split than novel), an
    ImageFolder, WebDataset shards in CLIP_benchmark's layout, COCO's or Flickr30k's file of captions or its folder,
    or the authors' bboxes*.json."""
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
    other_ways: tuple[OtherWay, ...] = ()
    """Also: filtered, descriptions that tell their class from the others by text alone; weighted_crops, random crops
    against descriptions, both weighted (WCA), which encodes --crops crops of each picture again."""
    crops: int = CROPS
    """Of each picture, for weighted_crops."""
    grammar: Grammar = "templates"
    """How a description is written behind its class: as the data set or model has it; or as the authors' code does, in
    a relative clause (which is, which has, which)."""
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
        if self.crops < 1:
            raise ValueError(f"crops must be at least 1, got {self.crops}: leave weighted_crops out for none")
        if unknown := [name for name, _ in map(described_by, self.descriptions) if name not in ("", *self.data_sets)]:
            known = ", ".join(self.data_sets)
            raise ValueError(f"--descriptions names {unknown[0]!r}, which is none of the data sets: name {known}")


def described_by(named: str) -> tuple[str, str]:
    """Split an entry of `descriptions` into the data set, "" for all, and the file."""
    data_set, _, file = named.rpartition("=")
    return data_set, file


def evaluate(config: EvaluateConfig, place_of: Callable[[str], str] = str) -> dict[str, Any]:
    """Evaluate all models on all data sets, each pair on its own; returns the content of metrics.json.

    A pair that fails is told in it with its reason, and the others go on.

    Args:   place_of: the path or published name of a data set, as the command calls it; it may write it first.
    Raises: UserError, OSError: an experiment lacks a training, or no pair could be evaluated; the reason of the first.
            Where no data set can be opened, no model is loaded. DiskFullError: what was encoded is kept.
    """
    arms = experiment_models(config.experiment, config.runs, config.arms) if config.experiment else {}
    specs = [*arms, *config.models]
    models = _with_twins(specs) if config.twins else list(dict.fromkeys(specs))
    labels = labels_of(models, arms)
    attempts = Attempts()
    opened: list[_OpenedSet] = []
    for spec in dict.fromkeys(config.data_sets):
        with attempts.of([(labels[model], spec) for model in models]):
            opened.append(_open_set(config, spec, place_of(spec)))
    attempts.must_leave(opened)
    opened = _with_distinct_names(opened)
    _evaluate_pairs(config, opened, labels, attempts=attempts)
    results = [
        DataSetResult(each.data, each.spec, config.limit, each.descriptions, each.source, each.results)
        for each in opened
        if each.results
    ]
    attempts.must_leave(results)
    written = write_report(config.out, _asked(config, models), results, failures=attempts.failures)
    report_progress(1, 1, f"compared on {', '.join(each.data.name for each in results)}")
    return written


@dataclass
class _OpenedSet:
    """A data set of the command, and the results on it so far. source: of the descriptions, in words."""

    spec: str
    data: DataSet
    descriptions: ClassDescriptions
    source: str
    results: list[ModelResult] = field(default_factory=list)


def _open_set(config: EvaluateConfig, spec: str, place: str) -> _OpenedSet:
    data = open_data_set(place, config.root)
    return _OpenedSet(spec, data, *_descriptions(config, spec, data))


def _with_distinct_names(opened: Sequence[_OpenedSet]) -> list[_OpenedSet]:
    """Name data sets of the same name by as much of their paths as tells them apart."""
    names = [each.data.name for each in opened]
    parts = [each.spec.split("/") for each in opened]
    for depth in range(1, max(map(len, parts)) + 1):
        same = [name for name in names if names.count(name) > 1]
        names = ["/".join(part[-depth:]) if name in same else name for name, part in zip(names, parts, strict=True)]
    return [replace(each, data=replace(each.data, name=name)) for each, name in zip(opened, names, strict=True)]


def _evaluate_pairs(
    config: EvaluateConfig, opened: Sequence[_OpenedSet], labels: Mapping[str, str], *, attempts: Attempts
) -> None:
    """Evaluate each model on each data set. labels: what results call each model."""
    cache = config.cache or config.out / "cache"
    pictures = [len(chosen_rows(each.data, config.limit)) for each in opened]
    total = len(labels) * sum(pictures)
    with tqdm(total=total, unit="img", disable=None) as bar:
        for row, (spec, label) in enumerate(labels.items()):
            bar.set_description(spec)
            done = row * sum(pictures)
            with attempts.of([(label, each.spec) for each in opened]):
                model = open_model(spec, cache, precision=config.precision)
                for each, count in zip(opened, pictures, strict=True):
                    what = f"{spec} on {each.data.name}"
                    on_batch = partial(_move, bar=bar, total=total, what=what, before=done)
                    with attempts.of([(label, each.spec)]):
                        store = FeatureStore(cache / "features", each.data, model.features_digest, config.limit)
                        found = evaluate_model(
                            model,
                            each.data,
                            descriptions=each.descriptions,
                            store=store,
                            options=RecognitionOptions(config.other_ways, config.crops, config.grammar),
                            on_batch=on_batch,
                        )
                        each.results.append(replace(found, model=label))
                    done += count
    report_progress(total, total, "comparing")


def _move(done: int, *, bar: Any, total: int, what: str, before: int) -> None:
    """Move the progress bar, and tell the job. done: pictures of the pair that starts at `before`."""
    bar.update(before + done - bar.n)
    report_progress(bar.n, total, what)


def _with_twins(specs: Sequence[str]) -> list[str]:
    """Put each model's twin behind it, none twice."""
    pairs = ((spec, _twin_of(spec)) for spec in specs)
    return list(dict.fromkeys(each for pair in pairs for each in pair if each))


def _twin_of(spec: str) -> str | None:
    """Return a model's twin; None for one that cannot be read, which is told when it is opened."""
    try:
        return twin_of(spec)
    except (ValueError, OSError):
        return None


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


def main(config: EvaluateConfig, place_of: Callable[[str], str] = str) -> None:
    """Run the command line. place_of: see evaluate."""
    metrics = evaluate(config, place_of)
    for failure in metrics["failures"]:
        print(f"{failure['data_set']}: {failure['model']} failed: {failure['reason']}", file=sys.stderr)
    for data in metrics["data_sets"]:
        for sentence in filter(None, (data["note"], *data["notes"], *data["descriptions"]["report"])):
            print(f"{data['name']}: {sentence}", file=sys.stderr)
        for line in result_lines(data):
            print(line)
    print(f"wrote {config.out}")
