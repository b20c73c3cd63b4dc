"""Descriptions taken apart, row by row; whatever models write, nothing breaks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.audit.claims import MOST_CLAIMS, split_claims
from tests.support.steps import steps

TABLE = [
    ("a red lid", "attribute red > lid; object lid"),
    ("a lid", "object lid"),
    (
        "a red loop handle on the left",
        "attribute red > loop handle; object loop handle; relation on the left > loop handle",
    ),
    ("a band of red stripes", "object band; attribute red > stripes; part stripes"),
    ("red stripes around it", "attribute red > stripes; object stripes; relation around it > stripes"),
    ("a belt with blue zigzags", "object belt; attribute blue > zigzags; part zigzags"),
    ("a knob in white", "object knob; attribute white > knob"),
    ("a bottle painted yellow", "object bottle; attribute yellow > bottle"),
    ("a black lightning bolt", "attribute black > lightning bolt; object lightning bolt"),
    ("a dog with two ears and a tail", "object dog; count two > ears; part ears; part tail"),
    (
        "a red car next to a blue bus",
        "attribute red > car; object car; relation next to a blue bus > car; attribute blue > bus; object bus",
    ),
    ("an orange", "object orange"),
    ("an orange on the right", "object orange; relation on the right > orange"),
    ("a red left shoe", "attribute red > left shoe; object left shoe"),
    ("a cat right of a dog", "object cat; relation right of a dog > cat; object dog"),
    ("red and blue dots", "attribute red > dots; attribute blue > dots; object dots"),
    ('a sign saying "STOP"', 'object sign; text "STOP" > sign'),
    ('"STOP"', 'text "STOP"'),
    ("dogs in front of a house", "object dogs; relation in front of a house > dogs; object house"),
    (
        "a man holding a wooden bat",
        "object man; relation holding a wooden bat > man; attribute wooden > bat; object bat",
    ),
    ("a dog without a red collar", "object dog; part without a red collar"),
    ("a bicycle and no dog", "object bicycle; part no dog"),
    ("a man who is not wearing a hat", "object man; part who is not wearing a hat"),
    ("no dog", "object no dog"),
    ("a  bicycle  without  a  dog", "object bicycle; part without  a  dog"),
    ("not a dog but a red cat", "object not a dog; attribute red > cat; object cat"),
    (
        "a dog on the left with no collar. Red ball",
        "object dog; relation on the left > dog; part with no collar; attribute Red > ball; object ball",
    ),
    ("a no parking sign", "object no parking sign"),
    ('a sign saying "no parking"', 'object sign; text "no parking" > sign'),
    ('a sign without "STOP"', 'object sign; part without "STOP"'),
    ("", ""),
    ("   ", ""),
    ("...", ""),
]


def told(text: str) -> list[str]:
    claims = split_claims(text)
    return [
        f"{claim.kind} {claim.words(text)}" + (f" > {claims[claim.owner].words(text)}" if claim.owner != row else "")
        for row, claim in enumerate(claims)
    ]


@pytest.mark.parametrize(("text", "claims"), TABLE)
def test_a_description_is_split_into_its_claims(text: str, claims: str) -> None:
    assert "; ".join(told(text)) == claims


def test_what_is_denied_is_marked() -> None:
    assert [claim.denied for claim in split_claims("a dog without a red collar")] == [False, True]


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from("a red lid with of and on in the left two “x” it no without but . not".split())).map(
        " ".join
    )
)
def test_spans_lie_within_any_text_and_owners_among_its_claims(text: str) -> None:
    claims = split_claims(text)
    assert len(claims) <= MOST_CLAIMS
    assert [claim for claim in claims if not 0 <= claim.start < claim.end <= len(text)] == []
    assert [claim for claim in claims if not 0 <= claim.owner < len(claims)] == []
    assert list(claims) == sorted(claims, key=lambda claim: (claim.start, claim.end))


def test_markup_stays_text() -> None:
    text = '<img onerror="x"> =cmd()'
    assert all(claim.words(text) in text for claim in split_claims(text))
    assert split_claims(text) != ()


@pytest.mark.parametrize(
    "piece",
    ['"a', '"a" ', "'a' ", "red and ", "a cup with a lid on the left of ", "1 ", "a, ", "a cup without a lid. ", "no "],
)
def test_the_work_grows_no_faster_than_the_text(piece: str) -> None:
    once, eightfold = (steps(lambda count=count: split_claims(piece * count)) for count in (500, 4_000))  # type: ignore[misc]
    assert eightfold < 12 * once, (once, eightfold)
