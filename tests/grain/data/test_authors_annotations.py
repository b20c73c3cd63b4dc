"""Annotations as GRAIN's authors write them: tiny files in the layout that their code reads and writes."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from grain.data.data_sets import GroundedSentence
from grain.data.published import open_data_set
from user_errors import UserError

BOXES: dict[str, Any] = {
    "00/1.jpg": [
        {"description": "a red  lid", "bbox": [0.0, 240.0, 480.0, 960.0], "score": 0.61},
        {"description": "a handle", "bbox": [-3.5, 0.0, 96.0, 970.25], "score": 0.34},
        {"description": "a red lid", "bbox": [480.0, 240.0, 960.0, 480.0], "score": 0.45},
        {"description": "a spout", "bbox": [970.0, 10.0, 980.0, 20.0], "score": 0.31},
    ]
}
ROWS = 'path,caption\n00/1.jpg,"a pot, with a lid"\n00/2.png,a cup \nnotes.txt,no picture\n'


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """Two pictures of other sides than a square's, with the three files."""
    folder = tmp_path / "cc"
    (folder / "00").mkdir(parents=True)
    for name in ("1.jpg", "2.png"):
        Image.new("RGB", (200, 100), "white").save(folder / "00" / name)
    (folder / "bboxes_cc12m_pooled.json").write_text(json.dumps(BOXES))
    (folder / "captions_cc12m_pooled.json").write_text(json.dumps({"00/1.jpg": "A pot stands there.", "9.jpg": "x"}))
    (folder / "captions_pooled.csv").write_text(ROWS)
    return folder


@pytest.mark.parametrize("spec", ["", "bboxes_cc12m_pooled.json"])
def test_boxes_of_the_square_frame_are_parts_of_the_picture(annotated: Path, spec: str) -> None:
    data = open_data_set(str(annotated / spec), annotated.parent)
    first, second = data.read(0)
    assert first.sentences == (
        GroundedSentence("a red lid", ((0.0, 0.25, 0.5, 1.0), (0.5, 0.25, 1.0, 0.5))),
        GroundedSentence("a handle", ((0.0, 0.0, 0.1, 1.0),)),
    ), "a description has any of its boxes; one that lies outside of the picture is none"
    assert first.captions == ("a pot, with a lid", "A pot stands there."), "the table's before the describer's"
    assert (second.captions, second.sentences) == (("a cup",), ())
    assert (data.name, data.total, data.sentences) == ("cc", 2, 2)
    assert first.open().size == (200, 100)


def test_without_a_table_the_pictures_are_those_of_the_other_files(annotated: Path) -> None:
    (annotated / "captions_pooled.csv").unlink()
    (annotated / "captions_cc12m_pooled.json").write_text(json.dumps({"00/2.png": "A cup."}))
    items = list(open_data_set(str(annotated), annotated.parent).read(0))
    assert [(item.key, item.captions, len(item.sentences)) for item in items] == [
        ("00/2.png", ("A cup.",), 0),
        ("00/1.jpg", (), 2),
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('["00/1.jpg"]', "another layout"),
        ('{"../1.jpg": []}', "must lie below its folder"),
        ('{"00/1.jpg": [{"description": "a", "bbox": [1, 2, 3]}]}', "another layout"),
        ('{"00/1.jpg": [{"description": "", "bbox": [1, 2, 3, 4]}]}', "must be a text"),
        ('{"00/3.jpg": []}', "lacks .*3.jpg"),
        ("{", "no JSON"),
    ],
)
def test_files_that_are_no_such_files_are_one_sentence(annotated: Path, content: str, sentence: str) -> None:
    for name in ("captions_pooled.csv", "captions_cc12m_pooled.json"):
        (annotated / name).unlink()
    (annotated / "bboxes_cc12m_pooled.json").write_text(content)
    with pytest.raises(UserError, match=sentence):
        open_data_set(str(annotated), annotated.parent)


def test_two_files_of_boxes_in_a_folder_are_refused(annotated: Path) -> None:
    (annotated / "bboxes_cc3m.json").write_text("{}")
    with pytest.raises(UserError, match=r"expected one bboxes.*keep each data set in a folder of its own"):
        open_data_set(str(annotated), annotated.parent)
