"""The flow from found pictures to a frozen set that grain.evaluate reads, with what may be missing on the way."""

from __future__ import annotations

import csv
import io
import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from curation.concepts import concepts
from curation.concepts.class_list import parse_keeping_facts, save_classes, set_class_fact
from curation.concepts.decisions import decide_leak, label_picture, settle_agreed, settle_class, undo_last_label
from curation.concepts.freeze_set import freeze_set, frozen_facts
from curation.concepts.leaks import LeaksConfig, check
from curation.concepts.metadata import import_pictures, set_metadata
from curation.concepts.status import BOTH_SEEN, LEAK, NO_CLASS, settled_class, status_of
from curation.exchange.concept_classes import ConceptClass
from curation.exchange.export import export
from curation.exchange.export_config import ExportConfig
from curation.ingest.ingest import ingest
from curation.sample.products import novel_classes
from curation.sample.scenes import render_scene
from curation.versions.versions import read_version
from db.engine import Engine, open_engine, reading, transaction
from db.models import Image as Picture
from db.queries.concept_label_queries import NONE_OF_THESE, UndoneLabel, set_label
from db.queries.curate_queries import edit_image
from db.queries.edit_values import ImageChange
from db.queries.history_queries import history_page
from grain.data.loader import find_shards, read_records
from user_errors import UserError

CLASSES, PICTURES = 3, 9
NAMES = list(novel_classes(0, CLASSES))


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Found pictures, one of them a training picture, and the training pictures; both imported."""
    world = tmp_path_factory.mktemp("world")
    seen, found = world / "seen", world / "found"
    seen.mkdir()
    found.mkdir()
    for number in range(3):
        (seen / f"{number}.jpg").write_bytes(jpeg(render_scene("train", seed=0, index=number).image))
    rows = []
    for number in range(PICTURES):
        name = f"shop-{number}.jpg"
        (found / name).write_bytes(jpeg(render_scene("novel", seed=0, index=number, classes=CLASSES).image))
        rows.append((name, "a fair", f"2026-10-0{1 + number}"))
    (found / "z-leak.jpg").write_bytes((seen / "0.jpg").read_bytes())
    with (found / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "found_at", "found_on"), *rows, ("z-leak.jpg", "a blog", "")])
    engine = open_engine(f"sqlite:///{world / 'grain.sqlite'}")
    ingest(engine, seen, dataset="seen", home=world)
    import_pictures(engine, world, found, dataset="fair", who="ana")
    engine.dispose()
    return world


@pytest.fixture
def home(world: Path, tmp_path: Path) -> Path:
    """A home of one's own, with the pictures imported."""
    shutil.copytree(world / "thumbnails", tmp_path / "thumbnails")
    shutil.copy(world / "grain.sqlite", tmp_path)
    return tmp_path


@pytest.fixture
def engine(home: Path) -> Engine:
    return open_engine(f"sqlite:///{home / 'grain.sqlite'}")


def classes() -> list[ConceptClass]:
    return [ConceptClass(name, one.descriptions, "toy", "Acme", "2026-09") for name, one in novel_classes(0, 3).items()]


def prepared(engine: Engine, home: Path) -> None:
    """Up to the labels: the leak dropped, classes written."""
    check(engine, home, LeaksConfig("fair", against="seen"))
    now = status_of(engine, "fair")
    for one in now.suspects:
        decide_leak(engine, one.id, "drop" if one.how == "content" else "keep", seen=[""], who="ana")
    save_classes(engine, "fair", classes(), who="ana", expected_version=1, licence="CC-BY-4.0")


def labelled(engine: Engine, *, differs: int = 1) -> None:
    """By Ana as it is, by Bo but for some."""
    for row, image in enumerate(status_of(engine, "fair").kept):
        label_picture(engine, image.id, NAMES[row % CLASSES], who="ana")
        label_picture(engine, image.id, NAMES[(row + (row < differs)) % CLASSES], who="bo")


def picture(engine: Engine, image_id: int) -> Picture:
    """As it is now."""
    return next(one for one in status_of(engine, "fair").images if one.id == image_id)


def said(engine: Engine) -> dict[str, str]:
    return {step.name: step.message for step in status_of(engine, "fair").steps()}


def done(engine: Engine) -> list[str]:
    return [step.name for step in status_of(engine, "fair").steps() if step.done]


def test_an_import_tells_where_pictures_were_found_and_what_is_missing(engine: Engine, world: Path, home: Path) -> None:
    assert said(engine)["pictures"] == "10 pictures; 1 lack where or when they were found: write it down."
    facts = {Path(image.location).name: image.facts for image in status_of(engine, "fair").images}
    assert facts["shop-2.jpg"] == {"found at": "a fair", "found on": "2026-10-03"}
    [missing] = status_of(engine, "fair").unfound
    with pytest.raises(UserError, match="expected the day it was found as 2023-09-12, got 'soon'"):
        set_metadata(engine, missing.id, {"found on": "soon"}, seen={}, who="bo")
    set_metadata(engine, missing.id, {"found on": "2026-10-20"}, seen={}, who="bo")
    again = import_pictures(engine, home, world / "found", dataset="fair", who="ana")
    assert (again.tally.added, again.located, again.problems) == (0, 0, ())
    assert done(engine) == ["pictures"]
    with pytest.raises(UserError, match="found on was changed to '2026-10-20' meanwhile"):
        set_metadata(engine, missing.id, {"found on": "2026-10-21"}, seen={}, who="cy")
    set_metadata(engine, missing.id, {"found at": "a shop"}, seen={"found at": ["", "a blog"]}, who="cy")
    assert picture(engine, missing.id).facts == {"found at": "a shop", "found on": "2026-10-20"}


def test_a_dropped_leak_stays_in_sight_and_comes_back_when_it_is_kept(engine: Engine, home: Path) -> None:
    assert said(engine)["leaks"] == "Not compared with any training data yet: name some."
    check(engine, home, LeaksConfig("fair", against="seen"))
    leak = next(one for one in status_of(engine, "fair").suspects if one.how == "content")
    decide_leak(engine, leak.id, "drop", seen=[""], who="ana")
    now = status_of(engine, "fair")
    [dropped] = [image for image in now.images if image not in now.kept]
    assert dropped.facts and dropped.facts["left out"] == f"{LEAK}: the data set seen"
    with pytest.raises(UserError, match="ana has decided to drop this picture meanwhile: look again"):
        decide_leak(engine, leak.id, "keep", seen=[""], who="bo")
    decide_leak(engine, leak.id, "keep", seen=["", "drop"], who="bo")
    assert len(status_of(engine, "fair").kept) == PICTURES + 1


def test_a_dropped_leak_stays_left_out_until_it_is_kept_whatever_else_was_decided(engine: Engine, home: Path) -> None:
    save_classes(engine, "fair", classes(), who="ana", expected_version=1)
    image_id = next(one.id for one in status_of(engine, "fair").images if one.location.endswith("z-leak.jpg"))

    def settle(name: str) -> dict[str, str]:
        seen = [settled_class(picture(engine, image_id))]
        settle_class(engine, image_id, name, seen=seen, who="cy", reason=BOTH_SEEN)
        return picture(engine, image_id).facts or {}

    assert settle(NONE_OF_THESE)["left out"] == NO_CLASS
    check(engine, home, LeaksConfig("fair", against="seen"))
    leak = next(one for one in status_of(engine, "fair").suspects if one.how == "content")
    decide_leak(engine, leak.id, "drop", seen=[""], who="ana")
    assert (picture(engine, image_id).facts or {})["left out"] == f"{LEAK}: the data set seen; {NO_CLASS}"
    with pytest.raises(UserError, match="left out as a leak: keep it first"):
        settle(NAMES[0])
    decide_leak(engine, leak.id, "keep", seen=["drop"], who="ana")
    assert (picture(engine, image_id).facts or {})["left out"] == NO_CLASS, "what was decided before stands again"
    assert settle(NAMES[0])["class"] == NAMES[0]
    assert len(status_of(engine, "fair").kept) == PICTURES + 1


def test_a_dropped_leak_whose_reason_went_on_another_page_is_no_picture_of_the_set(engine: Engine, home: Path) -> None:
    prepared(engine, home)
    [leak] = [one for one in status_of(engine, "fair").suspects if one.decision == "drop"]
    image = picture(engine, leak.image_id)
    with transaction(engine) as session:
        change = ImageChange(facts={"found at": "a fair", "found on": "2026-10-01"})
        edit_image(session, image_id=image.id, expected_version=image.version, who="bo", change=change)
    with pytest.raises(UserError, match="left out as a leak: keep it first"):
        settle_class(engine, image.id, NAMES[0], seen=[""], who="cy", reason=BOTH_SEEN)
    assert image.id not in {one.id for one in status_of(engine, "fair").kept}
    assert said(engine)["leaks"] == "1 dropped picture lost its mark: drop or keep again."
    decide_leak(engine, leak.id, "drop", seen=["drop"], who="ana")
    assert "leaks" in done(engine)


def test_pictures_that_come_after_a_check_ask_for_another(engine: Engine, home: Path) -> None:
    prepared(engine, home)
    assert "every suspect is decided" in said(engine)["leaks"]
    (home / "later").mkdir()
    (home / "later" / "late.jpg").write_bytes(jpeg(render_scene("novel", seed=1, index=5, classes=3).image))
    import_pictures(engine, home, home / "later", dataset="fair", who="ana")
    assert said(engine)["leaks"] == "Pictures came after a check (1 or more): run it again."


def test_of_two_who_change_the_classes_the_second_is_told_and_nothing_is_lost(engine: Engine) -> None:
    save_classes(engine, "fair", classes(), who="ana", expected_version=1)
    with pytest.raises(UserError, match="ana changed the classes or the licence meanwhile"):
        save_classes(engine, "fair", classes()[:2], who="bo", expected_version=1)
    assert [one.name for one in status_of(engine, "fair").classes] == NAMES
    text = "\n".join(f"{name}: a thing" for name in NAMES)
    assert parse_keeping_facts(text, classes())[0] == ConceptClass(NAMES[0], ("a thing",), "toy", "Acme", "2026-09")
    assert set_class_fact(classes(), NAMES[1], fact="brand", seen=["Acme"], value=" New  Co ")[1].brand == "New Co"
    with pytest.raises(UserError, match="brand was changed to 'Acme' meanwhile"):
        set_class_fact(classes(), NAMES[0], fact="brand", seen=[""], value="New Co")
    with pytest.raises(UserError, match="expected the release date"):
        set_class_fact(classes(), NAMES[1], fact="release date", seen=[""], value="tomorrow")


def test_a_class_that_pictures_have_cannot_go(engine: Engine) -> None:
    save_classes(engine, "fair", classes(), who="ana", expected_version=1)
    label_picture(engine, status_of(engine, "fair").kept[0].id, NAMES[0], who="ana")
    with pytest.raises(UserError, match=f"expected '{NAMES[0]}' among the classes"):
        save_classes(engine, "fair", classes()[1:], who="ana", expected_version=2)
    with pytest.raises(UserError, match="which every labeller can say anyway"):
        save_classes(engine, "fair", [*classes(), ConceptClass("None of these")], who="ana", expected_version=2)
    with pytest.raises(UserError, match="expected one of the classes, got 'nothing such'"):
        label_picture(engine, status_of(engine, "fair").kept[0].id, "nothing such", who="ana")


def test_a_label_that_was_never_a_class_keeps_nobody_from_changing_the_classes(engine: Engine) -> None:
    """Earlier versions took such labels from Label Studio, where anybody can write one."""
    save_classes(engine, "fair", classes(), who="ana", expected_version=1)
    with transaction(engine) as session:
        set_label(session, image_id=status_of(engine, "fair").kept[0].id, who="bo", label="written elsewhere")
    assert save_classes(engine, "fair", classes(), who="ana", expected_version=2, licence="CC0").licence == "CC0"


def test_labels_are_undone_one_by_one_to_what_was_said_before(engine: Engine) -> None:
    save_classes(engine, "fair", classes(), who="ana", expected_version=1)
    first, second, *_ = status_of(engine, "fair").kept
    label_picture(engine, first.id, NAMES[0], who="ana")
    label_picture(engine, second.id, NAMES[0], who="ana")
    label_picture(engine, second.id, NAMES[1], who="ana")
    label_picture(engine, first.id, NAMES[2], who="bo")

    def undo() -> int | None:
        undone = undo_last_label(engine, "fair", who="ana")
        return undone.image_id if undone else None

    assert undo() == second.id
    assert status_of(engine, "fair").labels[second.id] == {"ana": NAMES[0]}
    assert [undo(), undo(), undo()] == [second.id, first.id, None]
    assert status_of(engine, "fair").labels == {first.id: {"bo": NAMES[2]}}


def test_an_undo_brings_back_no_class_that_is_gone(engine: Engine) -> None:
    save_classes(engine, "fair", [*classes(), ConceptClass("doubled")], who="ana", expected_version=1)
    first, second, *_ = status_of(engine, "fair").kept
    for image, name in ((first, "doubled"), (second, NONE_OF_THESE), (first, NAMES[0]), (second, NAMES[1])):
        label_picture(engine, image.id, name, who="ana")
    save_classes(engine, "fair", classes(), who="ana", expected_version=2)
    assert undo_last_label(engine, "fair", who="ana") == UndoneLabel(second.id, label=NONE_OF_THESE)
    assert undo_last_label(engine, "fair", who="ana") == UndoneLabel(first.id, gone="doubled")
    assert status_of(engine, "fair").labels == {second.id: {"ana": NONE_OF_THESE}}
    saved = save_classes(engine, "fair", classes(), who="ana", expected_version=3, licence="CC0")
    assert saved.licence == "CC0", "no label is left that the classes lack"


def test_each_person_is_led_through_all_pictures(engine: Engine) -> None:
    save_classes(engine, "fair", classes(), who="ana", expected_version=1)
    first, second, third, *rest = status_of(engine, "fair").kept
    label_picture(engine, second.id, NAMES[0], who="ana")
    now = status_of(engine, "fair")
    assert [one and one.id for one in (now.next_unlabelled("ana"), now.next_unlabelled("ana", after=first.id))] == [
        first.id,
        third.id,
    ]
    assert now.next_unlabelled("ana", after=rest[-1].id) == now.next_unlabelled("ana"), "the skipped ones come again"
    assert now.labelled == {"ana": 1} and not now.everybody_labelled


def test_what_both_say_is_taken_over_and_the_rest_is_decided_by_somebody(engine: Engine, home: Path) -> None:
    prepared(engine, home)
    with pytest.raises(UserError, match="Two people have to label every picture first"):
        settle_agreed(engine, "fair", "cy")
    labelled(engine)
    assert said(engine)["agreement"] == "9 classes are not settled, 1 of them disputed."
    assert settle_agreed(engine, "fair", "cy") == 8
    now = status_of(engine, "fair")
    [one] = now.disagreements()
    assert one.labels == {"ana": NAMES[0], "bo": NAMES[1]}
    image = next(image for image in now.kept if image.id == one.image_id)
    settle_class(engine, image.id, NAMES[2], seen=[""], who="cy", reason=BOTH_SEEN)
    with pytest.raises(UserError, match=f"class was changed to '{NAMES[2]}' meanwhile"):
        settle_class(engine, image.id, NAMES[1], seen=[""], who="di", reason=BOTH_SEEN)
    for _ in range(2):  # a second press before the answer came
        settle_class(engine, image.id, NAMES[0], seen=["", NAMES[2]], who="cy", reason=BOTH_SEEN)
    assert "agreement" in done(engine)
    facts = next(each.facts for each in status_of(engine, "fair").kept if each.id == image.id)
    assert facts == {
        "found at": "a fair",
        "found on": "2026-10-01",
        "class": NAMES[0],
        "product class": "toy",
        "brand": "Acme",
        "release date": "2026-09",
    }


def test_a_picture_of_none_of_the_classes_is_left_out_and_still_counts_for_agreement(
    engine: Engine, home: Path
) -> None:
    prepared(engine, home)
    labelled(engine, differs=0)
    image = status_of(engine, "fair").kept[0]
    for who in ("ana", "bo"):
        label_picture(engine, image.id, NONE_OF_THESE, who=who)
    settle_agreed(engine, "fair", "cy")
    now = status_of(engine, "fair")
    assert image.id not in {each.id for each in now.kept}
    [left_out] = [each for each in now.images if each.id == image.id]
    assert left_out.facts and left_out.facts["left out"] == NO_CLASS
    assert [(one.pictures, one.kappa) for one in now.agreements()] == [(9, 1.0)]
    settle_class(engine, image.id, NAMES[2], seen=[NONE_OF_THESE], who="cy", reason="looked again")
    assert len(status_of(engine, "fair").kept) == 9


def test_a_corrected_fact_of_a_class_reaches_its_settled_pictures_but_not_what_people_wrote_on_one(
    engine: Engine, home: Path
) -> None:
    prepared(engine, home)
    labelled(engine, differs=0)
    settle_agreed(engine, "fair", "cy")
    plain, by_hand, *_ = [one for one in status_of(engine, "fair").kept if (one.facts or {})["class"] == NAMES[0]]
    with transaction(engine) as session:
        change = ImageChange(facts={**(by_hand.facts or {}), "release date": "2026-01"})
        edit_image(session, image_id=by_hand.id, expected_version=by_hand.version, who="bo", change=change)

    def correct(fact: str, value: str) -> None:
        now = status_of(engine, "fair")
        assert now.concept is not None
        seen = next(one for one in now.classes if one.name == NAMES[0]).facts().get(fact, "")
        changed = set_class_fact(now.classes, NAMES[0], fact=fact, seen=[seen], value=value)
        save_classes(engine, "fair", changed, who="di", expected_version=now.concept.version)

    others = [one for one in status_of(engine, "fair").images if (one.facts or {}).get("class") != NAMES[0]]
    correct("release date", "2026-08-01")
    correct("brand", "")
    assert picture(engine, plain.id).facts == {
        "found at": "a fair",
        "found on": (plain.facts or {})["found on"],
        "class": NAMES[0],
        "product class": "toy",
        "release date": "2026-08-01",
    }
    kept = picture(engine, by_hand.id).facts or {}
    assert kept["release date"] == "2026-01" and "brand" not in kept
    assert [picture(engine, one.id) for one in others] == others
    correct("brand", "New Co")
    assert (picture(engine, by_hand.id).facts or {})["brand"] == "New Co"
    with reading(engine) as session:
        assert history_page(session, image_id=plain.id)[0].who == "di"


def test_a_set_is_frozen_once_nothing_is_missing_and_evaluation_reads_its_export(engine: Engine, home: Path) -> None:
    with pytest.raises(UserError, match="Pictures first: 10 pictures; 1 lack"):
        freeze_set(engine, home, "fair", name="v1", who="ana")
    prepared(engine, home)
    labelled(engine)
    settle_agreed(engine, "fair", "cy")
    with pytest.raises(UserError, match="Agreement first: 1 classes are not settled, 1 of them disputed"):
        freeze_set(engine, home, "fair", name="v1", who="ana")
    now = status_of(engine, "fair")
    [one] = now.disagreements()
    image = next(image for image in now.kept if image.id == one.image_id)
    settle_class(engine, image.id, NAMES[0], seen=[settled_class(image)], who="cy", reason=BOTH_SEEN)
    version = freeze_set(engine, home, "fair", name="v1", who="ana")
    assert "freeze" in done(engine) and version.pictures == 9, "the dropped one is no picture of the test set"
    head = read_version(home, version.sha256).head.concepts
    assert head["classes"][0]["brand"] == "Acme" and head["licence"] == "CC-BY-4.0"
    assert "Cohen's kappa 0.83 [" in head["labelling"][0] and "agreed on 8" in head["labelling"][0]
    assert "1 disputed pictures were decided by a third person, who saw both labels." in head["labelling"]
    image = next(each for each in status_of(engine, "fair").kept if each.id == one.image_id)
    settle_class(engine, image.id, NAMES[1], seen=[NAMES[0]], who="ana", reason=BOTH_SEEN)
    now = status_of(engine, "fair")
    assert now.decided_disagreements() == (0, 1) and now.is_own_decision(image.id)
    own = "1 disputed pictures were decided by one of the two labellers, who saw both labels."
    assert own in frozen_facts(now)["labelling"]
    image = next(each for each in now.kept if each.id == one.image_id)
    settle_class(engine, image.id, NAMES[0], seen=[settled_class(image)], who="cy", reason=BOTH_SEEN)
    assert "10 pictures against the data set seen (3 pictures)" in head["leaks"][0]
    assert "ana" not in json.dumps(head), "people are counted, not named"

    out = home / "out"
    config = ExportConfig("shards", out, dataset="fair", version="v1")
    answer = export(engine, home, config)
    assert answer["pictures"] == {"novel": 9} and answer["left_out"] == {f"{LEAK}: the data set seen": 1}
    assert answer["filter"][-1] == "9 of 10 pictures: 1 has no settled class."
    assert json.loads((out / "classes.json").read_text()) == {one.name: list(one.descriptions) for one in classes()}
    records = list(read_records(find_shards(out, "novel")))
    assert [record.class_name for record in records] == [NAMES[row % 3] for row in range(9)]
    assert find_shards(out, "held_out").images == 0
    card = (out / "README.md").read_text()
    assert [
        words for words in ("Cohen's kappa 0.83", "Licence: CC\\-BY\\-4.0", "1 by content") if words not in card
    ] == []
    assert "Every picture whose class is settled is included" in card and "unreviewed pictures" not in card
    again = {path.name: path.read_bytes() for path in out.iterdir()}
    export(engine, home, config)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == again


def test_an_edit_after_the_freeze_asks_for_another_version(engine: Engine, home: Path) -> None:
    prepared(engine, home)
    labelled(engine, differs=0)
    settle_agreed(engine, "fair", "cy")
    undated = [ConceptClass(one.name, one.descriptions) for one in classes()]
    save_classes(engine, "fair", undated, who="ana", expected_version=2)
    freeze_set(engine, home, "fair", name="v1", who="ana")
    now = status_of(engine, "fair")
    assert now.concept is not None
    save_classes(engine, "fair", now.classes, who="bo", expected_version=now.concept.version, licence="CC0")
    assert said(engine)["freeze"] == "Changed since version v1: freeze it again."
    assert freeze_set(engine, home, "fair", name="v2", who="ana").sha256 != now.versions[0].sha256


def test_no_folder_no_data_set_and_a_broken_table_are_said_in_one_sentence(engine: Engine, home: Path) -> None:
    with pytest.raises(UserError, match="expected a folder of pictures with their metadata"):
        import_pictures(engine, home, home / "nowhere", dataset="fair", who="ana")
    with pytest.raises(UserError, match="expected the name of a data set, got 'nowhere'"):
        status_of(engine, "nowhere")
    (home / "broken").mkdir()
    (home / "broken" / "metadata.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="expected a column file_name"):
        import_pictures(engine, home, home / "broken", dataset="other", who="ana")
    with pytest.raises(UserError, match="got 'other', which none has"):
        status_of(engine, "other")


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["curation.concepts", *words])
    runpy.run_module("curation.concepts", run_name="__main__", alter_sys=True)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_the_command_line_brings_pictures_and_classes_and_says_how_the_set_stands(
    engine: Engine, world: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAIN_HOME", str(home))
    file = home / "classes.json"
    file.write_text(json.dumps({name: ["a thing"] for name in NAMES}))
    config = concepts.ConceptsConfig(str(world / "found"), "fair", file, licence="CC0", who="di")
    run(concepts.command_line(config)[2:], monkeypatch)
    answer = json.loads(capsys.readouterr().out)
    assert (answer["known"], answer["located"], answer["steps"]["classes"]["done"]) == (10, 0, True)
    assert [one.name for one in status_of(engine, "fair").classes] == NAMES
    with pytest.raises(SystemExit, match=r"curation\.concepts: expected the name of a data set, got 'none'"):
        run(["--dataset=none"], monkeypatch)
