"""Read the mark of an export's folder, and tell what the export wrote there beside the pictures."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from curation.exchange import voc, yolo
from curation.exchange.classes import CLASSES
from curation.exchange.dataset_card import CARD
from curation.exchange.formats import MAIN_FILE

MARK = "export.json"
HOLDS_PICTURES = ("imagefolder", "parquet")  # formats whose own file an import of pictures reads
FOLDERS = {"yolo": (yolo.LABELS,), "voc": (voc.ANNOTATIONS, "ImageSets")}  # of files that say what is on pictures


def read_mark(folder: Path) -> dict[str, Any]:
    """Return the content of an export's mark; {} where a folder has none that can be read."""
    try:
        return dict(json.loads((folder / MARK).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


class ExportsBelow:
    """The exports in a folder and below it."""

    def __init__(self, root: Path) -> None:
        """root: the folder, absolute."""
        self._root = str(root)
        self._export_of = cache(self._find)

    def wrote_beside(self, location: str) -> bool:
        """Tell whether a file is one that an export wrote beside its pictures."""
        folder, format = self._export_of(str(Path(location).parent))
        name = os.path.relpath(location, folder) if format else ""
        own = (CARD, MARK, CLASSES, *([] if format in HOLDS_PICTURES else [MAIN_FILE.get(format)]))
        return name in own or name.partition(os.sep)[0] in FOLDERS.get(format, ())

    def _find(self, folder: str) -> tuple[str, str]:
        """Return the export that a folder belongs to, and its format; "" for none."""
        if (format := str(read_mark(Path(folder)).get("format"))) in MAIN_FILE:
            return folder, format
        return self._export_of(str(Path(folder).parent)) if len(folder) > len(self._root) else (folder, "")
