"""Draw the products of the second edition: phrases that training never says, and novel classes that differ in little.

Novel classes come in families of sixteen: four things are either so or so, the kind of one part, the color of another,
which of two further parts has which color, and the side of the side part. Each class differs from four others in one
thing alone, so that it is told only by who sees all four.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from random import Random

from curation.sample.colors import COLORS
from curation.sample.products import (
    WORLD_SEED,
    NovelClass,
    check_class_count,
    draw_kinds,
    draw_novel_product,
    holds_novel_pair,
    made_up_name,
)
from curation.sample.shapes import KINDS, SLOTS, Part
from curation.sample.words import paraphrases_of, sentence_of

Parts = tuple[Part, ...]

FAMILY = 2**4  # classes


def _absent_pairs() -> frozenset[tuple[str, str, str]]:
    colors = Random(f"{WORLD_SEED}/never said").sample(list(COLORS), len(COLORS))
    found = set()
    for slot, absent in zip(SLOTS, colors, strict=False):
        others = [color for color in colors if color != absent]
        for place, kind in enumerate(KINDS[slot]):
            found |= {(slot, kind, absent), (slot, kind, others[place % len(others)])}
    return frozenset(found)


ABSENT_PAIRS = _absent_pairs()
"""Slot, kind, color of the phrases that training never says; a color of each slot is said in other slots only."""


def draw_seen_product(rng: Random) -> dict[str, Part]:
    """Draw a product that training in the second edition may show: slot -> part."""
    while True:
        parts: dict[str, Part] = {}
        for slot, kind in draw_kinds(rng).items():
            body = parts.get("body")
            colors = [c for c in COLORS if (slot, kind, c) not in ABSENT_PAIRS and not (body and c == body.color)]
            parts[slot] = Part(slot, kind, rng.choice(colors))
        if not holds_novel_pair(parts):
            return parts


def draw_family(rng: Random) -> list[tuple[Parts, str]]:
    """Draw the parts and the side of sixteen classes; the first eight have their side part on one side."""
    while True:
        first, side = tuple(draw_novel_product(rng).values()), rng.choice(("left", "right"))
        kind_row, color_row, one, two = rng.sample(range(len(SLOTS)), 4)
        kind = rng.choice([kind for kind in KINDS[SLOTS[kind_row]] if kind != first[kind_row].kind])
        color = rng.choice([color for color in COLORS if color != first[color_row].color])
        products = []
        for other_kind, other_color, swapped in product((False, True), repeat=3):
            parts = first
            if other_kind:
                parts = changed(parts, kind_row, kind=kind)
            if other_color:
                parts = changed(parts, color_row, color=color)
            products.append(_swapped(parts, one, two) if swapped else parts)
        if len(set(products)) == len(products) and all(map(_may_be_novel, products)):
            other_side = "left" if side == "right" else "right"
            return [(parts, at) for at in (side, other_side) for parts in products]


def _may_be_novel(parts: Parts) -> bool:
    enough = len({part.color for part in parts[1:]}) >= 3  # to be arranged in six ways
    return enough and body_stands_out(parts) and holds_novel_pair({part.slot: part for part in parts})


def changed(parts: Parts, row: int, **change: str) -> Parts:
    """Return the parts with another kind or color of one."""
    return (*parts[:row], replace(parts[row], **change), *parts[row + 1 :])


def _swapped(parts: Parts, one: int, two: int) -> Parts:
    return changed(changed(parts, one, color=parts[two].color), two, color=parts[one].color)


@lru_cache(maxsize=8)
def family_classes(seed: int, count: int) -> tuple[NovelClass, ...]:
    """Return the novel classes of the second edition, one family after the other, the last one cut off at count.

    Raises:  ValueError: count is not between 1 and 1000.
    """
    check_class_count(count)
    rng = Random(f"{seed}/families")
    found: dict[tuple[Parts, str], str] = {}
    while len(found) < count:
        family = draw_family(rng)
        names = [made_up_name(rng) for _ in range(FAMILY)]
        if not set(names) & set(found.values()) and not set(family) & found.keys() and len(set(names)) == FAMILY:
            found |= dict(zip(family, names, strict=True))
    return tuple(NovelClass(name, parts, side) for (parts, side), name in found.items())[:count]


def class_texts(classes: Sequence[NovelClass]) -> dict[str, dict[str, list[str]]]:
    """Describe classes with a side in three ways: way -> name -> descriptions.

    phrases are worded as in training, paraphrased ones are not, and sentences say a whole product each.
    """
    ways: dict[str, dict[str, list[str]]] = {"phrases": {}, "paraphrased": {}, "sentences": {}}
    for one in classes:
        rng = Random(f"{one.name}/paraphrased")
        ways["phrases"][one.name] = list(one.descriptions)
        ways["paraphrased"][one.name] = [
            rng.choice(paraphrases_of(part, side=one.side or "side")) for part in one.parts
        ]
        ways["sentences"][one.name] = [sentence_of(one.descriptions)]
    return ways


def body_stands_out(parts: Parts) -> bool:
    """Tell whether no other part has the color of the body."""
    return sum(part.color == parts[0].color for part in parts) == 1
