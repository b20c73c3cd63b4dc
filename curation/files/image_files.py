"""Write pictures as files for others: their own bytes where everybody reads them alike, else re-encoded, upright.

What a file is is told from its first bytes without a decoder: hostile ones are for the processes of pictures.py.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from curation.files.decode import RefusedError
from curation.files.images import ImageRow, PictureReader
from curation.files.pictures import AHEAD, in_order

JPEG, PNG, GIF, WEBP, BMP = ".jpg", ".png", ".gif", ".webp", ".bmp"
MAGICS = {b"\xff\xd8\xff": JPEG, b"\x89PNG\r\n\x1a\n": PNG, b"GIF8": GIF, b"BM": BMP}
JPEG_QUALITY = 95
FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # of a JPEG: what says its size and number of colours
APP1, START_OF_SCAN = 0xE1, 0xDA
EXIF = (b"EXIF", b"eXIf")  # of WebP and PNG
XMP_TURN = re.compile(rb"tiff:Orientation(?:=[\"']|>)([0-9])")  # Pillow turns by it where EXIF says nothing
PACKED_XMP = b"XML:com.adobe.xmp\0\1"  # of PNG, compressed


@dataclass(frozen=True)
class PictureFile:
    """A picture's file. suffix: what it is. encoded: whether its bytes are new."""

    content: bytes
    suffix: str
    encoded: bool


class PictureFileReader(PictureReader):
    """Gives pictures of data sets as files. For one thread, as PictureReader."""

    def __init__(self, *, kinds: tuple[str, ...] | None = None) -> None:
        """kinds: suffixes that are wanted, None for any; JPEG must be among them. Others become JPEG."""
        super().__init__()
        self._kinds = kinds

    def prepared(self, rows: Iterable[ImageRow]) -> Iterator[tuple[ImageRow, PictureFile | str]]:
        """Yield each row in order with its file, or one sentence why it cannot be had."""
        loaded = ((row, self._content(row)) for row in rows)
        yield from in_order(self._prepared, loaded, self._threads, ahead=AHEAD * self._pool.processes)

    def _prepared(self, loaded: tuple[ImageRow, bytes | str | Path]) -> tuple[ImageRow, PictureFile | str]:
        row, found = loaded
        try:
            content = self._bytes(row, found)
            suffix = plain_kind(content)
            if suffix and (self._kinds is None or suffix in self._kinds):
                return row, PictureFile(content, suffix, encoded=False)
            buffer = io.BytesIO()
            self._pool.read(content).image.save(buffer, "JPEG", quality=JPEG_QUALITY)
            return row, PictureFile(buffer.getvalue(), JPEG, encoded=True)
        except RefusedError as error:
            return row, str(error)


def plain_kind(content: bytes) -> str:
    """Return the suffix if every program reads the file alike; "" for one turned by EXIF or XMP, CMYK or unusual."""
    if PACKED_XMP in content or any(turn != b"1" for turn in XMP_TURN.findall(content)):
        return ""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        kind = WEBP
    else:
        kind = next((kind for magic, kind in MAGICS.items() if content.startswith(magic)), "")
    if kind == JPEG:
        return JPEG if _is_plain_jpeg(content) else ""
    return "" if any(word in content for word in EXIF) else kind


def _is_plain_jpeg(content: bytes) -> bool:
    """Tell whether a JPEG's segments say grey or three colours and no turn."""
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        body = content[at + 4 : at + 2 + length]
        if marker == APP1 and body.startswith(b"Exif\0\0") and _orientation(body[6:]) != 1:
            return False
        if marker in FRAME_MARKERS and (len(body) < 6 or body[5] not in (1, 3)):
            return False
        if marker == START_OF_SCAN:
            return True
        at += 2 + length
    return False


def _orientation(tiff: bytes) -> int:
    """Read the orientation that an EXIF block states; 0 where it cannot be read."""
    if tiff[:2] not in (b"II", b"MM"):
        return 0

    def number(start: int, size: int) -> int:
        found = tiff[start : start + size]
        return int.from_bytes(found, "little" if tiff[:2] == b"II" else "big") if len(found) == size else 0

    first = number(4, 4)
    for entry in range(number(first, 2)):
        place = first + 2 + 12 * entry
        if number(place, 2) == 0x0112:
            return number(place + 8, 2) if number(place + 2, 2) == 3 else 0
    return 1
