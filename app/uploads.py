"""The app's only way in for untrusted files: an uploaded path -> an upright RGB picture, or one sentence why not.

The file is read by curation/decode.py in a process of its own: the server never gives hostile bytes to a decoder.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from PIL import Image

from curation.pictures import Limits, RefusedError, read_picture, write_atomic

__all__ = ["Limits", "RefusedError", "picture_path", "read_picture", "save_picture"]

SAVED_SIDE = 2048  # pixels; a saved picture is at most this long, so that it can be read back within the limits


def save_picture(image: Image.Image, folder: Path) -> str:
    """Keep a picture by its content, whole or not at all.

    Args:   image: upright RGB; one longer than SAVED_SIDE is reduced to it. folder: made if missing.
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
        write_atomic(target, content)
    return digest


def picture_path(folder: Path, digest: str) -> Path:
    """Where save_picture keeps a picture."""
    return folder / f"{digest}.png"
