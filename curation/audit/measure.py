"""Estimate from a sample that people judged how often descriptions hallucinate and how good the auditor is. Pure.

The sample is stratified by kind and auditor's verdict, so every number weighs its claims by how many each stands for:
its stratum's claims by all of them that people judged, "cannot tell" included. A share of the decided ones is therefore
a ratio of two estimates. Intervals are Wilson's at 95 %, with as many claims as would give the ratio's own variance.
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

    population: claims in it. judged: how many people judged. hits: how many of those are hits. outside: how many are
    no part of the share, since nobody could tell.
    """

    population: float
    judged: int
    hits: int
    outside: int = 0


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
    """Return the share of hits among the population's claims that are part of it, with its interval.

    Both are estimated: hits and claims that are part. The interval is Wilson's at the effective number of claims, by
    the ratio's linearized variance. Strata without a judged claim are left out, since nothing is known of them. None
    where no claim that is part of the share was judged.

    Source: Cochran, Sampling Techniques (1977), chapter 6, for the combined ratio of a stratified sample.
    """
    strata_judged = [each for each in strata if each.judged > 0 and each.population > 0]
    if (judged := sum(each.judged - each.outside for each in strata_judged)) == 0:
        return None
    value = _ratio(strata_judged, 0.0)
    smooth, part, variance = _ratio(strata_judged, PRIOR), 0.0, 0.0
    for each in strata_judged:
        hit, miss = _shares(each, PRIOR)
        part += each.population * (hit + miss)
        spread = hit * (1 - smooth) ** 2 + miss * smooth**2 - (hit * (1 - smooth) - miss * smooth) ** 2
        rest = max(0.0, 1 - each.judged / each.population)  # what is known needs no estimate
        variance += each.population**2 * spread / max(1, each.judged - 1) * rest
    if variance == 0:
        return Rate(value, value, value, judged)
    low, high = wilson(value * (n := smooth * (1 - smooth) / variance * part**2), n)
    return Rate(value, low, high, judged)


def _shares(stratum: Stratum, prior: float) -> tuple[float, float]:
    """Return the shares of a stratum's claims that are hits and misses."""
    judged, misses = stratum.judged + 2 * prior, stratum.judged - stratum.outside - stratum.hits
    return (stratum.hits + prior) / judged, (misses + prior) / judged


def _ratio(strata: Sequence[Stratum], prior: float) -> float:
    """Return the share of hits among the claims that are part of it."""
    shares = [(each.population, *_shares(each, prior)) for each in strata]
    hits, misses = sum(size * hit for size, hit, _ in shares), sum(size * miss for size, _, miss in shares)
    return hits / (hits + misses)


def hallucination_rate(judged: Sequence[SampleJudgement], *, weights: Mapping[str, float] | None = None) -> Rate | None:
    """Return the share of claims that people call unsupported; "cannot tell" counts as neither.

    Args: weights: stratum -> claims of it in the group at hand; left out, all that were there at the draw.
    """
    return _share(judged, lambda _, person: _decided(person, person == "unsupported"), weights=weights)


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
    called = {each.stratum for each in judged if each.verdict == "unsupported"}  # elsewhere it calls none so
    return AuditorQuality(
        _share(
            [each for each in judged if each.stratum in called],
            lambda auditor, person: _decided(person, person == "unsupported") if auditor == "unsupported" else None,
        ),
        _share(judged, lambda auditor, person: auditor == "unsupported" if person == "unsupported" else None),
        _share(judged, lambda auditor, person: _decided(person, auditor == "cannot tell")),
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
    weights = weights_of(judged)
    return curve(
        (each.probability, verdict_of(each) == "unsupported", weights[each.stratum])
        for each in judged
        if verdict_of(each) != "cannot tell" and each.probability is not None
    )


def weights_of(judged: Sequence[SampleJudgement]) -> dict[str, float]:
    """Return stratum -> how many claims each judged claim stands for.

    Args: judged: all claims of the sample that people judged: those on which they cannot tell stand for others, too.
    """
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


def _decided(person: Verdict, hit: bool) -> bool | None:
    """Return whether a claim is a hit; None where the person cannot tell."""
    return None if person == "cannot tell" else hit


def _share(
    judged: Sequence[SampleJudgement],
    is_hit: Callable[[Verdict, Verdict], bool | None],
    *,
    weights: Mapping[str, float] | None = None,
) -> Rate | None:
    """Return the share of hits among the claims that are part of it.

    Args: is_hit: by the auditor's and the person's verdict; None: no part of it. weights: see hallucination_rate.
    """
    found: dict[str, list[bool | None]] = defaultdict(list)
    for each in judged:
        found[each.stratum].append(is_hit(each.verdict, verdict_of(each)))
    return stratified(
        Stratum(
            weights[stratum] if weights is not None else population,
            in_sample,
            found[stratum].count(True),
            found[stratum].count(None),
        )
        for stratum, (population, in_sample) in _sizes(judged).items()
    )
