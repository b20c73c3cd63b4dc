"""Comparisons by hand, against scikit-learn, and against doing it the long way."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

from benchmarks.evaluation import top1_hits
from benchmarks.experiments import sweep_alpha
from grain.config import ClassTexts
from grain.evaluate.comparison import (
    Calibration,
    ConfusedPair,
    McNemar,
    best_alpha,
    class_deltas,
    confusion,
    examples,
    mcnemar,
    paired_lead,
    reliability,
    softmax,
)
from grain.evaluate.description_effects import leave_one_out
from grain.structures import Array, ImageFeatures
from grain.zero_shot import build_class_bank, global_scores, mix, region_scores

WIDTH = 6


def hits(text: str) -> NDArray[np.float64]:
    return np.array([float(letter) for letter in text])


def unit(rows: Array) -> Array:
    made: Array = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return made


# ------------------------------------------------------------------------------------------------ in all


def test_mcnemar_by_hand() -> None:
    one, other = hits("11111111" + "00" + "1100"), hits("00000000" + "11" + "1100")
    assert mcnemar(one, other) == McNemar(8, 2, pytest.approx(2 * (1 + 10 + 45) / 1024))
    assert mcnemar(other, one).p_value == mcnemar(one, other).p_value
    assert mcnemar(one, one) == McNemar(0, 0, 1.0)
    assert mcnemar(one[:0], one[:0]) == McNemar(0, 0, 1.0)


def test_a_lead_is_the_difference_of_the_means_and_paired_doubt_is_less() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(400) < 0.5
    one, other = (hard | (rng.random(400) < 0.1)).astype(float), hard.astype(float)
    paired, mixed_up = paired_lead(one, other).lead, paired_lead(one, rng.permutation(other)).lead
    assert paired.value == pytest.approx(one.mean() - other.mean()) and paired.low > 0
    assert paired.high - paired.low < 0.5 * (mixed_up.high - mixed_up.low)
    assert paired_lead(other, one).lead.value == -paired.value


def test_pictures_that_stand_and_fall_together_leave_more_doubt() -> None:
    one, other = np.repeat(np.random.default_rng(1).integers(0, 2, 60), 20).astype(float), np.full(1200, 0.5)
    alone, found = paired_lead(one, other), paired_lead(one, other, groups=np.repeat(np.arange(60), 20))
    assert (alone.lead.value, alone.groups, found.groups) == (found.lead.value, 0, 60)
    ratio = (found.lead.high - found.lead.low) / (alone.lead.high - alone.lead.low)
    assert ratio == pytest.approx(np.sqrt(20), rel=0.15)


def test_a_lead_over_classes_by_hand() -> None:
    # each of six classes has one picture, won by the first model: of 64 ways to swap, two are as one-sided
    six = paired_lead(np.ones(6), np.zeros(6), groups=np.arange(6))
    assert six.p_value == 2 / 64 and six.lead.low > 0
    five = paired_lead(np.ones(5), np.zeros(5), groups=np.arange(5))
    assert five.p_value == 2 / 32 and five.lead.low < 0 < five.lead.high
    # one class decides everything: however the others fall, swapping it alone is as one-sided
    one, groups = np.repeat([1.0, 0.0], [50, 450]), np.repeat(np.arange(10), 50)
    assert paired_lead(one, np.zeros(500), groups=groups).p_value == 1
    assert paired_lead(one, np.zeros(500)).p_value < 0.001, "McNemar's test, which knows no classes"


def test_too_few_classes_are_told_of_by_their_pictures() -> None:
    one, other = hits("1111111100" * 3), hits("0000000011" * 3)
    few = paired_lead(one, other, groups=np.repeat(np.arange(5), 6))
    assert few == paired_lead(one, other) and few.groups == 0
    assert few.p_value == pytest.approx(mcnemar(one, other).p_value, abs=0.01)


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 15))
def test_an_interval_leaves_zero_out_just_where_its_test_says_so(seed: int, pictures: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    one, other, target = rng.integers(0, 2, pictures) * 1.0, rng.integers(0, 2, pictures) * 1.0, None
    for groups in (target, rng.integers(0, classes, pictures)):
        found = paired_lead(one, other, groups=groups)
        assert (found.p_value <= 0.05) == (not found.lead.low <= 0 <= found.lead.high)
        assert -1 <= found.lead.low <= found.lead.value <= found.lead.high <= 1
        back = paired_lead(other, one, groups=groups)
        assert back.lead.value == pytest.approx(-found.lead.value) and back.p_value == pytest.approx(
            found.p_value, abs=0.05
        )


def test_alone_the_test_is_mcnemars() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        one, other = rng.integers(0, 2, 80) * 1.0, rng.integers(0, 2, 80) * 1.0
        assert paired_lead(one, other).p_value == pytest.approx(mcnemar(one, other).p_value, abs=0.03)


def test_what_is_not_about_the_same_pictures_is_refused() -> None:
    for compare in (paired_lead, mcnemar):
        with pytest.raises(ValueError, match="same pictures, got 3 and 2"):
            compare(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="no items"):
        paired_lead(np.ones(0), np.ones(0), groups=np.ones(0, int))


# ------------------------------------------------------------------------------------------------ by class


def test_each_class_has_its_lead_and_the_number_of_classes_is_paid_for() -> None:
    target = np.repeat([0, 2, 1], [10, 4, 6])
    one, other = hits("1111111110" + "1100" + "000000"), hits("0000000000" + "1100" + "111110")
    first, second, third = class_deltas(one, other, target=target, names=["fox", "owl", "elk", "never seen"])
    assert (first.name, first.pictures, first.one, first.other) == ("fox", 10, 0.9, 0.0)
    assert second.name == "elk" and second.p_value == 1
    assert second.lead.value == 0 and -1 < second.lead.low < 0 < second.lead.high < 1, "six pictures are not many"
    assert third.name == "owl" and third.lead.value == pytest.approx(-5 / 6)
    assert first.p_value == pytest.approx(2 / 2**9) and third.p_value == pytest.approx(2 / 2**5)
    assert first.discovery_rate == pytest.approx(3 * first.p_value)
    assert third.discovery_rate == pytest.approx(3 / 2 * third.p_value)
    assert class_deltas(one[:0], other[:0], target=target[:0], names=["fox"]) == ()


def test_classes_with_the_same_counts_have_the_lead_of_their_own_pictures() -> None:
    rng = np.random.default_rng(5)
    target, pairs = np.repeat(np.arange(40), 5), rng.integers(0, 2, (2, 200)).astype(float)
    one, other = pairs
    for each in class_deltas(one, other, target=target, names=[str(row) for row in range(40)]):
        own = target == int(each.name)
        assert each.lead == paired_lead(one[own], other[own]).lead


# ------------------------------------------------------------------------------------------------ pictures


def margins(scores: Array, target: Array) -> Array:
    """[N] the right class's score less the best wrong one's: above 0 where the picture is recognised."""
    rows = np.arange(len(scores))
    wrong = scores.copy()
    wrong[rows, target] = -np.inf
    return scores[rows, target] - wrong.max(axis=1, initial=-np.inf)


def test_examples_are_won_and_lost_pictures_the_clearest_first() -> None:
    one = np.array([[0.9, 0.1, 0], [0.6, 0.5, 0], [0.1, 0.9, 0], [0.2, 0.1, 0.9]], np.float32)
    other = np.array([[0.3, 0.4, 0], [0.1, 0.9, 0], [0.9, 0.1, 0], [0.1, 0.2, 0.9]], np.float32)
    target = np.array([0, 0, 0, 2])
    mine, theirs = (top1_hits(scores, target) for scores in (one, other))
    margin = margins(one, target) - margins(other, target)
    found = examples(mine, theirs, margin)
    assert found.wins.tolist() == [0, 1]
    assert margin[found.wins] == pytest.approx([0.9, 0.9])
    assert found.losses.tolist() == [2]
    assert examples(mine, theirs, margin * [1, 2, 1, 1]).wins.tolist() == [1, 0], "the clearest first"
    assert len(examples(mine, theirs, margin, most=1).wins) == 1
    with pytest.raises(ValueError, match="the same pictures"):
        examples(mine, theirs[:2], margin)


def test_a_margin_is_the_lead_over_the_best_wrong_class() -> None:
    scores = np.array([[0.9, 0.4, 0.7], [0.1, 0.2, 0.4]], np.float32)
    assert margins(scores, np.array([0, 1])) == pytest.approx([0.2, -0.2])
    assert margins(scores[:0], np.zeros(0, int)).shape == (0,)


# ------------------------------------------------------------------------------------------------ descriptions

CLASSES = {
    "fox": ["red fur", "bushy tail", "pointed ears"],
    "owl": ["round eyes", "silent wings"],
    "elk": ["antlers"],
    "eel": [],
}
TEMPLATES = ClassTexts(names=("a {name}",), descriptions=("a {name} with {description}", "{description}"))


def embed(texts: list[str]) -> Array:
    rows = [np.random.default_rng(list(text.encode())).normal(size=WIDTH) for text in texts]
    return unit(np.array(rows, np.float32).reshape(-1, WIDTH))


def pictures(seed: int, count: int, queries: int) -> list[ImageFeatures]:
    rng = np.random.default_rng(seed)
    return [
        ImageFeatures(
            unit(rng.normal(size=WIDTH)),
            unit(rng.normal(size=(queries, WIDTH))),
            np.zeros((queries, 4), np.float32),
            np.ones(queries, np.float32),
        )
        for _ in range(count)
    ]


def recognised(features: list[ImageFeatures], classes: dict[str, list[str]], target: Any, alpha: float) -> Any:
    bank = build_class_bank(classes, TEMPLATES, embed)
    whole = global_scores(np.stack([each.image_embed for each in features]), bank)
    parts = region_scores(np.stack([each.region_embeds for each in features]), bank)
    return margins(mix(whole, parts, alpha), target) > 0


@pytest.mark.parametrize(("alpha", "queries"), [(1.0, 3), (0.5, 3), (0.0, 3), (0.5, 0)])
def test_leaving_a_description_out_is_recognising_everything_without_it(alpha: float, queries: int) -> None:
    features = pictures(5, 200, queries)
    target = np.random.default_rng(6).integers(0, 4, 200)
    found = leave_one_out(features, build_class_bank(CLASSES, TEMPLATES, embed), target, alpha=alpha)
    base = recognised(features, CLASSES, target, alpha)
    assert {(each.class_name, each.text) for each in found} == {
        (name, text) for name in ("fox", "owl") for text in CLASSES[name]
    }, "the only description of a class stays"
    for effect in found:
        rest = {name: [text for text in rows if text != effect.text] for name, rows in CLASSES.items()}
        without = recognised(features, rest, target, alpha)
        assert (effect.helped, effect.hurt) == (np.sum(base & ~without), np.sum(~base & without))
        decided = base & ~without if effect.net >= 0 else ~base & without
        assert effect.picture == (np.flatnonzero(decided)[0] if decided.any() else -1)
        assert CLASSES[effect.class_name][effect.index - (3 if effect.class_name == "owl" else 0)] == effect.text
    assert sum(each.helped + each.hurt for each in found) > 10
    assert [each.net for each in found] == sorted((each.net for each in found), reverse=True)


def test_descriptions_need_pictures_and_a_class_for_each() -> None:
    bank = build_class_bank(CLASSES, TEMPLATES, embed)
    assert leave_one_out([], bank, np.zeros(0, int)) == ()
    with pytest.raises(ValueError, match="every picture needs its class"):
        leave_one_out(pictures(1, 2, 1), bank, np.zeros(3, int))


def test_the_image_leaves_descriptions_out_by_any_region_rule_and_the_regions_by_one() -> None:
    features, target = pictures(5, 30, 2), np.random.default_rng(6).integers(0, 4, 30)
    plain, other = (
        build_class_bank(CLASSES, TEMPLATES, embed, region_rule=rule) for rule in ("best_region", "phrases")
    )
    assert leave_one_out(features, other, target) == leave_one_out(features, plain, target)
    with pytest.raises(ValueError, match="needs the region rule best_region, got phrases"):
        leave_one_out(features, other, target, alpha=0.5)


# ------------------------------------------------------------------------------------------------ image and regions


def test_alpha_runs_from_the_regions_to_the_image() -> None:
    whole = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.4]], np.float32)
    parts = np.array([[0.1, 0.6], [0.7, 0.3], [0.2, 0.9]], np.float32)
    target = np.array([0, 0, 1])
    curve = sweep_alpha(whole, parts, target, steps=3)
    assert [point.alpha for point in curve] == [0, 0.5, 1]
    assert [point.top1.value for point in curve] == pytest.approx([2 / 3, 1, 1])
    assert best_alpha(curve) == 1, "of equals the one that leans on the regions least"
    without_regions = sweep_alpha(whole, np.full_like(whole, np.nan), target, steps=2)
    assert [point.top1.value for point in without_regions] == [1, 1]


# ------------------------------------------------------------------------------------------------ how sure, how wrong


def calibration(probabilities: Array, target: Array, bins: int = 15) -> Calibration:
    return reliability(probabilities.max(axis=1, initial=0), probabilities.argmax(axis=1) == target, bins=bins)


def test_calibration_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.35, 0.65]])
    found = calibration(probabilities, np.array([0, 1, 1, 1]), bins=2)
    assert [(each.low, each.high, each.pictures) for each in found.bins] == [(0.5, 1.0, 4)]
    assert found.error == pytest.approx(abs(0.7625 - 0.75))
    apart = calibration(probabilities, np.array([0, 1, 1, 1]), bins=10)
    assert apart.error == pytest.approx((2 * abs(0.9 - 0.5) + 1 * abs(0.6 - 1) + abs(0.65 - 1)) / 4)


@given(st.integers(0, 10_000))
def test_bins_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities, target = rng.dirichlet(np.ones(4), 300), rng.integers(0, 4, 300)
    found = calibration(probabilities, target, bins=7)
    right = probabilities.argmax(axis=1) == target
    accuracy, confidence = calibration_curve(right, probabilities.max(axis=1), n_bins=7)
    assert [each.accuracy for each in found.bins] == pytest.approx(accuracy)
    assert [each.confidence for each in found.bins] == pytest.approx(confidence)
    assert 0 <= found.error <= 1


def test_a_sure_and_right_model_is_calibrated_and_scores_are_not_probabilities() -> None:
    sure = softmax(np.eye(3, dtype=np.float32), 100.0)
    assert sure.sum(axis=1) == pytest.approx(np.ones(3))
    assert calibration(sure, np.arange(3)).error == pytest.approx(0, abs=1e-6)
    assert calibration(sure, (np.arange(3) + 1) % 3).error == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="softmax first"):
        calibration(np.full((2, 3), 1.5), np.zeros(2, int))
    with pytest.raises(ValueError, match="no pictures"):
        calibration(np.ones((0, 3)), np.zeros(0, int))


def test_confusion_counts_as_scikit_learn_does_and_keeps_the_pictures() -> None:
    said, target = np.array([0, 1, 1, 2, 1, 0]), np.array([0, 0, 1, 1, 0, 2])
    names = ["fox", "owl", "elk"]
    first, *others = found = confusion(said, target, names)
    counts = {(names.index(each.true), names.index(each.predicted)): len(each.pictures) for each in found}
    assert counts == {(0, 1): 2, (1, 2): 1, (2, 0): 1}
    assert all(confusion_matrix(target, said)[cell] == count for cell, count in counts.items())
    assert first == ConfusedPair("fox", "owl", (1, 4))
    assert others == [ConfusedPair("owl", "elk", (3,)), ConfusedPair("elk", "fox", (5,))]
    assert confusion(said, target, names, most=1) == (first,)
    assert confusion(said[:0], target[:0], ["fox"]) == ()


def test_ten_thousand_classes_need_little_memory() -> None:
    target = np.arange(10_000)
    said, names = np.roll(target, 1), [f"class {row}" for row in target]
    tracemalloc.start()
    found = confusion(said, target, names, most=20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 20 and found[0].true == "class 0" and found[0].predicted == "class 9999"
    assert peak < 32 * 2**20, f"{peak / 2**20:.0f} MB"
