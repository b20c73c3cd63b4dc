"""500 files that are no good pictures, made again from a seed: what a hostile or unlucky person uploads.

`python tests/support/malformed_images.py` sends every one through app/core/uploads.py and prints what happened as one
JSON object.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import resource
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script, from anywhere

from app.core.uploads import RefusedError, read_picture

COUNT = 500
SUFFIX = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "AVIF": ".avif",
    "HEIF": ".heic",
}
FORMATS = tuple(SUFFIX)
HUGE = 20_000  # pixels a side: 400 million in all


@dataclass(frozen=True)
class Malformed:
    """One file. refused: it must be; else it may turn out readable (a flipped bit can hit nothing that matters)."""

    name: str
    content: bytes
    refused: bool


@dataclass(frozen=True)
class Outcome:
    """What became of one file: the sentence it was refused with ("" if it was read), and its processor time."""

    file: Malformed
    sentence: str
    seconds: float


def malformed_images(seed: int = 0, count: int = COUNT) -> Iterator[Malformed]:
    """The bombs, then all other kinds in turn; the same for the same seed."""
    rng = random.Random(seed)
    good = {kind: _encode(kind, rng) for kind in FORMATS}
    files = [*BOMBS, *(MAKERS[index % len(MAKERS)](rng, good) for index in range(count - len(BOMBS)))]
    for index, file in enumerate(files):
        yield Malformed(f"{index:03d}-{file.name}", file.content, file.refused)


Good = dict[str, bytes]


def _truncated(rng: random.Random, good: Good) -> Malformed:
    kind = rng.choice(FORMATS)
    cut = rng.randrange(0, int(0.8 * len(good[kind])))
    return Malformed(f"cut{SUFFIX[kind]}", good[kind][:cut], refused=kind != "GIF" or cut < 100)


def _bit_flipped(rng: random.Random, good: Good) -> Malformed:
    kind = rng.choice(FORMATS)
    content = bytearray(good[kind])
    for _ in range(rng.choice((1, 3, 30, 300))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return Malformed(f"flipped{SUFFIX[kind]}", bytes(content), refused=False)


def _flipped_header(rng: random.Random, good: Good) -> Malformed:
    kind = rng.choice(FORMATS)
    content = bytearray(good[kind])
    for _ in range(rng.choice((1, 4, 16))):
        content[rng.randrange(min(64, len(content)))] = rng.randrange(256)
    return Malformed(f"header{SUFFIX[kind]}", bytes(content), refused=False)


def _lying_size(rng: random.Random, good: Good) -> Malformed:
    """A header that promises another size than the data have."""
    side = rng.choice((0, 1_000, 6_000, HUGE, 65_535))
    png = bytearray(good["PNG"])
    png[16:24] = struct.pack(">II", side, side)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    gif = bytearray(good["GIF"])
    gif[6:10] = struct.pack("<HH", side, side)
    bmp = bytearray(good["BMP"])
    bmp[18:26] = struct.pack("<ii", side, side)
    kind, content = rng.choice((("PNG", png), ("GIF", gif), ("BMP", bmp)))
    return Malformed(f"says-{side}{SUFFIX[kind]}", bytes(content), refused=kind != "GIF" or side >= HUGE)


def _polyglot(rng: random.Random, good: Good) -> Malformed:
    """A picture that is something else as well. Read or refused: only pixels ever come out."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(zipfile.ZipInfo("run.sh"), "#!/bin/sh\nid\n")  # of 1980: the clock is no part of it
    kind = rng.choice(FORMATS)
    page = b"<html><script>alert(1)</script></html>"
    tail = rng.choice((archive.getvalue(), page, pickle.dumps({"a": 1}), b"%PDF-1.7\n%%EOF"))
    if rng.random() < 0.5:
        return Malformed(f"tail{SUFFIX[kind]}", good[kind] + tail, refused=False)
    return Malformed(f"head{SUFFIX[kind]}", tail + good[kind], refused=True)


def _pickled(rng: random.Random, good: Good) -> Malformed:
    protocol = rng.randrange(pickle.HIGHEST_PROTOCOL + 1)
    return Malformed(rng.choice(("model.pt.png", "model.ckpt.jpg")), pickle.dumps(_Trap(), protocol), refused=True)


def _something_else(rng: random.Random, good: Good) -> Malformed:
    content = rng.choice(
        (
            b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
            b"<!doctype html><img src=x onerror=alert(1)>",
            b"just some words\n" * 40,
            b"PK\x03\x04" + rng.randbytes(200),
            b"\x7fELF\x02\x01\x01" + rng.randbytes(300),
            b"\x00\x00\x00\x18ftypheic" + rng.randbytes(100),
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(id) run\n",
            b"",
            rng.randbytes(2_000),
        )
    )
    return Malformed(f"renamed{rng.choice(('.png', '.jpg', '.webp'))}", content, refused=True)


Maker = Callable[[random.Random, Good], Malformed]
MAKERS: tuple[Maker, ...] = (
    _truncated,
    _bit_flipped,
    _flipped_header,
    _lying_size,
    _truncated,
    _polyglot,
    _bit_flipped,
    _pickled,
    _something_else,
    _bit_flipped,
)


class _Trap:
    """Unpickling it would make a file: a test looks whether it is there."""

    path = Path(tempfile.gettempdir()) / "grain-pickle-was-run"

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (open, (f"{self.path}", "w"))  # type: ignore[return-value]


def gif_of_frames(count: int) -> bytes:
    """A valid animation of that many 1 × 1 frames."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\x00\x00\x00\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return screen + count * frame + b"\x3b"


def png_of_size(width: int, height: int, data: bytes) -> bytes:
    """A grey PNG that claims a size. data: what its compressed rows hold."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(name, body) for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(data, 9)), (b"IEND", b""))
    )


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png_bomb() -> Malformed:
    return Malformed("bomb.png", png_of_size(HUGE, HUGE, bytes(10_000_000)), refused=True)


def _text_bomb() -> Malformed:
    """Comments that unpack to 2 GB in all."""
    text = _chunk(b"zTXt", b"a\x00\x00" + zlib.compress(bytes(10_000_000), 9))
    picture = png_of_size(1, 1, b"\x00\x00")
    return Malformed("comments.png", picture[:33] + 200 * text + picture[33:], refused=False)


def _scan_bomb() -> Malformed:
    """A progressive JPEG that goes over its pixels again and again."""
    buffer = io.BytesIO()
    Image.new("L", (6_000, 6_000), 99).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last_scan = content[content.rindex(b"\xff\xda") : -2]
    return Malformed("scans.jpg", content[:-2] + 2_000 * last_scan + b"\xff\xd9", refused=True)


def _tiff_bomb() -> Malformed:
    """One strip, promised to hold 400 million pixels."""
    tags = ((256, HUGE), (257, HUGE), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, HUGE), (279, 100))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    content = b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + b"\x00" * 200
    return Malformed("bomb.tif", content, refused=True)


BOMBS = (  # little to send, much to unpack
    _png_bomb(),
    _text_bomb(),
    _scan_bomb(),
    _tiff_bomb(),
    Malformed("5000-frames.gif", gif_of_frames(5_000), refused=True),
)


def _encode(kind: str, rng: random.Random) -> bytes:
    """A small good picture of noise: no byte of it is idle. Nothing here writes HEIC: that one is a file of ours."""
    if kind == "HEIF":
        return Path(__file__).with_name("turned.heic").read_bytes()
    image = Image.frombytes("RGB", (48, 36), rng.randbytes(48 * 36 * 3))
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    return buffer.getvalue()


def send_all(folder: Path) -> Iterator[Outcome]:
    """Every file through the only way in."""
    for file in malformed_images():
        path = folder / file.name
        path.write_bytes(file.content)
        start = _seconds_of_children()
        try:
            image = read_picture(path)
            assert image.mode == "RGB"
            sentence = ""
        except RefusedError as error:
            sentence = str(error)
        path.unlink()
        yield Outcome(file, sentence, _seconds_of_children() - start)


def _seconds_of_children() -> float:
    """Processor time, which a busy machine does not stretch."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """What a test reads: counts, the slowest, the largest, and every way in which a file broke the rules."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = list(send_all(Path(folder)))
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    report = {
        "count": len(outcomes),
        "refused": sum(bool(outcome.sentence) for outcome in outcomes),
        "let_in": [outcome.file.name for outcome in outcomes if outcome.file.refused and not outcome.sentence],
        "not_one_sentence": [o.sentence for o in outcomes if o.sentence and not _is_one_sentence(o.sentence)],
        "slowest": {"name": slowest.file.name, "seconds": slowest.seconds},
        "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "pickle_was_run": _Trap.path.exists(),
        "sentences": sorted({outcome.sentence for outcome in outcomes}),
    }
    print(json.dumps(report))


def _is_one_sentence(text: str) -> bool:
    return text.endswith(".") and ". " not in text and "\n" not in text and len(text) < 200


if __name__ == "__main__":
    main()
