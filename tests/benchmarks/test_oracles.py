"""Oracles of the sample world: shares worked by hand, and that more is never worth less."""

import pytest

from benchmarks.oracles import ORACLES, read_bag, read_colors, read_parts, share_right, share_right_of_six
from curation.sample.families import FAMILY, family_classes
from curation.sample.products import NovelClass
from curation.sample.shapes import Part


def product(name: str, lid: str, star: str, side: str = "left") -> NovelClass:
    kinds = (("body", "box", "black"), ("band", "dots", "red"), ("top", "lid", lid), ("side", "tap", "red"))
    parts = (*(Part(*each) for each in kinds), Part("emblem", "star", star))
    return NovelClass(name, parts, side)


def test_an_oracle_guesses_evenly_among_what_it_cannot_tell_apart() -> None:
    classes = [product("one", "red", "blue"), product("two", "blue", "red"), product("three", "pink", "red")]
    assert share_right([read_parts(["body"])], classes) == pytest.approx(1 / 3)
    assert share_right([read_parts(["emblem"])], classes) == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert share_right([read_bag], classes) == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert share_right([read_colors], classes) == 1.0
    assert share_right([read_parts(["body"]), read_colors], classes) == pytest.approx((1 / 3 + 1) / 2)


def test_the_side_is_read_with_the_side_part_alone() -> None:
    classes = [product("one", "red", "blue", "left"), product("two", "red", "blue", "right")]
    assert share_right([read_parts(["side"])], classes) == 1.0
    assert share_right([read_colors], classes) == 0.5


def test_unbound_words_tell_no_swapped_colors_apart_but_every_other_near_miss() -> None:
    classes = family_classes(4, FAMILY)
    shares = {each: share_right_of_six([read_bag], classes, each, 4) for each in ("kind", "color", "swap")}
    assert shares == {"kind": 1.0, "color": 1.0, "swap": pytest.approx(1 / 6)}


def test_within_a_family_half_is_the_most_without_binding_and_all_parts_tell_all() -> None:
    classes = family_classes(4, FAMILY)
    found = {name: share_right(readings, classes) for name, readings in ORACLES.items()}
    by_parts = [found[f"{k} of 5 parts"] for k in range(1, 6)]
    assert by_parts == sorted(by_parts) and by_parts[-1] == 1.0
    assert found["all words, unbound"] == 0.5 and found["colors of the parts"] == 0.25
