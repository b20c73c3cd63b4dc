"""ImageNetV2, EuroSAT, CUB's unseen classes and ObjectNet, tiny, in the layouts that they are published in."""

import json
from pathlib import Path

import pytest
from PIL import Image

from grain.data.classification_sets import EUROSAT
from grain.data.published import PUBLISHED, open_data_set
from grain.data.published_readers import imagenet_names
from user_errors import UserError


def draw(file: Path, size: tuple[int, int] = (20, 10)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, "red")
    image.paste("white", (2, 2, size[0] - 2, size[1] - 2))
    image.save(file)


def test_a_folder_of_imagenet_v2_is_called_by_its_classs_number(tmp_path: Path) -> None:
    for row in (0, 2, 10, 999):
        draw(tmp_path / "imagenetv2-matched-frequency-format-val" / str(row) / "a.jpeg")
    data = open_data_set("imagenet-v2", tmp_path)
    assert sorted(item.label for item in data.read(0)) == [0, 2, 10, 999]
    assert data.class_names == tuple(imagenet_names()) and "10,000 pictures as published" in data.note


def test_eurosat_is_asked_by_clips_names(tmp_path: Path) -> None:
    for folder in ("Forest", "SeaLake"):
        draw(tmp_path / "eurosat" / "2750" / folder / f"{folder}_1.jpg")
    data = open_data_set("eurosat", tmp_path)
    assert [data.class_names[item.label] for item in data.read(0)] == ["forest", "lake or sea"]
    assert data.templates and data.templates.names == ("a centered satellite photo of {name}.",)
    assert len(EUROSAT) == PUBLISHED["eurosat"].classes == 10


def test_unseen_classes_of_cub_have_all_of_their_pictures(tmp_path: Path) -> None:
    place = tmp_path / "CUB_200_2011"
    pictures = {1: "001.Ani/a.jpg", 2: "002.Red_Jay/b.jpg", 3: "002.Red_Jay/c.jpg", 4: "003.Owl/d.jpg"}
    for file in pictures.values():
        draw(place / "images" / file)
    (place / "images.txt").write_text("".join(f"{key} {file}\n" for key, file in pictures.items()))
    (place / "classes.txt").write_text("1 001.Ani\n2 002.Red_Jay\n3 003.Owl\n")
    with pytest.raises(UserError, match=r"CUB-200-2011, unseen classes is not on this machine: get .*testclasses.txt"):
        open_data_set("cub-unseen", tmp_path)
    (place / "testclasses.txt").write_text("003.Owl\n002.Red_Jay\n")
    data = open_data_set("cub-unseen", tmp_path)
    assert data.class_names == ("Owl", "Red Jay") and [item.label for item in data.read(0)] == [1, 1, 0]
    (place / "testclasses.txt").write_text("004.Cat\n")
    with pytest.raises(UserError, match=r"names '004.Cat', which is none of CUB's classes"):
        open_data_set("cub-unseen", tmp_path)


def test_a_class_of_objectnet_goes_by_all_of_its_names_in_imagenet(tmp_path: Path) -> None:
    place = tmp_path / "objectnet-1.0"
    for folder in ("chair", "bench", "air_freshener"):
        draw(place / "images" / folder / "a.png")
    (place / "mappings").mkdir()
    labels = {"chair": "Chair", "bench": "Bench", "air_freshener": "Air freshener"}
    shared = {"Chair": "barber chair; rocking chair, rocker", "Bench": "park bench"}
    (place / "mappings" / "folder_to_objectnet_label.json").write_text(json.dumps(labels))
    (place / "mappings" / "objectnet_to_imagenet_1k.json").write_text(json.dumps(shared))
    data = open_data_set("objectnet", tmp_path)
    assert data.class_names == ("Bench", "Chair")
    assert data.members == {"Bench": ("park bench",), "Chair": ("barber chair", "rocking chair")}
    items = list(data.read(0))
    assert [item.label for item in items] == [0, 1]
    image = items[0].open()
    assert image.size == (16, 6) and image.getpixel((0, 0)) == (255, 255, 255), "the red border is cut off"
    (place / "mappings" / "objectnet_to_imagenet_1k.json").write_text(json.dumps({"Chair": 5}))
    with pytest.raises(UserError, match="another layout than ObjectNet's mappings"):
        open_data_set("objectnet", tmp_path)
