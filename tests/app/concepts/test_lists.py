"""What the lists of a set show, and where."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest

from app.concepts import lists
from app.concepts.lists import listed_in
from app.concepts.panels import classes_panel
from curation.concepts.status import ConceptSetStatus
from curation.exchange.concept_classes import ConceptClass, to_plain
from curation.files.records import CLASS
from curation.ingest.provenance import FOUND_AT, FOUND_ON
from db.models import ConceptSet, Image, LeakSuspect
from tests.app.concepts.hostile_cases import CHECK, CLASSES, SET


def picture(number: int, *, found: bool = False, settled: str = "") -> Image:
    facts = ({FOUND_AT: "a fair", FOUND_ON: "2026-10-01"} if found else {}) | ({CLASS: settled} if settled else {})
    return Image(id=number, dataset_id=1, width=4, height=3, facts=facts, sha256="", location="", member="")


def numbers(step: str, now: ConceptSetStatus, listed: tuple[int, ...] = ()) -> tuple[int, ...]:
    return tuple(one.id for one in listed_in(step, now, listed))


def test_pictures_stay_where_they_are_until_all_on_the_screen_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_SHOWN", 2)
    none = replace(SET, images=tuple(picture(number) for number in (1, 2, 3)))
    assert (first := numbers("pictures", none)) == (1, 2)
    one = replace(SET, images=(picture(1, found=True), picture(2), picture(3)))
    assert numbers("pictures", one, first) == (1, 2), "else a press on 2 would meet 3"
    both = replace(SET, images=(picture(1, found=True), picture(2, found=True), picture(3)))
    assert numbers("pictures", both, first) == (3,)
    assert numbers("pictures", one) == (2, 3), "once the step is entered again"
    assert numbers("pictures", replace(SET, images=(picture(2), picture(3))), first) == (2, 3), "1 is removed"


def test_of_many_classes_the_table_shows_some_at_a_time() -> None:
    plain = to_plain([ConceptClass(f"thing {number}") for number in range(250)])
    many = replace(SET, concept=ConceptSet(dataset_id=1, classes=plain, updated_by="ana"))
    for first, place, goes in ((0, "1 to 100", [100]), (200, "201 to 250", [100]), (999, "1 to 100", [100])):
        html = unescape(classes_panel(many, first))
        assert f"{place} of 250 classes" in html
        assert [int(number) for number in re.findall(r'"first": ?(\d+)', html)] == goes
        assert html.count('scope="row"') == (50 if first == 200 else 100)
    assert "classes</p>" not in classes_panel(SET)


def test_suspects_stay_where_they_are_and_those_to_decide_come_first_once_the_step_is_entered() -> None:
    def suspects(*decisions: str) -> ConceptSetStatus:
        some = [
            LeakSuspect(
                id=number, dataset_id=1, image_id=number, against="x", how="look", value=1.0, match_sha256="",
                match_name="", decision=decision,
            )
            for number, decision in enumerate(decisions, 1)
        ]  # fmt: skip
        return replace(SET, images=(picture(1), picture(2), picture(3)), suspects=tuple(some), checks=(CHECK,))

    assert (first := numbers("leaks", suspects("", "", ""))) == (1, 2, 3)
    assert numbers("leaks", suspects("keep", "", ""), first) == first
    assert numbers("leaks", suspects("keep", "", "")) == (2, 3, 1)


def test_disputed_pictures_stay_where_they_are_when_one_is_settled() -> None:
    said = {number: {"ana": CLASSES[0].name, "bo": CLASSES[1].name} for number in (1, 2)}
    concept = ConceptSet(dataset_id=1, classes=to_plain(CLASSES), updated_by="ana")
    disputed = replace(SET, concept=concept, images=(picture(1), picture(2)), labels=said, suspects=(), deciders={})
    assert (first := numbers("agreement", disputed)) == (1, 2)
    settled = replace(disputed, images=(picture(1, settled=CLASSES[0].name), picture(2)))
    assert numbers("agreement", settled, first) == (1, 2)
    assert numbers("agreement", settled) == (2, 1)
