"""Records travel through every format and come back equal; what a format cannot carry is said before."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from curation.exchange import (
    coco,
    cvat,
    fiftyone_json,
    finehard,
    imagefolder,
    label_studio_json,
    odvg,
    shards,
    voc,
    yolo,
)
from curation.exchange.formats import (
    FORMATS,
    KINDS,
    LOST,
    Format,
    from_centre,
    from_pixels_xywh,
    from_pixels_xyxy,
    in_whole_pixels,
    losses,
    parse_json,
    to_centre,
    to_pixels_xywh,
    to_pixels_xyxy,
)
from curation.exchange.picture_headers import PictureFolder, PictureHeader
from curation.exchange.xml_files import writable
from curation.files.records import (
    REVIEWS,
    STATUSES,
    Box,
    DescriptionRecord,
    PictureRecord,
    RegionRecord,
    from_json,
    to_json,
)
from user_errors import UserError

WORDS = st.text(max_size=12) | st.sampled_from(
    ["a lid\nwith a knob", "=cmd()", "деревянная крышка", "🫖", '"\\', "\u2028"]
)
PARTS = st.floats(0, 1) | st.sampled_from([0.0, 5e-324, 1e-300, 1 / 3, math.nextafter(1, 0), 1.0])
SIDES = st.integers(1, 20_000)
IDS = st.integers(0, 2**63 - 1)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x1, x2 = sorted(draw(st.lists(PARTS, min_size=2, max_size=2, unique=True)))
    y1, y2 = sorted(draw(st.lists(PARTS, min_size=2, max_size=2, unique=True)))
    return (x1, y1, x2, y2)


DESCRIPTIONS = st.builds(
    DescriptionRecord,
    text=WORDS,
    status=st.sampled_from(STATUSES),
    score=st.none() | st.floats(0, 1),
    source=WORDS,
    id=IDS,
    version=st.integers(1, 2**63 - 1),
    editor=WORDS,
)
REGIONS = st.builds(
    RegionRecord, xyxy=boxes(), descriptions=st.lists(DESCRIPTIONS, min_size=1, max_size=3).map(tuple), id=IDS
)
PICTURES = st.builds(
    PictureRecord,
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    width=SIDES,
    height=SIDES,
    file_name=st.text(min_size=1, max_size=12),
    caption=WORDS,
    review=st.sampled_from(REVIEWS),
    facts=st.dictionaries(WORDS | st.just("class"), WORDS, max_size=3),
    regions=st.lists(REGIONS, max_size=3).map(tuple),
    id=IDS,
)

TWO = RegionRecord(
    (0.0, 0.25, 1 / 3, 1.0),
    (
        DescriptionRecord("a lid", "accepted", 0.5, "owlv2@1", 7, 2, "human:ana"),
        DescriptionRecord("деревянная\nкрышка", "rejected", None, "human:bo", 8, 3, "human:bo"),
    ),
    7,
)
FULL = PictureRecord("ab" * 32, 641, 479, "sub/кот.jpg", "a pot\nof tea", "reviewed", {"class": "pot"}, (TWO,), 3)
AGAIN = replace(TWO, descriptions=(DescriptionRecord("again"),))
DOUBLE = replace(FULL, regions=(TWO, AGAIN, RegionRecord(TWO.xyxy, ())))
ODD = replace(FULL, regions=(RegionRecord((1e-300, 0.1, 1.0, 0.3), (DescriptionRecord("a \x01 lid"),)),))
EMPTY = PictureRecord("cd" * 32, 1, 1, "nothing.png", review="empty", id=4)


# ------------------------------------------------------------------------------------ there and back


def through_coco(records: Sequence[PictureRecord]) -> list[PictureRecord]:
    file = io.BytesIO()
    coco.write(records, file, categories="class")
    file.seek(0)
    return coco.read(file)


def through_odvg(records: Sequence[PictureRecord]) -> list[PictureRecord]:
    file = io.BytesIO()
    odvg.write(records, file)
    file.seek(0)
    return list(odvg.read(file))


def through_imagefolder(records: Sequence[PictureRecord]) -> list[PictureRecord]:
    file = io.BytesIO()
    imagefolder.write_metadata(records, file)
    file.seek(0)
    return list(imagefolder.read_metadata(file))


def through_parquet(records: Sequence[PictureRecord]) -> list[PictureRecord]:
    file = io.BytesIO()
    imagefolder.write_parquet(((record, b"picture") for record in records), file)
    file.seek(0)
    return list(imagefolder.read_parquet(file))


def through_shards(records: Sequence[PictureRecord]) -> list[PictureRecord]:
    samples = (json.dumps(shards.to_sample(record, str(at))) for at, record in enumerate(records))
    return [shards.from_sample(json.loads(sample)) for sample in samples]


def through_tasks(records: Sequence[PictureRecord]) -> list[PictureRecord]:
    file = io.BytesIO()
    label_studio_json.write(records, file)
    file.seek(0)
    return list(label_studio_json.read(file))


def through_yolo(records: Sequence[PictureRecord]) -> list[PictureRecord]:
    """Names and sizes are those of the picture files."""
    numbers = yolo.class_numbers(records)
    file = io.BytesIO()
    yolo.write(records, file)
    names = yaml.safe_load(file.getvalue())["names"]
    assert names == {number: text for text, number in numbers.items()}
    headers = [PictureHeader(record.file_name, record.width, record.height) for record in records]
    return [
        yolo.from_label(yolo.to_label(record, numbers), names, header)
        for record, header in zip(records, headers, strict=True)
    ]


def through_voc(records: Sequence[PictureRecord]) -> list[PictureRecord]:
    return [voc.from_xml(voc.to_xml(record)) for record in records]


def through_cvat(records: Sequence[PictureRecord]) -> list[PictureRecord]:
    file = io.BytesIO()
    cvat.write(records, file)
    file.seek(0)
    return list(cvat.read(file))


def through_fiftyone(records: Sequence[PictureRecord]) -> list[PictureRecord]:
    file = io.BytesIO()
    fiftyone_json.write(records, file)
    file.seek(0)
    return list(fiftyone_json.read(file, NO_PICTURES))


def through_finehard(records: Sequence[PictureRecord]) -> list[PictureRecord]:
    file = io.BytesIO()
    finehard.write(records, file)
    file.seek(0)
    return list(finehard.read(file, NO_PICTURES))


NO_PICTURES, HEADER = PictureFolder(Path("nowhere")), PictureHeader("a.jpg", 100, 50)
THROUGH: dict[Format, Callable[[Sequence[PictureRecord]], list[PictureRecord]]] = {
    "shards": through_shards,
    "coco": through_coco,
    "odvg": through_odvg,
    "yolo": through_yolo,
    "voc": through_voc,
    "fiftyone": through_fiftyone,
    "cvat": through_cvat,
    "finehard": through_finehard,
    "imagefolder": through_imagefolder,
    "parquet": through_parquet,
    "label-studio": through_tasks,
}


def without(record: PictureRecord, kinds: Sequence[str]) -> PictureRecord:
    """A record with every field that a format loses at its default."""
    defaults = {field.name: field.default for field in fields(DescriptionRecord)}
    lost: dict[str, Any] = {kind: defaults[kind] for kind in kinds if kind in defaults}

    def place(box: Box) -> Box:
        if "whole_pixels" in kinds:
            return in_whole_pixels(box, record.width, record.height)
        return from_centre(to_centre(box), record.width, record.height) if "centre" in kinds else box

    say: Callable[[str], str] = writable if "unwritable" in kinds else str
    regions = tuple(
        replace(
            region,
            xyxy=place(region.xyxy),
            descriptions=tuple(replace(one, **{"text": say(one.text)} | lost) for one in region.descriptions),
            id=0 if "id" in kinds else region.id,
        )
        for region in record.regions
    )
    bare: dict[str, Any] = {"sha256": "", "written_sha256": "", "id": 0, "caption": "", "review": "open", "facts": {}}
    return replace(
        record, file_name=say(record.file_name), regions=regions, **{name: bare[name] for name in kinds if name in bare}
    )


def carried(records: Sequence[PictureRecord], format: Format) -> list[PictureRecord]:
    """What a format should give back."""
    bare = [without(record, LOST[format]) for record in records]
    if "merged" not in LOST[format]:
        return bare
    found = []
    for record in bare:
        said: dict[Box, tuple[DescriptionRecord, ...]] = {}
        for region in record.regions:
            said[region.xyxy] = said.get(region.xyxy, ()) + region.descriptions
        regions = tuple(RegionRecord(xyxy, descriptions) for xyxy, descriptions in said.items() if descriptions)
        found += [replace(record, regions=regions)] if regions or "empty" not in LOST[format] else []
    return found


def test_every_format_is_tried() -> None:
    assert set(THROUGH) == set(FORMATS) == set(LOST)


BREAKING = replace(
    FULL, regions=(RegionRecord((0.0, 0.0, 1.0, 1.0), (DescriptionRecord("\x85"),)),)
)  # YAML's own line end


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@given(records=st.lists(PICTURES, max_size=3))
@example(records=[FULL, EMPTY])
@example(records=[replace(DOUBLE, regions=DOUBLE.regions[:2])])
@example(records=[BREAKING])
@example(records=[])
def test_everything_that_a_format_can_carry_comes_back_equal(format: Format, records: list[PictureRecord]) -> None:
    assert THROUGH[format](records) == carried(records, format)


@pytest.mark.parametrize("format", FORMATS)
@given(record=PICTURES)
@example(record=FULL)
@example(record=EMPTY)
def test_a_loss_is_said_exactly_where_something_does_not_come_back(format: Format, record: PictureRecord) -> None:
    assert bool(losses(format, [record])) == (THROUGH[format]([record]) != [record])


def changes(record: PictureRecord) -> dict[str, PictureRecord]:
    """The record with one field after the other changed, by the field's name."""
    [region] = record.regions
    [first, second] = region.descriptions
    values: dict[str, Any] = {
        "text": "other",
        "status": "pending",
        "score": 0.25,
        "source": "other@2",
        "id": 99,
        "version": 9,
        "editor": "human:cy",
    }
    found = {
        f"description.{name}": replace(
            record, regions=(replace(region, descriptions=(replace(first, **{name: value}), second)),)
        )
        for name, value in values.items()
    }
    found["region.xyxy"] = replace(record, regions=(replace(region, xyxy=(0.1, 0.2, 0.3, 0.4)),))
    found["region.id"] = replace(record, regions=(replace(region, id=99),))
    found["region.descriptions"] = replace(record, regions=(replace(region, descriptions=(first,)),))
    changed: dict[str, Any] = {
        "sha256": "ef" * 32,
        "width": 642,
        "height": 480,
        "file_name": "other.jpg",
        "caption": "other",
        "review": "open",
        "facts": {"class": "kettle"},
        "regions": (),
        "id": 99,
        "written_sha256": "cd" * 32,
    }
    return found | {f"picture.{name}": replace(record, **{name: value}) for name, value in changed.items()}


@pytest.mark.parametrize("format", FORMATS)
def test_a_changed_field_that_is_not_restored_is_listed(format: Format) -> None:
    tried = changes(FULL)
    known = {f"picture.{f.name}" for f in fields(PictureRecord)}
    known |= {f"region.{f.name}" for f in fields(RegionRecord)}
    known |= {f"description.{f.name}" for f in fields(DescriptionRecord)}
    assert set(tried) == known, "a field that nobody changes is a field that nobody guards"
    [before] = THROUGH[format]([FULL])
    lost = {name for name, record in tried.items() if THROUGH[format]([record]) == [before]}
    said = {name for name in tried if name.partition(".")[2].removeprefix("written_") in LOST[format]}
    assert lost == said
    if said:
        for kind in LOST[format]:
            assert any(KINDS[kind].sentence.partition(":")[0] in line for line in losses(format, [DOUBLE, EMPTY, ODD]))


def test_losses_count_in_whole_sentences() -> None:
    assert losses("coco", [FULL, EMPTY]) == []
    assert "ODVG has no place for verdicts: 2 descriptions lose theirs." in losses("odvg", [FULL, EMPTY])
    plain = PictureRecord("", 4, 4, "x.jpg", "said", regions=(RegionRecord(TWO.xyxy, (DescriptionRecord("a lid"),)),))
    assert losses("odvg", [plain]) == []
    assert losses("odvg", [plain, replace(plain, regions=())]) == [
        "ODVG has no place for pictures without a region: 1 get no line."
    ]
    twice = replace(plain, regions=(*plain.regions, *plain.regions, RegionRecord(TWO.xyxy, ())))
    assert losses("odvg", [twice]) == [
        "ODVG has no place for several regions of one box: 1 become part of another.",
        "ODVG has no place for regions without a description: 1 are left out.",
    ]
    assert losses("odvg", []) == []


@given(record=PICTURES)
@example(record=FULL)
def test_a_line_gives_its_record_back(record: PictureRecord) -> None:
    line = to_json(record)
    assert from_json(line) == record and from_json(line.encode()) == record
    assert "\n" not in line and to_json(from_json(line)) == line


# ------------------------------------------------------------------------------------ boxes


@given(box=boxes(), width=SIDES, height=SIDES)
@example(box=(0.0, 0.0, 1.0, 1.0), width=3, height=7)
@example(box=(5e-324, 1e-320, 1e-300, 5e-200), width=641, height=479)
def test_pixels_give_the_very_same_fractions_back(box: Box, width: int, height: int) -> None:
    as_corners = parse_json(f"[{', '.join(to_pixels_xyxy(box, width, height))}]")
    as_size = parse_json(f"[{', '.join(to_pixels_xywh(box, width, height))}]")
    assert from_pixels_xyxy(as_corners, width, height) == box
    assert from_pixels_xywh(as_size, width, height) == box


def test_a_box_by_hand() -> None:
    assert to_pixels_xyxy((0.25, 0.5, 0.75, 1.0), 640, 480) == ("160.0", "240.0", "480.0", "480.0")
    assert to_pixels_xywh((0.25, 0.5, 0.75, 1.0), 640, 480) == ("160.0", "240.0", "320.0", "240.0")
    assert from_pixels_xywh([160, 240, 320.0, 240], 640, 480) == (0.25, 0.5, 0.75, 1.0)


def test_a_box_that_was_rounded_over_the_edge_is_clipped() -> None:
    assert from_pixels_xywh([-0.4, 0, 100.9, 50], 100, 50) == (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([0, 0, 102, 10], "inside the 100 x 50 pixels"),
        ([10, 10, 10, 20], "with an area"),
        ([20, 10, 10, 20], "with an area"),
        ([1, 2, 3], "4 numbers"),
        ([1, 2, 3, "4"], "4 numbers"),
        ([1, 2, 3, True], "4 numbers"),
        ([1, 2, 3, math.nan], "4 finite numbers"),
        ("1234", "as a list"),
        (None, "got nothing"),
    ],
)
def test_what_is_no_box_is_refused(values: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        from_pixels_xyxy(values, 100, 50)


# ------------------------------------------------------------------------------------ files of other programs


def coco_of(**top: Any) -> io.BytesIO:
    picture = {"id": 1, "file_name": "a.jpg", "width": 100, "height": 50}
    return io.BytesIO(json.dumps({"images": [picture], "categories": [{"id": 5, "name": "lid"}], **top}).encode())


def test_coco_of_another_program_is_read_and_what_is_left_out_is_counted() -> None:
    left_out: Counter[str] = Counter()
    segment = {"segmentation": [[1, 2, 3, 4, 5, 6]], "iscrowd": 0, "area": 100.0, "id": 9}
    rows = [
        {"image_id": 1, "category_id": 5, "bbox": [10, 10, 20, 20], **segment},
        {"image_id": 1, "caption": "a pot"},
        {"image_id": 1, "caption": "the same pot"},
        {"image_id": 1, "caption": "a pot"},
        {"image_id": 1, "caption": "a pot on a stove"},
        {"image_id": 1, "category_id": 5, "bbox": [10, 10, 20, 0]},
        {"image_id": 1, "category_id": 5, "bbox": [0, 0, 90, 50], "iscrowd": 1},
    ]
    [picture] = coco.read(coco_of(annotations=rows), left_out)
    assert picture == PictureRecord(
        "",
        100,
        50,
        "a.jpg",
        "a pot",
        facts={"caption 2": "the same pot", "caption 3": "a pot on a stove"},
        regions=(RegionRecord((0.1, 0.2, 0.3, 0.6), (DescriptionRecord("lid"),)),),
    )
    assert left_out == {"segmentation": 1, "box without area": 1, "crowd": 1}


def test_coco_of_polygons_is_read_as_the_boxes_around_them_and_masks_are_counted() -> None:
    left_out: Counter[str] = Counter()
    outline = [[10, 10, 20, 10.5, 20, 30], [30, 20, 25, 20, 30, 12]]
    rows: list[dict[str, Any]] = [
        {"image_id": 1, "category_id": 5, "segmentation": outline},
        {"image_id": 1, "category_id": 5, "bbox": [], "segmentation": outline},
        {"image_id": 1, "category_id": 5, "segmentation": {"counts": "b", "size": [50, 100]}},
    ]
    [picture] = coco.read(coco_of(annotations=rows), left_out)
    assert [region.xyxy for region in picture.regions] == [(0.1, 0.2, 0.3, 0.6)] * 2
    assert left_out == {"segmentation": 3, "mask without box": 1}


@pytest.mark.parametrize(("again", "fits"), [("lid", True), ("pot", False)])
def test_coco_gives_an_id_to_one_category_only(again: str, fits: bool) -> None:
    file = coco_of(categories=[{"id": 5, "name": "lid"}, {"id": 5, "name": again}])
    with nullcontext() if fits else pytest.raises(UserError, match=r"categories\[1\]: .* got 5 twice"):
        assert len(coco.read(file)) == 1


def test_what_open_groundingdino_does_with_a_line_succeeds() -> None:
    """Its loader parts boxes from phrases, numbers the different phrases and joins them to one text, line by line."""
    file = io.BytesIO()
    odvg.write([FULL, EMPTY, replace(DOUBLE, file_name="double.jpg")], file)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [line["filename"] for line in lines] == ["sub/кот.jpg", "double.jpg"]
    read = []
    for line in lines:
        entries = [(entry["bbox"], entry["phrase"]) for entry in line["grounding"]["regions"]]
        boxes, phrases = zip(*entries, strict=True)  # fails on a picture without a region
        numbers = {phrase: number for number, phrase in enumerate(sorted(set(phrases)))}  # and on a list of phrases
        assert all(x1 < x2 and y1 < y2 for x1, y1, x2, y2 in boxes)
        read.append([numbers[phrase] for phrase in phrases])
    assert read == [[0, 1], [0, 2, 1]]


def test_odvg_of_an_earlier_export_is_read() -> None:
    region = {"bbox": [10, 10, 30, 30], "phrase": ["lid", "cover"]}
    whole = {"filename": "a.jpg", "height": 50, "width": 100, "grounding": {"caption": "c", "regions": [region]}}
    [picture] = odvg.read(io.BytesIO(json.dumps(whole).encode()))
    assert [one.text for one in picture.regions[0].descriptions] == ["lid", "cover"]


def test_odvg_of_another_program_is_read() -> None:
    regions = [{"bbox": [10, 10, 30, 30], "phrase": "lid"}]
    whole = {"filename": "a.jpg", "height": 50, "width": 100, "grounding": {"caption": "c", "regions": regions}}
    line = json.dumps(whole) + "\r\n\n"
    [picture] = odvg.read(io.BytesIO(line.encode()))
    assert picture.regions == (RegionRecord((0.1, 0.2, 0.3, 0.6), (DescriptionRecord("lid"),)),)


def test_an_image_folder_of_another_program_is_read() -> None:
    row = {
        "file_name": "a.jpg",
        "width": 100,
        "height": 50,
        "objects": {"bbox": [[10, 10, 20, 20]], "categories": ["lid"]},
    }
    [picture] = imagefolder.read_metadata(io.BytesIO(json.dumps(row).encode()))
    assert picture.regions == (RegionRecord((0.1, 0.2, 0.3, 0.6), (DescriptionRecord("lid"),)),)


def test_a_box_that_somebody_moved_in_pixels_counts_as_moved() -> None:
    row = imagefolder.to_row(FULL)
    row["objects"]["bbox"][0] = [0.0, 0.0, 64.1, 47.9]
    assert imagefolder.from_row(row).regions[0].xyxy == pytest.approx((0, 0, 0.1, 0.1))


def test_categories_are_texts_or_classes() -> None:
    for categories, name in (("text", "a lid"), ("class", "pot")):
        file = io.BytesIO()
        coco.write([FULL, EMPTY], file, categories=categories)  # type: ignore[arg-type]
        written = json.loads(file.getvalue())
        assert written["categories"] == [{"id": 1, "name": name}]
        assert [one["category_id"] for one in written["annotations"]] == [1]
    assert [one.get("review") for one in written["images"]] == ["reviewed", "empty"]


# ------------------------------------------------------------------------------------ malformed files

LINE = odvg.to_line(FULL)
WRONG_ODVG = [
    (b"{", "line 2: column 2: expected JSON"),
    (b"[1]", "line 2: expected a JSON object, got \\[1\\]"),
    (b"\xff", "line 2: byte 0: expected UTF-8"),
    (LINE.replace("641", "-3").encode(), "line 2: expected a whole number from 1 to .* for width, got -3"),
    (LINE.replace("641", "NaN").encode(), "line 2: expected JSON, got a number that is none"),
    (LINE.replace("641", "1e99999999999999999999").encode(), "line 2: expected"),
    (LINE.replace("641", "9" * 5000).encode(), "line 2: expected"),
    (LINE.replace("0.0,", "1e999999,").encode(), "line 2: expected"),
    (LINE.replace('"filename"', '"filenam"').encode(), "line 2: expected text for file_name, got nothing"),
    (LINE.replace('"a lid"', '"\\ud800"').encode(), "line 2: expected text for phrase, got half a character"),
    (LINE.replace('"a lid"', "[]").encode(), "line 2: expected a phrase"),
    (b"[" * 100_000, "line 2: expected JSON, got lists a thousand deep"),
]


@pytest.mark.parametrize(("line", "complaint"), WRONG_ODVG)
def test_a_malformed_line_is_named_in_one_sentence(line: bytes, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        list(odvg.read(io.BytesIO(LINE.encode() + b"\n" + line + b"\n")))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        (io.BytesIO(b"[]"), "the file: expected a COCO file as a JSON object"),
        (io.BytesIO(b'{"images": [\n{]}'), "line 2, column 2: expected JSON"),
        (io.BytesIO(b"{}"), "images: expected images as a list, got nothing"),
        (coco_of(images=[{"id": 1}]), r"images\[0\]: expected a number for width, got nothing"),
        (
            coco_of(annotations=[{"image_id": 2}]),
            r"annotations\[0\]: expected the image_id of a picture in the file, got 2",
        ),
        (
            coco_of(annotations=[{"image_id": 1, "bbox": [0, 0, 1, 1], "category_id": 6}]),
            r"annotations\[0\]: expected the category_id of a category in the file, got 6",
        ),
        (
            coco_of(annotations=[{"image_id": 1, "bbox": [0, 0, 1, 1], "descriptions": []}]),
            r"annotations\[0\]: expected one description or more",
        ),
        (coco_of(categories=[{"id": 5}]), r"categories\[0\]: expected text for name"),
        (
            coco_of(images=2 * [{"id": 1, "file_name": "a.jpg", "width": 1, "height": 1}]),
            r"images\[1\]: expected an id of its own",
        ),
    ],
)
def test_a_malformed_coco_file_is_named_in_one_sentence(file: io.BytesIO, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        coco.read(file)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"bbox": []}, "lists of one length in objects"),
        ({"status": [["accepted"]]}, "a status for each of the 2 descriptions"),
        ({"status": [["accepted", "good"]]}, "status to be one of pending, accepted, rejected"),
        ({"descriptions": [[]]}, "one description or more"),
        ({"xyxy": [[0, 0, 2, 1]]}, "inside the picture"),
    ],
)
def test_a_malformed_row_is_named_in_one_sentence(change: dict[str, Any], complaint: str) -> None:
    row = imagefolder.to_row(FULL)
    row["objects"] |= change
    with pytest.raises(UserError, match=complaint):
        imagefolder.from_row(row)


def test_a_damaged_parquet_file_is_refused_and_a_wrong_row_is_named() -> None:
    with pytest.raises(UserError, match="expected a parquet file"):
        list(imagefolder.read_parquet(io.BytesIO(b"PAR1 and no more")))
    file = io.BytesIO()
    imagefolder.write_parquet([(EMPTY, b""), (replace(FULL, width=0), b"")], file)
    file.seek(0)
    with pytest.raises(UserError, match="row 1: expected a whole number"):
        list(imagefolder.read_parquet(file))


def test_parquet_without_pyarrow_is_a_plain_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UserError, match="pip install pyarrow"):
        imagefolder.write_parquet([], io.BytesIO())


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    readers: list[Callable[[io.BytesIO], Any]] = [odvg.read, imagefolder.read_metadata, coco.read, cvat.read]
    readers += [lambda file: fiftyone_json.read(file, NO_PICTURES), lambda file: finehard.read(file, NO_PICTURES)]
    readers += [lambda file: [voc.from_xml(file.read().decode(errors="replace"))]]
    readers += [lambda file: [yolo.from_label(file.read().decode(errors="replace"), {0: "a"}, HEADER)]]
    for read in readers:
        try:
            list(read(io.BytesIO(content)))
        except UserError as error:
            assert str(error)


# ------------------------------------------------------------------------------------ Label Studio's JSON


def annotated_task(**region: Any) -> dict[str, Any]:
    """FULL as Label Studio gives it back, its second description called right."""
    task = label_studio_json.to_task(replace(FULL, review="open"))
    results = [dict(each) for each in task["predictions"][0]["result"]]
    [verdict] = [each for each in results if each["from_name"] == "verdict_2"]
    verdict["value"] = {**verdict["value"], "choices": ["right"]}
    said = {"result": results, "completed_by": {"email": "ann@example.org"}, "updated_at": "2026-11-25T10:00:00Z"}
    return {**task, "annotations": [{**said, **region}]}


def test_what_people_said_in_label_studio_comes_back_with_its_file() -> None:
    record = label_studio_json.from_task(annotated_task())
    assert [one.status for one in record.regions[0].descriptions] == ["accepted", "accepted"]
    assert record.regions[0].descriptions[1].editor == "ann@example.org"
    assert record.facts == FULL.facts and record.regions[0].xyxy == TWO.xyxy
    unfinished = annotated_task(was_cancelled=True)
    assert label_studio_json.from_task(unfinished) == replace(FULL, review="open")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{}", "expected a list of tasks"),
        (b"[", "expected Label Studio's JSON, got something else"),
        (b'[{"data": {"image": "x.jpg"}}]', "task 1: expected a task that GRAIN wrote"),
        (b"[1]", "task 1: expected a task"),
    ],
)
def test_tasks_of_others_are_refused_with_their_number(content: bytes, sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        list(label_studio_json.read(io.BytesIO(content)))
    assert sentence in str(refusal.value)
