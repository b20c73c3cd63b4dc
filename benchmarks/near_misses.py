"""Draw products that differ from a novel class in one thing, and tell which parts training never says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations, permutations
from random import Random

from curation.sample.colors import COLORS
from curation.sample.families import ABSENT_PAIRS, Parts, body_stands_out, changed
from curation.sample.products import NovelClass, holds_novel_pair
from curation.sample.shapes import KINDS, Part

NEAR_MISSES = 5  # of each kind of difference, for any novel class


def is_unseen(part: Part) -> bool:
    """Tell whether training in the second edition never says a part of this kind and color, nor draws it on a product.

    A loose part behind the products, which nothing describes, may be one (see curation.sample.crowd).
    """
    return (part.slot, part.kind, part.color) in ABSENT_PAIRS


def other_kinds(parts: Parts, rng: Random) -> list[Parts]:
    """Give one part each other kind, but for what training may show; the part is drawn."""
    row = rng.choice([row for row, part in enumerate(parts) if len(KINDS[part.slot]) > NEAR_MISSES])
    found = [changed(parts, row, kind=kind) for kind in KINDS[parts[row].slot] if kind != parts[row].kind]
    return [other for other in found if holds_novel_pair({part.slot: part for part in other})]


def other_colors(parts: Parts, rng: Random) -> list[Parts]:
    """Give one part each other color in which the body still stands out; the part is drawn."""
    row = rng.randrange(len(parts))
    found = [changed(parts, row, color=color) for color in COLORS if color != parts[row].color]
    return [other for other in found if body_stands_out(other)]


def other_arrangements(parts: Parts, rng: Random) -> list[Parts]:
    """Arrange the colors of three parts in the other five ways; the parts are drawn, with three colors."""
    triples = [rows for rows in combinations(range(len(parts)), 3) if len({parts[row].color for row in rows}) == 3]
    rng.shuffle(triples)
    for rows in triples:
        found = []
        for colors in permutations([parts[row].color for row in rows]):
            other = parts
            for row, color in zip(rows, colors, strict=True):
                other = changed(other, row, color=color)
            found.append(other)
        if all(map(body_stands_out, found)):
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
