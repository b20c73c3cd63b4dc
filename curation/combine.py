"""Evidence -> supported, unsupported or cannot tell: a logistic regression on margins, fitted on judged claims.

What is said of a thing counts no more than the thing: a claim's probability is its own times its owner's. Between two
thresholds nothing is decided. A judge knows every mixture of its sources: one that could not answer is left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from curation.claims import Claim
from curation.evidence import Evidence, WitnessKind, logit
from db.models import ClaimKind, Verdict

SOURCES: tuple[WitnessKind, ...] = ("detector", "likeness", "asked")
THINGS: tuple[ClaimKind, ...] = ("object", "part")
LEAST_OF_KIND, LEAST_OF_CLASS = 200, 20  # claims with which a kind gets weights of its own
UNSUPPORTED_PRECISION, SUPPORTED_PRECISION = 0.95, 0.97  # on the claims it is fitted on
FILE = Path(__file__).with_name("judge_sample.json")
ANY = "any"


class JudgeError(ValueError):
    """No judge can be made or read; one sentence says why and what to do."""


@dataclass(frozen=True)
class Weights:
    """Of a logistic regression: log-odds of supported = intercept + weights · features."""

    intercept: float
    weights: tuple[float, ...]

    def probability(self, features: Sequence[float]) -> float:
        """Of supported."""
        odds = self.intercept + sum(w * x for w, x in zip(self.weights, features, strict=True))
        return 1 / (1 + math.exp(-min(max(odds, -30.0), 30.0)))


@dataclass(frozen=True)
class Example:
    """A claim that somebody judged.

    owner: whether the thing that it is about is there; None where nobody said. thing: that thing's kind and evidence;
    None for a thing itself.
    """

    kind: ClaimKind
    evidence: tuple[Evidence, ...]
    supported: bool
    owner: bool | None = None
    thing: tuple[ClaimKind, tuple[Evidence, ...]] | None = None


@dataclass(frozen=True)
class Judged:
    """A verdict. probability: of supported; None where nothing was said."""

    claim: Claim
    verdict: Verdict
    probability: float | None
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Judge:
    """Which mixture of sources -> kind of claim -> weights; low, high: probabilities between which nothing is decided.

    name: what it was fitted on, in words; part of what names an audit's work. by_kind: low and high of the kinds that
    have their own.
    """

    name: str
    low: float
    high: float
    table: Mapping[str, Mapping[str, Weights]] = field(default_factory=dict)
    by_kind: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse thresholds that decide both ways."""
        for low, high in ((self.low, self.high), *self.by_kind.values()):
            if not 0 <= low <= high <= 1:
                raise JudgeError(f"expected 0 ≤ low ≤ high ≤ 1, got {low} and {high}: correct them")

    def description(self, found: Sequence[tuple[Claim, tuple[Evidence, ...]]]) -> tuple[Judged, ...]:
        """The verdicts on the claims of one description."""
        own = [self._own(claim.kind, evidence) for claim, evidence in found]
        judged = []
        for row, (claim, evidence) in enumerate(found):
            p = own[row] if claim.owner == row else _both(own[row], own[claim.owner])
            judged.append(Judged(claim, self.verdict(claim.kind, p), p, evidence))
        return tuple(judged)

    def verdict(self, kind: ClaimKind, probability: float | None) -> Verdict:
        """Of a claim's probability of supported."""
        low, high = self.by_kind.get(kind, (self.low, self.high))
        if probability is None or low < probability < high:
            return "cannot tell"
        return "supported" if probability >= high else "unsupported"

    def _own(self, kind: ClaimKind, evidence: Sequence[Evidence]) -> float | None:
        features = features_of(evidence)
        weights = self.table.get("+".join(features), {})
        mine = weights.get(kind) or weights.get(ANY)
        return mine.probability([x for some in features.values() for x in some]) if mine and features else None

    def to_json(self) -> dict[str, Any]:
        """Plain."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Judge:
        """The inverse.

        Raises: JudgeError: no judge.
        """
        try:
            table = {
                mixture: {kind: Weights(each["intercept"], tuple(each["weights"])) for kind, each in kinds.items()}
                for mixture, kinds in plain["table"].items()
            }
            by_kind = {kind: (low, high) for kind, (low, high) in plain["by_kind"].items()}
            return cls(plain["name"], plain["low"], plain["high"], table, by_kind)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise JudgeError(f"expected a judge as JSON, got something else ({error}): fit it again") from error

    @classmethod
    def load(cls, path: Path = FILE) -> Judge:
        """Read one; by default that of the sample world's stand-ins.

        Raises: JudgeError: no such file, or no judge in it.
        """
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise JudgeError(f"{path} cannot be read as a judge ({error}): fit it again") from error


def features_of(evidence: Iterable[Evidence]) -> dict[str, tuple[float, ...]]:
    """Source -> what counts of it, for the sources that said something to compare with, in the order of SOURCES."""
    found: dict[str, tuple[float, ...]] = {}
    by_source = {each.source: each for each in evidence}
    for source in SOURCES:
        one = by_source.get(source)
        if one is None or one.score is None or one.counter is None:
            continue
        if source == "asked":
            found[source] = (logit(one.score), -logit(one.counter))
        else:
            mean = one.counter if one.mean is None else one.mean
            found[source] = (one.score, one.score - one.counter, one.score - mean)
    return found


def fit(examples: Sequence[Example], *, name: str, precision: float = UNSUPPORTED_PRECISION) -> Judge:
    """Fit a judge on claims that were judged.

    Args:   precision: of its "unsupported", that the lower threshold reaches on these examples.
    Raises: JudgeError: too few examples, or all of one kind of truth.
    """
    table: dict[str, dict[str, Weights]] = {}
    for count in range(1, len(SOURCES) + 1):
        for mixture in combinations(SOURCES, count):
            table |= _fit_mixture(mixture, examples)
    if not table:
        raise JudgeError(
            f"expected at least {LEAST_OF_CLASS} claims that hold and as many that do not, got {len(examples)} in all: "
            "judge more of the sample"
        )
    judge = Judge(name, 0.0, 1.0, table)
    scored: dict[str, list[tuple[float, bool]]] = {ANY: []}
    for each in examples:
        p = judge._own(each.kind, each.evidence)
        if each.thing is not None:
            p = _both(p, judge._own(*each.thing))
        if p is not None:
            scored[ANY].append((p, each.supported))
            scored.setdefault(each.kind, []).append((p, each.supported))
    by_kind = {
        kind: _thresholds(some, precision)
        for kind, some in scored.items()
        if kind == ANY or min(held := sum(supported for _, supported in some), len(some) - held) >= LEAST_OF_CLASS
    }
    low, high = by_kind.pop(ANY)
    return replace(judge, low=low, high=high, by_kind=by_kind)


def _both(mine: float | None, owner: float | None) -> float | None:
    """A claim's probability with that of its thing; where nothing is known of the thing, its own."""
    return mine if mine is None or owner is None else mine * owner


def _thresholds(scored: Sequence[tuple[float, bool]], precision: float) -> tuple[float, float]:
    """Low and high for claims with their probability and whether they hold."""
    low = threshold_below([(p, not supported) for p, supported in scored], precision)
    return low, max(low, threshold_above(scored, SUPPORTED_PRECISION))


def threshold_below(scored: Sequence[tuple[float, bool]], precision: float) -> float:
    """The largest value at or below which the share of hits is still `precision`; 0 where there is none."""
    hits, best = 0, 0.0
    ordered = sorted(scored)
    for count, (value, hit) in enumerate(ordered, start=1):
        hits += hit
        last = count == len(ordered) or ordered[count][0] > value
        if last and hits / count >= precision:
            best = value
    return best


def threshold_above(scored: Sequence[tuple[float, bool]], precision: float) -> float:
    """The smallest value at or above which the share of hits is still `precision`; 1 where there is none."""
    return 1 - threshold_below([(1 - value, hit) for value, hit in scored], precision)


def reasons(evidence: Sequence[Evidence]) -> tuple[str, ...]:
    """Why, a sentence a source."""
    return tuple(_reason(each) for each in evidence if each.score is not None) or (
        "No source could say anything about it.",
    )


def _reason(one: Evidence) -> str:
    if one.source == "asked":
        other = "" if one.counter is None else f", and to its denial with {one.counter:.0%}"
        return f"Asked, the model says yes with {one.score:.0%}{other}."
    said = "The detector" if one.source == "detector" else "GRAIN"
    unit = "" if one.source == "detector" else " (cosine × 10)"
    if one.counter is None:
        return f"{said} gives it {one.score:.2f}{unit}; there is nothing to compare it with."
    assert one.score is not None, "the caller asks of those with a score alone"
    than = "more than" if one.score > one.counter else "no more than"
    return f"{said} gives it {one.score:.2f}{unit}, {than} “{one.counter_text}” with {one.counter:.2f}."


def _fit_mixture(mixture: tuple[str, ...], examples: Sequence[Example]) -> dict[str, dict[str, Weights]]:
    """Weights of one mixture of sources, from the claims on which all of them spoke."""
    rows: dict[str, list[tuple[list[float], bool]]] = {ANY: []}
    for each in examples:
        found = features_of(one for one in each.evidence if one.source in mixture)
        alone = each.kind in THINGS or each.owner is not False  # of what is not there nothing can be learnt
        if len(found) == len(mixture) and alone:
            row = ([x for some in found.values() for x in some], each.supported)
            rows[ANY].append(row)
            rows.setdefault(each.kind, []).append(row)
    fitted = {
        kind: _logistic(some)
        for kind, some in rows.items()
        if _enough(some) and (kind == ANY or len(some) >= LEAST_OF_KIND)
    }
    return {"+".join(mixture): fitted} if fitted else {}


def _enough(rows: Sequence[tuple[list[float], bool]]) -> bool:
    held = sum(supported for _, supported in rows)
    return min(held, len(rows) - held) >= LEAST_OF_CLASS


def _logistic(rows: Sequence[tuple[list[float], bool]]) -> Weights:
    from sklearn.linear_model import LogisticRegression  # here: it takes a second

    x, y = np.array([features for features, _ in rows]), np.array([supported for _, supported in rows])
    centre, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    model = LogisticRegression(C=1.0, max_iter=1000).fit((x - centre) / spread, y)
    weights = model.coef_[0] / spread
    intercept = float(model.intercept_[0] - weights @ centre)
    return Weights(round(intercept, 6), tuple(round(float(each), 6) for each in weights))
