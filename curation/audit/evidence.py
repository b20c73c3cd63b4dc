"""Gather evidence for claims from sources that did not write them, each score beside those of counterfactuals.

A detector alone finds absent things, so its score counts by its margin over the same sentence with another colour,
another part, an object that is not there, another place. GRAIN's best region is scored in the same way. Counts and
places are measured on a detector's boxes. A VQA model is asked whether a claim holds, and in other words whether it
does not.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image

from curation.annotate.localize import Localizer
from curation.audit.claims import COLOURS, COUNTS, FAMILIES, OPPOSITES, Claim, split_claims
from grain.photo.phrases import with_article
from grain.structures import Array, ImageFeatures

ABSENT_THINGS = 6  # that an object or a part is measured against
LEAST_SHARE = 1e-4  # clips a probability away from 0 and 1 before its logit is taken
ARTICLE = re.compile(r"\b([Aa])n?(?= (\w))")
DANGLING = re.compile(r"(?:[\s,]|\b(?:and|or|but)\b)+$", re.IGNORECASE)  # before what was taken away
WitnessKind = Literal["detector", "likeness", "asked", "counted", "placed"]  # as stored; asked: a VQA model


class Witness(Protocol):
    """A source of scores for texts on pictures: higher fits better, None where it cannot read the text.

    fills: an object is scored in every colour and the best counts, for a source that was trained on coloured things.
    """

    kind: WitnessKind
    fills: bool

    @property
    def name(self) -> str:
        """Return `model@revision`."""

    def scores(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[float | None]]:
        """Return a score for each text of each upright RGB picture."""


class VqaModel(Protocol):
    """A model that answers yes-or-no questions about pictures (VQA)."""

    @property
    def name(self) -> str:
        """Return `model@revision`."""

    def yes(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float | None]]:
        """Return P(yes) against no for each question of each picture; None where there is no answer."""


class Measurer(Protocol):
    """A source that measures counts and places on boxes."""

    @property
    def name(self) -> str:
        """Return `model@revision`."""

    def measure(
        self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]
    ) -> list[list[list[Evidence | None]]]:
        """Return the evidence for each claim of each description of each picture; None where nothing is measured."""


@dataclass(frozen=True)
class ClaimQuestion:
    """The texts that a witness scores for one claim: the best `claimed` against the best of each `counter` group.

    family: of an attribute, as in FAMILIES.
    """

    claimed: tuple[str, ...]
    counter: tuple[tuple[str, ...], ...]
    family: str = ""


@dataclass(frozen=True)
class Evidence:
    """The evidence of one source for one claim.

    score: of the claim; a detector's logit, ten times GRAIN's cosine, a VQA model's P(yes), of a count the logarithm of
    its probability, of a place how surely the thing is there (-1 to 1). counter: of the best counterfactual; of a VQA
    model, P(yes) to the claim's denial. mean: of all counterfactuals. None: not scored, or nothing to compare with.
    family: of an attribute, as in FAMILIES; "" for other claims.
    """

    source: WitnessKind
    score: float | None = None
    counter_text: str = ""
    counter: float | None = None
    mean: float | None = None
    family: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without what is not known."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "")}


class DetectorWitness:
    """A localizer as a witness: the best box's score, as a logit."""

    kind: WitnessKind = "detector"
    fills = False

    def __init__(self, localizer: Localizer) -> None:
        """Take a localizer with a threshold near 0: counterfactuals are made of weak boxes."""
        self._localizer, self.name = localizer, localizer.name

    def scores(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[float | None]]:
        """Return the best box's logit for each text (see Witness)."""
        long = [set(self._localizer.too_long(each)) for each in texts]
        readable = [[text for text in each if text not in some] for each, some in zip(texts, long, strict=True)]
        found = []
        for each, some, regions in zip(texts, long, self._localizer.localize(images, readable), strict=True):
            best: dict[str, float] = {}
            for region in regions:
                best[region.text] = max(best.get(region.text, 0.0), region.score)
            found.append([None if text in some else logit(best.get(text, 0.0)) for text in each])
        return found


class ImageTextEmbedder(Protocol):
    """An embedder of pictures and texts into one space; `grain.Predictor` is one."""

    def batch_features(self, images: Sequence[Image.Image]) -> list[ImageFeatures]:
        """Return the features of upright RGB pictures."""

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Return text embeddings [T, E] of unit length."""


class LikenessWitness:
    """GRAIN as a witness: the cosine of its best region, times ten."""

    kind: WitnessKind = "likeness"
    fills = True

    def __init__(self, predictor: ImageTextEmbedder, name: str) -> None:
        """Take a predictor, and a name that tells its checkpoint from others of that name."""
        self._predictor, self.name = predictor, name

    def scores(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[float | None]]:
        """Return ten times the best region's cosine for each text (see Witness)."""
        features = self._predictor.batch_features(images)
        found: list[list[float | None]] = []
        for feature, each in zip(features, texts, strict=True):
            regions = feature.region_embeds if len(feature.region_embeds) else feature.image_embed[None]
            found.append((10 * (regions @ self._predictor.embed_texts(each).T).max(axis=0)).tolist() if each else [])
        return found


def questions_of(
    text: str, *, vocabulary: Sequence[str], all_texts: str, fills: bool
) -> tuple[tuple[Claim, ClaimQuestion | None], ...]:
    """Return each claim of a description with its question; None where there is no counterfactual, or it is denied.

    Args: vocabulary: objects and parts named in the data set. all_texts: those of the picture in lower case: nothing in
    them counts as absent.
    """
    claims = split_claims(text)
    plain = _without_denials(text, claims)
    return tuple(
        (claim, _question(plain, claims, claim, vocabulary=vocabulary, all_texts=all_texts, fills=fills))
        for claim in claims
    )


def _without_denials(text: str, claims: Sequence[Claim]) -> str:
    """Return a text with spaces for what it denies: what is asked is what it says."""
    for claim in claims:
        if claim.denied:
            text = text[: claim.start] + " " * (claim.end - claim.start) + text[claim.end :]
    return DANGLING.sub("", text) if any(claim.denied for claim in claims) else text


def statement_of(text: str, claims: Sequence[Claim], claim: Claim) -> str:
    """Return a claim as a phrase of its own, to be asked about alone."""
    words, thing = claim.words(text), claims[claim.owner].words(text)
    if claim.kind in ("object", "part"):
        return noun_phrase(words)
    if claim.kind == "text":
        return f"the words {words}"
    if claim.kind == "count":
        return f"{words} {thing}"
    return noun_phrase(f"{words} {thing}") if claim.kind == "attribute" else f"{noun_phrase(thing)} {words}"


def gather(
    images: Sequence[Image.Image],
    texts: Sequence[Sequence[str]],
    *,
    witnesses: Sequence[Witness],
    vqa: VqaModel | None,
    vocabulary: Sequence[str],
    measurer: Measurer | None = None,
) -> list[list[list[tuple[Claim, tuple[Evidence, ...]]]]]:
    """Return the claims of each description of each picture with all evidence."""
    plans = {fills: [_plan(each, vocabulary, fills) for each in texts] for fills in {w.fills for w in witnesses}}
    answers = [(witness, _answers(witness, images, plans[witness.fills])) for witness in witnesses]
    vqa_answers = _ask_vqa_model(vqa, images, texts) if vqa is not None else None
    measured = measurer.measure(images, texts) if measurer is not None else None

    def evidence(row: int, number: int, place: int) -> tuple[Evidence, ...]:
        at = (row, number, place)
        return tuple(_evidence(answers, plans, vqa_answers=vqa_answers, measured=measured, at=at))

    found = []
    for row, each in enumerate(texts):
        found.append(
            [
                [(claim, evidence(row, number, place)) for place, claim in enumerate(split_claims(text))]
                for number, text in enumerate(each)
            ]
        )
    return found


def logit(share: float) -> float:
    """Return the log-odds of a probability, kept finite."""
    share = min(max(share, LEAST_SHARE), 1 - LEAST_SHARE)
    return math.log(share / (1 - share))


_Plan = list[tuple[tuple[Claim, ClaimQuestion | None], ...]]
_Answers = list[dict[str, float | None]]
_VqaAnswers = list[list[list[tuple[float | None, float | None]]]]


def _plan(texts: Sequence[str], vocabulary: Sequence[str], fills: bool) -> _Plan:
    all_texts = " ".join(texts).lower()
    return [questions_of(text, vocabulary=vocabulary, all_texts=all_texts, fills=fills) for text in texts]


def _answers(witness: Witness, images: Sequence[Image.Image], plans: Sequence[_Plan]) -> _Answers:
    wanted = [
        list(
            dict.fromkeys(
                text
                for questions in plan
                for _, question in questions
                if question is not None
                for text in (*question.claimed, *(one for group in question.counter for one in group))
            )
        )
        for plan in plans
    ]
    scored = witness.scores(images, wanted)
    return [dict(zip(each, scores, strict=True)) for each, scores in zip(wanted, scored, strict=True)]


def _ask_vqa_model(model: VqaModel, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> _VqaAnswers:
    """Return for each claim P(yes) to it and P(yes) to its denial; of what is denied, nothing."""
    questions = []
    for each in texts:
        mine: list[str] = []
        for text in each:
            claims = split_claims(text)
            for claim in claims:
                mine += () if claim.denied else yes_no_questions(statement_of(text, claims, claim))
        questions.append(mine)
    found = []
    for each, answers in zip(texts, model.yes(images, questions), strict=True):
        pairs = iter(zip(answers[::2], answers[1::2], strict=True))
        found.append([[(None, None) if claim.denied else next(pairs) for claim in split_claims(text)] for text in each])
    return found


def yes_no_questions(statement: str) -> tuple[str, str]:
    """Return two questions, for a claim and for its denial, to balance a model that says yes to everything."""
    return (
        f"Does this picture show {statement}? Answer with one word, yes or no.",
        f"Is it wrong to say that this picture shows {statement}? Answer with one word, yes or no.",
    )


def _evidence(
    answers: Sequence[tuple[Witness, _Answers]],
    plans: Mapping[bool, Sequence[_Plan]],
    *,
    vqa_answers: _VqaAnswers | None,
    measured: Sequence[Sequence[Sequence[Evidence | None]]] | None,
    at: tuple[int, int, int],
) -> list[Evidence]:
    """Return the evidence of one claim. at: row of its picture, of its description there, and its own there."""
    row, number, place = at
    found = []
    for witness, scores in answers:
        question = plans[witness.fills][row][number][place][1]
        if question is not None:
            found.append(_weighed(witness.kind, question, scores[row]))
    if vqa_answers is not None:
        yes, no = vqa_answers[row][number][place]
        if yes is not None:
            found.append(Evidence("asked", round(yes, 4), "", None if no is None else round(no, 4)))
    if measured is not None and (one := measured[row][number][place]) is not None:
        found.append(one)
    return found


def _weighed(kind: WitnessKind, question: ClaimQuestion, scores: Mapping[str, float | None]) -> Evidence:
    claimed = [score for text in question.claimed if (score := scores[text]) is not None]
    groups = [[(score, text) for text in group if (score := scores[text]) is not None] for group in question.counter]
    counters = [max(group) for group in groups if group]
    if not claimed:
        return Evidence(kind)
    best = round(max(claimed), 4)
    if not counters:
        return Evidence(kind, best)
    score, text = max(counters)
    mean = round(float(np.mean([each for each, _ in counters])), 4)
    return Evidence(kind, best, text, round(score, 4), mean, question.family)


def _question(
    text: str, claims: Sequence[Claim], claim: Claim, *, vocabulary: Sequence[str], all_texts: str, fills: bool
) -> ClaimQuestion | None:
    if claim.denied:
        return None
    words = claim.words(text).lower()
    if claim.kind in ("object", "part"):
        others = _absent(f"{text}/{claim.start}", vocabulary, all_texts)
        if not fills:
            return ClaimQuestion((noun_phrase(words),), tuple((noun_phrase(other),) for other in others))
        colour = next((each for each in claims if each.owner == claims.index(claim) and _is_colour(each, text)), None)
        return ClaimQuestion(
            _filled(text, claim, words, colour=colour),
            tuple(_filled(text, claim, other, colour=colour) for other in others),
        )
    if claim.kind == "text":
        return ClaimQuestion((text,), ())
    if not (swapped := _swaps(claim.kind, words)):
        return None
    family = next((name for name, members in FAMILIES.items() if words in members), "")
    counter = tuple((_swap(text, claim, other),) for other in swapped)
    return ClaimQuestion((text,), counter, family if claim.kind == "attribute" else "")


def _is_colour(claim: Claim, text: str) -> bool:
    return claim.kind == "attribute" and claim.words(text).lower() in FAMILIES["colour"]


def _filled(text: str, claim: Claim, thing: str, *, colour: Claim | None) -> tuple[str, ...]:
    """Return the sentence with another thing, in every colour where it names one."""
    if colour is None:
        return (_swap(text, claim, thing),)
    first, second = sorted(((claim, thing), (colour, "")), key=lambda pair: -pair[0].start)
    filled = []
    for name in COLOURS:
        changed = text
        for part, word in (first, second):
            changed = changed[: part.start] + (name if part is colour else word) + changed[part.end :]
        filled.append(fix_articles(changed))
    return tuple(filled)


def _absent(seed: str, vocabulary: Sequence[str], all_texts: str) -> list[str]:
    """Return things that no text names, the same ones for the same claim."""
    free = [word for word in vocabulary if word not in all_texts]
    return sorted(free, key=lambda word: hashlib.blake2b(f"{seed}/{word}".encode(), digest_size=8).digest())[
        :ABSENT_THINGS
    ]


def _swaps(kind: str, words: str) -> list[str]:
    if kind == "attribute":
        family = next((members for members in FAMILIES.values() if words in members), ())
        members = COLOURS if words in FAMILIES["colour"] else family
        return [other for other in members if other != words]
    if kind == "count":
        at = COUNTS.index(words) + 1 if words in COUNTS else int(words[:6])
        near = [number for number in (at - 1, at + 1, at + 2) if number >= 1]
        return [COUNTS[number - 1] if number <= len(COUNTS) and words in COUNTS else str(number) for number in near]
    pairs = [*OPPOSITES, *((two, one) for one, two in OPPOSITES)]
    return list(dict.fromkeys(words.replace(one, two) for one, two in pairs if re.search(rf"\b{one}\b", words)))


def _swap(text: str, claim: Claim, other: str) -> str:
    return fix_articles(text[: claim.start] + other + text[claim.end :])


def fix_articles(text: str) -> str:
    """Return the text with "a" before consonants and "an" before vowels."""
    return ARTICLE.sub(lambda found: found[1] + ("n" if found[2].lower() in "aeiou" else ""), text)


def noun_phrase(words: str) -> str:
    """Return words with their article; none before a plural."""
    plural = words.endswith("s") and not words.endswith(("ss", "us"))
    return words if plural else with_article(words)
