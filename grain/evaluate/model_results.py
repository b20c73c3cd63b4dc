"""Evaluate one model on one data set: its classes, regions and captions. Images are not kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from grain.checkpoint import CheckpointInfo
from grain.class_texts import ClassDescriptions
from grain.data.data_sets import NO_LABEL, DataSet
from grain.evaluate.description_effects import DescriptionEffect, leave_one_out
from grain.evaluate.evaluated_models import EvaluatedModel
from grain.evaluate.features import EncodedBatch, FeatureStore
from grain.evaluate.other_ways import OTHER_WAYS
from grain.evaluate.recognition_options import Grammar, OtherWays, RecognitionOptions
from grain.evaluate.region_results import Contrasts, Detection, Grounding, RegionResults
from grain.evaluate.retrieval import Ranks, ranks
from grain.evaluate.scoring import (
    ALPHAS,
    DESCRIPTIONS,
    MIXED,
    NAMES,
    REGIONS,
    AlphaSweep,
    Ints,
    Outcomes,
    halves,
    outcomes,
    score_batch,
    sweep,
)
from grain.structures import Array, ImageFeatures
from grain.zero_shot import ClassBank, build_class_bank

MAX_KEPT = 5000  # labelled pictures on which descriptions are left out in turn


@dataclass(frozen=True)
class FoundDescriptions:
    """The best regions of texts in one picture: boxes_xyxy [T, 4] of their best regions, cosines [T]."""

    texts: tuple[str, ...]
    boxes_xyxy: Array
    cosines: Array


@dataclass(frozen=True)
class ModelResult:
    """The results of one model on a data set.

    keys: [P] of the pictures, in order. labelled: [N] rows of those with a class; target: [N] their class. ways: way of
    scoring -> outcomes of the labelled ones. found: [N] where the true class's descriptions are. effects: what each
    description does, over the first MAX_KEPT labelled pictures. ms: a picture. texts_encoded: texts that were
    not cached yet.
    """

    model: str
    info: CheckpointInfo
    digest: str
    keys: tuple[str, ...]
    labelled: Ints
    target: Ints
    ways: Mapping[str, Outcomes]
    sweep: AlphaSweep | None
    found: Sequence[FoundDescriptions | None]
    effects: tuple[DescriptionEffect, ...]
    grounding: Grounding | None
    detection: Detection | None
    contrasts: Contrasts | None
    retrieval: Ranks | None
    ms: float
    texts_encoded: int


def evaluate_model(
    model: EvaluatedModel,
    data: DataSet,
    *,
    descriptions: ClassDescriptions,
    store: FeatureStore,
    options: RecognitionOptions | None = None,
    on_batch: Callable[[int], object] = lambda done: None,
) -> ModelResult:
    """Evaluate a model on a data set. options: None for ours alone.

    Raises: UserError, OSError: see FeatureStore.read.
    """
    encoded = model.texts.encoded
    asked = options or RecognitionOptions()
    names, described = banks_of(model, data, descriptions, grammar=asked.grammar)
    others = None
    if names and described:
        others = OtherWays.of(model, names, described, firsts=_firsts(data), asked=asked)
    builder = _ResultBuilder(model, names, described, RegionResults(model, data.categories), _firsts(data), others)
    for batch in store.read(model.predictor, on_batch):
        builder.add(batch)
    return builder.result(encoded)


def banks_of(
    model: EvaluatedModel, data: DataSet, descriptions: ClassDescriptions, *, grammar: Grammar = "templates"
) -> tuple[ClassBank | None, ClassBank | None]:
    """Embed the classes by name alone, and with their descriptions; None where there are none."""
    if not data.class_names:
        return None, None
    templates = data.templates or model.class_texts
    if grammar == "authors":
        templates = templates.in_clauses()
    names = build_class_bank(dict.fromkeys(names_of(data), ()), templates, model.texts)
    if not descriptions.texts:
        return names, None
    rule = model.info.region_rule
    return names, build_class_bank(descriptions.classes, templates, model.texts, region_rule=rule)


def names_of(data: DataSet) -> list[str]:
    """Return the names of all classes, one after the other; of most data sets one each.

    Raises: ValueError: two classes share a name, so that neither could be told from the other.
    """
    names = [name for each in data.class_names for name in data.members.get(each, (each,))]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two classes of {data.name} go by the name {twice!r}: get its lists of names again")
    return names


def _firsts(data: DataSet) -> Ints | None:
    """Return the row of each class's first name; None where every class has one."""
    if not data.members:
        return None
    counts = [len(data.members.get(each, (each,))) for each in data.class_names]
    return np.cumsum([0, *counts[:-1]])


@dataclass
class _ResultBuilder:
    """The result of a model, collected batch by batch.

    names, described: the classes by name alone, and with their descriptions.
    """

    model: EvaluatedModel
    names: ClassBank | None
    described: ClassBank | None
    regions: RegionResults
    firsts: Ints | None
    others: OtherWays | None = None
    keys: list[str] = field(default_factory=list)
    labelled: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    outcomes: list[dict[tuple[str, float], Outcomes]] = field(default_factory=list)
    found: list[FoundDescriptions | None] = field(default_factory=list)
    kept: list[ImageFeatures] = field(default_factory=list)
    captioned: list[Array] = field(default_factory=list)
    captions: list[tuple[str, ...]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, batch: EncodedBatch) -> None:
        """Score a batch: its classes, regions and captions."""
        self._classify(batch)
        for item, features in zip(batch.items, batch.features, strict=True):
            self.regions.add(item, features, len(self.keys))
            if item.captions:
                self.captions.append(item.captions)
                self.captioned.append(features.image_embed)
            self.keys.append(item.key)
        self.seconds.append(batch.seconds / len(batch.items))

    def _classify(self, batch: EncodedBatch) -> None:
        rows = [row for row, item in enumerate(batch.items) if item.label != NO_LABEL]
        if self.names is None or not rows:
            return
        target = np.array([batch.items[row].label for row in rows])
        features, scale = [batch.features[row] for row in rows], self.model.logit_scale
        scored = score_batch(
            features, target, names=self.names, described=self.described, scale=scale, firsts=self.firsts
        )
        if self.others:
            items = [batch.items[row] for row in rows]
            for way, scores in self.others.scores(items, features).items():
                scored[way, 1.0] = outcomes(scores, target, scale=scale)
        self.outcomes.append(scored)
        self.labelled += [len(self.keys) + row for row in rows]
        self.target += target.tolist()
        self.kept += features[: MAX_KEPT - len(self.kept)]
        self.found += [
            _where(each, self.described, label) if self.described else None
            for each, label in zip(features, target, strict=True)
        ]

    def result(self, texts_before: int) -> ModelResult:
        """Return the result of all batches. texts_before: texts that the model had encoded before them."""
        target = np.array(self.target, np.int64)
        ways, curve = _ways(self.outcomes, target, halves([self.keys[row] for row in self.labelled]))
        kept_target = target[: len(self.kept)]
        return ModelResult(
            model=self.model.spec,
            info=self.model.info,
            digest=self.model.digest,
            keys=tuple(self.keys),
            labelled=np.array(self.labelled, np.int64),
            target=target,
            ways=ways,
            sweep=curve,
            found=self.found,
            effects=leave_one_out(self.kept, self.described, kept_target) if self.described else (),
            grounding=self.regions.grounding(),
            detection=self.regions.detection(),
            contrasts=self.regions.contrasts(),
            retrieval=self._retrieval(),
            ms=1000 * float(np.median(self.seconds)),
            texts_encoded=self.model.texts.encoded - texts_before,
        )

    def _retrieval(self) -> Ranks | None:
        """Rank captions and pictures, each among all others."""
        if not self.captions:
            return None
        texts = [text for own in self.captions for text in own]
        owner = [row for row, own in enumerate(self.captions) for _ in own]
        return ranks(np.stack(self.captioned), self.model.texts(texts), owner)


def _where(features: ImageFeatures, bank: ClassBank, label: int) -> FoundDescriptions | None:
    """Find the regions of a class's descriptions."""
    rows = np.flatnonzero(bank.class_index == label)
    if not len(rows) or not len(features.region_embeds):
        return None
    matches = features.region_embeds @ bank.bare[rows].T  # [Q, T]
    best = matches.argmax(axis=0)
    texts = tuple(bank.texts[row] for row in rows)
    return FoundDescriptions(texts, features.boxes_xyxy[best], matches[best, np.arange(len(rows))])


def _ways(
    parts: Sequence[dict[tuple[str, float], Outcomes]], target: Ints, second: NDArray[np.bool_]
) -> tuple[dict[str, Outcomes], AlphaSweep | None]:
    if not parts:
        return {}, None
    joined = {key: Outcomes.joined([part[key] for part in parts]) for key in parts[0]}
    ways = {NAMES: joined[NAMES, 1.0]}
    if (DESCRIPTIONS, 1.0) in joined:
        ways[DESCRIPTIONS] = joined[DESCRIPTIONS, 1.0]
    ways |= {way: joined[way, 1.0] for way in OTHER_WAYS if (way, 1.0) in joined}
    if (DESCRIPTIONS, 0.0) not in joined:
        return ways, None
    curve, mixed = sweep({alpha: joined[DESCRIPTIONS, alpha] for alpha in ALPHAS}, target, second)
    return ways | {REGIONS: joined[DESCRIPTIONS, 0.0], MIXED: mixed}, curve
