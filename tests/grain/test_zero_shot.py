import json
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grain.config import ClassTexts
from grain.structures import REGION_RULES, Array, ImageFeatures, RegionRanking, RegionRule
from grain.zero_shot import (
    MOST_SHOWN,
    answer_reasons,
    build_class_bank,
    found_regions,
    global_scores,
    mix,
    parse_classes,
    parse_descriptions,
    region_scores,
    score_classes,
    shown_rows,
)

EAST, NORTH, BETWEEN = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]
TEMPLATES = ClassTexts(names=("a {name}", "the {name}"), descriptions=("a {name} which has {description}",))
WORDS = {
    "a jar": EAST,
    "the jar": NORTH,
    "a pot which has a lid": EAST,
    "a pot which has a star": BETWEEN,
    "a lid": NORTH,
    "a star": EAST,
    "a pot which has a lid and a star": EAST,
    "a lid and a star": BETWEEN,
}
RULES = get_args(RegionRule)


def embed(texts: list[str]) -> Array:
    return np.array([WORDS[text] for text in texts], np.float32).reshape(-1, 2)


def bank_of(classes: dict[str, list[str]], region_rule: RegionRule = "best_region") -> Any:
    return build_class_bank(classes, TEMPLATES, embed, region_rule=region_rule)


# embeddings of classes


def test_a_class_is_the_unit_mean_of_its_texts() -> None:
    bank = bank_of({"jar": [], "pot": ["a lid", "a star"]})
    np.testing.assert_allclose(bank.class_embeds[0], [0.5**0.5, 0.5**0.5], rtol=1e-6)
    np.testing.assert_allclose(bank.class_embeds[1], np.array([1.6, 0.8]) / np.hypot(1.6, 0.8), rtol=1e-6)
    assert bank.texts == ("a lid", "a star")
    assert bank.class_index.tolist() == [1, 1]
    np.testing.assert_allclose(bank.prompted, [EAST, BETWEEN])
    np.testing.assert_allclose(bank.bare, [NORTH, EAST])


def test_a_class_without_descriptions_is_known_by_its_name_alone() -> None:
    bank = bank_of({"jar": []})
    assert (bank.texts, bank.prompted.shape, bank.bare.shape) == ((), (0, 2), (0, 2))
    assert np.isnan(region_scores(np.ones((3, 2, 2), np.float32), bank)).all()


def test_no_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="no classes: write at least one"):
        bank_of({})


# scores


def test_a_region_score_is_the_mean_over_descriptions_of_the_best_region() -> None:
    bank = bank_of({"jar": [], "pot": ["a lid", "a star"]})
    regions = np.array([[EAST, BETWEEN], [NORTH, NORTH]], np.float32)
    scores = region_scores(regions, bank)
    np.testing.assert_allclose(scores[:, 1], [(0.8 + 1.0) / 2, (1.0 + 0.0) / 2], rtol=1e-6)
    assert np.isnan(scores[:, 0]).all()
    np.testing.assert_allclose(global_scores(np.array([EAST], np.float32), bank)[0, 0], 0.5**0.5, rtol=1e-6)


def test_without_regions_there_is_no_region_score() -> None:
    assert np.isnan(region_scores(np.zeros((2, 0, 2), np.float32), bank_of({"pot": ["a lid"]}))).all()


THREE_REGIONS = np.array([[EAST, BETWEEN, BETWEEN]], np.float32)


@pytest.mark.parametrize(
    ("rule", "two_phrases", "one_sentence"),
    [
        ("best_region", (0.8 + 1.0) / 2, 1.0),
        ("best_description", (1.0 + 0.8 + 0.8) / 3, (0.6 + 1.0 + 1.0) / 3),
        ("phrases", (0.8 + 1.0) / 2, (0.8 + 1.0) / 2),
    ],
)
def test_each_rule_takes_maximum_and_mean_in_its_own_order(
    rule: RegionRule, two_phrases: float, one_sentence: float
) -> None:
    for descriptions, score in ((["a lid", "a star"], two_phrases), (["a lid and a star"], one_sentence)):
        bank = bank_of({"jar": [], "pot": descriptions}, rule)
        np.testing.assert_allclose(region_scores(THREE_REGIONS, bank), [[np.nan, score]], rtol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_one_region_and_one_phrase_leave_the_rules_nothing_to_differ_in(rule: RegionRule) -> None:
    score = region_scores(np.array([[BETWEEN]], np.float32), bank_of({"pot": ["a lid"]}, rule))
    np.testing.assert_allclose(score, [[0.8]], rtol=1e-6)
    assert np.isnan(region_scores(np.zeros((1, 0, 2), np.float32), bank_of({"pot": ["a lid"]}, rule))).all()


def test_a_rule_that_is_none_is_refused() -> None:
    rule: Any = "largest"
    with pytest.raises(ValueError, match="no region rule 'largest': choose one of best_region, best_description, phr"):
        bank_of({"pot": ["a lid"]}, rule)
    assert set(RULES) == set(REGION_RULES)


def test_a_sentence_is_as_near_as_its_phrases_and_lies_where_the_surest_is() -> None:
    features = ImageFeatures(
        *(np.array(rows, np.float32) for rows in (EAST, [BETWEEN, NORTH, BETWEEN], np.zeros((3, 4)), np.ones(3)))
    )
    bank = bank_of({"pot": ["a lid and a star"]}, "phrases")
    rows = shown_rows(features, RegionRanking(np.zeros((3, 0), np.float32), None), bank)
    (pot,) = score_classes(features, bank, rows=rows, alpha=0.0, scale=2.0)
    assert pot.score == pot.region_score == pytest.approx((1.0 + 0.6) / 2)
    (description,) = pot.descriptions
    assert (description.text, description.region_index) == ("a lid and a star", 1)
    assert description.region_score == pot.region_score


def test_regions_that_are_not_shown_still_score() -> None:
    features = ImageFeatures(
        *(np.array(rows, np.float32) for rows in (EAST, [EAST, BETWEEN, BETWEEN], np.zeros((3, 4)), np.ones(3)))
    )
    bank = bank_of({"pot": ["a lid", "a star"]}, "best_description")
    (pot,) = score_classes(features, bank, rows=np.array([0, 1]), alpha=0.0, scale=2.0)
    assert pot.score == pytest.approx((1.0 + 0.8 + 0.8) / 3)


@given(st.floats(0, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_a_mixed_score_lies_between_the_two_and_is_the_global_one_where_there_is_no_other(
    alpha: float, whole: float, regions: float
) -> None:
    mixed = mix(np.array([whole, whole]), np.array([regions, np.nan]), alpha)
    assert mixed[0] == pytest.approx(alpha * whole + (1 - alpha) * regions)
    assert min(whole, regions) - 1e-9 <= mixed[0] <= max(whole, regions) + 1e-9
    assert mixed[1] == whole


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_a_share_outside_zero_to_one_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\]"):
        mix(np.zeros(1), np.zeros(1), alpha)


def test_classes_come_best_first_with_what_each_description_adds() -> None:
    features = ImageFeatures(
        *(np.array(rows, np.float32) for rows in (EAST, [NORTH, BETWEEN], np.zeros((2, 4)), np.ones(2)))
    )
    pot, jar = score_classes(
        features, bank_of({"jar": [], "pot": ["a lid", "a star"]}), rows=np.arange(2), alpha=0.5, scale=2.0
    )
    assert (pot.name, jar.name) == ("pot", "jar")
    assert pot.region_score == pytest.approx((1.0 + 0.6) / 2)
    assert pot.global_score == pytest.approx(1.6 / np.hypot(1.6, 0.8))
    assert pot.score == pytest.approx((pot.global_score + pot.region_score) / 2)
    assert jar.score == jar.global_score == pytest.approx(0.5**0.5)
    assert jar.region_score is None and jar.descriptions == ()
    odds = np.exp(2 * (pot.score - jar.score))
    assert pot.probability == pytest.approx(odds / (1 + odds))
    lid, star = pot.descriptions
    assert (lid.text, lid.global_score, lid.region_score, lid.region_index) == ("a lid", 1.0, 1.0, 0)
    assert (star.text, star.region_index) == ("a star", 1)
    assert (star.global_score, star.region_score) == pytest.approx((0.6, 0.6))


def test_probabilities_add_up_to_one_however_large_the_scale() -> None:
    features = ImageFeatures(*(np.array(rows, np.float32) for rows in (EAST, np.zeros((0, 2)), np.zeros((0, 4)), [])))
    for scale in (1.0, 100.0, 1e6):
        scores = score_classes(
            features, bank_of({"jar": [], "pot": ["a lid"]}), rows=np.arange(0), alpha=0.0, scale=scale
        )
        assert sum(score.probability for score in scores) == pytest.approx(1)
        assert scores[0].descriptions[0].region_score is None, "this picture has no regions"


# regions


def test_each_description_gets_its_best_region() -> None:
    boxes = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1]], np.float32)
    matches = np.array([[0.9, 0.1, 0.3], [0.2, 0.3, 0.4]], np.float32)
    found = found_regions(boxes, matches, RegionRanking(matches, None), descriptions=["a", "b", "c"])
    assert [(region.text, region.index, region.xyxy) for region in found] == [
        ("a", 0, (0.0, 0.0, 0.5, 1.0)),
        ("b", 1, (0.5, 0.0, 1.0, 1.0)),
        ("c", 1, (0.5, 0.0, 1.0, 1.0)),
    ]


def test_a_region_has_the_box_of_each_description() -> None:
    boxes = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1]], np.float32)
    of_each = np.array([[[0, 0, 0.4, 1], [0, 0, 0.5, 0.5]], [[0.5, 0, 1, 1], [0.6, 0, 1, 1]]], np.float32)
    matches = np.array([[0.9, 0.1], [0.2, 0.3]], np.float32)
    ranked = RegionRanking(matches, None, boxes_xyxy=of_each)
    found = found_regions(boxes, matches, ranked, descriptions=["a", "b"])
    np.testing.assert_allclose([region.xyxy for region in found], [[0, 0, 0.4, 1], [0.6, 0, 1, 1]])
    np.testing.assert_array_equal(ranked.best_boxes(boxes), of_each[[0, 1], [0, 1]])
    np.testing.assert_array_equal(ranked.take(np.array([1])).boxes_for(1, boxes[1:]), of_each[1:, 1])


def test_the_ranking_chooses_the_region_and_leaves_out_what_is_not_there() -> None:
    boxes = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1]], np.float32)
    matches = np.array([[0.9, 0.8], [0.2, 0.3]], np.float32)
    ranked = RegionRanking(np.array([[0.0, 5.0], [1.0, 4.0]], np.float32), np.array([0.5, 0.49], np.float32))
    found = found_regions(boxes, matches, ranked, descriptions=["the right one", "absent"])
    assert [(region.text, region.index, round(region.score, 3)) for region in found] == [("the right one", 1, 0.2)]


def test_all_instances_are_found_once_each_and_the_surest_first() -> None:
    boxes = np.array(
        [[0, 0, 0.4, 1], [0, 0, 0.41, 1], [0.5, 0, 0.9, 1], [0.92, 0, 1, 0.2], [0.1, 0.1, 0.3, 0.3]], np.float32
    )
    matches = np.zeros((5, 2), np.float32)
    sure = np.array([[0.6, 0.1], [0.7, 0.2], [0.9, 0.3], [0.4, 0.49], [0.8, 0.1]], np.float32)
    ranking = np.array(
        [[3, 0], [2, 0], [1, 0], [0, 1], [0, 0]], np.float32
    )  # the best one is the ranking's, not the surest
    ranked = RegionRanking(ranking, np.array([0.9, 0.9], np.float32), sure)

    def found(**asked: Any) -> list[tuple[str, int, float]]:
        regions = found_regions(boxes, matches, ranked, descriptions=["goat", "robot"], **asked)
        return [(region.text, region.index, round(region.confidence or 0, 2)) for region in regions]

    assert found() == [("goat", 0, 0.6)]
    assert found(instances="all") == [("goat", 0, 0.6), ("goat", 2, 0.9)], (
        "row 1 is the same thing as row 0, and row 4 a part of it"
    )
    assert found(instances="all", min_confidence=0.4)[-1] == ("robot", 3, 0.49)


def test_a_description_with_a_number_says_how_many_of_it_are_found() -> None:
    boxes = np.array([[0, 0, 0.3, 1], [0.35, 0, 0.6, 1], [0.65, 0, 1, 1]], np.float32)
    sure = np.array([[0.9, 0.9, 0.9, 0.4], [0.8, 0.7, 0.2, 0.3], [0.4, 0.6, 0, 0]], np.float32)
    reasons, texts = ("pale", "pale", "pale", "pale"), ["three dogs", "three cats", "a cow", "two cups"]
    ranked = RegionRanking(sure, np.full(4, 0.9, np.float32), sure, reasons, counts=(3, 3, 0, 2))

    def told(**asked: float) -> tuple[str, ...]:
        regions = found_regions(boxes, np.zeros((3, 4), np.float32), ranked, descriptions=texts, **asked)
        return answer_reasons(ranked, regions, descriptions=texts, **asked)

    assert told() == ("2 of 3 found", "", "", "pale"), "of one without a box, why"
    assert told(min_confidence=0.65) == ("2 of 3 found", "2 of 3 found", "", "pale")
    assert answer_reasons(RegionRanking(sure, None), [], descriptions=texts) == ()


def nothing(regions: int, descriptions: int) -> tuple[Array, Array, RegionRanking]:
    matches = np.zeros((regions, descriptions), np.float32)
    return np.zeros((regions, 4), np.float32), matches, RegionRanking(matches, None)


def test_an_answer_has_the_region_of_every_text_and_the_surest_of_the_others() -> None:
    count = MOST_SHOWN + 20
    features = ImageFeatures(
        np.zeros(4, np.float32), np.zeros((count, 4), np.float32), np.zeros((count, 4), np.float32),
        np.linspace(1, 0, count, dtype=np.float32),
    )  # fmt: skip
    ranking = np.zeros((count, 2), np.float32)
    ranking[count - 1, 0] = ranking[3, 1] = 1
    rows = shown_rows(features, RegionRanking(ranking, None), None)
    assert rows.tolist() == [*range(MOST_SHOWN - 1), count - 1]
    rows = shown_rows(features, RegionRanking(ranking, None), None, found=[count - 2])
    assert rows.tolist() == [*range(MOST_SHOWN - 2), count - 2, count - 1]
    few = features.take(np.arange(5))
    assert shown_rows(few, RegionRanking(ranking[:5], None), None).tolist() == [0, 1, 2, 3, 4]
    assert len(shown_rows(few.take(np.arange(0)), RegionRanking(ranking[:0], None), None)) == 0


def test_no_boxes_or_no_descriptions_give_no_regions() -> None:
    assert found_regions(*nothing(0, 1), descriptions=["a"]) == ()
    assert found_regions(*nothing(2, 0), descriptions=[]) == ()


def test_descriptions_of_another_number_than_matches_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        found_regions(*nothing(2, 1), descriptions=["a", "b"])


# what a person writes


def test_classes_are_read_a_line_each() -> None:
    text = "zorbex: a red lid ; a star;; a red lid\n\n  plain \n ratio: 1:2 ; x"
    assert parse_classes(text) == {"zorbex": ["a red lid", "a star"], "plain": [], "ratio": ["1:2", "x"]}


def test_one_line_alone_may_hold_several_names() -> None:
    assert parse_classes(" dog, tabby cat; person,") == {"dog": [], "tabby cat": [], "person": []}
    assert parse_classes("crane, bird:") == {"crane, bird": []}
    assert parse_classes("crane, bird\ndog") == {"crane, bird": [], "dog": []}


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.lists(st.text(max_size=8), max_size=3), max_size=4))
def test_what_curation_writes_as_json_is_read_back(classes: dict[str, list[str]]) -> None:
    cleaned = {name.strip(): parse_descriptions("\n".join(rows)) for name, rows in classes.items() if name.strip()}
    assert parse_classes(json.dumps(classes)) == cleaned
    assert parse_classes(json.dumps(cleaned, ensure_ascii=False)) == cleaned


def test_nothing_written_is_no_class_and_no_description() -> None:
    assert parse_classes(" \n ") == parse_classes("{}") == {}
    assert parse_descriptions(" \n\n") == []


def test_descriptions_are_read_a_line_each_and_kept_once() -> None:
    assert parse_descriptions(" a lid \n\na star\na lid\r\nwith; semicolons") == ["a lid", "a star", "with; semicolons"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (": a lid", "has no name: write `name: description; description`"),
        ("jar: a\npot\njar: b", "the class 'jar' is there twice: put its descriptions on one line"),
        ('{"jar": ["a lid",}', "start like JSON but cannot be read .*: check commas and quotes"),
        (
            '{"jar": ["a lid"], "jar": []}',
            "the class 'jar' is there twice: put its descriptions into one list",
        ),
        ("[" * 100_000, "start like JSON but cannot be read"),
        ('["jar"]', "must look like"),
        ('{"jar": "a lid"}', "must look like"),
        ('{"jar": [1]}', "must look like"),
    ],
)
def test_classes_that_cannot_be_read_are_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        parse_classes(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250
