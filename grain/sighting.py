"""One model on one data set: what became of every picture, its regions, its captions. The pictures are let go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from grain.checkpoint import CheckpointInfo
from grain.class_texts import ClassDescriptions
from grain.comparison import DescriptionEffect, leave_one_out
from grain.contenders import Contender
from grain.data_sets import NO_LABEL, DataSet, Item
from grain.features import FeatureStore
from grain.metrics import paired_iou
from grain.retrieval import Ranks, ranks
from grain.scoring import ALPHAS, DESCRIPTIONS, MIXED, NAMES, REGIONS, Ints, Outcomes, Sweep, halves, score_batch, sweep
from grain.structures import Array, ImageFeatures
from grain.zero_shot import ClassBank, build_class_bank

MOST_KEPT = 5000  # labelled pictures on which descriptions are left out in turn


@dataclass(frozen=True)
class Found:
    """Where a model finds texts in one picture: boxes_xyxy [T, 4] of their best regions, cosines [T]."""

    texts: tuple[str, ...]
    boxes_xyxy: Array
    cosines: Array


@dataclass(frozen=True)
class Grounding:
    """Described regions over a data set.

    cosines, ious: [R] of each true description's best region, and its overlap with the annotated box. picture: [R] row
    of the picture. absent: [A] cosine of the best region of a description that is another picture's.
    """

    cosines: Array
    ious: Array
    absent: Array
    picture: Ints


@dataclass(frozen=True)
class Sighting:
    """What one model saw in a data set.

    keys: [P] of the pictures, in order. labelled: [N] rows of those with a class; target: [N] their class. ways: way of
    asking -> what became of the labelled ones. found: [N] where the true class's descriptions are. effects: what each
    description does, over the first MOST_KEPT labelled pictures. ms: a picture. texts_encoded: that were not known yet.
    """

    model: str
    info: CheckpointInfo
    digest: str
    keys: tuple[str, ...]
    labelled: Ints
    target: Ints
    ways: Mapping[str, Outcomes]
    sweep: Sweep | None
    found: Sequence[Found | None]
    effects: tuple[DescriptionEffect, ...]
    grounding: Grounding | None
    retrieval: Ranks | None
    ms: float
    texts_encoded: int


@dataclass
class _Gathered:
    """What grows batch by batch."""

    keys: list[str] = field(default_factory=list)
    labelled: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    outcomes: list[dict[tuple[str, float], Outcomes]] = field(default_factory=list)
    found: list[Found | None] = field(default_factory=list)
    grounded: list[tuple[Array, Array, Array, int]] = field(default_factory=list)
    kept: list[ImageFeatures] = field(default_factory=list)
    captioned: list[Array] = field(default_factory=list)
    captions: list[tuple[str, ...]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def look_at(
    contender: Contender,
    data: DataSet,
    descriptions: ClassDescriptions,
    store: FeatureStore,
    on_batch: Callable[[int], object] = lambda done: None,
) -> Sighting:
    """Show a model a data set.

    Raises: DataSetError, OSError: see FeatureStore.read.
    """
    encoded = contender.texts.encoded
    names, described = banks_of(contender, data, descriptions)
    gathered = _Gathered()
    before: tuple[str, ...] = ()
    for seen in store.read(contender.predictor, on_batch):
        _classify(gathered, seen.items, seen.features, names, described, contender.logit_scale)
        for item, features in zip(seen.items, seen.features, strict=True):
            if item.texts and len(features.region_embeds):
                row = len(gathered.keys)
                gathered.grounded.append((*_ground(contender, item, features, before), row))
                before = item.texts
            if item.captions:
                gathered.captions.append(item.captions)
                gathered.captioned.append(features.image_embed)
            gathered.keys.append(item.key)
        gathered.seconds.append(seen.seconds / len(seen.items))
    return _sighting(contender, gathered, described, encoded)


def banks_of(
    contender: Contender, data: DataSet, descriptions: ClassDescriptions
) -> tuple[ClassBank | None, ClassBank | None]:
    """The classes by name alone, and with their descriptions; None where there are none."""
    if not data.class_names:
        return None, None
    templates = data.templates or contender.class_texts
    names = build_class_bank(dict.fromkeys(data.class_names, ()), templates, contender.texts)
    if not descriptions.texts:
        return names, None
    return names, build_class_bank(descriptions.classes, templates, contender.texts)


def _classify(
    gathered: _Gathered,
    items: Sequence[Item],
    features: Sequence[ImageFeatures],
    names: ClassBank | None,
    described: ClassBank | None,
    scale: float,
) -> None:
    mine = [row for row, item in enumerate(items) if item.label != NO_LABEL]
    if names is None or not mine:
        return
    target = np.array([items[row].label for row in mine])
    chosen = [features[row] for row in mine]
    gathered.outcomes.append(score_batch(chosen, target, names, described, scale=scale))
    gathered.labelled += [len(gathered.keys) + row for row in mine]
    gathered.target += target.tolist()
    gathered.kept += chosen[: MOST_KEPT - len(gathered.kept)]
    gathered.found += [
        _where(each, described, label) if described else None for each, label in zip(chosen, target, strict=True)
    ]


def _where(features: ImageFeatures, bank: ClassBank, label: int) -> Found | None:
    """Where the descriptions of a class are."""
    rows = np.flatnonzero(bank.class_index == label)
    if not len(rows) or not len(features.region_embeds):
        return None
    matches = features.region_embeds @ bank.bare[rows].T  # [Q, T]
    best = matches.argmax(axis=0)
    texts = tuple(bank.texts[row] for row in rows)
    return Found(texts, features.boxes_xyxy[best], matches[best, np.arange(len(rows))])


def _ground(
    contender: Contender, item: Item, features: ImageFeatures, others: Sequence[str]
) -> tuple[Array, Array, Array]:
    """Cosines and IoUs of the true descriptions, and cosines of another picture's that are not true here."""
    absent = [text for text in others if text not in item.texts]
    embeds = contender.texts([*item.texts, *absent])
    matches = features.region_embeds @ embeds.T
    true = matches[:, : len(item.texts)]
    best = true.argmax(axis=0)
    ious = paired_iou(features.boxes_xyxy[best], np.array(item.boxes_xyxy, np.float32))
    return true.max(axis=0), ious, matches[:, len(item.texts) :].max(axis=0)


def _sighting(contender: Contender, gathered: _Gathered, described: ClassBank | None, encoded: int) -> Sighting:
    target = np.array(gathered.target, np.int64)
    ways, curve = _ways(gathered.outcomes, target, halves([gathered.keys[row] for row in gathered.labelled]))
    return Sighting(
        model=contender.spec,
        info=contender.info,
        digest=contender.digest,
        keys=tuple(gathered.keys),
        labelled=np.array(gathered.labelled, np.int64),
        target=target,
        ways=ways,
        sweep=curve,
        found=gathered.found,
        effects=leave_one_out(gathered.kept, described, target[: len(gathered.kept)]) if described else (),
        grounding=_grounding(gathered.grounded),
        retrieval=_retrieval(contender, gathered),
        ms=1000 * float(np.median(gathered.seconds)),
        texts_encoded=contender.texts.encoded - encoded,
    )


def _retrieval(contender: Contender, gathered: _Gathered) -> Ranks | None:
    """Captions and pictures, each looked for among all others."""
    if not gathered.captions:
        return None
    texts = [text for own in gathered.captions for text in own]
    owner = [row for row, own in enumerate(gathered.captions) for _ in own]
    return ranks(np.stack(gathered.captioned), contender.texts(texts), owner)


def _ways(
    parts: Sequence[dict[tuple[str, float], Outcomes]], target: Ints, second: NDArray[np.bool_]
) -> tuple[dict[str, Outcomes], Sweep | None]:
    if not parts:
        return {}, None
    whole = {key: Outcomes.joined([part[key] for part in parts]) for key in parts[0]}
    ways = {NAMES: whole[NAMES, 1.0]}
    if (DESCRIPTIONS, 1.0) in whole:
        ways[DESCRIPTIONS] = whole[DESCRIPTIONS, 1.0]
    if (DESCRIPTIONS, 0.0) not in whole:
        return ways, None
    curve, mixed = sweep({alpha: whole[DESCRIPTIONS, alpha] for alpha in ALPHAS}, target, second)
    return ways | {REGIONS: whole[DESCRIPTIONS, 0.0], MIXED: mixed}, curve


def _grounding(parts: Sequence[tuple[Array, Array, Array, int]]) -> Grounding | None:
    if not parts:
        return None
    cosines, ious, absent, rows = zip(*parts, strict=True)
    return Grounding(
        np.concatenate(cosines),
        np.concatenate(ious),
        np.concatenate(absent),
        np.repeat(np.array(rows), [len(each) for each in cosines]),
    )
