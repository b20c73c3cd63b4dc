"""Kappa by hand and by scikit-learn, its interval, and who differs where."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from curation.audit.agreement import RESAMPLES, Agreement, Disagreement, agreements, disagreements, resampled_kappas


def pairs(*said: tuple[str, str]) -> dict[int, dict[str, str]]:
    """Pictures that Ana and Bo labelled."""
    return {number: {"ana": one, "bo": other} for number, (one, other) in enumerate(said, 1)}


def test_kappa_by_hand() -> None:
    # Cohen's table [[20, 5], [10, 15]]: observed 0.7, by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    labels = pairs(*[("lid", "lid")] * 20, *[("lid", "pot")] * 5, *[("pot", "lid")] * 10, *[("pot", "pot")] * 15)
    [found] = agreements(labels)
    assert (found.first, found.second, found.pictures, found.agreed) == ("ana", "bo", 50, 35)
    assert found.kappa == pytest.approx(0.4)
    assert found.low is not None and found.high is not None
    assert 0.1 < found.low < 0.4 < found.high < 0.7
    assert agreements(labels) == [found], "the same labels have the same interval"


def test_a_resample_has_the_kappa_that_scikit_learn_gives_it() -> None:
    chance = np.random.default_rng(3)
    first, second = chance.integers(0, 4, 40), chance.integers(0, 4, 40)
    ours = resampled_kappas(first, second, seed=5)
    weights = np.random.default_rng(5).multinomial(40, np.full(40, 1 / 40), size=len(ours))
    theirs = [cohen_kappa_score(first, second, sample_weight=row) for row in weights[:25]]
    np.testing.assert_allclose(ours[:25], theirs, atol=1e-12)


def test_people_who_use_one_label_only_have_no_kappa() -> None:
    assert agreements(pairs(("lid", "lid"), ("lid", "lid"))) == [Agreement("ana", "bo", 2, 2, None, None, None)]


@pytest.mark.parametrize(
    ("said", "kappa"),
    [
        ([("lid", "lid"), ("pot", "pot"), ("cup", "cup"), ("cup", "cup")], 1.0),
        ([("lid", "lid"), ("lid", "pot"), ("lid", "pot")], 0.0),
    ],
)
def test_where_resamples_do_not_differ_there_is_no_interval(said: list[tuple[str, str]], kappa: float) -> None:
    [found] = agreements(pairs(*said))
    assert (found.kappa, found.low, found.high) == (kappa, None, None)
    assert found.interval == "(no interval: too little varies)"


def test_a_resample_of_one_label_only_counts_as_none_however_it_is_rounded() -> None:
    numbers = np.array([0] * 9 + [1])
    kappas = resampled_kappas(numbers, numbers, seed=0)
    np.testing.assert_allclose(kappas, 1.0)
    assert 0.6 < len(kappas) / RESAMPLES < 0.7, "of ten draws none is the tenth in 0.9 ** 10 = 0.35 of cases"


def test_each_pair_of_three_people_is_measured_on_what_they_share_the_largest_first() -> None:
    labels = pairs(("lid", "lid"), ("pot", "pot"), ("pot", "lid"))
    labels[1]["cy"] = "pot"
    labels[4] = {"cy": "pot"}
    assert [(one.first, one.second, one.pictures) for one in agreements(labels)] == [
        ("ana", "bo", 3),
        ("ana", "cy", 1),
        ("bo", "cy", 1),
    ]


def test_who_differs_where() -> None:
    labels = pairs(("lid", "lid"), ("pot", "lid")) | {3: {"ana": "lid"}}
    assert disagreements(labels) == [Disagreement(2, {"ana": "pot", "bo": "lid"})]


def test_nobody_agrees_or_differs_where_nobody_labelled() -> None:
    assert agreements({}) == [] and disagreements({}) == []
    assert agreements({1: {"ana": "lid"}}) == []
