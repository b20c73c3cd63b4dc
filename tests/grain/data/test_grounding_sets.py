"""Data sets of sentences, objects and contrasts, tiny, in the layouts that they are published in."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from grain.data.data_sets import CaptionContrast, DataSet, EvaluationItem, GroundedSentence
from grain.data.published import PUBLISHED, open_data_set
from user_errors import UserError

WIDTH, HEIGHT = 200, 100


def draw(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), "white").save(file)


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def items(data: DataSet) -> list[EvaluationItem]:
    found = list(data.read(0))
    assert len(found) == data.total and list(data.read(1)) == found[1:]
    assert all(item.open().size == (WIDTH, HEIGHT) for item in found)
    return found


def image(number: int) -> dict[str, Any]:
    return {"id": number, "file_name": f"COCO_train2014_{number:012d}.jpg", "width": WIDTH, "height": HEIGHT}


def ref(ann: int, picture: int, split: str, *sentences: str) -> dict[str, Any]:
    sents = [
        {"sent": text, "raw": text.upper(), "tokens": text.split(), "sent_id": row}
        for row, text in enumerate(sentences)
    ]
    ids = {"ref_id": ann, "ann_id": ann, "image_id": picture, "category_id": 1, "sent_ids": [1]}
    return {**ids, "split": split, "sentences": sents, "file_name": f"COCO_train2014_{picture:012d}_{ann}.jpg"}


@pytest.fixture
def refcoco(tmp_path: Path) -> Path:
    """Two pictures of the split, and one of another, as lichengunc/refer packs them."""
    refs = [
        ref(11, 1, "val", "left man", "the man  on the left"),
        ref(12, 1, "val", "woman"),
        ref(13, 2, "val", "dog"),
        ref(14, 3, "train", "cat"),
    ]
    boxes = {11: [0, 0, 50, 100], 12: [100, 0, 100, 50], 13: [-10, 20, 300, 30], 14: [0, 0, 10, 10]}
    annotations = [{"id": key, "bbox": box, "image_id": 1, "category_id": 1} for key, box in boxes.items()]
    (tmp_path / "refcoco").mkdir()
    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(refs, 0))
    write(
        tmp_path / "refcoco" / "instances.json", {"images": [image(n) for n in (1, 2, 3)], "annotations": annotations}
    )
    draw(*(tmp_path / "coco" / "train2014" / image(number)["file_name"] for number in (1, 2)))
    return tmp_path


def test_refcoco_is_pictures_with_their_expressions(refcoco: Path) -> None:
    data = open_data_set("refcoco-val", refcoco)
    first, second = items(data)
    left = (0.0, 0.0, 0.25, 1.0)
    assert first.sentences == (
        GroundedSentence("left man", (left,)),
        GroundedSentence("the man on the left", (left,)),
        GroundedSentence("woman", ((0.5, 0.0, 1.0, 0.5),)),
    )
    assert second.sentences == (GroundedSentence("dog", ((0.0, 0.2, 1.0, 0.5),)),), "a box ends where its picture does"
    assert (data.name, data.split, data.sentences) == ("refcoco-val", "val", 4)
    assert "4 sentences and 2 pictures here, 10,834 sentences and 1,500 pictures as published" in data.note


def test_the_published_counts_of_expressions_are_those_of_the_authors() -> None:
    counts = {name: (one.pictures, one.sentences) for name, one in PUBLISHED.items() if one.sentences}
    assert counts["refcoco-testa"] == (750, 5657) and counts["refcoco+-testb"] == (750, 4889)
    assert counts["refcocog-test"] == (2600, 9602) and counts["flickr30k-entities"] == (1000, 14_481)
    assert sum(count for name, (_, count) in counts.items() if name.startswith("sugarcrepe")) == 7511
    assert counts["winoground"] == (800, 800) and PUBLISHED["lvis-val"].pictures == 19_809


def test_refcoco_that_is_not_whole_is_one_sentence(refcoco: Path) -> None:
    (refcoco / "coco" / "train2014" / image(2)["file_name"]).unlink()
    with pytest.raises(UserError, match=r"RefCOCO val in .* is not whole .*lacks"):
        open_data_set("refcoco-val", refcoco)
    with pytest.raises(UserError, match=r"RefCOCO testA in .*has no pictures of the split 'testA'"):
        open_data_set("refcoco-testa", refcoco)
    (refcoco / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps([Path("x")]))
    with pytest.raises(UserError, match="expected a pickle of texts"):
        open_data_set("refcoco-val", refcoco)
    (refcoco / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps([{"split": "val"}]))
    with pytest.raises(UserError, match="another layout than"):
        open_data_set("refcoco-val", refcoco)
    with pytest.raises(UserError, match=r"RefCOCO\+ val is not on this machine: get its refs\(unc\).p"):
        open_data_set("refcoco+-val", refcoco)


XML = """<annotation><filename>7.jpg</filename><size><width>200</width><height>100</height><depth>3</depth></size>
<object><name>1</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>50</xmax><ymax>100</ymax></bndbox></object>
<object><name>1</name><name>2</name><bndbox><xmin>101</xmin><ymin>51</ymin><xmax>200</xmax><ymax>100</ymax></bndbox></object>
<object><name>3</name><scene>1</scene><nobndbox>0</nobndbox></object></annotation>"""
SENTENCES = """[/EN#1/people Two men] beside [/EN#2/other/people a dog] in [/EN#3/scene a park] .
[/EN#1/people They] look at [/EN#0/notvisual it] ."""


@pytest.fixture
def entities(tmp_path: Path) -> Path:
    """One picture of Flickr30k Entities."""
    place = tmp_path / "flickr30k_entities"
    write(place / "test.txt", "7\n")
    write(place / "Annotations" / "7.xml", XML)
    write(place / "Sentences" / "7.txt", SENTENCES)
    draw(tmp_path / "flickr30k" / "flickr30k-images" / "7.jpg")
    return tmp_path


def test_a_phrase_of_flickr30k_entities_has_any_of_its_boxes_or_the_one_around_them(entities: Path) -> None:
    left, right = (0.0, 0.0, 0.25, 1.0), (0.5, 0.5, 1.0, 1.0)
    [item] = items(open_data_set("flickr30k-entities", entities))
    assert item.sentences == (
        GroundedSentence("Two men", (left, right)),
        GroundedSentence("a dog", (right,)),
        GroundedSentence("They", (left, right)),
    ), "a phrase counts once a caption; a scene and what is not visual have no box"
    [merged] = items(open_data_set("flickr30k-entities-merged", entities))
    assert [each.boxes_xyxy for each in merged.sentences] == [((0, 0, 1, 1),), (right,), ((0, 0, 1, 1),)]


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("Annotations/7.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "definitions"),
        ("Annotations/7.xml", "<annotation>", "no XML"),
        ("Annotations/7.xml", "<annotation/>", "another layout"),
        ("Annotations/7.xml", XML.replace(">200<", ">0<", 1), "picture of some size"),
        ("Sentences/7.txt", "x" * 1_000_001, "more than 1,000,000 bytes"),
        ("test.txt", "../7", "must list pictures by number"),
    ],
)
def test_files_of_entities_that_are_no_such_files_are_one_sentence(
    entities: Path, file: str, content: str, sentence: str
) -> None:
    write(entities / "flickr30k_entities" / file, content)
    with pytest.raises(UserError, match=f"Flickr30k Entities.* is not whole .*{sentence}"):
        open_data_set("flickr30k-entities", entities)


LVIS: dict[str, Any] = {
    "images": [
        {
            "id": 5,
            "coco_url": "http://example.org/val2017/000000000005.jpg",
            "width": WIDTH,
            "height": HEIGHT,
            "neg_category_ids": [30],
            "not_exhaustive_category_ids": [10],
        },
        {
            "id": 6,
            "coco_url": "http://example.org/train2017/000000000006.jpg",
            "width": WIDTH,
            "height": HEIGHT,
            "neg_category_ids": [],
            "not_exhaustive_category_ids": [],
        },
    ],
    "annotations": [{"id": 1, "image_id": 5, "category_id": 10, "bbox": [20, 10, 40, 50], "area": 9}],
    "categories": [
        {"id": 30, "name": "bow_(weapon)", "frequency": "r"},
        {"id": 10, "name": "aerosol_can", "frequency": "f"},
        {"id": 20, "name": "cup", "frequency": "f"},
    ],
}


def test_lvis_asks_for_what_was_looked_for_in_each_picture(tmp_path: Path) -> None:
    write(tmp_path / "lvis" / "lvis_v1_minival.json", LVIS)
    draw(tmp_path / "coco/val2017/000000000005.jpg", tmp_path / "coco/train2017/000000000006.jpg")
    data = open_data_set("lvis-minival", tmp_path)
    first, second = items(data)
    assert data.categories == ("aerosol can", "cup", "bow weapon")
    assert data.category_groups == {"rare": (2,), "frequent": (0, 1)}
    assert first.objects and second.objects
    assert first.objects.boxes_xyxy == ((0.1, 0.1, pytest.approx(0.3), 0.6),)
    assert (first.objects.categories, first.objects.asked, first.objects.incomplete) == ((0,), (0, 2), (0,))
    assert (second.objects.categories, second.objects.asked) == ((), ())
    assert "2 pictures here" in data.note


def test_a_subset_of_odinw_is_opened_by_its_folder(tmp_path: Path) -> None:
    picture = {"id": 0, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}
    crowd = {"id": 1, "image_id": 0, "category_id": 2, "bbox": [0, 0, 200, 100], "iscrowd": 1}
    content = {"images": [picture], "annotations": [crowd], "categories": [{"id": n, "name": f"c{n}"} for n in (1, 2)]}
    for name in ("annotations_without_background.json", "_annotations.coco.json"):
        place = tmp_path / name.partition(".")[0] / "Aquarium" / "test"
        write(place / name, content)
        draw(place / "a.jpg")
        for spec in (str(place), str(place / name), f"{place.parent}#test"):
            data = open_data_set(spec, tmp_path)
            [item] = items(data)
            assert item.objects and (item.objects.asked, item.objects.crowds) == ((0, 1), (True,))
            assert data.name == "Aquarium/test"
    write(place / "instances_b.json", content)
    with pytest.raises(UserError, match="several files of boxes"):
        open_data_set(str(place), tmp_path)


def test_coco_beside_its_captions_is_opened_by_the_file_of_boxes(tmp_path: Path) -> None:
    picture = {"id": 0, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}
    boxes = {"images": [picture], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    write(tmp_path / "coco" / "annotations" / "instances_val2017.json", boxes)
    captions = boxes | {"annotations": [{"id": 1, "image_id": 0, "caption": "a cat"}]}
    write(tmp_path / "coco" / "annotations" / "captions_val2017.json", captions)
    draw(tmp_path / "coco" / "val2017" / "a.jpg")
    for spec in ("coco-detection", str(tmp_path / "coco" / "annotations" / "instances_val2017.json")):
        assert open_data_set(spec, tmp_path).categories == ("cat",)
    assert items(open_data_set(str(tmp_path / "coco"), tmp_path))[0].captions == ("a cat",)


@pytest.mark.parametrize("name", ["instances.json", "annotations.json", "my boxes.json"])
def test_a_file_of_boxes_is_known_by_what_it_holds(tmp_path: Path, name: str) -> None:
    picture = {"id": 0, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [0, 0, 9, 9]}
    boxes = {"images": [picture], "annotations": [box], "categories": [{"id": 1, "name": "cat"}]}
    write(tmp_path / name, boxes)
    draw(tmp_path / "a.jpg")
    assert open_data_set(str(tmp_path / name), tmp_path).categories == ("cat",)
    write(tmp_path / name, boxes | {"annotations": [{"id": 1, "image_id": 0, "caption": 'a "bbox" cat'}]})
    assert items(open_data_set(str(tmp_path / name), tmp_path))[0].captions == ('a "bbox" cat',)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"file_name": "../../a.jpg"}, "must lie below its folder"),
        ({"width": 0}, "picture of some size"),
        ({"id": 9}, "another layout"),
    ],
)
def test_files_of_boxes_that_are_no_such_files_are_one_sentence(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    picture = {"id": 0, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT} | change
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [0, 0, 9, 9]}
    write(
        tmp_path / "_annotations.coco.json",
        {"images": [picture], "annotations": [box], "categories": [{"id": 1, "name": "c"}]},
    )
    with pytest.raises(UserError, match=sentence):
        open_data_set(str(tmp_path), tmp_path)


def test_winoground_is_two_pictures_an_example(tmp_path: Path) -> None:
    rows = [
        {"id": n, "image_0": f"ex_{n}_img_0", "image_1": f"ex_{n}_img_1", "caption_0": "a b", "caption_1": "b a"}
        | {"tag": "", "secondary_tag": "", "num_main_preds": 1, "collapsed_tag": "Object"}
        for n in range(2)
    ]
    write(tmp_path / "winoground" / "examples.jsonl", "\n".join(map(json.dumps, rows)))
    draw(*(tmp_path / "winoground" / "images" / f"ex_{n}_img_{m}.png" for n in range(2) for m in range(2)))
    data = open_data_set("winoground", tmp_path)
    found = items(data)
    assert [item.contrast for item in found[:2]] == [
        CaptionContrast("0", "a b", "b a"),
        CaptionContrast("0", "b a", "a b"),
    ]
    assert (data.total, data.together, len({item.key for item in found})) == (4, 2, 4)
    write(tmp_path / "winoground" / "examples.jsonl", '{"id": 1}')
    with pytest.raises(UserError, match="another layout than Winoground"):
        open_data_set("winoground", tmp_path)


def test_sugar_crepe_is_a_picture_with_a_right_and_a_wrong_caption(tmp_path: Path) -> None:
    example = {"filename": "000000000001.jpg", "caption": "a red cup", "negative_caption": "a blue cup"}
    write(tmp_path / "sugar-crepe" / "replace_att.json", {"0": example, "1": example})
    draw(tmp_path / "coco" / "val2017" / "000000000001.jpg")
    data = open_data_set("sugarcrepe-replace-att", tmp_path)
    found = items(data)
    assert [item.contrast for item in found] == [CaptionContrast(n, "a red cup", "a blue cup") for n in "01"]
    assert replace(data, note="").sentences == 2 and "788 sentences" in data.note
