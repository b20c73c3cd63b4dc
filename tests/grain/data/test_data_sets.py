import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from grain.data.data_sets import NO_LABEL, DataSet
from grain.data.layouts import open_path
from grain.data.published import PUBLISHED, open_data_set, open_published
from grain.evaluate.features import chosen_items, chosen_rows
from grain.evaluate.scoring import halves
from tests.support.tiny import picture, sample, write_data, write_shard
from user_errors import UserError

PEOPLE = [
    ("person", (0.0, 0.0, 0.2, 0.5)),
    ("a dog", (0.1, 0.1, 0.3, 0.3)),
    ("person", (0.5, 0.0, 0.8, 0.5)),
]


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path)
    return path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def folder_of(root: Path, classes: Mapping[str, int]) -> Path:
    for name, count in classes.items():
        for i in range(count):
            save(root / name / f"{i}.png", i)
    return root


# a data folder


def test_a_data_folder_gives_labels_captions_and_regions_in_its_order(data_folder: Path) -> None:
    data = open_data_set(str(data_folder), Path("nowhere"))
    items = list(data.read(0))
    assert (data.split, data.total, data.class_names) == ("novel", 4, ("zorbex", "quimble", "plain"))
    assert [item.label for item in items] == [0, 1, 2, 0]
    assert [len(item.sentences) for item in items] == [0, 3, 1, 4]
    assert items[1].open().size == (48, 40)
    assert items[2].captions[0].startswith("a ")
    assert data.classes == {"zorbex": ["a red lid", "a blue star"], "quimble": ["a green handle"]}
    assert [item.key for item in data.read(2)] == [item.key for item in items[2:]]


def test_regions_with_one_description_are_one_sentence_with_several_boxes(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data", novel=1)
    facts = {"caption": "people", "regions": [{"text": text, "box": box} for text, box in PEOPLE]}
    one = sample("novel-0000000", 0, regions=0) | {"novel-0000000.json": json.dumps(facts).encode()}
    write_shard(folder / "novel-000000.tar", [one])
    [item] = open_path(folder).read(0)
    assert [(each.text, each.boxes_xyxy) for each in item.sentences] == [
        ("person", (PEOPLE[0][1], PEOPLE[2][1])),
        ("a dog", (PEOPLE[1][1],)),
    ]


def test_another_split_is_named_behind_the_path_and_has_no_labels(data_folder: Path) -> None:
    data = open_data_set(f"{data_folder}#held_out", Path("nowhere"))
    assert (data.split, data.total) == ("held_out", 6)
    assert {item.label for item in data.read(0)} == {NO_LABEL}
    with pytest.raises(UserError, match="has no split 'test': it has train, held_out, novel"):
        open_data_set(f"{data_folder}#test", Path("nowhere"))


def test_without_classes_json_the_classes_are_those_of_the_pictures(data_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in data_folder.iterdir():
        if file.name != "classes.json":
            (copy / file.name).write_bytes(file.read_bytes())
    data = open_path(copy)
    assert data.class_names == ("plain", "quimble", "zorbex")
    assert data.classes == {}


# an ImageFolder


def test_an_image_folder_is_read_upright_with_spaces_for_underscores(tmp_path: Path) -> None:
    folder_of(tmp_path, {"red_car": 2, "bus": 1})
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(3).save(tmp_path / "bus" / "turned.jpg", exif=exif)
    data = open_path(tmp_path)
    assert data.class_names == ("bus", "red car")
    assert [item.label for item in data.read(0)] == [0, 0, 1, 1]
    assert [item.open().size for item in data.read(0)] == [(48, 40), (40, 48), (48, 40), (48, 40)]


def test_pictures_of_one_file_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    classes = [f"class {number}" for number in range(16)]
    data = open_path(folder_of(tmp_path / "one", dict.fromkeys(classes, 1)))
    keys = [item.key for item in data.read(0)]
    assert keys == sorted(f"{name}/0.png" for name in classes)
    assert len(set(halves(keys))) == 2, "one half chooses the α of the other"
    plain = [save(tmp_path / "plain" / folder / f"{name}.png") for folder, name in (("a", "x"), ("b", "y"))]
    assert [item.key for item in open_path(plain[0].parent.parent).read(0)] == ["x", "y"]


def test_what_other_programs_leave_in_an_image_folder_is_no_class_of_it(tmp_path: Path) -> None:
    folder_of(tmp_path, {"fox": 2, "owl": 1, ".ipynb_checkpoints": 1, "__MACOSX": 1})
    (tmp_path / "fox" / "._0.png").write_bytes(b"\0\5\26\7 what macOS keeps of a file elsewhere")
    (tmp_path / ".cache").mkdir()
    data = open_path(tmp_path)
    assert (data.class_names, data.total, data.note) == (("fox", "owl"), 3, "")


def test_an_image_folder_tells_what_it_leaves_out(tmp_path: Path) -> None:
    folder_of(tmp_path, {"fox": 2, "owl/young": 2, "owl": 1})
    (tmp_path / "elk").mkdir()
    save(tmp_path / "owl" / "young" / "at night" / "0.png")
    data = open_path(tmp_path)
    assert (data.class_names, data.total) == (("fox", "owl"), 3)
    assert data.note == (
        "Folders without a picture are no classes here: elk. Pictures deeper than CLASS/picture are left out (3): "
        "owl/young/0.png, owl/young/1.png, owl/young/at night/0.png."
    )
    folder_of(tmp_path / "splits", {"train/fox": 1, "test/owl": 1})
    with pytest.raises(UserError, match=r"if .*/splits#test is one, name that"):
        open_path(tmp_path / "splits")
    assert open_path(tmp_path / "splits", "test").class_names == ("owl",)


def test_an_image_folder_holds_the_formats_that_the_app_reads(tmp_path: Path) -> None:
    (tmp_path / "fox").mkdir()
    for ending in ("avif", "webp"):
        picture(0).save(tmp_path / "fox" / f"0.{ending}")
    assert [item.open().size for item in open_path(tmp_path).read(0)] == [(48, 40)] * 2


def test_folders_whose_names_differ_by_a_sign_stay_apart_beside_classes_json(tmp_path: Path) -> None:
    folder_of(tmp_path, {"Galaxy S24": 1, "Galaxy S24+": 1, "coffee_mug": 1})
    classes = {"Galaxy S24": ["a small phone"], "Galaxy S24+": ["a large phone"], "Coffee Mug": ["a cup"]}
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    data = open_path(tmp_path)
    assert data.class_names == ("Galaxy S24", "Galaxy S24+", "Coffee Mug") and data.classes == classes
    assert [item.label for item in data.read(0)] == [0, 1, 2]


def test_another_file_gives_another_fingerprint(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": 2, "b": 1})
    before = open_path(tmp_path).fingerprint
    assert open_path(tmp_path).fingerprint == before
    (tmp_path / "a" / "0.png").write_bytes((tmp_path / "a" / "1.png").read_bytes() + b" ")
    assert open_path(tmp_path).fingerprint != before


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": 1})
    (tmp_path / "a" / "0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"0\.png cannot be read as a picture .*: copy it again or take it away"):
        next(open_path(tmp_path).read(0)).open()


def test_what_is_no_data_set_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder .*: give a data folder, an ImageFolder"):
        open_path(tmp_path / "nothing")
    with pytest.raises(UserError, match="has no pictures in folders: expected an ImageFolder"):
        open_path(tmp_path)
    with pytest.raises(UserError, match="no data set is called 'cifar11': choose one of cifar10, cifar100"):
        open_data_set("cifar11", tmp_path)


# CLIP_benchmark's WebDataset


def web(root: Path, samples: list[dict[str, bytes]], classes: str = "lid\nred star\n") -> Path:
    (root / "test").mkdir(parents=True)
    write_shard(root / "test" / "0.tar", samples[:2])
    write_shard(root / "test" / "10.tar", samples[3:])
    write_shard(root / "test" / "2.tar", samples[2:3])
    write(root / "classnames.txt", classes)
    write(root / "zeroshot_classification_templates.txt", "a {c} in {braces}\nthe {c}.\n")
    return root


def web_sample(key: str, **files: bytes) -> dict[str, bytes]:
    pixels = io.BytesIO()
    picture(len(key)).save(pixels, "PNG")
    return {f"{key}.png": pixels.getvalue()} | {f"{key}.{end}": content for end, content in files.items()}


def test_webdataset_in_clip_benchmarks_layout_keeps_order_classes_and_templates(tmp_path: Path) -> None:
    samples = [web_sample(f"s{i}", cls=b"%d\n" % (i % 2), txt=b"one\n\ntwo\n") for i in range(4)]
    data = open_path(web(tmp_path / "web", samples))
    items = list(data.read(0))
    assert (data.total, data.class_names) == (4, ("lid", "red star"))
    assert [(item.key, item.label) for item in items] == [("s0", 0), ("s1", 1), ("s2", 0), ("s3", 1)]
    assert items[0].captions == ("one", "two")
    assert items[3].open().size == (48, 40)
    assert data.templates is not None
    assert [one.format(name="lid") for one in data.templates.names] == ["a lid in {braces}", "the lid."]
    assert data.templates.descriptions[1].format(name="lid", description="a hat") == "the lid, which has a hat."


@pytest.mark.parametrize("label", [b"2", b"-1", b"lid"])
def test_a_class_that_is_not_among_the_names_is_refused(label: bytes, tmp_path: Path) -> None:
    data = open_path(web(tmp_path / "web", [web_sample(f"s{i}", cls=label) for i in range(4)]))
    with pytest.raises(UserError, match=r"sample s0 has the class .*: expected a row of classnames.txt"):
        list(data.read(0))


def test_a_broken_shard_is_named(tmp_path: Path) -> None:
    root = web(tmp_path / "web", [web_sample(f"s{i}", cls=b"0") for i in range(4)])
    (root / "test" / "2.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(UserError, match=r"2\.tar cannot be read .*: copy the shard again"):
        open_path(root)


# the published ones


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_set_that_is_not_here_says_what_to_get_and_where_to_put_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not on this machine: get .* and put it into") as error:
        open_data_set(name, tmp_path)
    assert str(tmp_path / PUBLISHED[name].place) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", PUBLISHED)
def test_half_of_a_published_set_is_one_sentence_too(name: str, tmp_path: Path) -> None:
    (tmp_path / PUBLISHED[name].place).mkdir(parents=True)
    if mark := PUBLISHED[name].mark:
        write(tmp_path / PUBLISHED[name].place / mark, "")
    with pytest.raises(UserError, match=r"is not whole .*: get .* and put it into") as error:
        open_published(name, tmp_path)
    assert "\n" not in str(error.value)


def lay_out(name: str, root: Path) -> list[str]:
    """A tiny set in the published layout; its classes."""
    if name == "dtd":
        folder_of(root / "dtd/dtd/images", {"banded": 1, "dotted": 2})
        write(root / "dtd/dtd/labels/test1.txt", "banded/0.png\ndotted/0.png\ndotted/1.png\n")
        return ["banded", "dotted"]
    if name == "sun397":
        save(root / "SUN397/a/abbey/sun_a.jpg")
        save(root / "SUN397/a/apartment_building/outdoor/sun_b.jpg")
        write(root / "SUN397/ClassName.txt", "/a/abbey\n/a/apartment_building/outdoor\n")
        return ["abbey", "apartment building outdoor"]
    if name == "oxford-pets":
        for key in ("Abyssinian_1", "basset_hound_7"):
            save(root / f"oxford-iiit-pet/images/{key}.jpg")
        write(root / "oxford-iiit-pet/annotations/test.txt", "Abyssinian_1 1 1 1\nbasset_hound_7 2 2 1\n")
        return ["Abyssinian", "Basset Hound"]
    if name == "food101":
        for key in ("apple_pie/1", "waffles/2"):
            save(root / f"food-101/images/{key}.jpg")
        write(root / "food-101/meta/test.json", json.dumps({"apple_pie": ["apple_pie/1"], "waffles": ["waffles/2"]}))
        return ["apple pie", "waffles"]
    if name == "caltech101":
        for folder in ("BACKGROUND_Google", "Faces", "ant"):
            save(root / f"caltech101/101_ObjectCategories/{folder}/image_0001.jpg")
        return ["Faces", "ant"]
    if name == "stanford-cars":
        base = root / "stanford_cars"
        save(base / "cars_test/1.jpg")
        (base / "devkit").mkdir()
        car = np.array([("1.jpg", 2)], dtype=[("fname", object), ("class", int)])
        savemat(base / "cars_test_annos_withlabels.mat", {"annotations": np.concatenate([car, car])})
        savemat(base / "devkit/cars_meta.mat", {"class_names": np.array(["Acme One", "Acme Two"], dtype=object)})
        return ["Acme One", "Acme Two"]
    assert name == "cub-200"
    base = root / "CUB_200_2011"
    for number in (1, 2):
        save(base / f"images/{number}.jpg")
    write(base / "classes.txt", "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n")
    write(base / "images.txt", "1 1.jpg\n2 2.jpg\n")
    write(base / "image_class_labels.txt", "1 1\n2 2\n")
    write(base / "train_test_split.txt", "1 1\n2 0\n")
    return ["Black footed Albatross", "Laysan Albatross"]


LABELS = {
    "dtd": [0, 1, 1],
    "sun397": [0, 1],
    "oxford-pets": [0, 1],
    "food101": [0, 1],
    "caltech101": [0, 1],
    "stanford-cars": [1, 1],
    "cub-200": [1],
}


@pytest.mark.parametrize("name", LABELS)
def test_a_published_layout_gives_its_pictures_classes_and_templates(name: str, tmp_path: Path) -> None:
    classes = lay_out(name, tmp_path)
    data = open_data_set(name, tmp_path)
    items = list(data.read(0))
    assert (data.name, data.class_names, data.total) == (name, tuple(classes), len(items))
    assert sorted(item.label for item in items) == LABELS[name]
    assert {item.open().mode for item in items} == {"RGB"}
    assert data.templates is not None and classes[0] in data.templates.names[0].format(name=classes[0])
    assert data.note.startswith(f"It has {len(classes)} classes and {len(items)} pictures here, "), "it is no whole one"


def test_a_published_set_that_is_whole_needs_no_note_and_another_one_says_how_it_differs() -> None:
    one = PUBLISHED["dtd"]
    whole = DataSet("dtd", "test", "", tuple(map(str, range(47))), 1880, "", lambda start: iter(()))
    assert one.note(whole) == ""
    assert one.note(replace(whole, total=1879)) == (
        "It has 47 classes and 1,879 pictures here, 47 classes and 1,880 pictures as published: its numbers are not "
        "those of others."
    )


def test_imagenet_takes_its_names_in_the_order_of_its_folders(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"imagenet/val/n{number:08d}").mkdir(parents=True)
    save(tmp_path / "imagenet/val/n00000001/x.JPEG")
    data = open_data_set("imagenet", tmp_path)
    assert len(set(data.class_names)) == 1000, "two are called alike in the published list"
    assert data.class_names[:2] == ("tench", "goldfish")
    assert [item.label for item in data.read(0)] == [1]


def test_captions_of_karpathys_split_come_several_a_picture(tmp_path: Path) -> None:
    save(tmp_path / "coco/val2014/1.jpg")
    sentences = [{"raw": "a cat "}, {"raw": "one cat"}]
    listed = [
        {"filepath": "val2014", "filename": "1.jpg", "split": "test", "sentences": sentences},
        {"filepath": "val2014", "filename": "2.jpg", "split": "train", "sentences": sentences},
    ]
    write(tmp_path / "coco/dataset_coco.json", json.dumps({"images": listed}))
    data = open_data_set("coco-captions", tmp_path)
    assert [(item.captions, item.label) for item in data.read(0)] == [(("a cat", "one cat"), NO_LABEL)]


COCO = {
    "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
    "annotations": [{"image_id": 1, "caption": "a cat"}, {"image_id": 2, "caption": "a dog"}],
}


def coco(root: Path, *pictures: str) -> Path:
    """A folder as COCO lays it out."""
    for name in pictures:
        save(root / "val2017" / name)
    write(root / "annotations" / "captions_val2017.json", json.dumps(COCO))
    return root


def test_a_captioned_set_is_found_by_its_name_its_folder_or_its_file_wherever_its_pictures_lie(tmp_path: Path) -> None:
    root = coco(tmp_path / "coco", "1.jpg", "2.jpg")
    specs = ("coco-val2017", str(root), f"{root}#val2017", str(root / "annotations" / "captions_val2017.json"))
    found = [open_data_set(spec, tmp_path) for spec in specs]
    assert [data.total for data in found] == [2, 2, 2, 2]
    assert {tuple(item.captions for item in data.read(0)) for data in found} == {(("a cat",), ("a dog",))}
    assert (found[0].name, found[0].split) == ("coco-val2017", "val2017")
    flickr = tmp_path / "flickr"
    save(flickr / "flickr30k-images" / "7.jpg")
    write(flickr / "results_20130124.token", "7.jpg#0\ta dog\n7.jpg#1\ta puppy\n")
    data = open_data_set(str(flickr), tmp_path)
    assert [item.captions for item in data.read(0)] == [("a dog", "a puppy")]
    assert "2 captions" in data.source


def test_what_a_captioned_set_lacks_is_one_sentence_with_where_to_put_it(tmp_path: Path) -> None:
    root = coco(tmp_path / "coco", "1.jpg")
    with pytest.raises(UserError, match=r"1 of 2 pictures of captions_val2017.json are not in .*val2017, 2.jpg for"):
        open_data_set(str(root), tmp_path)
    with pytest.raises(UserError, match=r"val2017 in .*coco is not whole \(1 of 2 pictures.*: get val2017 and annot"):
        open_data_set("coco-val2017", tmp_path)
    with pytest.raises(UserError, match="Karpathy's test split is not on this machine: get val2014 and"):
        open_data_set("coco-captions", tmp_path)
    write(root / "dataset_coco.json", "{}")
    with pytest.raises(UserError, match=r"several files of captions .*: give the path of one"):
        open_data_set(str(root), tmp_path)
    write(tmp_path / "mine.json", "[]")
    with pytest.raises(UserError, match=r"mine\.json cannot be read"):
        open_data_set(str(tmp_path / "mine.json"), tmp_path)


# a sample of one


def test_a_limit_draws_the_same_pictures_each_time_and_of_all_classes(tmp_path: Path) -> None:
    data = open_path(folder_of(tmp_path, {f"class{i}": 4 for i in range(5)}))
    labels = [item.label for item in chosen_items(data, 10)]
    assert labels == [item.label for item in chosen_items(data, 10)]
    assert len(set(labels)) > 3
    assert chosen_rows(data, None).tolist() == chosen_rows(data, 99).tolist() == list(range(20))
    pairs = chosen_rows(replace(data, together=2), 7)
    assert len(pairs) == 6 and (pairs[::2] % 2 == 0).all() and (pairs[1::2] == pairs[::2] + 1).all()
    assert chosen_rows(replace(data, together=2), 1).tolist() != [], "one pair at least"


def test_fewer_pictures_than_promised_are_noticed(tmp_path: Path) -> None:
    root = web(tmp_path / "web", [web_sample(f"s{i}", cls=b"0") for i in range(4)])
    data = open_path(root)
    with tarfile.open(root / "test" / "10.tar", "w"):
        pass
    with pytest.raises(UserError, match=r"has fewer pictures than it says \(4\)"):
        list(chosen_items(data, None))
