"""Recognise COCO files that lie beside the pictures of a folder, so that they can be brought with them."""

from __future__ import annotations

from glob import glob
from pathlib import Path
from typing import Literal, get_args

from curation.ingest.uploads import is_coco

Annotations = Literal["leave", "bring", "accept"]
"""What an import does with them: nothing; bring them as pending; bring them as accepted, because people made them."""
CHOICES: tuple[Annotations, ...] = get_args(Annotations)
NAMES = ("instances*.json", "annotations*.json", "*.coco.json", "coco*.json")
PLACES = ("", "*/")  # the folder itself, and those in it: `annotations`, or a split's


def annotations_beside(source: Path) -> tuple[Path, ...]:
    """Return the COCO files of a folder of pictures, by their usual names; of no folder there are none.

    What goes away meanwhile, or cannot be looked into, is passed over.
    """
    if not source.is_dir():
        return ()
    patterns = [place + name for place in PLACES for name in NAMES]
    found = {source / each for pattern in patterns for each in glob(pattern, root_dir=source)}  # noqa: PTH207 Path's raises
    return tuple(file for file in sorted(found) if file.is_file() and is_coco(file))
