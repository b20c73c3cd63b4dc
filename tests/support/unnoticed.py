"""Write a file again so that nothing but its content changes: who still has the old content did not read it."""

from __future__ import annotations

import os
from pathlib import Path


def rewrite_unnoticed(file: Path, text: str) -> None:
    """Replace a file's text by another of the same length, under the same time."""
    before = file.stat()
    assert len(text.encode()) == before.st_size
    file.write_text(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
