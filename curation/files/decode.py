"""Read untrusted pictures one by one: the program that curation/files/pictures.py runs in its own processes.

Decoders are where hostile files do harm, so such a process has bounded memory and time, knows no network, database or
model, opens no file, and hands back nothing but pixels. It imports Pillow and the standard library only, and HEIC's
decoder with the first such file: it starts in 50 ms.

A question is one line of JSON (`bytes`: how many follow; `side`: see `decode`) and the file's bytes. An answer is one
line of JSON (a `refusal`, or the picture's upright size and how many pixels follow) and then, for a picture, its
upright RGB pixels row by row. Before the first question it says one line of JSON: that it is ready.
"""

from __future__ import annotations

import json
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from typing import BinaryIO

# Named, so that no other plugin of Pillow is ever loaded.
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from picture_formats import CONTAINERS, FORMATS, NAMES, ORIENTATION_TAG, is_container, register_heif, to_rgb
from user_errors import UserError

PLUGINS = (BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # width and height change places
DAMAGED = "This picture is damaged or cut short: save it again and choose that."
STRIP_BYTES = 4_000_000
MARGIN = 2  # a picture that is reduced is first brought to this many times the side, in one cheap step


@dataclass(frozen=True)
class Limits:
    """The cost that a picture may have. seconds: of processor. memory_bytes: address space of the whole process."""

    file_bytes: int = 25_000_000
    pixels: int = 50_000_000
    side: int = 30_000
    frames: int = 1_000
    seconds: float = 1.8
    memory_bytes: int = 512 * 2**20

    @classmethod
    def from_json(cls, text: str) -> Limits:
        """Read what to_json wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Write one line of JSON, for a command line."""
        return json.dumps(asdict(self))


class RefusedError(UserError):
    """The file is not let in; the message is one sentence that says why and what to do."""


class EmptyFileError(RefusedError):
    """The file has no bytes."""


@dataclass(frozen=True)
class DecodedPicture:
    """Pixels as they are stored, perhaps reduced, and how they must be turned.

    width, height: of the upright picture in full, whatever the pixels were reduced to.
    """

    image: Image.Image
    orientation: int
    width: int
    height: int

    @property
    def across(self) -> int:
        """Return pixels at hand, upright."""
        return self.image.height if self.orientation in SIDEWAYS else self.image.width

    @property
    def down(self) -> int:
        """Return pixels at hand, upright."""
        return self.image.width if self.orientation in SIDEWAYS else self.image.height

    def strips(self, multiple: int = 1) -> Iterator[Image.Image]:
        """Yield the upright RGB pixels from top to bottom, piece by piece: a large picture never lies in memory twice.

        Args: multiple: of which every strip's height is one, but for the last.
        """
        rows = max(multiple, strip_rows(self.across) // multiple * multiple)
        for top in range(0, self.down, rows):
            piece = to_rgb(self.image.crop(self._stored(top, min(top + rows, self.down))))
            turn = UPRIGHT.get(self.orientation)
            yield piece if turn is None else piece.transpose(turn)

    def reduced(self, side: int) -> DecodedPicture:
        """Return the picture upright in RGB and at most `side` pixels long; what is small enough keeps its pixels."""
        if max(self.across, self.down) <= side:
            return self
        step = max(1, max(self.across, self.down) // (MARGIN * side))
        small = Image.new("RGB", (-(-self.across // step), -(-self.down // step)))
        top = 0
        for strip in self.strips(step):
            piece = strip.reduce(step) if step > 1 else strip
            small.paste(piece, (0, top))
            top += piece.height
        small.thumbnail((side, side))
        return replace(self, image=small, orientation=1)

    def _stored(self, top: int, bottom: int) -> tuple[int, int, int, int]:
        """Find where the rows top..bottom of the upright picture lie in the stored one."""
        width, height = self.image.size
        if self.orientation in SIDEWAYS:
            return (top, 0, bottom, height) if self.orientation in (5, 6) else (width - bottom, 0, width - top, height)
        return (0, height - bottom, width, height - top) if self.orientation in (3, 4) else (0, top, width, bottom)


def decode(content: bytes, limits: Limits, side: int = 0) -> DecodedPicture:
    """Read an untrusted file; of an animation the first frame.

    Size and number of frames are judged from the header, before a pixel is read.

    Args:   side: the longest side that is wanted, in pixels; 0 for the whole picture.
    Raises: RefusedError.
    """
    check_size(len(content), limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of much that is refused or repaired below
        image = _open(content)
        _check_header(image, limits)
        decoded = _load(image, side)
        return decoded.reduced(side) if side else decoded


def strip_rows(width: int) -> int:
    """Return how many rows one strip holds."""
    return max(1, STRIP_BYTES // (3 * width))


def check_size(size: int, limits: Limits) -> None:
    """Refuse a file that is too large without reading it. size: bytes.

    Raises: RefusedError: none, or too many.
    """
    if size == 0:
        raise EmptyFileError("This file is empty: choose a picture.")
    if size > limits.file_bytes:
        most = f"{limits.file_bytes / 1e6:g} MB"
        raise RefusedError(f"This file has {size / 1e6:.1f} MB, more than the {most} accepted: make it smaller.")


def _open(content: bytes) -> Image.Image:
    try:
        if is_container(content):
            register_heif()
            return Image.open(BytesIO(content), formats=CONTAINERS)
        return Image.open(BytesIO(content), formats=FORMATS)
    except Exception as error:  # a hostile header may raise anything: struct.error, KeyError, OverflowError, …
        if is_container(content):
            raise RefusedError(DAMAGED) from error
        raise RefusedError(f"This is not a {NAMES} picture: save it as JPEG or PNG and choose that.") from error


def _check_header(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if min(width, height) < 1:
        raise RefusedError("This picture has no pixels: choose another.")
    if width * height > limits.pixels or max(width, height) > limits.side:
        raise RefusedError(
            f"This picture has {width:,} × {height:,} pixels, more than the {limits.pixels / 1e6:g} million "
            f"(and {limits.side:,} a side) accepted: make it smaller."
        )
    if _frames(image) > limits.frames:
        raise RefusedError(f"This animation has more than the {limits.frames:,} frames accepted: save its first frame.")


def _frames(image: Image.Image) -> int:
    try:
        frames = int(getattr(image, "n_frames", 1))
        image.seek(0)
    except Exception as error:  # counting walks through hostile bytes
        raise RefusedError("This animation is damaged: save its first frame as PNG and choose that.") from error
    return frames


def _load(image: Image.Image, side: int) -> DecodedPicture:
    try:
        full = _draft(image, side) if side else None
        image.load()
        to_rgb(image.crop((0, 0, 1, 1)))  # a mode that has no colours is refused before the first row is written
    except MemoryError:
        raise
    except UserError as error:
        raise RefusedError(str(error)) from error
    except Exception as error:  # decoders raise what they like on broken bytes
        raise RefusedError(DAMAGED) from error
    orientation = _orientation(image)
    width, height = full or image.size  # of a TIFF only known now: Pillow turns it while loading
    return DecodedPicture(image, orientation, *((height, width) if orientation in SIDEWAYS else (width, height)))


def _draft(image: Image.Image, side: int) -> tuple[int, int] | None:
    """Let a large JPEG be read at a half, a quarter or an eighth, in a third of the time; its full size, stored."""
    width, height = image.size
    share = MARGIN * side / max(width, height)
    if image.format != "JPEG" or share >= 1:
        return None
    image.draft(None, (max(1, int(width * share)), max(1, int(height * share))))
    return width, height


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))  # Pillow has turned a TIFF by now and says 1
    except Exception:  # a broken EXIF block is no reason to refuse good pixels
        return 1


def bound_this_process(limits: Limits) -> None:
    """Let the system end this process when it takes too much. macOS does not bound memory."""
    Image.MAX_IMAGE_PIXELS = None  # of this process alone: _check_header says it in better words, and earlier
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes to its pipe and to nothing else


def answer(content: bytes, limits: Limits, *, side: int, out: BinaryIO) -> bool:
    """Decode one file, write pixels or a refusal, and return whether this process is fit for the next file."""
    try:
        decoded = decode(content, limits, side)
    except (RefusedError, MemoryError) as error:
        most = f"{limits.memory_bytes / 2**20:.0f} MB"
        memory = f"This picture needs more than {most} of memory to read: make it smaller."
        spent = isinstance(error, MemoryError)
        _say(out, refusal=memory if spent else str(error), spent=spent)
        return not spent
    _say(out, width=decoded.width, height=decoded.height, across=decoded.across, down=decoded.down)
    for strip in decoded.strips():
        out.write(strip.tobytes())
    return True


def _say(out: BinaryIO, **line: object) -> None:
    out.write(json.dumps(line).encode() + b"\n")


def main(limits: Limits) -> None:
    """Answer until nothing more is asked."""
    bound_this_process(limits)
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    _say(answers, ready=True)
    answers.flush()
    fit = True
    while fit and (line := questions.readline()):
        # of each file again, and inside C code too: past it the system ends this process
        signal.setitimer(signal.ITIMER_PROF, limits.seconds)
        asked = json.loads(line)
        fit = answer(questions.read(asked["bytes"]), limits, side=asked["side"], out=answers)
        answers.flush()
