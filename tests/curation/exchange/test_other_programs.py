"""Exports are read by the programs that they are for, and the files of other programs as those publish them."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest
import supervision
from PIL import Image
from torchvision.datasets import VOCDetection

from curation.exchange.annotation_files import read_file
from curation.exchange.export import export
from curation.exchange.export_config import ExportConfig
from curation.exchange.finehard import to_entry
from curation.exchange.formats import MAIN_FILE, Format, ImportFormat
from curation.exchange.import_annotations import import_file
from curation.files.records import DescriptionRecord, PictureRecord, RegionRecord
from db.engine import Engine
from tests.support.curated import BOX, TURNED, curated
from user_errors import UserError

LID = RegionRecord((0.1, 0.2, 0.3, 0.6), (DescriptionRecord("a lid"),))


@pytest.fixture
def lids(sqlite_engine: Engine, tmp_path: Path) -> Engine:
    curated(sqlite_engine, tmp_path / "pictures")
    return sqlite_engine


def exported(engine: Engine, home: Path, format: Format) -> Path:
    export(engine, home, ExportConfig(format=format, out=home / format, dataset="lids"))
    return home / format


def picture(folder: Path, name: str = "a.png", size: tuple[int, int] = (100, 50), **options: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path, **options)
    return path


def in_pixels(width: int, height: int) -> list[float]:
    return [part * side for part, side in zip(BOX, (width, height) * 2, strict=True)]


# ------------------------------------------------------------------------------------ exports, read by their programs


def test_supervision_reads_an_export_as_yolo(lids: Engine, tmp_path: Path) -> None:
    out = exported(lids, tmp_path, "yolo")
    found = 0
    for labels in sorted((out / "labels").iterdir()):
        read = supervision.DetectionDataset.from_yolo(
            str(out / "images" / labels.name), str(labels), str(out / "data.yaml")
        )
        assert "крышка" in read.classes and all(len(each.strip()) > 0 for each in read.classes)
        for path, _, detections in read:
            with Image.open(path) as image:
                width, height = image.size
            for xyxy in detections.xyxy:
                assert xyxy == pytest.approx(
                    [BOX[0] * width, BOX[1] * height, BOX[2] * width, BOX[3] * height], abs=1e-3
                )
            found += len(detections)
    assert found == 12


def test_supervision_reads_an_export_as_pascal_voc(lids: Engine, tmp_path: Path) -> None:
    out = exported(lids, tmp_path, "voc")
    found = 0
    for path, _, detections in supervision.DetectionDataset.from_pascal_voc(
        str(out / "JPEGImages"), str(out / "Annotations")
    ):
        with Image.open(path) as image:
            width, height = image.size
        for xyxy in detections.xyxy:
            assert xyxy == pytest.approx([BOX[0] * width, BOX[1] * height, BOX[2] * width, BOX[3] * height], abs=1.5)
        found += len(detections)
    assert found == 12


def test_torchvision_reads_an_export_as_pascal_voc_by_its_list(lids: Engine, tmp_path: Path) -> None:
    out = exported(lids, tmp_path, "voc")
    place = tmp_path / "VOCdevkit" / "VOC2012"
    place.parent.mkdir()
    out.rename(place)
    read = VOCDetection(str(tmp_path), year="2012", image_set="trainval")
    assert len(read) == 7
    for picture, facts in read:
        size = facts["annotation"]["size"]
        assert picture.size == (int(size["width"]), int(size["height"]))
    assert sum(len(facts["annotation"]["object"]) for _, facts in read) == 12


def test_datasets_loads_an_exports_pictures_as_pictures(lids: Engine, tmp_path: Path) -> None:
    out = exported(lids, tmp_path, "parquet")
    loaded = datasets.load_dataset(
        "parquet", data_files=str(out / "data.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert isinstance(loaded.features["image"], datasets.Image)
    assert len(loaded) == 7
    for row in loaded:
        assert row["image"].size == (row["width"], row["height"])
        assert len(row["objects"]["bbox"]) == len(row["objects"]["descriptions"])
    assert {text for row in loaded for some in row["objects"]["descriptions"] for text in some} >= {"крышка"}


def test_an_export_for_fiftyone_names_pictures_and_boxes_as_it_reads_them(lids: Engine, tmp_path: Path) -> None:
    out = exported(lids, tmp_path, "fiftyone")
    found = json.loads((out / "labels.json").read_text(encoding="utf-8"))
    files = {path.relative_to(out / "images").with_suffix("").as_posix() for path in (out / "images").rglob("*.*")}
    assert set(found["labels"]) == files and found["classes"] is None
    boxes = [each["bounding_box"] for some in found["labels"].values() for each in some]
    assert len(boxes) == 6
    assert all(box == pytest.approx([BOX[0], BOX[1], BOX[2] - BOX[0], BOX[3] - BOX[1]]) for box in boxes)


def test_an_export_for_fg_clip_has_what_its_loader_takes(lids: Engine, tmp_path: Path) -> None:
    out = exported(lids, tmp_path, "finehard")
    entries = json.loads((out / "finehard.json").read_text(encoding="utf-8"))
    assert len(entries) == 7
    for entry in entries:
        assert (out / entry["f_path"]).is_file() and entry["caption"] and entry["short_caption"]
        for box in entry["bbox_info"]:
            x1, y1, x2, y2 = box["bbox"][:4]
            assert x1 < x2 and y1 < y2 and box["short_expr"] and box["flag_short_neg"] in (0, 1)


# ------------------------------------------------------------------------------------ files of other programs


@pytest.mark.parametrize("format", ["coco", "odvg", "cvat", "imagefolder", "label-studio"])
def test_a_file_that_was_saved_as_utf_16_is_read_by_its_mark(lids: Engine, tmp_path: Path, format: Format) -> None:
    out = exported(lids, tmp_path, format) / MAIN_FILE[format]
    before = list(read_file(out, format))
    content = out.read_text(encoding="utf-8").encode("utf-16")
    out.write_bytes(content)
    assert list(read_file(out, format)) == before and before
    for damaged, sentence in (
        (content[:-1], "expected UTF-16 text, as its first two bytes say, got other bytes: save the file as UTF-8"),
        (
            content[2:],
            "expected UTF-8, or UTF-16 with a byte order mark, got UTF-16 without one: save the file as UTF-8",
        ),
    ):
        out.write_bytes(damaged)
        with pytest.raises(UserError, match=f"^{out.name}, {sentence}$"):
            list(read_file(out, format))


def test_a_yolo_folder_of_another_program_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "train")
    picture(tmp_path / "images" / "train", "turned.jpg", (50, 100), exif=TURNED)
    (tmp_path / "data.yaml").write_text("path: ../elsewhere\ntrain: images/train\nnames: [cup, a lid]\n")
    labels = tmp_path / "labels" / "train"
    labels.mkdir(parents=True)
    (labels / "a.txt").write_text("1 0.2 0.4 0.2 0.4\n\n0 0.5 0.5 1.0 1.0 0.75\n1 0.1 0.1 0.3 0.1 0.3 0.5\n")
    (labels / "turned.txt").write_text("")
    (labels / "lost.txt").write_text("0 0.5 0.5 1 1\n")
    (labels / "wrong.txt").write_text("7 0.5 0.5 1 1\n")
    picture(tmp_path / "images" / "train", "wrong.png")
    left_out, refused = Counter[str](), list[str]()
    records = list(read_file(tmp_path, "yolo", left_out, refused=refused))
    assert [(each.file_name, each.width, each.height) for each in records] == [
        ("images/train/a.png", 100, 50),
        ("images/train/turned.jpg", 100, 50),
    ]
    first, second, third = records[0].regions
    assert first == LID
    assert (second.xyxy, second.descriptions[0].text, second.descriptions[0].score) == ((0, 0, 1, 1), "cup", 0.75)
    assert third.xyxy == pytest.approx((0.1, 0.1, 0.3, 0.5)) and left_out == {"segmentation": 1}
    assert len(refused) == 2
    assert "'labels/train/lost.txt': expected the picture 'images/train/lost'" in refused[0]
    assert "line 1: expected the number of a class of data.yaml, got '7'" in refused[1]


def test_yolos_poses_are_boxes_with_their_keypoints_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "images")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.2 0.4 0.2 0.4 0.28 0.28 0 0\n0 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text("names: {0: a lid}\nkpt_shape: [2, 2]")
    left_out = Counter[str]()
    [record] = read_file(tmp_path, "yolo", left_out)
    assert record.regions[0] == LID and record.regions[1].xyxy == (0, 0, 1, 1)
    assert left_out == {"keypoints": 1}


def test_roboflows_yolo_folder_is_read_too(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "images")
    (tmp_path / "train" / "labels").mkdir()
    (tmp_path / "train" / "labels" / "a.txt").write_text("0 0.2 0.4 0.2 0.4")
    (tmp_path / "data.yaml").write_text("names: {0: a lid}")
    [record] = read_file(tmp_path / "data.yaml", "yolo")
    assert record.regions == (LID,)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("names: 7", "expected `names`, a list or numbers with names, got 7"),
        ("!!python/object/apply:os.system ['true']", "expected YAML, got something else"),
        ("- [", "expected YAML, got something else"),
        ("names: {a: b}", "expected `names`"),
    ],
)
def test_a_data_yaml_that_is_none_is_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "data.yaml").write_text(content)
    with pytest.raises(UserError, match=sentence):
        list(read_file(tmp_path, "yolo"))


def test_a_folder_without_yolo_or_voc_files_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected a folder with data.yaml"):
        list(read_file(tmp_path, "yolo"))
    (tmp_path / "data.yaml").write_text("names: [a]")
    with pytest.raises(UserError, match=r"expected labels/\*.txt beside data.yaml"):
        list(read_file(tmp_path, "yolo"))
    with pytest.raises(UserError, match=r"expected Annotations/\*.xml in"):
        list(read_file(tmp_path, "voc"))


VOC = """<annotation verified="yes"><folder>{folder}</folder><filename>a.png</filename><path>C:\\\\a.png</path>
<size><width>100</width><height>50</height><depth>3</depth></size>
<object><name>a lid</name><bndbox><xmin>11.0</xmin><ymin>11</ymin><xmax>30</xmax><ymax>30</ymax></bndbox></object>
</annotation>"""


def test_pascal_voc_of_another_program_is_read_and_brought_in_by_name(lids: Engine, tmp_path: Path) -> None:
    place = tmp_path / "voc" / "Annotations"
    place.mkdir(parents=True)
    (place / "a.xml").write_text(VOC.format(folder="JPEGImages"))
    (place / "b.xml").write_text(VOC.format(folder="x").replace("30</xmax>", "300</xmax>"))
    (place / "c.xml").write_text('<!DOCTYPE x [<!ENTITY a "b">]><annotation/>')
    (place / "d.xml").write_text("<annotation>" * 3000)
    refused: list[str] = []
    records = list(read_file(tmp_path / "voc", "voc", refused=refused))
    assert records == [PictureRecord("", 100, 50, "JPEGImages/a.png", regions=(LID,))]
    assert [sentence.partition(":")[0] for sentence in refused] == ["'b.xml'", "'c.xml'", "'d.xml'"]
    (place / "a.xml").write_text(VOC.format(folder="f").replace("a.png", "plain.png"))
    brought = import_file(lids, dataset="lids", path=tmp_path / "voc", format="voc", who="cy")
    assert (brought.pictures, brought.added, len(brought.refusals)) == (1, 1, 3)


CVAT = """<annotations><version>1.1</version><meta><task/></meta>
<image id="0" name="a.png" width="100" height="50"><box label="a lid" occluded="0" xtl="10.00" ytl="10.00" xbr="30.00"
 ybr="30.00" z_order="0"><attribute name="colour">red</attribute></box><polygon label="x" points="1,2;3,4;5,6"/></image>
<image id="1" name="b.png" width="10" height="10"></image></annotations>"""


def test_cvats_xml_of_another_project_is_read_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text(CVAT)
    left_out: Counter[str] = Counter()
    first, second = read_file(tmp_path, "cvat", left_out)
    assert first == PictureRecord("", 100, 50, "a.png", regions=(LID,)) and second.regions == ()
    assert +left_out == {"polygon": 1}


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        ("0.0", (0.1, 0.2, 0.3, 0.6)),
        ("90.00", (0.1, 0.2, 0.3, 0.6)),  # a square
        ("-45.0", (0.2 - 0.1414214, 0.4 - 0.2828427, 0.2 + 0.1414214, 0.4 + 0.2828427)),
    ],
)
def test_the_upright_box_around_a_turned_one_of_cvat_is_read(
    tmp_path: Path, degrees: str, expected: tuple[float, ...]
) -> None:
    (tmp_path / "annotations.xml").write_text(CVAT.replace('occluded="0"', f'occluded="0" rotation="{degrees}"'))
    left_out: Counter[str] = Counter()
    first, _ = read_file(tmp_path, "cvat", left_out)
    assert first.regions[0].xyxy == pytest.approx(expected, abs=1e-6)
    assert left_out["rotation"] == (degrees != "0.0")


def test_a_turned_box_at_the_edge_of_cvat_stays_in_its_picture(tmp_path: Path) -> None:
    wide = CVAT.replace('xtl="10.00" ytl="10.00" xbr="30.00"', 'xtl="0" ytl="20" xbr="100" rotation="90"')
    (tmp_path / "annotations.xml").write_text(wide)
    first, _ = read_file(tmp_path, "cvat")
    assert first.regions[0].xyxy == pytest.approx((0.45, 0.0, 0.55, 1.0))


def test_a_box_that_somebody_moved_or_labelled_anew_in_cvat_counts_as_it_is(lids: Engine, tmp_path: Path) -> None:
    out = exported(lids, tmp_path, "cvat") / "annotations.xml"
    text = out.read_text(encoding="utf-8")
    before = list(read_file(out, "cvat"))
    label = before[-1].regions[0].descriptions[0].text
    assert all(one.status == "accepted" for each in before for r in each.regions for one in r.descriptions)
    out.write_text(text.replace(f'<box label="{label}"', '<box label="a kettle"', 1), encoding="utf-8")
    after = [each for each in read_file(out, "cvat") if each not in before]
    assert [one.text for one in after[0].regions[0].descriptions] == ["a kettle"]
    assert after[0].regions[0].descriptions[0].status == "pending" and after[0].regions[0].id == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("<annotations>", "<labels>"), "expected XML"),
        (('width="100"', 'width="ten"'), "image 1: expected a whole number for width, got 'ten'"),
        (('xtl="10.00"', 'xtl="left"'), "image 1: box 1: expected a number for xtl"),
        (('xbr="30.00"', 'xbr="3000"'), "image 1: box 1: expected a bbox inside the 100 x 50"),
        (('label="a lid"', ""), "image 1: box 1: expected text for label, got nothing"),
    ],
)
def test_a_malformed_cvat_file_is_named_in_one_sentence(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    (tmp_path / "annotations.xml").write_text(CVAT.replace(*change))
    with pytest.raises(UserError, match=sentence):
        list(read_file(tmp_path, "cvat"))


def test_fiftyones_json_of_another_program_is_read_with_its_pictures_sizes(tmp_path: Path) -> None:
    picture(tmp_path / "data")
    box = {"bounding_box": [0.1, 0.2, 0.2, 0.4], "label": 1, "confidence": 0.5, "attributes": {"a": 1}}
    labels = {"classes": ["cup", "a lid"], "labels": {"a": [box]}}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    left_out: Counter[str] = Counter()
    [record] = read_file(tmp_path, "fiftyone", left_out)
    assert (record.file_name, record.width, record.height) == ("a.png", 100, 50)
    [region] = record.regions
    assert region.xyxy == pytest.approx((0.1, 0.2, 0.3, 0.6)) and left_out == {"attributes": 1}
    assert region.descriptions == (DescriptionRecord("a lid", score=0.5),)
    for change, sentence in (
        ({"labels": {"a": [box | {"label": 9}]}}, "'a': expected the number of one of 2 classes, got 9"),
        ({"labels": {"a": [box | {"bounding_box": [0, 0, 2, 1]}]}}, "'a': expected a box in parts of the picture"),
        ({"labels": []}, "the file: expected labels as a JSON object"),
    ):
        (tmp_path / "labels.json").write_text(json.dumps(labels | change))
        with pytest.raises(UserError, match=sentence):
            list(read_file(tmp_path, "fiftyone"))


@pytest.mark.parametrize("broken", [False, True])
def test_pictures_that_are_not_there_cost_fiftyones_and_finehards_files_only_themselves(
    tmp_path: Path, broken: bool
) -> None:
    picture(tmp_path / "data")
    if broken:
        (tmp_path / "data" / "b.png").write_bytes(b"no picture")
    (tmp_path / "labels.json").write_text('{"labels": {"b": [], "a": []}}')
    entries = [{"f_path": f"data/{name}.png", "caption": "", "bbox_info": []} for name in "ba"]
    (tmp_path / "finehard.json").write_text(json.dumps(entries))
    named: dict[ImportFormat, tuple[str, str]] = {"fiftyone": ("a.png", "b"), "finehard": ("data/a.png", "data/b.png")}
    for format, (there, missing) in named.items():
        refused: list[str] = []
        assert [record.file_name for record in read_file(tmp_path, format, refused=refused)] == [there]
        [sentence] = refused
        assert ("none that can be read" if broken else f"expected the picture '{missing}'") in sentence


@pytest.mark.parametrize(
    ("there", "name", "file_name"),
    [
        ("s/IMG_1.JPG", "s/img_1", "s/IMG_1.JPG"),
        ("s/IMG_1.JPG", "S\\IMG_1", "s/IMG_1.JPG"),
        ("s/cafe\u0301.jpg", "s/CAF\u00e9", "s/cafe\u0301.jpg"),
        ("a.jpg A.jpg", "A", "A.jpg"),
        ("ab.jpg aB.jpg", "AB", ""),
    ],
)
def test_names_of_fiftyone_in_another_letter_case_mean_the_picture_that_alone_fits(
    tmp_path: Path, there: str, name: str, file_name: str
) -> None:
    for each in there.split():
        picture(tmp_path / "data", each)
    (tmp_path / "labels.json").write_text(json.dumps({"labels": {name: []}}))
    refused: list[str] = []
    records = read_file(tmp_path, "fiftyone", refused=refused)
    assert [record.file_name for record in records] == [file_name] * bool(file_name)
    assert file_name or "got several that differ from it in letter case only: correct the name" in refused[0]


def test_finehards_json_of_its_authors_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "grit")
    box: dict[str, Any] = {"bbox": [0.1, 0.2, 0.3, 0.6, 0.9], "short_expr": "a lid", "long_expr": "a red lid of a jar"}
    box |= {"flag_short_neg": 1, "short_expr_negs": {"0": "a blue lid"}}
    entry = {"f_path": "grit/a.png", "caption": "a long one", "short_caption": "short", "bbox_info": [box]}
    (tmp_path / "finehard.json").write_text(json.dumps([entry]))
    left_out: Counter[str] = Counter()
    [record] = read_file(tmp_path, "finehard", left_out)
    assert (record.width, record.height, record.caption) == (100, 50, "a long one")
    texts = [(one.text, one.score) for one in record.regions[0].descriptions]
    assert texts == [("a lid", 0.9), ("a red lid of a jar", 0.9)] and left_out == {"hard negatives": 1}
    for path in ("../a.png", "/etc/passwd", "grit/none.png"):
        (tmp_path / "finehard.json").write_text(json.dumps([entry | {"f_path": path}]))
        refused: list[str] = []
        assert list(read_file(tmp_path, "finehard", refused=refused)) == []
        assert re.fullmatch(r"picture 1: expected the picture .* below.*", refused[0])


def test_rejected_descriptions_are_fg_clips_hard_negatives(lids: Engine, tmp_path: Path) -> None:
    said = (DescriptionRecord("a lid", "accepted"), DescriptionRecord("a blue lid", "rejected"))
    entry = to_entry(PictureRecord("", 10, 10, "a.jpg", regions=(RegionRecord((0, 0, 1, 1), said),)))
    [box] = entry["bbox_info"]
    assert (box["short_expr"], box["flag_short_neg"], box["short_expr_negs"]) == ("a lid", 1, {"0": "a blue lid"})


NO_AREA = {
    "labels/a.txt": "0 .2 .4 .2 .4\n0 .5 .5 0 .2\n",
    "Annotations/a.xml": "<annotation><filename>a.png</filename><size><width>100</width><height>50</height></size>"
    + "".join(
        "<object><name>a lid</name>"
        f"<bndbox><xmin>11</xmin><ymin>11</ymin><xmax>{right}</xmax><ymax>30</ymax></bndbox></object>"
        for right in (30, 10)
    )
    + "</annotation>",
    "annotations.xml": '<annotations><image id="0" name="a.png" width="100" height="50">'
    + "".join(f'<box label="a lid" xtl="10" ytl="10" xbr="{right}" ybr="30"/>' for right in (30, 10))
    + "</image></annotations>",
    "labels.json": json.dumps(
        {"labels": {"a": [{"label": "a lid", "bounding_box": [0.1, 0.2, wide, 0.4]} for wide in (0.2, 0)]}}
    ),
}


@pytest.mark.parametrize(
    ("format", "name"),
    [("yolo", "labels/a.txt"), ("voc", "Annotations/a.xml"), ("cvat", "annotations.xml"), ("fiftyone", "labels.json")],
)
def test_a_box_without_an_area_takes_no_other_box_away(tmp_path: Path, format: Format, name: str) -> None:
    picture(tmp_path / "images")
    (tmp_path / "data.yaml").write_text("names: [a lid]", encoding="utf-8")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(NO_AREA[name], encoding="utf-8")
    left_out: Counter[str] = Counter()
    refused: list[str] = []
    [found] = read_file(tmp_path, format, left_out, refused=refused)
    assert found.regions == (LID,)
    assert (left_out, refused) == ({"box without area": 1}, [])
