"""Sources of pictures that tests import: files, archives, tables."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(shade: int = 0) -> bytes:
    """A small grey picture; another shade is another content."""
    return encoded(Image.new("RGB", (16, 12), (shade, shade, shade)), "JPEG")


def member(name: str, size: int = 0, **fields: Any) -> tarfile.TarInfo:
    """A header in a tar."""
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    """A tar of files in the order given. mode: "w", or "w:gz"."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            tar.addfile(member(name, len(content)), io.BytesIO(content))
    return path


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """A packed zip of files in the order given."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def write_all(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Files, and folders for them."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder
