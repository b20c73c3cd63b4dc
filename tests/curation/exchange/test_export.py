"""Exports: training reads the shards as they are, what is written is whole, and everything comes back in."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from curation.data_sets.rename import rename
from curation.exchange.annotation_files import read_file
from curation.exchange.export import command_line, export
from curation.exchange.export_config import ExportConfig
from curation.exchange.export_mark import read_mark
from curation.exchange.export_selection import split_of
from curation.exchange.formats import FORMATS, LOST, Format
from curation.exchange.import_annotations import ImportAnnotationsConfig, import_file, import_records
from curation.exchange.import_annotations import command_line as bring_command
from curation.exchange.unreadable import MOST_REMEMBERED, files_unchanged
from curation.files.image_files import plain_kind
from curation.files.records import (
    WRITTEN_CAPTION,
    DescriptionRecord,
    PictureRecord,
    RegionRecord,
    Status,
    captions_in,
    with_captions,
)
from curation.ingest.ingest import ingest
from curation.versions.versions import freeze, open_version
from db.engine import Engine, reading, transaction
from db.models import Image as ImageRow
from db.queries.curate_queries import edit_image, set_status
from db.queries.data_set_queries import NewImage, add_images, create_dataset, image_page
from db.queries.edit_values import ImageChange
from db.queries.lease_queries import lease_images
from db.queries.stage_result_queries import NewStageResult, save_stage_result
from grain.data.loader import find_shards, read_records
from grain.evaluate.evaluate import EvaluateConfig, evaluate
from grain.model.pretrained import ModelCard, save_pretrained
from tests.support.curated import BOX, TURNED, all_regions, curated
from tests.support.paths import ROOT
from tests.support.source_files import encoded
from tests.support.tiny import tiny_config, tiny_model
from user_errors import UserError

SECRET = "sk-5ecre7-of-the-operator"


def exported(
    engine: Engine, home: Path, format: Format, out: str = "out", **options: Any
) -> tuple[Path, dict[str, Any]]:
    config = ExportConfig(format=format, out=home / out, **({"dataset": "lids"} | options))
    return home / out, export(engine, home, config)


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def lids(sqlite_engine: Engine, tmp_path: Path) -> Engine:
    """The data set "lids", its pictures in tmp_path/pictures."""
    curated(sqlite_engine, tmp_path / "pictures")
    return sqlite_engine


# ------------------------------------------------------------------------------------ shards for training


def test_training_reads_the_shards_with_no_change(engine: Engine, tmp_path: Path) -> None:
    curated(engine, tmp_path / "pictures", 30)
    out, answer = exported(engine, tmp_path, "shards", held_out=0.3, shard_images=4, novel=False)
    splits = {name: find_shards(out, name) for name in ("train", "held_out")}
    assert {name: shards.images for name, shards in splits.items()} == answer["pictures"]
    assert sum(answer["pictures"].values()) == 31 and all(count > 3 for count in answer["pictures"].values())
    records = [(name, record) for name, shards in splits.items() for record in read_records(shards)]
    empty = [record for _, record in records if not record.boxes_xyxy]
    assert len(records) == 31 and len(empty) == 1, "reviewed and empty goes, not looked at stays"
    for _, record in records:
        if record not in empty:
            assert record.boxes_xyxy == (BOX, BOX), "exactly as in the database"
            assert record.texts[0] == "крышка" and record.texts[1].startswith("a lid ")
            assert record.class_name == "lid"
        assert record.caption.startswith("caption of\n")
    trained = f"{splits['train'].images} pictures of the data set lids, described by owlv2@1, 1 person"
    assert splits["train"].trained_on == trained, "without those that are held out"


def test_the_turned_picture_is_upright_and_the_see_through_one_lies_on_white(lids: Engine, tmp_path: Path) -> None:
    out, answer = exported(lids, tmp_path, "shards", held_out=0.0, novel=False)
    sizes = {record.image.size: record.image for record in read_records(find_shards(out, "train"))}
    assert set(sizes) == {(40, 30), (30, 40), (20, 10)} and answer["encoded_anew"] == 2
    assert sizes[(20, 10)].getpixel((5, 5)) == pytest.approx((135, 229, 135), abs=4)
    out, answer = exported(lids, tmp_path, "imagefolder", "folder")
    assert answer["encoded_anew"] == 1, "a PNG is for everybody"
    pictures = {record.file_name: record for record in read_file(out, "imagefolder")}
    for name, record in pictures.items():
        with Image.open(out / name) as image:
            assert image.size == (record.width, record.height) and image.getexif().get(274, 1) == 1
        copied = hashlib.sha256((out / name).read_bytes()).hexdigest() == record.sha256
        assert copied != name.rpartition("/")[2].startswith("turned-")


def test_pictures_of_a_class_are_what_an_evaluation_asks_for_and_not_trained_on(lids: Engine, tmp_path: Path) -> None:
    out, answer = exported(lids, tmp_path, "shards")
    assert answer["pictures"] == {"novel": 6, "train": 1} and (answer["classes"], answer["class_list"]) == (1, False)
    novel = list(read_records(find_shards(out, "novel")))
    assert {record.class_name for record in novel} == {"lid"}
    assert all(record.class_name is None for record in read_records(find_shards(out, "train")))
    classes = json.loads((out / "classes.json").read_text())
    assert list(classes) == ["lid"] and classes["lid"][0] == "крышка" and len(classes["lid"]) == 7
    assert "flatters" in (out / "README.md").read_text()
    config = tiny_config()
    save_pretrained(tiny_model(config), config, tmp_path / "model", card=ModelCard("tiny", "nothing"))
    asked = EvaluateConfig(data_sets=(str(out),), out=tmp_path / "seen", models=(str(tmp_path / "model"),))
    [seen] = evaluate(asked)["data_sets"]
    assert (seen["pictures"], seen["classes"], seen["rows"][0]["top1"][0]) == (6, 1, 1.0)
    mine = tmp_path / "mine.json"
    mine.write_text('{"handle": ["a thing to hold"], "lid": ["a round thing"]}')
    out, answer = exported(lids, tmp_path, "shards", classes=mine)
    assert json.loads((out / "classes.json").read_text()) == json.loads(mine.read_text()) and answer["class_list"]
    exported(lids, tmp_path, "shards", novel=False)
    assert not (out / "classes.json").exists(), "of an earlier export"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"handle": []}', "expected the class 'lid' in the class list, which a picture shows: add it"),
        ('{"lid": "round"}', "expected {name: [description, …]} in"),
        ("lid", "got nothing that can be read"),
    ],
)
def test_a_class_list_that_does_not_suit_is_refused(lids: Engine, tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(UserError) as refusal:
        exported(lids, tmp_path, "shards", classes=tmp_path / "mine.json")
    assert sentence in str(refusal.value) and not (tmp_path / "out" / "manifest.json").exists()


def test_a_picture_stays_in_its_split() -> None:
    shares = [split_of(hashlib.sha256(bytes([n % 256, n // 256])).hexdigest(), 0.1) for n in range(2000)]
    assert 150 < shares.count("held_out") < 250
    few = {
        n for n in range(2000) if split_of(hashlib.sha256(bytes([n % 256, n // 256])).hexdigest(), 0.05) == "held_out"
    }
    assert few <= {n for n, split in enumerate(shares) if split == "held_out"}
    assert split_of("0" * 64, 0.0) == "train"


def test_what_goes_is_a_question_of_verdicts_and_review(lids: Engine, tmp_path: Path) -> None:
    _, answer = exported(lids, tmp_path, "coco")
    assert (answer["pictures"], answer["regions"], answer["descriptions"]) == ({"all": 7}, 6, 12)
    _, answer = exported(lids, tmp_path, "coco", "all", unreviewed=True)
    assert (answer["pictures"], answer["regions"]) == ({"all": 8}, 6)
    _, answer = exported(lids, tmp_path, "coco", "rejected", statuses=("rejected", "pending"))
    assert (answer["pictures"], answer["regions"]) == ({"all": 8}, 8)


@pytest.mark.parametrize(("caption", "said"), [("none", ""), ("descriptions", "a lid 3, крышка")])
def test_captions_are_what_was_asked_for(lids: Engine, tmp_path: Path, caption: Any, said: str) -> None:
    out, _ = exported(lids, tmp_path, "odvg", caption=caption)
    assert next(record.caption for record in read_file(out, "odvg")) == said


@pytest.mark.parametrize(("caption", "further"), [("picture", ("second", "third")), ("descriptions", ())])
def test_all_captions_of_a_picture_go_into_shards_unless_another_is_asked_for(
    lids: Engine, tmp_path: Path, caption: Any, further: tuple[str, ...]
) -> None:
    with transaction(lids) as session:
        image = session.get_one(ImageRow, 3)
        own, facts = with_captions(image.caption, image.facts or {}, ("second", "third"))
        change = ImageChange(facts=facts)
        edit_image(session, image_id=3, expected_version=image.version, who="ana", change=change)
    out, _ = exported(lids, tmp_path, "shards", novel=False, held_out=0, caption=caption)
    found = [record for record in read_records(find_shards(out, "train")) if record.captions]
    assert [record.captions for record in found] == [further] * bool(further)
    assert all(record.caption == own for record in found)
    back = [record for record in read_file(out, "shards") if captions_in(record.facts)]
    assert [captions_in(record.facts) for record in back] == [["second", "third"]], "they are facts, too"


def test_a_describers_caption_goes_beside_the_pictures_own(lids: Engine, tmp_path: Path) -> None:
    for recipe, caption in (("1" * 64, "an earlier one"), ("2" * 64, "a lid, seen from above"), ("3" * 64, "")):
        with transaction(lids) as session:
            claim = lease_images(session, dataset_id=1, recipe=recipe, worker="w", count=1, lease_seconds=60, after=2)
            [image] = claim.images
            said = NewStageResult(1, image.id, recipe, recipe, "describe", "llava@1", "done", caption=caption)
            save_stage_result(session, result=said, token=claim.token)
    own, written = f"caption of\n{Path(image.location).name}", "a lid, seen from above"
    out, _ = exported(lids, tmp_path, "shards", novel=False, held_out=0)
    records = {record.written_caption: record.caption for record in read_records(find_shards(out, "train"))}
    assert records[written] == own and set(records) == {written, ""}
    frozen = freeze(lids, tmp_path, dataset="lids", name="with captions", who="ana")
    state = open_version(lids, tmp_path, version=frozen.sha256)
    facts = [record.facts.get(WRITTEN_CAPTION) for record in state]
    assert facts.count(written) == 1 and facts.count(None) == 7
    out, _ = exported(lids, tmp_path, "odvg", "written", caption="written")
    assert {record.caption for record in read_file(out, "odvg")} == {written, ""}
    out, _ = exported(lids, tmp_path, "label-studio", "tasks")
    tasks = json.loads((out / "tasks.json").read_text())
    assert any(written in json.dumps(task["data"]) for task in tasks)


# ------------------------------------------------------------------------------------ whole, and the same


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_state_gives_the_same_bytes(lids: Engine, tmp_path: Path, format: Format) -> None:
    one, answer = exported(lids, tmp_path, format, "one")
    two, _ = exported(lids, tmp_path, format, "two")
    assert files_of(one) == files_of(two)
    _, again = exported(lids, tmp_path, format, "one")
    assert files_of(one) == files_of(two) and {**answer, "seconds": 0} == {**again, "seconds": 0}
    assert json.loads((one / "export.json").read_text())["state"] == "complete"
    assert not [name for name in files_of(one) if "/." in f"/{name}"], "nothing half done is left"


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_tells_nothing_of_where_it_was_made_and_no_key(
    lids: Engine, tmp_path: Path, format: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("OPENAI_API_KEY", "GRAIN_KEY_LLAVA", "GRAIN_LABEL_STUDIO_TOKEN", "HF_TOKEN"):
        monkeypatch.setenv(variable, SECRET)
    out, _ = exported(lids, tmp_path, format)
    for name, content in files_of(out).items():
        assert str(tmp_path).encode() not in content and SECRET.encode() not in content, name


def test_a_frozen_version_is_exported_as_it_was(lids: Engine, tmp_path: Path) -> None:
    version = freeze(lids, tmp_path, dataset="lids", name="v1", who="ana")
    one, first = exported(lids, tmp_path, "coco", "one", version="v1")
    two, _ = exported(lids, tmp_path, "coco", "two", dataset="", version=version.sha256)
    now, third = exported(lids, tmp_path, "coco", "now")
    assert files_of(one)["annotations.json"] == files_of(two)["annotations.json"] == files_of(now)["annotations.json"]
    assert first["state_sha256"] == version.sha256 == third["state_sha256"]
    assert open_version(lids, tmp_path, version=version.sha256).pictures == 8, "an export leaves the version alone"


def test_an_earlier_export_makes_room_for_what_is_in_it_now(lids: Engine, tmp_path: Path) -> None:
    out, _ = exported(lids, tmp_path, "imagefolder", unreviewed=True)
    before = set(files_of(out / "images"))
    exported(lids, tmp_path, "imagefolder")
    assert len(before - set(files_of(out / "images"))) == 1
    exported(lids, tmp_path, "shards", "shards", shard_images=1)
    shards, _ = exported(lids, tmp_path, "shards", "shards", shard_images=100)
    assert len(list(shards.glob("*.tar"))) <= 2


def test_a_folder_that_holds_something_else_is_left_alone(lids: Engine, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years")
    with pytest.raises(UserError, match=r"holds 'thesis.tex': choose another --out"):
        exported(lids, tmp_path, "coco", "full")
    exported(lids, tmp_path, "coco", "coco")
    with pytest.raises(UserError, match="earlier export of 'lids' as odvg"):
        exported(lids, tmp_path, "odvg", "coco")
    with pytest.raises(UserError, match="the name of a data set, got 'pots'"):
        exported(lids, tmp_path, "odvg", "new", dataset="pots")
    assert (tmp_path / "full" / "thesis.tex").read_text() == "years" and not (tmp_path / "new").exists()


def test_a_half_export_of_a_data_set_of_another_name_by_now_is_replaced_and_a_finished_one_is_not(
    lids: Engine, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        raise RuntimeError("stopped")

    for folder, name in (("half", "lids"), ("theirs", "cups")):
        if name == "cups":
            curated(lids, tmp_path / "pictures", name=name)
        with pytest.raises(RuntimeError, match="stopped"):
            export(lids, tmp_path, ExportConfig("coco", tmp_path / folder, dataset=name), on_progress=stop)
    exported(lids, tmp_path, "coco", "finished")
    before = files_of(tmp_path / "finished")
    rename(lids, tmp_path, dataset="lids", name="pots")
    out, answer = exported(lids, tmp_path, "coco", "half", dataset="pots")
    assert answer["dataset"] == "pots" and (out / "annotations.json").is_file()
    for out_name in ("finished", "theirs"):
        with pytest.raises(UserError, match="earlier export of 'pots' as coco"):
            exported(lids, tmp_path, "coco", out_name, dataset="pots")
    with pytest.raises(UserError, match="earlier export of 'pots' as odvg"):
        exported(lids, tmp_path, "odvg", "half", dataset="pots")
    assert files_of(tmp_path / "finished") == before


def test_a_finished_export_of_a_version_is_made_again_under_the_data_sets_new_name(
    lids: Engine, tmp_path: Path
) -> None:
    sha256 = freeze(lids, tmp_path, dataset="lids", name="first", who="ana").sha256
    exported(lids, tmp_path, "shards", version=sha256, dataset="")
    rename(lids, tmp_path, dataset="lids", name="pots")
    _, answer = exported(lids, tmp_path, "shards", version=sha256, dataset="")
    assert answer["dataset"] == "pots"


def test_many_pictures_that_cannot_be_read_are_not_remembered_one_by_one(lids: Engine, tmp_path: Path) -> None:
    for name, count in (("few", 2), ("many", MOST_REMEMBERED + 1)):
        with transaction(lids) as session:
            number = create_dataset(session, name=name).id
            images = [NewImage(f"{n:064x}", 4, 3, str(tmp_path / f"{n}.jpg")) for n in range(count)]
            add_images(session, dataset_id=number, images=images)
        out, answer = exported(lids, tmp_path, "shards", name, dataset=name, unreviewed=True)
        assert sum(answer["left_out"].values()) == count
        remembered = read_mark(out)["unreadable"]
        assert len(remembered) == (2 if name == "few" else 0)
        assert files_unchanged(lids, dataset_id=number, stamps=remembered) is (name == "few")


def test_a_picture_that_is_gone_is_counted_and_left_out(lids: Engine, tmp_path: Path) -> None:
    (tmp_path / "pictures" / "plain.png").unlink()
    (tmp_path / "pictures" / "деталь 3.jpg").write_bytes(b"other")
    for format in FORMATS:
        out, answer = exported(lids, tmp_path, format, format, held_out=0.0)
        assert sum(answer["pictures"].values()) == 5 and answer["regions"] == 4
        assert sorted(answer["left_out"].values()) == [1, 1]
        assert len(list(read_file(out, format))) == (4 if "empty" in LOST[format] else 5)  # one is empty
        assert "no longer where it was imported from" in (out / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(
    lids: Engine, tmp_path: Path, small_disk: Path, format: Format
) -> None:
    stopped = 0
    for pages in (0, 1, 2, 4, 6, 9, 12):
        filler, out = small_disk / "filler", f"{small_disk.name}/{pages}"
        free = os.statvfs(small_disk)
        filler.write_bytes(bytes(free.f_bavail * free.f_bsize - pages * 4096))
        try:
            exported(lids, small_disk.parent, format, out)
        except UserError as error:
            stopped += 1
            assert str(error) == (
                f"The disk is full: free some space on {small_disk / str(pages)} and try again; "
                "the export is not complete until then."
            )
            mark = small_disk / str(pages) / "export.json"
            assert not mark.exists() or "complete" not in mark.read_text()
        filler.unlink()
        _, answer = exported(lids, small_disk.parent, format, out)
        assert answer["regions"] == 6
        shutil.rmtree(small_disk / str(pages))
    assert stopped >= 4


@pytest.mark.slow
@pytest.mark.parametrize("format", ["shards", "imagefolder"])
def test_killed_at_any_moment_the_same_command_makes_it_whole(
    sqlite_engine: Engine, tmp_path: Path, format: Format
) -> None:
    curated(sqlite_engine, tmp_path / "pictures", 400)
    config = ExportConfig(format=format, out=tmp_path / "killed", dataset="lids", home=tmp_path, shard_images=20)
    environment = {**os.environ, "GRAIN_DATABASE_URL": sqlite_engine.url.render_as_string(hide_password=False)}
    moments = 0
    for pictures in (1, 30, 80):  # of 400
        process = subprocess.Popen(
            [sys.executable, *command_line(config)], cwd=ROOT, env=environment, stdout=-3, stderr=-3
        )
        while process.poll() is None and count_written(config.out) < pictures:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.002)
        process.send_signal(signal.SIGKILL)
        moments += process.wait() == -signal.SIGKILL
        if moments:
            assert not (config.out / ("manifest.json" if format == "shards" else "metadata.jsonl")).exists()
    assert moments == 3
    export(sqlite_engine, tmp_path, config)
    whole, _ = exported(sqlite_engine, tmp_path, format, "whole", shard_images=20)
    assert files_of(config.out) == files_of(whole)


def count_written(out: Path) -> int:
    files = sum(len(names) for _, _, names in os.walk(out / "images"))  # passes over what goes away meanwhile
    return 20 * len(list(out.glob("*.tar"))) + files


# ------------------------------------------------------------------------------------ back in


def annotated(engine: Engine, dataset_id: int) -> list[tuple[Any, ...]]:
    """What an export of accepted descriptions carries into another data set."""
    rows = all_regions(engine, dataset_id)
    first = {row.id: row for row in rows}
    return sorted(
        (
            row.x1,
            row.y1,
            row.x2,
            row.y2,
            row.text,
            row.status,
            row.score,
            row.source,
            first[row.box_id or row.id].text,
        )
        for row in rows
    )


def test_verdicts_that_a_version_does_not_hold_are_refused_before_anything_is_written(
    lids: Engine, tmp_path: Path
) -> None:
    freeze(lids, tmp_path, dataset="lids", name="v1", who="ana")
    with pytest.raises(UserError, match="v1 holds accepted only, got pending: "):
        exported(lids, tmp_path, "coco", version="v1", statuses=("pending",), unreviewed=True)
    assert not (tmp_path / "coco").exists()


def test_a_place_that_cannot_be_is_one_sentence(lids: Engine, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"can be written for --out, got /proc/lids \(.*\): choose another$"):
        exported(lids, tmp_path, "coco", "/proc/lids")
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, format, words in (
        (tmp_path / "nope", "coco", f"expected a file or folder, got {tmp_path / 'nope'}, where nothing is"),
        (tmp_path / "nope", "shards", "where nothing is: correct the path"),
        (empty, "parquet", f"expected an export as parquet with its data.parquet, got the folder {empty} without one"),
    ):
        with pytest.raises(UserError, match=words):
            import_file(lids, dataset="lids", path=path, format=format, who="cy")  # type: ignore[arg-type]


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_comes_back_into_a_bare_data_set(engine: Engine, tmp_path: Path, format: Format) -> None:
    full = curated(engine, tmp_path / "pictures")
    out, _ = exported(engine, tmp_path, format, statuses=("accepted", "pending", "rejected"))
    bare = curated(engine, tmp_path / "pictures", name="bare", described=False)
    brought = import_file(engine, dataset="bare", path=out, format=format, who="cy")
    pictures = 7 if "empty" in LOST[format] else 8  # one is empty
    assert (brought.pictures, brought.added, brought.known, brought.not_found) == (pictures, 20, 0, 0)
    again = import_file(engine, dataset="bare", path=out, format=format, who="cy")
    assert (again.added, again.known, again.edited_pictures) == (0, 20, 0)
    if "status" in LOST[format]:
        assert {row.status for row in all_regions(engine, bare)} == {"pending"}
        assert {row.source for row in all_regions(engine, bare)} == {"import:out"}
        return
    assert annotated(engine, bare) == annotated(engine, full)
    with reading(engine) as session:
        pages = [image_page(session, dataset_id=number) for number in (full, bare)]
    known, brought_in = ([(i.review, i.facts, i.caption) for i in page] for page in pages)
    assert known == brought_in


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_comes_back_with_its_own_pictures_also_those_encoded_again(
    lids: Engine, tmp_path: Path, format: Format
) -> None:
    with transaction(lids) as session:
        image = image_page(session, dataset_id=1)[-1]
        facts = {**(image.facts or {}), "caption 2": "another"}  # the import of the pictures finds it too
        change = ImageChange(facts=facts)
        edit_image(session, image_id=image.id, expected_version=image.version, who="ana", change=change)
    out, answer = exported(lids, tmp_path, format, statuses=("accepted", "pending", "rejected"))
    assert answer["encoded_anew"] > 0
    tally = ingest(lids, tmp_path / out.name, dataset="moved", home=tmp_path, processes=1)
    assert (tally.added, tally.refused.total()) == (8, 0), "what it wrote beside the pictures is none"
    brought = import_file(lids, dataset="moved", path=out, format=format, who="cy")
    pictures = 7 if "empty" in LOST[format] else 8  # one is empty
    assert (brought.pictures, brought.added, brought.not_found) == (pictures, 20, 0)
    if "status" not in LOST[format]:
        with reading(lids) as session:
            pages = [image_page(session, dataset_id=number) for number in (1, 2)]
        before, after = (sorted((i.caption, i.review, sorted((i.facts or {}).items())) for i in page) for page in pages)
        assert after == before


def test_what_the_data_set_has_is_known_and_never_overruled(lids: Engine, tmp_path: Path) -> None:
    out, _ = exported(lids, tmp_path, "coco", statuses=("accepted", "pending", "rejected"))
    before = [(row.id, row.version, row.status) for row in all_regions(lids, 1)]
    text = (out / "annotations.json").read_text(encoding="utf-8")
    (out / "annotations.json").write_text(text.replace('"rejected"', '"accepted"'), encoding="utf-8")
    brought = import_file(lids, dataset="lids", path=out, format="coco", who="cy")
    assert (brought.added, brought.known) == (0, 20)
    assert [(row.id, row.version, row.status) for row in all_regions(lids, 1)] == before


def test_annotations_that_people_made_come_as_accepted_also_those_that_came_pending_before(lids: Engine) -> None:
    def region(*texts: tuple[str, Status]) -> RegionRecord:
        return RegionRecord((0.0, 0.0, 0.5, 0.5), tuple(DescriptionRecord(text, status) for text, status in texts))

    picture = PictureRecord("", 40, 30, "деталь 2.jpg", regions=(region(("a lid", "pending"), ("no lid", "rejected")),))
    import_records(lids, "lids", [picture], who="cy", source="import:boxes")
    told = replace(picture, regions=(*picture.regions, region(("its rim", "pending"), ("a rim", "pending"))))
    by_text = {row.text: row for row in all_regions(lids, 1) if row.source == "import:boxes"}
    assert {text: row.status for text, row in by_text.items()} == {"a lid": "pending", "no lid": "rejected"}
    brought = import_records(lids, "lids", [told], who="cy", source="import:boxes", accept=True)
    assert (brought.added, brought.known, brought.accepted) == (2, 2, 1)
    by_text = {row.text: row for row in all_regions(lids, 1) if row.source == "import:boxes"}
    accepted = dict.fromkeys(("a lid", "its rim", "a rim"), "accepted")
    assert {text: row.status for text, row in by_text.items()} == accepted | {"no lid": "rejected"}
    lid = by_text["a lid"]
    with transaction(lids) as session:
        set_status(session, region_id=lid.id, expected_version=lid.version, who="ana", status="pending")
    again = import_records(lids, "lids", [told], who="cy", source="import:boxes", accept=True)
    assert (again.added, again.known, again.accepted) == (0, 4, 0), "ana has reopened it: hers is the last word"


def test_pictures_are_found_by_content_or_by_a_name_that_only_one_has(lids: Engine) -> None:
    region = RegionRecord((0.0, 0.0, 0.5, 0.5), (DescriptionRecord("new"),))
    bare = PictureRecord("", 40, 30, "elsewhere/деталь 2.jpg", regions=(region,))
    brought = import_records(
        lids, "lids", [bare, replace(bare, file_name="no such.jpg"), replace(bare, sha256="0" * 64)], who="cy"
    )
    assert (brought.pictures, brought.added, brought.not_found) == (1, 1, 2)
    assert brought.examples == ["no such.jpg", "elsewhere/деталь 2.jpg"]
    with pytest.raises(ValueError, match="import the pictures first"):
        import_records(lids, "pots", [bare], who="cy")


def test_a_malformed_file_adds_nothing(lids: Engine, tmp_path: Path) -> None:
    out, _ = exported(lids, tmp_path, "odvg", statuses=("accepted", "pending", "rejected"))
    path = out / "annotations.jsonl"
    path.write_text(
        path.read_text(encoding="utf-8").replace("a lid", "other lid") + '{"filename": 7}\n', encoding="utf-8"
    )
    before = len(all_regions(lids, 1))
    with pytest.raises(UserError, match=r"annotations.jsonl, line 8: expected"):
        import_file(lids, dataset="lids", path=path, format="odvg", who="cy")
    assert len(all_regions(lids, 1)) == before


# ------------------------------------------------------------------------------------ card, command line, files


def test_the_card_says_what_it_is_and_leaves_the_licence_to_people(lids: Engine, tmp_path: Path) -> None:
    out, _ = exported(lids, tmp_path, "odvg")
    said = (out / "README.md").read_text(encoding="utf-8")
    for words in ("# lids", "| regions | 6 |", "owlv2@1: 6 descriptions", "people: 6 descriptions", "1 person wrote"):
        assert words.replace("@", "@") in said, words
    assert "has no place for verdicts: 12 descriptions lose theirs" in said
    assert "To be filled in" in said and "human:bo" not in said


@pytest.mark.slow
def test_the_command_line_prints_losses_first_and_an_object(lids: Engine, tmp_path: Path) -> None:
    environment = {**os.environ, "GRAIN_DATABASE_URL": lids.url.render_as_string(hide_password=False)}
    config = ExportConfig(format="odvg", out=tmp_path / "out", dataset="lids", home=tmp_path)
    run = [sys.executable, *command_line(config)]
    done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["pictures"] == {"all": 7} and "ODVG has no place for verdicts" in done.stderr
    assert answer["losses"] and all(sentence in done.stderr for sentence in answer["losses"])
    bring = ImportAnnotationsConfig(tmp_path / "out", dataset="lids", format="odvg", home=tmp_path)
    done = subprocess.run(
        [sys.executable, *bring_command(bring)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["pictures"] == 6, "one is empty"
    wrong = [sys.executable, *command_line(replace(config, dataset="pots", out=tmp_path / "no"))]
    done = subprocess.run(wrong, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith(
        "curation.exchange.export: expected the name"
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"dataset": ""}, "neither"),
        ({"statuses": ()}, "one status or more"),
        ({"held_out": 1.0}, "share from 0"),
        ({"shard_images": 0}, "one picture or more"),
    ],
)
def test_a_config_that_cannot_be_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ExportConfig(format="coco", out=Path("x"), **({"dataset": "lids"} | options))


def test_only_files_that_everybody_reads_alike_are_copied() -> None:
    def xmp(turn: int) -> bytes:
        return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{turn}"/></x:xmpmeta>'.encode()

    def in_png(tags: bytes, packed: bool) -> PngInfo:
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", tags.decode(), zip=packed)
        return info

    rgb = Image.new("RGB", (8, 8))
    upright, level = Image.Exif(), Image.Exif()
    upright[274] = 1
    level[271] = "a camera"
    plain = {
        ".jpg": [encoded(rgb, "JPEG"), encoded(rgb.convert("L"), "JPEG", progressive=True)],
        ".png": [encoded(rgb)],
        ".webp": [encoded(rgb, "WEBP")],
        ".gif": [encoded(rgb, "GIF")],
        ".bmp": [encoded(rgb, "BMP")],
    }
    plain[".jpg"] += [
        encoded(rgb, "JPEG", exif=upright),
        encoded(rgb, "JPEG", exif=level),
        encoded(rgb, "JPEG", xmp=xmp(1)),
    ]
    plain[".webp"].append(encoded(rgb, "WEBP", xmp=xmp(1)))
    for suffix, contents in plain.items():
        assert [plain_kind(content) for content in contents] == [suffix] * len(contents)
    odd = [
        encoded(rgb, "JPEG", exif=TURNED),
        encoded(rgb.convert("CMYK"), "JPEG"),
        encoded(rgb, exif=TURNED),
        encoded(rgb, "WEBP", exif=TURNED),
        *(encoded(rgb, kind, xmp=xmp(6)) for kind in ("JPEG", "WEBP")),
        *(encoded(rgb, pnginfo=in_png(xmp(6), packed)) for packed in (False, True)),
        encoded(rgb, "TIFF"),
        b"\xff\xd8\xff\xe1\xff",
        b"",
    ]
    assert [plain_kind(content) for content in odd] == [""] * len(odd)


def test_no_format_writes_cells_that_a_spreadsheet_runs(lids: Engine, tmp_path: Path) -> None:
    """`=cmd()` travels as text in JSON; no CSV is written, in which it would have to be changed."""
    for format in FORMATS:
        out, _ = exported(lids, tmp_path, format, format, statuses=("rejected",))
        assert not list(out.rglob("*.csv")) and not list(out.rglob("*.tsv"))
    assert next(csv.reader(io.StringIO("=cmd()"))) == ["=cmd()"]
