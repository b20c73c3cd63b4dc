"""Frozen versions: the same state is the same file, a changed file is refused, and differences are told."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import stat
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from curation.files.records import Status, from_json, to_json
from curation.versions import versions
from curation.versions.diff import last_editor, picture_differences
from curation.versions.state import name_of, record_of
from curation.versions.versions import (
    check_statuses,
    freeze,
    open_version,
    read_version,
    version_path,
    write_current_state,
)
from db.engine import Engine, reading, transaction
from db.models import Image, RegionRow
from db.queries.curate_queries import delete_region, edit_image, edit_region
from db.queries.data_set_queries import get_dataset, get_image, image_page
from db.queries.edit_values import ImageChange, RegionChange
from db.queries.version_queries import list_versions
from tests.support.curated import BOX, all_regions, curated
from user_errors import DiskFullError, UserError, WriteError

ALL: tuple[Status, ...] = ("pending", "accepted", "rejected")


def test_freezing_the_same_state_twice_makes_one_version(engine: Engine, tmp_path: Path) -> None:
    curated(engine, tmp_path / "pictures")
    one = freeze(engine, tmp_path, dataset="lids", name="first", who="ana")
    path = version_path(tmp_path, one.sha256)
    before = path.read_bytes(), path.stat().st_mtime_ns
    other = freeze(engine, tmp_path, dataset="lids", name="first", who="bo")
    assert (other.id, other.name, other.sha256, other.created_by) == (one.id, "first", one.sha256, "ana")
    with pytest.raises(UserError, match="for 'second', got the one that is 'first' already: use that name"):
        freeze(engine, tmp_path, dataset="lids", name="second", who="bo")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [entry.name for entry in (tmp_path / "versions").iterdir()] == [path.name] == [one.file_name]
    assert hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == one.sha256
    assert (one.pictures, one.regions, one.created_by) == (8, 6, "ana")


def test_a_version_holds_every_picture_with_the_descriptions_of_its_statuses(engine: Engine, tmp_path: Path) -> None:
    curated(engine, tmp_path / "pictures")
    version = freeze(engine, tmp_path, dataset="lids", name="v1", who="ana", statuses=ALL)
    frozen = open_version(engine, tmp_path, dataset="lids", version="v1")
    records = list(frozen)
    assert records == list(frozen), "it can be gone through again"
    assert [record.id for record in records] == sorted(record.id for record in records)
    assert (frozen.sha256, frozen.pictures, frozen.regions, frozen.descriptions) == (version.sha256, 8, 14, 20)
    assert Counter(record.review for record in records) == {"empty": 1, "open": 1, "reviewed": 6}
    lid = records[2].regions[0]
    assert lid.xyxy == BOX and records[2].facts == {"class": "lid"}
    assert [(one.text, one.source, one.version) for one in lid.descriptions] == [
        (f"a lid {records[2].id}", "owlv2@1", 1),
        ("крышка", "human:bo", 1),
    ]
    assert [(one.status, one.editor) for one in records[2].regions[1].descriptions] == [("rejected", "ana")]
    accepted = freeze(engine, tmp_path, dataset="lids", name="v2", who="ana")
    assert accepted.sha256 != version.sha256 and accepted.regions == 6


def test_a_version_that_is_not_what_it_was_is_refused(sqlite_engine: Engine, tmp_path: Path) -> None:
    curated(sqlite_engine, tmp_path / "pictures")
    version = freeze(sqlite_engine, tmp_path, dataset="lids", name="v1", who="ana")
    path = version_path(tmp_path, version.sha256)
    whole = path.read_bytes()
    lines = gzip.decompress(whole)
    forged = gzip.compress(lines.replace("крышка".encode(), "кружка".encode()), mtime=0)
    damaged = [whole[:-9], whole[:60] + bytes([whole[60] ^ 1]) + whole[61:], b"", forged, gzip.compress(lines[:-400])]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"as it was frozen.*bring it back"):
            read_version(tmp_path, version.sha256)
    # the state is still there to be frozen again, which puts the file right
    assert freeze(sqlite_engine, tmp_path, dataset="lids", name="v1", who="ana").id == version.id
    assert path.read_bytes() == whole
    path.unlink()
    with pytest.raises(UserError, match="got nothing"):
        open_version(sqlite_engine, tmp_path, version=version.sha256)


def test_a_version_that_holds_no_such_verdicts_is_not_one_without_regions(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    curated(sqlite_engine, tmp_path / "pictures")
    version = freeze(sqlite_engine, tmp_path, dataset="lids", name="v1", who="ana")
    frozen = open_version(sqlite_engine, tmp_path, dataset="lids", version="v1")
    check_statuses(frozen, ("accepted",), version="v1")
    with pytest.raises(UserError, match=r"^v1 holds accepted only, got pending and rejected: choose among those"):
        check_statuses(frozen, ("pending", "accepted", "rejected"), version="v1")
    with pytest.raises(UserError, match=f"^{version.sha256[:12]} holds accepted only, got pending: "):
        check_statuses(frozen, ("pending",), version=version.sha256)


def test_names_that_name_nothing_are_refused(sqlite_engine: Engine, tmp_path: Path) -> None:
    curated(sqlite_engine, tmp_path / "pictures")
    curated(sqlite_engine, tmp_path / "others", name="others")
    version = freeze(sqlite_engine, tmp_path, dataset="lids", name="v1", who="ana")
    with pytest.raises(UserError, match="the name of a data set, got 'pots'"):
        freeze(sqlite_engine, tmp_path, dataset="pots", name="v1", who="ana")
    assert freeze(sqlite_engine, tmp_path, dataset="lids", name=" v1 ", who="ana") == version
    with pytest.raises(UserError, match="a name for the version, one printable line"):
        freeze(sqlite_engine, tmp_path, dataset="lids", name="  ", who="ana")
    with pytest.raises(UserError, match="which another version has"):
        freeze(sqlite_engine, tmp_path, dataset="lids", name="v1", who="ana", statuses=ALL)
    with pytest.raises(UserError, match="got 'v2'"):
        open_version(sqlite_engine, tmp_path, dataset="lids", version="v2")
    with pytest.raises(UserError, match="a version of 'others'"):
        open_version(sqlite_engine, tmp_path, dataset="others", version=version.sha256)
    for bad in ("../../etc/passwd", "A" * 64, ""):
        with pytest.raises(UserError, match="64 hex digits"):
            version_path(tmp_path, bad)


def test_a_difference_says_what_changed_and_who_did_it(engine: Engine, tmp_path: Path) -> None:
    dataset_id = curated(engine, tmp_path / "pictures")
    freeze(engine, tmp_path, dataset="lids", name="v1", who="ana", statuses=ALL)
    rows = all_regions(engine, dataset_id)
    edited, deleted = rows[2], rows[-1]
    moved = RegionChange(xyxy=(0.25, 0.25, 0.5, 0.5), text="another lid")
    with transaction(engine) as session:
        image = image_page(session, dataset_id=dataset_id, limit=1)[0]
        edit_region(session, region_id=edited.id, expected_version=edited.version, who="cy", change=moved)
        delete_region(session, region_id=deleted.id, expected_version=deleted.version, who="di")
        change = ImageChange(caption="new words", review="reviewed", facts={"brand": "x"})
        edit_image(session, image_id=image.id, expected_version=image.version, who="ed", change=change)
        other = image_page(session, dataset_id=dataset_id, limit=2)[1]
        looked = ("fay", ImageChange(review="reviewed")), ("fay", ImageChange(review="open"))  # nothing is left of it
        for who, change in (("gil", ImageChange(caption="new words")), *looked):
            edit_image(session, image_id=other.id, expected_version=other.version, who=who, change=change)
    frozen = freeze(engine, tmp_path, dataset="lids", name="v2", who="ana", statuses=ALL)
    with transaction(engine) as session:  # none of which is in it
        late = RegionChange(text="later")
        edit_region(session, region_id=deleted.id, expected_version=deleted.version + 1, who="late", change=late)
        for image_id in (image.id, other.id):
            row = get_image(session, image_id=image_id)
            assert row is not None
            change = ImageChange(caption="later", review="open")
            edit_image(session, image_id=image_id, expected_version=row.version, who="late", change=change)
    one, two = (open_version(engine, tmp_path, dataset="lids", version=name) for name in ("v1", "v2"))
    differences = picture_differences(one, two, last_editor=last_editor(engine, until=frozen.created_at))
    found = [change for each in differences for change in each.changes]
    assert [change.who for change in found if change.what == "picture"] == ["ed", "gil"]
    said = {(change.kind, change.what, change.id): (change.who, set(change.fields)) for change in found[::-1]}
    assert said[("changed", "picture", 0)] == ("ed", {"caption", "review", "fact brand"})
    who, fields = said[("changed", "description", edited.id)]
    assert who == "cy" and fields == {"xyxy", "text", "version", "editor"}
    assert said[("removed", "description", deleted.id)][0] == "di"
    kinds = Counter(change.kind for change in found)
    assert kinds["removed"] == 1 and kinds["added"] == 0
    back = [change for each in picture_differences(two, one) for change in each.changes]
    assert Counter(change.kind for change in back) == {"added": 1, "changed": kinds["changed"]}
    assert list(picture_differences(one, one)) == []


def test_what_is_edited_while_it_is_read_is_in_the_version_as_of_one_moment(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id = curated(sqlite_engine, tmp_path / "pictures")
    rows = all_regions(sqlite_engine, dataset_id)
    real = versions.state_of  # type: ignore[attr-defined]

    def meddled(*arguments: Any, **options: Any) -> Any:
        for number, record in enumerate(real(*arguments, **options)):
            yield record
            for row in (rows[0], rows[-1]) if number == 0 else ():
                with transaction(sqlite_engine) as session:
                    change = RegionChange(text="meanwhile")
                    edit_region(session, region_id=row.id, expected_version=row.version, who="cy", change=change)

    with transaction(sqlite_engine) as session:
        dataset = get_dataset(session, name="lids")
    assert dataset is not None
    monkeypatch.setattr(versions, "state_of", meddled)
    frozen = write_current_state(tmp_path / "state.jsonl.gz", sqlite_engine, dataset, statuses=ALL)
    texts = [one.text for record in frozen for region in record.regions for one in region.descriptions]
    assert texts.count("meanwhile") == 2


def test_a_version_whose_name_a_power_cut_would_lose_is_not_registered(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curated(sqlite_engine, tmp_path / "pictures")
    sync, folder = os.fsync, tmp_path / "versions"

    def fails_for_the_named(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) and any(not is_hidden(file) for file in folder.iterdir()):
            raise OSError(errno.EIO, "the disk is going")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fails_for_the_named)
    for _ in range(2):  # the second time the file is there
        with pytest.raises(WriteError, match="the disk is going"):
            freeze(sqlite_engine, tmp_path, dataset="lids", name="v1", who="ana")
    monkeypatch.undo()
    with reading(sqlite_engine) as session:
        lids = get_dataset(session, name="lids")
        assert lids is not None and list_versions(session, dataset_id=lids.id) == []
    version = freeze(sqlite_engine, tmp_path, dataset="lids", name="v1", who="ana")
    assert [file.name for file in folder.iterdir()] == [version.file_name]


def is_hidden(file: Path) -> bool:
    return file.name.startswith(".")


def test_file_names_tell_people_and_are_no_paths() -> None:
    def named(location: str, member: str = "", origin_row: int | None = None) -> str:
        image = SimpleNamespace(location=location, member=member, origin_row=origin_row, sha256="ab" * 32)
        return name_of(image)  # type: ignore[arg-type]

    assert named("/data/cats/Tom 1.JPG") == "Tom-1-abababababab.jpg"
    assert named("/data/cats.tar", "../../etc/passwd") == "passwd-abababababab"
    assert named("/data/cats.parquet", "row 3", 3) == "cats-abababababab"
    assert named("/data/a.b.jpg") == "a-b-abababababab.jpg"
    assert named("/data/кот.png") == "picture-abababababab.png"
    assert named("C:\\pictures\\..\\a.jpg") == "a-abababababab.jpg"
    assert len(named(f"/data/{'x' * 300}.jpg")) == 77


def test_descriptions_of_one_region_come_together_and_never_move_to_another_box() -> None:
    image = Image(id=1, dataset_id=1, sha256="ab" * 32, width=4, height=4, location="a.jpg")

    def row(number: int, region: int | None, x2: float = 0.5) -> RegionRow:
        box: dict[str, Any] = {"x1": 0.0, "y1": 0.0, "x2": x2, "y2": 0.5}
        return RegionRow(id=number, box_id=region, text=str(number), source="m@1", content_key=number, **box)

    record = record_of(image, [row(3, 1), row(1, None), row(2, None), row(4, 1, 0.75)], {3: "ana"})
    assert [[one.id for one in region.descriptions] for region in record.regions] == [[1, 3], [2], [4]]
    assert [region.id for region in record.regions] == [1, 2, 4]
    assert record.regions[0].descriptions[1].editor == "ana"
    assert from_json(to_json(record)) == record


def test_a_full_disk_is_one_sentence(sqlite_engine: Engine, tmp_path: Path, small_disk: Path) -> None:
    curated(sqlite_engine, tmp_path / "pictures")
    (small_disk / "filler").write_bytes(b"x" * 8_380_000)
    with pytest.raises(DiskFullError, match=r"disk is full: free some space on .*/versions and try again; what "):
        for _ in range(3):
            freeze(sqlite_engine, small_disk, dataset="lids", name="v1", who="ana")
            (small_disk / "more").write_bytes(b"x" * 4096)
