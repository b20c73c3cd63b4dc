"""curation/label_studio/apply_decisions.py: decisions become edits, once, and nobody's edit is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from curation.concepts.class_list import save_classes
from curation.concepts.decisions import settle_class
from curation.concepts.metadata import create_set
from curation.exchange.concept_classes import ConceptClass
from curation.files.records import DescriptionRecord, PictureRecord, RegionRecord
from curation.label_studio.apply_decisions import PullSummary, apply_decisions, keep_unread
from curation.label_studio.conflicts import Conflict, pending_conflicts, resolve_conflict
from curation.label_studio.convert import REVIEWS, from_results, to_data, to_results
from curation.label_studio.decisions import Decision, DecisionBatch, UnreadAnnotation
from curation.versions.state import state_of
from db.engine import Engine, reading, transaction
from db.models import RegionRow
from db.queries.concept_label_queries import labels_by_picture
from db.queries.curate_queries import add_region_by_hand, delete_region, edit_image, edit_region
from db.queries.data_set_queries import NewImage, add_images, create_dataset, find_images, get_image
from db.queries.edit_values import ImageChange, RegionChange
from db.queries.history_queries import history_page
from db.queries.label_studio_queries import TaskState, count_leftovers, drop_leftovers, leftovers_of, set_tasks
from db.queries.region_queries import NewRegion, add_regions
from tests.support.databases import sha
from user_errors import UserError

PROJECT = "http://127.0.0.1:8081/projects/1"
START = datetime(2026, 11, 25, 12, tzinfo=UTC)
Results = list[dict[str, Any]]


class Desk:
    """A picture with a lid of two descriptions and a pot, and annotators who are shown it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        with transaction(engine) as session:
            self.dataset_id = create_dataset(session, name="lids").id
            add_images(
                session, dataset_id=self.dataset_id, images=[NewImage(sha(1), 640, 480, "1.jpg", caption="lids")]
            )
            self.image_id = find_images(session, dataset_id=self.dataset_id, sha256s=[sha(1)])[sha(1)].id
            rows = [
                NewRegion(self.image_id, (0.1, 0.1, 0.3, 0.3), "a lid", "owlv2@abc", 0.5),
                NewRegion(self.image_id, (0.5, 0.5, 1.0, 1.0), "a pot", "owlv2@abc", 0.9),
            ]
            add_regions(session, dataset_id=self.dataset_id, rows=rows)
            lid: dict[str, Any] = {"image_id": self.image_id, "box_id": 1, "source": "owlv2@abc"}
            add_region_by_hand(session, who="import", text="a cover", status="pending", **lid)
        self.shown = self.record()
        self.data = to_data(self.shown, "/1.jpg")

    def record(self) -> PictureRecord:
        """The picture as it is."""
        [record] = state_of(self.engine, self.dataset_id, statuses=("pending", "accepted", "rejected"))
        return record

    def texts(self) -> list[tuple[str, str]]:
        return [(one.text, one.status) for region in self.record().regions for one in region.descriptions]

    def results(self) -> Results:
        """What an annotator is shown."""
        return json.loads(json.dumps(to_results(self.shown, template="novel", push=1)))  # type: ignore[no-any-return]

    def push(self, minute: int) -> None:
        """The task gets the picture as it is."""
        self.data = to_data(self.record(), "/1.jpg", self.data, at=START + timedelta(minutes=minute))

    def decide(
        self,
        results: Results,
        *,
        who: str = "ann",
        annotation: int = 1,
        minute: int = 1,
        began: int | None = None,
        touched: int = 0,
    ) -> PullSummary:
        """Take a decision over. touched: the minute in which its task changed, later than the decision."""
        begun = None if began is None else START + timedelta(minutes=began)
        decided = from_results(results, self.data, template="novel", who=who, began=begun)
        at = START + timedelta(minutes=minute)
        task_at = max(at, START + timedelta(minutes=touched))
        decision = Decision(5, annotation, who, at, task_at, decided)
        with transaction(self.engine) as session:
            return apply_decisions(session, [decision], project=PROJECT, template="novel")

    def waiting(self) -> list[Conflict]:
        """What waits for a choice."""
        with reading(self.engine) as session:
            return list(pending_conflicts(session, dataset_id=self.dataset_id))

    def choose(self, conflict: Conflict, take: Any, who: str = "dan") -> None:
        with transaction(self.engine) as session:
            resolve_conflict(session, conflict_id=conflict.row.id, version=conflict.version, take=take, who=who)

    def left(self) -> list[list[str]]:
        """What could not be taken, by annotation."""
        with reading(self.engine) as session:
            return [each.reasons for each, _ in leftovers_of(session, dataset_id=self.dataset_id)]

    def version(self) -> int:
        with reading(self.engine) as session:
            image = get_image(session, image_id=self.image_id)
            assert image is not None
            return image.version

    def edits(self) -> int:
        with reading(self.engine) as session:
            return len(history_page(session, image_id=self.image_id, limit=1000))


@pytest.fixture
def desk(sqlite_engine: Engine) -> Desk:
    return Desk(sqlite_engine)


def part(results: Results, name: str, key: str = "r1") -> dict[str, Any]:
    [found] = [each for each in results if each["from_name"] == name and each["id"] in (key, name)]
    return found


def verdict(results: Results, slot: int, word: str, key: str = "r1") -> Results:
    """With a verdict on a description."""
    rest = [each for each in results if (each["from_name"], each["id"]) != (f"verdict_{slot}", key)]
    shown = part(results, f"description_{slot}", key)
    return [*rest, {**shown, "from_name": f"verdict_{slot}", "type": "choices", "value": {"choices": [word]}}]


def review(results: Results, words: str) -> Results:
    choice = {
        "id": "review",
        "from_name": "review",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": [words]},
    }
    return [*results, choice]


def fact(results: Results, name: str, text: str) -> Results:
    said = {"id": name, "from_name": name, "to_name": "image", "type": "textarea", "value": {"text": [text]}}
    return [*[each for each in results if each["from_name"] != name], said]


def drawn(results: Results, key: str, text: str) -> Results:
    """With a new box."""
    value = {"x": 10.0, "y": 60.0, "width": 20.0, "height": 20.0, "rotation": 0}
    box = {"id": key, "from_name": "box", "to_name": "image", "type": "rectangle", "value": value}
    said = {**box, "from_name": "description_1", "type": "textarea", "value": {**value, "text": [text]}}
    return [*results, box, *([said] if text else [])]


def test_each_description_gets_its_own_verdict_by_its_annotator(desk: Desk) -> None:
    summary = desk.decide(verdict(verdict(desk.results(), 1, "right"), 2, "wrong"))
    assert (summary.decisions, summary.edits, summary.conflicts, summary.problems) == (1, 2, [], [])
    assert desk.texts() == [("a lid", "accepted"), ("a cover", "rejected"), ("a pot", "pending")]
    with reading(desk.engine) as session:
        edits = history_page(session, image_id=desk.image_id, limit=2)
    assert {(edit.who, edit.reason) for edit in edits} == {("ann", "Label Studio annotation 1")}


def test_everything_that_an_annotator_can_do_arrives_and_again_changes_nothing(desk: Desk) -> None:
    results = verdict(desk.results(), 1, "right")
    part(results, "description_2")["value"]["text"] = ["a red cover", "with a knob"]
    part(results, "box")["value"]["x"] = 20.0
    results = [each for each in results if each["id"] != "r2"]
    part(results, "caption")["value"]["text"] = ["tidy"]
    results = fact(review(drawn(results, "nEw", "a spoon"), REVIEWS["reviewed"]), "fact_class", "lid")
    summary = desk.decide(results)
    assert summary.conflicts == [] and summary.problems == []
    there = desk.record()
    assert (there.caption, there.review, there.facts) == ("tidy", "reviewed", {"class": "lid"})
    lid, spoon = there.regions
    assert lid.xyxy == pytest.approx((0.2, 0.1, 0.4, 0.3)) and spoon.xyxy == pytest.approx((0.1, 0.6, 0.3, 0.8))
    assert desk.texts() == [
        ("a lid", "accepted"),
        ("a red cover", "pending"),
        ("with a knob", "accepted"),
        ("a spoon", "accepted"),
    ]
    assert [one.source for one in lid.descriptions] == ["owlv2@abc", "owlv2@abc", "human:ann"]
    with reading(desk.engine) as session:
        assert list(labels_by_picture(session, dataset_id=desk.dataset_id).values()) == [{"ann": "lid"}]
    edits = desk.edits()
    for minute in (1, 2, 3):  # the same task again, and as if it had been touched without a change
        assert desk.decide(results, minute=minute).edits == 0
    assert desk.record() == there and desk.edits() == edits


def test_a_class_of_novel_concepts_is_one_persons_label_and_decides_nothing_alone(desk: Desk) -> None:
    def labels() -> list[dict[str, str]]:
        with reading(desk.engine) as session:
            return list(labels_by_picture(session, dataset_id=desk.dataset_id).values())

    create_set(desk.engine, "lids", "cem")
    classes = [ConceptClass("Glow Mug", ("glows",)), ConceptClass("Snap Lamp", ("a shade",))]
    save_classes(desk.engine, "lids", classes, who="cem", expected_version=1)
    unknown = review(fact(desk.results(), "fact_class", "lamp"), REVIEWS["reviewed"])
    desk.decide(unknown, annotation=1, minute=1)
    assert labels() == [] and desk.record().review == "open"
    assert desk.left() == [["“lamp” is none of the classes of this set: write the name of one, as Glow Mug."]]
    desk.decide(review(fact(desk.results(), "fact_class", "snap lamp"), REVIEWS["reviewed"]), annotation=1, minute=2)
    assert (labels(), desk.left(), desk.record().facts) == ([{"ann": "Snap Lamp"}], [], {})
    settle_class(desk.engine, desk.image_id, "Glow Mug", seen=[""], who="dan", reason="both seen")
    desk.push(minute=3)
    desk.shown = desk.record()
    desk.decide(desk.results(), who="ben", annotation=2, minute=9)
    assert labels() == [{"ann": "Snap Lamp"}], "a class that was shown and left alone is no label"
    assert desk.record().facts == {"class": "Glow Mug"}


def test_an_annotator_may_think_again_before_anything_is_pushed_anew(desk: Desk) -> None:
    desk.decide(drawn(verdict(desk.results(), 1, "right"), "nEw", "a spoon"), minute=1)
    assert ("a spoon", "accepted") in desk.texts() and ("a lid", "accepted") in desk.texts()
    desk.decide(drawn(verdict(desk.results(), 1, "wrong"), "nEw", "a ladle"), minute=2)
    assert ("a ladle", "accepted") in desk.texts() and ("a lid", "rejected") in desk.texts()
    summary = desk.decide(desk.results(), minute=3)
    assert summary.conflicts == []
    assert desk.texts() == [("a lid", "pending"), ("a cover", "pending"), ("a pot", "pending")]
    desk.decide(drawn(desk.results(), "nEw", "a ladle"), minute=4)
    assert ("a ladle", "accepted") in desk.texts()


def test_a_newer_edit_of_somebody_else_stays_and_is_reported(desk: Desk) -> None:
    with transaction(desk.engine) as session:
        change = RegionChange(text="a blue lid")
        edit_region(session, region_id=1, expected_version=1, who="bob", change=change)
    results = verdict(verdict(desk.results(), 1, "wrong"), 2, "right")
    summary = desk.decide(results)
    assert desk.texts()[:2] == [("a blue lid", "pending"), ("a cover", "accepted")]
    [conflict] = summary.conflicts
    assert (conflict.region_id, conflict.who) == (1, "ann")
    assert (conflict.present["text"], conflict.wanted["status"]) == ("a blue lid", "rejected")
    assert conflict.sentence == "region 1 was changed by bob meanwhile: look at both versions and choose"
    assert summary.edits == 1


def lid_changed_on_both_sides(desk: Desk) -> Conflict:
    """Bob moves and renames the lid, and Ann, who has not seen that, rejects it."""
    with transaction(desk.engine) as session:
        change = RegionChange(text="a blue lid", xyxy=(0.2, 0.2, 0.4, 0.4))
        edit_region(session, region_id=1, expected_version=1, who="bob", change=change)
    desk.decide(verdict(desk.results(), 1, "wrong"))
    [conflict] = desk.waiting()
    return conflict


def test_a_decision_is_taken_once_however_often_its_task_changes(desk: Desk) -> None:
    results = review(fact(verdict(desk.results(), 1, "right"), "caption", "tidy"), REVIEWS["reviewed"])
    desk.decide(results)
    assert (desk.record().caption, desk.record().review) == ("tidy", "reviewed")
    with transaction(desk.engine) as session:
        image = get_image(session, image_id=desk.image_id)
        assert image is not None
        change = ImageChange(caption="lids", review="open")  # as it was shown
        edit_image(session, image_id=image.id, expected_version=image.version, who="ben", change=change)
    desk.push(minute=60)
    assert desk.decide(results, touched=60) == PullSummary()
    assert (desk.record().caption, desk.record().review) == ("lids", "open")
    late = verdict(desk.results(), 2, "wrong")
    assert desk.decide(late, who="cem", annotation=2, minute=1, touched=61).decisions == 1, "not seen before"
    assert desk.decide(results, minute=62).decisions == 1, "she submitted again"
    assert desk.record().review == "reviewed"


def test_what_an_earlier_release_took_is_not_taken_again(desk: Desk) -> None:
    with transaction(desk.engine) as session:
        state = TaskState(desk.image_id, 5, remote_updated_at=START + timedelta(minutes=1, milliseconds=50))
        set_tasks(session, project=PROJECT, tasks=[state])
    assert desk.decide(verdict(desk.results(), 1, "right"), touched=60) == PullSummary()
    assert desk.decide(verdict(desk.results(), 1, "right"), minute=61, touched=62).edits == 1


@pytest.mark.parametrize(
    ("take", "kept"), [("ours", ("a blue lid", "pending", 0.2)), ("theirs", ("a lid", "rejected", 0.1))]
)
def test_what_changed_on_both_sides_waits_for_a_choice_and_is_asked_once(
    desk: Desk, take: str, kept: tuple[str, str, float]
) -> None:
    conflict = lid_changed_on_both_sides(desk)
    assert (conflict.row.who, conflict.by, conflict.version) == ("ann", "bob", 2)
    assert conflict.present == {"text": "a blue lid", "xyxy": [0.2, 0.2, 0.4, 0.4], "status": "pending"}
    assert conflict.wanted == {"text": "a lid", "xyxy": [0.1, 0.1, 0.3, 0.3], "status": "rejected"}
    desk.decide(verdict(desk.results(), 1, "wrong"), minute=2)
    assert [each.row.id for each in desk.waiting()] == [conflict.row.id], "the same again is the same one"
    desk.choose(conflict, take)
    before = desk.edits()
    desk.choose(conflict, take)
    desk.decide(verdict(desk.results(), 1, "wrong"), minute=3)
    assert desk.waiting() == [] and desk.edits() == before
    region = desk.record().regions[0]
    assert (region.descriptions[0].text, region.descriptions[0].status, region.xyxy[0]) == kept
    with reading(desk.engine) as session:
        history = history_page(session, image_id=desk.image_id, region_id=1)
    assert ("bob", "a blue lid") in {(edit.who, edit.after["text"]) for edit in history}, "it stays in the history"
    if take == "theirs":
        assert (history[0].who, history[0].reason) == ("dan", "chosen: Label Studio annotation 1 by ann")
    with pytest.raises(UserError, match=rf"this was settled by dan meanwhile \({take}\)"):
        desk.choose(conflict, "theirs" if take == "ours" else "ours", who="eve")


def test_what_both_sides_decided_alike_is_no_part_of_their_conflict(desk: Desk) -> None:
    with transaction(desk.engine) as session:
        change = RegionChange(text="a blue lid", status="accepted")
        edit_region(session, region_id=1, expected_version=1, who="bob", change=change)
    results = desk.results()
    part(results, "description_1")["value"]["text"] = ["a red lid"]
    desk.decide(verdict(results, 1, "right"))
    [conflict] = desk.waiting()
    assert (conflict.present, conflict.wanted) == ({"text": "a blue lid"}, {"text": "a red lid"})
    desk.choose(conflict, "theirs")
    assert desk.texts()[0] == ("a red lid", "accepted")


def test_a_choice_between_versions_that_changed_again_is_refused(desk: Desk) -> None:
    conflict = lid_changed_on_both_sides(desk)
    with transaction(desk.engine) as session:
        edit_region(session, region_id=1, expected_version=2, who="bob", change=RegionChange(text="a green lid"))
    for take in ("ours", "theirs"):
        with pytest.raises(UserError, match="changed by bob meanwhile"):
            desk.choose(conflict, take)
    [again] = desk.waiting()
    assert (again.present["text"], again.version) == ("a green lid", 3)
    for number, take, words in ((99, "ours", "no conflict 99"), (again.row.id, "both", "expected ours or theirs")):
        with pytest.raises(UserError, match=words), transaction(desk.engine) as session:
            resolve_conflict(session, conflict_id=number, version=3, take=take, who="dan")  # type: ignore[arg-type]


def test_an_annotator_who_thinks_again_asks_anew_or_no_more(desk: Desk) -> None:
    conflict = lid_changed_on_both_sides(desk)
    desk.choose(conflict, "ours")
    desk.decide(verdict(desk.results(), 1, "right"), minute=2)
    [again] = desk.waiting()
    assert (again.row.id, again.wanted["status"]) == (conflict.row.id, "accepted")
    desk.decide(desk.results(), minute=3)
    assert desk.waiting() == [], "nothing is wanted any more"


def test_a_choice_settles_what_it_made_equal_and_no_other_annotators(desk: Desk) -> None:
    """Two descriptions of one box that both sides moved: one choice moves both, and the second has nothing left."""
    with transaction(desk.engine) as session:
        moved = RegionChange(xyxy=(0.2, 0.2, 0.4, 0.4))
        edit_region(session, region_id=1, expected_version=1, who="bob", change=moved)
    results = desk.results()
    part(results, "box")["value"]["x"] = 15.0
    desk.decide(results, who="ann", annotation=1)
    part(results, "box")["value"]["x"] = 25.0
    desk.decide(results, who="cem", annotation=2, minute=2)
    first, second, third, fourth = desk.waiting()
    assert [each.row.region_id for each in (first, second, third, fourth)] == [1, 3, 1, 3]
    desk.choose(first, "theirs")
    assert [each.row.who for each in desk.waiting()] == ["cem", "cem"]
    assert desk.record().regions[0].xyxy[0] == pytest.approx(0.15)


def test_fields_of_a_picture_are_chosen_one_by_one(desk: Desk) -> None:
    with transaction(desk.engine) as session:
        change = ImageChange(caption="bob's", facts={"brand": "Acme", "found at": "a shelf"})
        edit_image(session, image_id=desk.image_id, expected_version=1, who="bob", change=change)
    desk.decide(fact(fact(desk.results(), "caption", "ann's"), "fact_brand", "Lidl"))
    assert [(each.present, each.wanted) for each in desk.waiting()] == [
        ({"caption": "bob's"}, {"caption": "ann's"}),
        ({"brand": "Acme"}, {"brand": "Lidl"}),
    ]
    desk.choose(desk.waiting()[1], "theirs")
    desk.choose(desk.waiting()[0], "ours")
    assert desk.waiting() == [] and desk.record().caption == "bob's"
    assert desk.record().facts == {"found at": "a shelf", "brand": "Lidl"}


def test_who_says_nothing_about_what_another_edited_has_no_conflict(desk: Desk) -> None:
    with transaction(desk.engine) as session:
        change = RegionChange(text="a blue lid", status="accepted")
        edit_region(session, region_id=1, expected_version=1, who="bob", change=change)
        edit_image(session, image_id=desk.image_id, expected_version=1, who="bob", change=ImageChange(caption="bob's"))
    assert desk.decide(desk.results()) == PullSummary(decisions=1)
    assert desk.decide(verdict(desk.results(), 1, "right"), minute=2) == PullSummary(decisions=1)
    assert desk.record().caption == "bob's" and desk.texts()[0] == ("a blue lid", "accepted")


def test_two_annotators_who_agree_have_no_conflict_and_two_who_do_not_have_one(desk: Desk) -> None:
    assert desk.decide(verdict(desk.results(), 1, "right"), who="ann", annotation=1, minute=1).conflicts == []
    assert desk.decide(verdict(desk.results(), 1, "right"), who="bob", annotation=2, minute=2) == PullSummary(
        decisions=1
    )
    summary = desk.decide(verdict(desk.results(), 1, "wrong"), who="cem", annotation=3, minute=3)
    assert [(conflict.region_id, conflict.who) for conflict in summary.conflicts] == [(1, "cem")]
    assert desk.texts()[0] == ("a lid", "accepted")


def test_fields_of_a_picture_are_settled_one_by_one(desk: Desk) -> None:
    with transaction(desk.engine) as session:
        change = ImageChange(caption="bob's", facts={"brand": "Acme", "found at": "a shelf"})
        edit_image(session, image_id=desk.image_id, expected_version=1, who="bob", change=change)
    summary = desk.decide(fact(fact(desk.results(), "caption", "ann's"), "fact_class", "lid"))
    assert [conflict.wanted for conflict in summary.conflicts] == [{"caption": "ann's"}]
    assert desk.record().caption == "bob's"
    assert desk.record().facts == {"brand": "Acme", "found at": "a shelf", "class": "lid"}


def test_nothing_to_mark_is_a_review_of_its_own_and_contradictions_are_said(desk: Desk) -> None:
    summary = desk.decide(review(verdict(desk.results(), 1, "right"), REVIEWS["empty"]))
    [problem] = summary.problems
    assert "has accepted regions" in problem and desk.record().review == "open"
    desk.decide(review([], REVIEWS["empty"]), minute=2)
    assert desk.record().review == "empty" and desk.texts() == []
    with reading(desk.engine) as session:
        assert session.get(RegionRow, 1).text == "a lid"  # type: ignore[union-attr]


def test_an_annotation_begun_from_nothing_deletes_nothing_unless_it_ends_the_review(desk: Desk) -> None:
    desk.decide(drawn([], "nEw", "a spoon"))
    assert desk.texts() == [(text, "pending") for text in ("a lid", "a cover", "a pot")] + [("a spoon", "accepted")]


@pytest.fixture
def bare(desk: Desk) -> Desk:
    """The picture pushed without regions and without a caption, so that no result remembers a push."""
    with transaction(desk.engine) as session:
        for number in (1, 2, 3):
            delete_region(session, region_id=number, expected_version=1, who="bob")
        edit_image(session, image_id=desk.image_id, expected_version=1, who="bob", change=ImageChange(caption=""))
    desk.shown = desk.record()
    desk.data = to_data(desk.shown, "/1.jpg")
    assert desk.results() == []
    return desk


def test_a_box_that_an_annotation_drew_outlasts_being_pushed_back_to_it(bare: Desk) -> None:
    results = review(drawn([], "nEw", "a spoon"), REVIEWS["reviewed"])
    for began in (5, None):  # also where nobody knows when it began
        bare.decide(results, minute=8, began=began)
        assert (bare.texts(), bare.record().review) == ([("a spoon", "accepted")], "reviewed")
        edits = bare.edits()
        bare.push(minute=9)
        assert bare.decide(results, minute=10, began=began).edits == 0
        assert (bare.texts(), bare.edits()) == ([("a spoon", "accepted")], edits)
    bare.decide(review(drawn([], "nEw", "a red spoon"), REVIEWS["reviewed"]), minute=130, began=5)
    assert bare.texts() == [("a red spoon", "accepted")]
    bare.decide(review([], REVIEWS["empty"]), minute=140, began=5)
    assert (bare.texts(), bare.record().review) == ([], "empty"), "who drew it may take it away"


def test_what_was_pushed_after_an_annotation_began_is_not_taken_for_deleted_by_it(bare: Desk) -> None:
    with transaction(bare.engine) as session:
        add_region_by_hand(session, image_id=bare.image_id, who="ben", xyxy=(0.5, 0.5, 0.9, 0.9), text="a pot")
        [version] = {get_image(session, image_id=bare.image_id).version}  # type: ignore[union-attr]
        change = ImageChange(caption="ben's", facts={"brand": "Acme"})
        edit_image(session, image_id=bare.image_id, expected_version=version, who="ben", change=change)
    bare.push(minute=5)
    results = review(drawn([], "nEw", "a spoon"), REVIEWS["reviewed"])
    assert bare.decide(results, minute=6, began=4).conflicts == []
    assert bare.texts() == [("a pot", "accepted"), ("a spoon", "accepted")]
    there = bare.record()
    assert (there.caption, there.facts, there.review) == ("ben's", {"brand": "Acme"}, "reviewed")
    bare.decide(fact(results, "caption", "ann's"), minute=7, began=4)
    assert [each.wanted for each in bare.waiting()] == [{"caption": "ann's"}], "she did not see his"
    bare.decide(results, who="cem", annotation=2, minute=8, began=6)
    assert ("a pot", "accepted") not in bare.texts(), "who began later saw it"


def test_a_new_box_without_a_description_takes_the_products_name_or_is_said(desk: Desk) -> None:
    words = "A new box has no description: write one in Label Studio."
    assert desk.decide(drawn(desk.results(), "nEw", "")).problems == [f"{desk.shown.file_name}, task 5: {words}"]
    assert desk.left() == [[words]]
    desk.decide(fact(drawn(desk.results(), "nEw", ""), "fact_name", "Lidl’o"), minute=2)
    assert desk.texts()[-1] == ("Lidl’o", "accepted")
    assert desk.left() == [], "it is mended"


def test_the_rest_of_an_annotation_is_taken_and_its_picture_is_not_reviewed(desk: Desk) -> None:
    tilted = verdict(desk.results(), 1, "right")
    part(tilted, "box")["value"]["rotation"] = 20
    summary = desk.decide(review(tilted, REVIEWS["reviewed"]))
    assert desk.texts()[0] == ("a lid", "accepted"), "its verdict is valid"
    assert desk.record().review == "open" and len(summary.problems) == 1
    assert desk.left() == [["A box is rotated: draw it upright. (“a lid”)"]]
    desk.decide(review(verdict(desk.results(), 1, "right"), REVIEWS["reviewed"]), minute=2)
    assert (desk.record().review, desk.left()) == ("reviewed", [])


def unread(desk: Desk, *annotations: int) -> int:
    """Annotations of the task of which nothing can be taken arrive; how many edits that took."""
    words = "A polygon is no box: draw one."
    left = tuple(UnreadAnnotation(5, each, "ann", (words,)) for each in annotations)
    with transaction(desk.engine) as session:
        set_tasks(session, project=PROJECT, tasks=[TaskState(desk.image_id, 5)])
        return keep_unread(session, DecisionBatch((), left, {5: annotations}, START), project=PROJECT).edits


def look(desk: Desk, state: Any) -> None:
    """Somebody here reviews the picture."""
    with transaction(desk.engine) as session:
        image = get_image(session, image_id=desk.image_id)
        assert image is not None
        change = ImageChange(review=state)
        edit_image(session, image_id=image.id, expected_version=image.version, who="bob", change=change)


@pytest.mark.parametrize("state", ["reviewed", "empty"])
def test_a_picture_that_was_reviewed_is_open_again_when_an_annotation_of_it_cannot_be_taken(
    desk: Desk, state: Any
) -> None:
    look(desk, state)
    assert unread(desk, 9) == 1
    assert desk.record().review == "open" and desk.left() == [["A polygon is no box: draw one."]]
    look(desk, state)
    assert unread(desk, 9) == 0 and desk.record().review == state, "somebody has looked at it since"
    assert unread(desk, 9, 10) == 1 and desk.record().review == "open"
    desk.decide(review(desk.results(), REVIEWS["reviewed"]), annotation=11)
    assert desk.record().review == "open", "what another one drew there is still left"
    assert unread(desk) == 0 and desk.left() == [], "both are deleted there"
    desk.decide(review(desk.results(), REVIEWS["reviewed"]), annotation=11, minute=2)
    assert desk.record().review == "reviewed"


def test_a_picture_that_was_reviewed_is_open_again_when_a_part_of_an_annotation_cannot_be_taken(desk: Desk) -> None:
    look(desk, "reviewed")
    tilted = verdict(desk.results(), 1, "right")
    part(tilted, "box")["value"]["rotation"] = 20
    desk.decide(tilted)
    assert desk.record().review == "open" and not desk.waiting()
    look(desk, "reviewed")
    desk.decide(tilted, minute=2)
    assert desk.record().review == "reviewed", "the same again is not news"


def test_what_was_left_of_an_annotation_goes_with_it(desk: Desk) -> None:
    for annotation in (1, 2):
        desk.decide(drawn(desk.results(), "nEw", ""), annotation=annotation, minute=annotation)
    assert len(desk.left()) == 2
    with transaction(desk.engine) as session:
        drop_leftovers(session, project=PROJECT, task_id=5, but=(2,))
        assert count_leftovers(session, dataset_id=desk.dataset_id) == 1


def test_what_our_annotators_proposed_there_keeps_its_source_and_score(desk: Desk) -> None:
    found = (DescriptionRecord("a whisk", score=0.3, source="owlv2@new"),)
    proposed = to_results(replace(desk.shown, regions=(RegionRecord((0.0, 0.0, 0.2, 0.2), found),)), template="novel")
    desk.decide(proposed)
    one = desk.record().regions[-1].descriptions[0]
    assert (one.text, one.status, one.score, one.source) == ("a whisk", "pending", 0.3, "owlv2@new")
    assert len(desk.record().regions) == 3


def test_a_picture_or_region_of_another_database_is_left_alone(desk: Desk) -> None:
    forged = desk.results()
    part(forged, "box")["meta"]["grain"]["region"]["descriptions"][0]["id"] = 999
    part(forged, "description_1")["value"]["text"] = ["mine"]
    assert desk.decide(forged).problems == [f"Region 999 is not one of picture {desk.image_id}: left alone."]
    desk.data["grain"]["picture"]["sha256"] = sha(2)
    summary = desk.decide(verdict(desk.results(), 1, "right"), minute=2)
    assert summary.problems == [f"{desk.shown.file_name} is not in this database: task 5 was left alone."]
    assert ("a lid", "pending") in desk.texts()


def test_a_region_accepted_there_reopens_an_empty_picture_without_a_conflict(desk: Desk) -> None:
    with transaction(desk.engine) as session:
        change = ImageChange(review="empty")
        edit_image(session, image_id=desk.image_id, expected_version=1, who="bob", change=change)
    desk.shown = desk.record()
    desk.data = to_data(desk.shown, "/1.jpg")
    judged = [each for each in verdict(desk.results(), 1, "right") if each["from_name"] != "review"]
    summary = desk.decide(review(judged, REVIEWS["reviewed"]))
    assert (summary.conflicts, summary.problems, desk.record().review) == ([], [], "reviewed")
