"""Turn class texts into embeddings and scores. Pure numpy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grain.box_overlap import instance_rows
from grain.class_texts import each_once
from grain.config import ClassTexts
from grain.sentences import split_phrases
from grain.structures import (
    MIN_CONFIDENCE,
    MIN_PRESENCE,
    REGION_RULES,
    Array,
    ClassScore,
    DescriptionScore,
    ImageFeatures,
    Instances,
    Region,
    RegionRanking,
    RegionRule,
)
from user_errors import UserError

Classes = Mapping[str, Sequence[str]]
MOST_SHOWN = 30  # regions of an answer, apart from those that a text needs
MOST_CANDIDATES = 500  # regions of a description that are compared; a detector has thousands
EmbedTexts = Callable[[list[str]], Array]


@dataclass(frozen=True)
class ClassBank:
    """The embeddings of the classes.

    class_embeds: [C, E] mean of the class's texts, unit length. texts: the descriptions of all classes end to end.
    prompted: [D, E] each description in its templates, unit length. bare: [D, E] the description alone, for regions.
    class_index: [D] row of the class of each description. lengths: [D] of prompted before it was made unit
    length, which is a description's weight in the class's mean. phrases: [P, E] what regions are compared with by the
    region rule: the phrases of the descriptions, or `bare` itself. phrase_owner: [P] description of each, rising.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    class_index: NDArray[np.int64]
    class_embeds: Array
    prompted: Array
    bare: Array
    lengths: Array
    phrases: Array
    phrase_owner: NDArray[np.int64]
    region_rule: RegionRule


def build_class_bank(
    classes: Classes, templates: ClassTexts, embed_texts: EmbedTexts, *, region_rule: RegionRule = "best_region"
) -> ClassBank:
    """Encode the texts of all classes at once.

    Args:   classes: name -> descriptions; a class without descriptions is known by its name alone.
            region_rule: see region_scores.
    Raises: ValueError: no classes, or no such rule.
    """
    if not classes:
        raise ValueError("no classes: write at least one as `name: description; description`")
    if region_rule not in REGION_RULES:
        raise ValueError(f"no region rule {region_rule!r}: choose one of {', '.join(REGION_RULES)}")
    names = tuple(classes)
    texts: list[str] = []
    owner: list[int] = []  # of each description
    groups: list[tuple[int, list[str]]] = []  # class, and its texts of one description (or of the name alone)
    for row, (name, descriptions) in enumerate(classes.items()):
        groups += [(row, group) for group in class_prompts(name, descriptions, templates)]
        texts += descriptions
        owner += [row] * len(descriptions)
    written = [region_texts(names[row], [text], region_rule) for row, text in zip(owner, texts, strict=True)]
    phrases = [phrase for some in written for phrase in some] if region_rule == "phrases" else []
    embeds = embed_texts([text for _, group in groups for text in group] + texts + phrases)
    prompts, bare, split = np.split(embeds, [len(embeds) - len(phrases) - len(texts), len(embeds) - len(phrases)])
    starts = np.cumsum([0, *(len(group) for _, group in groups[:-1])])  # row of each group's first text
    of_class = np.array([row for row, _ in groups])  # rising
    described = np.array([bool(classes[names[row]]) for row in of_class])
    sums = np.add.reduceat(prompts, starts)[described]
    return ClassBank(
        names,
        tuple(texts),
        np.array(owner, dtype=np.int64),
        _unit(np.add.reduceat(prompts, starts[np.searchsorted(of_class, np.arange(len(names)))])),
        _unit(sums),
        bare,
        np.linalg.norm(sums, axis=1),
        split if phrases else bare,
        np.repeat(np.arange(len(texts)), [len(some) for some in written]),
        region_rule,
    )


def region_texts(name: str, descriptions: Sequence[str], region_rule: RegionRule) -> list[str]:
    """Return what regions are compared with: a class's descriptions, or their phrases."""
    if region_rule != "phrases":
        return list(descriptions)
    return [phrase for text in descriptions for phrase in split_phrases(text, class_name=name)]


def class_prompts(name: str, descriptions: Sequence[str], templates: ClassTexts) -> list[list[str]]:
    """Write the texts of a class: a group a description, or the one of its name alone where it has none.

    A description that is a sentence and names the class, as CuPL's do, needs no template.
    """
    if not descriptions:
        return [[template.format(name=name) for template in templates.names]]
    return [
        [description]
        if _stands_alone(name, description)
        else [
            template.format(name=name, description=description, clause=relative_clause(description))
            for template in templates.descriptions
        ]
        for description in descriptions
    ]


def relative_clause(description: str) -> str:
    """Write a description as a relative clause: `which is …`, `which has …` or `which …`, by its first letters.

    Source: the code of arXiv 2412.04429, whose rule is that of Menon & Vondrick (2023).
    """
    if description.startswith(("a", "used")):
        return f"which is {description}"
    if description.startswith(("has", "often", "typically", "may", "can")):
        return f"which {description}"
    return f"which has {description}"


def global_scores(image_embeds: Array, bank: ClassBank) -> Array:
    """Return the cosine of images [N, E] with classes, [N, C]."""
    return image_embeds @ bank.class_embeds.T


def region_scores(region_embeds: Array, bank: ClassBank) -> Array:
    """Score classes by the cosines of regions with descriptions, as the bank's region rule says.

    best_region is the mean over descriptions of the maximum over regions; phrases is the same of the descriptions'
    phrases; best_description is the mean over regions of the maximum over descriptions.

    Args:    region_embeds: [N, Q, E].
    Returns: [N, C]; NaN for a class without descriptions, or where Q is 0.
    Source:  best_description is what the code of arXiv 2412.04429 does.
    """
    images, queries, _ = region_embeds.shape
    scores = np.full((images, len(bank.names)), np.nan, np.float32)
    if queries == 0 or len(bank.texts) == 0:
        return scores
    cosines = region_embeds @ bank.phrases.T  # [N, Q, P]
    rows, starts, counts = np.unique(bank.class_index[bank.phrase_owner], return_index=True, return_counts=True)
    if bank.region_rule == "best_description":
        scores[:, rows] = np.maximum.reduceat(cosines, starts, axis=2).mean(axis=1)
    else:
        scores[:, rows] = np.add.reduceat(cosines.max(axis=1), starts, axis=1) / counts
    return scores


def mix(global_score: Array, region_score: Array, alpha: float) -> Array:
    """Return α · global + (1 − α) · regions; the global score alone where there is no region score.

    Raises: ValueError: alpha outside [0, 1].
    """
    check_alpha(alpha)
    mixed = alpha * global_score + (1 - alpha) * np.nan_to_num(region_score)
    return np.where(np.isnan(region_score), global_score, mixed)


def check_alpha(alpha: float) -> float:
    """Return alpha, the share of the image embedding.

    Raises: ValueError: outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
    return alpha


def score_classes(
    features: ImageFeatures, bank: ClassBank, *, rows: NDArray[np.int64], alpha: float, scale: float
) -> tuple[ClassScore, ...]:
    """Score one picture against the classes by all its regions, best first.

    Args: rows: the regions of the answer, see shown_rows; a description names one of them. scale: what the softmax
          multiplies cosines by.
    """
    image_scores = global_scores(features.image_embed[None], bank)[0]
    parts = region_scores(features.region_embeds[None], bank)[0]
    mixed = mix(image_scores, parts, alpha)
    exponent = np.exp(scale * (mixed - mixed.max()))
    probability = exponent / exponent.sum()
    with_image = bank.prompted @ features.image_embed  # [D]
    with_regions = features.region_embeds[rows] @ bank.phrases.T  # [Q, P]

    def describe(column: int) -> DescriptionScore:
        own = with_regions[:, bank.phrase_owner == column]
        best = int(own.max(axis=1).argmax()) if len(own) else None
        region_score = None if best is None else float(own.max(axis=0).mean())
        return DescriptionScore(bank.texts[column], float(with_image[column]), region_score, best)

    return tuple(
        ClassScore(
            name=bank.names[row],
            score=float(mixed[row]),
            global_score=float(image_scores[row]),
            region_score=None if np.isnan(parts[row]) else float(parts[row]),
            probability=float(probability[row]),
            descriptions=tuple(describe(int(column)) for column in np.flatnonzero(bank.class_index == row)),
        )
        for row in np.argsort(-mixed, kind="stable")
    )


def found_regions(
    boxes_xyxy: Array,
    matches: Array,
    ranked: RegionRanking,
    *,
    descriptions: Sequence[str],
    min_confidence: float = MIN_CONFIDENCE,
    instances: Instances = "best",
) -> tuple[Region, ...]:
    """Find the regions of each description, whatever their cosines, in the descriptions' order.

    The description must be present; of one that is there twice they are found once. Without a confidence one region of
    it is found: a cosine tells no instances.

    Args: boxes_xyxy: [Q, 4]. matches: [Q, D] cosines. instances: the best region, or all, the surest first, none of
          them a copy or a part of another.
    """
    if len(boxes_xyxy) == 0 or len(descriptions) == 0:
        return ()
    found = []
    present = np.ones(matches.shape[1]) if ranked.presence is None else ranked.presence
    for column, (text, likely) in enumerate(zip(descriptions, present, strict=True)):
        if likely < MIN_PRESENCE or text in descriptions[:column]:
            continue
        boxes = ranked.boxes_for(column, boxes_xyxy)
        for row in _instance_rows(boxes, ranked, column, instances=instances):
            sure = None if ranked.confidence is None else float(ranked.confidence[row, column])
            if sure is None or sure >= min_confidence:
                found.append(Region(tuple(boxes[row].tolist()), text, float(matches[row, column]), row, sure))
    return tuple(found)


def answer_reasons(
    ranked: RegionRanking,
    regions: Sequence[Region],
    *,
    descriptions: Sequence[str],
    min_confidence: float = MIN_CONFIDENCE,
) -> tuple[str, ...]:
    """Return of each description why it is not found, or "2 of 3 found" where it says that there are more.

    Args: regions: those of found_regions.
    """
    reasons, found = list(ranked.reasons), {region.text for region in regions}
    for column in (column for column in range(len(reasons)) if descriptions[column] in found):
        count = ranked.counts[column] if ranked.counts else 0
        sure = 0 if ranked.confidence is None else int((ranked.confidence[:, column] >= min_confidence).sum())
        reasons[column] = f"{sure} of {count} found" if sure < count else ""
    return tuple(reasons)


def _instance_rows(boxes_xyxy: Array, ranked: RegionRanking, column: int, *, instances: Instances) -> list[int]:
    best = int(ranked.ranking[:, column].argmax())
    if instances == "best" or ranked.confidence is None:
        return [best]
    surest = np.argsort(-ranked.confidence[:, column], kind="stable")[:MOST_CANDIDATES]
    rows = np.array([best, *surest])
    return [int(row) for row in rows[instance_rows(boxes_xyxy[rows], range(len(rows)))]]


def shown_rows(
    features: ImageFeatures, ranked: RegionRanking, bank: ClassBank | None, *, found: Sequence[int] = ()
) -> NDArray[np.int64]:
    """Choose the regions that an answer has, in their order.

    They are those that were found, the best of each text, and the surest up to MOST_SHOWN.
    """
    best = set(found) | (set(ranked.ranking.argmax(axis=0).tolist()) if ranked.ranking.size else set())
    if bank is not None and len(features.region_embeds):
        best |= set((features.region_embeds @ bank.phrases.T).argmax(axis=0).tolist())
    for row in np.argsort(-features.objectness, kind="stable"):
        if len(best) >= MOST_SHOWN:
            break
        best.add(int(row))
    return np.array(sorted(best), np.int64)


def parse_descriptions(text: str) -> list[str]:
    """Read a description a line; blank lines are dropped, repeated ones kept once."""
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def parse_classes(text: str) -> dict[str, list[str]]:
    """Read lines `name: description; description`, or a DCLIP/CuPL JSON object {name: [description, …]}.

    One line alone without a colon has several names, between commas or semicolons.

    Raises: ValueError: broken JSON, another shape, an empty or repeated name; one sentence.
    """
    stripped = text.strip()
    if stripped.startswith(("{", "[")):
        return _parse_json(stripped)
    classes: dict[str, list[str]] = {}
    lines = [line for line in map(str.strip, stripped.splitlines()) if line]
    if len(lines) == 1 and ":" not in stripped:
        lines = [name for name in map(str.strip, re.split("[,;]", stripped)) if name]
    for line in lines:
        name, _, rest = line.partition(":")
        if not name.strip():
            raise ValueError(f"the class line {line[:40]!r} has no name: write `name: description; description`")
        if name.strip() in classes:
            raise ValueError(f"the class {name.strip()[:40]!r} is there twice: put its descriptions on one line")
        classes[name.strip()] = parse_descriptions("\n".join(rest.split(";")))
    return classes


def _parse_json(text: str) -> dict[str, list[str]]:
    try:
        data = json.loads(text, object_pairs_hook=each_once)
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        where = f" ({error})" if isinstance(error, ValueError) else ""
        raise ValueError(f"the classes start like JSON but cannot be read{where}: check commas and quotes") from error
    fits = isinstance(data, dict) and all(
        isinstance(rows, list) and all(isinstance(row, str) for row in rows) for rows in data.values()
    )
    if not fits:
        raise ValueError('the JSON of the classes must look like {"name": ["description", "description"]}')
    return {name.strip(): parse_descriptions("\n".join(rows)) for name, rows in data.items() if name.strip()}


def _stands_alone(name: str, description: str) -> bool:
    return description.endswith(".") and name.casefold() in description.casefold()


def _unit(rows: Array) -> Array:
    unit: Array = (rows / np.linalg.norm(rows, axis=-1, keepdims=True).clip(1e-12)).astype(np.float32)
    return unit
