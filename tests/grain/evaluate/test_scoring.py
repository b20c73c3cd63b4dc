import numpy as np
import pytest

from grain.evaluate.scoring import ALPHAS, NEVER, Outcomes, halves, merged, outcomes, score_batch, sweep
from grain.structures import ImageFeatures
from grain.zero_shot import ClassBank, build_class_bank
from tests.support.tiny import FakeEncoder, unit

TEXTS = {"east": unit(1, 0), "north": unit(0, 1), "zorbex": unit(1, 0.2), "quimble": unit(0.2, 1)}


def made(hits: list[int]) -> Outcomes:
    """Outcomes where the true class, 0, wins or does not."""
    rank = 1 - np.array(hits)
    sure = np.full(len(hits), 0.5, np.float32)
    return Outcomes(rank, rank, sure, sure)


def bank(classes: dict[str, list[str]]) -> ClassBank:
    encoder = FakeEncoder(TEXTS, features([1, 0]))
    return build_class_bank(classes, encoder.class_texts, encoder.encode_texts)


def features(image: list[float], *regions: list[float]) -> ImageFeatures:
    table = np.array(regions, np.float32).reshape(-1, 2)
    return ImageFeatures(np.array(image, np.float32), table, np.zeros((len(table), 4), np.float32), np.ones(len(table)))


def test_a_rank_counts_the_classes_before_the_true_one() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.3], [0.0, 0.0, 1.0]], np.float32)
    found = outcomes(scores, np.array([2, 1, 2]), scale=1.0)
    assert found.rank.tolist() == [1, 1, 0], "of equal scores the first class wins"
    assert found.predicted.tolist() == [1, 0, 2] == scores.argmax(axis=1).tolist()
    assert found.hits.tolist() == [0.0, 0.0, 1.0]
    assert found.true_probability[1] == pytest.approx(1 / 3) == found.probability[1]
    assert found.probability[2] == pytest.approx(np.e / (np.e + 2))


def test_a_score_that_is_no_number_is_no_hit_among_however_many() -> None:
    scores = np.array([[np.nan, np.nan], [np.nan, 0.5], [0.5, np.nan]], np.float32)
    found = outcomes(scores, np.zeros(3, int), scale=1.0)
    assert found.rank.tolist() == [NEVER, NEVER, 1]
    assert found.hits.tolist() == [0.0, 0.0, 0.0]


def test_a_picture_is_asked_by_names_by_descriptions_and_by_regions() -> None:
    classes = {"zorbex": ["north"], "quimble": ["east"]}
    picture = features([1, 0], unit(0, 1))
    found = score_batch(
        [picture], np.array([0]), names=bank({name: [] for name in classes}), described=bank(classes), scale=10.0
    )
    assert found.keys() == {("names", 1.0), *(("descriptions", alpha) for alpha in ALPHAS)}
    assert found["names", 1.0].hits.tolist() == [1.0]
    assert found["descriptions", 1.0].hits.tolist() == [0.0], "the whole picture looks east"
    assert found["descriptions", 0.0].hits.tolist() == [1.0], "its region looks north"


def test_without_regions_or_descriptions_there_are_fewer_ways() -> None:
    classes = {"zorbex": ["north"], "quimble": []}
    names = bank({name: [] for name in classes})
    target = np.array([0])
    assert score_batch([features([1, 0])], target, names=names, described=None, scale=1.0).keys() == {("names", 1.0)}
    found = score_batch([features([1, 0])], target, names=names, described=bank(classes), scale=1.0)
    assert found.keys() == {("names", 1.0), ("descriptions", 1.0)}


def test_alpha_is_chosen_on_the_other_half() -> None:
    second = np.array([False, False, True, True])
    by_alpha = {0.0: made([1, 1, 0, 0]), 0.5: made([0, 0, 1, 1]), 1.0: made([0, 1, 0, 1])}
    found, mixed = sweep(by_alpha, np.arange(4), second)
    assert found.chosen == (0.5, 0.0), "what is best on one half is told of the other"
    assert mixed.hits.tolist() == [0, 0, 0, 0]
    assert [[point.top1.value for point in curve] for curve in found.curves] == [[1, 0, 0.5], [0, 1, 0.5]]


def test_of_equally_good_alphas_the_largest_is_taken_and_an_empty_half_chooses_none() -> None:
    by_alpha = {0.0: made([1, 1]), 0.5: made([1, 1]), 1.0: made([0, 0])}
    assert sweep(by_alpha, np.arange(2), np.array([False, True]))[0].chosen == (0.5, 0.5)
    found, mixed = sweep(by_alpha, np.arange(2), np.array([False, False]))
    assert found.chosen == (1.0, 0.5) and mixed.hits.tolist() == [0, 0]


def test_a_picture_keeps_its_half_and_both_are_filled() -> None:
    keys = [f"picture {i}" for i in range(1000)]
    second = halves(keys)
    assert 400 < second.sum() < 600
    assert halves(keys[::-1]).tolist() == second[::-1].tolist()


def test_a_class_of_several_names_is_scored_by_its_best_one() -> None:
    scores = np.array([[0.1, 0.9, 0.5, 0.2], [0.4, 0.0, 0.3, 0.5]], np.float32)
    best = merged(scores, np.array([0, 1, 3]))
    assert best.tolist() == np.array([[0.1, 0.9, 0.2], [0.4, 0.3, 0.5]], np.float32).tolist()
    assert merged(scores, None) is scores
    names = bank({"east": [], "north": [], "quimble": []})
    found = score_batch(
        [features([0, 1])], np.array([1]), names=names, described=None, scale=1.0, firsts=np.array([0, 1])
    )
    assert found["names", 1.0].hits.tolist() == [1.0] and found["names", 1.0].predicted.tolist() == [1]
