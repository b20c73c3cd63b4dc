import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from grain.config import CLIP_MEAN, CLIP_STD
from grain.preprocess import image_to_array, upright_rgb
from tests.support.paths import ROOT
from user_errors import UserError

NOTHING, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def test_a_plain_picture_becomes_its_normalized_colour() -> None:
    array = image_to_array(Image.new("RGB", (30, 20), (255, 0, 51)), size=8, mean=CLIP_MEAN, std=CLIP_STD)
    expected = [(value - m) / s for value, m, s in zip((1.0, 0.0, 0.2), CLIP_MEAN, CLIP_STD, strict=True)]
    assert array.shape == (3, 8, 8) and array.dtype == np.float32
    np.testing.assert_allclose(array.mean(axis=(1, 2)), expected, rtol=1e-5)
    assert np.ptp(array.reshape(3, -1), axis=1).max() < 1e-6


@given(st.integers(16, 300), st.integers(16, 300))
def test_the_whole_picture_is_squashed_so_that_a_normalized_box_keeps_its_meaning(width: int, height: int) -> None:
    image = Image.new("RGB", (4 * width, 4 * height), (0, 0, 0))
    image.paste((255, 255, 255), (2 * width, height, 4 * width, 2 * height))  # x in [1/2, 1], y in [1/4, 1/2]
    array = image_to_array(image, size=32, mean=NOTHING, std=ONE)[0]
    assert array[9:15, 18:31].min() > 0.9
    assert max(array[:6].max(), array[18:].max(), array[:, :13].max()) < 0.1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_a_picture_of_any_mode_gives_three_channels(mode: str) -> None:
    assert image_to_array(Image.new(mode, (5, 9)), size=4, mean=NOTHING, std=ONE).shape == (3, 4, 4)


def test_a_single_pixel_fills_the_input() -> None:
    array = image_to_array(Image.new("RGB", (1, 1), (255, 255, 255)), size=4, mean=NOTHING, std=ONE)
    assert array.min() == array.max() == 1.0


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="0 x 3 pixels"):
        image_to_array(Image.new("RGB", (0, 3)), size=4, mean=NOTHING, std=ONE)


def turned(kind: str, folder: Path) -> Path:
    """A phone's photograph: 60 × 40 as stored, its left half red; a person sees 40 × 60, red above."""
    image = Image.new("RGB", (60, 40), "blue")
    image.paste("red", (0, 0, 30, 40))
    exif = Image.Exif()
    exif[274] = 6
    image.save(folder / f"phone.{kind}", kind, exif=exif)
    return folder / f"phone.{kind}"


def red_is_above(image: Image.Image) -> bool:
    above, below = (image.getpixel((20, y)) for y in (5, 55))
    assert isinstance(above, tuple) and isinstance(below, tuple)
    return image.mode == "RGB" and image.size == (40, 60) and above[0] > 200 > below[0] and below[2] > 200 > above[2]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_picture_comes_as_a_person_sees_it_however_it_is_given(kind: str, tmp_path: Path) -> None:
    path = turned(kind, tmp_path)
    with path.open("rb") as file:
        assert red_is_above(upright_rgb(file))
    assert red_is_above(upright_rgb(path)) and red_is_above(upright_rgb(str(path)))
    for image in (Image.open(path), Image.open(path).convert("RGB"), Image.open(path).convert("RGBA")):
        upright = upright_rgb(image)
        assert red_is_above(upright) and upright_rgb(upright) is upright, "turned once, and not copied again"


def test_a_heic_is_read() -> None:
    assert upright_rgb(ROOT / "tests/support/turned.heic").size == (48, 64)


def test_an_array_holds_bytes_or_shares() -> None:
    rows = np.zeros((2, 3, 3), np.uint8)
    rows[0, 1] = (255, 128, 0)
    for array in (rows, rows / 255, np.float16(rows / 255), rows[::-1][::-1]):
        image = upright_rgb(array)
        assert (image.size, image.getpixel((1, 0)), image.getpixel((0, 0))) == ((3, 2), (255, 128, 0), (0, 0, 0))
    for grey in (rows[..., 0], rows[..., :1]):
        assert upright_rgb(grey).getpixel((1, 0)) == (255, 255, 255)
    assert upright_rgb(np.zeros((2, 3, 4), np.uint8)).getpixel((0, 0)) == (255, 255, 255), "transparent: white paper"


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((3, 4, 5), np.uint8), r"expected an array .*, got \[3, 4, 5\]"),
        (np.zeros(7, np.uint8), r"got \[7\]"),
        (np.full((2, 2), 255.0), "expected floats in .0, 1., got 255 to 255: divide by 255"),
        (np.full((2, 2), np.nan), "expected floats"),
        (np.zeros((2, 2), np.int64), "expected an array of uint8 .* got int64"),
        (np.zeros((0, 5, 3), np.uint8), "expected at least one pixel, got 5 x 0"),
        (Image.new("RGB", (0, 3)), "expected at least one pixel, got 0 x 3"),
        (Image.new("F", (2, 2)), "holds F numbers and not colours"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_sentence(array: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        upright_rgb(array)


def damaged(folder: Path) -> dict[str, Path]:
    """Files that begin as pictures: cut short, and one whose header promises more pixels than Pillow opens."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))
    files = {kind: folder / f"cut.{kind}" for kind in ("jpeg", "png", "webp", "tiff")}
    for kind, file in files.items():
        image.save(file, kind)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    huge = folder / "huge.png"
    image.save(huge)
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    start, rest = huge.read_bytes()[:12], huge.read_bytes()[33:]
    huge.write_bytes(start + chunk + struct.pack(">I", zlib.crc32(chunk)) + rest)
    return files | {"huge": huge}


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "huge"])
def test_a_picture_that_cannot_be_decoded_is_named_in_a_sentence(kind: str, tmp_path: Path) -> None:
    file = damaged(tmp_path)[kind]
    says = (
        "has too many pixels to be read: make it smaller"
        if kind == "huge"
        else "is damaged or cut short .*: save it again"
    )
    for picture in (file, str(file)):
        with pytest.raises(UserError, match=rf"{file.name} {says}"):
            upright_rgb(picture)
    with file.open("rb") as opened, pytest.raises(UserError, match=says):
        upright_rgb(opened)


def test_a_file_that_is_no_picture_is_refused_and_one_that_is_missing_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "words.jpg").write_text("no picture at all")
    with pytest.raises(UserError, match=r"words\.jpg is not a JPEG, .* HEIC picture: save it as JPEG or PNG"):
        upright_rgb(tmp_path / "words.jpg")
    with pytest.raises(FileNotFoundError):
        upright_rgb(tmp_path / "none.jpg")
