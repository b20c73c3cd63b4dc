"""Draw products at random, those of training and those of novel classes, whose pairs of parts training never shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from types import MappingProxyType

from curation.sample.colors import COLORS
from curation.sample.shapes import KINDS, SLOTS, Part
from curation.sample.words import descriptions_of

WORLD_SEED = 20260  # fixes which pairs are held out, whatever seed a data set has

HELD_OUT_PAIRS = 16  # of 80 in each grid: 20 %

ABSENT_SHARE = 0.1  # of train and held_out products lack a given part other than the body

LEAST_DIFFERENT_PARTS = 2  # between any two novel classes

MOST_CLASSES = 1000  # far fewer than there are made-up names and part pairs for


def _pairs(first: str, second: str) -> frozenset[tuple[str, str]]:
    rng = Random(f"{WORLD_SEED}/{first}/{second}")
    left, right = (rng.sample(KINDS[slot], len(KINDS[slot])) for slot in (first, second))
    # walking both cycles at once spreads the pairs evenly: no kind loses more than two partners
    return frozenset((left[i % len(left)], right[i % len(right)]) for i in range(HELD_OUT_PAIRS))


NOVEL_BODY_TOPS = _pairs("body", "top")

NOVEL_SIDE_EMBLEMS = _pairs("side", "emblem")


def holds_novel_pair(parts: dict[str, Part]) -> bool:
    """Tell whether a product (slot -> part) has a body-top or a side-emblem pair that training never shows."""
    kinds = {slot: part.kind for slot, part in parts.items()}
    body_top, side_emblem = (kinds["body"], kinds.get("top")), (kinds.get("side"), kinds.get("emblem"))
    return body_top in NOVEL_BODY_TOPS or side_emblem in NOVEL_SIDE_EMBLEMS


@dataclass(frozen=True)
class NovelClass:
    """A made-up product: its name, its parts in the order of the slots, and a description of each.

    side: "left" or "right" where the class has its side part there; None: on either side.
    """

    name: str
    parts: tuple[Part, ...]
    side: str | None = None

    @property
    def descriptions(self) -> tuple[str, ...]:
        """Give one canonical description for each part."""
        sided = self.side is not None
        return tuple(
            descriptions_of(part, side=self.side)[-1 if sided and part.slot == "side" else 0] for part in self.parts
        )


def _colored(kinds: dict[str, str], rng: Random) -> dict[str, Part]:
    names = list(COLORS)
    body_color = rng.choice(names)
    others = [name for name in names if name != body_color]  # a part in the body's color could not be seen on it
    return {
        slot: Part(slot, kind, body_color if slot == "body" else rng.choice(others)) for slot, kind in kinds.items()
    }


def draw_kinds(rng: Random) -> dict[str, str]:
    """Draw a kind for each slot that is there: a slot other than the body is left out now and then."""
    kinds = {slot: rng.choice(KINDS[slot]) for slot in SLOTS}
    return {slot: kind for slot, kind in kinds.items() if slot == "body" or rng.random() >= ABSENT_SHARE}


def draw_known_product(rng: Random) -> dict[str, Part]:
    """Draw a product that training may show: slot -> part, a slot left out now and then."""
    while True:
        parts = _colored(draw_kinds(rng), rng)
        if not holds_novel_pair(parts):
            return parts


def draw_novel_product(rng: Random) -> dict[str, Part]:
    """Draw a product of all five parts that holds one novel pair of each kind: slot -> part."""
    body, top = rng.choice(sorted(NOVEL_BODY_TOPS))
    side, emblem = rng.choice(sorted(NOVEL_SIDE_EMBLEMS))
    band = rng.choice(KINDS["band"])
    return _colored({"body": body, "band": band, "top": top, "side": side, "emblem": emblem}, rng)


_ONSETS = ("b", "d", "f", "g", "j", "k", "l", "m", "n", "p", "r", "t", "v", "z", "dr", "kl", "kr", "pl", "tr", "gl")

_VOWELS = ("a", "e", "i", "o", "u")

_MIDDLES = ("zb", "vk", "jm", "zv", "bz", "fv", "pv", "zk", "kv", "dv", "vd", "jd")  # hardly in any English word

_ENDINGS = ("x", "n", "m", "p", "k", "l", "t", "")


def made_up_name(rng: Random) -> str:
    """Draw a name that can be spoken and is no English word."""
    return "".join(rng.choice(part) for part in (_ONSETS, _VOWELS, _MIDDLES, _VOWELS, _ENDINGS))


def _different_parts(one: tuple[Part, ...], other: tuple[Part, ...]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def check_class_count(count: int) -> None:
    """Check that there can be so many novel classes.

    Raises:  ValueError: count is not between 1 and 1000.
    """
    if not 1 <= count <= MOST_CLASSES:
        raise ValueError(f"the number of novel classes must lie between 1 and {MOST_CLASSES}, got {count}")


@lru_cache(maxsize=8)
def novel_classes(seed: int, count: int = 100) -> Mapping[str, NovelClass]:
    """Return classes never seen in training: name -> class, as drawn by seed, any two different in two parts or more.

    Raises:  ValueError: count is not between 1 and 1000.
    """
    check_class_count(count)
    rng = Random(f"{seed}/classes")
    found: dict[str, NovelClass] = {}
    while len(found) < count:
        name = made_up_name(rng)
        parts = tuple(draw_novel_product(rng).values())
        far = all(_different_parts(parts, other.parts) >= LEAST_DIFFERENT_PARTS for other in found.values())
        if far and name not in found:
            found[name] = NovelClass(name, parts)
    return MappingProxyType(found)
