"""curation/label_studio/convert.py: what goes to Label Studio comes back, in every field."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface  # type: ignore[attr-defined]

from curation.files.records import DescriptionRecord, PictureRecord, RegionRecord
from curation.label_studio.convert import (
    FACTS,
    MOST_SLOTS,
    STILL,
    LabelStudioError,
    Reading,
    Template,
    digest,
    from_results,
    labeling_config,
    slots_for,
    to_data,
    to_prediction,
    to_results,
)

WHO = "ann@example.org"
HERS = f"human:{WHO}"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SIDES = st.one_of(st.sampled_from([0.0, 1.0, 0.1, 1 / 3, 5e-324, 1 - 2**-53]), st.floats(0, 1))


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    x1, x2 = sorted(draw(st.tuples(SIDES, SIDES).filter(lambda pair: pair[0] != pair[1])))
    y1, y2 = sorted(draw(st.tuples(SIDES, SIDES).filter(lambda pair: pair[0] != pair[1])))
    return x1, y1, x2, y2


DESCRIPTIONS = st.builds(
    DescriptionRecord,
    text=TEXTS,
    status=st.sampled_from(["pending", "accepted", "rejected"]),
    score=st.none() | st.floats(0, 1),
    source=st.sampled_from(["", "owlv2@abc", HERS]),
    id=st.integers(0, 2**62),
    version=st.integers(1, 9),
    editor=st.sampled_from(["", WHO]),
)


@st.composite
def pictures(draw: st.DrawFn) -> PictureRecord:
    found = draw(st.lists(st.tuples(boxes(), st.lists(DESCRIPTIONS, min_size=1, max_size=5)), max_size=4))
    numbered = draw(st.booleans())
    return PictureRecord(
        sha256="ab" * 32,
        width=draw(st.integers(1, 9999)),
        height=draw(st.integers(1, 9999)),
        file_name=draw(TEXTS.filter(bool)),
        caption=draw(TEXTS),
        review=draw(st.sampled_from(["open", "reviewed", "empty"])),
        facts=draw(st.dictionaries(st.sampled_from([*FACTS, "found at", "é"]), TEXTS, max_size=4)),
        regions=tuple(
            RegionRecord(box, tuple(said), index + 7 if numbered else 0) for index, (box, said) in enumerate(found)
        ),
        id=draw(st.integers(0, 2**62)),
    )


def through(value: Any) -> Any:
    """What JSON leaves of it."""
    return json.loads(json.dumps(value))


def read(results: list[dict[str, Any]], data: dict[str, Any], template: Template = "novel") -> Reading:
    return from_results(through(results), through(data), template=template, who=WHO)


def lids() -> PictureRecord:
    """A picture with two regions, one of which has three descriptions."""
    said = tuple(DescriptionRecord(f"lid {n}", "pending", 0.25 * n, "owlv2@abc", 10 + n, n) for n in (1, 2, 3))
    return PictureRecord(
        "cd" * 32,
        640,
        480,
        "lids/1.jpg",
        "three lids",
        facts={"class": "lid", "found at": "the shelf"},
        regions=(
            RegionRecord((0.1, 0.2, 0.3, 0.4), said, 11),
            RegionRecord((0.5, 0.5, 1.0, 1.0), (DescriptionRecord("a pot", "accepted", None, HERS, 20, 4),), 20),
        ),
        id=5,
    )


def shown(template: Template = "novel") -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Its results and data, as they come back untouched."""
    data = to_data(lids(), "/1.jpg")
    return through(to_results(lids(), template=template, push=1)), through(data)


def named(results: list[dict[str, Any]], name: str, key: str = "r11") -> dict[str, Any]:
    [found] = [result for result in results if result["from_name"] == name and result["id"] in (key, name)]
    return found


@given(pictures(), st.sampled_from(["regions", "novel"]))
def test_a_picture_comes_back_equal_in_every_field(record: PictureRecord, template: Template) -> None:
    data = to_data(record, "/data/local-files/?d=pictures/1.jpg")
    reading = read(to_results(record, template=template, push=1), data, template)
    assert reading.annotated == record
    assert reading.seen_keys == reading.annotated_keys and len(set(reading.annotated_keys)) == len(record.regions)


@given(pictures())
def test_what_the_annotator_saw_is_what_was_pushed(record: PictureRecord) -> None:
    assert read(to_results(record, template="novel", push=1), to_data(record, "")).seen == record


@given(pictures(), st.sampled_from(["regions", "novel"]))
def test_label_studio_takes_every_prediction(record: PictureRecord, template: Template) -> None:
    form = LabelInterface(labeling_config(template, slots_for([record])))
    prediction = through(to_prediction(record, template=template, push=1))
    assert form.validate_prediction(prediction, return_errors=True) == []
    for result in prediction["result"]:
        for name in {"x", "y", "width", "height"} & result["value"].keys():
            assert 0 <= result["value"][name] <= 100
    assert 0 <= prediction.get("score", 0.0) <= 1


def test_a_form_has_a_verdict_for_every_description_and_asks_for_the_review() -> None:
    for template in ("regions", "novel"):
        form = LabelInterface(labeling_config(template, 7))
        controls = set(form._controls)
        slots = {f"{kind}_{n}" for kind in ("description", "verdict") for n in range(1, 8)}
        assert controls - {f"fact_{name.replace(' ', '_')}" for name in FACTS} == slots | {"box", "caption", "review"}
        form.validate()


def test_a_form_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(ValueError, match=f"slots must be from 1 to {MOST_SLOTS}, got 0"):
        labeling_config("regions", 0)
    with pytest.raises(ValueError, match="expected a template of regions, novel, got 'boxes'"):
        labeling_config("boxes")  # type: ignore[arg-type]


def test_an_annotation_without_the_choice_is_not_a_review_and_one_with_it_is() -> None:
    results, data = shown()
    assert read(results, data).annotated.review == "open"
    for words, review in (("everything is marked", "reviewed"), ("nothing to mark", "empty")):
        choice = {
            "id": "x",
            "from_name": "review",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [words]},
        }
        assert read([*results, choice], data).annotated.review == review
    assert read([choice], data).annotated.regions == ()


def test_each_description_has_its_own_verdict_and_the_models_score_stays() -> None:
    results, data = shown()
    spare = named(results, "description_2")
    results.append({**spare, "from_name": "verdict_2", "type": "choices", "value": {"choices": ["wrong"]}})
    before, after = lids().regions[0].descriptions, read(results, data).annotated.regions[0].descriptions
    assert after == (before[0], replace(before[1], status="rejected", editor=WHO), before[2])


def test_a_text_that_a_person_changed_is_theirs_and_keeps_its_id() -> None:
    results, data = shown()
    named(results, "description_3")["value"]["text"] = ["  a red lid\n"]
    known = lids().regions[0].descriptions[2]
    said = read(results, data).annotated.regions[0].descriptions[2]
    assert said == replace(known, text="a red lid", score=None, editor=WHO)


def test_a_text_that_only_lost_its_margins_was_not_changed() -> None:
    record = replace(lids(), caption=" a caption\n")
    results = to_results(record, template="novel", push=1)
    named(results, "caption")["value"]["text"] = ["a caption"]
    assert read(results, to_data(record, "")).annotated == record


def test_a_description_whose_text_was_emptied_is_gone_and_a_second_text_is_a_new_one() -> None:
    results, data = shown()
    named(results, "description_1")["value"]["text"] = []
    named(results, "description_2")["value"]["text"] = ["lid 2", "a handle"]
    texts = [(said.text, said.id, said.source) for said in read(results, data).annotated.regions[0].descriptions]
    assert texts == [("lid 2", 12, "owlv2@abc"), ("a handle", 0, HERS), ("lid 3", 13, "owlv2@abc")]


def test_a_box_is_exact_until_it_is_moved() -> None:
    results, data = shown()
    box = named(results, "box")["value"]
    box["x"] += STILL / 2
    assert read(results, data).annotated == lids()
    box["x"] += 1
    region = read(results, data).annotated.regions[0]
    assert region.xyxy == pytest.approx((0.11, 0.2, 0.31, 0.4), abs=1e-4)
    assert [said.editor for said in region.descriptions] == [WHO] * 3


def test_a_box_over_the_edge_is_clipped() -> None:
    results, data = shown()
    named(results, "box")["value"] |= {"x": -5, "y": 90, "width": 30, "height": 20}
    assert read(results, data).annotated.regions[0].xyxy == (0.0, 0.9, 0.25, 1.0)


def test_a_new_box_and_a_copied_one_are_regions_of_their_own() -> None:
    results, data = shown()
    copied = [{**copy.deepcopy(result), "id": "Xy_9"} for result in results if result["id"] == "r11"]
    new: dict[str, Any] = {"id": "nEw", "from_name": "box", "to_name": "image", "type": "rectangle"}
    new["value"] = {"x": 0, "y": 0, "width": 50, "height": 50, "rotation": 0}
    reading = read([*results, *copied, new], data)
    assert reading.annotated_keys == ("r11", "r20", "Xy_9", "nEw") and reading.seen_keys == ("r11", "r20")
    assert [region.id for region in reading.annotated.regions] == [11, 20, 0, 0]
    assert {said.source for said in reading.annotated.regions[2].descriptions} == {HERS}
    assert reading.annotated.regions[3] == RegionRecord((0.0, 0.0, 0.5, 0.5), ())


def test_a_deleted_region_is_missed() -> None:
    results, data = shown()
    reading = read([result for result in results if result["id"] != "r20"], data)
    assert (reading.seen_keys, reading.annotated_keys) == (("r11", "r20"), ("r11",))


def test_a_region_that_was_pushed_later_is_not_taken_for_deleted() -> None:
    results, data = shown()
    later = replace(lids(), regions=(*lids().regions, RegionRecord((0, 0, 1, 1), (DescriptionRecord("all"),), 30)))
    again = to_data(later, "", data)
    assert again["grain"]["push"] == 2
    assert read(results, again).seen_keys == ("r11", "r20")
    newer = to_results(later, template="novel", push=2)
    assert read([result for result in newer if result["id"] != "r30"], again).seen_keys == ("r11", "r20", "r30")


@pytest.mark.parametrize(("began", "seen"), [(10, ("r11", "r20")), (65, ("r11", "r20")), (90, ("r11", "r20", "r30"))])
def test_an_annotation_without_any_meta_saw_what_was_pushed_before_it_began(began: int, seen: tuple[str, ...]) -> None:
    """A push takes a moment to arrive, and clocks differ: who began in its first seconds may not have seen it."""
    start = datetime(2026, 11, 25, 12, tzinfo=UTC)
    _, data = shown()
    later = replace(lids(), regions=(*lids().regions, RegionRecord((0, 0, 1, 1), (DescriptionRecord("all"),), 30)))
    again = to_data(later, "", data, at=start + timedelta(seconds=60))
    last = to_data(replace(later, caption="all"), "", again, at=start + timedelta(seconds=80))
    done = {"id": "x", "from_name": "review", "to_name": "image", "type": "choices"}
    results = [{**done, "value": {"choices": ["everything is marked"]}}]
    moment = start + timedelta(seconds=began)
    reading = from_results(results, last, template="novel", who=WHO, began=moment)
    assert (reading.seen_keys, reading.annotated_keys) == (seen, ())
    assert (reading.seen.caption == "all") == (began == 90)


def test_an_annotation_remembers_the_version_that_it_was_made_upon() -> None:
    results, data = shown()
    [first, *others] = lids().regions[0].descriptions
    edited = replace(lids().regions[0], descriptions=(replace(first, text="new", version=9), *others))
    again = to_data(replace(lids(), regions=(edited, lids().regions[1])), "", data)
    assert read(results, again).seen.regions[0].descriptions[0].version == 1


def test_equal_records_have_equal_digests() -> None:
    assert digest(lids()) == digest(lids()) != digest(replace(lids(), review="reviewed"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"value": {"x": 1}}, "is not in the form that GRAIN pushed"),
        ({"value": None}, "is not in the form that GRAIN pushed"),
        ({"meta": {"grain": {"key": "r11", "push": 1, "region": {"xyxy": [1]}}}}, "is not in the form"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_one_sentence(change: dict[str, Any], sentence: str) -> None:
    results, data = shown()
    named(results, "box").update(change)
    with pytest.raises(LabelStudioError, match=sentence) as refused:
        read(results, data)
    assert str(refused.value).count("\n") == 0 and str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"value": {"x": 1, "y": 1, "width": 5, "height": 5, "rotation": 30}}, "A box is rotated: draw it upright."),
        ({"image_rotation": 90}, "A box is rotated"),
        ({"type": "polygon", "from_name": "p"}, "1 × polygon: only upright boxes can be taken"),
        ({"value": {"x": 100, "y": 1, "width": 5, "height": 5}}, "has no area within the picture"),
    ],
)
def test_a_shape_that_cannot_be_taken_leaves_its_region_as_it_was_and_the_rest_is_taken(
    change: dict[str, Any], sentence: str
) -> None:
    results, data = shown()
    named(results, "box").update(change)
    found = read(results, data)
    [left] = found.left
    assert sentence in left and left.count("\n") == 0
    assert found.annotated_keys and {*found.annotated_keys} == {*found.seen_keys}, "nothing is deleted"
    assert {region.xyxy for region in found.annotated.regions} == {region.xyxy for region in found.seen.regions}


def test_what_is_no_field_of_ours_is_told_and_a_new_shape_is_left() -> None:
    results, data = shown()
    common = {"to_name": "image", "original_width": 4, "original_height": 3, "image_rotation": 0}
    point = {"id": "k1", "from_name": "dots", "type": "keypoint", "value": {"x": 1, "y": 1, "width": 1}}
    other = {"id": "c1", "from_name": "weather", "type": "choices", "value": {"choices": ["rain"]}}
    tilted = {"id": "b9", "from_name": "box", "type": "rectangle"}
    tilted["value"] = {"x": 1, "y": 1, "width": 5, "height": 5, "rotation": 9}  # type: ignore[assignment]
    words = {"id": "b9", "from_name": "description_1", "type": "textarea", "value": {"text": ["a spoon"]}}
    found = read([*results, *({**common, **each} for each in (point, other, tilted, words))], data)
    assert found.left == (
        "“weather” is no field of GRAIN's form: its answer cannot be taken.",
        "1 × keypoint: only upright boxes can be taken, draw one instead.",
        "A box is rotated: draw it upright. (“a spoon”)",
    )
    assert {*found.annotated_keys} == {*found.seen_keys}
    assert read(results, data).left == ()


def test_a_task_of_other_people_is_refused() -> None:
    with pytest.raises(LabelStudioError, match="not in the form that GRAIN pushed"):
        read([], {"image": "http://example.org/1.jpg"})


def test_a_region_with_more_descriptions_than_any_form_can_show_is_refused() -> None:
    crowd = tuple(DescriptionRecord(str(n)) for n in range(MOST_SLOTS + 1))
    with pytest.raises(LabelStudioError, match=r"lids/1.jpg has a region with 33 descriptions: .* can show 32"):
        to_data(replace(lids(), regions=(RegionRecord((0, 0, 1, 1), crowd),)), "")


def test_a_text_without_its_meta_is_compared_with_what_was_pushed() -> None:
    results, data = shown()
    for name, text in (("caption", "tidy"), ("fact_class", "lid")):
        del named(results, name)["meta"]
        named(results, name)["value"]["text"] = [text]
    reading = read(results, data)
    assert (reading.seen.caption, reading.annotated.caption) == ("three lids", "tidy")
    assert reading.seen.facts == reading.annotated.facts == lids().facts
