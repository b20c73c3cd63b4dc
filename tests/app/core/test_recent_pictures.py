import os
from pathlib import Path

import pytest
from PIL import Image

from app.core.recent_pictures import MOST_KEPT, find_kept_picture, keep_picture, owner_of
from app.core.settings import Settings
from app.core.uploads import RefusedError, read_picture
from tests.support.paths import ROOT


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def photo(folder: Path, shade: int = 0) -> Path:
    path = folder / f"photo {shade}.jpg"
    Image.new("RGB", (8, 6), (shade, shade, shade)).save(path, quality=95)
    return path


def test_a_picture_is_found_again_byte_for_byte_by_its_person_alone(settings: Settings, tmp_path: Path) -> None:
    path = photo(tmp_path)
    kept_id, shown = keep_picture(settings, "ada", path, image=read_picture(path))
    assert find_kept_picture(settings, "ada", kept_id) == shown
    assert shown.read_bytes() == path.read_bytes() and shown.name == "photo 0.jpg"
    assert keep_picture(settings, "ada", path, image=read_picture(path)) == (kept_id, shown)
    assert find_kept_picture(settings, "bob", kept_id) is None
    assert "ada" not in str(shown.relative_to(settings.home)) and owner_of("ada") != owner_of("bob")


@pytest.mark.parametrize("kept_id", ["", "..", "../" * 5 + "etc", "a" * 63, "A" * 64, "0" * 64])
def test_an_id_that_nobody_was_given_finds_nothing(settings: Settings, kept_id: str) -> None:
    assert find_kept_picture(settings, "ada", kept_id) is None


def test_what_browsers_cannot_show_is_kept_as_png(settings: Settings, tmp_path: Path) -> None:
    tiff, avif = tmp_path / "scan.tif", tmp_path / "phone.avif"
    for path in (tiff, avif):
        Image.new("RGB", (8, 6), "red").save(path)
    for path, suffix in ((tiff, ".png"), (ROOT / "tests/support/turned.heic", ".png"), (avif, ".avif")):
        image = read_picture(path)
        _, shown = keep_picture(settings, "ada", path, image=image)
        assert shown.suffix == suffix and read_picture(shown).size == image.size


def test_the_newest_are_kept_and_using_one_makes_it_new(settings: Settings, tmp_path: Path) -> None:
    ids = []
    for shade in range(MOST_KEPT):
        path = photo(tmp_path, shade)
        kept_id, shown = keep_picture(settings, "ada", path, image=read_picture(path))
        os.utime(shown.parent, (shade, shade))
        ids.append(kept_id)
    first, last = photo(tmp_path, 0), photo(tmp_path, 99)
    for path in (first, last):
        keep_picture(settings, "ada", path, image=read_picture(path))
    assert [find_kept_picture(settings, "ada", kept_id) is not None for kept_id in ids] == [
        True,
        False,
        *[True] * (MOST_KEPT - 2),
    ]


def test_a_file_that_is_gone_is_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(RefusedError):
        keep_picture(settings, "ada", tmp_path / "none.jpg", image=Image.new("RGB", (2, 2)))
