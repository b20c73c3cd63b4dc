from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from curation.files.decode import decode
from curation.files.pictures import (
    PATIENCE,
    PROGRAM,
    DecoderPool,
    Limits,
    PictureDecoder,
    RefusedError,
    in_order,
    read_file,
)
from tests.support.malformed_images import BOMBS, malformed_images, png_of_size
from tests.support.source_files import encoded


def plain(color: str = "red", size: tuple[int, int] = (8, 6)) -> bytes:
    return encoded(Image.new("RGB", size, color))


def smooth(width: int, height: int) -> Image.Image:
    """Colours that change slowly and differ in every corner."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8))


def process_of(decoder: PictureDecoder) -> int:
    assert decoder._process is not None
    return decoder._process.pid


def test_one_process_reads_many_files_one_after_the_other() -> None:
    with PictureDecoder() as decoder:
        decoder.read(plain())
        first = process_of(decoder)
        for color in ("red", "lime", "blue") * 5:
            picture = decoder.read(plain(color))
            assert picture.image.getpixel((7, 5)) == Image.new("RGB", (1, 1), color).getpixel((0, 0))
        assert process_of(decoder) == first


def test_a_refused_file_does_not_end_the_process() -> None:
    with PictureDecoder() as decoder:
        decoder.read(plain())
        first = process_of(decoder)
        for content in (b"no picture", plain()[:50], png_of_size(20_000, 20_000, b"")):
            with pytest.raises(RefusedError):
                decoder.read(content)
        assert decoder.read(plain()).width == 8
        assert process_of(decoder) == first


@pytest.mark.slow
def test_a_file_that_ends_the_process_is_refused_and_the_next_one_is_read() -> None:
    """Memory for the small picture only; then time for the small picture only."""
    large = encoded(Image.new("RGB", (6000, 6000)), compress_level=1)
    endless = next(bomb.content for bomb in BOMBS if bomb.name == "scans.jpg")
    for limits, content, says in (
        (Limits(memory_bytes=100 * 2**20), large, "100 MB of memory"),
        (Limits(seconds=0.3), endless, "within 0.3 s"),
    ):
        with PictureDecoder(limits) as decoder:
            assert decoder.read(plain()).width == 8
            for _ in range(2):
                with pytest.raises(RefusedError, match=says):
                    decoder.read(content)
                assert decoder.read(plain()).width == 8


def test_the_start_of_the_process_is_not_counted_as_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(seconds=0.1)
    slow = PATIENCE * limits.seconds + 0.5
    monkeypatch.setattr("curation.files.pictures.PROGRAM", f"import time; time.sleep({slow}); {PROGRAM}")
    with PictureDecoder(limits) as decoder:
        assert decoder.read(plain()).width == 8


def test_a_process_that_never_gets_ready_costs_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.files.pictures.PROGRAM", "import time; time.sleep(600)")
    monkeypatch.setattr("curation.files.pictures.START_S", 0.2)
    with PictureDecoder() as decoder, pytest.raises(RefusedError, match="could not be read"):
        decoder.read(plain())


def test_time_is_counted_for_each_file_anew() -> None:
    image = encoded(smooth(1200, 900), compress_level=0)
    with PictureDecoder(Limits(seconds=0.5)) as decoder:
        assert {decoder.read(image).width for _ in range(60)} == {1200}


def test_a_process_that_dies_between_two_files_costs_no_picture() -> None:
    with PictureDecoder() as decoder:
        decoder.read(plain())
        os.kill(process_of(decoder), signal.SIGKILL)
        assert decoder.read(plain("blue")).image.getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\n",
        b"[1]\n",
        b'{"refusal": "cut',
        b'{"width": "x"}\n',
        b'{"width": 9, "height": 9, "across": 10, "down": 9}\n',
        b'{"width": 1e9, "height": 1e9, "across": 1e9, "down": 1e9}\n',
        b'{"width": 9, "height": 9, "across": 9, "down": 9}\nfew pixels',
    ],
)
def test_a_process_that_hostile_bytes_have_taken_over_is_not_believed(line: bytes) -> None:
    with pytest.raises(RefusedError, match=r"^(This|Reading this) picture .*save it again"):
        PictureDecoder()._receive(BytesIO(line))


def test_malformed_files_end_alike_one_by_one_and_in_a_row() -> None:
    """What a file comes to does not depend on those before it."""
    files = [file.content for file in islice(malformed_images(seed=5), 5, 65)]
    assert len(files) == 60

    def outcome(decoder: PictureDecoder, content: bytes) -> str:
        try:
            return str(decoder.read(content, 64).image.size)
        except RefusedError as error:
            return str(error)

    with PictureDecoder() as decoder:
        in_a_row = [outcome(decoder, content) for content in files]
    with PictureDecoder() as decoder:
        backwards = [outcome(decoder, content) for content in reversed(files)]
    assert in_a_row == backwards[::-1]
    assert len(set(in_a_row)) > 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_reduced_picture_is_upright_and_says_the_full_size(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    content = encoded(smooth(900, 600), kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(BytesIO(content))).convert("RGB")
    with PictureDecoder() as decoder:
        picture = decoder.read(content, 100)
    assert (picture.width, picture.height) == expected.size
    assert max(picture.image.size) == 100 and min(picture.image.size) == 67
    there = np.asarray(picture.image, int)
    assert np.abs(there - np.asarray(expected.resize(picture.image.size), int)).max() < 12


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_pixels_can_be_reduced(mode: str) -> None:
    grey = smooth(700, 500).convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = smooth(700, 500).convert("RGB").convert(mode)
    content = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    reduced = decode(content, Limits(), 50)
    whole = decode(content, Limits())
    assert (reduced.width, reduced.height) == (whole.width, whole.height) == (700, 500)
    assert reduced.image.size == (50, 36)
    expected = next(iter(replace(whole).strips())).resize((50, 36))
    assert np.abs(np.asarray(reduced.image, int) - np.asarray(expected, int)).mean() < (40 if mode == "1" else 3)


def test_decoding_in_this_process_leaves_pillows_limit_to_others() -> None:
    decode(plain(), Limits())
    assert Image.MAX_IMAGE_PIXELS


def test_a_small_picture_keeps_its_pixels() -> None:
    with PictureDecoder() as decoder:
        assert decoder.read(plain(), 320).image.size == (8, 6)
        assert decoder.read(plain(size=(320, 3)), 320).image.size == (320, 3)
        assert decoder.read(plain(size=(30_000, 1)), 320).image.size == (320, 1)


def test_a_pool_serves_more_threads_than_it_has_processes() -> None:
    colors = ["red", "lime", "blue", "white"] * 6
    with DecoderPool(processes=2) as pool, ThreadPoolExecutor(6) as threads:
        pictures = threads.map(lambda color: pool.read(plain(color)).image.getpixel((0, 0)), colors)
        assert list(pictures) == [Image.new("RGB", (1, 1), color).getpixel((0, 0)) for color in colors]


def test_work_comes_back_in_order_and_takes_little_ahead() -> None:
    taken = []

    def numbers() -> object:
        for number in count():
            taken.append(number)
            yield number

    with ThreadPoolExecutor(3) as threads:
        squares = in_order(lambda n: n * n, numbers(), threads, ahead=4)  # type: ignore[arg-type]
        assert taken == [0, 1, 2, 3], "begun before anybody asks"
        assert list(islice(squares, 5)) == [0, 1, 4, 9, 16]
        assert len(taken) <= 9
        assert list(in_order(str, [], threads, ahead=4)) == []


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", tmp_path / "missing", tmp_path):
        with pytest.raises(RefusedError, match="empty"):
            read_file(path, Limits())
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(RefusedError, match="more than the 1e-05 MB"):
        read_file(tmp_path / "large", Limits(file_bytes=10))
