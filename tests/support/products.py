"""Compare products of the sample world's second edition."""

from __future__ import annotations

from curation.sample.products import NovelClass


def things_that_differ(one: NovelClass, other: NovelClass) -> int:
    """Count the parts that differ, and the side; two parts with each other's color are one thing."""
    pairs = [(a, b) for a, b in zip(one.parts, other.parts, strict=True) if a != b]
    swapped = len(pairs) == 2 and all(a.kind == b.kind for a, b in pairs) and pairs[0][0].color == pairs[1][1].color
    return (1 if swapped else len(pairs)) + (one.side != other.side)
