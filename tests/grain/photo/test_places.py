"""Places in descriptions: read from the words, and the regions that they choose."""

from __future__ import annotations

import numpy as np
import pytest

from grain.photo.other_things import other_things
from grain.photo.phrases import embedded_words, parse_phrase
from grain.photo.places import choose_rows, counted_confidence, position_scores

ROW = np.array([[x, 0.4, x + 0.1, 0.6] for x in (0.7, 0.1, 0.5, 0.3)] + [[0.11, 0.4, 0.21, 0.6]], np.float32)
SURE = np.array([0.9, 0.8, 0.7, 0.2, 0.75], np.float32)  # the fourth is hardly one; the last is the second once more


@pytest.mark.parametrize(
    ("text", "order", "positions"),
    [
        ("the second dog from the left", 2, ("left",)),
        ("the dog second from the left", 2, ("left",)),
        ("dog, 3rd from right", 3, ("right",)),
        ("the third one dog from the top", 3, ("top",)),
        ("the first dog from the left", 1, ("left",)),
        ("the dog, the second one from the left side of the picture", 2, ("left",)),
    ],
)
def test_an_order_is_read(text: str, order: int, positions: tuple[str, ...]) -> None:
    found = parse_phrase(text)
    assert (found.order, found.positions) == (order, positions) and found.core.endswith("dog")


@pytest.mark.parametrize(
    ("text", "order"), [("second from the left", 2), ("The third one from left", 3), ("the 1st from the top", 1)]
)
def test_an_order_of_nothing_names_no_thing(text: str, order: int) -> None:
    found = parse_phrase(text)
    assert (found.order, found.named, other_things(text)) == (order, False, ())
    assert all(parse_phrase(named).named for named in ("the second dog from the left", "left", "second", ""))


@pytest.mark.parametrize("text", ["the second floor window", "a dog from the left", "a second from the left dog"])
def test_what_is_no_order_stays_as_it_is(text: str) -> None:
    assert parse_phrase(text).order == 1


@pytest.mark.parametrize(
    ("text", "several"),
    [
        ("the dogs on the left", True),
        ("two sheep on the left", True),
        ("every dog on the left", True),
        ("3 sheep on the left", True),
        ("the sheep on the left", False),
        ("one sheep on the left", False),
        ("the glasses on the left", False),
    ],
)
def test_several_are_told_from_one(text: str, several: bool) -> None:
    assert parse_phrase(text).several is several


@pytest.mark.parametrize(
    ("text", "count"),
    [
        *(("two dogs", 2), ("the three dogs", 3), ("4 dogs", 4), ("all five dogs", 5), ("both dogs", 2)),
        *(("two of the five dogs", 2), ("one dog", 1), ("one of the dogs", 1), ("two dogs on the left", 2)),
        *(
            ("a dog", 0),
            ("the dogs", 0),
            ("several dogs", 0),
            ("a two seat sofa", 0),
            ("a one piece suit", 0),
            ("dogs with two tails", 0),
        ),
    ],
)
def test_a_number_of_things_is_read(text: str, count: int) -> None:
    assert parse_phrase(text).count == count


def test_as_many_things_are_meant_as_a_description_counts() -> None:
    def found(count: int, sure: list[float]) -> list[float]:
        return counted_confidence(ROW, np.array(sure, np.float32), best=0, count=count).round(3).tolist()

    sure = [0.9, 0.8, 0.7, 0.3, 0.75]  # the last is the second once more
    assert found(0, sure) == found(1950, sure) == pytest.approx(sure)
    more = [7 * each / (7 * each + 3 * (1 - each)) for each in sure]
    assert found(2, sure) == pytest.approx([more[0], more[1], 0, 0, 0], abs=1e-3)
    assert found(4, sure) == pytest.approx([*more[:3], 0.5, 0], abs=1e-3)
    assert found(1, sure) == pytest.approx([more[0], 0, 0, 0, 0], abs=1e-3)
    assert found(3, [0.4, 0.3, 0.2, 0.1, 0.3]) == pytest.approx([0.4, 0.3, 0.2, 0, 0])  # none is surely there


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the second dog from the left", "the dog"),
        ("A Dog on the left without a collar", "A dog"),
        ("the largest dog in a hat", "the dog in a hat"),
        ("A red Dog in a Hat", "A red Dog in a Hat"),
        ("a top hat", "a top hat"),
        ("left", "left"),
    ],
)
def test_a_place_is_measured_and_not_embedded(text: str, words: str) -> None:
    assert embedded_words(text) == words


def test_one_on_the_left_is_the_one_that_its_place_chose() -> None:
    assert choose_rows(ROW, SURE, best=3, positions=["left"]) == [3]
    assert choose_rows(ROW, SURE, best=3, positions=["left"], among_things=True) == [1]
    assert choose_rows(ROW, np.full(5, 0.4, np.float32), best=3, positions=["left"], among_things=True) == [3]


@pytest.mark.parametrize(
    ("order", "side", "rows"),
    [(2, "left", [2]), (3, "left", [0]), (2, "right", [2]), (3, "right", [1]), (4, "left", [])],
)
def test_an_order_counts_things_once_and_only_those_that_are_sure(order: int, side: str, rows: list[int]) -> None:
    assert choose_rows(ROW, SURE, best=3, positions=[side], order=order) == rows


@pytest.mark.parametrize(
    ("words", "rows"), [(["left"], [1, 3, 4]), (["right"], [1, 0, 2]), (["middle"], [1, 2, 3]), (["largest"], [1])]
)
def test_several_are_all_on_that_side_and_the_chosen_one(words: list[str], rows: list[int]) -> None:
    assert choose_rows(ROW, SURE, best=1, positions=words, several=True) == rows


@pytest.mark.parametrize(
    ("words", "best"),
    [("left", 0), ("right", 1), ("top", 1), ("bottom", 2), ("largest", 2), ("smallest", 0), ("middle", 2)],
)
def test_position_words_choose_among_boxes(words: str, best: int) -> None:
    boxes = np.array([[0.0, 0.4, 0.1, 0.5], [0.8, 0.0, 1.0, 0.2], [0.3, 0.3, 0.7, 0.9]], np.float32)
    assert position_scores(boxes, [words]).argmax() == best


def test_two_position_words_count_together() -> None:
    corners = np.array([[0, 0, 0.2, 0.2], [0.8, 0, 1, 0.2], [0, 0.8, 0.2, 1], [0.8, 0.8, 1, 1]], np.float32)
    assert position_scores(corners, ["top", "right"]).argmax() == 1
    assert position_scores(np.zeros((0, 4), np.float32), ["left"]).shape == (0,)
