import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps

from app.core.uploads import Limits, RefusedError, picture_path, read_picture, save_picture
from tests.support.fake_app import fake_services, running
from tests.support.malformed_images import COUNT, HUGE, gif_of_frames, malformed_images, png_of_size
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S

FORMATS = [
    ("JPEG", "jpg"),
    ("PNG", "png"),
    ("WEBP", "webp"),
    ("GIF", "gif"),
    ("BMP", "bmp"),
    ("TIFF", "tif"),
    ("AVIF", "avif"),
]
BEST: dict[str, dict[str, Any]] = {
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 100, "subsampling": 0},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)

HEIC = (ROOT / "tests/support/turned.heic").read_bytes()


def four_corners(width: int = 40, height: int = 24) -> Image.Image:
    """A non-square picture whose corners are red, green, blue, white: it shows every turn."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(WHITE, (width // 2, height // 2, width, height))
    return image


def written(folder: Path, image: Image.Image, kind: str = "PNG", **options: Any) -> Path:
    path = folder / f"picture.{kind.lower()}"
    image.save(path, kind, **options)
    return path


def refusal(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(RefusedError) as caught:
        read_picture(path, limits)
    return str(caught.value)


def corners(image: Image.Image) -> list[object]:
    right, bottom = image.width - 1, image.height - 1
    return [image.getpixel(at) for at in ((0, 0), (right, 0), (0, bottom), (right, bottom))]


# ------------------------------------------------------------------------------------ good pictures: the right pixels


@pytest.mark.parametrize(("kind", "suffix"), FORMATS)
def test_every_format_gives_its_pixels_as_rgb(tmp_path: Path, kind: str, suffix: str) -> None:
    image = read_picture(written(tmp_path, four_corners(), kind, **BEST.get(kind, {})))
    assert (image.mode, image.size) == ("RGB", (40, 24))
    most = 3 if kind in ("JPEG", "AVIF") else 0
    assert np.abs(np.asarray(image, int) - np.asarray(four_corners(), int)).max() <= most


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = written(tmp_path, four_corners(), kind, exif=exif, **BEST.get(kind, {}))
    with Image.open(path) as stored:
        expected = ImageOps.exif_transpose(stored).convert("RGB")
    image = read_picture(path)
    assert image.size == expected.size == ((24, 40) if orientation >= 5 else (40, 24))
    assert np.array_equal(np.asarray(image), np.asarray(expected))


def test_a_heic_comes_out_upright_and_its_other_brand_is_read_too(tmp_path: Path) -> None:
    """64 × 48 as stored, red above green left to right; turned by a quarter."""
    for brand in (b"heic", b"mif1"):
        path = tmp_path / "phone.heic"
        path.write_bytes(HEIC[:8] + brand + HEIC[12:])
        image = read_picture(path)
        assert (image.mode, image.size) == ("RGB", (48, 64))
        assert np.abs(np.array(corners(image), int) - np.array([BLUE, RED, WHITE, GREEN])).max() <= 6


@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_limits_hold_for_pictures_in_containers_too(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(HEIC) if kind == "HEIC" else four_corners(64, 48).save(path, "AVIF")
    assert "more than the 0.003 million" in refusal(path, Limits(pixels=3_000))
    assert "make it smaller" in refusal(path, Limits(file_bytes=100))
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(path) == "This picture is damaged or cut short: save it again and choose that."
    path.write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(80))
    assert "not a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC picture" in refusal(path), "a film"


def test_a_large_turned_picture_is_put_together_from_its_strips(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2200, 3), dtype=np.uint8)
    for orientation in (3, 5, 6, 7, 8):
        exif = Image.Exif()
        exif[274] = orientation
        path = written(tmp_path, Image.fromarray(noise), "PNG", exif=exif, compress_level=0)
        with Image.open(path) as stored:
            expected = ImageOps.exif_transpose(stored)
        assert np.array_equal(np.asarray(read_picture(path)), np.asarray(expected))


def test_a_broken_exif_block_does_not_refuse_good_pixels(tmp_path: Path) -> None:
    path = written(tmp_path, four_corners(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff" + bytes(40))
    assert read_picture(path).size == (40, 24)


def test_cmyk_comes_out_as_rgb(tmp_path: Path) -> None:
    image = read_picture(written(tmp_path, four_corners().convert("CMYK"), "JPEG", quality=100))
    assert np.abs(np.array(corners(image), int) - np.array([RED, GREEN, BLUE, WHITE])).max() <= 6


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    ramp = Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16))
    for kind in ("PNG", "TIFF"):
        image = read_picture(written(tmp_path, ramp, kind))
        assert [image.getpixel((x, 0)) for x in range(4)] == [(v, v, v) for v in (0, 1, 128, 255)]


def test_transparent_pixels_show_white_paper(tmp_path: Path) -> None:
    layer = Image.new("RGBA", (3, 1))
    layer.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (255, 0, 0, 51)])
    expected = [RED, WHITE, (255, 204, 204)]
    for kind, image in (("PNG", layer), ("WEBP", layer), ("TIFF", layer)):
        read = read_picture(
            written(tmp_path, image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
        )
        assert [read.getpixel((x, 0)) for x in range(3)] == expected


def test_palette_with_a_transparent_colour_and_grey_with_alpha(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, *BLUE])
    palette.putdata([0, 1])
    for kind in ("PNG", "GIF"):
        image = read_picture(written(tmp_path, palette, kind, transparency=1))
        assert [image.getpixel((x, 0)) for x in range(2)] == [RED, WHITE]
    grey = Image.new("LA", (2, 1))
    grey.putdata([(100, 255), (100, 0)])
    image = read_picture(written(tmp_path, grey))
    assert [image.getpixel((x, 0)) for x in range(2)] == [(100, 100, 100), WHITE]


def test_one_pixel_one_bit_and_an_animation_of_which_the_first_frame_counts(tmp_path: Path) -> None:
    assert read_picture(written(tmp_path, Image.new("RGB", (1, 1), BLUE))).getpixel((0, 0)) == BLUE
    assert read_picture(written(tmp_path, Image.new("1", (5, 4), 1))).getpixel((4, 3)) == WHITE
    frames = [Image.new("RGB", (8, 6), color) for color in (RED, GREEN, BLUE)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        image = read_picture(written(tmp_path, frames[0], kind, save_all=True, append_images=frames[1:], **options))
        assert (image.size, image.getpixel((3, 3))) == ((8, 6), RED)


def test_the_name_of_a_file_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "no picture.txt"
    four_corners().save(path, "PNG")
    assert corners(read_picture(path)) == [RED, GREEN, BLUE, WHITE]


# ------------------------------------------------------------------------------------ no pictures, and too much


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What became of the 500, in a process that is small itself, so that its children's memory can be read."""
    done = subprocess.run(
        [sys.executable, "tests/support/malformed_images.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.slow
def test_500_malformed_images_end_in_a_sentence_or_in_pixels(report: dict[str, Any]) -> None:
    assert report["count"] == COUNT == 500
    assert report["let_in"] == []
    assert report["not_one_sentence"] == []
    assert int(str(report["refused"])) > 350, "a guard that refused too little"


@pytest.mark.slow
def test_no_malformed_image_takes_more_time_or_memory_than_it_may(report: dict[str, Any]) -> None:
    start = 1.0  # seconds of processor time in which even a slow machine starts the process, which are counted too
    assert report["slowest"]["seconds"] <= Limits().seconds + start, report["slowest"]  # type: ignore[index]
    assert float(str(report["peak_mb"])) <= Limits().memory_bytes / 2**20


@pytest.mark.slow
def test_no_pickle_is_run(report: dict[str, Any]) -> None:
    assert report["pickle_was_run"] is False
    assert sum("model.pt" in file.name or "model.ckpt" in file.name for file in malformed_images()) > 30


def test_the_malformed_images_are_the_same_for_the_same_seed() -> None:
    first, again, other = (list(malformed_images(seed, 60)) for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("bomb.png", png_of_size(HUGE, HUGE, b""), "20,000 × 20,000 pixels"),
        ("frames.gif", gif_of_frames(5_000), "more than the 1,000 frames"),
    ],
)
def test_400_million_pixels_and_5000_frames_are_refused_from_the_header_under_50_mb(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    code = (
        "import resource, sys\nfrom curation.files.decode import *\n"
        "bound_this_process(Limits())\n"
        f"try: decode(open({str(path)!r}, 'rb').read(), Limits())\nexcept RefusedError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    # a shell between: a process starts with the memory mark of the one that made it
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1"; true', sys.executable, code], cwd=ROOT, capture_output=True, text=True
    )
    sentence, peak_kb = done.stdout.splitlines()
    assert says in sentence
    assert int(peak_kb) < 50_000


def test_limits_are_settings(tmp_path: Path) -> None:
    path = written(tmp_path, four_corners())
    assert "960" not in refusal(path, Limits(pixels=959)) and "40 × 24 pixels" in refusal(path, Limits(pixels=959))
    assert "40 × 24 pixels" in refusal(path, Limits(side=39))
    assert "MB" in refusal(path, Limits(file_bytes=10))
    assert read_picture(path, Limits(pixels=960, side=40)).size == (40, 24)


def test_memory_and_time_are_bounded_by_the_system(tmp_path: Path) -> None:
    path = written(tmp_path, Image.new("RGB", (6000, 6000)), "PNG", compress_level=1)
    assert "memory" in refusal(path, Limits(memory_bytes=100 * 2**20))
    assert "within 0.05 s" in refusal(path, Limits(seconds=0.05))


def test_an_empty_a_missing_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    for path in (tmp_path / "empty.png", tmp_path / "missing.png", tmp_path):
        assert refusal(path) == "This file is empty: choose a picture."


def test_32_bit_numbers_are_no_colours(tmp_path: Path) -> None:
    assert "numbers and not colours" in refusal(written(tmp_path, Image.new("F", (3, 3)), "TIFF"))


# ------------------------------------------------------------------------------------ keeping a picture


def test_a_picture_is_kept_once_by_its_content(tmp_path: Path) -> None:
    digest = save_picture(four_corners(), tmp_path / "new")
    assert save_picture(four_corners(), tmp_path / "new") == digest
    assert [path.name for path in (tmp_path / "new").iterdir()] == [f"{digest}.png"]
    assert corners(read_picture(picture_path(tmp_path / "new", digest))) == [RED, GREEN, BLUE, WHITE]


def test_a_kept_picture_can_be_read_back_within_the_limits(tmp_path: Path) -> None:
    wide = Image.new("RGB", (5000, 1000), GREEN)
    assert read_picture(picture_path(tmp_path, save_picture(wide, tmp_path))).size == (2048, 410)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """A file size limit stands for the full disk: the write fails in the same place."""
    noise = Image.frombytes("RGB", (200, 200), np.random.default_rng(0).bytes(120_000))
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from app.core.uploads import read_picture, save_picture\n"
        "image = read_picture(sys.argv[1])\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\nsave_picture(image, Path(sys.argv[2]))"
    )
    path = tmp_path / "noise.png"
    path.write_bytes(buffer.getvalue())
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "kept")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "OSError" in done.stderr
    assert list((tmp_path / "kept").iterdir()) == []


def test_the_decoder_knows_nothing_of_the_house() -> None:
    others = ("grain", "db", "gradio", "numpy")
    code = f"import sys, curation.files.decode; print([name for name in sys.modules if name.split('.')[0] in {others}])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_limits_travel_as_json() -> None:
    limits = replace(Limits(), pixels=7, seconds=0.5)
    assert Limits.from_json(limits.to_json()) == limits


def test_an_upload_onto_a_full_disk_is_one_sentence_with_its_status(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(small_disk / "cache"))
    services = fake_services(small_disk)
    with running(services) as address:
        sent = httpx.post(
            f"{address}gradio_api/upload", files={"files": ("a.png", bytes(9_000_000))}, timeout=PATIENCE_S
        )
        again = httpx.post(f"{address}gradio_api/upload", files={"files": ("a.png", b"small")}, timeout=PATIENCE_S)
    assert (sent.status_code, sent.text) == (
        507,
        "The disk is full: free some space on GRAIN_HOME and try again; nothing of this was kept.",
    )
    assert "Traceback" not in caplog.text
    assert again.status_code == 200, "what had been written of it is gone"
