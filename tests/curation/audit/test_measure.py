"""Rates, intervals and agreement by hand; intervals that hold what they promise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from curation.audit.claims import split_claims
from curation.audit.measure import (
    Stratum,
    agreement,
    curve,
    curve_of,
    hallucination_rate,
    quality,
    rates_by,
    stratified,
    weights_of,
    wilson,
)
from curation.audit.policy import PolicyVerdict, apply_policy, without_claims
from curation.files.records import DescriptionRecord, PictureRecord, RegionRecord
from db.models import Verdict
from db.queries.audit_sample_queries import SampleJudgement


def judged(
    number: int, auditor: Verdict, *people: Verdict, population: int = 10, probability: float = 0.5, prompts: str = "p"
) -> SampleJudgement:
    said = dict(zip(("ada", "ben"), people, strict=False))
    groups = {"kind": "object", "prompts": prompts, "stages": "2", "describer": "m", "subject": "s"}
    return SampleJudgement(
        number,
        "object",
        auditor,
        probability,
        [],
        f"object / {auditor}",
        population,
        said,
        groups,  # type: ignore[arg-type]
    )


NO: Verdict = "unsupported"
YES: Verdict = "supported"
OPEN: Verdict = "cannot tell"
SAMPLE = [
    judged(1, YES, YES, population=80, probability=0.9),
    judged(2, YES, YES, YES, population=80, probability=0.8),
    judged(3, YES, NO, NO, population=80, probability=0.7),
    judged(4, YES, YES, NO, population=80, probability=0.95, prompts="q"),
    judged(5, NO, NO, population=20, probability=0.1),
    judged(6, NO, NO, NO, population=20, probability=0.2, prompts="q"),
    judged(7, NO, OPEN, population=20, probability=0.15),
]


def test_wilson_by_hand() -> None:
    assert wilson(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)
    assert wilson(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    with pytest.raises(ValueError, match="expected one claim or more"):
        wilson(0, 0)


def test_strata_weigh_by_how_many_they_stand_for() -> None:
    rate = stratified([Stratum(900, 30, 3), Stratum(100, 30, 30), Stratum(50, 0, 0)])
    assert rate is not None and rate.claims == 60
    assert rate.value == pytest.approx(0.9 * 0.1 + 0.1)
    assert rate.low < rate.value < rate.high
    assert stratified([]) is None
    whole = stratified([Stratum(4, 4, 1)])
    assert whole is not None and (whole.value, whole.low, whole.high) == (0.25, 0.25, 0.25), "all were looked at"


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    inside = 0
    for number in range(200):
        chance, strata, wrong = random.Random(number), [], 0
        for size, share, looked in ((4000, 0.03, 200), (900, 0.9, 60), (300, 0.5, 40)):
            hits = sum(chance.random() < share for _ in range(size))
            wrong += hits
            strata.append(Stratum(size, looked, sum(each < hits for each in chance.sample(range(size), looked))))
        rate = stratified(strata)
        assert rate is not None
        inside += rate.low <= wrong / 5200 <= rate.high
    assert 184 <= inside <= 198


def people_on(stratum: str, auditor: Verdict, verdicts: Sequence[Verdict], population: int) -> list[SampleJudgement]:
    """Somebody judges claims of one stratum."""
    each = judged(0, auditor, population=population)
    return [replace(each, stratum=stratum, people={"ada": verdict}) for verdict in verdicts]


def test_claims_that_nobody_can_tell_stand_for_others_like_them() -> None:
    doubtful = people_on("doubtful", NO, [OPEN] * 7 + [NO] * 2 + [YES], 1000)
    clear = people_on("clear", YES, [NO] + [YES] * 9, 1000)
    rate, found = hallucination_rate([*doubtful, *clear]), quality([*doubtful, *clear])
    assert rate is not None and found.precision is not None and found.recall is not None
    assert rate.value == pytest.approx((200 + 100) / (300 + 1000)) and rate.claims == 13
    assert found.precision.value == pytest.approx(200 / 300) and found.precision.claims == 3
    assert found.recall.value == pytest.approx(200 / (200 + 100))
    assert weights_of([*doubtful, *clear]) == {"doubtful": 100, "clear": 100}
    assert [point.dropped for point in curve_of([*doubtful, *clear])] == [1.0]
    assert hallucination_rate(people_on("doubtful", NO, [OPEN] * 3, 9)) is None


def test_what_was_judged_in_full_is_counted() -> None:
    everything = [
        *people_on("doubtful", NO, [OPEN] * 700 + [NO] * 240 + [YES] * 60, 1000),
        *people_on("clear", YES, [NO] * 100 + [YES] * 900, 1000),
    ]
    found = quality(everything)
    for rate, hits, claims in (
        (hallucination_rate(everything), 340, 1300),
        (found.precision, 240, 300),
        (found.recall, 240, 340),
    ):
        assert rate is not None and (rate.value, rate.claims) == (pytest.approx(hits / claims), claims)
        assert rate.low == rate.value == rate.high


def test_intervals_hold_the_truth_where_people_often_cannot_tell() -> None:
    shares: dict[Verdict, tuple[float, float]] = {NO: (0.5, 0.8), OPEN: (0.3, 0.3), YES: (0.05, 0.1)}
    sizes: dict[Verdict, int] = {NO: 500, OPEN: 800, YES: 2000}
    claims = {
        auditor: [OPEN] * round(size * open_) + [NO] * round(size * (1 - open_) * wrong)
        for auditor, size in sizes.items()
        for open_, wrong in [shares[auditor]]
    }
    for auditor, size in sizes.items():
        claims[auditor] += [YES] * (size - len(claims[auditor]))
    wrong = {auditor: some.count(NO) for auditor, some in claims.items()}
    decided = {auditor: size - claims[auditor].count(OPEN) for auditor, size in sizes.items()}
    rate, precision, recall = (
        sum(wrong.values()) / sum(decided.values()),
        wrong[NO] / decided[NO],
        wrong[NO] / sum(wrong.values()),
    )
    inside = dict.fromkeys(("rate", "precision", "recall"), 0)
    for number in range(300):
        chance = random.Random(number)
        drawn = [
            each
            for auditor, some in claims.items()
            for each in people_on(auditor, auditor, chance.sample(some, 80), sizes[auditor])
        ]
        found = quality(drawn)
        for name, one, true in (
            ("rate", hallucination_rate(drawn), rate),
            ("precision", found.precision, precision),
            ("recall", found.recall, recall),
        ):
            assert one is not None
            inside[name] += one.low <= true <= one.high
    assert all(276 <= many <= 297 for many in inside.values()), inside


def test_rates_and_quality_come_from_what_people_said_last() -> None:
    rate = hallucination_rate(SAMPLE)
    assert rate is not None
    assert rate.value == pytest.approx((80 * 2 / 4 + 20 * 2 / 3) / (80 + 20 * 2 / 3))
    found = quality(SAMPLE)
    assert found.precision is not None and found.precision.value == 1.0
    assert found.recall is not None and found.recall.value == pytest.approx(2 / 3 * 20 / (40 + 2 / 3 * 20))
    assert set(rates_by(SAMPLE, "prompts")) == {"p", "q"}
    assert rates_by(SAMPLE, "prompts")["q"].value == 1.0
    assert hallucination_rate([]) is None and quality([]).precision is None


def test_kappa_by_hand() -> None:
    pairs = [judged(n, YES, a, b) for n, (a, b) in enumerate([(YES, YES), (YES, YES), (NO, NO), (YES, NO)])]
    assert agreement(pairs).kappa == pytest.approx((0.75 - 0.5) / 0.5)
    assert agreement(SAMPLE[:1]).kappa is None


def test_a_threshold_says_what_it_drops() -> None:
    points = curve([(0.1, True, 1.0), (0.2, False, 1.0), (0.3, True, 2.0)])
    assert [(p.threshold, p.precision, p.recall, p.dropped) for p in points] == [
        (0.1, 1.0, pytest.approx(1 / 3), 0.25),
        (0.2, 0.5, pytest.approx(1 / 3), 0.5),
        (0.3, 0.75, 1.0, 1.0),
    ]
    assert curve([]) == ()
    assert curve_of(SAMPLE)[-1].dropped == 1.0


# ------------------------------------------------------------------------------------------------ policies


@pytest.mark.parametrize(
    ("text", "wrong", "left"),
    [
        ("a blue lid", "blue", "a lid"),
        ("an orange lid", "orange", "a lid"),
        ("a blue lid", "lid", ""),
        ("a knob in white", "white", "a knob"),
        ("a bottle painted yellow", "yellow", "a bottle"),
        ("a red fin on the left", "on the left", "a red fin"),
        ("a belt with blue zigzags", "zigzags", "a belt"),
        ("a dog with two ears and a long tail", "tail", "a dog with two ears"),
        ("a lid", "", "a lid"),
    ],
)
def test_a_claim_is_cut_out_of_its_sentence(text: str, wrong: str, left: str) -> None:
    claims = split_claims(text)
    assert without_claims(text, claims, [claim for claim in claims if claim.words(text) == wrong]) == left


def test_policies_drop_weigh_or_keep() -> None:
    region = RegionRecord((0.1, 0.1, 0.5, 0.5), (DescriptionRecord("a blue lid", score=0.8),))
    record = PictureRecord("0" * 64, 9, 9, "a.jpg", regions=(region,))
    colour, thing = split_claims("a blue lid")
    claims = {"a blue lid": (PolicyVerdict(colour, NO, 0.25), PolicyVerdict(thing, YES, 0.9))}
    assert apply_policy(record, claims, "keep") == record == apply_policy(record, {}, "drop-description")
    assert apply_policy(record, claims, "drop-description").regions == ()
    assert apply_policy(record, claims, "drop-claim").regions[0].descriptions[0].text == "a lid"
    assert apply_policy(record, claims, "down-weight").regions[0].descriptions[0].score == pytest.approx(0.2)
