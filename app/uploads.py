"""The only way in for untrusted files: an uploaded path -> an upright RGB picture, or one sentence why not.

The file is read by app/decode.py in a process of its own; the server itself never gives hostile bytes to a decoder.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from PIL import Image

from app.decode import Limits, RefusedError, check_file, strip_rows

__all__ = ["Limits", "RefusedError", "picture_path", "read_picture", "save_picture"]

DECODER = Path(__file__).with_name("decode.py")
PATIENCE = 5  # wall seconds allowed for each second of processor time: the machine may be busy
SAVED_SIDE = 2048  # pixels; a saved picture is at most this long, so that it can be read back within the limits
HEADER_BYTES = 4096


def read_picture(path: str | Path, limits: Limits | None = None) -> Image.Image:
    """Read an uploaded file.

    Args:    path: any file that somebody sent; its name and extension are not believed.
    Returns: RGB, upright (EXIF applied), the first frame of an animation, transparent pixels on white.
    Raises:  RefusedError: it is not let in; one sentence that says why and what to do.
    """
    limits = limits or Limits()
    path = Path(path)
    check_file(path, limits)
    command = [sys.executable, "-I", str(DECODER), str(path.absolute()), limits.to_json()]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet) as process:
        watchdog = threading.Timer(PATIENCE * limits.seconds, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            return _receive(process.stdout, limits)
        finally:
            watchdog.cancel()
            process.kill()


def save_picture(image: Image.Image, folder: Path) -> str:
    """Keep a picture by its content, whole or not at all.

    Args:    image: upright RGB; one longer than SAVED_SIDE is reduced to it. folder: made if missing.
    Returns: sha256 of the PNG file, which is also its name: the same picture is stored once.
    Raises:  OSError: disk full and the like; nothing is left behind.
    """
    small = image.copy()
    small.thumbnail((SAVED_SIDE, SAVED_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    target = picture_path(folder, digest)
    if not target.exists():
        _write_atomic(target, content)
    return digest


def picture_path(folder: Path, digest: str) -> Path:
    """Where save_picture keeps a picture."""
    return folder / f"{digest}.png"


def _receive(stream: IO[bytes], limits: Limits) -> Image.Image:
    header = json.loads(stream.readline(HEADER_BYTES) or "{}")
    if "refusal" in header:
        raise RefusedError(header["refusal"])
    if "width" not in header:  # ended by the system before it could say anything
        raise RefusedError(
            f"This picture could not be read within {limits.seconds:g} s and {limits.memory_bytes / 2**20:.0f} MB: "
            "save it again as a plain JPEG or PNG."
        )
    return _assemble(stream, int(header["width"]), int(header["height"]))


def _assemble(stream: IO[bytes], width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height))
    for top in range(0, height, rows := strip_rows(width)):
        count = min(rows, height - top)
        strip = stream.read(3 * width * count)
        if len(strip) < 3 * width * count:
            raise RefusedError("Reading this picture was cut short: save it again as a plain JPEG or PNG.")
        image.paste(Image.frombytes("RGB", (width, count), strip), (0, top))
    return image


def _write_atomic(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
