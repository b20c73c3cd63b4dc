"""What the editor's script asks over HTTP, as anybody could send it: nothing in it is trusted."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from app.core.data_uri import SHOWN_SIDE
from db.engine import Engine, reading
from db.queries.gallery_queries import curate_page
from db.queries.region_queries import get_region
from tests.support.waiting import PATIENCE_S

DRAWN = {"address": "dataset=drawn", "selection": ""}


@pytest.fixture(scope="module")
def person(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=PATIENCE_S) as client:
        yield client


def asked(person: httpx.Client, what: str, **ask: Any) -> dict[str, Any]:
    answer = person.post(f"curate/{what}", json=ask)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store"), answer.text[:500]
    found: dict[str, Any] = answer.json()
    return found


def test_the_next_pictures_are_those_of_the_filters_and_each_comes_once(person: httpx.Client, engine: Engine) -> None:
    first = asked(person, "views", do="ahead", count=2, filters=DRAWN, asked="a")
    known = [image for image, _ in first["ahead"]["order"]]
    assert len(known) == 2 and [each["image"] for each in first["pictures"]] == known and first["asked"] == "a"
    rest = asked(person, "views", do="ahead", count=12, skip=known, filters=DRAWN)
    assert not {image for image, _ in rest["ahead"]["order"]} & set(known) and rest["ahead"]["end"]
    with reading(engine) as session:
        row = curate_page(session, dataset_id=1, limit=1).regions[0]
    of_one = {"address": f"dataset=drawn&sort=lowest_score&words={row.text.split()[0]}", "selection": ""}
    for image, region in asked(person, "views", do="ahead", count=12, filters=of_one)["ahead"]["order"]:
        with reading(engine) as session:
            found = get_region(session, region_id=region)
        assert found is not None and found.image_id == image and row.text.split()[0] in found.text


def test_an_act_is_done_once_and_the_verdicts_with_it_in_their_order(person: httpx.Client, engine: Engine) -> None:
    with reading(engine) as session:
        one, other = curate_page(session, dataset_id=1, limit=2).regions
    verdicts = [
        {"do": "verdict", "act": f"act{row.id}", "image": row.image_id, "id": row.id, "version": row.version}
        for row in (one, other)
    ]
    ask = verdicts[0] | {"status": "accepted", "more": [verdicts[1] | {"status": "rejected"}]}
    for _ in range(2):  # the first answer may have been lost
        answer = asked(person, "acts", **ask)
        wrote = [each["wrote"] for each in (answer, *answer["more"])]
        assert wrote == [[[row.id, row.version + 1]] for row in (one, other)]
    with reading(engine) as session:
        found = [get_region(session, region_id=row.id) for row in (one, other)]
    assert [row and row.status for row in found] == ["accepted", "rejected"]


REFUSED = [
    ("views", {"do": "open", "id": 99999}, "There is no region 99999: it was removed meanwhile."),
    ("views", {"do": "open", "image": "x"}, "Expected a whole number as the page's image, got 'x': reload the page."),
    (
        "views",
        {"do": "ahead", "count": 1, "filters": DRAWN | {"address": "dataset=gone"}},
        "There is no data set 'gone'",
    ),
    *(
        ("views", {"do": "ahead", "count": 1, "filters": DRAWN | {"selection": selection}}, "Expected a selection")
        for selection in ("[", "[" * 50_000, '{"what": "regions", "polygon": [], "ids": [99999999999999999999]}')
    ),
    ("views", {"do": "ahead", "count": 1, "skip": ["x"], "filters": DRAWN}, "Expected a whole number"),
    ("views", {}, "Expected a whole number as the page's count"),
    ("acts", {"do": "verdict", "image": 1, "id": 99999, "version": 1, "status": "accepted"}, "99999"),
    ("acts", {"do": "nothing"}, "The page sent something incomplete ('nothing'): reload it."),
    ("acts", {"do": ["verdict"]}, "The page sent something incomplete"),
    ("suggestions", {"image": 1}, "Suggestions need a model: choose a checkpoint at “scores with”."),
    ("suggestions", {"image": 1, "checkpoint": "../secret"}, "secret"),
]


@pytest.mark.parametrize(("what", "ask", "sentence"), REFUSED)
def test_what_cannot_be_done_is_said(person: httpx.Client, what: str, ask: dict[str, Any], sentence: str) -> None:
    assert sentence in asked(person, what, **ask)["refused"]


def test_the_queue_of_no_data_set_is_at_its_end(person: httpx.Client) -> None:
    assert asked(person, "views", do="ahead", count=1)["ahead"] == {"order": [], "after": "", "end": True}


def test_a_resting_hand_is_told_the_counts_it_asks_for(person: httpx.Client) -> None:
    told = asked(person, "rest", image=1, counts=True, filters=DRAWN)
    assert "pending" in told["counts"] and "not in Label Studio" in told["links"]
    assert asked(person, "rest", image=0, counts=False, filters=DRAWN) == {"links": "", "counts": ""}
    assert asked(person, "rest", image=0, counts=True) == {"links": "", "counts": ""}


def test_a_picture_is_at_an_address_that_the_browser_keeps_and_at_no_other(person: httpx.Client) -> None:
    [found] = asked(person, "views", do="open", image=1)["pictures"]
    answer = person.get(found["uri"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert {"private", "immutable"} <= set(answer.headers["cache-control"].split(", "))
    assert max(Image.open(io.BytesIO(answer.content)).size) <= SHOWN_SIDE
    assert found["uri"] in found["panel"]
    place, _, sha256 = found["uri"].rpartition("/")
    others = [f"{place}/{'0' * 64}", f"{place}/x", f"/curate/pictures/99999/{sha256}", f"/curate/pictures/x/{sha256}"]
    others.append(f"/curate/pictures/{10**26}/{sha256}")
    assert {person.get(each).status_code for each in others} == {404}


def test_a_body_that_is_empty_asks_for_nothing(person: httpx.Client) -> None:
    assert person.post("curate/views").json() == asked(person, "views")
