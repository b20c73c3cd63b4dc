"""Read untrusted uploads, the app's only way in: a path -> an upright RGB image, or one sentence why not.

The file is read by curation/files/decode.py in a process of its own: the server never gives hostile bytes to a decoder.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from PIL import Image

from atomic_files import write_atomically
from curation.files.image_files import MAGICS
from curation.files.pictures import Limits, RefusedError, read_picture

__all__ = ["Limits", "RefusedError", "browsers_show", "picture_path", "read_picture", "save_picture"]

WEBP_TAG, AVIF_TAG = b"WEBP", b"ftypavif"
SAVED_SIDE = 2048  # pixels; a saved picture is at most this long, so that it can be read back within the limits


def save_picture(image: Image.Image, folder: Path) -> str:
    """Save an image under its content's hash, whole or not at all.

    Args:   image: upright RGB; one longer than SAVED_SIDE is reduced to it. folder: made if missing.
    Returns: sha256 of the PNG file, which is also its name: the same picture is stored once.
    Raises:  DiskFullError, WriteError: nothing is left behind.
    """
    small = image.copy()
    small.thumbnail((SAVED_SIDE, SAVED_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    target = picture_path(folder, digest)
    if not target.exists():
        write_atomically(target, content)
    return digest


def picture_path(folder: Path, digest: str) -> Path:
    """Return the path where save_picture puts an image."""
    return folder / f"{digest}.png"


def browsers_show(content: bytes) -> bool:
    """Tell whether every browser shows a file; HEIC and TIFF are not among them."""
    return content.startswith(tuple(MAGICS)) or WEBP_TAG in content[8:12] or AVIF_TAG in content[4:12]
