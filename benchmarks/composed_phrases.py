"""Phrases of captions that name two things, and the same with another second thing: does `photo` tell them apart?

GRAIN_BENCH_ENTITIES is as in benchmarks.phrases. "A man in a red hat" is written of pictures of the official test
split; "a man holding a guitar", with the second thing of another picture, is not what they show.

`python -m benchmarks.composed_phrases` prints the weights that grain/photo/other_things.py carries, fitted on val.txt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from benchmarks.evaluation import percent
from benchmarks.photographs import IOU
from benchmarks.phrases import SEED, auc, boxes_of, encoder, entity_lines, folder, upright_picture
from benchmarks.rows import Benchmark, Finding
from grain.box_overlap import iou
from grain.dense.features import words_of
from grain.photo.learned import LearnedPhotoEncoder
from grain.photo.other_things import MOST_SURE, other_things
from grain.structures import MIN_CONFIDENCE, MIN_PRESENCE, Array, RegionRanking

MOST_LINK = 3  # words between two things: "in", "is holding", "on top of"
FOUND = 0.9  # of what is there, at presence 0.5, as in grain.dense.calibrate


class Composed(NamedTuple):
    """A phrase that names two things. boxes: [M, 4] of the first; None where the picture does not show the phrase."""

    text: str
    boxes: Array | None


class Judged(NamedTuple):
    """What came of a phrase. alone: its presence by itself. others: presence of the things that it names beside."""

    picture: int
    there: bool
    right: bool
    presence: float
    confidence: float
    alone: float
    alone_confidence: float
    others: tuple[float, ...]

    def found(self) -> bool:
        """Whether it is said to be found."""
        return self.presence >= MIN_PRESENCE and self.confidence >= MIN_CONFIDENCE

    def found_alone(self) -> bool:
        """Whether it would be, without a look at the second thing."""
        return self.alone >= MIN_PRESENCE and self.alone_confidence >= MIN_CONFIDENCE


def linked(row: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, Mapping[str, Any]]]:
    """Two phrases of a caption that follow each other with a few words between; the first has boxes."""
    for caption in row["captions"]:
        for first, second in zip(caption["phrases"], caption["phrases"][1:], strict=False):
            link = caption["text"][first["span"][1] : second["span"][0]].strip().lower()
            if first["id"] in row["boxes"] and 0 < len(link.split()) <= MOST_LINK and link not in ("and", ",", "or"):
                yield first, link, second


def composed(split: str) -> list[tuple[Mapping[str, Any], list[Composed]]]:
    """Each picture's own phrases, and as many with a second thing of the same type from another picture."""
    order, rows = np.random.default_rng(SEED), list(entity_lines(split))
    seconds: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        for _, link, second in linked(row):
            seconds[second["type"]].append((link, second["text"].lower()))
    asked = []
    for row in rows:
        words = words_of(" ".join(caption["text"] for caption in row["captions"]))
        boxes = boxes_of(row)
        phrases: dict[str, Array | None] = {}
        for first, link, second in linked(row):
            head = first["text"].lower()
            phrases[f"{head} {link} {second['text'].lower()}"] = boxes[first["id"]]
            pool = seconds[second["type"]]
            other_link, other = pool[int(order.integers(len(pool)))]
            if not words_of(other) <= words:
                phrases.setdefault(f"{head} {other_link} {other}", None)
        asked.append((row, [Composed(text, found) for text, found in phrases.items() if other_things(text)]))
    return asked


def judged(split: str) -> list[Judged]:
    """Every phrase, asked of its picture."""
    photo, found = encoder("photo"), []
    assert isinstance(photo, LearnedPhotoEncoder)
    root = folder("GRAIN_BENCH_ENTITIES", "entities.jsonl")
    for number, (row, phrases) in enumerate(tqdm(composed(split), desc=split, unit="photo")):
        if not phrases:
            continue
        image = upright_picture(root, row)
        [features] = photo.encode_images([image])

        def rank(texts: list[str], *, alone: bool) -> RegionRanking:
            ask = photo.rank_alone if alone else photo.rank_regions
            return ask(image, features, descriptions=texts, embeds=photo.encode_texts(texts))  # noqa: B023

        texts = [phrase.text for phrase in phrases]
        others = sorted({thing for text in texts for thing in other_things(text)})
        now, before, second = rank(texts, alone=False), rank(texts, alone=True), rank(others, alone=True)
        assert now.presence is not None and now.confidence is not None and before.presence is not None
        assert before.confidence is not None and second.presence is not None
        there = dict(zip(others, second.presence.tolist(), strict=True))
        for column, phrase in enumerate(phrases):
            best = int(now.ranking[:, column].argmax())
            box = now.boxes_for(column, features.boxes_xyxy)[best][None]
            right = phrase.boxes is not None and iou(box, phrase.boxes).max() >= IOU
            found.append(
                Judged(
                    picture=number,
                    there=phrase.boxes is not None,
                    right=bool(right),
                    presence=float(now.presence[column]),
                    confidence=float(now.confidence[best, column]),
                    alone=float(before.presence[column]),
                    alone_confidence=float(before.confidence[best, column]),
                    others=tuple(there[thing] for thing in other_things(phrase.text)),
                )
            )
    return found


def composed_phrases() -> Finding:
    """Presence with and without a look at the second thing."""
    rows = judged("test.txt")
    own, changed = [row for row in rows if row.there], [row for row in rows if not row.there]

    def share(points: list[bool], of: list[Judged]) -> list[float] | None:
        return percent(np.array(points, float), groups=np.array([row.picture for row in of]))

    table: list[dict[str, Any]] = []
    for name, presence, found in (
        ("with the other things", lambda row: row.presence, Judged.found),
        ("by itself", lambda row: row.alone, Judged.found_alone),
    ):
        table.append(
            {
                "judged": name,
                "AUC": auc([presence(row) for row in own], [presence(row) for row in changed]),
                "own, right box %": share([found(row) and row.right for row in own], own),
                "own, wrong box %": share([found(row) and not row.right for row in own], own),
                "changed, found %": share([found(row) for row in changed], changed),
            }
        )
    detail = {"phrases, changed": f"{len(own)}, {len(changed)}", "by what": table}
    return Finding(table[0]["AUC"], None, detail)


def main() -> None:
    """Fit the weights of a phrase's own presence and of its least likely other thing; print them."""
    rows = judged("val.txt")
    there = np.array([row.there for row in rows])
    presence = np.array([(row.alone, min(row.others)) for row in rows]).clip(1 - MOST_SURE, MOST_SURE)
    odds = np.log(presence / (1 - presence))
    fitted = LogisticRegression(class_weight="balanced").fit(odds, there)
    least = np.quantile(odds[there] @ fitted.coef_[0], 1 - FOUND)
    print(f"weights {fitted.coef_[0].round(2).tolist()}; found to {FOUND:.0%} with a bias of {-least:.2f}, taken as 0")


BENCHMARKS = (
    Benchmark(
        "composed_phrases",
        "phrases of two things (“a man in a red hat”) against the same with another second thing: AUC of presence",
        "as measured",
        "",
        SEED,
        composed_phrases,
    ),
)

if __name__ == "__main__":
    main()
