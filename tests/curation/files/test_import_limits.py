"""How large pictures of data sets may be, and how many one import may bring: one setting for every import."""

from pathlib import Path

import pytest
from PIL import Image

from curation.files.decode import Limits
from curation.files.import_limits import most_pictures, picture_limits
from curation.ingest.ingest import ingest
from db.engine import Engine
from user_errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures: two of 1,200 pixels and one of 4,800."""
    (tmp_path / "in").mkdir()
    for name, size in (("a.png", (40, 30)), ("b.png", (30, 40)), ("large.png", (80, 60))):
        Image.new("RGB", size, f"#{len(name)}{size[0]:02}0{size[1]:02}"[:7].ljust(7, "0")).save(tmp_path / "in" / name)
    return tmp_path / "in"


def test_without_settings_the_limits_are_those_of_an_upload() -> None:
    assert picture_limits() == Limits() and most_pictures() == 0


def test_more_pixels_get_time_and_memory_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAIN_IMPORT_PIXELS", "100000000")
    monkeypatch.setenv("GRAIN_IMPORT_BYTES", "60000000")
    assert picture_limits() == Limits(60_000_000, 100_000_000, seconds=3.6, memory_bytes=2**30)
    monkeypatch.setenv("GRAIN_IMPORT_PIXELS", "1000")
    assert picture_limits() == Limits(60_000_000, 1000), "fewer do not get less"


def test_an_import_leaves_out_what_is_larger(
    folder: Path, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAIN_IMPORT_PIXELS", "1200")
    tally = ingest(engine, folder, dataset="d", home=tmp_path, processes=1)
    [(reason, count)] = tally.refused.items()
    assert (tally.added, count) == (2, 1) and "80 × 60 pixels, more than the 0.0012 million" in reason
    monkeypatch.setenv("GRAIN_IMPORT_PIXELS", "4800")
    assert ingest(engine, folder, dataset="d", home=tmp_path, processes=1).added == 1


def test_an_import_of_more_files_than_allowed_is_refused_in_one_sentence(
    folder: Path, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAIN_IMPORT_PICTURES", "2")
    with pytest.raises(UserError, match=r"at most 2 files in one import \(GRAIN_IMPORT_PICTURES\), got more"):
        ingest(engine, folder, dataset="d", home=tmp_path, processes=1)
    monkeypatch.setenv("GRAIN_IMPORT_PICTURES", "3")
    assert ingest(engine, folder, dataset="d", home=tmp_path, processes=1).added == 3


@pytest.mark.parametrize("text", ["many", "-1", "0", "1.5"])
def test_a_limit_that_is_no_number_is_one_sentence(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAIN_IMPORT_BYTES", text)
    with pytest.raises(UserError, match="GRAIN_IMPORT_BYTES: expected a whole number of 1 to 1,000,000,000,000, got"):
        picture_limits()
