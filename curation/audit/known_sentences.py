"""Make sentences that are known to hold or not of pictures whose boxes name every thing of some classes.

True sentences come from the boxes; of each a false twin differs in one thing: the object is swapped for one that is not
there (a random one, the most frequent, the one that most often occurs beside it: as POPE draws them, arXiv 2305.10355),
the count, the place, the relation or the colour for another. Boxes know no parts, so none are made. Pure, but for the
pixels of colours.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from curation.audit.claims import COUNTS
from curation.audit.evidence import noun_phrase
from curation.files.records import Box, PictureRecord
from db.models import ClaimKind
from grain.photo.phrases import plural

Swap = Literal["", "random", "frequent", "co-occurring", "count", "place", "relation", "colour"]
"""What a false sentence has swapped; "" for a true one."""
MOST_COUNTED = 6  # of one class: boxes of crowds are not drawn one by one
OFF_MIDDLE = 0.15  # of the picture's side: there a place is certain
APART = 0.25  # between two centres, of the picture's side
LEAST_AREA = 0.02  # of the picture: smaller things have no colour that is seen
MOSTLY, HARDLY = 0.6, 0.02  # shares of a box's inner pixels: it has the colour, it has not
PEOPLE = frozenset(("person", "people", "man", "woman", "boy", "girl", "child", "baby"))  # nobody's colour is asked for

ColourShares = Callable[[PictureRecord, Box], Mapping[str, float]]
"""Of a picture and a box: colour -> share of its pixels."""


@dataclass(frozen=True)
class KnownSentence:
    """A sentence of a picture. kind: of its claim that is known to hold or not; the others hold."""

    file_name: str
    text: str
    holds: bool
    kind: ClaimKind
    swap: Swap = ""


@dataclass(frozen=True)
class _Scene:
    """A picture: its boxes by class, and the chance that draws its swaps."""

    record: PictureRecord
    boxes: Mapping[str, Sequence[Box]]
    chance: random.Random

    def sentence(self, text: str, kind: ClaimKind, swap: Swap = "") -> KnownSentence:
        return KnownSentence(self.record.file_name, text, not swap, kind, swap)


def known_sentences(
    records: Sequence[PictureRecord], *, seed: int = 0, colours: ColourShares | None = None
) -> Iterator[KnownSentence]:
    """Yield the sentences of pictures, each true one with its false twins.

    Args: records: their regions are described by class names, each class boxed wherever it is seen in any of them.
          colours: measures pixels; left out: no sentence names a colour.
    """
    scenes = [_scene(record, seed) for record in records]
    frequent = Counter(name for scene in scenes for name in scene.boxes)
    beside: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for scene in scenes:
        for name in scene.boxes:
            beside[name].update(other for other in scene.boxes if other != name)
    for scene in scenes:
        yield from _objects(scene, frequent, beside)
        yield from _counts(scene)
        yield from _places(scene)
        yield from _relations(scene)
        if colours is not None:
            yield from _colours(scene, colours)


def _scene(record: PictureRecord, seed: int) -> _Scene:
    boxes: defaultdict[str, list[Box]] = defaultdict(list)
    for region in record.regions:
        boxes[region.descriptions[0].text.lower()].append(region.xyxy)
    return _Scene(record, dict(sorted(boxes.items())), random.Random(f"{seed}/{record.file_name}"))


def _objects(scene: _Scene, frequent: Counter[str], beside: Mapping[str, Counter[str]]) -> Iterator[KnownSentence]:
    absent = sorted(set(frequent) - set(scene.boxes))
    for name in scene.boxes if absent else ():
        yield scene.sentence(noun_phrase(name), "object")
        swaps: dict[Swap, str] = {
            "random": scene.chance.choice(absent),
            "frequent": max(absent, key=lambda other: (frequent[other], other)),
            "co-occurring": max(absent, key=lambda other: (beside[name][other], frequent[other], other)),
        }
        for swap, other in swaps.items():
            yield scene.sentence(noun_phrase(other), "object", swap)


def _counts(scene: _Scene) -> Iterator[KnownSentence]:
    for name, boxes in scene.boxes.items():
        if len(boxes) <= MOST_COUNTED:
            near = [number for number in (len(boxes) - 1, len(boxes) + 1, len(boxes) + 2) if number]
            numbers: dict[Swap, int] = {"": len(boxes), "count": scene.chance.choice(near)}
            for swap, number in numbers.items():
                yield scene.sentence(f"{COUNTS[number - 1]} {plural(name) if number > 1 else name}", "count", swap)


def _places(scene: _Scene) -> Iterator[KnownSentence]:
    for name, box in _single(scene):
        x, y = (box[0] + box[2]) / 2 - 0.5, (box[1] + box[3]) / 2 - 0.5
        for off, low, high in ((x, "on the left", "on the right"), (y, "at the top", "at the bottom")):
            if abs(off) > OFF_MIDDLE:
                true, false = (low, high) if off < 0 else (high, low)
                yield scene.sentence(f"{noun_phrase(name)} {true}", "relation")
                yield scene.sentence(f"{noun_phrase(name)} {false}", "relation", "place")


def _relations(scene: _Scene) -> Iterator[KnownSentence]:
    single = list(_single(scene))
    for row, (name, box) in enumerate(single):
        for other, there in single[row + 1 :]:
            off = (box[0] + box[2] - there[0] - there[2]) / 2
            if abs(off) > APART:
                true, false = ("left of", "right of") if off < 0 else ("right of", "left of")
                yield scene.sentence(f"{noun_phrase(name)} {true} {noun_phrase(other)}", "relation")
                yield scene.sentence(f"{noun_phrase(name)} {false} {noun_phrase(other)}", "relation", "relation")


def _colours(scene: _Scene, colours: ColourShares) -> Iterator[KnownSentence]:
    for name, box in _single(scene):
        if name in PEOPLE or (box[2] - box[0]) * (box[3] - box[1]) < LEAST_AREA:
            continue
        shares = colours(scene.record, box)
        colour = max(shares, key=lambda each: shares[each])
        others = [each for each, share in shares.items() if share < HARDLY]
        if shares[colour] >= MOSTLY and others:
            yield scene.sentence(noun_phrase(f"{colour} {name}"), "attribute")
            yield scene.sentence(noun_phrase(f"{scene.chance.choice(others)} {name}"), "attribute", "colour")


def _single(scene: _Scene) -> Iterator[tuple[str, Box]]:
    """Yield the classes of which a picture has one box."""
    return ((name, boxes[0]) for name, boxes in scene.boxes.items() if len(boxes) == 1)
