"""Imports: nothing lost, nothing twice, what is left out is listed; on SQLite and PostgreSQL."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pyarrow
import pytest
import tyro
from PIL import Image, ImageOps
from pyarrow import parquet
from sqlalchemy import URL
from sqlmodel import select

from curation.files.archives import ArchiveLimits
from curation.files.decode import Limits, RefusedError
from curation.files.images import CHANGED, GONE, PictureReader, open_image
from curation.files.records import captions_in
from curation.ingest.ingest import (
    BATCH_FILES,
    THUMBNAIL_SIDE,
    ImportTally,
    IngestConfig,
    command_line,
    import_id_of,
    ingest,
    perceptual_hash,
    thumbnail_path,
)
from curation.ingest.left_out import left_out_csv
from db.engine import Engine, open_engine, reading, transaction
from db.models import Dataset, RefusedFile
from db.models import Image as Picture
from db.queries.curate_queries import edit_image
from db.queries.data_set_queries import existing_dataset
from db.queries.edit_values import ImageChange
from tests.support.databases import count_refusals, order, text_of
from tests.support.malformed_images import gif_of_frames, malformed_images, png_of_size
from tests.support.paths import ROOT
from tests.support.source_files import encoded, member, write_all, write_tar, write_zip
from user_errors import UserError, WriteError

COLORS = {"a": (200, 30, 40), "b": (20, 160, 60), "c": (40, 50, 220)}
CAPTIONS = {"a": "a red lid", "b": "a green lid, open", "c": 'a "blue" lid'}
PIXELS = {name: encoded(Image.new("RGB", (24, 18), color)) for name, color in COLORS.items()}


def bring(
    engine: Engine, source: Path, home: Path, *, dataset: str = "lids", limits: Limits | None = None
) -> ImportTally:
    return ingest(engine, source, dataset=dataset, home=home, limits=limits, processes=1)


def pictures(engine: Engine) -> list[Picture]:
    with reading(engine) as session:
        return list(session.exec(select(Picture).order_by(Picture.id)))  # type: ignore[arg-type]


def names(engine: Engine) -> list[str]:
    return [Path(row.member or row.location).name for row in pictures(engine)]


def left_out(engine: Engine) -> dict[str, str]:
    """Name -> reason, to its colon."""
    with reading(engine) as session:
        files = session.exec(select(RefusedFile)).all()
    found = {file.member or Path(file.location).name: file.reason.partition(":")[0] for file in files}
    assert len(found) == len(files)
    return found


def thumbnails(home: Path) -> list[Path]:
    return sorted(home.glob("thumbnails/??/*.jpg"))


def tally(**counts: Any) -> dict[str, Any]:
    """What an import without refusals answers."""
    return ImportTally(**counts).to_json()


def tiny_pictures(folder: Path, count: int) -> Path:
    """A folder of so many different pictures."""
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (9, 7), (number % 256, number // 256, 77)).save(folder / f"{number:05d}.png")
    return folder


def smooth(seed: int, width: int = 640, height: int = 480) -> Image.Image:
    """Something like a photograph: large soft shapes."""
    grid = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)


def distance(one: str, other: str) -> int:
    """Bits that differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


# ------------------------------------------------------------------------------------ every kind of source


def a_folder(at: Path) -> Path:
    texts = {f"sub/{name}.txt": text for name, text in CAPTIONS.items()}
    return write_all(at / "folder", {**{f"sub/{name}.png": PIXELS[name] for name in PIXELS}, **texts})


def _members() -> dict[str, bytes]:
    """As WebDataset has them: a picture and its caption side by side."""
    both = ({f"{name}.png": PIXELS[name], f"{name}.txt": CAPTIONS[name].encode()} for name in PIXELS)
    return {name: content for files in both for name, content in files.items()}


def a_zip(at: Path) -> Path:
    return write_zip(at / "lids.zip", _members())


def a_tar(at: Path) -> Path:
    return write_tar(at / "lids.tar", _members())


def a_packed_tar(at: Path) -> Path:
    return write_tar(at / "lids.tar.gz", _members(), "w:gz")


def a_cc3m_table(at: Path) -> Path:
    write_all(at, {f"{name}.png": PIXELS[name] for name in PIXELS})
    return write_all(at, {"lids.tsv": "".join(f"{CAPTIONS[name]}\t{name}.png\n" for name in PIXELS)}) / "lids.tsv"


def a_csv_with_a_header(at: Path) -> Path:
    rows = "".join('{}.png,"{}"\n'.format(name, CAPTIONS[name].replace('"', '""')) for name in PIXELS)
    write_all(at, {f"{name}.png": PIXELS[name] for name in PIXELS})
    return write_all(at, {"lids.csv": "file_name,caption\n" + rows}) / "lids.csv"


def webdataset_shards(at: Path) -> Path:
    members = list(_members().items())
    folder = at / "shards"
    folder.mkdir()
    write_tar(folder / "train-000000.tar", dict(members[:4]))
    write_tar(folder / "train-000001.tar", dict(members[4:]))
    return write_all(folder, {"manifest.json": "{}"})


def img2dataset_shards(at: Path) -> Path:
    folder = at / "img2dataset"
    folder.mkdir()
    for shard, some in enumerate((("a", "b"), ("c",))):
        files: dict[str, bytes] = {}
        for name in some:
            said = {"caption": CAPTIONS[name], "url": "http://10.0.0.1/x.png", "status": "success"}
            files |= {f"{name}.png": PIXELS[name], f"{name}.json": json.dumps(said).encode()}
        write_tar(folder / f"0000{shard}.tar", files)
        write_all(folder, {f"0000{shard}.parquet": "PAR1", f"0000{shard}_stats.json": '{"count": 2}'})
    return folder


def an_image_folder(at: Path) -> Path:
    lines = [json.dumps({"file_name": f"train/{name}.png", "text": CAPTIONS[name]}) for name in PIXELS]
    files: dict[str, bytes | str] = {f"train/{name}.png": PIXELS[name] for name in PIXELS}
    return write_all(at / "hub", {**files, "metadata.jsonl": "\n".join(lines)})


def a_parquet_file(at: Path) -> Path:
    images = [{"bytes": PIXELS[name], "path": f"{name}.png"} for name in PIXELS]
    table = pyarrow.table({"image": images, "caption": list(CAPTIONS.values())})
    parquet.write_table(table, at / "lids.parquet", row_group_size=2)
    return at / "lids.parquet"


NAMED = ["a.png", "b.png", "c.png"]
SOURCES: list[tuple[Callable[[Path], Path], list[str], list[int | None]]] = [
    (a_folder, NAMED, [None] * 3),
    (a_zip, NAMED, [None] * 3),
    (a_tar, NAMED, [None] * 3),
    (a_packed_tar, NAMED, [None] * 3),
    (a_cc3m_table, NAMED, [0, 1, 2]),
    (a_csv_with_a_header, NAMED, [0, 1, 2]),
    (webdataset_shards, NAMED, [None] * 3),
    (img2dataset_shards, NAMED, [None] * 3),
    (an_image_folder, NAMED, [0, 1, 2]),
    (a_parquet_file, ["row 0", "row 1", "row 2"], [0, 1, 2]),
]


@pytest.mark.parametrize(("make", "named", "origin_rows"), SOURCES, ids=lambda value: getattr(value, "__name__", ""))
def test_every_kind_of_source_becomes_rows_that_lead_back_to_its_pixels(
    engine: Engine, tmp_path: Path, make: Callable[[Path], Path], named: list[str], origin_rows: list[int | None]
) -> None:
    source, home = make(tmp_path), tmp_path / "home"
    assert bring(engine, source, home).to_json() == tally(added=3)
    rows = pictures(engine)
    assert names(engine) == named
    assert [row.caption for row in rows] == list(CAPTIONS.values())
    assert [row.origin_row for row in rows] == origin_rows
    assert {(row.width, row.height, row.has_thumbnail) for row in rows} == {(24, 18, True)}
    assert thumbnails(home) == sorted(thumbnail_path(home, row.sha256) for row in rows)
    with PictureReader(processes=1) as reader:
        back = [image.getpixel((5, 5)) for _, image in reader.open_images(rows) if isinstance(image, Image.Image)]
        assert back == list(COLORS.values())
        assert reader.open_image(rows[1]).getpixel((0, 0)) == COLORS["b"]
    assert bring(engine, source, home).to_json() == tally(known=3)
    assert pictures(engine) == rows


def test_an_import_under_another_spelling_of_its_path_adds_nothing(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = a_folder(tmp_path)
    bring(engine, source, tmp_path / "home")
    monkeypatch.chdir(source)
    for spelled in (Path(), source / "sub" / "..", Path("../folder")):
        assert bring(engine, spelled, tmp_path / "home").to_json() == tally(known=3)
        assert import_id_of(spelled) == import_id_of(source)
    assert import_id_of(source / "sub") != import_id_of(source)


# ------------------------------------------------------------------------------------ stopped, and run again

PROGRAM = [sys.executable, "-m", "curation.ingest"]


def surroundings(engine: Engine, home: Path) -> dict[str, str]:
    return os.environ | {"GRAIN_HOME": str(home), "GRAIN_DATABASE_URL": text_of(engine.url)}


@pytest.mark.slow
def test_killed_in_its_middle_the_same_command_loses_nothing_and_adds_nothing_twice(
    engine: Engine, tmp_path: Path
) -> None:
    count = BATCH_FILES + 400
    source, home = tiny_pictures(tmp_path / "many", count), tmp_path / "home"
    command = [*PROGRAM, str(source), "--dataset", "many"]
    kept = []
    for enough in (BATCH_FILES // 3, BATCH_FILES + 50):  # within the first transaction, within the second
        with subprocess.Popen(
            command, cwd=ROOT, env=surroundings(engine, home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while len(thumbnails(home)) < enough:
                with pytest.raises(subprocess.TimeoutExpired):  # it goes on
                    process.wait(0.002)
            process.send_signal(signal.SIGKILL)
        kept.append(len(pictures(engine)))
        for path in thumbnails(home):
            assert path.read_bytes().endswith(b"\xff\xd9"), "whole or not at all"
    assert kept[0] <= kept[1] and 0 < kept[1] < count
    done = subprocess.run(command, cwd=ROOT, env=surroundings(engine, home), capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert (answer["known"], answer["added"], answer["seen"]) == (kept[-1], count - kept[-1], count)
    assert sorted(names(engine)) == [f"{number:05d}.png" for number in range(count)]
    assert len({row.sha256 for row in pictures(engine)}) == count == len(thumbnails(home))


def test_two_imports_of_one_source_at_a_time_add_each_picture_once(engine: Engine, tmp_path: Path) -> None:
    source, home = tiny_pictures(tmp_path / "many", 40), tmp_path / "home"
    start = Barrier(3)

    def one(_: int) -> ImportTally:
        start.wait()
        return bring(engine, source, home)

    with ThreadPoolExecutor(3) as threads:
        tallies = list(threads.map(one, range(3)))
    assert sum(each.added for each in tallies) == 40 == len(pictures(engine)) == len(thumbnails(home))
    assert [each.seen for each in tallies] == [40, 40, 40]
    with reading(engine) as session:
        assert len(session.exec(select(Dataset)).all()) == 1


def test_connections_that_are_cut_between_batches_cost_no_picture(
    postgres: URL, postgres_engine: Engine, tmp_path: Path
) -> None:
    source = tiny_pictures(tmp_path / "many", BATCH_FILES + 3)
    seen = []

    def cut(tally: ImportTally) -> None:
        seen.append(tally.seen)
        order(postgres, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'grain'")

    told = ingest(postgres_engine, source, dataset="many", home=tmp_path / "home", processes=1, on_progress=cut)
    assert told.to_json() == tally(added=BATCH_FILES + 3)
    assert seen == [BATCH_FILES, BATCH_FILES + 3]
    assert len(pictures(postgres_engine)) == BATCH_FILES + 3


def test_a_full_disk_is_said_and_the_same_import_goes_on_when_there_is_room(
    engine: Engine, tmp_path: Path, small_disk: Path
) -> None:
    source = tmp_path / "photos"
    write_all(source, {f"{n}.jpg": encoded(smooth(n), "JPEG") for n in range(12)})
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 60_000))
    with pytest.raises(UserError, match=r"The disk is full: free some space on .*/thumbnails/.. and try again"):
        bring(engine, source, small_disk)
    assert pictures(engine) == []
    assert list(small_disk.rglob("*.tmp")) == []
    ballast.unlink()
    assert bring(engine, source, small_disk).to_json() == tally(added=12)
    for path in thumbnails(small_disk):
        with Image.open(path) as image:
            image.load()


def test_thumbnails_that_cannot_be_written_are_one_sentence(engine: Engine, tmp_path: Path) -> None:
    source, home = a_folder(tmp_path), tmp_path / "home"
    write_all(home, {"thumbnails": "a file in the way"})
    with pytest.raises(WriteError, match=r"/thumbnails/.*\.jpg could not be written \(Not a directory\): correct"):
        bring(engine, source, home)
    assert pictures(engine) == []
    (home / "thumbnails").unlink()
    assert bring(engine, source, home).added == 3


# ------------------------------------------------------------------------------------ several captions of a picture


def captions(engine: Engine) -> dict[str, list[str]]:
    rows = pictures(engine)
    return {Path(row.location).name: [row.caption, *captions_in(row.facts or {})] for row in rows}


def test_a_row_a_caption_gives_each_picture_all_of_them_once_however_often_it_is_imported(
    engine: Engine, tmp_path: Path
) -> None:
    lines = ["a.png,a lid", "a.png,a red lid", "b.png,", "a.png,a lid", "a.png,it is round", "b.png,green"]
    table = write_all(
        tmp_path, {"a.png": PIXELS["a"], "b.png": PIXELS["b"], "c.csv": "\n".join(["file_name,caption", *lines])}
    )
    expected = {"a.png": ["a lid", "a red lid", "it is round"], "b.png": ["green"]}
    for _ in range(2):
        bring(engine, table / "c.csv", tmp_path / "home")
        assert captions(engine) == expected
    write_all(tmp_path, {"more.csv": "file_name,caption\nb.png,a green lid\n"})
    bring(engine, tmp_path / "more.csv", tmp_path / "home")
    assert captions(engine) == expected | {"b.png": ["green", "a green lid"]}


def test_lists_of_captions_are_kept_from_metadata_beside_pictures_and_from_companions(
    engine: Engine, tmp_path: Path
) -> None:
    rows = [{"file_name": "a.png", "captions": ["one", "two"]}, {"file_name": "a.png", "text": "three"}]
    files: dict[str, bytes | str] = {
        "m/a.png": PIXELS["a"],
        "m/metadata.jsonl": "\n".join(map(json.dumps, rows)),
        "n/b.png": PIXELS["b"],
        "n/b.json": json.dumps({"sentences": ["four", "", 5, "five"]}),
    }
    bring(engine, write_all(tmp_path / "in", files), tmp_path / "home")
    assert captions(engine) == {"a.png": ["one", "two", "three"], "b.png": ["four", "five"]}


def test_a_picture_that_somebody_has_edited_keeps_its_captions(engine: Engine, tmp_path: Path) -> None:
    write_all(tmp_path, {"a.png": PIXELS["a"], "a.csv": "file_name,caption\na.png,a lid\na.png,a red lid\n"})
    bring(engine, tmp_path / "a.csv", tmp_path / "home")
    with transaction(engine) as session:
        [row] = session.exec(select(Picture)).all()
        change = ImageChange(caption="a scarlet lid", facts={})
        edit_image(session, image_id=row.id, expected_version=row.version, change=change, who="ada")
    bring(engine, tmp_path / "a.csv", tmp_path / "home")
    assert captions(engine) == {"a.png": ["a scarlet lid"]}


# ------------------------------------------------------------------------------------ the same content again


def test_one_content_under_two_names_is_one_picture_and_the_copy_is_counted(engine: Engine, tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"1.png": PIXELS["a"], "1.txt": "first", "deep/2.png": PIXELS["a"]}
    source, home = write_all(tmp_path / "in", {**files, "deep/2.txt": "second", "3.png": PIXELS["b"]}), tmp_path / "h"
    assert bring(engine, source, home).to_json() == tally(added=2, duplicates_inside=1)
    assert [(Path(row.location).name, row.caption) for row in pictures(engine)] == [("1.png", "first"), ("3.png", "")]
    assert bring(engine, source, home).to_json() == tally(known=2, duplicates_inside=1)


def test_what_the_data_set_has_from_elsewhere_is_counted_apart(engine: Engine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = write_all(tmp_path / "first", {"a.png": PIXELS["a"], "b.png": PIXELS["b"]})
    second = write_zip(tmp_path / "second.zip", {"x.png": PIXELS["a"], "y.png": PIXELS["c"], "z.png": PIXELS["c"]})
    bring(engine, first, home)
    expected = tally(added=1, duplicates_inside=1, duplicates_outside=1)
    assert bring(engine, second, home).to_json() == expected
    assert names(engine) == ["a.png", "b.png", "y.png"]
    assert bring(engine, second, home, dataset="others").to_json() == tally(added=2, duplicates_inside=1)
    assert len(thumbnails(home)) == 3, "two data sets share a thumbnail"


@pytest.mark.parametrize("packed", ["folder", "zip", "parquet"])
def test_what_was_moved_is_found_again_where_it_is_now(engine: Engine, tmp_path: Path, packed: str) -> None:
    home, old, new = tmp_path / "home", tmp_path / "old", tmp_path / "new"
    if packed == "zip":
        old, new = (
            write_zip(at.with_suffix(".zip"), {"a.png": PIXELS["a"], "b.png": PIXELS["b"]}) for at in (old, new)
        )
        new.unlink()
    elif packed == "parquet":
        old.mkdir()
        old = a_parquet_file(old)
        new = tmp_path / "moved.parquet"
    else:
        write_all(old, {f"{name}.png": PIXELS[name] for name in "ab"})
    first = bring(engine, old, home).added
    before = pictures(engine)
    old.rename(new)
    with pytest.raises(RefusedError, match="import it into the same data set from where it is now"):
        open_image(before[0])
    assert bring(engine, new, home).to_json() == tally(found_again=first)
    after = pictures(engine)
    assert [open_image(row).getpixel((0, 0)) for row in after] == [COLORS[name] for name in "abc"[:first]]
    kept = [(row.id, row.sha256, row.caption, row.member, row.origin_row) for row in before]
    assert [(row.id, row.sha256, row.caption, row.member, row.origin_row) for row in after] == kept
    assert bring(engine, new, home).to_json() == tally(known=first)


def test_a_picture_whose_file_became_another_is_found_again_in_a_copy(engine: Engine, tmp_path: Path) -> None:
    """Of two copies the first is taken; where the file is still what it was, a copy is but a copy."""
    home, source = tmp_path / "home", write_all(tmp_path / "in", {"1.png": PIXELS["a"], "2.png": PIXELS["b"]})
    bring(engine, source, home)
    write_all(source, {"1.png": PIXELS["c"]})
    copies = write_zip(tmp_path / "x.zip", {"x.png": PIXELS["a"], "y.png": PIXELS["a"], "z.png": PIXELS["b"]})
    expected = tally(found_again=1, duplicates_inside=1, duplicates_outside=1)
    assert bring(engine, copies, home).to_json() == expected
    assert names(engine) == ["x.png", "2.png"]
    assert bring(engine, copies, home).to_json() == tally(known=1, duplicates_inside=1, duplicates_outside=1)


def test_a_file_whose_content_has_changed_is_another_picture(engine: Engine, tmp_path: Path) -> None:
    source, home = write_all(tmp_path / "in", {"1.png": PIXELS["a"]}), tmp_path / "home"
    bring(engine, source, home)
    write_all(source, {"1.png": PIXELS["b"]})
    assert bring(engine, source, home).to_json() == tally(added=1, changed=1)
    assert bring(engine, source, home).to_json() == tally(known=1), "told once"
    before, now = pictures(engine)
    assert open_image(now).getpixel((0, 0)) == COLORS["b"]
    with pytest.raises(RefusedError, match="has changed since it was imported"):
        open_image(before)


# ------------------------------------------------------------------------------------ what is left out


def test_every_file_that_is_left_out_is_listed_once_with_its_reason(engine: Engine, tmp_path: Path) -> None:
    outside = write_all(tmp_path / "outside", {"secret.png": PIXELS["c"]})
    files: dict[str, bytes | str] = {
        "good.png": PIXELS["a"],
        "cut.jpg": encoded(smooth(1, 64, 48), "JPEG")[:-200],
        "large.bmp": bytes(200_001),
        "words.jpg": "no picture at all",
        "phone.heic": b"\x00\x00\x00\x18ftypheic" + bytes(50),
        "empty.png": b"",
        "bomb.png": png_of_size(20_000, 20_000, bytes(1000)),
        "long.gif": gif_of_frames(1_001),
        "twice.jpg": "no picture at all",
        "table.csv": "a,good.png",
    }
    source, home = write_all(tmp_path / "in", files), tmp_path / "home"
    (source / "link.png").symlink_to(outside / "secret.png")
    (source / os.fsdecode(b"odd-\xe9.png")).write_bytes(PIXELS["b"])
    expected = {
        "cut.jpg": "This picture is damaged or cut short",
        "large.bmp": "This file has 0.2 MB, more than the 0.2 MB accepted",
        "words.jpg": "This is not a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC picture",
        "phone.heic": "This picture is damaged or cut short",
        "empty.png": "This file is empty",
        "bomb.png": "This picture has 20,000 × 20,000 pixels, more than the 50 million (and 30,000 a side) accepted",
        "long.gif": "This animation has more than the 1,000 frames accepted",
        "twice.jpg": "This is not a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC picture",
        "table.csv": "This is a table",
        "link.png": "This link leads out of the folder",
        "odd-\\udce9.png": "Its name is not plain UTF-8 text",
    }
    for _ in range(2):
        told = bring(engine, source, home, limits=Limits(file_bytes=200_000))
        assert left_out(engine) == expected
        assert (told.seen, told.refused.total()) == (12, 11)
    assert names(engine) == ["good.png"]
    with reading(engine) as session:
        assert count_refusals(session, dataset_id=1, import_id=import_id_of(source)) == told.refused
        assert count_refusals(session, dataset_id=1, import_id=import_id_of(outside)) == {}


@pytest.mark.slow
def test_malformed_files_are_all_accounted_for(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Fault 12."""
    home, files = tmp_path / "home", {file.name: file for file in malformed_images(seed=2, count=150)}
    source = write_all(tmp_path / "in", {name: file.content for name, file in files.items()})
    told = bring(sqlite_engine, source, home)
    listed, rows = left_out(sqlite_engine), pictures(sqlite_engine)
    assert told.seen == 150 and told.refused.total() == len(listed) > 90
    assert {name for name, file in files.items() if file.refused} <= listed.keys() < files.keys()
    assert len(rows) == told.added == 150 - len(listed) - told.duplicates_inside == len(thumbnails(home))


def test_a_hostile_archive_leaves_its_good_pictures_and_nothing_outside(engine: Engine, tmp_path: Path) -> None:
    """Fault 15."""
    source, home = tmp_path / "in", tmp_path / "home"
    source.mkdir()
    bad, bomb = PIXELS["b"], png_of_size(20_000, 20_000, b"")
    write_zip(source / "x.zip", {"good.png": PIXELS["a"], "../up.png": bad, "/folder/abs.png": bad})
    path = write_tar(source / "y.tar", {"fine.png": PIXELS["c"], "a/../../b.png": bad, "bomb.png": bomb})
    with tarfile.open(path, "a") as tar:
        tar.addfile(member("soft.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"))
    told = bring(engine, source, home)
    assert (told.added, told.refused.total(), names(engine)) == (2, 5, ["good.png", "fine.png"])
    assert left_out(engine) == {
        "../up.png": "Its name leads out of the archive",
        "/folder/abs.png": "Its name leads out of the archive",
        "a/../../b.png": "Its name leads out of the archive",
        "soft.png": "A link in an archive is not followed",
        "bomb.png": "This picture has 20,000 × 20,000 pixels, more than the 50 million (and 30,000 a side) accepted",
    }
    written = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()}
    assert written - {("new folder", "grain.sqlite")} == {("in", "x.zip"), ("in", "y.tar"), ("home", "thumbnails")}


def test_an_archive_that_ends_early_gives_what_comes_before_and_its_own_reason(engine: Engine, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", PIXELS)
    path.write_bytes(path.read_bytes()[: 2 * 1024 + 100])  # 1024 bytes each
    bring(engine, path, tmp_path / "home")
    assert names(engine) == ["a", "b"]
    assert left_out(engine)["x.tar"] == "The archive is damaged or cut short from here on"
    crowded, few = write_tar(tmp_path / "y.tar", PIXELS), ArchiveLimits(entries=2)
    told = ingest(engine, crowded, dataset="few", home=tmp_path / "home", archive_limits=few, processes=1)
    assert (told.added, list(told.refused)) == (2, ["The archive has more than the 2 entries accepted: split it."])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_and_thumbnail_are_those_of_the_upright_picture(engine: Engine, tmp_path: Path, orientation: int) -> None:
    """Fault 13."""
    exif = Image.Exif()
    exif[274] = orientation
    content = encoded(smooth(3), "JPEG", exif=exif, quality=95)
    source, home = write_all(tmp_path / "in", {"turned.jpg": content}), tmp_path / "home"
    bring(engine, source, home)
    [row] = pictures(engine)
    assert (row.width, row.height) == ((480, 640) if orientation >= 5 else (640, 480))
    with Image.open(source / "turned.jpg") as stored:
        expected = ImageOps.exif_transpose(stored).convert("RGB")
    with Image.open(thumbnail_path(home, row.sha256)) as thumbnail:
        assert (thumbnail.format, max(thumbnail.size), thumbnail.getexif().get(274, 1)) == ("JPEG", THUMBNAIL_SIDE, 1)
        difference = np.asarray(thumbnail, int) - np.asarray(expected.resize(thumbnail.size), int)
    assert np.abs(difference).mean() < 4
    assert open_image(row).size == (row.width, row.height)


# ------------------------------------------------------------------------------------ thumbnails and looks


def test_a_thumbnail_that_is_lost_is_made_again_and_its_row_stays(engine: Engine, tmp_path: Path) -> None:
    source, home = a_tar(tmp_path), tmp_path / "home"
    bring(engine, source, home)
    rows, made = pictures(engine), {path: path.read_bytes() for path in thumbnails(home)}
    thumbnails(home)[1].unlink()
    assert bring(engine, source, home).to_json() == tally(known=3)
    assert {path: path.read_bytes() for path in thumbnails(home)} == made
    assert pictures(engine) == rows


def test_pictures_that_look_alike_have_nearly_equal_hashes(engine: Engine, tmp_path: Path) -> None:
    one = smooth(1)
    files = {
        "0.png": encoded(one),
        "1.jpg": encoded(one, "JPEG", quality=60),
        "2.webp": encoded(one.resize((320, 240)), "WEBP"),
        "3.png": encoded(smooth(2)),
    }
    bring(engine, write_all(tmp_path / "in", files), tmp_path / "home")
    original, *copies, other = (row.phash for row in pictures(engine))
    assert all(distance(original, copy) <= 4 for copy in copies) and len(copies) == 2
    assert distance(original, other) >= 16
    assert distance(original, perceptual_hash(one)) <= 4


# ------------------------------------------------------------------------------------ pictures, opened again


def test_a_picture_that_is_gone_or_another_is_a_sentence_and_the_others_are_opened(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    folder = write_all(tmp_path / "in", {f"{name}.png": PIXELS[name] for name in PIXELS})
    tar = write_tar(tmp_path / "x.tar", {"d.png": encoded(Image.new("RGB", (5, 5), "teal"))})
    packed = write_zip(tmp_path / "y.zip", {"e.png": encoded(Image.new("RGB", (5, 5), "plum"))})
    for source in (folder, tar, packed):
        bring(sqlite_engine, source, home)
    rows = pictures(sqlite_engine)
    (folder / "a.png").unlink()
    write_all(folder, {"b.png": PIXELS["a"]})
    write_tar(tar, {"another.png": PIXELS["a"]})
    packed.write_bytes(b"no archive any more")
    with PictureReader(processes=2) as reader:
        opened = list(reader.open_images(rows))
    assert [row.id for row, _ in opened] == [row.id for row in rows]
    assert [got if isinstance(got, str) else got.getpixel((0, 0)) for _, got in opened] == [
        GONE,
        CHANGED,
        COLORS["c"],
        GONE,
        GONE,
    ]


def test_a_reader_reduces_pictures_and_forgets_the_archives_it_used_first(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(7):
        write_tar(folder / f"{number}.tar", {"x.png": encoded(Image.new("RGB", (400, 300), (number, 9, 9)))})
    bring(sqlite_engine, folder, tmp_path / "home")
    rows = pictures(sqlite_engine)
    with PictureReader(processes=1, side=100) as reader:
        for some in (rows, rows[::-1]):
            opened = [image for _, image in reader.open_images(some) if isinstance(image, Image.Image)]
            assert [image.size for image in opened] == [(100, 75)] * 7
            assert [image.getpixel((50, 40)) for image in opened] == [(rows.index(row), 9, 9) for row in some]


# ------------------------------------------------------------------------------------ the command


@pytest.mark.slow
def test_the_sample_world_is_drawn_and_imported_and_again_nothing_is_added(engine: Engine, tmp_path: Path) -> None:
    home = tmp_path / "a home"
    answers = []
    for _ in range(2):
        done = subprocess.run(
            [*PROGRAM, "--sample", "12", "--dataset", "demo", "--home", str(home)],
            cwd=ROOT,
            env=surroundings(engine, tmp_path / "elsewhere"),
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(json.loads(done.stdout))
    counts = [(answer["seen"], answer["added"], answer["known"], answer["refused"]) for answer in answers]
    assert counts == [(12, 12, 0, {}), (12, 0, 12, {})]
    assert answers[0]["import_id"] == answers[1]["import_id"] == import_id_of(home / "samples" / "world-12")
    assert len(pictures(engine)) == len(thumbnails(home)) == 12
    assert all(row.caption and row.member for row in pictures(engine))


def test_spaces_around_the_name_of_a_data_set_make_no_second_one(engine: Engine, tmp_path: Path) -> None:
    source, home = a_folder(tmp_path), tmp_path / "home"
    assert bring(engine, source, home, dataset="  my lids ").added == 3
    assert bring(engine, source, home, dataset="my lids").known == 3
    with transaction(engine) as session:
        [dataset] = session.exec(select(Dataset)).all()
        assert dataset.name == "my lids"
        session.add(Dataset(name=" my lids", source=""))  # as an earlier version made them
    for name in ("my lids", " my lids", "my lids "):
        with reading(engine) as session:
            assert existing_dataset(session, name=name).name == name.rstrip()


def test_a_source_that_is_none_is_one_sentence_and_makes_no_data_set(engine: Engine, tmp_path: Path) -> None:
    for source, says in ((tmp_path / "missing", "got nothing"), (Path("https://h.example/x"), "let img2dataset fetch")):
        with pytest.raises(UserError, match=says):
            bring(engine, source, tmp_path / "home")
    with pytest.raises(ValueError, match="expected a name for the data set, one printable line"):
        bring(engine, a_folder(tmp_path), tmp_path / "home", dataset="two\nlines")
    with reading(engine) as session:
        assert session.exec(select(Dataset)).all() == []
    command = [*PROGRAM, str(tmp_path / "missing"), "--dataset", "x"]
    done = subprocess.run(
        command, cwd=ROOT, env=surroundings(engine, tmp_path / "home"), capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"curation.ingest: expected a folder, archive or table at {tmp_path}/missing, got nothing: check the path"
    )


@pytest.mark.parametrize(
    "config",
    [
        IngestConfig("-rf", dataset="--home=/x"),
        IngestConfig("--home=http://x", dataset="-"),
        IngestConfig("two words/$(x) 'y\"\n.zip", dataset="my lids; rm", processes=3),
        IngestConfig("größe/写真.tar", dataset="Größe 写真", home=Path("/a home/-x")),
        IngestConfig("/data/a/../lids.csv", dataset="lids"),
        IngestConfig("https://host.example/x.tar", dataset="far"),
        IngestConfig(dataset="demo", sample=12),
    ],
)
def test_the_command_line_says_the_very_settings(
    config: IngestConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = command_line(config)
    assert words[:2] == ["-m", "curation.ingest"]
    read = tyro.cli(IngestConfig, args=words[2:])
    is_path = config.source and not config.source.startswith("https:")
    assert read == (replace(config, source=os.path.normpath(tmp_path / config.source)) if is_path else config)
    monkeypatch.chdir("/")
    assert command_line(read) == words, "wherever it is run"


def test_a_source_below_a_persons_own_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert command_line(IngestConfig("~/lids", dataset="x"))[-1] == str(tmp_path / "lids")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "got the source '' and 0"),
        ({"source": "a\0b"}, r"^expected a path of characters that can be written, got 'a\\x00b'"),
        ({"source": "x", "sample": 3}, "got the source 'x' and 3"),
        ({"sample": -3}, "got the source '' and -3"),
        ({"source": "x", "processes": 0}, "one process or more, got 0"),
    ],
)
def test_settings_that_say_nothing_or_two_things_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        IngestConfig(**settings, dataset="x")  # type: ignore[arg-type]


def test_an_import_that_brings_nothing_ends_with_the_commonest_reason(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.sqlite'}")
    source = write_all(tmp_path / "notes", {"a.jpg": "no picture", "b/=c.jpg": "nor this", "d.png": b""})
    command = [*PROGRAM, str(source), "--dataset", "x"]
    environment = surroundings(engine, tmp_path / "home")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and json.loads(done.stdout)["added"] == 0
    assert "curation.ingest: Nothing came in. Left out: 3, of these 2 for this: This is not a JPEG" in done.stderr
    rows = [*csv.reader(io.StringIO(left_out_csv(engine, "x")))]
    assert rows[0] == ["file", "inside", "reason"] and sorted(row[0] for row in rows[1:]) == [
        "a.jpg",
        "b/=c.jpg",
        "d.png",
    ]
    assert (
        left_out_csv(engine, "x", most=1).splitlines()[-1]
        == "and more: python -m curation.ingest.left_out --dataset x,,"
    )
    with pytest.raises(UserError, match="no data set 'y'"):
        left_out_csv(engine, "y")
    engine.dispose()


def test_a_cell_that_a_spreadsheet_would_compute_is_plain_text(engine: Engine, tmp_path: Path) -> None:
    bring(engine, write_zip(tmp_path / "x.zip", {"=1+1.jpg": b"none", "a.png": encoded(smooth(1))}), tmp_path / "home")
    [_, row] = [*csv.reader(io.StringIO(left_out_csv(engine, "lids")))]
    assert row[:2] == ["x.zip", "'=1+1.jpg"]


@pytest.mark.slow
def test_a_job_hears_how_far_its_import_is(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.sqlite'}")
    said = tmp_path / "progress.json"
    environment = surroundings(engine, tmp_path / "home") | {"GRAIN_JOB_PROGRESS": str(said)}
    source = a_folder(tmp_path)
    for expected in (
        {"done": 3, "total": 3, "message": "3 pictures added"},
        {"done": 4, "total": 4, "message": "0 pictures added, 1 left out"},
    ):
        command = [*PROGRAM, str(source), "--dataset", "x"]
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
        assert json.loads(said.read_text()) == expected
        write_all(source, {"words.jpg": "no picture"})
    engine.dispose()
