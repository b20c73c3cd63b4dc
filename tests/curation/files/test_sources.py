from __future__ import annotations

import gzip
import io
import json
import multiprocessing
import os
import struct
import sys
import tarfile
import tracemalloc
import zipfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from curation.files.archives import ArchiveLimits, open_archive
from curation.files.companions import picture_names
from curation.files.decode import Limits
from curation.files.sources import FoundFile, open_source
from tests.support.source_files import jpeg, member, write_all, write_tar, write_zip
from user_errors import UserError

LINK_MODE = 0o120777 << 16


def found(path: Path, limits: Limits | None = None, archive_limits: ArchiveLimits | None = None) -> list[FoundFile]:
    return list(open_source(path, limits, archive_limits).files)


def captions(files: list[FoundFile]) -> dict[str, str]:
    return {Path(file.member or file.location).name: file.caption for file in files if not file.refusal}


def refusals(files: list[FoundFile]) -> dict[str, str]:
    return {
        ":".join(part for part in (Path(f.place[0]).name, f.place[1]) if part): f.refusal for f in files if f.refusal
    }


def wrong(path: Path | str) -> str:
    with pytest.raises(UserError) as caught:
        open_source(Path(path))
    return str(caught.value)


# ------------------------------------------------------------------------------------ what is there is recognised


def test_a_folder_is_walked_to_its_depths_in_the_order_of_names(tmp_path: Path) -> None:
    write_all(tmp_path, {"b/2.jpg": jpeg(), "b/1.jpg": jpeg(), "a/deep/3.PNG": jpeg(), "0.webp": jpeg()})
    source = open_source(tmp_path)
    assert (source.kind, source.root, source.total) == ("folder", tmp_path, 4)
    names = [Path(file.location).relative_to(tmp_path).as_posix() for file in source.files]
    assert names == ["0.webp", "a/deep/3.PNG", "b/1.jpg", "b/2.jpg"]


def test_captions_beside_pictures_are_theirs_and_the_rest_stands_for_itself(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "1.jpg": jpeg(),
        "1.txt": "a red lid\n",
        "1.json": json.dumps({"caption": "not this one"}),
        "2.jpg": jpeg(),
        "2.json": json.dumps({"caption": "a blue lid", "url": "x"}),
        "3.mask.png": jpeg(),
        "3.txt": "as WebDataset has it",
        "4.jpg": jpeg(),
        "4.json": "[broken",
        "lonely.txt": "of nothing",
    }
    everything = found(write_all(tmp_path, files))
    assert captions(everything) == {
        "1.jpg": "a red lid",
        "2.jpg": "a blue lid",
        "3.mask.png": "as WebDataset has it",
        "4.jpg": "",
        "lonely.txt": "",
    }
    assert picture_names([]) == {}
    assert picture_names(["v.1.jpg", "v.2.jpg", "v.1.txt"]) == {"v.1.jpg": ["v.1.txt"], "v.2.jpg": []}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_captions_of_an_editor_that_writes_a_byte_order_mark_are_read(tmp_path: Path, encoding: str) -> None:
    files: dict[str, bytes | str] = {
        "1.jpg": jpeg(),
        "1.txt": "a red lid\r\n".encode(encoding),
        "2.jpg": jpeg(),
        "2.json": json.dumps({"caption": "крышка"}, ensure_ascii=False).encode(encoding),
    }
    everything = found(write_all(tmp_path, files))
    assert captions(everything) == {"1.jpg": "a red lid", "2.jpg": "крышка"} and not refusals(everything)


@pytest.mark.parametrize("content", ["un café".encode("cp1252"), "лид".encode("cp1251"), "a lid".encode("utf-16-le")])
@pytest.mark.parametrize("packed", [False, True])
def test_a_caption_beside_a_picture_in_another_encoding_is_listed_and_not_guessed(
    tmp_path: Path, content: bytes, packed: bool
) -> None:
    told = json.dumps({"caption": "dîner"}, ensure_ascii=False).encode("cp1252")
    files = {"1.jpg": jpeg(1), "1.txt": content, "2.jpg": jpeg(2), "2.json": told, "3.jpg": jpeg(3), "3.txt": b"a lid"}
    everything = found(write_zip(tmp_path / "x.zip", files) if packed else write_all(tmp_path / "x", files))
    assert captions(everything) == {"1.jpg": "", "2.jpg": "", "3.jpg": "a lid"}
    assert [place.rpartition(":")[2] for place in refusals(everything)] == ["1.txt", "2.json"]
    assert all("not UTF-8" in reason and "save it as UTF-8" in reason for reason in refusals(everything).values())


@pytest.mark.parametrize("packed", ["", "x.zip", "x.tar"])
def test_a_text_beside_a_picture_above_the_limit_is_listed_with_its_size(tmp_path: Path, packed: str) -> None:
    long, told = b"a red lid\n" * 150_000, json.dumps({"caption": "a lid", "imageData": "x" * 1_200_000}).encode()
    files = {"1.jpg": jpeg(1), "1.txt": long, "2.jpg": jpeg(2), "2.json": told, "3.jpg": jpeg(3), "3.txt": b"x" * 10**6}
    write = {"x.zip": write_zip, "x.tar": write_tar}.get(packed, write_all)
    everything = found(write(tmp_path / (packed or "x"), files))
    assert captions(everything) == {"1.jpg": "", "2.jpg": "", "3.jpg": "x" * 10**6}
    assert {place.rpartition(":")[2]: reason for place, reason in refusals(everything).items()} == {
        "1.txt": "This file has 1.5 MB, more than the 1 MB accepted: make it smaller.",
        "2.json": "This file has 1.2 MB, more than the 1 MB accepted: make it smaller.",
    }


def test_an_empty_text_beside_a_picture_says_nothing_of_it(tmp_path: Path) -> None:
    everything = found(write_all(tmp_path, {"1.jpg": jpeg(), "1.txt": b""}))
    assert captions(everything) == {"1.jpg": ""} and not refusals(everything)


@pytest.mark.parametrize("name", ["2024.05.01_{:04}", "photo.{:04}", "v.1.{:04}"])
def test_names_with_dots_keep_their_captions_however_many_begin_alike(tmp_path: Path, name: str) -> None:
    files: dict[str, bytes] = {}
    for number in range(70):
        stem = name.format(number)
        files[f"{stem}.jpg"] = jpeg(number)
        if number:  # so that no group of a whole number of files is a picture's own
            files |= {f"{stem}.json": b'{"caption": "not this one"}', f"{stem}.txt": f"caption {number}".encode()}
    everything = found(write_zip(tmp_path / "a.zip", files))
    assert captions(everything) == {
        f"{name.format(number)}.jpg": f"caption {number}" if number else "" for number in range(70)
    }


@pytest.mark.parametrize("packed", ["", "x.zip", "x.tar"])
def test_a_companion_in_another_letter_case_goes_to_the_picture_that_alone_fits(tmp_path: Path, packed: str) -> None:
    stems = {
        "IMG_1.JPG": {"img_1.txt": "one"},
        "Two.jpg": {"two.TXT": "nobody's", "TWO.txt": "nor this"},
        "Three.jpg": {"Three.txt": "its own", "three.txt": "not this"},
        "four.jpg": {},
        "Four.jpg": {"FOUR.json": '{"caption": "either"}'},
        "Five.mask.png": {"five.json": '{"caption": "five"}'},
        "cafe\u0301.jpg": {"CAF\u00e9.txt": "six"},
    }
    texts = {f"s/{name}": text.encode() for some in stems.values() for name, text in some.items()}
    files = texts | {f"s/{name}": jpeg(at) for at, name in enumerate(stems)}
    write = {"x.zip": write_zip, "x.tar": write_tar}.get(packed, write_all)
    everything = found(write(tmp_path / (packed or "x"), files))
    told = captions([file for file in everything if Path(file.member or file.location).name in stems])
    wanted = ["one", "", "its own", "", "", "five", "six"]
    assert told == dict(zip(stems, wanted, strict=True))


def test_very_many_files_of_one_name_are_read_in_parts(tmp_path: Path) -> None:
    everything = found(write_zip(tmp_path / "a.zip", {f"1.{number}": jpeg(number) for number in range(200)}))
    assert len(everything) == 200 and [file.content is not None for file in everything] == [True] * 200


def test_a_folder_of_shards_is_read_shard_by_shard_without_what_img2dataset_writes_about_them(tmp_path: Path) -> None:
    for number in range(2):
        files = {f"{number}{key}": jpeg(key) for key in range(2)}
        members = {f"{key}.jpg": content for key, content in files.items()}
        members |= {f"{key}.txt": f"caption {key}".encode() for key in files}
        members |= {f"{key}.json": b'{"status": "success"}' for key in files}
        write_tar(tmp_path / f"0000{number}.tar", dict(sorted(members.items())))
        write_all(tmp_path, {f"0000{number}.parquet": "PAR1", f"0000{number}_stats.json": "{}"})
    everything = found(tmp_path)
    assert captions(everything) == {f"{key}.jpg": f"caption {key}" for key in ("00", "01", "10", "11")}
    assert refusals(everything) == {}
    assert open_source(tmp_path).total is None
    assert [file.content is not None for file in everything] == [True] * 4


@pytest.mark.parametrize("name", ["pictures.tar", "pictures.tar.gz", "pictures.zip", "no suffix"])
def test_an_archive_is_read_in_place(tmp_path: Path, name: str) -> None:
    files = {"x/b.jpg": jpeg(1), "x/b.txt": b"a lid", "a.jpg": jpeg(2)}
    path = tmp_path / name
    if "zip" in name:
        write_zip(path, files)
    else:
        write_tar(path, files, "w:gz" if "gz" in name else "w")
    everything = found(path)
    assert captions(everything) == {"a.jpg": "", "b.jpg": "a lid"}
    assert {file.member: file.content for file in everything} == {"a.jpg": jpeg(2), "x/b.jpg": jpeg(1)}
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_tar_as_tar_writes_it_keeps_its_captions_and_a_packed_one_says_that_it_does_not(tmp_path: Path) -> None:
    pictures = {f"p/photo.{number}.jpg": jpeg(number) for number in range(70)} | {"p/z.jpg": jpeg(99)}
    words = {f"{name[:-4]}.txt": f"words of {name}".encode() for name in pictures}
    everything = found(write_tar(tmp_path / "x.tar", pictures | words))
    assert captions(everything) == {Path(name).name: f"words of {name}" for name in pictures}
    assert {file.member: file.content for file in everything} == pictures and not refusals(everything)
    packed = found(write_tar(tmp_path / "x.tar.gz", {"a.jpg": jpeg(), "b.jpg": jpeg(), "a.txt": b"of a"}, "w:gz"))
    assert captions(packed) == {"a.jpg": "", "b.jpg": ""}
    assert "import it unpacked or as a zip" in refusals(packed)["x.tar.gz:a.txt"]


def test_of_two_files_of_one_name_in_an_archive_the_first_has_the_caption(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in (("a.jpg", jpeg(1)), ("a.txt", b"the first"), ("b.jpg", jpeg(2)), ("a.jpg", jpeg(3))):
            tar.addfile(member(name, len(content)), io.BytesIO(content))
    everything = found(path)
    assert captions(everything) == {"a.jpg": "the first", "b.jpg": ""}
    assert "has a file of this name already" in refusals(everything)["x.tar:a.jpg"]


def test_cc3m_and_cc12m_and_a_header_are_told_apart(tmp_path: Path) -> None:
    write_all(tmp_path, {"p/1.jpg": jpeg(), "p/2.jpg": jpeg()})
    expected = [("1.jpg", 'a "red" lid, open', 0), ("2.jpg", "a lid", 1)]
    tables = {
        "cc3m.tsv": 'a "red" lid, open\tp/1.jpg\na lid\tp/2.jpg\n',
        "cc12m.tsv": 'p/1.jpg\ta "red" lid, open\np/2.jpg\ta lid\n',
        "clip.csv": 'filepath\ttitle\np/1.jpg\ta "red" lid, open\np/2.jpg\ta lid\n',
        "plain.csv": '"a ""red"" lid, open",p/1.jpg\r\na lid,p/2.jpg\r\n',
        "header.csv": '\ufeffid,Text,file_name\n7,"a ""red"" lid, open",p/1.jpg\n8,a lid,p/2.jpg\n',
    }
    write_all(tmp_path, dict(tables))
    for name in tables:
        rows = [(Path(f.location).name, f.caption, f.origin_row) for f in found(tmp_path / name)]
        assert rows == expected, name


def test_every_row_that_is_no_use_is_listed_with_its_reason(tmp_path: Path) -> None:
    write_all(tmp_path / "data", {"1.jpg": jpeg()})
    write_all(tmp_path, {"secret.jpg": jpeg()})
    rows = [
        "ok\t1.jpg",
        "far\thttp://10.0.0.1/x.jpg",
        "gone\t2.jpg",
        "out\t../secret.jpg",
        f"out\t{tmp_path}/secret.jpg",
        "one column",
        "no name\t",
        "x" * 2_000_000,
        "NUL\ta\0b.jpg",
        "odd\t" + "n" * 5000,
        "round\tround.jpg",
    ]
    (tmp_path / "data" / "round.jpg").symlink_to("round.jpg")
    (tmp_path / "data" / "t.tsv").write_text("\n".join(rows))
    said = refusals(found(tmp_path / "data" / "t.tsv"))
    assert {key: words.split(":")[0] for key, words in said.items()} == {
        "t.tsv:row 1": "This row names a web address, and nothing is fetched here",
        "t.tsv:row 2": "This row names a file that is not there",
        "t.tsv:row 3": "This row's path leads out of the table's folder",
        "t.tsv:row 4": "This row's path leads out of the table's folder",
        "t.tsv:row 5": "This row has too few columns or is too long",
        "t.tsv:row 6": "This row names no picture",
        "t.tsv:row 7": "This row has too few columns or is too long",
        "t.tsv:row 8": "This row's path is not plain UTF-8 text",
        "t.tsv:row 9": "This row names a file that is not there",
        "t.tsv:row 10": "This row names a file that is not there",
    }
    assert "img2dataset" in said["t.tsv:row 1"]


def test_a_quote_that_is_never_closed_costs_its_row_and_the_table_ends(tmp_path: Path) -> None:
    write_all(tmp_path, {"1.jpg": jpeg(), "t.csv": 'ok,1.jpg\n"open,1.jpg\n' + "a lid,1.jpg\n" * 20_000})
    everything = found(tmp_path / "t.csv")
    assert len(everything) > 1 and everything[0].refusal == ""
    assert any("too long" in file.refusal for file in everything)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_an_image_folder_has_its_captions_from_its_metadata(tmp_path: Path, name: str) -> None:
    write_all(tmp_path, {"1.jpg": jpeg(), "sub/2.jpg": jpeg(), "3.jpg": jpeg()})
    rows = [("1.jpg", "one"), ("sub/2.jpg", "two"), ("gone.jpg", "three"), ("../out.jpg", "four")]
    if name.endswith("csv"):
        text = "file_name,text\n" + "".join(f"{path},{caption}\n" for path, caption in rows)
    else:
        text = "".join(json.dumps({"file_name": path, "caption": caption}) + "\n" for path, caption in rows) + "oops\n"
    (tmp_path / name).write_text(text)
    everything = found(tmp_path)
    assert sorted((Path(f.location).name, f.caption, f.origin_row) for f in everything if not f.refusal) == [
        ("1.jpg", "one", 0),
        ("2.jpg", "two", 1),
        ("3.jpg", "", None),
    ]
    assert len(refusals(everything)) == (2 if name.endswith("csv") else 3)
    assert all(key.startswith(f"{name}:row ") for key in refusals(everything))
    assert wrong(tmp_path / name) == f"expected the folder of {name}, got the file: give {tmp_path}"


def test_a_table_of_another_system_names_the_files_that_are_there(tmp_path: Path) -> None:
    apart, joined = "cafe\u0301", "caf\u00e9"
    rows = f"file_name,text\n{joined}.jpg,one\nsub\\x.jpg,two\nsub/{apart}.jpg,three\nsub\\..\\..\\out.jpg,no\n"
    pictures: dict[str, bytes | str] = {f"{apart}.jpg": jpeg(1), "sub/x.jpg": jpeg(2), f"sub/{joined}.jpg": jpeg(3)}
    write_all(tmp_path, {"out.jpg": jpeg(4)})
    everything = found(write_all(tmp_path / "in", pictures | {"metadata.csv": rows}))
    assert captions(everything) == {f"{apart}.jpg": "one", "x.jpg": "two", f"{joined}.jpg": "three"}
    assert list(refusals(everything).values()) == [
        "This row's path leads out of the table's folder: put the table above it."
    ]


def test_the_metadata_of_a_folder_that_came_without_its_folders_names_the_files_beside_it(tmp_path: Path) -> None:
    rows = "file_name,text\ntrain/1.jpg,one\ntrain/1.jpg,uno\ntest\\2.jpg,two\na/3.jpg,a\nb/3.jpg,b\nhere/4.jpg,four\n"
    pictures: dict[str, bytes | str] = {f"{number}.jpg": jpeg(number) for number in range(1, 5)}
    everything = found(write_all(tmp_path, pictures | {"here/5.jpg": jpeg(5), "metadata.csv": rows}))
    assert captions(everything) == {"1.jpg": "one", "2.jpg": "two", "3.jpg": "", "4.jpg": "", "5.jpg": ""}
    assert next(file.captions for file in everything if file.location.endswith("1.jpg")) == ("one", "uno")
    assert list(refusals(everything)) == [f"metadata.csv:row {row}" for row in (3, 4, 5)], (
        "of two folders, or not there"
    )


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_a_row_in_another_encoding_is_listed_and_its_picture_comes_without_a_caption(tmp_path: Path, name: str) -> None:
    lines = ["file_name,text", "a.jpg,un café", "b.jpg,a lid"]
    if name.endswith("jsonl"):
        lines = [f'{{"file_name": "{line[:5]}", "text": "{line[6:]}"}}' for line in lines[1:]]
    files = {"a.jpg": jpeg(1), "b.jpg": jpeg(2), name: "\r\n".join(lines).encode("cp1252")}
    everything = found(write_all(tmp_path, files))
    assert captions(everything) == {"a.jpg": "", "b.jpg": "a lid"}
    assert "save the table again as UTF-8" in next(iter(refusals(everything).values()))


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "lids.tsv", "lids.csv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_table_with_a_byte_order_mark_is_read_by_it(tmp_path: Path, name: str, encoding: str) -> None:
    rows = [["file_name", "text"], ["a.jpg", "un café"], ["b.jpg", "крышка"]]
    lines = [("\t" if name.endswith("tsv") else ",").join(row) for row in rows]
    if name.endswith("jsonl"):
        lines = [json.dumps({"file_name": path, "text": text}, ensure_ascii=False) for path, text in rows[1:]]
    write_all(tmp_path, {"a.jpg": jpeg(1), "b.jpg": jpeg(2), name: "\r\n".join(lines).encode(encoding)})
    everything = found(tmp_path if name.startswith("metadata") else tmp_path / name)
    assert captions(everything) == {"a.jpg": "un café", "b.jpg": "крышка"} and not refusals(everything)


@pytest.mark.parametrize("name", ["metadata.csv", "lids.tsv"])
def test_a_utf_16_table_that_was_cut_short_or_has_no_mark_says_so(tmp_path: Path, name: str) -> None:
    content = "file_name\ttext\na.jpg\tun café".replace("\t", "\t" if name == "lids.tsv" else ",").encode("utf-16")
    for damaged, complaint in (
        (content[:-1], "xpected UTF-16 text, as its first two bytes say, got other bytes: save the file as UTF-8"),
        (
            content[2:],
            "xpected UTF-8, or UTF-16 with a byte order mark, got UTF-16 without one: save the file as UTF-8",
        ),
    ):
        write_all(tmp_path, {"a.jpg": jpeg(1), name: damaged})
        beside = name == "metadata.csv"
        sentence = next(iter(refusals(found(tmp_path)).values())) if beside else wrong(tmp_path / name)
        assert complaint in sentence


@pytest.mark.parametrize("name", ["metadata.csv", "lids.csv"])
def test_a_row_in_another_letter_case_means_the_file_that_alone_fits(tmp_path: Path, name: str) -> None:
    table = "file_name,text\nIMG_1.JPG,one\nSub\\LID.jpg,two\nTWO.JPG,any\nThree.jpg,three\n../X/IMG_1.JPG,out\n"
    files = ["img_1.jpg", "sub/lid.JPG", "two.jpg", "Two.jpg", "three.jpg", "Three.jpg"]
    write_all(tmp_path / "x", {name: table} | {each: jpeg(at) for at, each in enumerate(files)})
    everything = found(tmp_path / "x" if name == "metadata.csv" else tmp_path / "x" / name)
    told = {each: text for each, text in captions(everything).items() if text}
    assert told == {"img_1.jpg": "one", "lid.JPG": "two", "Three.jpg": "three"}
    reasons = refusals(everything)
    assert "several differ from it in letter case only" in reasons.pop(f"{name}:row 2")
    assert list(reasons) == [f"{name}:row 4"]


def test_a_wrong_source_gets_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_all(
        tmp_path,
        {
            "one.jpg": jpeg(),
            "notes.csv": "just,some,numbers\n1,2,3\n",
            "empty.csv": "",
            "binary.csv": bytes(range(256)),
            "broken.zip": b"PK\x03\x04" + bytes(100),
            "words.tsv": "a lid\tanother lid\n",
        },
    )
    for name, says in {
        "missing": "got nothing",
        "empty": "got an empty folder",
        "one.jpg": "got one.jpg, which is none of them",
        "notes.csv": "got 3 columns in the first",
        "empty.csv": "columns in the first",
        "binary.csv": "in the first",
        "broken.zip": "damaged or cut short",
        "words.tsv": "got two columns without a file's name",
    }.items():
        assert says in wrong(tmp_path / name) and "\n" not in wrong(tmp_path / name), name
    for address in ("https://host.example/pictures.tar", "s3://bucket/x"):
        assert "img2dataset" in wrong(address) and f"address {address}:" in wrong(address)
    odd = write_tar(tmp_path / os.fsdecode(b"latin-\xe9.tar"), {"1.jpg": jpeg()})
    assert wrong(odd).endswith("latin-\\udce9.tar: rename it")


def test_what_is_no_picture_in_a_folder_is_listed_and_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    write_all(outside, {"secret.jpg": jpeg()})
    write_all(inside, {"1.jpg": jpeg(), "table.csv": "a,1.jpg", "bad.zip": b"PK\x03\x04", "cut.tar.gz": b"\x1f\x8b"})
    (inside / "out.jpg").symlink_to(outside / "secret.jpg")
    (inside / "folder").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    (inside / "same.jpg").symlink_to("1.jpg")
    (inside / "round.jpg").symlink_to("round.jpg")
    os.mkfifo(inside / "pipe")
    (inside / os.fsdecode(b"latin-\xe9.jpg")).write_bytes(jpeg())
    everything = found(inside)
    assert captions(everything) == {"1.jpg": "", "same.jpg": "", "cut.tar.gz": ""}
    assert {key: words.split(":")[0] for key, words in refusals(everything).items()} == {
        "bad.zip": "The archive is damaged or cut short from here on",
        "folder": "A linked folder is not followed",
        "loop": "A linked folder is not followed",
        "latin-\\udce9.jpg": "Its name is not plain UTF-8 text",
        "out.jpg": "This link leads out of the folder",
        "pipe": "This is not a plain file",
        "round.jpg": "This is not a plain file",
        "table.csv": "This is a table",
    }


@pytest.mark.parametrize("name", ["1.txt", "metadata.csv"])
def test_a_text_that_is_a_link_out_of_the_folder_is_listed_and_not_read(tmp_path: Path, name: str) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    write_all(outside, {"secret": "file_name,text\n1.jpg,a secret"})
    write_all(inside, {"1.jpg": jpeg(), "own": "file_name,text\n1.jpg,its own"})
    (inside / name).symlink_to(outside / "secret")
    everything = found(inside)
    assert captions(everything)["1.jpg"] == ""
    assert refusals(everything)[name] == "This link leads out of the folder: copy the file itself."
    (inside / name).unlink()
    (inside / name).symlink_to("own")
    assert "its own" in captions(found(inside))["1.jpg"]


def test_parquet_without_pyarrow_is_a_plain_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as where it is not installed
    write_all(tmp_path, {"x.parquet": b"PAR1" + bytes(20) + b"PAR1", "1.jpg": jpeg()})
    assert "install it with `pip install pyarrow`" in wrong(tmp_path / "x.parquet")
    everything = found(tmp_path)
    assert "pip install pyarrow" in refusals(everything)["x.parquet"]
    assert captions(everything) == {"1.jpg": ""}


def test_parquet_of_hugging_face(tmp_path: Path) -> None:
    write_all(tmp_path, {"beside.jpg": jpeg(9)})
    images: list[Any] = [{"bytes": jpeg(n), "path": f"{n}.jpg"} for n in range(100)]
    images += [{"bytes": None, "path": "beside.jpg"}, {"bytes": None, "path": "gone.jpg"}, None]
    table = pyarrow.table({"image": images, "text": [f"lid {n}" for n in range(103)]})
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=40)
    everything = found(tmp_path / "x.parquet")
    assert [(f.member, f.caption, f.origin_row, f.content) for f in everything[:100]] == [
        (f"row {n}", f"lid {n}", n, jpeg(n)) for n in range(100)
    ]
    assert (everything[100].location, everything[100].member) == (str(tmp_path / "beside.jpg"), "")
    assert list(refusals(everything)) == ["x.parquet:row 101", "x.parquet:row 102"]
    parquet.write_table(pyarrow.table({"picture": [1]}), tmp_path / "other.parquet")
    assert "has picture" in wrong(tmp_path / "other.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:500])
    assert "damaged" in wrong(tmp_path / "cut.parquet")


# ------------------------------------------------------------------------------------ hostile archives (fault 15)


def test_a_hostile_tar_gives_nothing_away_and_writes_nothing(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    with tarfile.open(inside / "x.tar", "w") as tar:
        tar.addfile(member("ok.jpg", len(jpeg())), io.BytesIO(jpeg()))
        for name in ("../up.jpg", "/etc/abs.jpg", "a/../../b.jpg", "..\\windows.jpg"):
            tar.addfile(member(name, len(jpeg())), io.BytesIO(jpeg()))
        tar.addfile(member("soft.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"))
        tar.addfile(member("hard.jpg", type=tarfile.LNKTYPE, linkname="ok.jpg"))
        tar.addfile(member("pipe.jpg", type=tarfile.FIFOTYPE))
        tar.addfile(member("device.jpg", type=tarfile.CHRTYPE))
        tar.addfile(member("folder", type=tarfile.DIRTYPE))
        tar.addfile(member("ok.jpg", len(jpeg(9))), io.BytesIO(jpeg(9)))
        tar.addfile(member("zero.jpg"))
        tar.addfile(member("last.jpg", len(jpeg())), io.BytesIO(jpeg()))
    everything = found(inside / "x.tar")
    assert list(captions(everything)) == ["ok.jpg", "last.jpg"]
    assert everything[0].content == jpeg()
    assert {key.partition(":")[2]: words.split(":")[0] for key, words in refusals(everything).items()} == {
        **dict.fromkeys(
            ("../up.jpg", "/etc/abs.jpg", "a/../../b.jpg", "..\\windows.jpg"), "Its name leads out of the archive"
        ),
        **dict.fromkeys(("soft.jpg", "hard.jpg"), "A link in an archive is not followed"),
        **dict.fromkeys(("pipe.jpg", "device.jpg"), "This is not a plain file in the archive"),
        "ok.jpg": "The archive has a file of this name already",
        "zero.jpg": "This file is empty",
    }
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "x.tar"]


def test_a_hostile_zip_gives_nothing_away_and_writes_nothing(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"../up.jpg": jpeg(), "/abs.jpg": jpeg(), "ok.jpg": jpeg(), "d/": b""})
    with zipfile.ZipFile(path, "a") as file:
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = LINK_MODE
        file.writestr(link, "/etc/passwd")
        file.writestr("large.jpg", bytes(3_000_000), zipfile.ZIP_DEFLATED)
        file.writestr("packed.jpg", bytes(5), zipfile.ZIP_LZMA)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"packed.jpg") - 46  # in the list at the end: locked, and in a way that nobody knows
    content[at + 10] = 77
    path.write_bytes(content)
    everything = found(path, Limits(file_bytes=1_000_000))
    assert list(captions(everything)) == ["ok.jpg"]
    assert {key.partition(":")[2]: words.split(":")[0] for key, words in refusals(everything).items()} == {
        "../up.jpg": "Its name leads out of the archive",
        "/abs.jpg": "Its name leads out of the archive",
        "link.jpg": "A link in an archive is not followed",
        "large.jpg": "This file has 3.0 MB, more than the 1 MB accepted",
        "packed.jpg": "This file in the archive is packed in a way that is not read",
    }
    assert [file.name for file in tmp_path.iterdir()] == ["x.zip"]


def walk(path: Path, archive_limits: ArchiveLimits | None) -> tuple[Counter[str], int]:
    tracemalloc.start()
    try:
        said = Counter(file.refusal for file in open_source(path, None, archive_limits).files)
    except UserError as error:
        said = Counter([str(error)])
    return said, tracemalloc.get_traced_memory()[1]


def said_below(most: int, path: Path, archive_limits: ArchiveLimits | None = None) -> Counter[str]:
    """How often a walk said what; its Python objects come to at most so many bytes. It walks in a process of its own,
    since what other tests left running here allocates as well.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        said, peak_bytes = process.submit(walk, path, archive_limits).result()
    assert peak_bytes < most
    return said


def forged(path: Path, says: int) -> Path:
    """A zip whose one entry says another size than it unpacks to."""
    content = bytearray(path.read_bytes())
    for at in (22, content.rindex(b"PK\x01\x02") + 24):
        content[at : at + 4] = struct.pack("<I", says)
    path.write_bytes(content)
    return path


def test_forged_sizes_are_not_believed(tmp_path: Path) -> None:
    bomb = write_zip(tmp_path / "bomb.zip", {"x.jpg": bytes(30_000_000)})
    assert "damaged" in str(said_below(1_000_000, forged(bomb, 100)))
    assert "4295.0 MB" in refusals(found(forged(bomb, 2**32 - 2)))["bomb.zip:x.jpg"]
    tar = write_tar(tmp_path / "bomb.tar", {"a.jpg": jpeg(), "x.jpg": jpeg(), "b.jpg": jpeg()})
    content = bytearray(tar.read_bytes())
    at = content.index(b"x.jpg")
    for size in (b"77777777777\0", b"\x80" + (2**40).to_bytes(11, "big"), b"\xff" * 11 + b"\x00"):
        content[at + 124 : at + 136] = size
        content[at + 148 : at + 156] = b" " * 8
        content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
        tar.write_bytes(content)
        everything = found(tar)
        assert list(captions(everything)) == ["a.jpg"]
        assert 1 <= len(refusals(everything)) <= 2 and "b.jpg" not in str(refusals(everything))


def test_a_tar_that_leads_back_to_its_start_ends(tmp_path: Path) -> None:
    """A negative size, as an extended header may state it."""
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member("a.jpg", len(jpeg())), io.BytesIO(jpeg()))
        tar.addfile(member("b.jpg", pax_headers={"size": "-5120"}))
        tar.addfile(member("c.jpg", len(jpeg())), io.BytesIO(jpeg()))
    everything = found(path)
    assert list(captions(everything)) == ["a.jpg"]
    assert "damaged" in refusals(everything)["x.tar"]


def test_a_name_of_gigabytes_in_a_tar_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    header = member("././@LongLink", 200_000_000, type=tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT)
    with path.open("wb") as file:
        file.write(member("a.jpg", 0).tobuf() + header)
        file.truncate(300_000_000)
    assert "damaged" in str(said_below(1_000_000, path))


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_a_cut_archive_gives_what_comes_before(tmp_path: Path, name: str, cut: float) -> None:
    noise = {f"{n}.jpg": Random(n).randbytes(3000) for n in range(9)}
    path = write_tar(tmp_path / name, noise, "w:gz" if name.endswith("gz") else "w")
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * min(len(content), 9 * 3584))])
    everything = found(path)
    good = [file for file in everything if not file.refusal]
    assert len(good) < 9
    assert [file.content for file in good] == list(noise.values())[: len(good)]
    assert refusals(everything)


@pytest.mark.parametrize("at", [16, 20])  # after the header: the first block's kind, and what follows
def test_a_damaged_packed_file_among_pictures_costs_only_itself(tmp_path: Path, at: int) -> None:
    content = bytearray(write_tar(tmp_path / "b.tar.gz", {"x.jpg": jpeg()}, "w:gz").read_bytes())
    content[at:] = b"\xff" * 200
    write_all(tmp_path, {"a.jpg": jpeg(1), "b.tar.gz": bytes(content), "c.jpg": jpeg(2)})
    assert [Path(file.location).name for file in found(tmp_path)] == ["a.jpg", "b.tar.gz", "c.jpg"]
    assert "none of them" in wrong(tmp_path / "b.tar.gz")


def test_a_broken_header_in_the_middle_of_a_tar_is_no_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {f"{n}.jpg": jpeg() for n in range(3)})
    content = bytearray(path.read_bytes())
    content[content.index(b"1.jpg") + 148] ^= 1
    path.write_bytes(content)
    everything = found(path)
    assert list(captions(everything)) == ["0.jpg"] and "damaged" in refusals(everything)["x.tar"]


def zip_of_many(path: Path, entries: int, says: int | None = None) -> Path:
    """A zip whose list has so many entries of an empty file, made in a moment. says: how many, by its own word."""
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 7, 0)
    listed = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0) + b"%07d" % n
        for n in range(entries)
    )
    start = len(local) + 7
    count = min(entries, 0xFFFF) if says is None else says
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(listed), start, 0)
    path.write_bytes(local + b"0000000" + listed + end)
    return path


def test_a_million_entries_are_refused_before_their_list_is_read(tmp_path: Path) -> None:
    path = zip_of_many(tmp_path / "x.zip", 300_000, says=1)  # 15 MB of list
    [refused] = said_below(1_000_000, path, ArchiveLimits(entries=100_000))
    assert "more than the 100,000 entries accepted: split it" in refused
    assert (
        "entries" in refusals(found(zip_of_many(tmp_path / "y.zip", 1200), None, ArchiveLimits(entries=1000)))["y.zip"]
    )
    many = found(zip_of_many(tmp_path / "z.zip", 900), None, ArchiveLimits(entries=1000))
    assert len(many) == 900 and all("empty" in file.refusal for file in many)


def test_a_tar_of_very_many_entries_is_streamed_and_ends_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for number in range(5_000):
            file.write(member(f"{number}.jpg").tobuf())
    said = said_below(1_000_000, path, ArchiveLimits(entries=4_000))
    assert sorted(said.values()) == [1, 4_000]
    assert "The archive has more than the 4,000 entries accepted: split it." in said


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_left(tmp_path: Path) -> None:
    limits = ArchiveLimits(bytes_more=1_000_000, expansion=20)
    files = {"a.jpg": jpeg(), **{f"{n}.jpg": bytes(400_000) for n in range(9)}, "z.jpg": jpeg()}
    for path in (write_tar(tmp_path / "x.tar.gz", files, "w:gz"), write_zip(tmp_path / "x.zip", files)):
        everything = found(path, None, limits)
        assert 1 <= len(captions(everything)) <= 4
        assert "far more than its size" in everything[-1].refusal
        assert len(found(path)) == 11


def test_entries_are_read_again_by_what_the_walk_said(tmp_path: Path) -> None:
    files = {"b.jpg": jpeg(1), "a.jpg": jpeg(2), "c.jpg": jpeg(3)}
    for path in (write_tar(tmp_path / "x.tar", files), write_zip(tmp_path / "x.zip", files)):
        archive = open_archive(path, Limits())
        entries = list(archive.entries())
        assert {entry.name: archive.read(entry) for entry in reversed(entries)} == files
        archive.close()
