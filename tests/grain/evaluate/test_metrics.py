import numpy as np
import pytest
from clip_benchmark.metrics.zeroshot_classification import accuracy
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, t
from sklearn.metrics import balanced_accuracy_score
from torch import from_numpy
from torchvision.ops import box_iou

from benchmarks.evaluation import top1_hits
from grain.evaluate.metrics import (
    LEAD,
    Estimate,
    mean_class_recall,
    mean_interval,
    paired_iou,
    recall_at,
    topk_hits,
)


def test_a_mean_lies_in_its_interval_which_shrinks_with_more_items() -> None:
    few, many = (mean_interval(np.tile([0.0, 1.0, 1.0, 1.0], n)) for n in (5, 500))
    assert few.value == many.value == 0.75
    assert few.low < few.value < few.high
    assert many.high - many.low == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 2000), rel=0.1)
    assert many.high - many.low < few.high - few.low


def test_an_interval_is_the_same_each_time() -> None:
    values = np.arange(9.0) / 8
    assert mean_interval(values) == mean_interval(values)


def test_equal_items_leave_as_much_doubt_as_their_number_does() -> None:
    assert mean_interval(np.ones(3)) == Estimate(1.0, pytest.approx(0.025 ** (1 / 3)), 1.0)
    assert mean_interval(np.zeros(3)) == Estimate(0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 3)))
    missed = 1 - 0.025 ** (1 / 8)
    halves = mean_interval(np.full(8, 0.5))
    assert (halves.low, halves.high) == pytest.approx((0.5 - missed / 2, 0.5 + missed / 2))
    ties = mean_interval(np.zeros(8), bounds=LEAD)
    assert (ties.value, ties.low, ties.high) == pytest.approx((0, -missed, missed))


def test_few_hits_have_the_exact_interval_by_hand() -> None:
    found = mean_interval(np.array([1.0, 0, 1, 1, 0]))
    assert (found.low, found.high) == pytest.approx((0.14663, 0.94726), abs=1e-5), (
        "3 of 5 in Clopper and Pearson’s table"
    )


def test_one_group_or_groups_alike_are_items_and_few_are_never_surer_than_their_items() -> None:
    hits = np.array([1.0, 0, 1, 1, 0])
    assert mean_interval(hits, groups=np.zeros(5, int)) == mean_interval(hits)
    halves, two = np.tile([0.0, 1.0], 40), np.repeat([0, 1], 40)
    assert mean_interval(halves, groups=two) == mean_interval(halves)
    nearly = halves.copy()
    nearly[0] = 1.0
    alone, together = mean_interval(nearly), mean_interval(nearly, groups=two)
    assert together.low <= alone.low < alone.high <= together.high


@pytest.mark.parametrize("items", [3, 5, 10, 20, 40])
def test_intervals_of_few_items_hold_the_truth_at_least_93_times_in_100(items: int) -> None:
    intervals = [mean_interval((np.arange(items) < hits).astype(float)) for hits in range(items + 1)]
    for truth in np.linspace(0.02, 0.98, 25):
        chances = binom.pmf(np.arange(items + 1), items, truth)
        holds = [one.low <= truth <= one.high for one in intervals]
        assert chances[holds].sum() >= 0.93, f"of {truth:.2f} in {items} items"


def test_three_classes_of_one_rate_hold_the_truth_93_times_in_100() -> None:
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(3), 8)
    held = 0
    for _ in range(200):
        found = mean_interval((rng.random(24) < 0.8).astype(float), groups=groups, resamples=300)
        held += found.low <= 0.8 <= found.high
    assert held >= 186


@pytest.mark.parametrize(("classes", "share"), [(10, 0.5), (50, 0.8)])
def test_classes_that_differ_hold_the_truth_93_times_in_100(classes: int, share: float) -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        sizes = rng.integers(3, 40, classes)
        own = np.repeat(rng.beta(3 * share, 3 * (1 - share), classes), sizes)
        found = mean_interval((rng.random(len(own)) < own) * 1.0, groups=np.repeat(np.arange(classes), sizes))
        held += found.low <= share <= found.high
    assert 0.93 <= held / 400 <= 0.985


def test_groups_are_worth_as_many_items_as_leave_their_doubt_by_hand() -> None:
    # four classes of 25, right on 10, 15, 20 and 15: one left out at a time, means 2/3, 3/5, 8/15, 3/5
    hits = np.concatenate([np.arange(25) < right for right in (10, 15, 20, 15)]).astype(float)
    found = mean_interval(hits, groups=np.repeat(np.arange(4), 25))
    variance = 3 / 4 * 2 * (1 / 15) ** 2
    worth = 0.24 / variance * (t.ppf(0.975, 0.24 / variance - 1) / t.ppf(0.975, 3)) ** 2
    low = beta.ppf(0.025, 0.6 * worth + 0.25, 0.4 * worth + 0.75)
    high = beta.ppf(0.975, 0.6 * worth + 0.75, 0.4 * worth + 0.25)
    assert (found.value, found.low, found.high) == pytest.approx((0.6, low, high))
    scaled = mean_interval(2 * hits - 1, groups=np.repeat(np.arange(4), 25), bounds=LEAD)
    assert (scaled.low, scaled.high) == pytest.approx((2 * low - 1, 2 * high - 1))


@pytest.mark.parametrize("each", [1, 4, 20])
def test_classes_right_or_wrong_throughout_are_never_surer_than_a_picture_of_each(each: int) -> None:
    # three classes, one right on all of its pictures: means without each 0, 1/2, 1/2, a variance of 1/9, worth 2 items
    found = mean_interval(np.repeat([1.0, 0.0, 0.0], each), groups=np.repeat(np.arange(3), each))
    low, high = beta.ppf(0.025, 2 / 3 + 0.25, 4 / 3 + 0.75), beta.ppf(0.975, 2 / 3 + 0.75, 4 / 3 + 0.25)
    assert (found.value, found.low, found.high) == pytest.approx((1 / 3, low, high))


@pytest.mark.parametrize("items", [2, 3, 5, 8, 20])
@pytest.mark.parametrize(("right", "wrong"), [(2.0, 2.0), (1.0, 5.0), (5.0, 1.0)])
def test_few_numbers_that_are_no_hits_hold_the_truth_90_times_in_100(right: float, wrong: float, items: int) -> None:
    rng, truth = np.random.default_rng(2), right / (right + wrong)
    found = [mean_interval(rng.beta(right, wrong, items)) for _ in range(400)]
    assert all(0 <= each.low <= each.value <= each.high <= 1 for each in found)
    assert sum(each.low <= truth <= each.high for each in found) >= 360


@pytest.mark.parametrize("items", [2, 3, 5, 8, 20])
def test_few_paired_differences_hold_the_truth_90_times_in_100(items: int) -> None:
    rng, held = np.random.default_rng(3), 0
    for _ in range(400):
        hard = rng.uniform(0.2, 0.8, items)
        one, other = (hard + rng.normal(0.0, 0.1, items) for _ in range(2))
        found = mean_interval(one.clip(0, 1) - other.clip(0, 1), bounds=LEAD)
        held += found.low <= 0 <= found.high
    assert held >= 360


def test_numbers_at_a_bound_but_for_rounding_are_equal() -> None:
    found = mean_interval(np.array([1.0, 1.0 + 1e-7, 1.0]))
    assert found == mean_interval(np.ones(3))


def test_numbers_out_of_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must lie in \(0.0, 1.0\), got -1.0 … 1.0"):
        mean_interval(np.array([-1.0, 1.0]))


def test_nothing_has_no_mean() -> None:
    with pytest.raises(ValueError, match="no items to average"):
        mean_interval(np.zeros(0))


def test_a_hit_is_the_best_column_being_the_right_one() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]])
    assert top1_hits(scores, np.array([1, 1, 1])).tolist() == [1.0, 0.0, 1.0]
    assert top1_hits(scores[:0], np.zeros(0, int)).shape == (0,)


@given(st.integers(0, 10_000))
def test_accuracies_are_those_of_clip_benchmark_and_scikit_learn_on_the_same_scores(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, target = rng.normal(size=(200, 9)).astype(np.float32), rng.permutation(np.arange(200) % 9)
    first, fifth = accuracy(from_numpy(scores), from_numpy(target), topk=(1, 5))
    assert topk_hits(scores, target, 1).mean() == top1_hits(scores, target).mean() == first
    assert topk_hits(scores, target, 5).mean() == fifth
    recall = balanced_accuracy_score(target, scores.argmax(axis=1))
    assert mean_class_recall(top1_hits(scores, target), target) == pytest.approx(recall, abs=1e-12)


def test_each_class_counts_alike_in_the_mean_recall() -> None:
    assert mean_class_recall(np.array([1.0, 1, 1, 0]), np.array([5, 5, 5, 9])) == 0.5
    with pytest.raises(ValueError, match="no pictures to average"):
        mean_class_recall(np.zeros(0), np.zeros(0, int))


def test_among_the_best_means_that_few_others_come_as_high() -> None:
    scores = np.array([[0.3, 0.2, 0.2, 0.1], [np.nan, 0.1, 0.2, 0.3]])
    assert [topk_hits(scores, np.array([1, 3]), k).tolist() for k in (1, 2, 3)] == [[0, 0], [0, 1], [1, 1]]
    assert topk_hits(scores[:0], np.zeros(0, int), 1).shape == (0,)


def test_a_score_that_is_no_number_is_never_the_best() -> None:
    scores = np.array([[np.nan, np.nan], [0.1, np.nan], [0.2, 0.1]])
    assert top1_hits(scores, np.zeros(3, int)).tolist() == [0, 0, 1]


def test_recall_counts_rows_whose_own_column_is_among_the_best() -> None:
    similarity = np.array([[0.9, 0.1, 0.2], [0.5, 0.4, 0.3], [0.7, 0.8, 0.6]])
    assert [recall_at(similarity, k).tolist() for k in (1, 2, 3)] == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert recall_at(np.zeros((0, 0)), 1).shape == (0,)


def test_a_tie_or_a_broken_score_is_no_hit() -> None:
    assert recall_at(np.ones((3, 3)), 1).tolist() == [0, 0, 0]
    assert recall_at(np.full((3, 3), np.nan), 1).tolist() == [0, 0, 0]
    assert recall_at(np.full((1, 1), np.nan), 1).tolist() == [0]


@given(st.integers(0, 10_000))
def test_recall_does_not_care_how_scores_are_stretched_and_grows_with_k(seed: int) -> None:
    similarity = np.random.default_rng(seed).normal(size=(6, 6))
    recalls = [recall_at(similarity, k).mean() for k in range(1, 7)]
    assert recalls == [recall_at(np.exp(3 * similarity), k).mean() for k in range(1, 7)] == sorted(recalls)
    assert recalls[-1] == 1


def test_a_similarity_that_is_not_square_is_refused() -> None:
    with pytest.raises(ValueError, match="must be square"):
        recall_at(np.zeros((4, 3)), 1)


def test_overlap_of_pairs_is_a_seventh_where_a_quarter_is_shared() -> None:
    point = [0.2, 0.2, 0.2, 0.2]
    a, b = np.array([[0, 0, 0.5, 0.5], point]), np.array([[0.25, 0.25, 0.75, 0.75], point])
    assert paired_iou(a, b).tolist() == pytest.approx([1 / 7, 0])
    assert paired_iou(np.zeros((0, 4)), np.zeros((0, 4))).shape == (0,)


@given(st.integers(0, 10_000))
def test_overlap_of_pairs_is_the_one_of_torchvision(seed: int) -> None:
    make = np.random.default_rng(seed)
    a, b = (np.sort(make.random((5, 2, 2)), axis=1).reshape(5, 4) for _ in range(2))
    np.testing.assert_allclose(paired_iou(a, b), box_iou(from_numpy(a), from_numpy(b)).diagonal().numpy())


def test_pairs_of_different_numbers_are_refused() -> None:
    with pytest.raises(ValueError):
        paired_iou(np.zeros((2, 4)), np.zeros((3, 4)))
