"""Flickr30k Entities' layout: boxes and phrases worked by hand, refusals, and the road from files to shards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from encodings.aliases import aliases
from pathlib import Path

import pytest
from PIL import Image

from curation.exchange import entities
from curation.exchange.annotation_files import read_file
from curation.exchange.export import export
from curation.exchange.export_config import ExportConfig
from curation.exchange.import_annotations import import_file, import_records
from curation.files.records import DescriptionRecord, PictureRecord, RegionRecord, captions_in
from curation.ingest.ingest import ingest
from db.engine import Engine, reading, transaction
from db.queries.data_set_queries import NewImage, add_images, create_dataset, image_page
from grain.data.loader import find_shards, read_records
from tests.support.curated import all_regions, sha256_of
from tests.support.source_files import encoded, write_all
from user_errors import UserError

CAPTIONS = """\
[/EN#1/people A little girl] with [/EN#2/animals two dogs] in [/EN#3/scene a park] .
[/EN#1/people The child] walks [/EN#2/animals/other her dogs] past [/EN#4/other a stand] .
[/EN#1/people a little GIRL] and [/EN#0/notvisual it] by [/EN#5/other a wall] .

[/EN#2/animals Two  dogs] outdoors .
Nobody is named .
"""
GIRL, FIRST_DOG, SECOND_DOG = (0.1, 0.1, 0.5, 0.6), (0.5, 0.5, 0.75, 1.0), (0.75, 0.5, 1.0, 1.0)


def boxed(ids: Sequence[int], *corners: int) -> str:
    sides = "".join(
        f"<{side}>{at}</{side}>" for side, at in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    return f"<object>{names(ids)}<bndbox>{sides}</bndbox></object>"


def names(ids: Sequence[int]) -> str:
    return "".join(f"<name>{number}</name>" for number in ids)


def unboxed(*ids: int, scene: int = 0) -> str:
    return f"<object>{names(ids)}<scene>{scene}</scene><nobndbox>{1 - scene}</nobndbox></object>"


def xml_of(*objects: str, width: object = 200, height: object = 100) -> str:
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>7.jpg</filename>{size}{''.join(objects)}</annotation>"


# counted from 1 and inclusive: 21..100 of 200 is from 0.1 to 0.5
BOXES = (boxed([1], 21, 11, 100, 60), boxed([2], 101, 51, 150, 100), boxed([2], 151, 51, 200, 100))
XML = xml_of(*BOXES, unboxed(3, scene=1), unboxed(4))


def layout(
    folder: Path, xml: str | bytes | None = XML, captions: str | bytes | None = CAPTIONS, stem: str = "7"
) -> Path:
    """A folder with one picture's files more, or but one of them."""
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    (folder / "Sentences").mkdir(exist_ok=True)
    files = {f"Annotations/{stem}.xml": xml, f"Sentences/{stem}.txt": captions}
    return write_all(folder, {name: content for name, content in files.items() if content is not None})


def described(xyxy: tuple[float, float, float, float], *texts: str) -> RegionRecord:
    return RegionRecord(xyxy, tuple(DescriptionRecord(text, source="flickr30k-entities") for text in texts))


# ------------------------------------------------------------------------------------ one picture


def test_longer_descriptions_are_read_where_they_are_wanted(tmp_path: Path) -> None:
    [record] = read_file(layout(tmp_path), "entities-longer")
    girl, *dogs = record.regions
    assert [each.text for each in girl.descriptions] == [
        "A little girl",
        "A little girl with two dogs",
        "A little girl with two dogs in a park",
        "The child",
        "The child walks her dogs",
        "The child walks her dogs past a stand",
    ]
    assert [each.text for each in dogs[0].descriptions] == [
        "two dogs",
        "her dogs",
        "the dogs of the child",
        "the child's dogs",
    ]


def test_a_picture_by_hand(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    refused: list[str] = []
    [record] = read_file(layout(tmp_path), "entities", left_out, refused=refused)
    assert record == PictureRecord(
        "",
        200,
        100,
        "7.jpg",
        "A little girl with two dogs in a park .",
        facts={
            "caption 2": "The child walks her dogs past a stand .",
            "caption 3": "a little GIRL and it by a wall .",
            "caption 4": "Two dogs outdoors .",
            "caption 5": "Nobody is named .",
        },
        regions=(
            described(GIRL, "A little girl", "The child"),
            described(FIRST_DOG, "two dogs", "her dogs"),
            described(SECOND_DOG, "two dogs", "her dogs"),
        ),
    )
    assert refused == []
    # a park, a stand, it, a wall; the types of 1 and 2
    assert left_out == {"phrase without a box": 4, "entity type": 2}


def test_a_box_of_two_entities_is_one_region_and_a_box_that_nobody_names_is_counted(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    both, nameless = boxed([1, 2], 21, 11, 100, 60), boxed([9], 1, 1, 200, 100)
    again = boxed([1], 21, 11, 100, 60)
    [record] = entities.read(layout(tmp_path, xml_of(both, nameless, again)), left_out)
    assert record.regions == (described(GIRL, "A little girl", "The child", "two dogs", "her dogs"),)
    assert left_out["box without a phrase"] == 1


def test_a_scene_with_a_box_gives_no_region(tmp_path: Path) -> None:
    [record] = entities.read(layout(tmp_path, xml_of(*BOXES, unboxed(2, scene=1))))
    assert [region.xyxy for region in record.regions] == [GIRL]


def test_words_that_show_nothing_describe_no_box(tmp_path: Path) -> None:
    [record] = entities.read(layout(tmp_path, xml_of(boxed([0], 1, 1, 9, 9))))
    assert record.regions == ()


def test_a_box_at_the_edge_is_clipped(tmp_path: Path) -> None:
    [record] = entities.read(layout(tmp_path, xml_of(boxed([1], 0, 0, 201, 100))))
    assert record.regions[0].xyxy == (0.0, 0.0, 1.0, 1.0)


def test_files_of_other_systems_are_read(tmp_path: Path) -> None:
    folder = layout(tmp_path, b"\xef\xbb\xbf<?xml version='1.0' encoding='latin-1'?>\r\n" + XML.encode())
    layout(folder, None, b"\xef\xbb\xbf" + CAPTIONS.replace("\n", "\r\n").encode())
    (folder / "Annotations" / "._7.xml").write_bytes(b"\0\5\26\7")
    [record] = entities.read(folder)
    assert record.caption.startswith("A little girl with") and len(record.regions) == 3


# ------------------------------------------------------------------------------------ folders


def test_the_folder_around_will_do(tmp_path: Path) -> None:
    layout(tmp_path / "Flickr30kEntities")
    (tmp_path / "notes.txt").write_text("mine")
    assert len(list(read_file(tmp_path, "entities"))) == 1


def test_a_folder_without_the_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(UserError, match="expected a folder with Annotations and Sentences, got none in"):
        list(entities.read(tmp_path))
    layout(tmp_path / "here", None, None)
    with pytest.raises(UserError, match=r"expected Annotations/\*.xml and Sentences/\*.txt in .*here, got none"):
        list(entities.read(tmp_path))
    layout(tmp_path / "there")
    with pytest.raises(UserError, match="got 2 such folders in"):
        list(entities.read(tmp_path))
    with pytest.raises(UserError, match="got none in"):
        list(entities.read(tmp_path / "there" / "Annotations" / "7.xml"))


# ------------------------------------------------------------------------------------ refusals

LAUGHS = "<!DOCTYPE a [<!ENTITY b 'ha'><!ENTITY c '&b;&b;&b;'>]>" + XML.replace("7.jpg", "&c;")
BOX = boxed([1], 21, 11, 100, 60)
NOT_OF_TEXT = {"base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec", "mbcs"}


@pytest.mark.parametrize(
    ("xml", "captions", "sentence"),
    [
        (XML[:-3], CAPTIONS, "Annotations/7.xml: expected XML, got something else (unclosed token"),
        ("", CAPTIONS, "Annotations/7.xml: expected XML, got something else (no element found"),
        (
            b"<annotation>\xff</annotation>",
            CAPTIONS,
            "Annotations/7.xml: byte 12: expected UTF-8 text, got other bytes",
        ),
        (LAUGHS, CAPTIONS, "Annotations/7.xml: expected XML without <!DOCTYPE or <!ENTITY, got one: remove it"),
        (LAUGHS.encode("utf-16"), CAPTIONS, "Annotations/7.xml: expected XML without <!DOCTYPE or <!ENTITY, got one"),
        (LAUGHS.encode("utf-16-le"), CAPTIONS, "Annotations/7.xml: expected UTF-8, or UTF-16 with a byte order mark"),
        (XML + "\0", CAPTIONS, "Annotations/7.xml: expected XML as UTF-8 text, got a NUL"),
        (
            "<!DOCTYPE a SYSTEM 'file:///etc/passwd'>" + XML,
            CAPTIONS,
            "Annotations/7.xml: expected XML without <!DOCTYPE",
        ),
        (XML + " " * 1_000_000, CAPTIONS, "Annotations/7.xml: expected at most 1 MB, got more"),
        (None, CAPTIONS, "Annotations/7.xml: expected a file, got none: add it, or remove the picture's other file"),
        (XML, None, "Sentences/7.txt: expected a file, got none"),
        (XML, " \n\n", "Sentences/7.txt: expected a caption a line, got none"),
        (XML, "x" * 1_000_001, "Sentences/7.txt: expected at most 1 MB, got more"),
        (
            XML,
            "A dog .\n[/EN#1/people A girl runs .",
            "Sentences/7.txt: line 2: expected phrases as [/EN#ID/TYPE the words], got '[/EN#1/people A girl runs .'",
        ),
        ("<annotation/>", CAPTIONS, "Annotations/7.xml: expected a whole number as <width>, got nothing: correct it"),
        (xml_of(BOX, width=0), CAPTIONS, "Annotations/7.xml: expected a whole number from 1 to"),
        (xml_of(BOX, height="high"), CAPTIONS, "Annotations/7.xml: expected a whole number as <height>, got 'high'"),
        (
            xml_of(BOX, BOX.replace("<xmin>21", "<xmin>2e1")),
            CAPTIONS,
            "Annotations/7.xml: object 2: expected a whole number as <xmin>, got '2e1': correct it",
        ),
        (xml_of(BOX.replace("<name>1</name>", "")), CAPTIONS, "Annotations/7.xml: object 1: expected the entity's id"),
        (xml_of(boxed([1], 21, 11, 900, 60)), CAPTIONS, "object 1: expected a bbox inside the 200 x 100 pixels"),
        (xml_of(boxed([1], 101, 11, 100, 60)), CAPTIONS, "object 1: expected a bbox with an area"),
    ],
)
def test_a_malformed_picture_is_one_sentence_and_the_others_are_read(
    tmp_path: Path, xml: str | bytes | None, captions: str | None, sentence: str
) -> None:
    layout(tmp_path, xml, captions)
    layout(tmp_path, stem="6")
    layout(tmp_path, stem="8")
    refused: list[str] = []
    left_out: Counter[str] = Counter()
    assert [record.file_name for record in entities.read(tmp_path, left_out, refused)] == ["6.jpg", "8.jpg"]
    assert len(refused) == 1 and sentence in refused[0] and "\n" not in refused[0]
    assert left_out["entity type"] == 4, "of the two that are read"


def test_no_encoding_hides_a_definition(tmp_path: Path) -> None:
    written = 0
    for codec in sorted({*aliases.values()} - NOT_OF_TEXT):
        for text in (LAUGHS, f"<?xml version='1.0' encoding='{codec}'?>{LAUGHS}"):
            for mark in (b"", b"\xef\xbb\xbf"):
                refused: list[str] = []
                folder = layout(tmp_path, mark + text.encode(codec))
                assert (list(entities.read(folder, refused=refused)), len(refused)) == ([], 1), codec
                written += 1
    assert written > 300


@pytest.mark.parametrize(
    "line", ["[/EN#1 " + " " * 900_000, "[/EN#1" + "/" * 900_000, "[/EN#" * 180_000, "[" * 900_000]
)
def test_a_line_without_an_end_is_read_in_linear_time(tmp_path: Path, line: str) -> None:
    layout(tmp_path, XML, line)
    start = time.process_time()
    assert len(list(entities.read(tmp_path))) == ("EN" not in line)
    assert time.process_time() - start < 5


def test_a_name_that_is_no_text_is_refused_in_a_sentence_that_can_be_printed(tmp_path: Path) -> None:
    refused: list[str] = []
    assert list(entities.read(layout(tmp_path, stem="7\udcff"), refused=refused)) == []
    assert refused[0].startswith("Annotations/7\\udcff.xml: expected text for file_name") and refused[0].encode()


def test_deep_xml_is_read_or_refused(tmp_path: Path) -> None:
    refused: list[str] = []
    depth = 100_000
    assert list(entities.read(layout(tmp_path, "<a>" * depth + "</a>" * depth), refused=refused)) == []
    assert "expected a whole number as <width>, got nothing" in refused[0]


# ------------------------------------------------------------------------------------ into a data set


def data_set(engine: Engine, *files: str) -> None:
    """The data set "street" of 100 x 50 pixels a picture: half the size that the annotations are of."""
    images = [NewImage(sha256_of(file.encode()), 100, 50, f"/pictures/{file}") for file in files]
    with transaction(engine) as session:
        add_images(session, dataset_id=create_dataset(session, name="street").id, images=images)


def test_regions_come_in_as_those_of_other_imports_do(engine: Engine, tmp_path: Path) -> None:
    data_set(engine, "7.jpg", "8.jpg")
    layout(tmp_path)
    layout(tmp_path, stem="9")
    layout(tmp_path, "<annotation>", stem="8")
    done = import_file(engine, dataset="street", path=tmp_path, format="entities", who="cy")
    assert (done.pictures, done.added, done.known, done.edited_pictures) == (1, 6, 0, 1)
    assert (done.not_found, done.examples) == (1, ["9.jpg"])
    answer = done.to_json()
    assert answer["refused"] == 1 and answer["refusals"][0].startswith("Annotations/8.xml: expected XML")
    assert answer["left_out"]["entity type"] == 4, "of 7 and 9"
    with reading(engine) as session:
        [picture] = [each for each in image_page(session, dataset_id=1) if each.location.endswith("7.jpg")]
    assert picture.facts is not None and captions_in(picture.facts)[3] == "Nobody is named ."
    rows = all_regions(engine, 1)
    assert {(row.status, row.source, row.score) for row in rows} == {("pending", "flickr30k-entities", None)}
    assert {((row.x1, row.y1, row.x2, row.y2), row.text) for row in rows} == {
        (GIRL, "A little girl"),
        (GIRL, "The child"),
        *((box, text) for box in (FIRST_DOG, SECOND_DOG) for text in ("two dogs", "her dogs")),
    }
    assert len({row.box_id or row.id for row in rows}) == 3
    again = import_file(engine, dataset="street", path=tmp_path, format="entities", who="cy")
    assert (again.added, again.known, again.edited_pictures) == (0, 6, 0)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["7.jpg"], "7.jpg"),
        (["sub/7.PNG"], "sub/7.PNG"),
        (["7_693b08cb0e.jpg"], "7_693b08cb0e.jpg"),
        (["7_693b08cb0e_o.jpg"], "7_693b08cb0e_o.jpg"),
        (["7_a.jpg", "7.jpg"], "7.jpg"),
        (["7_a.jpg", "7_b.jpg"], None),
        (["a/7.jpg", "b/7.jpg", "7_a.jpg"], None),
        (["77.jpg", "a_7.jpg", "7-a.jpg", "07.jpg"], None),
    ],
)
def test_a_picture_is_found_by_its_stem_or_by_what_is_before_the_underscore(
    sqlite_engine: Engine, tmp_path: Path, files: list[str], found: str | None
) -> None:
    data_set(sqlite_engine, *files)
    done = import_file(sqlite_engine, dataset="street", path=layout(tmp_path), format="entities", who="cy")
    assert (done.pictures, done.not_found) == ((1, 0) if found else (0, 1))
    with reading(sqlite_engine) as session:
        described = {image.location for image in image_page(session, dataset_id=1) if image.caption}
    assert described == ({f"/pictures/{found}"} if found else set())


def test_other_imports_do_not_find_by_stem(sqlite_engine: Engine) -> None:
    data_set(sqlite_engine, "7_a.jpg")
    assert import_records(sqlite_engine, "street", [PictureRecord("", 200, 100, "7.jpg")], who="cy").not_found == 1


def test_the_road_from_files_to_what_training_reads(sqlite_engine: Engine, tmp_path: Path) -> None:
    pictures = tmp_path / "flickr30k-images"
    pictures.mkdir()
    for name, shade in (("7_ab.jpg", 40), ("8.jpg", 200)):
        (pictures / name).write_bytes(encoded(Image.new("RGB", (100, 50), (shade, 90, 90)), "JPEG"))
    layout(tmp_path / "Flickr30kEntities")
    ingest(sqlite_engine, pictures, dataset="street", home=tmp_path / "home", processes=1)
    import_file(sqlite_engine, dataset="street", path=tmp_path / "Flickr30kEntities", format="entities", who="cy")
    config = ExportConfig(
        format="shards", out=tmp_path / "out", dataset="street", statuses=("pending", "accepted"), held_out=0.0
    )
    assert export(sqlite_engine, tmp_path, config)["pictures"] == {"train": 1}, "nobody has looked at the other"
    [record] = read_records(find_shards(tmp_path / "out", "train"))
    assert record.image.size == (100, 50) and record.caption == "A little girl with two dogs in a park ."
    assert record.boxes_xyxy == (GIRL, GIRL, FIRST_DOG, FIRST_DOG, SECOND_DOG, SECOND_DOG)
    assert record.texts == ("A little girl", "The child", *("two dogs", "her dogs") * 2)
