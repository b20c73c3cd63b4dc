"""Pictures that came through a browser are kept whole, apart from the annotations among them."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from curation.data_sets.delete import delete
from curation.exchange.import_annotations import import_file
from curation.ingest.ingest import ingest
from curation.ingest.uploads import is_coco, keep_upload, named, uploads_folder, uploads_of
from db.engine import Engine
from tests.support.curated import picture_files
from user_errors import UserError


@pytest.fixture
def chosen(tmp_path: Path) -> list[Path]:
    """A picture, a COCO file, and JSON that is none."""
    (tmp_path / "a.jpg").write_bytes(b"a picture")
    (tmp_path / "instances.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    (tmp_path / "notes.json").write_text('{"images": 3}')
    return [tmp_path / name for name in ("a.jpg", "instances.json", "notes.json")]


def test_all_is_kept_and_what_was_sent_stays(chosen: list[Path], tmp_path: Path) -> None:
    kept = keep_upload(tmp_path / "home", named(chosen))
    contents = {file.name: file.read_bytes() for file in kept.pictures.iterdir()}
    assert contents == {"a.jpg": b"a picture", "notes.json": b'{"images": 3}'}
    assert [file.name for file in kept.annotations] == ["instances.json"]
    assert all(file.is_file() for file in chosen)
    other = keep_upload(tmp_path / "home", named(chosen))
    assert other.pictures != kept.pictures, "a second upload never meets the first"


@pytest.mark.parametrize("said", ["b/a.txt", "instances.json", "metadata.csv"])
def test_where_names_repeat_no_words_go_to_the_wrong_picture(tmp_path: Path, said: str) -> None:
    with pytest.raises(UserError, match=r"a\.jpg is there twice.*one folder at a time"):
        named([tmp_path / name for name in ("a/a.jpg", "b/a.jpg", said)])


def test_what_nothing_is_written_about_may_repeat(tmp_path: Path) -> None:
    names = ("a/.DS_Store", "b/.DS_Store", "a/Thumbs.db", "b/Thumbs.db", "a/README.md", "b/README.md", "a.jpg", "a.txt")
    kept = named([tmp_path / name for name in names])
    assert list(kept)[1::2] == [".DS_Store-2", "Thumbs-2.db", "README-2.md", "a.txt"]


def test_files_keep_the_names_that_other_files_know_them_by(tmp_path: Path) -> None:
    sent = {"Wow!.png": "Wow.png", "cat!.png": "1/cat.png", "cat.png": "2/cat.png", "cat.txt": "cat.txt"}
    kept = named([tmp_path / path for path in sent.values()], sent=list(sent))
    assert kept == {name: tmp_path / path for name, path in sent.items()}
    for hostile in (".", "..", "../x.png", "..\\x.png", "/etc/x.png", "x\0.png", "x\n.png", "x" * 300, "\udce9.png"):
        assert list(named([tmp_path / "x.png"], sent=[hostile])) == ["x.png"]
    with pytest.raises(UserError, match=r"a\.jpg is there twice"):
        named([tmp_path / "1.jpg", tmp_path / "2.jpg", tmp_path / "a.csv"], sent=["a.jpg", "a.jpg", ""])


def test_what_is_no_upload_of_pictures_is_said_and_leaves_nothing(chosen: list[Path], tmp_path: Path) -> None:
    for files in ([], chosen[1:2]):
        with pytest.raises(UserError, match="no pictures yet"):
            keep_upload(tmp_path / "home", named(files))
    with pytest.raises(UserError, match=r"1 of the chosen files, b\.jpg among them, are gone"):
        keep_upload(tmp_path / "home", named([*chosen, tmp_path / "b.jpg"]))
    assert not uploads_folder(tmp_path / "home").exists()


def test_names_of_three_files_that_are_called_the_same(tmp_path: Path) -> None:
    files = [tmp_path / at / name for at, name in (("x", "a.jpg"), ("y", "a-2.jpg"), ("y", "a.jpg"), ("z", "a.jpg"))]
    assert list(named(files)) == ["a.jpg", "a-2.jpg", "a-3.jpg", "a-4.jpg"]


def test_names_that_differ_in_letter_case_alone_repeat_as_they_do_on_many_disks(tmp_path: Path) -> None:
    files = [tmp_path / at / name for at, name in (("x", "a.jpg"), ("y", "A.JPG"), ("y", "a-2.jpg"))]
    assert list(named(files)) == ["a.jpg", "A-2.JPG", "a-2-2.jpg"]
    with pytest.raises(UserError, match=r"^A\.JPG is there twice, letter case aside"):
        named([*files, tmp_path / "a.txt"])


def test_an_empty_file_and_another_ending_are_no_coco_file(tmp_path: Path) -> None:
    (tmp_path / "empty.json").touch()
    (tmp_path / "a.txt").write_text('{"images": [], "annotations": []}')
    assert not is_coco(tmp_path / "empty.json") and not is_coco(tmp_path / "a.txt")


LITTLE, BIG = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(b"", "utf-8"), (LITTLE, "utf-16-le"), (BIG, "utf-16-be"), (b"", "utf-16-le"), (b"", "utf-16-be")],
)
def test_a_coco_file_among_uploads_is_read_in_utf_16_by_its_mark_and_refused_without_one(
    sqlite_engine: Engine, tmp_path: Path, mark: bytes, encoding: str
) -> None:
    Image.new("RGB", (40, 20), "red").save(tmp_path / "a.png")
    box = {"id": 1, "image_id": 1, "bbox": [1, 1, 9, 9], "description": "крышка"}
    image = {"id": 1, "file_name": "a.png", "width": 40, "height": 20}
    content = json.dumps({"images": [image], "annotations": [box], "categories": []}, ensure_ascii=False)
    (tmp_path / "boxes.json").write_bytes(mark + content.encode(encoding))
    kept = keep_upload(tmp_path / "home", named([tmp_path / "a.png", tmp_path / "boxes.json"]))
    assert [each.name for each in kept.annotations] == ["boxes.json"]
    told = ingest(sqlite_engine, kept.pictures, dataset="lids", home=tmp_path / "home", processes=1)
    assert (told.added, told.refused.total()) == (1, 0)
    asked: dict[str, Any] = {"dataset": "lids", "path": kept.annotations[0], "format": "coco", "who": "ana"}
    if mark or encoding == "utf-8":
        assert import_file(sqlite_engine, **asked).added == 1
    else:
        sentence = "expected UTF-8, or UTF-16 with a byte order mark, got UTF-16 without one: save the file as UTF-8"
        with pytest.raises(UserError, match=rf"^boxes\.json, {sentence}$"):
            import_file(sqlite_engine, **asked)


def test_uploads_are_found_by_the_places_of_their_pictures(tmp_path: Path) -> None:
    uploads = uploads_folder(tmp_path)
    places = [str(uploads / "one" / "pictures" / "a.jpg"), str(tmp_path / "elsewhere.jpg"), str(uploads), ""]
    assert uploads_of(tmp_path, places) == {uploads / "one"}


def test_a_deleted_data_set_takes_its_uploads_along_unless_another_has_them(engine: Engine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for folder in ("mine", "shared"):
        picture_files(tmp_path / folder, 2)
    mine, shared = (keep_upload(home, named(sorted((tmp_path / name).iterdir()))) for name in ("mine", "shared"))
    for source, dataset in ((mine, "first"), (shared, "first"), (shared, "second")):
        ingest(engine, source.pictures, dataset=dataset, home=home)
    delete(engine, home, dataset="first")
    assert not mine.pictures.exists() and shared.pictures.exists()
    delete(engine, home, dataset="second")
    assert not any(uploads_folder(home).iterdir())


def test_duplicates_and_what_was_left_out_of_an_upload_go_with_the_data_set(engine: Engine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    picture_files(tmp_path / "mine", 1)
    (tmp_path / "mine" / "private.docx").write_text("no picture")
    for dataset in ("first", "first", "second"):
        kept = keep_upload(home, named(sorted((tmp_path / "mine").iterdir())))
        ingest(engine, kept.pictures, dataset=dataset, home=home, processes=1)
    assert ingest(engine, kept.pictures, dataset="first", home=home, processes=1).added == 0, (
        "also of the second's upload"
    )
    delete(engine, home, dataset="first")
    assert [upload.name for upload in uploads_folder(home).iterdir()] == [kept.pictures.parent.name]
    delete(engine, home, dataset="second")
    assert not any(uploads_folder(home).iterdir())
