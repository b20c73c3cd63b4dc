"""Estimate from a sample that people judged how often descriptions hallucinate and how good the auditor is. Pure.

The sample is stratified by kind and auditor's verdict, so every number weighs its claims by how many each stands for.
Intervals are Wilson's at 95 %, with as many claims as would give the weighted estimate's own variance.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from curation.audit.agreement import Agreement, between
from db.models import Verdict
from db.queries.audit_queries import Group
from db.queries.audit_sample_queries import SampleJudgement

Z95 = 1.959964
PRIOR = 0.15  # of a hit and of a miss, in every stratum's variance: one without hits is not known to have none


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval.

    claims: how many it is computed from.
    """

    value: float
    low: float
    high: float
    claims: int


@dataclass(frozen=True)
class Stratum:
    """A stratum of the sample.

    population: claims in it. judged: how many people judged. hits: how many of those are hits.
    """

    population: float
    judged: int
    hits: int


@dataclass(frozen=True)
class AuditorQuality:
    """The quality of the auditor's "unsupported" against people's verdicts.

    A claim on which the auditor says "cannot tell" counts as not found.
    """

    precision: Rate | None
    recall: Rate | None
    cannot_tell: Rate | None


@dataclass(frozen=True)
class CurvePoint:
    """The effect of one threshold on the probability of supported.

    dropped: share of all claims at or below it.
    """

    threshold: float
    precision: float
    recall: float
    dropped: float


def wilson(hits: float, judged: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share; `judged` may be no whole number.

    Raises: ValueError: nothing was judged.
    """
    if judged <= 0:
        raise ValueError(f"expected one claim or more, got {judged}: judge some first")
    share, square = hits / judged, Z95**2
    centre = (share + square / (2 * judged)) / (1 + square / judged)
    half = Z95 / (1 + square / judged) * math.sqrt(share * (1 - share) / judged + square / (4 * judged**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def stratified(strata: Iterable[Stratum]) -> Rate | None:
    """Return the share of hits in the population, with Wilson's interval at the effective number of claims.

    Strata without a judged claim are left out, since nothing is known of them. None where that leaves nothing.
    """
    strata_judged = [each for each in strata if each.judged > 0 and each.population > 0]
    total = sum(each.population for each in strata_judged)
    if not strata_judged:
        return None
    value = variance = smooth = 0.0
    for each in strata_judged:
        weight, share = each.population / total, (each.hits + PRIOR) / (each.judged + 2 * PRIOR)
        rest = max(0.0, 1 - each.judged / each.population)  # what is known needs no estimate
        value += weight * each.hits / each.judged
        smooth += weight * share
        variance += weight**2 * share * (1 - share) / max(1, each.judged - 1) * rest
    judged = sum(each.judged for each in strata_judged)
    if variance == 0:
        return Rate(value, value, value, judged)
    low, high = wilson(value * (n := smooth * (1 - smooth) / variance), n)
    return Rate(value, low, high, judged)


def hallucination_rate(judged: Sequence[SampleJudgement], *, weights: Mapping[str, float] | None = None) -> Rate | None:
    """Return the share of claims that people call unsupported; "cannot tell" counts as neither.

    Args: weights: stratum -> claims of it in the group at hand; left out, all that were there at the draw.
    """
    decided = [each for each in judged if verdict_of(each) != "cannot tell"]
    return stratified(_strata(decided, weights, lambda each: verdict_of(each) == "unsupported"))


def rates_by(judged: Sequence[SampleJudgement], group: Group) -> dict[str, Rate]:
    """Return the rate of each value of a group; a stratum counts by its share of the sample with that value."""
    found = {}
    for value in sorted({each.groups[group] for each in judged}):
        mine = [each for each in judged if each.groups[group] == value]
        weights = {
            stratum: population * sum(each.stratum == stratum for each in mine) / in_sample
            for stratum, (population, in_sample) in _sizes(judged).items()
        }
        if (rate := hallucination_rate(mine, weights=weights)) is not None:
            found[value] = rate
    return found


def quality(judged: Sequence[SampleJudgement]) -> AuditorQuality:
    """Return the auditor's quality against people, each claim weighed by how many it stands for."""
    decided = [each for each in judged if verdict_of(each) != "cannot tell"]
    found = [each for each in decided if each.verdict == "unsupported"]
    wrong = [each for each in decided if verdict_of(each) == "unsupported"]
    weights = weights_of(decided)
    return AuditorQuality(
        _weighted(found, weights, lambda each: verdict_of(each) == "unsupported"),
        _weighted(wrong, weights, lambda each: each.verdict == "unsupported"),
        _weighted(decided, weights, lambda each: each.verdict == "cannot tell"),
    )


def agreement(judged: Sequence[SampleJudgement]) -> Agreement:
    """Return the agreement of the first two people over the claims that two have judged, no matter who they are."""
    pairs = [list(each.people.values())[:2] for each in judged if len(each.people) >= 2]
    return between("the first", "the second", [(one, other) for one, other in pairs])


def curve(scored: Iterable[tuple[float, bool, float]]) -> tuple[CurvePoint, ...]:
    """Return precision and recall at every threshold, from 0 up.

    Args: scored: of each claim the probability of supported, whether it is unsupported, and how many it stands for.
    """
    ordered = sorted(scored)
    wrong, total = sum(w for _, hit, w in ordered if hit), sum(w for *_, w in ordered)
    points, hits, dropped = [], 0.0, 0.0
    for row, (threshold, hit, weight) in enumerate(ordered):
        hits, dropped = hits + weight * hit, dropped + weight
        if row + 1 == len(ordered) or ordered[row + 1][0] > threshold:
            points.append(CurvePoint(threshold, hits / dropped, hits / wrong if wrong else 0.0, dropped / total))
    return tuple(points)


def curve_of(judged: Sequence[SampleJudgement]) -> tuple[CurvePoint, ...]:
    """Return the curve of the claims that people judged."""
    decided = [each for each in judged if verdict_of(each) != "cannot tell" and each.probability is not None]
    weights = weights_of(decided)
    return curve(
        (each.probability, verdict_of(each) == "unsupported", weights[each.stratum])
        for each in decided
        if each.probability is not None
    )


def weights_of(judged: Sequence[SampleJudgement]) -> dict[str, float]:
    """Return stratum -> how many claims each judged claim stands for."""
    return {stratum: population / in_sample for stratum, (population, in_sample) in _sizes(judged).items()}


def verdict_of(judged: SampleJudgement) -> Verdict:
    """Return people's verdict on a claim: the last person's, where they differ."""
    return list(judged.people.values())[-1]


def _sizes(judged: Iterable[SampleJudgement]) -> dict[str, tuple[int, int]]:
    """Return stratum -> its population and how many of it are here."""
    sizes: dict[str, tuple[int, int]] = {}
    for each in judged:
        sizes[each.stratum] = (each.population, sizes.get(each.stratum, (0, 0))[1] + 1)
    return sizes


def _strata(
    judged: Sequence[SampleJudgement], weights: Mapping[str, float] | None, hit: Callable[[SampleJudgement], bool]
) -> list[Stratum]:
    hits: dict[str, int] = defaultdict(int)
    for each in judged:
        hits[each.stratum] += hit(each)
    return [
        Stratum(weights[stratum] if weights is not None else population, in_sample, hits[stratum])
        for stratum, (population, in_sample) in _sizes(judged).items()
    ]


def _weighted(
    some: Sequence[SampleJudgement], weights: Mapping[str, float], hit: Callable[[SampleJudgement], bool]
) -> Rate | None:
    """Return the share of hits among some claims, with the interval at Kish's effective number."""
    if not some:
        return None
    total = sum(weights[each.stratum] for each in some)
    value = sum(weights[each.stratum] for each in some if hit(each)) / total
    effective = total**2 / sum(weights[each.stratum] ** 2 for each in some)
    return Rate(value, *wilson(value * effective, effective), len(some))
