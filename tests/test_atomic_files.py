"""Files and folders written whole or not at all: kept, refused, cleaned; on a disk that is really full as well."""

import errno
import os
import pickle
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from atomic_files import (
    Sync,
    atomic_file,
    atomic_folder,
    clean_leftovers,
    is_temporary,
    write_atomically,
)
from user_errors import FULL, DiskFullError, UserError, WriteError, is_disk_full


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("sync", ["all", "content", "none"])
def test_a_file_is_written_whole_over_an_older_one(tmp_path: Path, sync: Sync) -> None:
    for content in (b"first", "zweiter, größer"):
        write_atomically(tmp_path / "new" / "file", content, sync=sync)
        assert contents(tmp_path) == {"new/file": content.encode() if isinstance(content, str) else content}


@given(content=st.binary(max_size=300), name=st.text("aÿ桜🌸", min_size=1, max_size=60))
def test_any_content_under_any_name_comes_back(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    write_atomically(folder / name, content, sync="none")
    assert contents(folder) == {name: content}
    shutil.rmtree(folder)


def test_two_threads_that_write_one_file_leave_one_of_the_two_whole(tmp_path: Path) -> None:
    wholes = [bytes([letter]) * 200_000 for letter in b"ab"]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda content: write_atomically(tmp_path / "file", content, sync="none"), wholes * 20))
    assert contents(tmp_path)["file"] in wholes and len(contents(tmp_path)) == 1


def test_a_folder_takes_the_place_of_the_earlier_one_with_all_that_is_in_it(tmp_path: Path) -> None:
    for number in range(2):
        with atomic_folder(tmp_path / "runs" / "one") as place:
            (place / "below").mkdir()
            (place / "below" / f"{number}.txt").write_text("content")
    assert contents(tmp_path) == {"runs/one/below/1.txt": b"content"}
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["one"]


@pytest.mark.parametrize("code", FULL)
def test_a_full_disk_is_one_sentence_and_what_was_there_stays(tmp_path: Path, code: int) -> None:
    write_atomically(tmp_path / "file", "earlier")
    sentence = f"The disk is full: free some space on {tmp_path} and try again; what was there before is unchanged."
    for number, error in enumerate([OSError(code, os.strerror(code)), SafetensorError(f"Io(… (os error {code}))")]):
        with pytest.raises(DiskFullError) as caught, atomic_file(tmp_path / "file") as temporary:
            temporary.write_text(f"half of {number}")
            raise error
        assert str(caught.value) == sentence
        with pytest.raises(DiskFullError), atomic_folder(tmp_path / "folder") as temporary:
            (temporary / "file").write_text(f"half of {number}")
            raise error
    assert contents(tmp_path) == {"file": b"earlier"}
    assert str(pickle.loads(pickle.dumps(caught.value))) == sentence, "it comes from another process as it was"


def test_on_a_disk_that_is_really_full_nothing_is_left_behind(small_disk: Path) -> None:
    write_atomically(small_disk / "file", "earlier")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(DiskFullError, match=f"free some space on {small_disk} and try again"):
        write_atomically(small_disk / "file", "later" * 1000)
    ballast.unlink()
    assert contents(small_disk) == {"file": b"earlier"}
    write_atomically(small_disk / "file", "later")
    assert contents(small_disk) == {"file": b"later"}


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the place of a folder")
    with pytest.raises(WriteError, match=r"x could not be written \(.*\): correct that and try again; what was there"):
        write_atomically(tmp_path / "file" / "x", "content")
    with pytest.raises(WriteError, match=r"file could not be written \(no such mode\): correct that"):  # noqa: SIM117
        with atomic_file(tmp_path / "file"):
            raise OSError("no such mode")
    assert contents(tmp_path) == {"file": b"in the place of a folder"}


@pytest.mark.parametrize("error", [KeyError("anything"), UserError("a sentence"), KeyboardInterrupt()])
def test_whatever_else_fails_passes_as_it_is_and_nothing_is_written(tmp_path: Path, error: BaseException) -> None:
    for write in (atomic_file, atomic_folder):
        with pytest.raises(type(error)) as caught, write(tmp_path / "new"):
            raise error
        assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_known_and_removed(tmp_path: Path) -> None:
    writers = [atomic_file(tmp_path / "file"), atomic_folder(tmp_path / "folder")]  # never left
    for writer in writers:
        place = writer.__enter__()
        (place / "half").write_text("half") if place.is_dir() else place.write_text("half")
    (tmp_path / "kept.tmp").write_text("somebody's")
    assert sorted(is_temporary(path.name) for path in tmp_path.iterdir()) == [False, True, True]
    (tmp_path / ".run.old").mkdir()
    (tmp_path / ".other.old").mkdir()
    (tmp_path / "other").mkdir()
    clean_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.tmp", "other", "run"], "caught between renames"


def test_a_full_disk_is_known_by_the_codes_of_system_and_databases() -> None:
    assert set(FULL) == {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}, "of disks, quotas and sizes of files"
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("PRAGMA max_page_count = 1")
        with pytest.raises(sqlite3.OperationalError) as caught:
            database.execute("CREATE TABLE numbers (number INTEGER)")
    assert is_disk_full(caught.value) and str(caught.value) == "database or disk is full"
    of_postgres = RuntimeError("could not extend file")
    of_postgres.sqlstate = "53100"  # type: ignore[attr-defined]
    assert is_disk_full(of_postgres) and is_disk_full(DiskFullError.on(None))
    assert not is_disk_full(OSError(errno.EACCES, "no")) and not is_disk_full(sqlite3.OperationalError("locked"))
