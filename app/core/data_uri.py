"""Encode images as data URIs for a page. Imports nothing heavy: the first page needs it."""

from __future__ import annotations

import base64
import io

from PIL import Image

SHOWN_SIDE = 1280  # pixels of the picture as sent to the page


def file_uri(kind: str, content: bytes) -> str:
    """Return a file inside an answer itself: it never lies on the server, where others could ask for it.

    Args: kind: its MIME type.
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def file_to_save(name: str, kind: str, content: bytes) -> dict[str, str]:
    """Return a file as the pages' script SAVE takes it. kind: its MIME type."""
    return {"name": name, "uri": file_uri(kind, content)}


def picture_jpeg(image: Image.Image, side: int = SHOWN_SIDE) -> bytes:
    """Return the picture as a JPEG of at most that many pixels a side."""
    small = image.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def picture_uri(image: Image.Image, side: int = SHOWN_SIDE) -> str:
    """Return the picture as a data URI of at most that many pixels a side. Nobody else's browser can ask for it."""
    return file_uri("image/jpeg", picture_jpeg(image, side))
