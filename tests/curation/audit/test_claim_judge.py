"""The judge by hand: margins, owners, thresholds, what is missing; and evidence with its counterfactuals."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from curation.audit.claim_judge import (
    Judge,
    JudgeExample,
    Weights,
    features_of,
    fit,
    reasons,
    threshold_above,
    threshold_below,
)
from curation.audit.claims import Claim, split_claims
from curation.audit.evidence import Evidence, WitnessKind, gather, questions_of, statement_of, yes_no_questions
from db.models import ClaimKind
from user_errors import UserError

MARGIN = Judge("by hand", 0.3, 0.7, {"detector": {"any": Weights(0.0, (0.0, 1.0, 0.0))}})
ALONE = Claim("object", 0, 3, 0)
LID = (Claim("attribute", 2, 5, 1), Claim("object", 6, 9, 1))


def detector(score: float, counter: float) -> tuple[Evidence, ...]:
    return (Evidence("detector", score, "another", counter, counter),)


def test_a_claim_counts_no_more_than_its_owner() -> None:
    sure, absent = detector(3.0, 0.0), detector(0.0, 3.0)
    colour, thing = MARGIN.description([(LID[0], sure), (LID[1], absent)])
    assert thing.probability == pytest.approx(0.047426, abs=1e-5)
    assert colour.probability == pytest.approx(0.952574 * 0.047426, abs=1e-5)
    assert (colour.verdict, thing.verdict) == ("unsupported", "unsupported")
    colour, thing = MARGIN.description([(LID[0], sure), (LID[1], sure)])
    assert (colour.verdict, thing.verdict) == ("supported", "supported")
    assert colour.probability == pytest.approx(0.952574**2, abs=1e-5)


def test_between_the_thresholds_and_without_evidence_nothing_is_decided() -> None:
    [unsure] = MARGIN.description([(Claim("object", 0, 3, 0), detector(1.0, 1.0))])
    [silent] = MARGIN.description([(Claim("object", 0, 3, 0), ())])
    [other] = MARGIN.description([(Claim("object", 0, 3, 0), (Evidence("asked", 0.9, "", 0.1),))])
    assert (unsure.verdict, unsure.probability) == ("cannot tell", 0.5)
    assert (silent.verdict, silent.probability, other.probability) == ("cannot tell", None, None)
    assert reasons(silent.evidence) == ("No source gave a score.",)
    assert "“another” with 1.00" in reasons(unsure.evidence)[0]


def test_a_source_counts_only_beside_its_counterfactual() -> None:
    assert features_of([Evidence("detector", 2.0)]) == {}
    found = features_of([Evidence("asked", 0.5, "", 0.5), Evidence("detector", 2.0, "x", 1.5, 0.5)])
    assert found == {"detector": (2.0, 0.5, 1.5), "asked": (0.0, 0.0)}


def test_thresholds_keep_the_precision_that_was_asked_for() -> None:
    scored = [(0.1, True), (0.2, True), (0.3, False), (0.4, True), (0.9, False)]
    assert threshold_below(scored, 1.0) == 0.2
    assert threshold_below(scored, 0.75) == 0.4
    assert threshold_below([(0.1, False)], 0.5) == 0.0
    assert threshold_below([(0.1, True), (0.1, False)], 0.9) == 0.0, "equal values fall together"
    assert threshold_above([(0.1, False), (0.9, True), (0.8, True)], 1.0) == pytest.approx(0.8)


def test_a_fitted_judge_finds_what_the_margins_tell_and_survives_a_file(tmp_path: Path) -> None:
    chance = random.Random(0)
    examples = []
    for _ in range(400):
        held = chance.random() < 0.7
        margin = chance.gauss(2.0 if held else -2.0, 1.0)
        asked = chance.gauss(0.7 if held else 0.4, 0.1)
        evidence = (Evidence("detector", margin, "x", 0.0, 0.0), Evidence("asked", asked, "", 1 - asked))
        examples.append(JudgeExample("object", evidence, held, held))
    judge = fit(examples, name="made up")
    assert set(judge.table) == {"detector", "asked", "detector+asked"}
    assert 0 < judge.low <= judge.high < 1
    file = tmp_path / "judge.json"
    file.write_text(json.dumps(judge.to_json()), encoding="utf-8")
    assert Judge.load(file) == judge
    with pytest.raises(UserError, match="cannot be read as a judge"):
        Judge.load(tmp_path / "none.json")
    with pytest.raises(UserError, match="got 5 in all"):
        fit(examples[:5], name="too few")
    with pytest.raises(UserError, match="expected 0 ≤ low ≤ high ≤ 1"):
        Judge("x", 0.9, 0.1)


def test_where_only_some_sources_spoke_their_own_thresholds_decide() -> None:
    limits = {"asked": {"any": (0.1, 0.9), "object": (0.2, 0.6)}}
    judge = Judge("by hand", 0.5, 0.5, {"asked": {"any": Weights(0.0, (1.0, 0.0))}}, {"object": (0.4, 0.5)}, limits)
    assert judge.verdict("object", 0.5, detector(1.0, 0.0)) == "supported"
    assert judge.verdict("part", 0.45, detector(1.0, 0.0)) == "unsupported"
    asked = (Evidence("asked", 0.5, "", 0.5),)
    assert [judge.verdict(kind, 0.65, asked) for kind in ("object", "part")] == ["supported", "cannot tell"]
    assert [judge.verdict(kind, 0.15, asked) for kind in ("object", "part")] == ["unsupported", "cannot tell"]
    assert Judge.from_json(json.loads(json.dumps(judge.to_json()))) == judge
    with pytest.raises(UserError, match="expected 0 ≤ low ≤ high ≤ 1"):
        Judge("x", 0.1, 0.9, by_mixture={"asked": {"any": (0.9, 0.1)}})


def test_no_verdict_contradicts_its_probability() -> None:
    """A lower threshold above even odds would call a claim unsupported that is likelier true than not."""
    old = Judge.from_json({**MARGIN.to_json(), "low": 0.7, "high": 0.7, "by_kind": {"part": [0.1, 0.2]}})
    assert (old.low, old.high, old.by_kind) == (0.5, 0.7, {"part": (0.1, 0.5)})
    chance = random.Random(1)
    examples = []
    for _ in range(300):
        held = chance.random() < 0.05  # hardly any holds, so that almost any threshold keeps the precision
        evidence = detector(chance.gauss(1.0 if held else 0.0, 1.0), 0.0)
        examples.append(JudgeExample("object", evidence, held, held))
    judge = fit(examples * 3, name="made up", precision=0.5, supported_precision=0.01)
    assert judge.low <= 0.5 <= judge.high


def test_a_source_that_the_judge_was_not_fitted_on_is_left_out() -> None:
    both = (*detector(3.0, 0.0), Evidence("asked", 0.01, "", 0.99))
    [alone], [beside] = (MARGIN.description([(ALONE, some)]) for some in (detector(3.0, 0.0), both))
    assert (beside.verdict, beside.probability) == (alone.verdict, alone.probability)
    [deaf] = MARGIN.hearing(["asked"]).description([(ALONE, both)])
    assert (deaf.verdict, deaf.probability) == ("cannot tell", None)
    assert MARGIN.hearing(["detector", "asked"]) == MARGIN


def test_a_judge_of_other_sources_orders_and_decides_nothing() -> None:
    unfitted = replace(MARGIN, decides=False)
    [sure] = unfitted.description([(ALONE, detector(3.0, 0.0))])
    assert (sure.verdict, sure.probability) == ("cannot tell", pytest.approx(0.952574, abs=1e-5))
    assert Judge.from_json(json.loads(json.dumps(unfitted.to_json()))) == unfitted
    assert "decides" not in MARGIN.to_json(), "judges of earlier versions keep their recipe"


def test_a_claim_is_weighed_with_its_thing_where_its_kind_has_enough_claims() -> None:
    """Things that are there are told with three in four: multiplied, the probabilities lie below what holds."""
    chance = random.Random(2)
    examples = []
    for row in range(600):
        held = row % 2 == 0
        thing: tuple[ClaimKind, tuple[Evidence, ...]] = ("object", detector(chance.gauss(1.0, 1.0), 0.0))
        counted = Evidence("counted", chance.gauss(1.0 if held else -1.0, 0.5), "2 of them", 0.0, 0.0)
        evidence = (*detector(0.0, 0.0), counted)
        examples.append(JudgeExample("count", evidence, held, True, thing))
    for row in range(400):
        held = row % 2 == 0
        examples.append(JudgeExample("object", detector(chance.gauss(1.0 if held else -1.0, 1.0), 0.0), held, held))
    judge = fit(examples, name="made up", any_kind=False)
    assert set(judge.calibration["detector+counted"]) == {"count"}
    counts = [each for each in examples if each.kind == "count"]
    plain, calibrated = (
        sum(found) / len(found)
        for one in (replace(judge, calibration={}), judge)
        if (found := [p for each in counts if (p := one.example(each)) is not None])
    )
    assert plain < 0.42 and calibrated == pytest.approx(0.5, abs=0.05)
    absent = judge.description(
        [(Claim("count", 0, 3, 1), counts[0].evidence), (Claim("object", 4, 7, 1), detector(-4.0, 0.0))]
    )
    assert [each.verdict for each in absent] == ["cannot tell", "unsupported"], "of what is not there nothing is likely"
    [part] = judge.description([(Claim("part", 0, 3, 0), detector(3.0, 0.0))])
    assert part.verdict == "cannot tell" and part.probability is None, "no part was ever judged"
    assert Judge.from_json(json.loads(json.dumps(judge.to_json()))) == judge


def test_what_was_learned_of_colours_is_not_said_of_materials() -> None:
    chance = random.Random(3)

    def attribute(margin: float, family: str) -> tuple[Evidence, ...]:
        return (Evidence("detector", margin, "another", 0.0, 0.0, family),)

    examples = []
    for row in range(400):
        held = row % 2 == 0
        examples.append(
            JudgeExample("attribute", attribute(chance.gauss(2.0 if held else -2.0, 1.0), "colour"), held, True)
        )
    judge = fit(examples, name="made up", any_kind=False)
    colour, material = (
        judge.description([(Claim("attribute", 0, 3, 0), attribute(3.0, family))])[0]
        for family in ("colour", "material")
    )
    assert (colour.verdict, material.verdict, material.probability) == ("supported", "cannot tell", None)
    [both] = fit(examples, name="people's").description([(Claim("attribute", 0, 3, 0), attribute(3.0, "material"))])
    assert both.verdict == "supported", "people's own verdicts say more than none"
    [wooden] = [
        one
        for claim, one in questions_of("a wooden lid", vocabulary=(), all_texts="", fills=False)
        if one and one.family
    ]
    assert wooden.family == "material"


def test_the_default_judge_knows_every_mixture_of_sources() -> None:
    judge = Judge.load()
    assert len(judge.table) == 7 and len(judge.by_mixture) == 6
    [yes], [no] = (
        judge.description([(Claim("object", 0, 3, 0), (Evidence("asked", share, "", 1 - share),))])
        for share in (0.95, 0.05)
    )
    assert (yes.probability or 0) > (no.probability or 1)


# ------------------------------------------------------------------------------------------------ evidence


def test_counterfactuals_swap_the_claim_and_nothing_else() -> None:
    asked = dict(zip("colour thing place".split(), questions("a red lid on the left", fills=False), strict=True))
    assert asked["colour"].claimed == ("a red lid on the left",)
    assert ("an orange lid on the left",) in asked["colour"].counter
    assert [group for group in asked["colour"].counter if "red" in group[0].split()] == []
    assert asked["thing"].claimed == ("a lid",)
    assert {group[0] for group in asked["thing"].counter} == {"a cork", "an antenna"}, "a hook was said to be there"
    assert asked["place"].counter == (("a red lid on the right",),)


@pytest.mark.parametrize("fills", [False, True])
@pytest.mark.parametrize("denial", ["without a dog", "and no dog"])
def test_nothing_is_asked_about_what_a_description_denies(denial: str, fills: bool) -> None:
    colour, thing, denied = questions(f"a red bicycle {denial}", fills=fills)
    assert denied is None and "a red bicycle" in colour.claimed
    asked = {
        text for one in (colour, thing) for text in (*one.claimed, *(text for some in one.counter for text in some))
    }
    assert [text for text in asked if {"dog", "without", "and"} & {*text.split()}] == []


def test_a_vqa_model_is_not_asked_about_what_is_denied_and_nothing_is_decided() -> None:
    [[claims]] = gather(
        [Image.new("RGB", (4, 4))], [["a lid without a dog"]], witnesses=[Teller()], vqa=Teller(), vocabulary=["cork"]
    )
    (_, told), (denied, nothing) = claims
    assert [each.source for each in told] == ["detector", "asked"] and denied.denied and nothing == ()
    assert MARGIN.description(claims)[1].verdict == "cannot tell"


def test_a_source_that_was_taught_coloured_things_is_asked_for_every_colour() -> None:
    _, thing = questions("a red lid", fills=True)
    assert "a red lid" in thing.claimed and "an orange lid" in thing.claimed
    assert [len(group) for group in thing.counter] == [len(thing.claimed)] * len(thing.counter)


def test_statements_stand_alone() -> None:
    text = 'a dog with two brown ears saying "hi"'
    claims = split_claims(text)
    assert [statement_of(text, claims, claim) for claim in claims] == [
        "a dog",
        "two ears",
        "brown ears",
        "ears",
        'the words "hi"',
    ]


class Teller:
    """Yes to every question; a detector that likes red."""

    kind: WitnessKind = "detector"
    fills = False
    name = "teller@1"

    def scores(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[float | None]]:
        return [[None if "green" in text else 2.0 * ("red" in text) for text in each] for each in texts]

    def yes(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float | None]]:
        return [[0.9 for _ in each] for each in questions]


def test_one_who_says_yes_to_everything_speaks_for_nothing() -> None:
    teller = Teller()
    [[claims]] = gather(
        [Image.new("RGB", (4, 4))], [["a red lid"]], witnesses=[teller], vqa=teller, vocabulary=["cork"]
    )
    (colour, (detected, asked)), _ = claims
    assert (colour.kind, detected.score, detected.counter, detected.mean) == ("attribute", 2.0, 0.0, 0.0)
    assert features_of([asked])["asked"][0] == pytest.approx(-features_of([asked])["asked"][1])
    assert yes_no_questions("a lid")[1].startswith("Is it wrong")
    assert gather([], [], witnesses=[teller], vqa=teller, vocabulary=[]) == []


def questions(text: str, *, fills: bool) -> list:  # type: ignore[type-arg]
    asked = questions_of(text, vocabulary=["cork", "antenna", "hook", "lid"], all_texts=f"{text} a hook", fills=fills)
    return [question for _, question in asked]
