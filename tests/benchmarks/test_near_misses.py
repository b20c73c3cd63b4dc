"""Near misses of novel classes: they differ in one thing, and who sees nothing is right in one of six."""

from random import Random

import pytest

from benchmarks.near_misses import DIFFERENCES, NEAR_MISSES, near_misses
from curation.sample.families import FAMILY, family_classes
from curation.sample.products import NovelClass
from curation.sample.shapes import KINDS, SLOTS, Part
from tests.support.products import things_that_differ


@pytest.mark.parametrize("difference", list(DIFFERENCES))
def test_near_misses_differ_in_one_thing_and_none_lies_in_the_middle(difference: str) -> None:
    for one in family_classes(3, FAMILY):
        six = [one, *near_misses(one, difference, Random(one.name))]
        assert len({each.parts for each in six}) == NEAR_MISSES + 1
        assert {each.side for each in six} == {one.side}
        for each in six:
            colors = [part.color for part in each.parts]
            assert colors.count(colors[0]) == 1, "the body stands out"
            assert sum(things_that_differ(each, other) == 1 for other in six) == (3 if difference == "swap" else 5)
        assert (len({frozenset(part.color for part in each.parts) for each in six}) == 1) or difference != "swap"


def test_colors_that_cannot_be_arranged_in_six_ways_are_refused() -> None:
    parts = tuple(Part(slot, KINDS[slot][0], "red" if slot == "body" else "blue") for slot in SLOTS)
    with pytest.raises(ValueError, match="expected three colors"):
        near_misses(NovelClass("x", parts, "left"), "swap", Random(0))
