"""Ways of recognition that others proposed: descriptions filtered by text, and weighted crops."""

import math
from dataclasses import replace

import numpy as np
import pytest

from grain.config import ClassTexts
from grain.evaluate.other_ways import crop_boxes, telling, weighted_crop_scores, weighted_texts
from grain.structures import Array
from grain.zero_shot import ClassBank, build_class_bank, class_prompts, relative_clause


def rows(*values: tuple[float, ...]) -> Array:
    return np.array(values, np.float32)


def bank_of(prompted: Array, owner: list[int]) -> ClassBank:
    empty = build_class_bank(
        {"jar": [], "pot": []}, ClassTexts(), lambda texts: np.eye(2, dtype=np.float32)[: len(texts)]
    )
    return replace(empty, prompted=prompted, class_index=np.array(owner))


def test_a_description_tells_where_no_other_class_is_as_near() -> None:
    cosines = rows((0.9, 0.1), (0.3, 0.8), (0.5, 0.5), (0.2, 0.6))
    assert telling(cosines, np.array([0, 0, 0, 1])).tolist() == [True, False, False, True]


def test_a_class_without_a_telling_description_keeps_all() -> None:
    assert telling(rows((0.1, 0.9), (0.2, 0.8), (0.4, 0.6)), np.array([0, 0, 1])).tolist() == [True, True, True]


def test_crops_are_square_inside_and_the_same_for_the_same_picture() -> None:
    boxes = crop_boxes("a", width=200, height=100, count=40)
    assert boxes == crop_boxes("a", width=200, height=100, count=40) != crop_boxes("b", width=200, height=100, count=40)
    for x0, y0, x1, y1 in boxes:
        assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
        assert (x1 - x0) * 200 == pytest.approx((y1 - y0) * 100)
        assert 0.5 <= y1 - y0 <= 0.9


def test_descriptions_weigh_by_how_near_they_are_to_their_class_name() -> None:
    names = rows((1, 0), (0, 1))
    vectors = weighted_texts(bank_of(rows((1, 0), (0, 1)), [0, 0]), names)
    near = math.e / (math.e + 1)  # softmax of the cosines 1 and 0
    assert vectors[0].tolist() == pytest.approx([near, 1 - near])
    assert vectors[1].tolist() == [0, 1]  # no description: its name


def test_crops_weigh_by_how_near_they_are_to_the_whole_picture() -> None:
    near = math.e / (math.e + 1)
    scores = weighted_crop_scores(rows((1, 0), (0, 1)), rows((1, 0))[0], rows((1, 0), (0, 1), (0.6, 0.8)))
    assert scores.tolist() == pytest.approx([near, 1 - near, 0.6 * near + 0.8 * (1 - near)])


def test_weighted_scores_are_the_double_sum_of_the_paper() -> None:
    draw = np.random.default_rng(0)
    unit = [
        each / np.linalg.norm(each, axis=-1, keepdims=True)
        for each in map(draw.normal, [0] * 4, [1] * 4, [(3, 5), (1, 5), (4, 5), (2, 5)])
    ]
    crops, image, described, names = (each.astype(np.float32) for each in unit)
    bank = bank_of(described, [0, 0, 1, 1])
    found = weighted_crop_scores(crops, image[0], weighted_texts(bank, names))
    weigh = np.exp(crops @ image[0]) / np.exp(crops @ image[0]).sum()
    for row in range(2):
        own = described[2 * row : 2 * row + 2]
        share = np.exp(own @ names[row]) / np.exp(own @ names[row]).sum()
        assert found[row] == pytest.approx(
            sum(w * v * (c @ d) for w, c in zip(weigh, crops, strict=True) for v, d in zip(share, own, strict=True)),
            rel=1e-5,
        )


@pytest.mark.parametrize(
    ("description", "clause"),
    [
        ("a red lid", "which is a red lid"),
        ("used to cook", "which is used to cook"),
        ("has a handle", "which has a handle"),
        ("can be opened", "which can be opened"),
        ("typically round", "which typically round"),
        ("two ears", "which has two ears"),
    ],
)
def test_the_authors_grammar_writes_a_relative_clause(description: str, clause: str) -> None:
    assert relative_clause(description) == clause
    templates = ClassTexts(names=("a photo of a {name}.",)).in_clauses()
    assert class_prompts("pot", [description], templates) == [[f"a photo of a pot. {clause}"]]
    assert class_prompts("pot", [], templates) == [["a photo of a pot."]]
