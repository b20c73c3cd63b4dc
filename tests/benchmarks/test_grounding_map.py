"""The precision of grounding by hand, and against the three programs that everyone else uses."""

from typing import Any

import numpy as np
import pytest
import supervision
from supervision.metrics import MeanAveragePrecision

from benchmarks.grounding_map import GroundingPicture, grounding_map
from benchmarks.same_numbers import SIDE, faster_stats, pycocotools_judge
from grain.evaluate.average_precision import IOU_THRESHOLDS


def boxes(*rows: tuple[float, float, float, float]) -> Any:
    return np.array(rows, np.float32).reshape(-1, 4)


def asked(seed: int, categories: int = 4, queries: int = 6) -> GroundingPicture:
    """Regions that lie around true boxes, several of a category among them; scores with ties."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 5))
    corner, size = rng.uniform(0, 0.6, (count, 2)), rng.uniform(0.1, 0.4, (count, 2))
    true = np.concatenate([corner, corner + size], axis=1)
    near = true[rng.integers(0, count, queries)] if count else np.tile([0.2, 0.2, 0.5, 0.5], (queries, 1))
    found = np.clip(near + rng.normal(0, 0.03, near.shape), 0, 1)
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 0.01)
    scores = rng.integers(0, 12, (queries, categories)) / 12
    return GroundingPicture(
        found.astype(np.float32),
        scores.astype(np.float32),
        true.astype(np.float32),
        rng.integers(0, categories - 1, count),  # the last category is never shown
    )


def pycocotools_precision(pictures: list[GroundingPicture]) -> Any:
    """[T, P, 101], NaN where a category is never shown."""
    found = pycocotools_judge(pictures).eval["precision"][:, :, :, 0, 2].transpose(0, 2, 1)
    return np.where(found < 0, np.nan, found)


@pytest.mark.parametrize("seed", range(5))
def test_precision_is_that_of_pycocotools_at_every_threshold_category_and_recall(seed: int) -> None:
    pictures = [asked(100 * seed + i) for i in range(30)]
    ours, theirs = grounding_map(pictures).precision, pycocotools_precision(pictures)
    assert np.isnan(ours[:, -1]).all() and not np.isnan(ours[:, :-1]).any()
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert 0.05 < np.nanmean(ours) < 0.9


def test_the_mean_is_that_of_faster_coco_eval_and_supervision() -> None:
    pictures = [asked(i) for i in range(60)]
    found = grounding_map(pictures)
    stats = faster_stats(pictures)
    assert found.mean.value == pytest.approx(stats[0], abs=1e-9)
    assert found.at(0.5).value == pytest.approx(stats[1], abs=1e-9)
    metric = MeanAveragePrecision()
    for picture in pictures:
        metric.update(*detected(picture))
    assert found.mean.value == pytest.approx(metric.compute().map50_95, abs=1e-6)


def detected(picture: GroundingPicture) -> tuple[supervision.Detections, supervision.Detections]:
    queries, categories = picture.scores.shape
    guesses = supervision.Detections(
        xyxy=SIDE * np.repeat(picture.boxes_xyxy, categories, axis=0),
        confidence=picture.scores.ravel(),
        class_id=np.tile(np.arange(categories), queries),
    )
    if len(picture.true_xyxy) == 0:
        return guesses, supervision.Detections.empty()
    return guesses, supervision.Detections(xyxy=SIDE * picture.true_xyxy, class_id=picture.true_category)


def test_precision_by_hand() -> None:
    true = boxes((0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1))
    right_wrong = GroundingPicture(true, np.array([[0.9], [0.8]], np.float32), true[:1], np.array([0]))
    wrong_right = GroundingPicture(true, np.array([[0.2], [0.7]], np.float32), true[:1], np.array([0]))
    # by score: 0.9 right, 0.8 wrong, 0.7 wrong, 0.2 right; two truths
    found = grounding_map([right_wrong, wrong_right])
    assert found.curve(0.5)[:51] == pytest.approx(np.ones(51))
    assert found.curve(0.5)[51:] == pytest.approx(np.full(50, 0.5))
    assert found.at(0.5).value == found.mean.value == pytest.approx((51 + 25) / 101)


def test_perfect_regions_have_precision_one_and_a_second_guess_at_a_taken_box_is_wrong() -> None:
    true = boxes((0.1, 0.1, 0.4, 0.4))
    once = GroundingPicture(true, np.ones((1, 1), np.float32), true, np.array([0]))
    assert grounding_map([once]).mean.value == 1
    twice = GroundingPicture(
        np.repeat(true, 2, axis=0), np.array([[0.3], [0.9]], np.float32), np.repeat(true, 2, axis=0), np.zeros(2, int)
    )
    assert grounding_map([twice]).mean.value == 1
    again = GroundingPicture(np.repeat(true, 2, axis=0), np.array([[0.3], [0.9]], np.float32), true, np.array([0]))
    late = GroundingPicture(true, np.full((1, 1), 0.1, np.float32), true, np.array([0]))
    assert grounding_map([again, late]).mean.value == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_model_without_regions_finds_nothing() -> None:
    none = GroundingPicture(boxes(), np.zeros((0, 2), np.float32), boxes((0, 0, 1, 1)), np.array([1]))
    found = grounding_map([none])
    assert found.mean.value == 0 and np.isnan(found.average_precision[:, 0]).all()


def test_what_cannot_be_judged_is_refused() -> None:
    true = boxes((0, 0, 1, 1))
    with pytest.raises(ValueError, match="no true boxes"):
        grounding_map([])
    one, two = (GroundingPicture(true, np.ones((1, n), np.float32), true, np.array([0])) for n in (1, 2))
    with pytest.raises(ValueError, match=r"the same categories, got \[1, 2\]"):
        grounding_map([one, two])
    many = GroundingPicture(np.repeat(true, 101, axis=0), np.ones((101, 1), np.float32), true, np.array([0]))
    with pytest.raises(ValueError, match="may have 100 regions, got 101"):
        grounding_map([many])
    with pytest.raises(ValueError, match=r"one of 0\.50, 0\.55"):
        grounding_map([one]).at(0.3)
    assert len(IOU_THRESHOLDS) == 10
