"""Recognise COCO files that lie beside the pictures of a folder, so that they can be brought with them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from curation.ingest.uploads import is_coco

Annotations = Literal["leave", "bring", "accept"]
"""What an import does with them: nothing; bring them as pending; bring them as accepted, because people made them."""
CHOICES: tuple[Annotations, ...] = get_args(Annotations)
NAMES = ("instances*.json", "annotations*.json", "*.coco.json", "coco*.json")
PLACES = ("", "*/")  # the folder itself, and those in it: `annotations`, or a split's


def annotations_beside(source: Path) -> tuple[Path, ...]:
    """Return the COCO files of a folder of pictures, by their usual names; of no folder there are none."""
    if not source.is_dir():
        return ()
    found = {file for place in PLACES for name in NAMES for file in source.glob(place + name) if file.is_file()}
    return tuple(file for file in sorted(found) if is_coco(file))
