"""How often descriptions hallucinate and how good the auditor is, from a sample that people judged. Pure.

The sample is stratified by kind and auditor's verdict, so every number weighs its claims by how many each stands for.
Intervals are Wilson's at 95 %, with as many claims as would give the weighted estimate's own variance.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from curation.agreement import Agreement, between
from db.audit_queries import Group, Judgement
from db.models import Verdict

Z95 = 1.959964
PRIOR = 0.15  # of a hit and of a miss, in every stratum's variance: one without hits is not known to have none


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval. claims: that it is made of."""

    value: float
    low: float
    high: float
    claims: int


@dataclass(frozen=True)
class Stratum:
    """Of a stratum: how many of it there are, how many were looked at, how many of those are hits."""

    population: float
    looked: int
    hits: int


@dataclass(frozen=True)
class AuditorQuality:
    """Of "unsupported", against people. A claim that the auditor could not tell counts as not found."""

    precision: Rate | None
    recall: Rate | None
    cannot_tell: Rate | None


@dataclass(frozen=True)
class CurvePoint:
    """What a threshold on the probability of supported would do. dropped: share of all claims at or below it."""

    threshold: float
    precision: float
    recall: float
    dropped: float


def wilson(hits: float, looked: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; looked may be no whole number.

    Raises: ValueError: nothing was looked at.
    """
    if looked <= 0:
        raise ValueError(f"expected one claim or more, got {looked}: judge some first")
    share, square = hits / looked, Z95**2
    centre = (share + square / (2 * looked)) / (1 + square / looked)
    half = Z95 / (1 + square / looked) * math.sqrt(share * (1 - share) / looked + square / (4 * looked**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def stratified(strata: Iterable[Stratum]) -> Rate | None:
    """The share of hits in the whole, with Wilson's interval at the effective number of claims.

    Strata that nobody looked at are left out of the whole: nothing is known of them. None where that leaves nothing.
    """
    known = [each for each in strata if each.looked > 0 and each.population > 0]
    whole = sum(each.population for each in known)
    if not known:
        return None
    value = variance = smooth = 0.0
    for each in known:
        weight, share = each.population / whole, (each.hits + PRIOR) / (each.looked + 2 * PRIOR)
        rest = max(0.0, 1 - each.looked / each.population)  # what is known needs no estimate
        value += weight * each.hits / each.looked
        smooth += weight * share
        variance += weight**2 * share * (1 - share) / max(1, each.looked - 1) * rest
    looked = sum(each.looked for each in known)
    if variance == 0:
        return Rate(value, value, value, looked)
    low, high = wilson(value * (n := smooth * (1 - smooth) / variance), n)
    return Rate(value, low, high, looked)


def hallucination_rate(judged: Sequence[Judgement], *, weights: Mapping[str, float] | None = None) -> Rate | None:
    """The share of claims that the pictures do not support, as people say; "cannot tell" counts as neither.

    Args: weights: stratum -> claims of it in the group at hand; left out, all that were there at the draw.
    """
    told = [each for each in judged if verdict_of(each) != "cannot tell"]
    return stratified(_strata(told, weights, lambda each: verdict_of(each) == "unsupported"))


def rates_by(judged: Sequence[Judgement], group: Group) -> dict[str, Rate]:
    """The rate of each value of a group. A stratum stands for its share of the sample that has the value."""
    found = {}
    for value in sorted({each.groups[group] for each in judged}):
        mine = [each for each in judged if each.groups[group] == value]
        weights = {
            stratum: population * sum(each.stratum == stratum for each in mine) / looked
            for stratum, (population, looked) in _sizes(judged).items()
        }
        if (rate := hallucination_rate(mine, weights=weights)) is not None:
            found[value] = rate
    return found


def quality(judged: Sequence[Judgement]) -> AuditorQuality:
    """The auditor against people, each claim weighed by how many it stands for."""
    told = [each for each in judged if verdict_of(each) != "cannot tell"]
    found = [each for each in told if each.verdict == "unsupported"]
    wrong = [each for each in told if verdict_of(each) == "unsupported"]
    weights = weights_of(told)
    return AuditorQuality(
        _weighted(found, weights, lambda each: verdict_of(each) == "unsupported"),
        _weighted(wrong, weights, lambda each: each.verdict == "unsupported"),
        _weighted(told, weights, lambda each: each.verdict == "cannot tell"),
    )


def agreement(judged: Sequence[Judgement]) -> Agreement:
    """How far the first two people agree, over the claims that two have judged, whoever they are."""
    pairs = [list(each.people.values())[:2] for each in judged if len(each.people) >= 2]
    return between("the first", "the second", [(one, other) for one, other in pairs])


def curve(scored: Iterable[tuple[float, bool, float]]) -> tuple[CurvePoint, ...]:
    """What every threshold would drop, from 0 up.

    Args: scored: of each claim the probability of supported, whether it is unsupported, and how many it stands for.
    """
    ordered = sorted(scored)
    wrong, whole = sum(w for _, hit, w in ordered if hit), sum(w for *_, w in ordered)
    points, hits, dropped = [], 0.0, 0.0
    for row, (threshold, hit, weight) in enumerate(ordered):
        hits, dropped = hits + weight * hit, dropped + weight
        if row + 1 == len(ordered) or ordered[row + 1][0] > threshold:
            points.append(CurvePoint(threshold, hits / dropped, hits / wrong if wrong else 0.0, dropped / whole))
    return tuple(points)


def curve_of(judged: Sequence[Judgement]) -> tuple[CurvePoint, ...]:
    """The curve from people's verdicts."""
    told = [each for each in judged if verdict_of(each) != "cannot tell" and each.probability is not None]
    weights = weights_of(told)
    return curve(
        (each.probability, verdict_of(each) == "unsupported", weights[each.stratum])
        for each in told
        if each.probability is not None
    )


def weights_of(judged: Sequence[Judgement]) -> dict[str, float]:
    """Stratum -> how many claims each that is here stands for."""
    return {stratum: population / looked for stratum, (population, looked) in _sizes(judged).items()}


def verdict_of(judged: Judgement) -> Verdict:
    """What people say of it: the last one's word, where they differ."""
    return list(judged.people.values())[-1]


def _sizes(judged: Iterable[Judgement]) -> dict[str, tuple[int, int]]:
    """Stratum -> its population and how many of it are here."""
    sizes: dict[str, tuple[int, int]] = {}
    for each in judged:
        sizes[each.stratum] = (each.population, sizes.get(each.stratum, (0, 0))[1] + 1)
    return sizes


def _strata(
    judged: Sequence[Judgement], weights: Mapping[str, float] | None, hit: Callable[[Judgement], bool]
) -> list[Stratum]:
    hits: dict[str, int] = defaultdict(int)
    for each in judged:
        hits[each.stratum] += hit(each)
    return [
        Stratum(weights[stratum] if weights is not None else population, looked, hits[stratum])
        for stratum, (population, looked) in _sizes(judged).items()
    ]


def _weighted(some: Sequence[Judgement], weights: Mapping[str, float], hit: Callable[[Judgement], bool]) -> Rate | None:
    """A share among some claims; its interval's effective number is Kish's."""
    if not some:
        return None
    whole = sum(weights[each.stratum] for each in some)
    value = sum(weights[each.stratum] for each in some if hit(each)) / whole
    effective = whole**2 / sum(weights[each.stratum] ** 2 for each in some)
    return Rate(value, *wilson(value * effective, effective), len(some))
