"""Where and when pictures were found, from tables and files beside them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from curation.ingest.provenance import FOUND_AT, FOUND_ON, checked, facts_from, read_folder
from user_errors import UserError

TODAY = date(2026, 11, 25)


def folder_with(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def test_a_table_tells_of_each_picture(tmp_path: Path) -> None:
    folder_with(tmp_path, metadata__csv="﻿File_Name,found_at,found_on\na.jpg,a fair,2026-10-01\nb/ц.jpg,,2026-10-02\n")
    found = read_folder(tmp_path, today=TODAY)
    assert found[str(tmp_path / "a.jpg")].facts == {FOUND_AT: "a fair", FOUND_ON: "2026-10-01"}
    assert found[str(tmp_path / "b" / "ц.jpg")].facts == {FOUND_ON: "2026-10-02"}


def test_a_table_as_excel_writes_unicode_text_is_read(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes("file_name,found_at\r\na.jpg,un café\r\n".encode("utf-16"))
    assert read_folder(tmp_path, today=TODAY)[str(tmp_path / "a.jpg")].facts == {FOUND_AT: "un café"}


def test_lines_of_json_and_files_beside_pictures_do_the_same_and_the_table_comes_first(tmp_path: Path) -> None:
    folder_with(tmp_path, metadata__jsonl='{"file_name": "a.jpg", "url": "a shop"}\n\n', a__jpg="", b__JPG="")
    folder_with(
        tmp_path, a__json='{"found_at": "elsewhere"}', b__json='{"found_at": "a fair", "found_on": "2026-10-01"}'
    )
    found = read_folder(tmp_path, today=TODAY)
    assert found[str(tmp_path / "a.jpg")].facts == {FOUND_AT: "a shop"}
    assert found[str(tmp_path / "b.JPG")].facts == {FOUND_AT: "a fair", FOUND_ON: "2026-10-01"}
    assert len(found) == 2


def test_the_names_of_pictures_may_be_in_another_letter_case_where_one_fits(tmp_path: Path) -> None:
    folder_with(
        tmp_path, metadata__csv="file_name,found_at\nA.JPG,a shop\n", a__jpg="", B__JPG="", c__jpg="", C__jpg=""
    )
    folder_with(tmp_path, b__json='{"found_at": "a fair"}', C__JSON='{"found_at": "a barn"}')
    found = read_folder(tmp_path, today=TODAY)
    assert {Path(path).name: each.facts[FOUND_AT] for path, each in found.items()} == {
        "a.jpg": "a shop",
        "B.JPG": "a fair",
        "C.jpg": "a barn",
    }


def test_a_day_that_is_none_or_to_come_is_a_problem_of_that_picture_alone() -> None:
    found = facts_from({"found_at": "a fair", "found_on": "last week"}, today=TODAY)
    assert found.facts == {FOUND_AT: "a fair"}
    assert found.problems == ("expected the day it was found as 2023-09-12, got 'last week': correct it",)
    with pytest.raises(UserError, match="from 1826-01-01 to today"):
        checked(FOUND_ON, "2026-11-26", today=TODAY)
    with pytest.raises(UserError, match="in 1 to 500 characters"):
        checked(FOUND_AT, "x" * 501, today=TODAY)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"metadata__csv": "who,when\nana,now\n"}, "expected a column file_name in metadata.csv, and row 1 has none"),
        ({"metadata__jsonl": "{}\nx\n"}, "row 1 has none"),
        ({"metadata__jsonl": '{"file_name": "a"}\nnope\n'}, "line 2 of metadata.jsonl is no JSON object"),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_sentence(tmp_path: Path, files: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_folder(folder_with(tmp_path, **files), today=TODAY)


def test_a_broken_file_beside_a_picture_is_a_problem_of_that_picture(tmp_path: Path) -> None:
    folder_with(tmp_path, a__jpg="", a__json="[1]", b__jpg="", b__json="{")
    found = read_folder(tmp_path, today=TODAY)
    assert [bool(one.problems) and not one.facts for one in found.values()] == [True, True]
