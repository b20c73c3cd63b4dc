"""What is remembered of files."""

from __future__ import annotations

from pathlib import Path

from app.core.file_cache import FileCache
from tests.support.unnoticed import rewrite_unnoticed


def test_a_file_is_read_once_until_it_is_written_again(tmp_path: Path) -> None:
    cache, file = FileCache(Path.read_text, missing="none"), tmp_path / "note"
    assert cache.get(file) == "none"
    file.write_text("one")
    assert cache.get(file) == "one"
    rewrite_unnoticed(file, "two")
    assert cache.get(file) == "one", "nothing is read of a file whose facts stay the same"
    file.write_text("three")
    assert cache.get(file) == "three"
    other = tmp_path / "other"
    other.write_text("seven")
    other.replace(file)
    assert cache.get(file) == "seven"
    file.unlink()
    assert cache.get(file) == "none"


def test_the_file_that_was_asked_for_longest_ago_is_forgotten_first(tmp_path: Path) -> None:
    cache, (a, b, c) = FileCache(Path.read_text, missing="", most=2), [tmp_path / name for name in "abc"]
    for file in (a, b, c):
        file.write_text("before")
    for file in (a, b, a, c):
        cache.get(file)
    for file in (a, b):
        rewrite_unnoticed(file, "after.")
    assert (cache.get(a), cache.get(b)) == ("before", "after.")
