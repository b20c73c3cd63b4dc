"""What people in photographs have on, in its own colour and in another: `photo` on longer phrases of captions.

GRAIN_BENCH_ENTITIES: see benchmarks/phrases.py. A longer phrase is what a caption says of its subject beyond the first
phrase ("a man in a red shirt"). One colour of what it has on or with it is exchanged for another that is not among its
words; whether the picture shows that one on somebody else is not known.

`python -m benchmarks.worn_colours` prints what PALE_WEIGHT of grain/photo/other_things.py and others do on val.txt.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks.evaluation import percent
from benchmarks.free_descriptions import RELATED_BAR
from benchmarks.photographs import IOU, iou
from benchmarks.phrases import SEED, auc, boxes_of, encoder, entity_lines, folder, rank, upright_picture
from benchmarks.rows import Benchmark, Finding
from curation.exchange.longer_phrases import CaptionPhrase, longer_phrases
from grain.photo.learned import LearnedPhotoEncoder
from grain.photo.other_things import PALE_WEIGHT, other_things, pale_on, weigh_others
from grain.photo.phrases import parse_phrase
from grain.photo.word_lists import COLOURS
from grain.structures import MIN_PRESENCE, Array

WEIGHTS = (0.0, 0.3, PALE_WEIGHT, 0.7, 1.0)


class WornPhrase(NamedTuple):
    """A longer phrase, the same with one colour exchanged, and the boxes [M, 4] of its subject."""

    own: str
    changed: str
    boxes: Array


def worn_phrases(row: Mapping[str, Any], order: np.random.Generator) -> list[WornPhrase]:
    """Return the longer phrases of a picture that say a colour of what their subject has on or with it."""
    boxes, found = boxes_of(row), dict[str, WornPhrase]()
    for caption in row["captions"]:
        phrases = [CaptionPhrase(each["id"], *each["span"]) for each in caption["phrases"]]
        for entity, words in longer_phrases(caption["text"], phrases):
            text = words.lower()
            worn = [each for each in parse_phrase(text).worn if each in text.split()]  # "gray" is written otherwise
            if worn and entity in boxes and text not in found:
                found[text] = WornPhrase(text, exchanged(text, worn, order), boxes[entity])
    return list(found.values())


def exchanged(text: str, worn: list[str], order: np.random.Generator) -> str:
    """Return a text with the last mention of one of some colours exchanged for one that it does not say."""
    words, colour = text.split(), str(order.choice(worn))
    place = len(words) - 1 - words[::-1].index(colour)
    words[place] = str(order.choice([each for each in COLOURS if each not in words]))
    return " ".join(words)


@cache
def answered() -> dict[str, list[tuple[str, bool, bool]]]:
    """Phrases' own and changed form -> (picture, found, right) each."""
    order, root = np.random.default_rng(SEED), folder("GRAIN_BENCH_ENTITIES", "entities.jsonl")
    found: dict[str, list[tuple[str, bool, bool]]] = {"own": [], "changed": []}
    for row in tqdm(list(entity_lines()), desc="worn colours", unit="photo"):
        phrases = worn_phrases(row, order)
        if not phrases:
            continue
        texts = [text for phrase in phrases for text in (phrase.own, phrase.changed)]
        features, ranked = rank("photo", upright_picture(root, row), texts)
        assert ranked.presence is not None and ranked.confidence is not None
        for column, (phrase, form) in enumerate((phrase, form) for phrase in phrases for form in found):
            best = int(ranked.ranking[:, column].argmax())
            is_found = bool(ranked.presence[column] >= 0.5 and ranked.confidence[best, column] >= 0.5)
            right = bool(iou(ranked.boxes_for(column, features.boxes_xyxy)[best][None], phrase.boxes).max() >= IOU)
            found[form].append((row["image"], is_found, is_found and right))
    return found


def main() -> None:
    """Print presence of own and changed forms for several weights of what things lose for their colours."""
    order, root = np.random.default_rng(SEED), folder("GRAIN_BENCH_ENTITIES", "entities.jsonl")
    photo = encoder("photo")
    assert isinstance(photo, LearnedPhotoEncoder)
    presence: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    for row in tqdm(list(entity_lines("val.txt")), desc="worn colours", unit="photo"):
        texts = [text for phrase in worn_phrases(row, order) for text in (phrase.own, phrase.changed)]
        named = sorted({thing for text in texts for thing in other_things(text)})
        if not named:
            continue
        image = upright_picture(root, row)
        [features] = photo.encode_images([image])
        ranked = photo.rank_alone(image, features, descriptions=texts, embeds=photo.encode_texts(texts))
        there, fit, colour = photo.judge(image, features, descriptions=named, embeds=photo.encode_texts(named))
        assert there.presence is not None
        seen = dict(zip(named, there.presence.tolist(), strict=True))
        lost = pale_on(features.boxes_xyxy, ranked.ranking.argmax(axis=0), fit=fit, colour=colour)
        for weight, found in presence.items():
            pale = dict(zip(named, weight / PALE_WEIGHT * lost, strict=True))
            weighed = weigh_others(ranked, list(map(other_things, texts)), seen, pale=pale).presence
            assert weighed is not None
            found += weighed.tolist()
    for weight, found in presence.items():
        own, changed = np.reshape(found, (-1, 2)).T
        shares = [f"{(each >= MIN_PRESENCE).mean():.1%}" for each in (own, changed)]
        print(f"weight {weight:g}: AUC {auc(own.tolist(), changed.tolist()):.3f}; present {' and '.join(shares)}")


def worn_colours() -> Finding:
    """How often what somebody wears is found in its own colour, and in another."""
    detail: dict[str, Any] = {"phrases": len(answered()["own"])}
    for form, rows in answered().items():
        groups = np.unique([picture for picture, _, _ in rows], return_inverse=True)[1]
        detail["photographs"] = int(groups.max()) + 1
        for what, column in (("found, %", 1), ("found, with the right box, %", 2)):
            detail[f"{form}: {what}"] = percent(np.array([row[column] for row in rows], float), groups=groups)
    value = detail["changed: found, %"][0]
    return Finding(value, value <= RELATED_BAR, detail)


BENCHMARKS = (
    Benchmark(
        "worn_colours",
        "people in photographs described by the colour of what they wear, with another colour put in: said to be found",
        f"≤ {RELATED_BAR:g} %",
        "%",
        SEED,
        worn_colours,
    ),
)

if __name__ == "__main__":
    main()
