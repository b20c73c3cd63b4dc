"""Draw the products of the second edition: phrases that training never says, and novel classes that differ in little.

Novel classes come in families of sixteen: four things are either so or so, the kind of one part, the color of another,
which of two further parts has which color, and the side of the side part. Each class differs from four others in one
thing alone, so that it is told only by who sees all four.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations, permutations, product
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

NEAR_MISSES = 5  # of each kind of difference, for any novel class


def _never_said() -> tuple[dict[str, str], frozenset[tuple[str, str, str]]]:
    colors = Random(f"{WORLD_SEED}/never said").sample(list(COLORS), len(COLORS))
    absent = dict(zip(SLOTS, colors, strict=False))
    found = set()
    for slot, kinds in KINDS.items():
        others = [color for color in colors if color != absent[slot]]
        for place, kind in enumerate(kinds):
            found |= {(slot, kind, absent[slot]), (slot, kind, others[place % len(others)])}
    return absent, frozenset(found)


ABSENT_COLORS, NEVER_SAID = _never_said()
"""Slot -> a color that training names in other slots only; and slot, kind, color of all phrases that it never says."""


def is_unseen(part: Part) -> bool:
    """Tell whether training in the second edition never says a part of this kind and color, nor draws it on a product.

    A loose part behind the products, which nothing describes, may be one (see curation.sample.crowd).
    """
    return (part.slot, part.kind, part.color) in NEVER_SAID


def draw_seen_product(rng: Random) -> dict[str, Part]:
    """Draw a product that training in the second edition may show: slot -> part."""
    while True:
        parts: dict[str, Part] = {}
        for slot, kind in draw_kinds(rng).items():
            body = parts.get("body")
            colors = [c for c in COLORS if (slot, kind, c) not in NEVER_SAID and not (body and c == body.color)]
            parts[slot] = Part(slot, kind, rng.choice(colors))
        if not holds_novel_pair(parts):
            return parts


def other_kinds(parts: Parts, rng: Random) -> list[Parts]:
    """Give one part each other kind, but for what training may show; the part is drawn."""
    row = rng.choice([row for row, part in enumerate(parts) if len(KINDS[part.slot]) > NEAR_MISSES])
    found = [_changed(parts, row, kind=kind) for kind in KINDS[parts[row].slot] if kind != parts[row].kind]
    return [other for other in found if holds_novel_pair({part.slot: part for part in other})]


def other_colors(parts: Parts, rng: Random) -> list[Parts]:
    """Give one part each other color in which the body still stands out; the part is drawn."""
    row = rng.randrange(len(parts))
    found = [_changed(parts, row, color=color) for color in COLORS if color != parts[row].color]
    return [other for other in found if _body_stands_out(other)]


def other_arrangements(parts: Parts, rng: Random) -> list[Parts]:
    """Arrange the colors of three parts in the other five ways; the parts are drawn, with three colors."""
    triples = [rows for rows in combinations(range(len(parts)), 3) if len({parts[row].color for row in rows}) == 3]
    rng.shuffle(triples)
    for rows in triples:
        found = []
        for colors in permutations([parts[row].color for row in rows]):
            other = parts
            for row, color in zip(rows, colors, strict=True):
                other = _changed(other, row, color=color)
            found.append(other)
        if all(map(_body_stands_out, found)):
            return found[1:]
    raise ValueError("expected three colors on the parts beside the body, got fewer: draw another product")


DIFFERENCES: Mapping[str, Callable[[Parts, Random], list[Parts]]] = {
    "kind": other_kinds,
    "color": other_colors,
    "swap": other_arrangements,
}


def near_misses(one: NovelClass, difference: str, rng: Random) -> list[NovelClass]:
    """Draw five products that differ from a class in one thing: a part's kind or color, or which part has which color.

    The six differ from one another as each does from the class, so that who sees nothing is right in one of six. (Where
    each of five changes another part, the class lies in their middle, and who sees nothing hardly ever picks it.)
    """
    others: list[Parts] = []
    while len(others) < NEAR_MISSES:
        others = DIFFERENCES[difference](one.parts, rng)
    return [NovelClass(one.name, parts, one.side) for parts in rng.sample(others, NEAR_MISSES)]


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
                parts = _changed(parts, kind_row, kind=kind)
            if other_color:
                parts = _changed(parts, color_row, color=color)
            products.append(_swapped(parts, one, two) if swapped else parts)
        if len(set(products)) == len(products) and all(map(_may_be_novel, products)):
            other_side = "left" if side == "right" else "right"
            return [(parts, at) for at in (side, other_side) for parts in products]


def _may_be_novel(parts: Parts) -> bool:
    enough = len({part.color for part in parts[1:]}) >= 3  # to be arranged in six ways
    return enough and _body_stands_out(parts) and holds_novel_pair({part.slot: part for part in parts})


def _changed(parts: Parts, row: int, **change: str) -> Parts:
    return (*parts[:row], replace(parts[row], **change), *parts[row + 1 :])


def _swapped(parts: Parts, one: int, two: int) -> Parts:
    return _changed(_changed(parts, one, color=parts[two].color), two, color=parts[one].color)


@lru_cache(maxsize=8)
def family_classes(seed: int, count: int) -> tuple[NovelClass, ...]:
    """Novel classes of the second edition, one family after the other, the last one cut off at count.

    Raises:  ValueError: count is not between 1 and 1000.
    """
    check_class_count(count)
    rng = Random(f"{seed}/families")
    found: dict[tuple[Parts, str], str] = {}
    while len(found) < count:
        family = draw_family(rng)
        names = [made_up_name(rng) for _ in family]
        if not set(names) & set(found.values()) and not set(family) & found.keys() and len(set(names)) == len(names):
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


def _body_stands_out(parts: Parts) -> bool:
    return sum(part.color == parts[0].color for part in parts) == 1
