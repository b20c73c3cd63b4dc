"""Decide from evidence whether a claim is supported, unsupported or undecidable.

A logistic regression on margins, fitted on judged claims.

A claim about a thing depends on the thing: their probabilities are multiplied, or weighed where there are enough claims
of its kind to fit that on; of a thing that is called unsupported nothing is said to be likely. Between two thresholds
nothing is decided; "unsupported" is never said of what is likelier than not, nor "supported" of what is less. A judge
has weights and thresholds for every mixture of its sources, so that a source which gave no score is left out, as is one
that it was not fitted on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from curation.audit.claims import Claim
from curation.audit.evidence import Evidence, WitnessKind, logit
from db.models import ClaimKind, Verdict
from user_errors import UserError

SOURCES: tuple[WitnessKind, ...] = ("detector", "likeness", "asked", "counted", "placed")
THINGS: tuple[ClaimKind, ...] = ("object", "part")
LEAST_OF_KIND, LEAST_OF_CLASS = 200, 20  # claims with which a kind gets weights of its own
UNSUPPORTED_PRECISION, SUPPORTED_PRECISION = 0.95, 0.97  # on the claims it is fitted on
EVEN = 0.5  # no verdict contradicts its probability
FOLDS = 5
FILE = Path(__file__).with_name("judge_sample.json")
PHOTO_FILE = Path(__file__).with_name("judge_photo.json")
ANY = "any"


@dataclass(frozen=True)
class Weights:
    """The weights of a logistic regression: log-odds of supported = intercept + weights · features."""

    intercept: float
    weights: tuple[float, ...]

    def probability(self, features: Sequence[float]) -> float:
        """Return the probability of supported."""
        odds = self.intercept + sum(w * x for w, x in zip(self.weights, features, strict=True))
        return 1 / (1 + math.exp(-min(max(odds, -30.0), 30.0)))


@dataclass(frozen=True)
class JudgeExample:
    """A claim that a person judged, as an example to fit on.

    owner: whether the thing that it is about is there; None where nobody judged. thing: that thing's kind and evidence;
    None for a thing itself. weight: how many claims it stands for, where a sample was drawn within strata.
    """

    kind: ClaimKind
    evidence: tuple[Evidence, ...]
    supported: bool
    owner: bool | None = None
    thing: tuple[ClaimKind, tuple[Evidence, ...]] | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with its verdict.

    probability: of supported; None where no source gave a score.
    """

    claim: Claim
    verdict: Verdict
    probability: float | None
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Judge:
    """A fitted judge: weights by mixture of sources and kind of claim, and thresholds.

    low, high: probabilities between which a claim is "cannot tell".

    name: what it was fitted on, in words; part of an audit's recipe. by_kind: low and high of the kinds that have their
    own. by_mixture: the same, and of any kind, where only some of the sources gave a score. calibration: by mixture and
    kind, of a claim about a thing: weights of its own log-odds and of the thing's. decides: False where it was fitted
    on other sources: its probabilities order claims, and none of them is decided.
    """

    name: str
    low: float
    high: float
    table: Mapping[str, Mapping[str, Weights]] = field(default_factory=dict)
    by_kind: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    by_mixture: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    calibration: Mapping[str, Mapping[str, Weights]] = field(default_factory=dict)
    decides: bool = True

    def __post_init__(self) -> None:
        """Refuse thresholds that overlap."""
        own = [pair for some in (self.by_kind, *self.by_mixture.values()) for pair in some.values()]
        for low, high in ((self.low, self.high), *own):
            if not 0 <= low <= high <= 1:
                raise UserError(f"expected 0 ≤ low ≤ high ≤ 1, got {low} and {high}: correct them")

    def description(self, found: Sequence[tuple[Claim, tuple[Evidence, ...]]]) -> tuple[JudgedClaim, ...]:
        """Return the claims of one description with their verdicts."""
        judged = []
        for row, (claim, evidence) in enumerate(found):
            owner = found[claim.owner]
            p = self._probability(claim.kind, evidence, None if claim.owner == row else (owner[0].kind, owner[1]))
            judged.append(JudgedClaim(claim, self.verdict(claim.kind, p, evidence), p, evidence))
        return tuple(judged)

    @property
    def sources(self) -> frozenset[str]:
        """Return the kinds of sources that it was fitted on."""
        return frozenset(source for mixture in self.table for source in mixture.split("+"))

    def hearing(self, sources: Collection[WitnessKind]) -> Judge:
        """Return the judge that was fitted on no other sources than these."""
        table = {mixture: kinds for mixture, kinds in self.table.items() if set(mixture.split("+")) <= set(sources)}
        return replace(self, table=table)

    def verdict(self, kind: ClaimKind, probability: float | None, evidence: Sequence[Evidence]) -> Verdict:
        """Return the verdict on a probability of supported, by the thresholds of the sources that gave a score."""
        of_all_sources = {ANY: (self.low, self.high), **self.by_kind}
        thresholds = self.by_mixture.get("+".join(self._fitted_features(evidence)), of_all_sources)
        low, high = thresholds.get(fine_kind(kind, evidence)) or thresholds.get(kind) or thresholds[ANY]
        if probability is None or not self.decides or low < probability < high:
            return "cannot tell"
        return "supported" if probability >= high else "unsupported"

    def example(self, each: JudgeExample) -> float | None:
        """Return the probability that an example is supported; None where no source gave a score."""
        return self._probability(each.kind, each.evidence, each.thing)

    def own_probabilities(self, each: JudgeExample) -> tuple[float | None, float | None]:
        """Return the probability of an example by its own evidence, and of the thing that it is about by its."""
        return self._own(each.kind, each.evidence), self._own(*each.thing) if each.thing else None

    def _probability(
        self, kind: ClaimKind, evidence: Sequence[Evidence], thing: tuple[ClaimKind, tuple[Evidence, ...]] | None
    ) -> float | None:
        """Return the probability of a claim. thing: of what the claim is about, if that is another claim."""
        own = self._own(kind, evidence)
        owner = None if thing is None else self._own(*thing)
        if own is None or owner is None or thing is None:  # of a thing, or nothing is known of it
            return own
        fitted = self.calibration.get("+".join(self._fitted_features(evidence)), {})
        weights = fitted.get(fine_kind(kind, evidence)) or fitted.get(kind)
        p = weights.probability([logit(own), logit(owner)]) if weights else own * owner
        return None if p > EVEN and self.verdict(thing[0], owner, thing[1]) == "unsupported" else p

    def _own(self, kind: ClaimKind, evidence: Sequence[Evidence]) -> float | None:
        features = self._fitted_features(evidence)
        weights = self.table.get("+".join(features), {})
        own_weights = weights.get(fine_kind(kind, evidence)) or weights.get(kind) or weights.get(ANY)
        return (
            own_weights.probability([x for values in features.values() for x in values])
            if own_weights and features
            else None
        )

    def _fitted_features(self, evidence: Iterable[Evidence]) -> dict[str, tuple[float, ...]]:
        """Return the features of the sources that it was fitted on (see features_of)."""
        return {source: values for source, values in features_of(evidence).items() if source in self.sources}

    def to_json(self) -> dict[str, Any]:
        """Return the judge as plain JSON values."""
        plain = asdict(self)
        return plain if not self.decides else {name: value for name, value in plain.items() if name != "decides"}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Judge:
        """Return the judge of plain JSON values.

        Raises: UserError: no judge.
        """
        try:
            table = _weights(plain["table"])
            by_kind, by_mixture = (
                _pairs(plain["by_kind"]),
                {mixture: _pairs(some) for mixture, some in plain["by_mixture"].items()},
            )
            return cls(
                plain["name"],
                *_even(plain["low"], plain["high"]),
                table,
                by_kind,
                by_mixture,
                calibration=_weights(plain.get("calibration", {})),
                decides=bool(plain.get("decides", True)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"expected a judge as JSON, got something else ({error}): fit it again") from error

    @classmethod
    def load(cls, path: Path = FILE) -> Judge:
        """Load a judge from a file; by default the one fitted on the sample world's stand-ins.

        Raises: UserError: no such file, or no judge in it.
        """
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as a judge ({error}): fit it again") from error


def fine_kind(kind: ClaimKind, evidence: Iterable[Evidence]) -> str:
    """Return a claim's kind, of an attribute with its family: "attribute/colour"."""
    family = next((each.family for each in evidence if each.family), "")
    return f"{kind}/{family}" if family else kind


def features_of(evidence: Iterable[Evidence]) -> dict[str, tuple[float, ...]]:
    """Return source -> features, in the order of SOURCES, for the sources that gave something to compare."""
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


def fit(
    examples: Sequence[JudgeExample],
    *,
    name: str,
    precision: float = UNSUPPORTED_PRECISION,
    supported_precision: float = SUPPORTED_PRECISION,
    any_kind: bool = True,
) -> Judge:
    """Fit a judge on claims that people judged.

    Args:   precision, supported_precision: of its verdicts, which the thresholds reach on these examples. any_kind:
            claims of a kind that has too few examples are judged as all kinds together; else none of them is, and what
            was learned of colours is not said of materials.
    Raises: UserError: too few examples, or all of one kind of truth.
    """
    table: dict[str, dict[str, Weights]] = {}
    for count in range(1, len(SOURCES) + 1):
        for mixture in combinations(SOURCES, count):
            table |= _fit_mixture(mixture, examples, fine=not any_kind)
    if not any_kind:
        own = {mixture: {kind: some for kind, some in kinds.items() if kind != ANY} for mixture, kinds in table.items()}
        table = {mixture: kinds for mixture, kinds in own.items() if kinds}
    if not table:
        raise UserError(
            f"expected at least {LEAST_OF_CLASS} claims that hold and as many that do not, got {len(examples)} in all: "
            "judge more of the sample"
        )
    judge, precisions = Judge(name, 0.0, 1.0, table), (precision, supported_precision)
    by_sources = {mixture: [_with_sources(each, mixture) for each in examples] for mixture in table}
    fine = not any_kind
    calibration = {mixture: _calibration(judge, some, mixture, fine=fine) for mixture, some in by_sources.items()}
    judge = replace(judge, calibration=calibration)
    by_kind = _thresholds_by_kind(judge, examples, precisions, fine=fine)
    low, high = by_kind.pop(ANY)
    by_mixture = {
        mixture: _thresholds_by_kind(judge, by_sources[mixture], precisions, fine=fine) for mixture in list(table)[:-1]
    }  # the last is all
    return replace(judge, low=low, high=high, by_kind=by_kind, by_mixture=by_mixture)


def _calibration(judge: Judge, examples: Sequence[JudgeExample], mixture: str, *, fine: bool) -> dict[str, Weights]:
    """Fit the log-odds of claims about things, of the kinds that have enough, on their own and their things'."""
    rows: dict[str, list[tuple[list[float], JudgeExample]]] = {}
    for each in examples:
        own, owner = judge.own_probabilities(each)
        if own is not None and owner is not None and "+".join(features_of(each.evidence)) == mixture:
            rows.setdefault(_kind_of(each, fine), []).append(([logit(own), logit(owner)], each))
    return {
        kind: _logistic(some)
        for kind, some in rows.items()
        if len(some) >= LEAST_OF_KIND and _has_enough([each.supported for _, each in some])
    }


def _thresholds_by_kind(
    judge: Judge, examples: Sequence[JudgeExample], precisions: tuple[float, float], *, fine: bool
) -> dict[str, tuple[float, float]]:
    """Return low and high for all kinds together, and for each kind that has enough claims."""
    scored: dict[str, list[tuple[float, JudgeExample]]] = {ANY: []}
    for each in examples:
        p = judge.example(each)
        if p is not None:
            scored[ANY].append((p, each))
            scored.setdefault(_kind_of(each, fine), []).append((p, each))
    return {
        kind: _thresholds(some, precisions)
        for kind, some in scored.items()
        if kind == ANY or _has_enough([each.supported for _, each in some])
    }


def _with_sources(each: JudgeExample, mixture: str) -> JudgeExample:
    """Return an example with the evidence of only some sources."""

    def only(evidence: Sequence[Evidence]) -> tuple[Evidence, ...]:
        return tuple(one for one in evidence if one.source in mixture.split("+"))

    thing = each.thing and (each.thing[0], only(each.thing[1]))
    return replace(each, evidence=only(each.evidence), thing=thing)


def _pairs(plain: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, float]]:
    return {kind: _even(low, high) for kind, (low, high) in plain.items()}


def _weights(plain: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Weights]]:
    return {
        mixture: {kind: Weights(each["intercept"], tuple(each["weights"])) for kind, each in kinds.items()}
        for mixture, kinds in plain.items()
    }


def _even(low: float, high: float) -> tuple[float, float]:
    """Return thresholds with which no verdict contradicts its probability."""
    return min(low, EVEN), max(high, EVEN)


def cross_validated(examples: Sequence[JudgeExample], pictures: Sequence[int]) -> list[tuple[Verdict, float | None]]:
    """Return each claim's verdict and probability by a judge that was fitted on other pictures.

    Args:   pictures: the picture of each example.
    Raises: UserError: a fold lacks what a fit needs.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # here: it takes a second

    found: list[tuple[Verdict, float | None]] = [("cannot tell", None)] * len(examples)
    folds, supported = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0), [each.supported for each in examples]
    for others, mine in folds.split(supported, supported, pictures):
        judge = fit([examples[row] for row in others], name="a fold")
        for row in mine:
            p = judge.example(examples[row])
            found[row] = (judge.verdict(examples[row].kind, p, examples[row].evidence), p)
    return found


def _thresholds(scored: Sequence[tuple[float, JudgeExample]], precisions: tuple[float, float]) -> tuple[float, float]:
    """Return low and high for claims with their probability. precisions: of unsupported, and of supported."""
    weights, (below, above) = [each.weight for _, each in scored], precisions
    low = threshold_below([(p, not each.supported) for p, each in scored], below, weights)
    high = threshold_above([(p, each.supported) for p, each in scored], above, weights)
    return _even(low, high)


def threshold_below(
    scored: Sequence[tuple[float, bool]], precision: float, weights: Sequence[float] | None = None
) -> float:
    """Return the largest value at or below which the share of hits is still `precision`; 0 where there is none.

    Args: weights: how many each stands for; left out: itself.
    """
    hits = total = best = 0.0
    rows = [(*pair, weight) for pair, weight in zip(scored, weights or [1.0] * len(scored), strict=True)]
    for count, (value, hit, weight) in enumerate(ordered := sorted(rows), start=1):
        hits, total = hits + weight * hit, total + weight
        last = count == len(ordered) or ordered[count][0] > value
        if last and hits / total >= precision:
            best = value
    return best


def threshold_above(
    scored: Sequence[tuple[float, bool]], precision: float, weights: Sequence[float] | None = None
) -> float:
    """Return the smallest value at or above which the share of hits is still `precision`; 1 where there is none."""
    return 1 - threshold_below([(1 - value, hit) for value, hit in scored], precision, weights)


def reasons(evidence: Sequence[Evidence]) -> tuple[str, ...]:
    """Return the reasons for a verdict, a sentence a source."""
    return tuple(_reason(each) for each in evidence if each.score is not None) or ("No source gave a score.",)


def _reason(one: Evidence) -> str:
    assert one.score is not None, "the caller asks of those with a score alone"
    if one.source == "asked":
        denial = "" if one.counter is None else f", and to its denial with {one.counter:.0%}"
        return f"Asked, the model says yes with {one.score:.0%}{denial}."
    if one.source == "counted":
        other = "" if one.counter is None else f", and {one.counter_text} with {math.exp(one.counter):.0%}"
        return f"Counted by the detector's boxes, it holds with {math.exp(one.score):.0%}{other}."
    source = {"detector": "The detector", "placed": "The place of the detector's boxes"}.get(one.source, "GRAIN")
    unit = " (cosine × 10)" if one.source == "likeness" else ""
    if one.counter is None:
        return f"{source} gives it {one.score:.2f}{unit}; there is nothing to compare it with."
    than = "more than" if one.score > one.counter else "no more than"
    return f"{source} gives it {one.score:.2f}{unit}, {than} “{one.counter_text}” with {one.counter:.2f}."


def _kind_of(each: JudgeExample, fine: bool) -> str:
    return fine_kind(each.kind, each.evidence) if fine else each.kind


def _fit_mixture(
    mixture: tuple[str, ...], examples: Sequence[JudgeExample], *, fine: bool
) -> dict[str, dict[str, Weights]]:
    """Fit the weights of one mixture of sources on the claims for which all of them gave a score."""
    rows: dict[str, list[tuple[list[float], JudgeExample]]] = {ANY: []}
    for each in examples:
        found = features_of(one for one in each.evidence if one.source in mixture)
        alone = each.kind in THINGS or each.owner is not False  # of what is not there nothing can be learnt
        if len(found) == len(mixture) and alone:
            row = ([x for some in found.values() for x in some], each)
            rows[ANY].append(row)
            rows.setdefault(_kind_of(each, fine), []).append(row)
    fitted = {
        kind: _logistic(some)
        for kind, some in rows.items()
        if _has_enough([each.supported for _, each in some]) and (kind == ANY or len(some) >= LEAST_OF_KIND)
    }
    return {"+".join(mixture): fitted} if fitted else {}


def _has_enough(supported: Sequence[bool]) -> bool:
    held = sum(supported)
    return min(held, len(supported) - held) >= LEAST_OF_CLASS


def _logistic(rows: Sequence[tuple[list[float], JudgeExample]]) -> Weights:
    from sklearn.linear_model import LogisticRegression  # here: it takes a second

    x, y = np.array([features for features, _ in rows]), np.array([each.supported for _, each in rows])
    weight = np.array([each.weight for _, each in rows])
    centre, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    model = LogisticRegression(C=1.0, max_iter=1000).fit((x - centre) / spread, y, sample_weight=weight / weight.mean())
    weights = model.coef_[0] / spread
    intercept = float(model.intercept_[0] - weights @ centre)
    return Weights(round(intercept, 6), tuple(round(float(each), 6) for each in weights))
