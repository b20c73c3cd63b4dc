"""The Curate filter: what an address holds of it, what is refused, and that every field reaches SQL."""

from dataclasses import fields
from typing import Any

import pytest

from db.queries.curate_filter import NO_FILTER, ChosenRegions, CurateFilter
from db.queries.filter_clauses import FILTER_CLAUSES
from db.queries.region_queries import VISIBLE
from user_errors import UserError

EVERYTHING = CurateFilter(
    statuses=("pending", "deleted"),
    source="human:ada",
    run_id=3,
    min_score=0.25,
    max_score=1.0,
    min_disagreement=0.5,
    words="red lid*",
    phash="ffff",
    tag="look again",
)


def test_every_field_has_its_clause() -> None:
    named = {each.name for each in fields(CurateFilter)}
    assert {*FILTER_CLAUSES, "statuses", "chosen"} == named and len(named) >= 10


def test_an_address_holds_the_fields_that_are_set() -> None:
    assert NO_FILTER.to_address() == {} and CurateFilter.from_address({}) == NO_FILTER
    assert EVERYTHING.to_address() == {
        "statuses": "pending,deleted",
        "source": "human:ada",
        "run_id": "3",
        "min_score": "0.25",
        "max_score": "1",
        "min_disagreement": "0.5",
        "words": "red lid*",
        "phash": "ffff",
        "tag": "look again",
    }
    assert CurateFilter.from_address(EVERYTHING.to_address()) == EVERYTHING
    assert CurateFilter(chosen=ChosenRegions((1,))).to_address() == {}, "a list of regions is too long for an address"
    assert list(CurateFilter(run_id=1, words="x", source="y").to_address()) == ["source", "run_id", "words"]


def test_what_has_no_meaning_in_an_address_filters_nothing() -> None:
    odd = {"statuses": "a,b", "run_id": "x", "min_score": "7", "max_score": "-1", "chosen": "1", "nonsense": "1"}
    assert CurateFilter.from_address(odd) == NO_FILTER
    assert len(CurateFilter.from_address({"words": "x" * 999}).words) == 200


def test_a_forms_empty_values_filter_nothing() -> None:
    values: dict[str, Any] = {"statuses": [], "source": "", "run_id": None, "words": "  ", "min_score": 0.5}
    assert CurateFilter.from_values(values) == CurateFilter(min_score=0.5)
    assert CurateFilter.from_values({"statuses": ["rejected"]}).statuses == ("rejected",)


def test_the_active_fields_are_those_that_leave_something_out() -> None:
    assert NO_FILTER.active == set() == CurateFilter(statuses=("deleted",)).active
    assert CurateFilter(min_score=0.0, words="x").active == {"min_score", "words"}
    assert set(VISIBLE) == set(NO_FILTER.statuses)


def test_values_without_a_meaning_are_refused() -> None:
    EVERYTHING.check()
    with pytest.raises(UserError, match="expected a word to look for, got '-- %'"):
        CurateFilter(words="-- %").check()
    with pytest.raises(UserError, match="expected verdicts among pending, accepted, rejected, deleted, got 'maybe'"):
        CurateFilter(statuses=("maybe",)).check()  # type: ignore[arg-type]
