"""A record's picture: by its content, or by as much of its path as decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.exchange.picture_finder import PictureFinder
from curation.files.records import PictureRecord
from curation.ingest.ingest import ingest
from db.engine import Engine, reading
from db.queries.data_set_queries import existing_dataset, image_page
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
