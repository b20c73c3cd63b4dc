"""A record's picture: by its content, or by as much of its path as decides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curation.exchange.import_annotations import ImportAnnotationsConfig, main
from curation.exchange.picture_finder import PictureFinder
from curation.files.home import database_url
from curation.files.records import PictureRecord
from curation.ingest.ingest import ingest
from db.engine import Engine, open_engine, reading
from db.queries.data_set_queries import existing_dataset, image_page
from db.queries.version_queries import pictures_of
from job_progress import PROGRESS
from tests.support.tiny import picture


@pytest.mark.parametrize(
    ("there", "file_name", "size", "found"),
    [
        ("val/1.jpg", "val/1.jpg", (64, 48), "val/1.jpg"),
        ("val/1.jpg", "photos/1.jpg", (640, 480), "val/1.jpg"),  # another folder, the same shape
        ("val/1.jpg", "photos/1.jpg", (480, 640), "val/1.jpg"),  # not yet upright
        ("val/1.jpg", "photos/1.jpg", (100, 80), ""),
        ("val/1.jpg", "images/train/1.jpg", (64, 48), ""),
        ("val2017/1.jpg", "validation/1.jpg", (64, 48), "val2017/1.jpg"),
        ("one/images/1.jpg two/images/1.jpg", "two/images/1.jpg", (64, 48), "two/images/1.jpg"),
        ("one/images/1.jpg two/images/1.jpg", "set/two/images/1.jpg", (64, 48), "two/images/1.jpg"),
        ("one/images/1.jpg two/images/1.jpg", "images/1.jpg", (64, 48), ""),
        ("one/images/1.jpg two/images/1.jpg", "1.jpg", (64, 48), ""),
        ("a/1.jpg b/1.jpg", "c/1.jpg", (64, 48), ""),
        ("a/1.jpg", "1.jpg", (64, 48), "a/1.jpg"),
        ("a/1.jpg", "c\\a\\1.jpg", (64, 48), "a/1.jpg"),
        ("a/cafe\u0301.jpg", "a/caf\u00e9.jpg", (64, 48), "a/cafe\u0301.jpg"),  # as macOS names it
        ("a/img_1.jpg", "IMG_1.JPG", (64, 48), "a/img_1.jpg"),
        ("a/img_1.jpg", "A\\IMG_1.JPG", (64, 48), "a/img_1.jpg"),
        ("a/img_1.jpg A/IMG_1.JPG", "A/IMG_1.JPG", (64, 48), "A/IMG_1.JPG"),  # as it is written comes first
        ("a/img_1.jpg b/IMG_1.JPG", "IMG_1.JPG", (64, 48), "b/IMG_1.JPG"),
        ("a/img_1.jpg b/IMG_1.jpg", "IMG_1.JPG", (64, 48), ""),
        ("a/img_1.jpg b/IMG_1.jpg", "B/img_1.JPG", (64, 48), "b/IMG_1.jpg"),
        ("Train/img_1.jpg", "train/IMG_1.JPG", (64, 48), "Train/img_1.jpg"),
    ],
)
def test_of_the_pictures_of_a_name_its_folders_decide(
    sqlite_engine: Engine, tmp_path: Path, there: str, file_name: str, size: tuple[int, int], found: str
) -> None:
    for number, name in enumerate(there.split()):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True)
        picture(number, (64, 48)).save(path)
    ingest(sqlite_engine, tmp_path / "photos", dataset="photos", home=tmp_path, processes=1)
    with reading(sqlite_engine) as session:
        dataset = existing_dataset(session, name="photos").id
        names = {image.id: image.location for image in image_page(session, dataset_id=dataset)}
    finder = PictureFinder(sqlite_engine, dataset)
    pairs, missing = finder.find([PictureRecord("", *size, file_name)])
    assert [names[number] for number, _ in pairs] == [str(tmp_path / "photos" / found)] * bool(found)
    assert missing == [file_name] * (not found)
    assert finder.ambiguous == (not found and len(there.split()) > 1)


def test_a_file_that_was_changed_and_imported_again_is_the_picture_that_it_holds_now(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    """Once its first content is back, that picture is meant again."""
    file = tmp_path / "photos" / "1.png"
    file.parent.mkdir()
    found = []
    for number in (1, 2, 1):
        picture(number, (64, 48)).save(file)
        tally = ingest(sqlite_engine, file.parent, dataset="photos", home=tmp_path, processes=1)
        with reading(sqlite_engine) as session:
            dataset = existing_dataset(session, name="photos").id
        finder = PictureFinder(sqlite_engine, dataset)
        pairs, _ = finder.find([PictureRecord("", 64, 48, "photos/1.png")])
        found.append(([number for number, _ in pairs], tally.added, tally.changed, finder.ambiguous))
    assert found == [([1], 1, 0, 0), ([2], 1, 1, 0), ([1], 0, 0, 0)]


def test_a_name_that_several_pictures_fit_is_refused_and_the_import_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(("a/1.jpg", "b/1.jpg", "b/2.jpg")):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number, (64, 48)).save(tmp_path / "photos" / name)
    engine = open_engine(database_url(tmp_path))
    ingest(engine, tmp_path / "photos", dataset="photos", home=tmp_path, processes=1)
    images = [{"id": at, "file_name": f"{at}.jpg", "width": 64, "height": 48} for at in (1, 2, 3)]
    boxes = [{"id": at, "image_id": at, "bbox": [1, 1, 9, 9], "description": f"lid {at}"} for at in (1, 2, 3)]
    (tmp_path / "lids.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": []}))
    monkeypatch.setenv(PROGRESS, str(tmp_path / "progress.json"))
    main(ImportAnnotationsConfig(tmp_path / "lids.json", dataset="photos", format="coco", home=tmp_path))
    message = json.loads((tmp_path / "progress.json").read_text())["message"]
    fitting = "(1 of them have a name that several fit: name their folders as well)"
    assert message == f"1 added, 0 known, 2 pictures not found {fitting}"
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ambiguous"], answer["not_found"], answer["examples"]) == (1, 2, ["1.jpg", "3.jpg"])
    with reading(engine) as session:
        dataset = existing_dataset(session, name="photos").id
        ids = [image.id for image in image_page(session, dataset_id=dataset)]
        found = pictures_of(session, image_ids=ids, statuses=("pending", "accepted"))
    engine.dispose()
    assert {
        Path(one.image.location).parent.name: [row.text for row in one.regions] for one in found if one.regions
    } == {"b": ["lid 2"]}
